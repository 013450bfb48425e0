/** Small parts of the user interface. */

/**
 * Make an element.
 * @param {string} tag @param {Record<string, any>} [attributes] `on...` are listeners, others attributes
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Icons: paths in a square of 24, drawn with strokes. */
const ICONS = {
  help: "M9.1 9a3 3 0 1 1 4.4 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z",
  panel: "M4 6h9M17 6h3M4 12h3M11 12h9M4 18h9M17 18h3M15 4v4M9 10v4M15 16v4",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5M9 12h6M12 9v6",
  photos: "M4 5h16v14H4ZM4 16l5-5 4 4 3-3 4 4M15.5 9v.1",
  compare: "M4 5h16v14H4ZM12 3v18M15 10l2 2-2 2M9 10l-2 2 2 2",
  measure: "M3 16 16 3l5 5L8 21ZM7 12l2 2M10 9l3 3M13 6l2 2",
  crop: "M7 2v15h15M2 7h15v15",
  camera: "M4 8h4l2-3h4l2 3h4v11H4ZM12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7Z",
  video: "M3 6h12v12H3ZM15 10l6-3v10l-6-3Z",
  fly: "M12 3v18M12 3 8 8M12 3l4 5M3 14l9-3 9 3",
};

/** @param {keyof ICONS} name @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button of the toolbar.
 * @param {{id: string, icon: keyof ICONS, label: string, key?: string, onclick: () => void, pressed?: boolean}} options
 */
export function toolButton({ id, icon: name, label, key, onclick, pressed }) {
  const tip = key ? `${label} (${key})` : label;
  return el("button", { id, type: "button", class: "tool", title: tip, "aria-label": label, "aria-pressed": pressed === undefined ? null : String(pressed), onclick }, icon(name));
}

/** @param {string} id @param {boolean} on */
export const setPressed = (id, on) => document.getElementById(id)?.setAttribute("aria-pressed", String(on));

/** A titled part of the panel. @param {string} title @param {...Node} children */
export function section(title, ...children) {
  return el("details", { class: "section", open: true }, el("summary", {}, title), el("div", { class: "rows" }, ...children));
}

/** A switch. @param {{id: string, label: string, value: boolean, note?: string, title?: string, onchange: (on: boolean) => void}} options */
export function toggle({ id, label, value, note = "", title, onchange }) {
  const input = el("input", { id, type: "checkbox", role: "switch", checked: value, onchange: () => onchange(input.checked) });
  return el("label", { class: "row toggle", title }, el("span", {}, label), el("span", { class: "note" }, note), input);
}

/**
 * A slider with its value beside it.
 * @param {{id: string, label: string, min: number, max: number, step: number, value: number, title?: string,
 *   show?: (value: number) => string, oninput: (value: number) => void}} options
 */
export function slider({ id, label, min, max, step, value, title, show = String, oninput }) {
  const output = el("output", { for: id }, show(value));
  const input = el("input", { id, type: "range", min, max, step, value, oninput: () => {
    output.textContent = show(Number(input.value));
    oninput(Number(input.value));
  } });
  return el("div", { class: "row slider", title }, el("label", { for: id }, label), output, input);
}

/** A choice. @param {{id: string, label: string, options: [string, string][], value: string, title?: string, onchange: (value: string) => void}} options */
export function choice({ id, label, options, value, title, onchange }) {
  const select = el("select", { id, onchange: () => onchange(select.value) }, ...options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
  return el("div", { class: "row choice", title }, el("label", { for: id }, label), select);
}

/** Buttons of which one is pressed. @param {{id: string, label: string, options: [string, string, string][], value: string, onchange: (value: string) => void}} options */
export function segments({ id, label, options, value, onchange }) {
  const group = el("div", { id, class: "segments", role: "radiogroup", "aria-label": label });
  const choose = (chosen) => {
    for (const button of group.children) button.setAttribute("aria-checked", String(button.dataset.value === chosen));
  };
  for (const [key, text, title] of options) {
    group.append(el("button", { type: "button", role: "radio", "data-value": key, title, onclick: () => {
      choose(key);
      onchange(key);
    } }, text));
  }
  choose(value);
  return Object.assign(group, { choose });
}

/** A plain button. @param {{id: string, label: string, title?: string, onclick: () => void}} options */
export const button = ({ id, label, title, onclick }) => el("button", { id, type: "button", class: "plain", title, onclick }, label);

/** Tell something for a few seconds. @param {string} text @param {"info"|"error"} [kind] */
export function toast(text, kind = "info") {
  const made = el("div", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(made);
  setTimeout(() => made.remove(), kind === "error" ? 9000 : 4500);
}

/** Keep a text at the lower edge while something is to be done. @param {string} text empty = hide it */
export function hint(text) {
  const box = document.getElementById("hint");
  box.textContent = text;
  box.hidden = !text;
}

/** Hand a file to the person. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** A whole number with gaps between the thousands. @param {number} n */
export const grouped = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
