/** From the blended image to the screen: exposure, tone curve, false colours, and what lies behind the scene. */

import { FULL_SCREEN, Program } from "./gl.js";
import { TONE } from "./shaders_light.js";

/** Tone curves in the order of the shader. */
export const CURVES = ["srgb", "reinhard", "aces", "agx", "neutral"];
const SPACES = ["display", "linear", "albedo", "data", "depth"];

const FINAL = `#version 300 es
precision highp float;
precision highp samplerCube;
uniform sampler2D image;
uniform samplerCube prefiltered;
uniform mat3 environmentFromWorld, worldFromCamera;
uniform vec4 K;
uniform vec2 imageSize, screenSize, depthRange;
uniform vec3 background;
uniform float exposure, sky;
uniform int space, curve;
out vec4 shown;
${TONE}

// Near is light and warm, far is dark and blue.
vec3 falseColour(float t) {
  t = clamp(t, 0.0, 1.0);
  const vec3 c0 = vec3(0.11, 0.05, 0.34), c1 = vec3(0.13, 0.45, 0.66), c2 = vec3(0.45, 0.78, 0.52), c3 = vec3(0.99, 0.91, 0.45);
  if (t < 0.333) return mix(c0, c1, t * 3.0);
  if (t < 0.667) return mix(c1, c2, t * 3.0 - 1.0);
  return mix(c2, c3, t * 3.0 - 2.0);
}

void main() {
  vec2 uv = gl_FragCoord.xy / screenSize;
  vec4 c = texture(image, uv);
  float behind = 1.0 - c.a;
  if (space == 0 || space == 3) {
    shown = vec4(c.rgb + behind * background, 1.0);
  } else if (space == 1) {
    if (sky > 0.0) {
      vec2 pixel = vec2(uv.x, 1.0 - uv.y) * imageSize;
      vec3 ray = worldFromCamera * vec3((pixel - K.zw) / K.xy, 1.0);
      c.rgb += behind * textureLod(prefiltered, environmentFromWorld * ray, 0.0).rgb;
      behind = 0.0;
    }
    vec3 light = srgbFromLinear(toneCurve(exposure * c.rgb / max(1.0 - behind, 1e-4), curve));
    shown = vec4(mix(light, background, behind), 1.0); // the background is no light: no curve bends it
  } else if (space == 2) {
    shown = vec4(srgbFromLinear(clamp(c.rgb, 0.0, 1.0)) + behind * background, 1.0);
  } else {
    float depth = c.r / max(c.a, 1e-4);
    vec3 hue = falseColour((depthRange.y - depth) / (depthRange.y - depthRange.x));
    shown = vec4(mix(background, hue, smoothstep(0.05, 0.5, c.a)), 1.0);
  }
}`;

export class FinalPass {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl) {
    this.gl = gl;
    this.program = new Program(gl, FULL_SCREEN, FINAL);
  }

  /**
   * Draw into what is bound.
   * @param {WebGLTexture} image
   * @param {import("./splat_renderer.js").ViewCamera} camera
   * @param {import("./viewer.js").Look} look
   * @param {number} width of the screen @param {number} height
   */
  draw(image, camera, look, width, height) {
    const { gl } = this;
    const m = camera.camFromWorld;
    gl.viewport(0, 0, width, height);
    gl.disable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    const program = this.program.use().texture("image", image);
    program.texture("prefiltered", look.environment.cube, gl.TEXTURE_CUBE_MAP);
    program.matrix3("environmentFromWorld", look.environment.environmentFromWorld);
    program.matrix3("worldFromCamera", [m[0], m[4], m[8], m[1], m[5], m[9], m[2], m[6], m[10]]).float("K", ...camera.K);
    program.float("imageSize", camera.width, camera.height).float("screenSize", width, height).float("background", ...look.background);
    program.float("exposure", 2 ** look.exposure).float("sky", Number(look.sky)).float("depthRange", ...look.depthRange);
    program.int("space", SPACES.indexOf(look.space)).int("curve", CURVES.indexOf(look.curve));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}
