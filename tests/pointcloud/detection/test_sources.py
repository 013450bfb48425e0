"""Where frames come from, and the network and options that go with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_detection import NAMES, some_frames

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.detection import (
    DetectorDataOptions,
    FolderFrames,
    KeptFrames,
    StreetFrames,
    Subset,
    TrainDetectorOptions,
    network_options,
    write_labelled_frame,
)
from recon3d.pointcloud.detection.frames import listed_names
from recon3d.pointcloud.detection.sources import folder_format, training_frames, training_network


def _options(**data: object) -> TrainDetectorOptions:
    return TrainDetectorOptions(data=DetectorDataOptions(**data))  # type: ignore[arg-type]


def _folder(tmp_path: Path, n: int = 6) -> Path:
    for number, frame in enumerate(some_frames(n).frames):
        write_labelled_frame(tmp_path / f"{number:03}", frame)
    return tmp_path


def test_the_classes_of_the_network_leave_it_as_it_is() -> None:
    plain = network_options("recon3d-detector")
    assert training_network(_options()) == plain
    assert training_network(_options(classes=NAMES)) == plain


@pytest.mark.parametrize("classes", [("car",), ("car", "truck", "bus", "pedestrian")])
def test_other_classes_have_their_own_suppression(classes: tuple[str, ...]) -> None:
    made = training_network(_options(classes=classes))
    assert made.classes == classes
    assert len(made.decode.nms_overlap) == len(made.decode.nms_before) == len(made.decode.nms_after) == len(classes)
    assert made.grid == network_options("recon3d-detector").grid


def test_streets_for_training_and_evaluation_differ() -> None:
    options = replace(_options(streets=7), evaluate_frames=3)
    train, held = training_frames(options, None)
    assert isinstance(train, KeptFrames) and isinstance(held, StreetFrames)
    assert (len(train), len(held)) == (7, 3)
    assert isinstance(train.source, StreetFrames) and train.source.seed != held.seed


def test_other_seeds_are_other_streets() -> None:
    seeds = [training_frames(replace(_options(), seed=seed), None)[0] for seed in (0, 1)]
    first, second = (one.source.seed for one in seeds if isinstance(one, KeptFrames))  # type: ignore[attr-defined]
    assert first != second


def test_a_folder_is_split_and_every_frame_is_in_one_part(tmp_path: Path) -> None:
    train, held = training_frames(_options(held_out=3), _folder(tmp_path))
    assert isinstance(train, Subset) and isinstance(held, Subset)
    assert isinstance(train.source, FolderFrames)
    assert sorted((*train.rows, *held.rows)) == list(range(6)) and len(held) == 2
    assert train.frame(0).name == "000" and held.frame(0).name == "002"


def test_a_list_chooses_frames_of_a_folder(tmp_path: Path) -> None:
    _folder(tmp_path)
    (tmp_path / "some.txt").write_text("000 001 005 004")
    train, held = training_frames(_options(held_out=2, split="some.txt"), tmp_path)
    assert [train.frame(row).name for row in range(2)] == ["000", "004"]
    assert [held.frame(row).name for row in range(2)] == ["001", "005"]


def test_too_few_frames_to_hold_some_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="hold some out"):
        training_frames(_options(), _folder(tmp_path, 3))


def test_a_format_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    _folder(tmp_path)
    with pytest.raises(InputError, match="KITTI"):
        training_frames(_options(format="kitti"), tmp_path)
    with pytest.raises(InputError, match="nuScenes"):
        training_frames(_options(format="nuscenes"), tmp_path)
    assert len(training_frames(_options(format="frames", held_out=2), tmp_path)[0]) == 3


def test_formats_are_known_by_their_files(tmp_path: Path) -> None:
    assert folder_format(tmp_path) == "frames"
    (tmp_path / "label_2").mkdir()
    assert folder_format(tmp_path) == "kitti"
    (tmp_path / "v1.0-mini").mkdir()
    (tmp_path / "v1.0-mini" / "sample_data.json").write_text("[]")
    assert folder_format(tmp_path) == "nuscenes"
    with pytest.raises(InputError, match="no folder"):
        folder_format(tmp_path / "label_2" / "none")


def test_lists_of_names(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\n b\r\n\nc\n")
    assert listed_names(tmp_path, "list.txt") == ["a", "b", "c"]
    assert listed_names(tmp_path / "elsewhere", str(tmp_path / "list.txt")) == ["a", "b", "c"]
    (tmp_path / "empty.txt").write_text("")
    assert listed_names(tmp_path, "empty.txt") == []
    for wrong in ("none.txt", "."):
        with pytest.raises(InputError, match="list of frames"):
            listed_names(tmp_path, wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0, "minutes": 0.0},
        {"steps": -3, "minutes": -1.0},
        {"learning_rate": 0.0},
        {"warm_up": 0.0},
        {"warm_up": 1.0},
        {"clip": 0.0},
        {"ema": 1.0},
        {"ema": -0.1},
    ],
)
def test_trainings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TrainDetectorOptions(**wrong)  # type: ignore[arg-type]


def test_a_frame_turned_and_back_is_the_same() -> None:
    frame = some_frames(1).frames[0]
    turned = frame.turned(0.7)
    assert not np.allclose(turned.boxes.boxes[:, :2], frame.boxes.boxes[:, :2], atol=0.5)
    back = turned.turned(-0.7)
    assert np.allclose(back.points, frame.points, atol=1e-5)
    assert np.allclose(back.boxes.boxes, frame.boxes.boxes, atol=1e-5)
    assert turned.mount_m == frame.mount_m and np.array_equal(turned.points[:, 2:], frame.points[:, 2:])
