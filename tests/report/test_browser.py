"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from recon3d.report import ReportInputs, write_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-unsafe-swiftshader --enable-logging=stderr "
    "--virtual-time-budget=2000 --window-size=1200,900 --dump-dom"
)


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
@pytest.mark.parametrize("fragment", ["", "#canvas"], ids=["webgl", "canvas"])
def test_script_runs_under_the_policy_of_the_page(tmp_path: Path, inputs: ReportInputs, fragment: str) -> None:
    write_report(replace(inputs, thumbnails={}), tmp_path / "report.html")
    command = [BROWSER, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    command.append((tmp_path / "report.html").as_uri() + fragment)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    canvas = re.search(r'<canvas id="view-lines"[^>]*>', done.stdout)
    assert canvas is not None
    assert "width=" in canvas.group(), "nothing was drawn"
    assert re.search(r'id="view-noscript"[^>]* hidden', done.stdout)
    trouble = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]
    assert trouble == []
