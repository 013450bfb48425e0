/** The light: an equirectangular picture, its harmonics, and a cube map whose levels are blurred by roughness. */

import { FULL_SCREEN, Program, makeTexture } from "./gl.js";
import { brdfTable, projectEnvironment, rotateHarmonics } from "./harmonics.js";
import { half } from "./splat_data.js";

/** Side of the sharpest level; each level of six halves it, at roughness 0, 0.2, .. 1. */
const SIDE = 256;
const LEVELS = 6;
const SAMPLES = [0, 32, 64, 96, 128, 128];
const MAX_SAMPLES = 128;

const FACE = `
uniform int face;
uniform float side;
vec3 faceDirection() {
  vec2 c = 2.0 * gl_FragCoord.xy / side - 1.0;
  if (face == 0) return normalize(vec3(1.0, -c.y, -c.x));
  if (face == 1) return normalize(vec3(-1.0, -c.y, c.x));
  if (face == 2) return normalize(vec3(c.x, 1.0, c.y));
  if (face == 3) return normalize(vec3(c.x, -1.0, -c.y));
  if (face == 4) return normalize(vec3(c.x, -c.y, 1.0));
  return normalize(vec3(-c.x, -c.y, -1.0));
}`;

/** The picture on a face of a cube. */
const PROJECT = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform float lod;
out vec4 light;
${FACE}
void main() {
  vec3 d = faceDirection();
  vec2 uv = vec2(0.5 - atan(d.y, d.x) / 6.283185307179586, acos(clamp(d.z, -1.0, 1.0)) / 3.141592653589793);
  light = vec4(textureLod(picture, uv, lod).rgb, 1.0);
}`;

/** A cube blurred by GGX with N = V = R: filtered importance sampling, the same directions about every normal. */
const PREFILTER = `#version 300 es
precision highp float;
precision highp samplerCube;
uniform samplerCube source;
uniform int samples;
uniform vec4 lobe[${MAX_SAMPLES}]; // direction about the normal, and the level of the cube that fits its share
out vec4 light;
${FACE}
void main() {
  vec3 n = faceDirection();
  vec3 tx = normalize(cross(abs(n.z) < 0.9 ? vec3(0.0, 0.0, 1.0) : vec3(1.0, 0.0, 0.0), n)), ty = cross(n, tx);
  vec3 sum = vec3(0.0);
  float total = 0.0;
  for (int i = 0; i < samples; i++) {
    vec4 s = lobe[i];
    sum += s.z * textureLod(source, s.x * tx + s.y * ty + s.z * n, s.w).rgb;
    total += s.z;
  }
  light = vec4(sum / total, 1.0);
}`;

/**
 * Light directions of GGX half vectors about z, and levels of a cube of a side.
 * @param {number} roughness @param {number} count @param {number} side @returns {Float32Array} x, y, z, level of each that lies above
 */
function ggxLobe(roughness, count, side) {
  const a2 = roughness ** 4;
  const texel = (4 * Math.PI) / (6 * side * side);
  const out = [];
  for (let i = 0; i < count; i++) {
    const u = (i + 0.5) / count;
    const phi = 2 * Math.PI * ((i * 0.6180339887498949) % 1);
    const nh = Math.sqrt((1 - u) / (1 + (a2 - 1) * u));
    const sh = Math.sqrt(1 - nh * nh);
    const z = 2 * nh * nh - 1;
    if (z <= 0) continue;
    const density = a2 / (Math.PI * (nh * nh * (a2 - 1) + 1) ** 2) / 4;
    const level = Math.max(0, 0.5 * Math.log2(1 / (count * density) / texel));
    out.push(2 * nh * sh * Math.cos(phi), 2 * nh * sh * Math.sin(phi), z, level);
  }
  return Float32Array.from(out);
}

/** The table of the split sum, once it is needed. @type {Float32Array|undefined} */
let splitSum;

export class Environment {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {string} name
   * @param {{width: number, height: number, rgb: Float32Array}} picture row 0 at +z, centre column +x, linear
   * @param {number} [side] of the sharpest level
   */
  constructor(gl, name, picture, side = SIDE) {
    this.gl = gl;
    this.side = side;
    this.name = name;
    this.coefficients = projectEnvironment(picture.rgb, picture.width, picture.height);
    this.cube = gl.createTexture();
    this.table = makeTexture(gl, "RG16F", 32, 32, (splitSum ??= brdfTable()), true);
    this.prefilter(picture);
    this.version = Environment.next++;
    this.setRotation([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  }

  /** Light from nowhere, for scenes that need none. @param {WebGL2RenderingContext} gl */
  static dark(gl) {
    return new Environment(gl, "", { width: 2, height: 1, rgb: new Float32Array(6) }, 32);
  }

  /** Fill the levels of the cube map. */
  prefilter({ width, height, rgb }) {
    const { gl } = this;
    const picture = this.uploadPicture(width, height, rgb);
    const project = new Program(gl, FULL_SCREEN, PROJECT);
    const blur = new Program(gl, FULL_SCREEN, PREFILTER);
    const source = this.makeCube(gl.createTexture(), 1 + Math.log2(this.side));
    this.makeCube(this.cube, LEVELS);
    const frame = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.disable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    project.use().texture("picture", picture).float("lod", Math.max(0, Math.log2(width / (4 * this.side))));
    for (const cube of [source, this.cube]) this.fillLevel(project, cube, 0);
    gl.bindTexture(gl.TEXTURE_CUBE_MAP, source);
    gl.generateMipmap(gl.TEXTURE_CUBE_MAP);
    blur.use().texture("source", source, gl.TEXTURE_CUBE_MAP);
    for (let level = 1; level < LEVELS; level++) {
      const lobe = ggxLobe(level / (LEVELS - 1), SAMPLES[level], this.side);
      blur.floats("lobe[0]", lobe, 4).int("samples", lobe.length / 4);
      this.fillLevel(blur, this.cube, level);
    }
    gl.deleteFramebuffer(frame);
    for (const texture of [source, picture]) gl.deleteTexture(texture);
    for (const program of [project, blur]) gl.deleteProgram(program.handle);
  }

  /** @param {WebGLTexture} cube @param {number} levels */
  makeCube(cube, levels) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_CUBE_MAP, cube);
    gl.texStorage2D(gl.TEXTURE_CUBE_MAP, levels, gl.RGBA16F, this.side, this.side);
    gl.texParameteri(gl.TEXTURE_CUBE_MAP, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_CUBE_MAP, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    return cube;
  }

  /** Draw the six faces of a level. @param {Program} program in use @param {WebGLTexture} cube @param {number} level */
  fillLevel(program, cube, level) {
    const { gl } = this;
    const side = this.side >> level;
    gl.viewport(0, 0, side, side);
    program.float("side", side);
    for (let face = 0; face < 6; face++) {
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_CUBE_MAP_POSITIVE_X + face, cube, level);
      program.int("face", face);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
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
