/** Thin helpers around WebGL2: programs, textures and frame buffers that say what went wrong. */

/** Texture width that every device takes. */
export const TEXTURE_WIDTH = 4096;

/**
 * Make a WebGL2 context that can add up light in half floats.
 * @param {HTMLCanvasElement} canvas
 * @returns {WebGL2RenderingContext}
 */
export function makeContext(canvas) {
  const options = { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true, powerPreference: "high-performance" };
  const gl = canvas.getContext("webgl2", options);
  if (!gl) throw new Error("This browser offers no WebGL2. Switch on hardware acceleration, or use a current browser.");
  const floats = gl.getExtension("EXT_color_buffer_float");
  if (!floats && !gl.getExtension("EXT_color_buffer_half_float")) {
    throw new Error("This graphics driver cannot draw into half-float images (EXT_color_buffer_half_float).");
  }
  gl.getExtension("OES_texture_float_linear");
  return gl;
}

/**
 * A compiled program with its uniform locations.
 */
export class Program {
  /** @param {WebGL2RenderingContext} gl @param {string} vertex @param {string} fragment */
  constructor(gl, vertex, fragment) {
    this.gl = gl;
    this.handle = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source.trim());
      gl.compileShader(shader);
      gl.attachShader(this.handle, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new Error(`A shader does not compile: ${gl.getShaderInfoLog(shader)}`);
      }
    }
    gl.linkProgram(this.handle);
    if (!gl.getProgramParameter(this.handle, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`A program does not link: ${gl.getProgramInfoLog(this.handle)}`);
    }
    /** @type {Map<string, WebGLUniformLocation|null>} */
    this.locations = new Map();
  }

  /** Use the program; textures are given units from 0 on. */
  use() {
    this.gl.useProgram(this.handle);
    this.unit = 0;
    return this;
  }

  /** @param {string} name */
  at(name) {
    if (!this.locations.has(name)) this.locations.set(name, this.gl.getUniformLocation(this.handle, name));
    return this.locations.get(name);
  }

  /** Set a float or a vector of floats. @param {string} name @param {...number} values */
  float(name, ...values) {
    this.gl[`uniform${values.length}f`](this.at(name), ...values);
    return this;
  }

  /** Set an array of vectors. @param {string} name @param {ArrayLike<number>} values @param {number} size */
  floats(name, values, size) {
    this.gl[`uniform${size}fv`](this.at(name), values);
    return this;
  }

  /** @param {string} name @param {number} value */
  int(name, value) {
    this.gl.uniform1i(this.at(name), value);
    return this;
  }

  /** Set a row-major 4x4 matrix. @param {string} name @param {number[]} value */
  matrix4(name, value) {
    this.gl.uniformMatrix4fv(this.at(name), true, value);
    return this;
  }

  /** Set a row-major 3x3 matrix. @param {string} name @param {number[]} value */
  matrix3(name, value) {
    this.gl.uniformMatrix3fv(this.at(name), true, value);
    return this;
  }

  /** @param {string} name @param {WebGLTexture} texture @param {number} [target] */
  texture(name, texture, target = this.gl.TEXTURE_2D) {
    this.gl.activeTexture(this.gl.TEXTURE0 + this.unit);
    this.gl.bindTexture(target, texture);
    this.gl.uniform1i(this.at(name), this.unit);
    this.unit += 1;
    return this;
  }
}

/** How the formats that we use are uploaded: format, type, and numbers per texel. */
const FORMATS = {
  RGBA32F: ["RGBA", "FLOAT", 4],
  RG32F: ["RG", "FLOAT", 2],
  RGBA16F: ["RGBA", "HALF_FLOAT", 4],
  RG16F: ["RG", "FLOAT", 2],
  RGBA32UI: ["RGBA_INTEGER", "UNSIGNED_INT", 4],
  R32UI: ["RED_INTEGER", "UNSIGNED_INT", 1],
  RGBA8: ["RGBA", "UNSIGNED_BYTE", 4],
};

/**
 * Make a texture without filtering.
 * @param {WebGL2RenderingContext} gl @param {keyof FORMATS} format @param {number} width @param {number} height
 * @param {ArrayBufferView|null} data
 * @param {boolean} [linear] filter between texels
 */
export function makeTexture(gl, format, width, height, data, linear = false) {
  const texture = gl.createTexture();
  const [layout, type] = FORMATS[format];
  gl.bindTexture(gl.TEXTURE_2D, texture);
  const filter = linear ? gl.LINEAR : gl.NEAREST;
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl[format], width, height, 0, gl[layout], gl[type], data);
  return texture;
}

/**
 * Make a texture that holds a list of records.
 * @param {WebGL2RenderingContext} gl @param {keyof FORMATS} format
 * @param {ArrayBufferView} data of any length
 * @returns {WebGLTexture}
 */
export function makeTable(gl, format, data) {
  const perTexel = FORMATS[format][2];
  const height = tableHeight(data.length / perTexel);
  if (height > gl.getParameter(gl.MAX_TEXTURE_SIZE)) throw new Error("There are more splats than this graphics card can hold.");
  const size = TEXTURE_WIDTH * height * perTexel;
  let padded = data;
  if (data.length !== size) {
    padded = new data.constructor(size);
    padded.set(data);
  }
  return makeTexture(gl, format, TEXTURE_WIDTH, height, padded);
}

/** @param {number} n texels @returns {number} rows of a table that holds them */
export const tableHeight = (n) => Math.max(1, Math.ceil(n / TEXTURE_WIDTH));

/**
 * An image to draw into.
 */
export class Target {
  /**
   * @param {WebGL2RenderingContext} gl @param {number} width @param {number} height
   * @param {{format?: keyof FORMATS, depth?: boolean, linear?: boolean}} [options]
   */
  constructor(gl, width, height, { format = "RGBA16F", depth = false, linear = false } = {}) {
    this.gl = gl;
    this.width = width;
    this.height = height;
    this.texture = makeTexture(gl, format, width, height, null, linear);
    this.frame = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.texture, 0);
    if (depth) {
      this.depth = gl.createRenderbuffer();
      gl.bindRenderbuffer(gl.RENDERBUFFER, this.depth);
      gl.renderbufferStorage(gl.RENDERBUFFER, gl.DEPTH_COMPONENT24, width, height);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.RENDERBUFFER, this.depth);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  /** Draw into this image from now on. */
  bind() {
    this.gl.bindFramebuffer(this.gl.FRAMEBUFFER, this.frame);
    this.gl.viewport(0, 0, this.width, this.height);
    return this;
  }

  /** @returns {Float32Array} RGBA, top row first */
  read() {
    const { gl, width, height } = this;
    const raw = new Float32Array(4 * width * height);
    this.bind();
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.FLOAT, raw);
    const out = new Float32Array(raw.length);
    for (let y = 0; y < height; y++) out.set(raw.subarray(4 * width * (height - 1 - y), 4 * width * (height - y)), 4 * width * y);
    return out;
  }

  /** Free the memory of the graphics card. */
  dispose() {
    this.gl.deleteTexture(this.texture);
    this.gl.deleteFramebuffer(this.frame);
    if (this.depth) this.gl.deleteRenderbuffer(this.depth);
  }
}

/** Vertex shader of a pass over the whole image: one triangle. */
export const FULL_SCREEN = `#version 300 es
void main() {
  gl_Position = vec4(vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0), 0.0, 1.0);
}`;
