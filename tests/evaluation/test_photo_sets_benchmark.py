"""The benchmark's own arithmetic: what it measures of a process, how it sums up runs, which calibration it gives."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from recon3d.evaluation import Estimate, evaluate_cameras

from .conftest import make_truth

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("photo_sets", monkeypatch)


def make_run(**changes: Any) -> dict[str, Any]:
    truth = make_truth()
    errors = evaluate_cameras(truth, Estimate(truth.names, truth.cameras)).to_json()
    run = {"set": "demo", "tool": "global", "seed": 0, "exit_code": 0, "wall_s": 2.0, "cpu_s": 3.0, "peak_mb": 100.0}
    return {**run, "reason": "", "errors": errors, **changes}


def test_measure_sees_children_and_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    child = "import time; data = bytearray(b'1' * 150_000_000); time.sleep(0.4)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('out'); sys.exit(4)"
    measured = load("measure", monkeypatch).measure([sys.executable, "-c", parent])
    assert measured.exit_code == 4
    assert measured.stdout == "out\n"
    assert measured.peak_mb > 150
    assert 0.4 < measured.wall_s < 60
    assert 0 < measured.cpu_s < measured.wall_s + 30


def test_measure_reports_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert load("measure", monkeypatch).measure([sys.executable, "-c", code]).exit_code == -9


def test_spread_is_median_and_range_without_missing_numbers(sets: ModuleType) -> None:
    runs = [{"x": 3.0}, {"x": 1.0}, {"x": 2.0}, {"x": None}, {"x": float("nan")}]
    assert sets.spread(runs, sets.nested("x"), 1) == "2.0 [1.0, 3.0]"
    assert sets.spread(runs[:1], sets.nested("x"), 2) == "3.00"
    assert sets.spread(runs[3:], sets.nested("x"), 2) == "-"


def test_row_of_a_perfect_run(sets: ModuleType) -> None:
    row = dict(zip(["set", "tool", "registered", *sets.COLUMNS, "exit"], sets.table_row([make_run()]), strict=True))
    assert row["set"] == "demo"
    assert row["tool"] == "pycolmap global"
    assert row["registered"] == "8 of 8"
    assert (row["AUC@3"], row["ATE mm"], row["exit"]) == ("100.0", "0.00", "0")


def test_row_of_a_refusal_and_of_a_false_registration(sets: ModuleType) -> None:
    truth = make_truth()
    refused = evaluate_cameras(replace(truth, expect_refusal=True), Estimate.empty()).to_json()
    row = sets.table_row([make_run(tool="recon3d", exit_code=4, errors=refused)])
    assert row[:3] == ["demo (to be refused)", "recon3d", "0 of 8"]
    assert row[-1] == "4"
    false = evaluate_cameras(truth, Estimate((*truth.names, "other.jpg"), truth.cameras[np.array([*range(8), 0])]))
    assert sets.table_row([make_run(errors=false.to_json())])[2] == "8 of 8, 1 FALSE"


def test_no_millimetres_without_a_metric_reference(sets: ModuleType) -> None:
    run = make_run()
    run["errors"]["unit"] = "arbitrary"
    assert sets.ate(run) is None


def test_calibration_only_where_all_photos_share_it(sets: ModuleType) -> None:
    truth = make_truth()
    assert sets.calibration_of(truth) == "800.0,802.0,320.0,240.0"
    K = truth.cameras.K.copy()
    K[3, 0, 2] += 1.0
    assert sets.calibration_of(replace(truth, cameras=replace(truth.cameras, K=K))) is None
    bent = replace(truth.cameras, distortion=np.full((8, 4), 0.1))
    assert sets.calibration_of(replace(truth, cameras=bent)) is None


def test_an_absent_model_counts_as_nothing_registered(sets: ModuleType, tmp_path: Path) -> None:
    assert sets.estimate_of(tmp_path / "absent").keys == ()
