/** GLSL of the splats: their colours, one fragment each, and the ellipses that are blended. */

import { HARMONICS, SHADING } from "./shaders_light.js";

/**
 * What the colour pass and the meshes can show. `display` colours are sRGB-encoded and shown as they are, `linear` ones
 * go through exposure and tone curve, `albedo` only through the sRGB curve, `data` is shown as numbers, `depth` through
 * colours.
 */
export const MODES = {
  colour: { index: 0, space: "display" },
  relit: { index: 1, space: "linear" },
  albedo: { index: 2, space: "albedo" },
  normal: { index: 3, space: "data" },
  roughness: { index: 4, space: "data" },
  metallic: { index: 5, space: "data" },
  depth: { index: 6, space: "depth" },
};

/** Colour of every splat as the camera sees it, into a table with one texel each. */
export const COLOUR_PASS = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;
precision highp samplerCube;
uniform sampler2D placed;
uniform usampler2D harmonics;
uniform usampler2D materials;
uniform int mode, degree, harmonicTexels, hasMaterials, hasTransfer, count;
uniform vec3 cameraCentre;
uniform vec4 depthRow;
uniform float depthScale;
out vec4 colour;
${HARMONICS}
${SHADING}

uvec4 record(usampler2D table, int index) { return texelFetch(table, ivec2(index & 4095, index >> 12), 0); }

vec3 seenColour(int id, vec3 direction) {
  float y[16];
  harmonicBasis(direction, y);
  float values[48];
  for (int t = 0; t < 6; t++) {
    if (t >= harmonicTexels) break;
    uvec4 packed = record(harmonics, id * harmonicTexels + t);
    for (int k = 0; k < 4; k++) {
      vec2 pair = unpackHalf2x16(packed[k]);
      values[8 * t + 2 * k] = pair.x;
      values[8 * t + 2 * k + 1] = pair.y;
    }
  }
  vec3 sum = vec3(0.0);
  int n = (degree + 1) * (degree + 1);
  for (int i = 0; i < 16; i++) {
    if (i >= n) break;
    sum += y[i] * vec3(values[3 * i], values[3 * i + 1], values[3 * i + 2]);
  }
  return max(sum + 0.5, 0.0);
}

vec3 material(int id, vec3 view) {
  float m[24];
  for (int t = 0; t < 3; t++) {
    uvec4 packed = record(materials, 3 * id + t);
    for (int k = 0; k < 4; k++) {
      vec2 pair = unpackHalf2x16(packed[k]);
      m[8 * t + 2 * k] = pair.x;
      m[8 * t + 2 * k + 1] = pair.y;
    }
  }
  vec3 albedo = vec3(m[0], m[1], m[2]);
  vec3 n = vec3(m[5], m[6], m[7]);
  n = dot(n, n) > 1e-12 ? normalize(n) : view;
  if (mode == 2) return albedo;
  if (mode == 3) return 0.5 * n + 0.5;
  if (mode == 4) return vec3(m[3]);
  if (mode == 5) return vec3(m[4]);
  vec3 light = irradianceOf(n);
  float openness = 1.0;
  if (hasTransfer == 1) {
    light = vec3(0.0);
    for (int i = 0; i < 9; i++) light += m[8 + i] * lightHarmonics[i];
    light = max(light, 0.0);
    openness = clamp(m[8] / (PI * 0.28209479177387814), 0.0, 1.0);
  }
  return shade(n, view, albedo, m[3], m[4], light, openness);
}

void main() {
  int id = int(gl_FragCoord.y) * 4096 + int(gl_FragCoord.x);
  if (id >= count) { colour = vec4(0.0); return; }
  vec3 centre = texelFetch(placed, ivec2(gl_FragCoord.xy), 0).xyz;
  vec3 direction = normalize(centre - cameraCentre);
  vec3 value;
  if (mode == 6) value = vec3((dot(depthRow.xyz, centre) + depthRow.w) * depthScale);
  else if (mode >= 1 && hasMaterials == 1) value = material(id, -direction);
  else value = seenColour(id, direction);
  colour = vec4(min(value, 60000.0), 1.0);
}`;

/**
 * One ellipse per four vertices, far to near. The rules are those of recon3d.render.gaussians: EWA projection with
 * gsplat's limits, eps2d of variance, the antialiasing compensation, and ellipses that end where alpha falls to 1/255.
 */
export const SPLAT_VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;
uniform sampler2D placed, covarianceA, covarianceB, colours;
uniform usampler2D order;
uniform mat4 cameraFromWorld;
uniform vec4 K;
uniform vec2 size;
uniform float near, far, eps2d;
uniform int antialiased, hasBox;
uniform mat4 boxFromWorld;
out vec2 offset;
flat out vec4 colour;

ivec2 place(int index) { return ivec2(index & 4095, index >> 12); }

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); // outside, until shown to be inside
  offset = vec2(0.0);
  colour = vec4(0.0);
  int id = int(texelFetch(order, place(gl_VertexID >> 2), 0).r);
  vec4 here = texelFetch(placed, place(id), 0);
  vec3 p = (cameraFromWorld * vec4(here.xyz, 1.0)).xyz;
  if (p.z <= near || p.z >= far) return;
  if (hasBox == 1 && any(greaterThan(abs((boxFromWorld * vec4(here.xyz, 1.0)).xyz), vec3(1.0)))) return;
  vec4 a = texelFetch(covarianceA, place(id), 0);
  vec2 b = texelFetch(covarianceB, place(id), 0).xy;
  mat3 world = mat3(a.x, a.y, a.z, a.y, a.w, b.x, a.z, b.x, b.y);
  mat3 turn = mat3(cameraFromWorld);
  mat3 covariance = turn * world * transpose(turn);
  vec2 margin = 0.15 * size / K.xy;
  vec2 slope = clamp(p.xy / p.z, -(K.zw / K.xy + margin), (size - K.zw) / K.xy + margin);
  vec3 jx = vec3(K.x, 0.0, -K.x * slope.x) / p.z;
  vec3 jy = vec3(0.0, K.y, -K.y * slope.y) / p.z;
  vec3 sx = covariance * jx;
  float xx = dot(jx, sx), xy = dot(jy, sx), yy = dot(jy, covariance * jy);
  float narrow = xx * yy - xy * xy;
  xx += eps2d;
  yy += eps2d;
  float wide = max(xx * yy - xy * xy, 1e-10);
  float opacity = here.w;
  if (antialiased == 1) opacity *= sqrt(max(narrow / wide, 0.0));
  if (opacity <= 1.0 / 255.0) return;
  float reach = sqrt(2.0 * log(255.0 * opacity));
  float middle = 0.5 * (xx + yy);
  float spread = length(vec2(0.5 * (xx - yy), xy));
  vec2 axis = abs(xy) > 1e-9 ? normalize(vec2(xy, middle + spread - xx)) : (xx >= yy ? vec2(1.0, 0.0) : vec2(0.0, 1.0));
  float major = sqrt(middle + spread), minor = sqrt(max(middle - spread, 1e-10));
  offset = reach * (vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0);
  vec2 pixel = K.xy * p.xy / p.z + K.zw + offset.x * major * axis + offset.y * minor * vec2(-axis.y, axis.x);
  float z = ((far + near) - 2.0 * far * near / p.z) / (far - near);
  gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, z, 1.0);
  colour = vec4(texelFetch(colours, place(id), 0).rgb, opacity);
}`;

export const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
in vec2 offset;
flat in vec4 colour;
out vec4 blended;
void main() {
  float alpha = min(colour.a * exp(-0.5 * dot(offset, offset)), 0.999);
  if (alpha < 1.0 / 255.0) discard;
  blended = vec4(colour.rgb * alpha, alpha);
}`;
