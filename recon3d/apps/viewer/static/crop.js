/** A box that cuts the scene, and the splats inside it as a file. */

import { button, el, save, setPressed, slider, toast } from "./kit.js";
import { cross, dot, normalize } from "./math.js";
import { writePly } from "./ply.js";

const SIDES = ["west", "east", "south", "north", "bottom", "top"];

export class Crop {
  /** @param {import("./viewer.js").Viewer} viewer @param {() => {table: import("./ply.js").Table|null, name: string}} source */
  constructor(viewer, source) {
    this.viewer = viewer;
    this.source = source;
    this.active = false;
    this.limits = [-1, 1, -1, 1, -1, 1]; // in twice the radius around the centre
    this.panel = this.build();
  }

  /** @returns {HTMLElement} what the panel shows */
  build() {
    const sliders = SIDES.map((side, i) => slider({
      id: `crop-${side}`, label: side[0].toUpperCase() + side.slice(1), min: -1, max: 1, step: 0.01, value: this.limits[i], show: (value) => value.toFixed(2),
      oninput: (value) => {
        this.limits[i] = value;
        if (!this.active) this.activate(true);
        this.update();
      },
    }));
    return el("div", { class: "stack" }, ...sliders, button({ id: "save-crop", label: "Save what is inside as PLY", onclick: () => this.save() }));
  }

  /** @param {boolean} on */
  activate(on) {
    this.active = on;
    setPressed("tool-crop", on);
    this.update();
  }

  /** Axes of the box: level with the up axis. @returns {number[][]} */
  get axes() {
    const { up, east } = this.viewer.camera;
    return [normalize(east), normalize(cross(up, east)), up];
  }

  /** @returns {number[]} row-major 4x4 that takes the box to the cube -1..1 */
  get boxFromWorld() {
    const { centre, radius } = this.viewer.extent;
    const rows = this.axes.flatMap((axis, k) => {
      const [low, high] = [this.limits[2 * k], this.limits[2 * k + 1]].map((limit) => 2 * radius * limit);
      const half = Math.max((high - low) / 2, 1e-6 * radius);
      const middle = dot(axis, centre) + (low + high) / 2;
      return [...axis.map((part) => part / half), -middle / half];
    });
    return [...rows, 0, 0, 0, 1];
  }

  /** Show the box. */
  update() {
    this.viewer.look.boxFromWorld = this.active ? this.boxFromWorld : null;
    this.viewer.setOverlay(this.active ? this.edges() : []);
  }

  /** @returns {number[][]} pairs of corners */
  edges() {
    const { centre, radius } = this.viewer.extent;
    const corner = (bits) => [0, 1, 2].map((c) => this.axes.reduce((sum, axis, k) => {
      const limit = 2 * radius * this.limits[2 * k + ((bits >> k) & 1)];
      return sum + axis[c] * (dot(axis, centre) + limit);
    }, 0));
    const out = [];
    for (let bits = 0; bits < 8; bits++) {
      for (let k = 0; k < 3; k++) if (!((bits >> k) & 1)) out.push(corner(bits), corner(bits | (1 << k)));
    }
    return out;
  }

  /** Which splats lie inside. @param {import("./ply.js").Table} table @returns {Uint8Array} */
  inside(table) {
    const m = this.boxFromWorld;
    const width = table.names.length;
    const [x, y, z] = ["x", "y", "z"].map((name) => table.names.indexOf(name));
    return Uint8Array.from({ length: table.n }, (_, i) => {
      const p = [table.rows[i * width + x], table.rows[i * width + y], table.rows[i * width + z]];
      return [0, 4, 8].every((row) => Math.abs(m[row] * p[0] + m[row + 1] * p[1] + m[row + 2] * p[2] + m[row + 3]) <= 1);
    });
  }

  /** Save the splats inside. */
  save() {
    const { table, name } = this.source();
    if (!table) {
      toast("Only splats can be cropped and saved.", "error");
      return;
    }
    const kept = this.inside(table);
    const n = kept.reduce((sum, one) => sum + one, 0);
    if (!n) {
      toast("There is nothing inside the box.", "error");
      return;
    }
    save(writePly(table, kept), `${name.replace(/\.[^.]*$/, "")}_cropped.ply`);
    toast(`${n} of ${table.n} splats were saved.`);
  }
}
