/** Measure a distance between two picked points, and set the scale from it. */

import { button, el, hint, setPressed, toast } from "./kit.js";
import { send } from "./loader.js";
import { length, subtract, toCamera } from "./math.js";

export class Measure {
  /** @param {import("./viewer.js").Viewer} viewer @param {any} contents @param {(contents: any) => Promise<void>} onScaled is called when lengths have changed */
  constructor(viewer, contents, onScaled) {
    this.viewer = viewer;
    this.contents = contents;
    this.onScaled = onScaled;
    this.active = false;
    /** @type {number[][]} */
    this.points = [];
    this.distance = 0;
    this.panel = this.build();
  }

  /** @returns {HTMLElement} what the panel shows */
  build() {
    this.output = el("output", { id: "measured", class: "big" }, "–");
    this.input = el("input", { id: "true-length", type: "number", min: "0", step: "any", inputmode: "decimal", placeholder: "metres", "aria-label": "True length in metres" });
    const set = button({ id: "set-scale", label: "Set scale", title: "Multiply all lengths so that the measured one is right", onclick: () => this.setScale() });
    return el("div", { class: "stack" },
      el("p", { class: "explain" }, "Pick two points; then say how long the line is in truth."),
      el("div", { class: "row" }, el("span", {}, "Distance"), this.output),
      el("div", { class: "row" }, this.input, set));
  }

  /** Start or end picking. @param {boolean} on */
  activate(on) {
    this.active = on;
    this.points = [];
    setPressed("tool-measure", on);
    hint(on ? "Pick the first point" : "");
    this.update();
  }

  /** A place of the screen was chosen. @returns {boolean} whether it was used */
  tap(x, y) {
    if (!this.active) return false;
    const hit = this.viewer.pick(x, y);
    if (!hit) {
      toast("There is nothing to measure at that place.", "error");
      return true;
    }
    this.points = this.points.length === 2 ? [hit.point] : [...this.points, hit.point];
    hint(this.points.length === 1 ? "Pick the second point" : "");
    this.update();
    return true;
  }

  /** Show line and length. */
  update() {
    const [a, b] = this.points;
    this.distance = b ? length(subtract(a, b)) : 0;
    this.output.textContent = b ? this.text(this.distance) : "–";
    this.viewer.invalidate();
    this.mark();
  }

  /** @param {number} value */
  text(value) {
    const unit = this.contents.scale?.unit ?? "units";
    return `${Number(value.toPrecision(4))} ${unit}`;
  }

  /** Keep the marks of the picked points, and the length, where they belong on the screen. */
  mark() {
    const box = document.getElementById("marks");
    if (!this.points.length && !box.firstChild) return;
    const places = this.points.map((point) => this.onScreen(point));
    const dots = places.filter(Boolean).map(([x, y]) => el("i", { style: `left:${x}px;top:${y}px` }));
    if (places.length === 2 && places[0] && places[1]) {
      const [x, y] = [0, 1].map((k) => (places[0][k] + places[1][k]) / 2);
      const [dx, dy] = [0, 1].map((k) => places[1][k] - places[0][k]);
      const turn = `rotate(${Math.atan2(dy, dx)}rad)`;
      dots.unshift(el("s", { style: `left:${places[0][0]}px;top:${places[0][1]}px;width:${Math.hypot(dx, dy)}px;transform:${turn}` }));
      dots.push(el("b", { style: `left:${x}px;top:${y}px` }, this.text(this.distance)));
    }
    box.replaceChildren(...dots);
  }

  /** @param {number[]} point @returns {[number, number]|null} CSS pixels */
  onScreen(point) {
    const { canvas } = this.viewer;
    const { camFromWorld, K } = this.viewer.cameraFor(canvas.clientWidth, canvas.clientHeight);
    const [x, y, z] = toCamera(camFromWorld, point);
    return z > 0 ? [(K[0] * x) / z + K[2], (K[1] * y) / z + K[3]] : null;
  }

  /** Tell the server, or only say the factor where a single file is open. */
  async setScale() {
    const metres = Number(this.input.value.replace(",", "."));
    if (!this.distance || !(metres > 0)) {
      toast("Pick two points and type the true length first.", "error");
      return;
    }
    const factor = Number((metres / this.distance).toPrecision(6));
    if (!this.contents.canSetScale) {
      toast(`One unit is ${factor} m. Open the folder of recon3d reconstruct to store that.`);
      return;
    }
    try {
      const answer = await send("scale", { world: this.distance, metres });
      this.activate(false);
      toast(`All lengths were multiplied by ${factor}; the scene is metric now.`);
      await this.onScaled(answer.contents);
    } catch (error) {
      toast(error.message, "error");
    }
  }
}
