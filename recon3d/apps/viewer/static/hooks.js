/** What tests and scripts drive the page by: `window.__viewer`. */

import { Environment } from "./environment.js";
import { Target, makeTexture } from "./gl.js";
import { rotation3 } from "./math.js";
import { SplatRenderer } from "./splat_renderer.js";
import { half } from "./splat_data.js";

/** @param {import("./main.js").App} app */
export function installHooks(app) {
  const { viewer } = app;
  let camera = null;
  let finish;
  const hooks = {
    app,
    /** Resolves when loading is over: an empty text, or the failure. @type {Promise<string>} */
    ready: new Promise((resolve) => {
      finish = (text = "") => {
        hooks.failure = text;
        resolve(text);
      };
    }),
    finish: (text) => finish(text),

    /** @param {number[][]} K 3x3 @param {number[][]} camFromWorld 4x4 @param {number} width @param {number} height */
    setCamera(K, camFromWorld, width, height) {
      camera = { K: [K[0][0], K[1][1], K[0][2], K[1][2]], camFromWorld: camFromWorld.flat(), width, height, near: 0.01, far: 1e4 };
    },

    /** @param {number[]} rgb row by row @param {number} width @param {number} height @param {number} yaw in degrees about z */
    setEnvironment(rgb, width, height, yaw = 0) {
      viewer.look.environment = new Environment(viewer.gl, "test", { width, height, rgb: Float32Array.from(rgb) });
      viewer.look.environment.setRotation(rotation3([0, 0, 1], (yaw * Math.PI) / 180));
    },

    /**
     * Draw in linear light, with splats sorted for exactly this camera.
     * @param {{mode?: string, antialiased?: boolean, exposure?: number}} options
     * @returns {Float32Array} RGBA over black, top row first
     */
    render({ mode = "colour", antialiased = false } = {}) {
      viewer.antialiased = antialiased;
      viewer.layers.splats?.sortNow(camera);
      const look = { ...viewer.currentLook(camera), mode, depthScale: 1, depthOffset: 0 };
      hooks.pixels = viewer.blend(camera, look).read();
      return hooks.pixels;
    },

    /** The pixels of the last render as base64. @returns {string} */
    readPixels() {
      const bytes = new Uint8Array(hooks.pixels.buffer);
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
      return btoa(text);
    },

    /** What the screen shows for linear colours. @param {number[]} rgb @param {string} curve @param {number} exposure in stops @returns {number[]} bytes */
    tone(rgb, curve, exposure = 0) {
      const { gl } = viewer;
      const n = rgb.length / 3;
      const texels = new Uint16Array(4 * n).map((_, i) => half(i % 4 === 3 ? 1 : rgb[3 * (i >> 2) + (i % 4)]));
      const image = makeTexture(gl, "RGBA16F", n, 1, texels);
      const target = new Target(gl, n, 1, { format: "RGBA8" }).bind();
      const view = { camFromWorld: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0], K: [1, 1, 0, 0], width: n, height: 1 };
      viewer.finalPass.draw(image, view, { ...viewer.look, space: "linear", curve, exposure, sky: false }, n, 1);
      const out = new Uint8Array(4 * n);
      gl.readPixels(0, 0, n, 1, gl.RGBA, gl.UNSIGNED_BYTE, out);
      gl.deleteTexture(image);
      target.dispose();
      return [...out].filter((_, i) => i % 4 < 3);
    },

    /** Milliseconds of one frame: sort, colours, draw and read. @param {number} [repeats] */
    time(repeats = 3) {
      const view = viewer.cameraFor(viewer.canvas.width, viewer.canvas.height);
      const started = performance.now();
      for (let i = 0; i < repeats; i++) {
        viewer.layers.splats?.sorter.sortNow(SplatRenderer.row(view));
        viewer.draw(1);
        viewer.gl.readPixels(0, 0, 1, 1, viewer.gl.RGBA, viewer.gl.UNSIGNED_BYTE, new Uint8Array(4));
      }
      return (performance.now() - started) / repeats;
    },
  };
  return hooks;
}
