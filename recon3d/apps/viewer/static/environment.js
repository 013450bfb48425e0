/** The light: an equirectangular picture, its harmonics, and a cube map whose levels are blurred by roughness. */

import { FULL_SCREEN, Program, makeTexture } from "./gl.js";
import { brdfTable, projectEnvironment, rotateHarmonics } from "./harmonics.js";
import { half } from "./splat_data.js";

/** Side of the sharpest level; each level of six halves it, at roughness 0, 0.2, .. 1. */
const SIDE = 256;
const LEVELS = 6;
const SAMPLES = [1, 64, 96, 128, 128, 128];

/** A direction of a cube face to its radiance after GGX with N = V = R, by filtered importance sampling. */
const PREFILTER = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform int face, samples;
uniform float side, roughness;
uniform vec2 pictureSize;
out vec4 light;
const float PI = 3.141592653589793;

vec3 faceDirection(vec2 st) {
  vec2 c = 2.0 * st - 1.0;
  if (face == 0) return vec3(1.0, -c.y, -c.x);
  if (face == 1) return vec3(-1.0, -c.y, c.x);
  if (face == 2) return vec3(c.x, 1.0, c.y);
  if (face == 3) return vec3(c.x, -1.0, -c.y);
  if (face == 4) return vec3(c.x, -c.y, 1.0);
  return vec3(-c.x, -c.y, -1.0);
}

vec3 lookup(vec3 d, float lod) {
  vec2 uv = vec2(0.5 - atan(d.y, d.x) / (2.0 * PI), acos(clamp(d.z, -1.0, 1.0)) / PI);
  return textureLod(picture, uv, lod).rgb;
}

float radicalInverse(uint bits) {
  bits = (bits << 16u) | (bits >> 16u);
  bits = ((bits & 0x55555555u) << 1u) | ((bits & 0xAAAAAAAAu) >> 1u);
  bits = ((bits & 0x33333333u) << 2u) | ((bits & 0xCCCCCCCCu) >> 2u);
  bits = ((bits & 0x0F0F0F0Fu) << 4u) | ((bits & 0xF0F0F0F0u) >> 4u);
  bits = ((bits & 0x00FF00FFu) << 8u) | ((bits & 0xFF00FF00u) >> 8u);
  return float(bits) / 4294967296.0;
}

void main() {
  vec3 n = normalize(faceDirection(gl_FragCoord.xy / side));
  float texel = 4.0 * PI / (pictureSize.x * pictureSize.y) * 1.5707963;
  if (samples == 1) { light = vec4(lookup(n, 0.5 * log2(max(4.0 * PI / (6.0 * side * side) / texel, 1.0))), 1.0); return; }
  vec3 up = abs(n.z) < 0.9 ? vec3(0.0, 0.0, 1.0) : vec3(1.0, 0.0, 0.0);
  vec3 tx = normalize(cross(up, n)), ty = cross(n, tx);
  float a2 = pow(roughness, 4.0), total = 0.0;
  vec3 sum = vec3(0.0);
  for (int i = 0; i < samples; i++) {
    float u = (float(i) + 0.5) / float(samples), phi = 2.0 * PI * radicalInverse(uint(i));
    float nh = sqrt((1.0 - u) / (1.0 + (a2 - 1.0) * u)), sh = sqrt(max(1.0 - nh * nh, 0.0));
    vec3 h = sh * cos(phi) * tx + sh * sin(phi) * ty + nh * n;
    vec3 l = reflect(-n, h);
    float nl = dot(n, l);
    if (nl <= 0.0) continue;
    float d = nh * nh * (a2 - 1.0) + 1.0, pdf = a2 / (PI * d * d) / 4.0;
    float lod = 0.5 * log2(max(1.0 / (float(samples) * pdf) / texel, 1.0)) + 0.5;
    sum += nl * lookup(l, lod);
    total += nl;
  }
  light = vec4(sum / max(total, 1e-6), 1.0);
}`;

export class Environment {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {string} name
   * @param {{width: number, height: number, rgb: Float32Array}} picture row 0 at +z, centre column +x, linear
   */
  constructor(gl, name, picture) {
    this.gl = gl;
    this.name = name;
    this.average = averageOf(picture);
    this.coefficients = projectEnvironment(picture.rgb, picture.width, picture.height);
    this.cube = gl.createTexture();
    this.table = makeTexture(gl, "RG16F", 32, 32, brdfTable(), true);
    this.prefilter(picture);
    this.version = Environment.next++;
    this.setRotation([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  }

  /** Light from nowhere, for scenes that need none. @param {WebGL2RenderingContext} gl */
  static dark(gl) {
    return new Environment(gl, "", { width: 2, height: 1, rgb: new Float32Array(6) });
  }

  /** Fill the levels of the cube map. */
  prefilter({ width, height, rgb }) {
    const { gl } = this;
    const source = this.uploadPicture(width, height, rgb);
    const program = new Program(gl, FULL_SCREEN, PREFILTER);
    gl.bindTexture(gl.TEXTURE_CUBE_MAP, this.cube);
    gl.texStorage2D(gl.TEXTURE_CUBE_MAP, LEVELS, gl.RGBA16F, SIDE, SIDE);
    gl.texParameteri(gl.TEXTURE_CUBE_MAP, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_CUBE_MAP, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    const frame = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.disable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    program.use().texture("picture", source).float("pictureSize", width, height);
    for (let level = 0; level < LEVELS; level++) {
      const side = SIDE >> level;
      gl.viewport(0, 0, side, side);
      program.float("side", side).float("roughness", level / (LEVELS - 1)).int("samples", SAMPLES[level]);
      for (let face = 0; face < 6; face++) {
        gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_CUBE_MAP_POSITIVE_X + face, this.cube, level);
        program.int("face", face);
        gl.drawArrays(gl.TRIANGLES, 0, 3);
      }
    }
    gl.deleteFramebuffer(frame);
    gl.deleteTexture(source);
    gl.deleteProgram(program.handle);
  }

  /** @returns {WebGLTexture} with a mip chain, wrapping around */
  uploadPicture(width, height, rgb) {
    const { gl } = this;
    const halves = new Uint16Array(4 * width * height);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) halves[4 * i + c] = half(Math.min(rgb[3 * i + c], 60000));
    }
    const texture = makeTexture(gl, "RGBA16F", width, height, halves, true);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.REPEAT);
    return texture;
  }

  /** Turn the light. @param {number[]} worldFromEnvironment row-major 3x3 */
  setRotation(worldFromEnvironment) {
    const m = worldFromEnvironment;
    this.environmentFromWorld = [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
    this.harmonics = Float32Array.from(rotateHarmonics(this.coefficients, m));
    this.version = Environment.next++;
  }

  /** Hand the light to a program that includes SHADING. @param {Program} program */
  bind(program) {
    program.texture("prefiltered", this.cube, this.gl.TEXTURE_CUBE_MAP).texture("brdfTable", this.table);
    program.matrix3("environmentFromWorld", this.environmentFromWorld).floats("lightHarmonics", this.harmonics, 3);
  }

  /** Free the memory of the graphics card. */
  dispose() {
    this.gl.deleteTexture(this.cube);
    this.gl.deleteTexture(this.table);
  }
}
Environment.next = 1;

/** Mean radiance over the sphere. @param {{width: number, height: number, rgb: Float32Array}} picture */
function averageOf({ width, height, rgb }) {
  let [sum, weight] = [0, 0];
  for (let row = 0; row < height; row++) {
    const area = Math.sin((Math.PI * (row + 0.5)) / height);
    for (let i = 3 * width * row; i < 3 * width * (row + 1); i++) {
      sum += area * rgb[i];
      weight += area;
    }
  }
  return sum / weight;
}
