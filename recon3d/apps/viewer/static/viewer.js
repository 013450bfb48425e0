/** The scene on the screen: layers, look and camera, drawn when something has changed. */

import { OrbitCamera, unproject } from "./camera.js";
import { Environment } from "./environment.js";
import { FinalPass } from "./final_pass.js";
import { Target, makeContext } from "./gl.js";
import { MODES } from "./shaders_splats.js";
import { SplatRenderer } from "./splat_renderer.js";
import { PlainRenderer, SurfacePrograms } from "./surface_renderer.js";

/**
 * How the scene looks.
 * @typedef {object} Look
 * @property {keyof MODES} mode
 * @property {string} space of the colours, see MODES
 * @property {number} exposure in stops
 * @property {string} curve one of CURVES
 * @property {boolean} sky whether the environment is seen behind a relit scene
 * @property {number[]} background sRGB
 * @property {Environment} environment
 * @property {number} depthScale @property {number} depthOffset
 * @property {number[]} depthRange in scaled depths
 * @property {number[]|null} boxFromWorld row-major 4x4; what leaves the cube -1..1 is cut away
 */

const SLOW_FRAME_MS = 45;
const FAST_FRAME_MS = 18;
const MIN_SCALE = 0.3;
const REST_MS = 180;

export class Viewer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = makeContext(canvas);
    this.programs = new SurfacePrograms(this.gl);
    this.finalPass = new FinalPass(this.gl);
    this.camera = new OrbitCamera();
    /** @type {{splats: SplatRenderer|null, mesh: any, points: PlainRenderer|null, cameras: {draw: Function}|null}} */
    this.layers = { splats: null, mesh: null, points: null, cameras: null };
    this.visible = { splats: true, mesh: true, points: true, cameras: false };
    this.antialiased = false;
    this.pointSize = 2;
    this.dark = Environment.dark(this.gl);
    /** @type {Look} */
    this.look = {
      mode: "colour", space: "display", exposure: 0, curve: "neutral", sky: false, background: [0.07, 0.075, 0.085],
      environment: this.dark, depthScale: 1, depthOffset: 0, depthRange: [0, 1], boxFromWorld: null,
    };
    /** A camera that stands still, for the comparison with a photo. @type {any} */
    this.fixed = null;
    /** @type {PlainRenderer|null} lines over everything */
    this.overlay = null;
    this.quality = 1;
    this.frameMs = 0;
    this.onFrame = () => {};
    this.lastMove = 0;
    this.isMoving = false;
    this.target = null;
    new ResizeObserver(() => this.invalidate()).observe(canvas);
  }

  /** Something has changed: draw soon. @param {boolean} [moving] draw coarser where the machine is slow */
  invalidate(moving = false) {
    if (moving) {
      this.isMoving = true;
      this.lastMove = performance.now();
    }
    if (!this.pending) this.pending = requestAnimationFrame((now) => this.frame(now));
  }

  /** @param {number} now */
  frame(now) {
    this.pending = 0;
    const wasMoving = this.isMoving;
    if (wasMoving && now - this.lastMove > REST_MS) this.isMoving = false;
    const started = performance.now();
    this.onBeforeFrame?.(now);
    this.draw(this.isMoving ? this.quality : 1);
    if (wasMoving) this.measure(now, started);
    this.onFrame();
    if (this.isMoving) this.invalidate();
  }

  /** Follow the time between frames, and choose how fine the next ones are. */
  measure(now, started) {
    // Reading a pixel waits for the graphics card, so that the time is that of the whole frame.
    this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, new Uint8Array(4));
    const ms = performance.now() - started;
    this.frameMs = this.frameMs ? 0.8 * this.frameMs + 0.2 * ms : ms;
    if (ms > SLOW_FRAME_MS) this.quality = Math.max(MIN_SCALE, 0.85 * this.quality);
    else if (ms < FAST_FRAME_MS) this.quality = Math.min(1, 1.05 * this.quality);
  }

  /** Fit the canvas to its place on the page. */
  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
  }

  /** The camera for an image of a size. @param {number} width @param {number} height */
  cameraFor(width, height) {
    if (!this.fixed) return this.camera.view(width, height);
    const scale = Math.min(width / this.fixed.width, height / this.fixed.height);
    const [fx, fy, cx, cy] = this.fixed.K.map((value) => value * scale);
    const [left, top] = [(width - this.fixed.width * scale) / 2, (height - this.fixed.height * scale) / 2];
    return { camFromWorld: this.fixed.camFromWorld, K: [fx, fy, cx + left, cy + top], width, height, ...this.camera.range };
  }

  /** Draw to the screen. @param {number} [scale] of the image that is blended */
  draw(scale = 1) {
    if (this.gl.isContextLost()) return;
    this.resize();
    const [width, height] = [this.canvas.width, this.canvas.height];
    const camera = this.cameraFor(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
    this.layers.splats?.requestOrder(camera);
    const target = this.blend(camera, this.currentLook(camera));
    this.gl.bindFramebuffer(this.gl.FRAMEBUFFER, null);
    this.finalPass.draw(target.texture, camera, this.currentLook(camera), width, height);
    this.drawOverlay(this.cameraFor(width, height));
  }

  /** The look with what follows from the mode and the camera. @returns {Look} */
  currentLook(camera) {
    const { mode } = this.look;
    const isLinear = mode === "colour" && this.layers.splats?.isLinear && this.visible.splats;
    const reach = this.camera.distance;
    return { ...this.look, space: isLinear ? "linear" : MODES[mode].space, depthScale: 1 / reach, depthRange: [0.4, 1.8], camera };
  }

  /**
   * Blend all layers.
   * @param {import("./splat_renderer.js").ViewCamera} camera @param {Look} look @returns {Target}
   */
  blend(camera, look) {
    const { gl, layers, visible } = this;
    if (visible.splats) layers.splats?.updateColours(camera, look.mode, look.environment, look);
    const target = this.targetOf(camera.width, camera.height).bind();
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    if (visible.mesh) layers.mesh?.draw(camera, look);
    if (visible.points) layers.points?.draw(camera, look, this.pointSize * (window.devicePixelRatio || 1));
    if (visible.cameras && !this.fixed) layers.cameras?.draw(camera, look);
    if (visible.splats) layers.splats?.draw(camera, { antialiased: this.antialiased, boxFromWorld: look.boxFromWorld });
    return target;
  }

  /** @param {number} width @param {number} height @returns {Target} */
  targetOf(width, height) {
    if (this.target?.width !== width || this.target.height !== height) {
      this.target?.dispose();
      this.target = new Target(this.gl, width, height, { depth: true, linear: true });
    }
    return this.target;
  }

  /** Lines over everything. */
  drawOverlay(camera) {
    if (!this.overlay || this.fixed) return;
    this.gl.disable(this.gl.DEPTH_TEST);
    this.overlay.draw(camera, { mode: "colour", depthScale: 1, depthOffset: 0 });
  }

  /** Replace the lines over everything. @param {number[][]} segments pairs of points @param {number[]} colour */
  setOverlay(segments, colour = [1, 0.62, 0.25]) {
    this.overlay?.dispose();
    const positions = Float32Array.from(segments.flat());
    const colours = Float32Array.from(segments.flatMap(() => colour));
    this.overlay = segments.length ? new PlainRenderer(this.programs, "LINES", positions, colours) : null;
    this.invalidate();
  }

  /**
   * What lies under a point of the screen.
   * @param {number} x in CSS pixels from the left of the canvas @param {number} y
   * @returns {{point: number[], depth: number}|null} in the world
   */
  pick(x, y) {
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const camera = this.cameraFor(this.canvas.width, this.canvas.height);
    const pixel = [Math.floor(x * ratio), Math.floor(y * ratio)];
    const rough = this.depthAt(camera, pixel, 0, 1 / this.camera.distance);
    if (rough === null) return null;
    const depth = this.depthAt(camera, pixel, rough, 20 / rough) ?? rough; // finer, where half floats are dense
    this.invalidate();
    return { point: unproject(camera, pixel[0] + 0.5, pixel[1] + 0.5, depth), depth };
  }

  /** Expected depth at a pixel. @returns {number|null} */
  depthAt(camera, [x, y], depthOffset, depthScale) {
    const { gl } = this;
    const bottom = camera.height - 1 - y;
    const look = { ...this.currentLook(camera), mode: "depth", depthOffset, depthScale };
    this.layers.splats?.updateColours(camera, "depth", look.environment, look); // of all splats, before the cut to a pixel
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(x, bottom, 1, 1);
    this.blend(camera, look).bind();
    const out = new Float32Array(4);
    gl.readPixels(x, bottom, 1, 1, gl.RGBA, gl.FLOAT, out);
    gl.disable(gl.SCISSOR_TEST);
    return out[3] > 0.2 ? out[0] / out[3] / depthScale + depthOffset : null;
  }

  /** Centre and radius of what is seen. */
  get extent() {
    return this.sceneExtent ?? { centre: [0, 0, 0], radius: 1 };
  }

  /** Show everything. */
  fit() {
    const { centre, radius } = this.extent;
    this.camera.radius = radius;
    this.camera.fit(centre, radius, this.canvas.clientWidth / Math.max(1, this.canvas.clientHeight));
    this.fixed = null;
    this.invalidate();
  }
}
