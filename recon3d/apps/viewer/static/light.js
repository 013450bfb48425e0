/** The light that relights the scene: probes, files of the folder, dropped files, rotation, exposure and tone curve. */

import { Environment } from "./environment.js";
import { parseExr, parseHdr, parseRaw } from "./hdr.js";
import { choice, el, slider, toast, toggle } from "./kit.js";
import { loadBytes } from "./loader.js";
import { multiply3, rotation3, rotationBetween } from "./math.js";
import { PROBES, probe } from "./probes.js";

const CURVE_NAMES = [["neutral", "Neutral (Khronos)"], ["agx", "AgX"], ["aces", "ACES"], ["reinhard", "Reinhard"], ["srgb", "None (sRGB)"]];

export class Light {
  /** @param {import("./viewer.js").Viewer} viewer @param {{path: string}[]} files environments of the folder */
  constructor(viewer, files) {
    this.viewer = viewer;
    this.files = files;
    this.rotation = 0;
    this.name = "";
    this.panel = this.build();
  }

  /** @returns {HTMLElement} what the panel shows */
  build() {
    const { look } = this.viewer;
    const options = [...this.files.map(({ path }) => [`file:${path}`, path]), ...Object.entries(PROBES)];
    this.choice = choice({ id: "environment", label: "Environment", options, value: options[0][0], title: "Where the light comes from", onchange: (value) => this.choose(value) });
    const file = el("input", { id: "environment-file", type: "file", accept: ".hdr,.exr", hidden: true, onchange: () => file.files[0] && this.open(file.files[0]) });
    return el("div", { class: "stack" }, this.choice,
      el("div", { class: "row" }, el("button", { id: "open-environment", type: "button", class: "plain", onclick: () => file.click() }, "Open .hdr or .exr"), file),
      slider({ id: "rotation", label: "Turn light", min: -180, max: 180, step: 1, value: 0, show: (value) => `${value}°`, oninput: (value) => this.turn(value) }),
      slider({ id: "exposure", label: "Exposure", min: -6, max: 6, step: 0.1, value: 0, show: (value) => `${value > 0 ? "+" : ""}${value.toFixed(1)} EV`, oninput: (value) => this.set({ exposure: value }) }),
      choice({ id: "curve", label: "Tone curve", options: CURVE_NAMES, value: look.curve, title: "How bright light fits the screen", onchange: (value) => this.set({ curve: value }) }),
      toggle({ id: "sky", label: "Show environment", value: look.sky, onchange: (on) => this.set({ sky: on }) }));
  }

  /** @param {Partial<import("./viewer.js").Look>} part of the look */
  set(part) {
    Object.assign(this.viewer.look, part);
    this.viewer.invalidate();
  }

  /** Load the first environment, once light is needed. */
  async ensure() {
    if (!this.name) await this.choose(this.choice.querySelector("select").value);
  }

  /** @param {string} value of the choice */
  async choose(value) {
    try {
      if (!value.startsWith("file:")) this.use(value, probe(value));
      else await this.load(value.slice(5));
    } catch (error) {
      toast(error.message, "error");
    }
  }

  /** @param {string} path of an environment in the folder */
  async load(path) {
    const isExr = path.toLowerCase().endsWith(".exr");
    const bytes = await loadBytes(`${isExr ? "environments" : "files"}/${path}`);
    this.use(path, isExr ? parseRaw(bytes) : parseHdr(bytes));
  }

  /** A file of the person's own. @param {File} file */
  async open(file) {
    try {
      const bytes = await file.arrayBuffer();
      this.use(file.name, file.name.toLowerCase().endsWith(".exr") ? await parseExr(bytes) : parseHdr(bytes));
      const select = this.choice.querySelector("select");
      select.querySelector("[data-own]")?.remove();
      select.append(el("option", { value: select.value, "data-own": true, selected: true }, file.name));
    } catch (error) {
      toast(`${file.name}: ${error instanceof RangeError ? "the file is damaged" : error.message}`, "error");
    }
  }

  /** Light the scene by a picture. @param {string} name @param {import("./hdr.js").Picture} picture */
  use(name, picture) {
    const old = this.viewer.look.environment;
    this.viewer.look.environment = new Environment(this.viewer.gl, name, picture);
    if (old !== this.viewer.dark) old.dispose();
    this.name = name;
    this.turn(this.rotation);
  }

  /** @param {number} degrees counter-clockwise about the up axis */
  turn(degrees) {
    const { up } = this.viewer.camera;
    const raised = rotationBetween([0, 0, 1], up); // the zenith of the environment follows the up axis
    this.rotation = degrees;
    this.viewer.look.environment.setRotation(multiply3(rotation3(up, (degrees * Math.PI) / 180), raised));
    this.viewer.invalidate();
  }
}
