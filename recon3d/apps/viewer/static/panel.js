/** The panel of settings, the toolbar, and the help. */

import { button, choice, el, grouped, section, segments, slider, toggle, toolButton } from "./kit.js";

const MODE_LABELS = {
  colour: ["Colour", "Colours as photographed"], relit: ["Relit", "Lit by the chosen environment"], albedo: ["Albedo", "Colour of the material, without light"],
  normal: ["Normal", "Direction of the surface"], roughness: ["Rough", "Roughness: black is a mirror"], metallic: ["Metal", "Metallic: white is metal"], depth: ["Depth", "Near is light, far is dark"],
};
const UPS = [["0,0,1", "+Z"], ["0,0,-1", "−Z"], ["0,1,0", "+Y"], ["0,-1,0", "−Y"], ["1,0,0", "+X"], ["-1,0,0", "−X"]];
const LAYERS = { splats: "Splats", mesh: "Mesh", points: "Points", cameras: "Cameras" };
const KEYS = [
  ["drag", "turn around the target"], ["right drag, two fingers, Shift + drag", "shift"], ["wheel, pinch, + −", "closer, farther"],
  ["double click", "turn around that point"], ["W A S D, Q E", "fly; down, up"], ["arrows", "turn; with Shift: shift"], ["V", "orbit or fly"],
  ["F", "show all"], ["[ ]", "previous, next photo"], ["C", "compare photo and render"], ["M", "measure"], ["B", "crop box"], ["P", "screenshot"],
  ["T", "turntable video"], ["1 – 7", "what is shown"], ["H", "this help"], ["Esc", "leave a tool"],
];

/** Modes that a scene offers. @param {import("./viewer.js").Viewer} viewer @returns {string[]} */
export function modesOf(viewer) {
  const { splats, mesh } = viewer.layers;
  if (splats?.isRelightable || (mesh && !mesh.isUnlit)) return Object.keys(MODE_LABELS);
  return mesh ? ["colour", "relit", "normal", "depth"] : ["colour", "depth"];
}

/** @param {import("./main.js").App} app */
export function buildPanel(app) {
  const { viewer } = app;
  const panel = document.getElementById("panel");
  const isOpen = new Map([...panel.querySelectorAll("details")].map((part) => [part.firstChild.textContent, part.open]));
  const modes = segments({ id: "modes", label: "What is shown", options: modesOf(viewer).map((mode) => [mode, ...MODE_LABELS[mode]]), value: viewer.look.mode, onchange: (mode) => app.setMode(mode) });
  app.modes = modes;
  panel.replaceChildren(
    section("View", modes, ...layerRows(app)),
    ...(modesOf(viewer).includes("relit") ? [section("Light", app.light.panel)] : []),
    section("Camera",
      segments({ id: "navigation", label: "Navigation", options: [["orbit", "Orbit", "Turn around the scene (V)"], ["fly", "Fly", "Move through the scene (V)"]], value: app.controls.flying ? "fly" : "orbit", onchange: (value) => app.setFlying(value === "fly") }),
      slider({ id: "fov", label: "Field of view", min: 15, max: 100, step: 1, value: Math.round(viewer.camera.fov), show: (value) => `${value}°`, oninput: (value) => app.setFov(value) }),
      choice({ id: "up", label: "Up axis", options: UPS, value: app.upName, title: "What points up in this scene", onchange: (value) => app.setUp(value.split(",").map(Number), value) }),
      button({ id: "up-view", label: "Up is up in this view", title: "Take the vertical of the screen as the up axis", onclick: () => app.setUpFromView() })),
    section("Measure", app.measure.panel),
    section("Crop", app.crop.panel),
  );
  for (const part of panel.querySelectorAll("details")) {
    const title = part.firstChild.textContent;
    part.open = isOpen.get(title) ?? !["Measure", "Crop"].includes(title);
  }
}

/** Switches of the layers that are there, and choices between files. */
function layerRows(app) {
  const { viewer, scene } = app;
  const rows = [];
  for (const [role, label] of Object.entries(LAYERS)) {
    const files = scene.items(role);
    if (!viewer.layers[role] && !files.length) continue;
    if (role === "cameras" && !scene.contents.cameras.length) continue;
    const count = role === "cameras" ? scene.contents.cameras.length : scene.counts[role];
    rows.push(toggle({ id: `layer-${role}`, label, value: viewer.visible[role] && Boolean(viewer.layers[role]), note: count ? grouped(count) : "", onchange: (on) => app.showLayer(role, on) }));
    if (files.length > 1) rows.push(choice({ id: `file-${role}`, label: "", options: files.map(({ path }) => [path, path]), value: scene.shown[role] ?? files[0].path, onchange: (path) => app.showFile(role, path) }));
  }
  if (viewer.layers.points || scene.items("points").length) {
    rows.push(slider({ id: "point-size", label: "Point size", min: 1, max: 12, step: 0.5, value: viewer.pointSize, show: (value) => `${value} px`, oninput: (value) => app.setPointSize(value) }));
  }
  if (viewer.layers.splats) {
    rows.push(toggle({ id: "antialiased", label: "Antialiased splats", value: viewer.antialiased, title: "Thin splats fade instead of growing; right for splats that were made so", onchange: (on) => app.setAntialiased(on) }));
  }
  return rows;
}

/** @param {import("./main.js").App} app */
export function buildTools(app) {
  const tools = document.getElementById("tools");
  const photos = app.contents.cameras.length > 0;
  tools.replaceChildren(
    toolButton({ id: "tool-fit", icon: "fit", label: "Show all", key: "F", onclick: () => app.fit() }),
    ...(photos ? [
      toolButton({ id: "tool-photos", icon: "photos", label: "Photos", pressed: false, onclick: () => app.photos.showStrip(document.getElementById("strip").hidden) }),
      toolButton({ id: "tool-compare", icon: "compare", label: "Compare with the nearest photo", key: "C", pressed: false, onclick: () => app.photos.compare(!app.photos.isComparing) }),
    ] : []),
    toolButton({ id: "tool-measure", icon: "measure", label: "Measure", key: "M", pressed: false, onclick: () => app.setTool("measure") }),
    toolButton({ id: "tool-crop", icon: "crop", label: "Crop box", key: "B", pressed: false, onclick: () => app.setTool("crop") }),
    toolButton({ id: "tool-shot", icon: "camera", label: "Screenshot", key: "P", onclick: () => app.screenshot() }),
    toolButton({ id: "tool-video", icon: "video", label: "Turntable video", key: "T", pressed: false, onclick: () => app.turntable() }),
    toolButton({ id: "tool-help", icon: "help", label: "Help", key: "H", onclick: () => showHelp() }),
    toolButton({ id: "tool-panel", icon: "panel", label: "Settings", pressed: !isNarrow(), onclick: () => togglePanel() }),
  );
  document.body.classList.toggle("with-panel", !isNarrow());
}

/** Whether the screen is that of a phone. */
export const isNarrow = () => window.matchMedia("(max-width: 720px)").matches;

/** Show or hide the settings. @param {boolean} [on] */
export function togglePanel(on = !document.body.classList.contains("with-panel")) {
  document.body.classList.toggle("with-panel", on);
  document.getElementById("tool-panel")?.setAttribute("aria-pressed", String(on));
}

/** Show the keys. */
export function showHelp() {
  const help = document.getElementById("help");
  if (!help.firstChild) {
    const close = el("form", { method: "dialog" }, el("button", { class: "plain", id: "help-close" }, "Close"));
    help.append(el("header", {}, el("h2", { id: "help-title" }, "Mouse, touch and keys"), close),
      el("dl", {}, ...KEYS.flatMap(([key, text]) => [el("dt", {}, key), el("dd", {}, text)])));
  }
  if (help.open) help.close();
  else help.showModal();
}
