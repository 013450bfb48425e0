"""`recon3d lite3r`: from a training through a distillation to a comparison, all from the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_networks import DA3
from training_runs import TINY

from recon3d.apps.cli.lite3r import Lite3r
from recon3d.feedforward import bundled
from recon3d.feedforward.da3 import config
from recon3d.feedforward.training import whitening
from recon3d.feedforward.training.options import STAGES

Run = Callable[..., Any]
SMALL = ("--model", TINY, "--size", "28", "--photos", "4", "--workers", "0", "--scenes", "1", "--quiet")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.CONFIGS, TINY, replace(DA3, gaussians=None))
    monkeypatch.setattr(whitening, "_SCENES", 1)


def test_train_distill_and_evaluate(recon3d: Run, tmp_path: Path) -> None:
    run, student = tmp_path / "run", tmp_path / "student"
    trained = recon3d("lite3r", "train", *SMALL, "--steps", "2", "--out", run, "--json")
    assert trained.code == 0 and trained.json["scores"][0]["who"] == "trained"
    weights = trained.json["weights"]
    distilled = recon3d("lite3r", "distill", *SMALL, "--steps", "2", "--weights", weights, "--out", student, "--json")
    assert distilled.code == 0 and Path(distilled.json["delta"]).is_file()
    words = ("--weights", weights, "--delta", distilled.json["delta"], "--stored", "bf16")
    compared = recon3d("lite3r", "evaluate", *SMALL, *words, "--json")
    assert [one["who"] for one in compared.json["scores"]] == ["constant answer", "dense", "lite3r", "dense", "lite3r"]
    shown = recon3d("lite3r", "evaluate", *SMALL, "--weights", weights)
    assert "constant answer" in shown.out and "AUC@30" in shown.out and "scenes: 1" in shown.out


def test_a_folder_is_needed(recon3d: Run) -> None:
    for action in ("train", "distill"):
        found = recon3d("lite3r", action, *SMALL, "--steps", "1", "--weights", "x.safetensors")
        assert found.code == 2 and "--out" in found.err


def test_wrong_words_are_answered(recon3d: Run, tmp_path: Path) -> None:
    assert recon3d("lite3r", "train", "--size", "30", "--out", tmp_path).code == 2
    assert recon3d("lite3r", "teach").code == 2
    missing = recon3d("lite3r", "evaluate", *SMALL, "--weights", tmp_path / "none.safetensors")
    assert missing.code == 3 and "cannot be read" in missing.err
    unknown = recon3d("lite3r", "evaluate", *SMALL)
    assert unknown.code == 2 and "no such weights come with the package" in unknown.err


def test_options_become_a_training() -> None:
    usual = Lite3r(action="train").train_options()
    assert usual.stages == STAGES and usual.minutes == 10.0 and usual.steps == 0
    found = Lite3r(
        action="train", size=42, photos=5, steps=7, views=(3, 4), learning_rate=0.5, workers=2, seed=9
    ).train_options()
    assert found.stages[0].shapes == ((42, 42), (42, 42), (42, 28), (28, 42)) and found.stages[0].photos == 5
    assert (found.steps, found.minutes, found.seed) == (7, 0.0, 9)
    assert (found.data.views, found.data.workers, found.optimiser.learning_rate) == ((3, 4), 2, 0.5)
    assert {stage.photos for stage in Lite3r(action="train", photos=3).train_options().stages} == {3}


def test_options_become_a_distillation() -> None:
    found = Lite3r(
        action="distill", keep=0.5, block_size=8, quantise="none", steps=5, size=56, distillation=(1, 2)
    ).distill_options()
    assert (found.sparse.keep, found.sparse.block_size, found.quantise, found.steps) == (0.5, 8, None, 5)
    assert found.shape == (56, 56) and (found.first_weight, found.last_weight) == (1, 2)
    assert Lite3r(action="distill").distill_options().quantise == "e4m3"


def test_missing_bundled_weights_are_a_broken_installation(
    recon3d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path)
    found = recon3d("lite3r", "evaluate", "--quiet")
    assert found.code == 5 and "missing from this installation" in found.err
