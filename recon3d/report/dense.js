// Turntables and comparisons; without this script the page shows their pictures side by side.

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function connectTurntables() {
  document.querySelectorAll(".turntable").forEach((figure) => {
    const frames = [...figure.querySelectorAll(".reel img")], tools = figure.querySelector(".reel-tools");
    if (frames.length > 1 && tools) connectTurntable(figure, frames, tools);
  });
}

function connectTurntable(figure, frames, tools) {
  const reel = figure.querySelector(".reel"), range = tools.querySelector("input"), play = tools.querySelector(".play");
  const n = frames.length, closed = "closed" in figure.dataset;
  let at = Math.max(0, frames.findIndex((frame) => frame.classList.contains("on"))), timer = 0, step = 1, grip = null;
  const show = (place) => {
    const next = closed ? ((place % n) + n) % n : clamp(place, 0, n - 1);
    if (next === at) return;
    frames[at].classList.remove("on");
    frames[next].classList.add("on");
    at = next;
    range.value = String(at);
    range.setAttribute("aria-valuetext", `view ${at + 1} of ${n}`);
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const tick = () => {
    if (!closed && (at + step < 0 || at + step >= n)) step = -step;
    show(at + step);
  };
  range.max = String(n - 1);
  range.value = String(at);
  range.setAttribute("aria-valuetext", `view ${at + 1} of ${n}`);
  range.addEventListener("input", () => { stop(); show(Number(range.value)); });
  play.addEventListener("click", () => {
    if (timer) { stop(); return; }
    timer = setInterval(tick, Math.max(60, 6000 / n));
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
  });
  reel.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stop();
    grip = { x: event.clientX, at };
    reel.setPointerCapture(event.pointerId);
  });
  reel.addEventListener("pointermove", (event) => {
    if (grip) show(grip.at + Math.round((grip.x - event.clientX) / reel.clientWidth * n));
  });
  ["pointerup", "pointercancel"].forEach((name) => reel.addEventListener(name, () => { grip = null; }));
  figure.classList.add("live");
  tools.hidden = false;
}

function connectComparisons() {
  const figures = [...document.querySelectorAll(".comparison")], buttons = [...document.querySelectorAll("[data-show]")];
  const show = (number) => {
    figures.forEach((figure) => { figure.hidden = figure.dataset.heldOut !== number; });
    buttons.forEach((button) => button.closest("tr").classList.toggle("on", button.dataset.show === number));
  };
  figures.forEach((figure) => {
    const split = figure.querySelector(".split"), range = split.querySelector("input");
    figure.classList.add("live");
    split.classList.add("live");
    range.hidden = false;
    range.addEventListener("input", () => split.style.setProperty("--at", `${range.value}%`));
  });
  buttons.forEach((button) => button.addEventListener("click", () => show(button.dataset.show)));
  const first = figures.find((figure) => "first" in figure.dataset) || figures[0];
  if (first) show(first.dataset.heldOut);
}
