// The rest of the page: filters, sorting, and one selection shared by cards, table, graphs and the 3D view.

const data = JSON.parse(document.getElementById("report-data").textContent);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);
let view = null, selected = 0;

function cardImage(number) { return document.querySelector(`[data-card="${number}"] img.thumb`); }

function select(number, { scroll = false } = {}) {
  selected = number === selected && !scroll ? 0 : number;
  all("button.face").forEach((face) => face.setAttribute("aria-pressed", String(Number(face.dataset.view) === selected)));
  all("tr[data-row]").forEach((row) => row.classList.toggle("on", Number(row.dataset.row) === selected));
  all(".matrix, .circle").forEach((svg) => svg.classList.toggle("choosing", selected > 0));
  all("[data-a]").forEach((edge) => edge.classList.toggle("on", Number(edge.dataset.a) === selected || Number(edge.dataset.b) === selected));
  all("circle[data-view]").forEach((node) => node.classList.toggle("on", Number(node.dataset.view) === selected));
  if (view) showPicked();
}

function showPicked() {
  const entry = data.views[selected - 1], panel = byId("picked");
  view.pick(entry ? entry.camera : -1);
  panel.hidden = !entry;
  byId("view-hint").hidden = true;
  if (!entry) return;
  const card = document.querySelector(`[data-card="${selected}"]`), row = document.querySelector(`tr[data-row="${selected}"]`);
  const image = cardImage(selected);
  if (image) byId("picked-image").src = image.src;
  else byId("picked-image").removeAttribute("src");
  byId("picked-name").textContent = `${selected} · ${card.querySelector(".name").textContent}`;
  byId("picked-facts").textContent = row ? `${row.cells[2].textContent} points, mean error ${row.cells[3].textContent} px` : "";
}

function connectFilters() {
  const buttons = all(".filter");
  buttons.forEach((button) => button.addEventListener("click", () => {
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    const wanted = button.dataset.filter;
    all(".card").forEach((card) => {
      card.hidden = !(wanted === "all" || card.dataset.status === wanted || (wanted === "remark" && card.dataset.remark));
    });
  }));
}

function connectSorting() {
  all("table.photos thead th").forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const table = head.closest("table"), rising = head.getAttribute("aria-sort") !== "ascending";
    all("thead th", table).forEach((other) => other.setAttribute("aria-sort", other === head ? (rising ? "ascending" : "descending") : "none"));
    const value = (row) => row.cells[column].dataset.sort;
    const order = (a, b) => {
      const [x, y] = [Number(value(a)), Number(value(b))];
      if (column === 1) return value(a).localeCompare(value(b), undefined, { numeric: true });
      return (Number.isNaN(x) ? Infinity : x) - (Number.isNaN(y) ? Infinity : y) || 0;
    };
    const rows = all("tbody tr", table).sort((a, b) => (rising ? order(a, b) : order(b, a)));
    table.tBodies[0].append(...rows);
  }));
}

function rampColours(values, limit) {
  const style = getComputedStyle(document.documentElement), out = new Uint8Array(values.length * 3);
  const ramp = [0, 1, 2, 3, 4].map((k) => {
    const hex = parseInt(style.getPropertyValue(`--r${k}`).trim().slice(1), 16);
    return [hex >> 16, hex >> 8 & 255, hex & 255];
  });
  for (let i = 0; i < values.length; i++) {
    const t = Math.min(values[i] / limit, 1) * 4, k = Math.min(3, Math.floor(t));
    for (let c = 0; c < 3; c++) out[3 * i + c] = ramp[k][c] + (ramp[k + 1][c] - ramp[k][c]) * (t - k);
  }
  return out;
}

function connectTools() {
  const { points } = view, ramp = byId("view-ramp"), tops = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length * 0.95)] || 1;
  const modes = {
    rgb: () => points.rgb,
    error: () => { const top = Math.max(tops(points.error), 10); setRamp("0", `${(top * 0.02).toFixed(1)} px`); return rampColours(points.error, top); },
    track: () => { const top = Math.max(tops(points.track), 4); setRamp("0", `${top} photos`); return rampColours(points.track.map((v) => v), top); },
  };
  const setRamp = (low, high) => { byId("view-ramp-low").textContent = low; byId("view-ramp-high").textContent = high; };
  const paint = () => { const mode = byId("view-colour").value; ramp.hidden = mode === "rgb"; view.colour(modes[mode]()); };
  byId("view-colour").addEventListener("change", paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  byId("view-size").addEventListener("input", (event) => view.set("size", Number(event.target.value)));
  byId("view-frusta").addEventListener("input", (event) => view.set("frusta", Number(event.target.value)));
  byId("view-images").addEventListener("change", (event) => view.set("photos", event.target.checked));
  byId("view-images-label").hidden = !view.painter.photos;
  byId("view-reset").addEventListener("click", view.reset);
  byId("view-top").addEventListener("click", view.fromAbove);
  byId("picked-look").addEventListener("click", () => view.lookFrom(data.views[selected - 1].camera));
  byId("picked-close").addEventListener("click", () => { select(selected); byId("stage").focus({ preventScroll: true }); });
  byId("picked-list").addEventListener("click", () => {
    const face = document.querySelector(`[data-card="${selected}"] .face`);
    face.closest(".card").hidden = false;
    face.scrollIntoView({ block: "center" });
    face.focus({ preventScroll: true });
  });
  byId("stage").addEventListener("pointerdown", () => { byId("stage").focus({ preventScroll: true }); byId("view-hint").hidden = true; });
}

function start() {
  connectFilters();
  connectSorting();
  connectTurntables();
  connectComparisons();
  all("[data-view]").forEach((element) => element.addEventListener("click", () => {
    const number = Number(element.dataset.view);
    if (data.views[number - 1].status === "registered") select(number);
  }));
  if (!data.scene) return;
  byId("view-noscript").hidden = true;
  const images = [];
  data.views.forEach((entry, index) => {
    const image = entry.camera >= 0 && cardImage(index + 1);
    if (image) image.loading = "eager";
    if (entry.camera >= 0) images[entry.camera] = image || null;
  });
  view = createView(data.scene, images, (camera) => {
    if (camera >= 0) select(data.views.findIndex((entry) => entry.camera === camera) + 1);
    else if (selected) select(selected);
  });
  connectTools();
}

start();
