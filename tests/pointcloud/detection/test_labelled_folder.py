"""The project's own format: clouds of every kind beside their JSON, and what is wrong with damaged ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_detection import NAMES, frame_of

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.kitti import write_kitti_points
from recon3d.formats.npy_cloud import write_npy
from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.clouds import PointCloud
from recon3d.pointcloud.clouds.files import save
from recon3d.pointcloud.detection import FolderFrames, boxes_from_json, boxes_to_json, write_labelled_frame

FRAME = frame_of([(0, 9.0, 1.0, 0.4), (1, 11.0, -2.0, 0.0)])
ENTRY = {"class": "car", "box": [12.1, -3.0, -0.9, 4.2, 1.8, 1.5, 0.05]}


def _labels(path: Path, **about: object) -> None:
    path.write_text(json.dumps({"boxes": [ENTRY], **about}))


def test_a_frame_comes_back_at_its_height(tmp_path: Path) -> None:
    high = frame_of([(2, 5.0, 1.0, -2.0)], mount=2.25)
    write_labelled_frame(tmp_path / "one", high)
    back = FolderFrames.of(tmp_path, NAMES).frame(0)
    assert back.mount_m == 2.25 and back.boxes.labels.tolist() == [2]
    assert np.array_equal(back.points, high.points) and np.allclose(back.boxes.boxes, high.boxes.boxes, atol=1e-4)


@pytest.mark.parametrize("ending", [".pcd", ".ply"])
def test_clouds_of_other_kinds(tmp_path: Path, ending: str) -> None:
    cloud = PointCloud(xyz=FRAME.points[:, :3].astype(np.float64), attributes={"intensity": FRAME.points[:, 3]})
    save(tmp_path / f"a{ending}", cloud)
    _labels(tmp_path / "a.json")
    back = FolderFrames.of(tmp_path, NAMES).frame(0)
    assert np.allclose(back.points, FRAME.points, atol=1e-4) and back.mount_m == 1.73


def test_a_cloud_without_labels_is_no_frame_nor_are_labels_without_a_cloud(tmp_path: Path) -> None:
    write_labelled_frame(tmp_path / "a", FRAME)
    write_npy(tmp_path / "b.npy", FRAME.points)
    _labels(tmp_path / "c.json")
    assert [cloud.stem for cloud, _ in FolderFrames.of(tmp_path, NAMES).pairs] == ["a"]


def test_frames_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        write_labelled_frame(tmp_path / name, FRAME)
    frames = FolderFrames.of(tmp_path, NAMES)
    assert len(frames) == 3 and [frames.frame(row).name for row in range(3)] == ["a", "b", "c"]


def test_a_list_from_elsewhere_and_one_that_is_missing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in "ab":
        write_labelled_frame(data / name, FRAME)
    (tmp_path / "mine.txt").write_text("b")
    assert len(FolderFrames.of(data, NAMES, str(tmp_path / "mine.txt"))) == 1
    with pytest.raises(InputError, match="list of frames"):
        FolderFrames.of(data, NAMES, "missing.txt")
    (tmp_path / "mine.txt").write_text("z")
    with pytest.raises(InputError, match="no labelled cloud"):
        FolderFrames.of(data, NAMES, str(tmp_path / "mine.txt"))


def test_detections_are_labels_to_correct(tmp_path: Path) -> None:
    scored = replace(FRAME.boxes, scores=np.array([0.7, 0.6]))
    write_npy(tmp_path / "a.npy", FRAME.points)
    text = json.dumps({"mount_m": 1.73, "warnings": [], "boxes": boxes_to_json(scored)})
    (tmp_path / "a.json").write_text(text)
    back = FolderFrames.of(tmp_path, NAMES).frame(0)
    assert np.allclose(back.boxes.boxes, FRAME.boxes.boxes, atol=1e-4)


@pytest.mark.parametrize(
    "about",
    [
        {"intensity_max": 0},
        {"intensity_max": -5},
        {"intensity_max": "bright"},
        {"intensity_max": float("nan")},
        {"mount_m": float("inf")},
        {"mount_m": None},
        {"boxes": None},
        {"boxes": [3]},
        {"boxes": [{"class": "car"}]},
        {"boxes": [{"class": "car", "box": [1, 2, 3]}]},
        {"boxes": [{"class": "car", "box": ["x"] * 7}]},
        {"boxes": [{"class": "car", "box": [1, 2, float("nan"), 1, 1, 1, 0]}]},
    ],
)
def test_labels_that_tell_nothing(tmp_path: Path, about: dict[str, object]) -> None:
    write_kitti_points(tmp_path / "a.bin", FRAME.points)
    _labels(tmp_path / "a.json", **about)
    with pytest.raises(FormatError):
        FolderFrames.of(tmp_path, NAMES).frame(0)


def test_boxes_survive_json_to_a_tenth_of_a_millimetre() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(0, 20, (20, 3)), rng.uniform(0.3, 5, (20, 3)), rng.uniform(-3.1, 3.1, 20)])
    boxes = Boxes3D(
        boxes=rows,
        labels=rng.integers(0, 3, 20),
        names=NAMES,
        scores=rng.uniform(0, 1, 20),
        velocities=rng.normal(0, 5, (20, 2)),
    )
    back = boxes_from_json(json.loads(json.dumps(boxes_to_json(boxes))), NAMES)
    assert np.allclose(back.boxes, boxes.boxes, atol=6e-5) and np.array_equal(back.labels, boxes.labels)
    assert back.scores is not None and np.allclose(back.scores, boxes.scores, atol=6e-5)  # type: ignore[arg-type]
    assert back.velocities is not None and np.allclose(back.velocities, boxes.velocities, atol=6e-5)


def test_unknown_velocities_are_not_written() -> None:
    boxes = replace(FRAME.boxes, velocities=np.array([[1.0, 2.0], [np.nan, np.nan]]))
    first, second = boxes_to_json(boxes)
    assert first["velocity"] == [1.0, 2.0] and "velocity" not in second


def test_scores_count_where_all_have_one() -> None:
    scored = {**ENTRY, "score": 0.5}
    assert boxes_from_json([scored, ENTRY]).scores is None
    both = boxes_from_json([scored, scored]).scores
    assert both is not None and both.tolist() == [0.5, 0.5]


def test_classes_are_those_that_occur_or_those_asked_for() -> None:
    other = {**ENTRY, "class": "tram"}
    assert boxes_from_json([other, ENTRY]).names == ("tram", "car")
    asked = boxes_from_json([other, ENTRY], ("pedestrian", "car"))
    assert asked.names == ("pedestrian", "car") and asked.labels.tolist() == [1]
