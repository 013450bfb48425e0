"""A training from its first step to its files: it learns, resumes with the same bits, and obeys its recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_segmentation import NETWORK, ROOM, Boxes, room_sample, segmenter, stored, training_options

from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.core.processes import Processes
from recon3d.formats.checkpoints import FILE, read_checkpoint
from recon3d.pointcloud.segmentation.recipe import ColourDrop, StrengthScale, training_steps
from recon3d.pointcloud.segmentation.segmenter import Segmenter
from recon3d.pointcloud.segmentation.training import WEIGHTS, Training, train_segmenter

ALONE = Processes(0, 1, torch.device("cpu"))


def test_heights_are_learnt(tmp_path: Path) -> None:
    options = training_options(150, learning_rate=1e-2, recipe="naive")
    score = train_segmenter(options, tmp_path / "run", Boxes())
    assert score is not None and score.score.mean_iou > 0.5  # a constant answer has 0.11
    found = Segmenter.load(tmp_path / "run" / WEIGHTS).segment(
        np.column_stack([room_sample(7).xyz, np.asarray(room_sample(7).color)])
    )
    assert (found.labels == room_sample(7).segment).mean() > 0.6


def test_a_killed_training_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    options = training_options(4)
    train_segmenter(options, tmp_path / "whole", Boxes())
    half = Training(options, Boxes(), ALONE)
    half.step(), half.step()
    (tmp_path / "half").mkdir()
    half.save(tmp_path / "half")
    train_segmenter(options, tmp_path / "half", Boxes(), resume=True)
    one, two = (read_checkpoint(tmp_path / name / FILE)[0] for name in ("whole", "half"))
    for part in ("model", "average", "optimiser"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])


def test_a_folder_is_not_overwritten_and_not_continued_with_other_options(tmp_path: Path) -> None:
    train_segmenter(training_options(1, evaluate_scenes=0), tmp_path, Boxes())
    with pytest.raises(UsageError, match="holds a training"):
        train_segmenter(training_options(1), tmp_path, Boxes())
    with pytest.raises(UsageError, match="another training"):
        train_segmenter(training_options(2, learning_rate=1.0), tmp_path, Boxes(), resume=True)
    with pytest.raises(InputError):
        train_segmenter(training_options(1), tmp_path / "absent", Boxes(), resume=True)


def test_the_journal_and_the_options_are_written(tmp_path: Path) -> None:
    train_segmenter(training_options(25), tmp_path, Boxes())
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entries[0]["step"] == 25 and "loss" in entries[0]
    assert 0 <= entries[-1]["unseen"]["mean_iou"] <= 100
    assert json.loads((tmp_path / "options.json").read_text())["steps"] == 25


def test_recipes_differ_where_they_should() -> None:
    full, naive = (Training(training_options(2, recipe=name), Boxes(), ALONE) for name in ("full", "naive"))
    assert len(full.batches.steps) > len(naive.batches.steps)
    naive.step(), full.step()
    own = naive.model.state_dict()
    assert all(torch.equal(one, own[name]) for name, one in naive.best().items())
    own = full.model.state_dict()
    assert not all(torch.equal(one, own[name]) for name, one in full.best().items())


def test_a_teacher_teaches_a_second_head_that_is_not_kept(tmp_path: Path) -> None:
    teacher = stored(tmp_path / "teacher.safetensors", ROOM, seed=3)
    options = training_options(3, teacher=str(teacher))
    training = Training(options, Boxes(), ALONE)
    before = training.model.distill_heads["Default"].weight.detach().clone()
    training.step()
    assert not torch.equal(before, training.model.distill_heads["Default"].weight)
    train_segmenter(options, tmp_path / "run", Boxes())
    assert Segmenter.load(tmp_path / "run" / WEIGHTS).spec == ROOM
    other = stored(tmp_path / "other.safetensors", replace(ROOM, voxel_m=0.3))
    with pytest.raises(UsageError, match="teaches something else"):
        Training(training_options(1, teacher=str(other)), Boxes(), ALONE)


def test_scenes_without_end_are_used_about_equally_often() -> None:
    seen: list[int] = []

    class Counted(Boxes):
        def training(self, number: int) -> object:  # type: ignore[override]
            seen.append(number)
            return room_sample(number, 50)

    training = Training(training_options(50, reuse=5, pool=4), Counted(), ALONE)
    for step in range(50):
        training.batches.at(step)
    assert 15 <= len(seen) <= 50  # 100 uses, 5 of each


def test_batches_do_not_depend_on_those_before() -> None:
    one, two = (Training(training_options(9), Boxes(), ALONE).batches for _ in range(2))
    one.at(0)
    assert torch.equal(one.at(5).features, two.at(5).features)


def test_a_training_that_diverges_ends() -> None:
    training = Training(training_options(30), Boxes(), ALONE)
    training.model.seg_heads["Default"].weight.data.fill_(float("nan"))
    with pytest.raises(ResultError, match="diverged"):
        for _ in range(20):
            training.step()


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 0},
        {"scenes": 0},
        {"learning_rate": 0.0},
        {"ema": 1.0},
        {"mix": 2.0},
        {"recipe": "naive", "teacher": "indoor"},
    ],
)
def test_impossible_trainings_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        training_options(**{"steps": 1, **changed})  # type: ignore[arg-type]


def test_colours_and_strengths_change_at_random() -> None:
    rng, sample = np.random.default_rng(0), room_sample(1)
    assert set(np.asarray(ColourDrop(p=1.0)(sample, rng).color).ravel().tolist()) == {128.0}
    strong = sample.changed(strength=np.full(400, 0.5, np.float32))
    changed = np.asarray(StrengthScale()(strong, rng).strength)
    assert changed[0] != 0.5 and 0.5 / 1.5 <= changed[0] <= 0.75
    assert StrengthScale()(sample, rng) is sample


def test_the_network_has_the_size_that_is_asked_for() -> None:
    assert NETWORK.backbone(8, 0.1).dim == 64
    assert len(training_steps(ROOM, training_options(1))) > 10
    assert segmenter(ROOM).spec is ROOM
