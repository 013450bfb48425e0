"""What a training leaves on disk: checkpoints that resume, weights that answer, and damage that is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_segmentation import ROOM, Boxes, room_rows, training_options

from recon3d.core.errors import FormatError, UsageError
from recon3d.core.processes import Processes
from recon3d.formats.checkpoints import FILE, read_checkpoint
from recon3d.formats.safetensors import read_safetensors
from recon3d.pointcloud.segmentation.segmenter import Segmenter
from recon3d.pointcloud.segmentation.training import WEIGHTS, Training, train_segmenter

ALONE = Processes(0, 1, torch.device("cpu"))


def run(folder: Path, steps: int, *, resume: bool = False, **changed: object) -> None:
    options = training_options(steps, **{"evaluate_scenes": 0, **changed})
    train_segmenter(options, folder, Boxes(), resume=resume, device="cpu")


def same(one: Path, two: Path) -> bool:
    first, second = read_safetensors(one / WEIGHTS), read_safetensors(two / WEIGHTS)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_training_gives_the_same_weights(tmp_path: Path) -> None:
    run(tmp_path / "one", 3), run(tmp_path / "two", 3), run(tmp_path / "other", 3, seed=1)
    assert same(tmp_path / "one", tmp_path / "two") and not same(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("recipe", ["full", "naive"])
def test_weights_are_those_of_the_checkpoint(tmp_path: Path, recipe: str) -> None:
    run(tmp_path, 3, recipe=recipe)
    parts, rest = read_checkpoint(tmp_path / FILE)
    kept, wanted = read_safetensors(tmp_path / WEIGHTS), parts["average" if recipe == "full" else "model"]
    assert rest["clock"]["step"] == 3
    for name, one in kept.items():
        assert torch.equal(one, wanted[name].half() if wanted[name].is_floating_point() else wanted[name]), name


def test_a_finished_training_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    run(tmp_path, 2)
    before = (tmp_path / WEIGHTS).read_bytes()
    run(tmp_path, 2, resume=True)
    assert (tmp_path / WEIGHTS).read_bytes() == before
    assert read_checkpoint(tmp_path / FILE)[1]["clock"]["step"] == 2


def test_a_finished_training_can_be_made_longer(tmp_path: Path) -> None:
    run(tmp_path, 2), run(tmp_path, 4, resume=True)
    assert read_checkpoint(tmp_path / FILE)[1]["clock"]["step"] == 4
    assert json.loads((tmp_path / "options.json").read_text())["steps"] == 4


@pytest.mark.parametrize("changed", [{"seed": 5}, {"recipe": "naive"}, {"scenes": 1}, {"mix": 0.0}, {"ema": 0.5}])
def test_another_training_does_not_go_on_here(tmp_path: Path, changed: dict[str, object]) -> None:
    run(tmp_path, 1)
    before = (tmp_path / WEIGHTS).read_bytes()
    with pytest.raises(UsageError, match="another training"):
        run(tmp_path, 2, resume=True, **changed)
    assert (tmp_path / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_checkpoint_is_named(tmp_path: Path, share: float) -> None:
    run(tmp_path, 1)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[: int(share * len(data))])
    with pytest.raises(FormatError):
        run(tmp_path, 2, resume=True)


def test_minutes_end_a_training(tmp_path: Path) -> None:
    run(tmp_path, 0, minutes=0.002)
    clock = read_checkpoint(tmp_path / FILE)[1]["clock"]
    assert clock["step"] >= 1 and clock["seconds"] >= 0.12


def test_an_evaluation_leaves_the_training_as_it_was() -> None:
    training = Training(training_options(5), Boxes(), ALONE)
    training.step()
    before = {name: one.clone() for name, one in training.model.state_dict().items()}
    one, two = training.evaluated(), training.evaluated()
    assert one.to_json() == two.to_json() and one.scenes == 2
    assert all(torch.equal(before[name], now) for name, now in training.model.state_dict().items())


def test_evaluations_look_at_no_more_scenes_than_there_are() -> None:
    training = Training(training_options(1, evaluate_scenes=99), Boxes(held_out=3), ALONE)
    assert training.evaluated().scenes == 3


def test_the_rate_rises_and_falls(tmp_path: Path) -> None:
    training = Training(training_options(40, learning_rate=1e-2), Boxes(), ALONE)
    rates = []
    for _ in range(40):
        training.step()
        rates.append(training.optimiser.param_groups[0]["lr"])
    top = int(np.argmax(rates))
    assert 0 < top < 20 and rates[0] < 0.3 * rates[top] and rates[-1] < 0.05 * rates[top]
    assert rates[top] == pytest.approx(1e-2, rel=0.05)


def test_checkpoints_are_written_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    plain = Training.save

    def save(training: Training, folder: Path) -> None:
        saved.append(training.clock.step)
        plain(training, folder)

    monkeypatch.setattr(Training, "save", save)
    run(tmp_path, 4, checkpoint_minutes=0.0)
    assert saved == [1, 2, 3, 4, 4]


def test_scores_are_written_on_the_way(tmp_path: Path) -> None:
    run(tmp_path, 3, evaluate_minutes=0.0, evaluate_scenes=1)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [one["step"] for one in entries if "unseen" in one] == [1, 2, 3, 3]
    assert all(set(one["unseen"]["iou"]) == set(ROOM.classes) for one in entries)


def test_a_missing_tensorboard_is_said_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(Exception, match="tensorboard"):
        train_segmenter(training_options(1), tmp_path, Boxes(), tensorboard=True)
    assert not (tmp_path / WEIGHTS).exists()


def test_the_weights_of_a_training_answer(tmp_path: Path) -> None:
    run(tmp_path, 1)
    found = Segmenter.load(tmp_path / WEIGHTS, device="cpu").segment(room_rows(1))
    assert found.names == ROOM.classes and found.raw_ids == ROOM.raw_ids and (found.labels >= 0).all()
