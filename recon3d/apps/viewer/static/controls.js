/** Mouse, touch and keyboard. */

import { length, subtract } from "./math.js";

const TURN = 0.0055; // radians per pixel
const KEYS = { w: [0, 0, 1], s: [0, 0, -1], a: [-1, 0, 0], d: [1, 0, 0], q: [0, 1, 0], e: [0, -1, 0] };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Controls {
  /**
   * @param {import("./viewer.js").Viewer} viewer
   * @param {{onTap: (x: number, y: number) => boolean, onMove: () => void}} handlers onTap returns whether it was used
   */
  constructor(viewer, { onTap, onMove }) {
    this.viewer = viewer;
    this.onTap = onTap;
    this.onMove = onMove;
    this.flying = false;
    /** @type {Map<number, {x: number, y: number}>} */
    this.pointers = new Map();
    this.held = new Set();
    const { canvas } = viewer;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.center(event.offsetX, event.offsetY));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.keyDown(event));
    document.addEventListener("keyup", (event) => this.held.delete(event.key.toLowerCase()));
    for (const one of [canvas, window]) one.addEventListener("blur", () => this.held.clear());
    viewer.onBeforeFrame = (now) => this.step(now);
  }

  /** The camera has been moved by hand. */
  moved() {
    this.viewer.fixed = null;
    this.viewer.invalidate(true);
    this.onMove();
  }

  /** @param {PointerEvent} event */
  down(event) {
    const { canvas } = this.viewer;
    canvas.focus({ preventScroll: true });
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that has left already cannot be captured; its moves end with it
    }
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.start = { x: event.offsetX, y: event.offsetY };
    this.dragged = false;
  }

  /** @param {PointerEvent} event */
  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.offsetX - before.x, event.offsetY - before.y];
    if (!this.dragged && Math.hypot(event.offsetX - this.start.x, event.offsetY - this.start.y) < 4) return;
    this.dragged = true;
    if (this.pointers.size === 2) this.pinch(event, before);
    else this.drag(event, dx, dy);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.moved();
  }

  /** @param {PointerEvent} event */
  drag(event, dx, dy) {
    const { camera, canvas } = this.viewer;
    const height = canvas.clientHeight;
    if (event.buttons & 6 || event.shiftKey) camera.pan(dx / height, dy / height);
    else if (this.flying || event.altKey) camera.look(-dx * TURN * 0.5, -dy * TURN * 0.5);
    else camera.orbit(dx * TURN, dy * TURN);
  }

  /** Two fingers shift and zoom. */
  pinch(event, before) {
    const { camera, canvas } = this.viewer;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
    const [was, is] = [Math.hypot(before.x - other.x, before.y - other.y), Math.hypot(event.offsetX - other.x, event.offsetY - other.y)];
    if (is > 1) camera.dolly(was / is);
    camera.pan((event.offsetX - before.x) / 2 / canvas.clientHeight, (event.offsetY - before.y) / 2 / canvas.clientHeight);
  }

  /** @param {PointerEvent} event */
  up(event) {
    if (this.pointers.delete(event.pointerId) && !this.dragged && event.type === "pointerup") this.onTap(event.offsetX, event.offsetY);
    this.viewer.invalidate();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const amount = Math.exp(Math.max(-200, Math.min(200, event.deltaY * lines)) * 0.0015);
    if (this.flying) this.viewer.camera.fly([0, 0, (1 - amount) * this.viewer.camera.distance]);
    else this.viewer.camera.dolly(amount);
    this.moved();
  }

  /** Turn around what lies at a place of the screen from now on. */
  center(x, y) {
    const hit = this.viewer.pick(x, y);
    if (!hit) return;
    const { camera } = this.viewer;
    const eye = camera.eye;
    camera.distance = length(subtract(hit.point, eye));
    camera.target = hit.point;
    this.moved();
  }

  /** @param {KeyboardEvent} event */
  keyDown(event) {
    if (event.ctrlKey || event.metaKey) return;
    const key = event.key.toLowerCase();
    if (key in KEYS) {
      this.held.add(key);
      this.moved();
    } else if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key];
      if (event.shiftKey) this.viewer.camera.pan(-0.05 * x, -0.05 * y);
      else this.viewer.camera.orbit(-0.08 * x, -0.08 * y);
      event.preventDefault();
      this.moved();
    } else if ("+-=".includes(key)) {
      this.viewer.camera.dolly(key === "-" ? 1.1 : 1 / 1.1);
      this.moved();
    }
  }

  /** Fly while keys are held. @param {number} now */
  step(now) {
    const seconds = Math.min(0.1, (now - (this.last ?? now)) / 1000);
    this.last = this.held.size ? now : undefined;
    if (!this.held.size) return;
    const speed = 0.9 * this.viewer.camera.distance * seconds;
    for (const key of this.held) this.viewer.camera.fly(KEYS[key].map((part) => part * speed));
    this.moved();
  }
}
