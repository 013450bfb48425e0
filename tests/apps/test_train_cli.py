"""`recon3d train`: words become options of both trainings, and those that fit to neither are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recon3d.apps.cli.train import Train
from recon3d.core.errors import UsageError
from recon3d.pointcloud.detection import TrainDetectorOptions
from recon3d.pointcloud.segmentation import TrainSegmenterOptions

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.mark.parametrize("command", ["segment", "train"])
def test_help_fits_one_screen_and_names_its_words(recon3d: Run, command: str) -> None:
    found = recon3d(command, "--help")
    assert found.code == 0 and found.err == ""
    lines = found.out.splitlines()
    assert lines[0].startswith(f"usage: recon3d {command}") and len(lines) <= 50
    assert max(len(line) for line in lines) <= 100
    wanted = {"segment": ("--model", "--mount", "--classes"), "train": ("--data", "--resume", "--recipe", "--teacher")}
    assert all(word in found.out for word in wanted[command])


def test_a_segmenter_is_trained_for_twenty_minutes_unless_told_otherwise() -> None:
    assert Train(what="segmenter").segmenter_options() == TrainSegmenterOptions()
    assert Train(what="segmenter", steps=7).segmenter_options().minutes == 0
    both = Train(what="segmenter", steps=7, minutes=3).segmenter_options()
    assert (both.steps, both.minutes) == (7, 3.0)


def test_words_reach_the_training_of_a_segmenter() -> None:
    words = Train(
        what="segmenter",
        data="streets",
        recipe="naive",
        scenes=5,
        most_voxels=900,
        voxel=0.3,
        dim=64,
        depth=2,
        learning_rate=1e-3,
        evaluate_scenes=4,
        seed=9,
    )
    made = words.segmenter_options()
    assert (made.data, made.recipe, made.scenes, made.most_voxels, made.seed) == ("streets", "naive", 5, 900, 9)
    assert (made.network.voxel_m, made.network.dim, made.network.depth) == (0.3, 64, 2)
    assert (made.learning_rate, made.evaluate_scenes) == (1e-3, 4)
    assert Train(what="segmenter", teacher="indoor").segmenter_options().teacher == "indoor"


def test_folders_of_boxes_are_refused_for_a_segmenter() -> None:
    with pytest.raises(UsageError, match="reads no such folder"):
        Train(what="segmenter", format="kitti").segmenter_options()
    assert Train(what="segmenter", format="nuscenes").segmenter_options().format == "nuscenes"


def test_words_reach_the_training_of_a_detector() -> None:
    made = Train(what="detector", format="kitti", scenes=2, classes=("car",), split="train.txt").detector_options()
    assert (made.data.format, made.data.classes, made.data.split, made.batch.size) == (
        "kitti",
        ("car",),
        "train.txt",
        2,
    )
    assert Train(what="detector").detector_options().minutes == TrainDetectorOptions().minutes
    assert Train(what="detector", steps=3).detector_options().minutes == 0
    assert Train(what="detector", format="folder").detector_options().data.format == "frames"


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("segmenter",), "--out"),
        (("detector",), "--out"),
        (("segmenter", "--out", "x", "--recipe", "naive", "--teacher", "indoor"), "teacher"),
        (("segmenter", "--out", "x", "--scenes", "0"), "cannot work"),
        (("segmenter", "--out", "x", "--format", "kitti"), "no such folder"),
        (("roof", "--out", "x"), "roof"),
        (("segmenter", "--out", "x", "--format", "roof"), "roof"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    recon3d: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = recon3d("train", *words, "--quiet")
    assert found.code == 2 and word in found.err and not list(tmp_path.iterdir())
