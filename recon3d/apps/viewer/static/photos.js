/** The photos: frusta in the scene, a film strip, and the comparison with the render at the same place. */

import { el, setPressed, toast } from "./kit.js";
import { address, isExported, pictureAddress } from "./loader.js";
import { centreOf, dot, length, subtract, toWorld } from "./math.js";
import { PhotoRenderer, PlainRenderer } from "./surface_renderer.js";

const MAX_HUNG = 150;
const FRUSTUM_COLOUR = [1, 0.62, 0.25];
const CURRENT_COLOUR = [1, 1, 1];

export class Photos {
  /** @param {import("./viewer.js").Viewer} viewer @param {any[]} cameras see contents.py @param {() => void} onStand is called when the view has moved to a photo */
  constructor(viewer, cameras, onStand) {
    this.viewer = viewer;
    this.cameras = cameras;
    this.onStand = onStand;
    this.current = -1;
    this.split = 50;
    this.hung = [];
    viewer.layers.cameras = this;
    this.buildFrusta();
    this.buildStrip();
    this.bindCompare();
  }

  /** Lines of the pyramids from each camera to its picture. */
  buildFrusta() {
    this.depth = 0.12 * (this.viewer.extent.radius || 1);
    const [positions, colours] = [[], []];
    this.corners = this.cameras.map(({ camFromWorld, K: [fx, fy, cx, cy], width, height }) => [[0, 0], [width, 0], [0, height], [width, height]].map(
      ([x, y]) => toWorld(camFromWorld, [((x - cx) / fx) * this.depth, ((y - cy) / fy) * this.depth, this.depth]),
    ));
    this.cameras.forEach(({ camFromWorld }, index) => {
      const [a, b, c, d] = this.corners[index];
      const eye = centreOf(camFromWorld);
      for (const point of [eye, a, eye, b, eye, c, eye, d, a, b, b, d, d, c, c, a]) {
        positions.push(...point);
        colours.push(...(index === this.current ? CURRENT_COLOUR : FRUSTUM_COLOUR));
      }
    });
    this.lines?.dispose();
    this.lines = new PlainRenderer(this.viewer.programs, "LINES", Float32Array.from(positions), Float32Array.from(colours));
  }

  /** Load small pictures into the frusta, once they are wanted. */
  async hang() {
    if (this.hasHung) return;
    this.hasHung = true;
    for (const [index, camera] of this.cameras.slice(0, MAX_HUNG).entries()) {
      if (!camera.image) continue;
      try {
        const response = await fetch(pictureAddress(`thumbnails/${camera.image}`));
        if (!response.ok) continue;
        this.hung.push(new PhotoRenderer(this.viewer.programs, this.corners[index], await createImageBitmap(await response.blob())));
        this.viewer.invalidate();
      } catch {
        return; // without a server the frusta stay empty; the viewer says so elsewhere
      }
    }
  }

  /** Called by the viewer as a layer. */
  draw(camera, look) {
    this.lines.draw(camera, look);
    if (look.mode !== "depth" && look.space !== "linear") for (const photo of this.hung) photo.draw(camera);
  }

  /** The strip of small pictures. */
  buildStrip() {
    const strip = document.getElementById("strip");
    strip.replaceChildren(...this.cameras.map((camera, index) => {
      const image = camera.image ? el("img", { src: pictureAddress(`thumbnails/${camera.image}`), alt: "", loading: "lazy", decoding: "async" }) : el("span", {}, "no photo");
      return el("button", { type: "button", title: camera.key, "aria-label": `Go to photo ${camera.key}`, onclick: () => this.go(index) }, image);
    }));
  }

  /** @param {boolean} on */
  showStrip(on) {
    document.getElementById("strip").hidden = !on;
    document.body.classList.toggle("with-strip", on);
    setPressed("tool-photos", on);
    this.viewer.invalidate();
  }

  /** Stand where a photo was taken. @param {number} index */
  go(index) {
    if (!this.cameras.length) return;
    this.current = (index + this.cameras.length) % this.cameras.length;
    const photo = this.cameras[this.current];
    const depth = dot(subtract(this.viewer.extent.centre, centreOf(photo.camFromWorld)), photo.camFromWorld.slice(8, 11));
    this.viewer.camera.setPose(photo, depth > 0 ? depth : this.viewer.extent.radius);
    this.buildFrusta();
    [...document.getElementById("strip").children].forEach((button, i) => button.setAttribute("aria-current", String(i === this.current)));
    document.getElementById("strip").children[this.current]?.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (this.isComparing) this.showPhoto();
    this.viewer.invalidate();
    this.onStand();
  }

  /** @returns {number} the photo taken nearest to where the camera stands, and looks the same way */
  nearest() {
    const { eye, forward, distance } = this.viewer.camera;
    const costs = this.cameras.map(({ camFromWorld }) => length(subtract(centreOf(camFromWorld), eye)) / distance + (1 - dot(camFromWorld.slice(8, 11), forward)));
    return costs.indexOf(Math.min(...costs));
  }

  /** Put the photo beside the render, or take it away. @param {boolean} on */
  compare(on) {
    if (on && !this.cameras.some((camera) => camera.image)) {
      toast("There are no photos to compare with.", "error");
      return;
    }
    this.isComparing = on;
    setPressed("tool-compare", on);
    document.getElementById("compare").hidden = !on;
    if (on) this.go(this.nearest());
    else this.viewer.fixed = null;
    this.viewer.invalidate();
  }

  /** Show the current photo, exactly over its render. */
  showPhoto() {
    const camera = this.cameras[this.current];
    this.viewer.fixed = camera;
    const image = document.getElementById("photo");
    image.hidden = !camera.image;
    if (camera.image) image.src = isExported() ? pictureAddress(`thumbnails/${camera.image}`) : address(`files/${camera.image}`);
    image.alt = `The photo ${camera.key}`;
    this.layout();
  }

  /** Place photo and border. */
  layout() {
    if (!this.isComparing || this.current < 0) return;
    const { width, height } = this.cameras[this.current];
    const [w, h] = [this.viewer.canvas.clientWidth, this.viewer.canvas.clientHeight];
    const scale = Math.min(w / width, h / height);
    const [left, top] = [(w - width * scale) / 2, (h - height * scale) / 2];
    const x = (w * this.split) / 100;
    const image = document.getElementById("photo");
    image.style.cssText = `left:${left}px;top:${top}px;width:${width * scale}px;height:${height * scale}px;clip-path:inset(0 ${Math.max(0, left + width * scale - x)}px 0 0)`;
    const divider = document.getElementById("divider");
    divider.style.left = `${x}px`;
    divider.setAttribute("aria-valuenow", String(Math.round(this.split)));
  }

  /** The border between photo and render follows the hand and the arrow keys. */
  bindCompare() {
    const divider = document.getElementById("divider");
    const move = (percent) => {
      this.split = Math.min(98, Math.max(2, percent));
      this.layout();
    };
    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    divider.addEventListener("pointermove", (event) => {
      if (event.buttons) move((100 * event.clientX) / this.viewer.canvas.clientWidth);
    });
    divider.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") move(this.split - 3);
      if (event.key === "ArrowRight") move(this.split + 3);
    });
    new ResizeObserver(() => this.layout()).observe(this.viewer.canvas);
  }

  /** The camera was moved by hand: the photo no longer fits. */
  left() {
    if (this.isComparing) this.compare(false);
  }
}
