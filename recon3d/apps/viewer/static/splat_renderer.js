/** Draws splats: a colour pass with one fragment per splat, then one indexed draw of blended ellipses. */

import { FULL_SCREEN, Program, Target, makeTable, makeTexture, tableHeight, TEXTURE_WIDTH } from "./gl.js";
import { centreOf } from "./math.js";
import { COLOUR_PASS, MODES, SPLAT_FRAGMENT, SPLAT_VERTEX } from "./shaders_splats.js";
import { Sorter } from "./sort.js";

/**
 * A camera as the renderer wants it.
 * @typedef {{camFromWorld: number[], K: number[], width: number, height: number, near: number, far: number}} ViewCamera
 */

/**
 * The row that gives the depth of a point, less an offset.
 * @param {ViewCamera} camera @param {number} offset
 */
export function depthRow(camera, offset) {
  const m = camera.camFromWorld;
  return [m[8], m[9], m[10], m[11] - offset];
}

export class SplatRenderer {
  /**
   * @param {WebGL2RenderingContext} gl
   * @param {import("./splat_data.js").SplatArrays} arrays
   * @param {() => void} onSorted is called when a new order has arrived
   */
  constructor(gl, arrays, onSorted) {
    this.gl = gl;
    this.n = arrays.n;
    this.degree = arrays.degree;
    this.isRelightable = arrays.materials !== null;
    this.isLinear = arrays.linear;
    this.info = { harmonicTexels: arrays.harmonicTexels, hasTransfer: arrays.hasTransfer };
    this.colourProgram = new Program(gl, FULL_SCREEN, COLOUR_PASS);
    this.program = new Program(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
    this.tables = {
      placed: makeTable(gl, "RGBA32F", arrays.placed),
      covarianceA: makeTable(gl, "RGBA32F", arrays.covarianceA),
      covarianceB: makeTable(gl, "RG32F", arrays.covarianceB),
      harmonics: makeTable(gl, "RGBA32UI", arrays.harmonics),
      materials: makeTable(gl, "RGBA32UI", arrays.materials ?? new Uint32Array(4)),
      order: makeTexture(gl, "R32UI", TEXTURE_WIDTH, tableHeight(arrays.n), null),
    };
    this.colours = new Target(gl, TEXTURE_WIDTH, tableHeight(arrays.n));
    this.makeIndices();
    this.sorter = new Sorter(arrays.centres, (order) => {
      this.upload(order);
      onSorted();
    });
    /** What the colours were last computed for; empty = they must be computed. */
    this.coloursFor = "";
    this.hasOrder = false;
  }

  /** Two triangles for each four vertices, which lie in no buffer: the shader goes by their number. */
  makeIndices() {
    const { gl } = this;
    const indices = new Uint32Array(6 * this.n);
    for (let i = 0, k = 0; i < this.n; i++) {
      const v = 4 * i;
      indices[k++] = v;
      indices[k++] = v + 1;
      indices[k++] = v + 2;
      indices[k++] = v + 2;
      indices[k++] = v + 1;
      indices[k++] = v + 3;
    }
    this.shape = gl.createVertexArray();
    gl.bindVertexArray(this.shape);
    this.indices = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }

  /** @param {Uint32Array} order */
  upload(order) {
    const { gl } = this;
    const rows = Math.floor(this.n / TEXTURE_WIDTH);
    const rest = this.n - rows * TEXTURE_WIDTH;
    gl.bindTexture(gl.TEXTURE_2D, this.tables.order);
    if (rows) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, rows, gl.RED_INTEGER, gl.UNSIGNED_INT, order);
    if (rest) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, rows, rest, 1, gl.RED_INTEGER, gl.UNSIGNED_INT, order, rows * TEXTURE_WIDTH);
    this.hasOrder = true;
  }

  /** The third row of the camera, by which splats are sorted. @param {ViewCamera} camera */
  static row = (camera) => camera.camFromWorld.slice(8, 12);

  /** Ask the worker for the order that a camera needs. @param {ViewCamera} camera */
  requestOrder(camera) {
    this.sorter.request(SplatRenderer.row(camera));
  }

  /** Sort on this thread, now. @param {ViewCamera} camera */
  sortNow(camera) {
    this.sorter.sortNow(SplatRenderer.row(camera));
  }

  /**
   * Compute the colours, unless they are still good.
   * @param {ViewCamera} camera
   * @param {keyof MODES} mode
   * @param {import("./environment.js").Environment} environment
   * @param {{depthScale: number, depthOffset: number}} depth that brings depths into the range of half floats
   */
  updateColours(camera, mode, environment, { depthScale, depthOffset }) {
    const { gl } = this;
    const seesCamera = mode === "depth" || mode === "relit" || (mode === "colour" && this.degree > 0);
    const key = [mode, mode === "relit" && environment.version, seesCamera && camera.camFromWorld, depthScale, depthOffset].join();
    if (key === this.coloursFor) return;
    this.coloursFor = key;
    this.colours.bind();
    gl.disable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    const program = this.colourProgram.use();
    program.texture("placed", this.tables.placed).texture("harmonics", this.tables.harmonics).texture("materials", this.tables.materials);
    program.int("mode", MODES[mode].index).int("degree", this.degree).int("harmonicTexels", this.info.harmonicTexels);
    program.int("hasMaterials", Number(this.isRelightable)).int("hasTransfer", Number(this.info.hasTransfer)).int("count", this.n);
    program.float("cameraCentre", ...centreOf(camera.camFromWorld)).float("depthRow", ...depthRow(camera, depthOffset));
    program.float("depthScale", depthScale);
    environment.bind(program);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /**
   * Blend the splats into the image that is bound.
   * @param {ViewCamera} camera
   * @param {{antialiased: boolean, eps2d?: number, boxFromWorld?: number[]|null}} options
   */
  draw(camera, { antialiased, eps2d = 0.3, boxFromWorld = null }) {
    const { gl } = this;
    if (!this.hasOrder || !this.n) return;
    const program = this.program.use();
    for (const name of ["placed", "covarianceA", "covarianceB", "order"]) program.texture(name, this.tables[name]);
    program.texture("colours", this.colours.texture);
    program.matrix4("cameraFromWorld", camera.camFromWorld).float("K", ...camera.K).float("size", camera.width, camera.height);
    program.float("near", camera.near).float("far", camera.far).float("eps2d", eps2d).int("antialiased", Number(antialiased));
    program.int("hasBox", Number(boxFromWorld !== null));
    program.matrix4("boxFromWorld", boxFromWorld ?? new Array(16).fill(0));
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.enable(gl.DEPTH_TEST);
    gl.depthMask(false);
    gl.bindVertexArray(this.shape);
    gl.drawElements(gl.TRIANGLES, 6 * this.n, gl.UNSIGNED_INT, 0);
    gl.bindVertexArray(null);
    gl.depthMask(true);
    gl.disable(gl.BLEND);
  }

  /** Free the memory of the graphics card and end the worker. */
  dispose() {
    for (const table of Object.values(this.tables)) this.gl.deleteTexture(table);
    this.gl.deleteBuffer(this.indices);
    this.gl.deleteVertexArray(this.shape);
    this.colours.dispose();
    this.sorter.dispose();
  }
}
