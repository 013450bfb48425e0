/** Draws meshes, points, lines and photos: everything that is solid. */

import { clipFromWorld } from "./camera.js";
import { Program } from "./gl.js";
import { centreOf } from "./math.js";
import { HARMONICS, SHADING, TONE } from "./shaders_light.js";
import { MODES } from "./shaders_splats.js";
import { depthRow } from "./splat_renderer.js";

const MESH_VERTEX = `#version 300 es
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec3 colour;
layout(location = 3) in vec2 uv;
uniform mat4 clipFromWorld;
out vec3 where, normalHere, colourHere;
out vec2 uvHere;
void main() {
  where = position;
  normalHere = normal;
  colourHere = colour;
  uvHere = uv;
  gl_Position = clipFromWorld * vec4(position, 1.0);
}`;

const MESH_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
precision highp samplerCube;
in vec3 where, normalHere, colourHere;
in vec2 uvHere;
uniform sampler2D baseImage, materialImage;
uniform int mode, unlit, hasBox;
uniform vec3 baseColour, cameraCentre;
uniform float roughness, metallic, depthScale;
uniform vec4 depthRow;
uniform mat4 boxFromWorld;
out vec4 light;
${HARMONICS}
${SHADING}
${TONE}
void main() {
  if (hasBox == 1 && any(greaterThan(abs((boxFromWorld * vec4(where, 1.0)).xyz), vec3(1.0)))) discard;
  vec3 view = normalize(cameraCentre - where);
  vec3 n = normalize(normalHere);
  if (dot(n, view) < 0.0) n = -n;
  vec3 material = texture(materialImage, uvHere).rgb;
  vec3 image = texture(baseImage, uvHere).rgb;
  image = mix(image / 12.92, pow((image + 0.055) / 1.055, vec3(2.4)), step(0.04045, image));
  vec3 base = colourHere * baseColour * image;
  float rough = clamp(roughness * material.g, 0.02, 1.0), metal = clamp(metallic * material.b, 0.0, 1.0);
  if (unlit == 1) { rough = 1.0; metal = 0.0; }
  vec3 value = srgbFromLinear(base);
  if (mode == 1) value = shade(n, view, base, rough, metal, irradianceOf(n), 1.0);
  if (mode == 2) value = base;
  if (mode == 3) value = 0.5 * n + 0.5;
  if (mode == 4) value = vec3(rough);
  if (mode == 5) value = vec3(metal);
  if (mode == 6) value = vec3((dot(depthRow.xyz, where) + depthRow.w) * depthScale);
  light = vec4(min(value, 60000.0), 1.0);
}`;

const PLAIN_VERTEX = `#version 300 es
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 colour;
uniform mat4 clipFromWorld;
uniform float pointSize;
uniform vec4 depthRow;
out vec3 colourHere;
out float depthHere;
void main() {
  colourHere = colour;
  depthHere = dot(depthRow.xyz, position) + depthRow.w;
  gl_Position = clipFromWorld * vec4(position, 1.0);
  gl_PointSize = pointSize;
}`;

const PLAIN_FRAGMENT = `#version 300 es
precision highp float;
in vec3 colourHere;
in float depthHere;
uniform int mode, isPoint, isLinear;
uniform float depthScale;
out vec4 light;
void main() {
  if (isPoint == 1 && length(gl_PointCoord - 0.5) > 0.5) discard;
  vec3 value = colourHere;
  if (isLinear == 1) value = mix(value / 12.92, pow((value + 0.055) / 1.055, vec3(2.4)), step(0.04045, value));
  if (mode == 6) value = vec3(depthHere * depthScale);
  light = vec4(value, 1.0);
}`;

const PHOTO_VERTEX = `#version 300 es
layout(location = 0) in vec3 position;
layout(location = 1) in vec2 uv;
uniform mat4 clipFromWorld;
out vec2 uvHere;
void main() { uvHere = uv; gl_Position = clipFromWorld * vec4(position, 1.0); }`;

const PHOTO_FRAGMENT = `#version 300 es
precision highp float;
in vec2 uvHere;
uniform sampler2D photo;
out vec4 light;
void main() { light = vec4(texture(photo, uvHere).rgb, 1.0); }`;

/** Put arrays into buffers. @param {WebGL2RenderingContext} gl @param {[number, number, Float32Array|null][]} attributes */
function makeShape(gl, attributes, indices = null) {
  const shape = gl.createVertexArray();
  const buffers = [];
  gl.bindVertexArray(shape);
  for (const [location, size, data] of attributes) {
    if (!data) continue;
    const buffer = gl.createBuffer();
    buffers.push(buffer);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, size, gl.FLOAT, false, 0, 0);
  }
  if (indices) {
    const buffer = gl.createBuffer();
    buffers.push(buffer);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
  }
  gl.bindVertexArray(null);
  return { shape, buffers };
}

/** Upload a picture. @param {WebGL2RenderingContext} gl @param {ImageBitmap|null} image white where there is none */
function makeImage(gl, image) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  if (image) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, image);
  else gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([255, 255, 255, 255]));
  gl.generateMipmap(gl.TEXTURE_2D);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  return texture;
}

/** The programs that all solid things share. */
export class SurfacePrograms {
  /** @param {WebGL2RenderingContext} gl */
  constructor(gl) {
    this.gl = gl;
    this.mesh = new Program(gl, MESH_VERTEX, MESH_FRAGMENT);
    this.plain = new Program(gl, PLAIN_VERTEX, PLAIN_FRAGMENT);
    this.photo = new Program(gl, PHOTO_VERTEX, PHOTO_FRAGMENT);
  }
}

/** A mesh of one or more parts. */
export class MeshRenderer {
  /** @param {SurfacePrograms} programs @param {import("./glb.js").MeshPart[]} parts */
  constructor(programs, parts) {
    const { gl } = programs;
    this.programs = programs;
    this.nFaces = parts.reduce((sum, part) => sum + part.indices.length / 3, 0);
    this.isUnlit = parts.every((part) => part.unlit);
    this.parts = parts.map((part) => ({
      ...makeShape(gl, [[0, 3, part.positions], [1, 3, part.normals], [2, 3, part.colours], [3, 2, part.uvs]], part.indices),
      n: part.indices.length, base: part.baseColour, roughness: part.roughness, metallic: part.metallic, unlit: part.unlit,
      baseImage: makeImage(gl, part.baseImage), materialImage: makeImage(gl, part.materialImage),
    }));
  }

  /** @param {import("./splat_renderer.js").ViewCamera} camera @param {import("./viewer.js").Look} look */
  draw(camera, look) {
    const { gl } = this.programs;
    const program = this.programs.mesh;
    gl.enable(gl.DEPTH_TEST);
    for (const part of this.parts) {
      program.use().texture("baseImage", part.baseImage).texture("materialImage", part.materialImage);
      program.matrix4("clipFromWorld", clipFromWorld(camera)).int("mode", MODES[look.mode].index).int("unlit", Number(part.unlit));
      program.float("baseColour", ...part.base.slice(0, 3)).float("cameraCentre", ...centreOf(camera.camFromWorld));
      program.float("roughness", part.roughness).float("metallic", part.metallic).float("depthScale", look.depthScale);
      program.float("depthRow", ...depthRow(camera, look.depthOffset)).int("hasBox", Number(look.boxFromWorld !== null));
      program.matrix4("boxFromWorld", look.boxFromWorld ?? new Array(16).fill(0));
      look.environment.bind(program);
      gl.bindVertexArray(part.shape);
      gl.drawElements(gl.TRIANGLES, part.n, gl.UNSIGNED_INT, 0);
    }
    gl.bindVertexArray(null);
  }
}

/** Points or lines with a colour each. */
export class PlainRenderer {
  /**
   * @param {SurfacePrograms} programs @param {"POINTS"|"LINES"} kind
   * @param {Float32Array} positions @param {Float32Array} colours sRGB
   */
  constructor(programs, kind, positions, colours) {
    this.programs = programs;
    this.kind = kind;
    this.n = positions.length / 3;
    this.made = makeShape(programs.gl, [[0, 3, positions], [1, 3, colours]]);
  }

  /**
   * @param {import("./splat_renderer.js").ViewCamera} camera
   * @param {{mode: keyof MODES, depthScale: number, depthOffset: number}} look
   * @param {number} [pointSize] in pixels
   */
  draw(camera, look, pointSize = 1) {
    const { gl } = this.programs;
    const program = this.programs.plain.use().matrix4("clipFromWorld", clipFromWorld(camera)).float("pointSize", pointSize);
    program.float("depthRow", ...depthRow(camera, look.depthOffset)).int("mode", MODES[look.mode].index).float("depthScale", look.depthScale);
    program.int("isPoint", Number(this.kind === "POINTS")).int("isLinear", Number(["linear", "albedo"].includes(MODES[look.mode].space)));
    gl.bindVertexArray(this.made.shape);
    gl.drawArrays(gl[this.kind], 0, this.n);
    gl.bindVertexArray(null);
  }

  /** Free the memory of the graphics card. */
  dispose() {
    for (const buffer of this.made.buffers) this.programs.gl.deleteBuffer(buffer);
    this.programs.gl.deleteVertexArray(this.made.shape);
  }
}

/** A photo hung up in the scene. */
export class PhotoRenderer {
  /** @param {SurfacePrograms} programs @param {number[][]} corners top left, top right, bottom left, bottom right @param {ImageBitmap} image */
  constructor(programs, corners, image) {
    this.programs = programs;
    this.image = makeImage(programs.gl, image);
    this.made = makeShape(programs.gl, [[0, 3, Float32Array.from(corners.flat())], [1, 2, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1])]]);
  }

  /** @param {import("./splat_renderer.js").ViewCamera} camera */
  draw(camera) {
    const { gl } = this.programs;
    this.programs.photo.use().texture("photo", this.image).matrix4("clipFromWorld", clipFromWorld(camera));
    gl.bindVertexArray(this.made.shape);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    gl.bindVertexArray(null);
  }
}
