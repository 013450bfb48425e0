"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from recon3d.report import DenseResults, ReportInputs, page, write_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-unsafe-swiftshader --enable-logging=stderr "
    "--virtual-time-budget=5000 --dump-dom"
)


PROBE = """
const probe = (name, value) => document.body.setAttribute(`data-${name}`, String(value));
const reel = document.querySelector(".reel");
const shown = () => [...reel.children].findIndex((frame) => frame.classList.contains("on"));
const key = (range, value) => { range.value = value; range.dispatchEvent(new Event("input")); };
const drag = (x) => reel.dispatchEvent(new PointerEvent("pointermove", { clientX: x, pointerId: 1 }));
reel.setPointerCapture = () => {};
reel.dispatchEvent(new PointerEvent("pointerdown", { clientX: 100, button: 0, pointerId: 1 }));
drag(100 + reel.clientWidth / 4);
probe("dragged", shown());
drag(100);
probe("back", shown());
reel.dispatchEvent(new PointerEvent("pointerup", { pointerId: 1 }));
drag(0);
probe("released", shown());
key(document.querySelector(".reel-tools input"), 5);
probe("slid", shown());
const comparison = () => document.querySelectorAll(".comparison:not([hidden])");
probe("first", comparison()[0].dataset.heldOut + "/" + comparison().length);
document.querySelector('[data-show="0"]').click();
probe("second", comparison()[0].dataset.heldOut + "/" + comparison().length);
const split = comparison()[0].querySelector(".split");
key(split.querySelector("input"), 80);
probe("split", getComputedStyle(split.querySelector(".photo")).clipPath);
probe("wide", document.documentElement.scrollWidth - document.documentElement.clientWidth);
"""


def browse(path: Path, folder: Path, width: int = 1200, fragment: str = "") -> tuple[str, list[str]]:
    """Return the page as it is after its script has run, and the complaints of the console."""
    command = [BROWSER, *FLAGS.split(), f"--window-size={width},900", f"--user-data-dir={folder / 'profile'}"]
    command.append(path.as_uri() + fragment)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    trouble = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]
    return done.stdout, trouble


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
@pytest.mark.parametrize("fragment", ["", "#canvas"], ids=["webgl", "canvas"])
def test_script_runs_under_the_policy_of_the_page(tmp_path: Path, inputs: ReportInputs, fragment: str) -> None:
    write_report(replace(inputs, thumbnails={}), tmp_path / "report.html")
    dom, trouble = browse(tmp_path / "report.html", tmp_path, fragment=fragment)
    canvas = re.search(r'<canvas id="view-lines"[^>]*>', dom)
    assert canvas is not None
    assert "width=" in canvas.group(), "nothing was drawn"
    assert re.search(r'id="view-noscript"[^>]* hidden', dom)
    assert trouble == []


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1440, 390])
def test_turntable_and_comparison_follow_the_hand(
    tmp_path: Path, inputs: ReportInputs, dense: DenseResults, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = page._asset
    monkeypatch.setattr(page, "_asset", lambda name: asset(name) + (PROBE if name == "report.js" else ""))
    write_report(replace(inputs, thumbnails={}, dense=dense), tmp_path / "report.html")
    dom, trouble = browse(tmp_path / "report.html", tmp_path, width)
    assert trouble == []
    found = dict(re.findall(r' data-([a-z]+)="([^"]*)"', dom[dom.index("<body") :].split(">")[0]))
    assert found == {
        "dragged": "6",  # to the right by a quarter: the camera goes two of eight frames to the left
        "back": "0",
        "released": "0",
        "slid": "5",
        "first": "1/1",
        "second": "0/1",
        "split": "inset(0px 20% 0px 0px)",
        "wide": "0",
    }
