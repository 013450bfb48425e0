/** Starts the viewer: loads what is shown, and connects controls, panel and tools. */

import { screenshot, turntable } from "./capture.js";
import { Controls } from "./controls.js";
import { Crop } from "./crop.js";
import { installHooks } from "./hooks.js";
import { grouped, setPressed, toast } from "./kit.js";
import { Light } from "./light.js";
import { LostServer, isExported, loadContents } from "./loader.js";
import { scaled } from "./math.js";
import { Measure } from "./measure.js";
import { buildPanel, buildTools, isNarrow, modesOf, showHelp, togglePanel } from "./panel.js";
import { Photos } from "./photos.js";
import { SceneLoader } from "./scene.js";
import { Viewer } from "./viewer.js";

const FIRST_LAYERS = ["splats", "mesh", "points"];
const WATCH_MS = 4000;

/** @param {string} id */
const at = (id) => document.getElementById(id);

export class App {
  /** @param {any} contents see contents.py */
  constructor(contents) {
    this.contents = contents;
    this.started = performance.now();
    this.upName = "0,0,1";
    this.viewer = new Viewer(at("view"));
    this.scene = new SceneLoader(this.viewer, contents);
    this.light = new Light(this.viewer, this.scene.items("environment"));
    this.measure = new Measure(this.viewer, contents, (now) => this.rescaled(now));
    this.crop = new Crop(this.viewer, () => ({ table: this.scene.table, name: contents.name }));
    this.controls = new Controls(this.viewer, { onTap: (x, y) => this.measure.tap(x, y), onMove: () => this.photos?.left() });
    this.viewer.onFrame = () => this.tellFacts();
    this.viewer.canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      fail("The graphics card gave up", "Its memory may be full. Close other pages and try again.");
    });
    document.addEventListener("keydown", (event) => this.key(event));
    this.acceptDrops();
  }

  /** Load the first file of what is there: splats, else a mesh, else points. */
  async load() {
    const role = FIRST_LAYERS.find((one) => this.scene.items(one).length);
    if (role) await this.scene.load(this.scene.items(role)[0], (part) => progress(`Loading ${role}`, part));
    for (const other of FIRST_LAYERS) this.viewer.visible[other] = other === role;
    this.scene.place();
    this.photos = new Photos(this.viewer, this.contents.cameras, () => this.viewer.invalidate());
    at("name").textContent = document.title = this.contents.name;
    buildTools(this);
    buildPanel(this);
    if (this.viewer.layers.splats?.isRelightable) await this.setMode("relit");
    else if (role === "mesh" && !this.viewer.layers.mesh.isUnlit) await this.setMode("relit");
    this.loadSeconds = (performance.now() - this.started) / 1000;
    this.viewer.invalidate();
  }

  /** Counts, load time and frame rate. */
  tellFacts() {
    const { counts } = this.scene;
    const shown = FIRST_LAYERS.filter((role) => counts[role]).map((role) => `${grouped(counts[role])} ${role === "mesh" ? "faces" : role}`);
    if (this.loadSeconds) shown.push(`loaded in ${this.loadSeconds.toFixed(1)} s`);
    if (this.viewer.frameMs) shown.push(`${Math.round(1000 / this.viewer.frameMs)} fps`);
    at("facts").textContent = shown.join(" · ");
    this.measure.mark();
  }

  /** @param {string} mode one of MODES */
  async setMode(mode) {
    if (!modesOf(this.viewer).includes(mode)) return;
    if (mode === "relit") await this.light.ensure();
    this.viewer.look.mode = mode;
    this.modes?.choose(mode);
    this.viewer.invalidate();
  }

  /** Show or hide a layer; it is loaded when it is first wanted. @param {string} role @param {boolean} on */
  async showLayer(role, on) {
    this.viewer.visible[role] = on;
    if (role === "cameras" && on) this.photos.hang();
    const item = this.scene.items(role)[0];
    if (on && !this.viewer.layers[role] && item) await this.showFile(role, item.path);
    this.viewer.invalidate();
  }

  /** Load a file into its layer. @param {string} role @param {string} path */
  async showFile(role, path) {
    try {
      progress(`Loading ${path}`, 0);
      await this.scene.load(this.scene.items(role).find((item) => item.path === path), (part) => progress(`Loading ${path}`, part));
      this.viewer.visible[role] = true;
      if (!modesOf(this.viewer).includes(this.viewer.look.mode)) this.viewer.look.mode = "colour";
      buildPanel(this);
    } catch (error) {
      toast(error.message, "error");
      const box = at(`layer-${role}`);
      if (box) box.checked = Boolean(this.viewer.layers[role]);
    } finally {
      loaded();
    }
    this.viewer.invalidate();
  }

  /** @param {boolean} on */
  setFlying(on) {
    this.controls.flying = on;
    at("navigation").choose(on ? "fly" : "orbit");
  }

  /** @param {number} degrees */
  setFov(degrees) {
    this.viewer.camera.fov = degrees;
    this.photos?.left();
    this.viewer.invalidate(true);
  }

  /** @param {number[]} up @param {string} [name] of the axis, among the choices of the panel */
  setUp(up, name = this.upName) {
    this.upName = name;
    this.viewer.camera.setUp(up);
    this.viewer.camera.roll = 0;
    this.photos?.left();
    this.light.turn(this.light.rotation);
    if (this.crop.active) this.crop.update();
    this.viewer.invalidate();
  }

  /** Take the vertical of the screen as the up axis. */
  setUpFromView() {
    this.setUp(scaled(this.viewer.camera.axes[1], -1));
    this.viewer.camera.pitch = 0;
    toast("Up is what points up on the screen now.");
  }

  /** @param {number} size in pixels */
  setPointSize(size) {
    this.viewer.pointSize = size;
    this.viewer.invalidate();
  }

  /** @param {boolean} on */
  setAntialiased(on) {
    this.viewer.antialiased = on;
    this.viewer.invalidate();
  }

  /** Show all of the scene. */
  fit() {
    this.photos?.left();
    this.viewer.fit();
  }

  /** Start a tool, or end it. @param {"measure"|"crop"|""} name */
  setTool(name) {
    const wasOn = name && this[name].active;
    for (const tool of ["measure", "crop"]) if (this[tool].active) this[tool].activate(false);
    if (!name || wasOn) return;
    this.photos?.left();
    this[name].activate(true);
    const part = [...document.querySelectorAll("#panel details")].find((one) => one.firstChild.textContent.toLowerCase() === name);
    if (part) part.open = true;
    if (!isNarrow()) {
      togglePanel(true);
      part?.scrollIntoView({ block: "nearest" });
    }
  }

  /** Save a picture. */
  screenshot() {
    screenshot(this.viewer, this.contents.name);
  }

  /** Record a turn. */
  turntable() {
    this.photos?.left();
    return turntable(this.viewer, this.contents.name);
  }

  /** All lengths have changed on disk: load everything again. @param {any} contents */
  async rescaled(contents) {
    Object.assign(this.contents, contents);
    this.scene.contents = this.contents;
    for (const role of FIRST_LAYERS) {
      if (this.viewer.layers[role]) await this.showFile(role, this.scene.shown[role]);
    }
    this.scene.place();
    this.photos.cameras = this.contents.cameras;
    this.photos.buildFrusta();
    this.viewer.invalidate();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
    if (event.target === document.body) this.controls.keyDown(event); // as long as nothing has been clicked
    const actions = {
      f: () => this.fit(), h: showHelp, "?": showHelp, v: () => this.setFlying(!this.controls.flying), p: () => this.screenshot(), t: () => this.turntable(),
      m: () => this.setTool("measure"), b: () => this.setTool("crop"), c: () => this.photos.compare(!this.photos.isComparing),
      "[": () => this.photos.go(this.photos.current - 1), "]": () => this.photos.go(this.photos.current + 1),
      escape: () => (this.photos.left(), this.setTool("")),
    };
    const modes = ["colour", "relit", "albedo", "normal", "roughness", "metallic", "depth"];
    modes.forEach((mode, i) => {
      actions[String(i + 1)] = () => this.setMode(mode);
    });
    const action = actions[event.key.toLowerCase()];
    if (action && this.photos && !(at("help").open && event.key !== "h")) action();
  }

  /** Files that are dropped on the page: an environment lights the scene, anything else is shown. */
  acceptDrops() {
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      for (const file of event.dataTransfer.files) this.drop(file);
    });
  }

  /** @param {File} file */
  async drop(file) {
    if (/\.(hdr|exr)$/i.test(file.name)) {
      await this.light.open(file);
      await this.setMode("relit");
      return;
    }
    try {
      await this.scene.add(file.name, await file.arrayBuffer());
      buildPanel(this);
      this.scene.place();
    } catch (error) {
      toast(`${file.name}: ${error instanceof RangeError ? "the file is damaged" : error.message}`, "error");
    }
  }
}

/** Show how far loading is. @param {string} text @param {number} part */
function progress(text, part) {
  at("loading").hidden = false;
  at("loading-text").textContent = part < 1 ? text : "Preparing";
  at("loading-part").value = part;
}

/** Loading is over. */
const loaded = () => (at("loading").hidden = true);

/** Say that nothing can be shown. @param {string} title @param {string} text */
function fail(title, text) {
  loaded();
  at("failure").hidden = false;
  at("failure-title").textContent = title;
  at("failure-text").textContent = text;
  at("failure-retry").onclick = () => location.reload();
}

/** Notice when the server has gone. */
async function watch() {
  const alive = await fetch("alive").then((response) => response.ok, () => false);
  document.body.classList.toggle("lost", !alive);
  if (!alive && !at("lost")) {
    const note = document.createElement("div");
    note.id = "lost";
    note.setAttribute("role", "alert");
    note.textContent = "The server has stopped. What is loaded can still be seen; start recon3d view again for the rest.";
    document.body.append(note);
  }
  if (alive) at("lost")?.remove();
  setTimeout(watch, WATCH_MS);
}

/** Start. */
async function start() {
  let app = null;
  try {
    progress("Loading", 0);
    app = new App(await loadContents());
    window.__viewer = installHooks(app);
    await app.load();
    loaded();
    setPressed("tool-panel", document.body.classList.contains("with-panel"));
    if (!isExported()) setTimeout(watch, WATCH_MS);
    window.__viewer.finish();
  } catch (error) {
    const isLost = error instanceof LostServer;
    fail(isLost ? "The server does not answer" : "This cannot be shown", error instanceof RangeError ? "The file is damaged, or too large for this browser." : error.message);
    console.warn(error);
    window.__viewer?.finish(error.message);
  }
}

start();
