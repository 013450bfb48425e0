"""Result files in detail: names of others, boxes out of the image, colours, edges."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_detection import NAMES, frame_of

from recon3d.formats.kitti_text import KittiCalibration, read_kitti_objects
from recon3d.formats.ply import read_ply
from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.detection import nuscenes_results, write_boxed_ply, write_kitti_results, write_nuscenes_results
from recon3d.pointcloud.detection.results import class_colours

FRAME = frame_of([(0, 9.0, 1.0, 0.4), (2, 11.0, -2.0, 0.0)])
BOXES = replace(FRAME.boxes, scores=np.array([0.9, 0.4]))
CALIBRATION = KittiCalibration(
    {
        "P2": np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]),
        "R0_rect": np.eye(3),
        "Tr_velo_to_cam": np.array([[0.0, -1, 0, 0], [0, 0, -1, -0.1], [1, 0, 0, -0.3]]),
    }
)


def _one(name: str, x: float = 10.0, yaw: float = 0.0) -> Boxes3D:
    rows = np.array([[x, 0.0, -1.0, 4.0, 1.8, 1.5, yaw]])
    return Boxes3D(boxes=rows, labels=np.array([0]), names=(name,), scores=np.array([0.25]))


@pytest.mark.parametrize(
    ("ours", "theirs"), [("car", "Car"), ("cyclist", "Cyclist"), ("person_sitting", "Person_Sitting")]
)
def test_kitti_writes_names_with_capitals(tmp_path: Path, ours: str, theirs: str) -> None:
    write_kitti_results(tmp_path / "a.txt", _one(ours), CALIBRATION)
    assert read_kitti_objects(tmp_path / "a.txt")[0].kind == theirs


def test_kitti_leaves_out_what_no_camera_sees(tmp_path: Path) -> None:
    write_kitti_results(tmp_path / "a.txt", _one("car", x=-10.0), CALIBRATION)
    assert read_kitti_objects(tmp_path / "a.txt") == []
    write_kitti_results(tmp_path / "b.txt", BOXES.selected(np.zeros(2, bool)), CALIBRATION)
    assert (tmp_path / "b.txt").read_text().strip() == ""


def test_kitti_boxes_of_the_image_lie_in_the_image(tmp_path: Path) -> None:
    for size in ((1242, 375), (640, 200)):
        write_kitti_results(tmp_path / "a.txt", BOXES, CALIBRATION, size)
        for one in read_kitti_objects(tmp_path / "a.txt"):
            left, top, right, bottom = one.box_2d
            assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]


def _entry(name: str, velocity: tuple[float, float] | None = None) -> dict[str, object]:
    boxes = _one(name)
    if velocity is not None:
        boxes = replace(boxes, velocities=np.array([velocity]))
    (entry,) = nuscenes_results(boxes, "t", np.eye(4))
    return entry


@pytest.mark.parametrize(
    ("ours", "theirs", "attribute"),
    [
        ("car", "car", "vehicle.parked"),
        ("vehicle", "car", "vehicle.parked"),
        ("cyclist", "bicycle", "cycle.without_rider"),
        ("pedestrian", "pedestrian", "pedestrian.standing"),
        ("truck", "truck", "vehicle.parked"),
        ("motorcycle", "motorcycle", "cycle.without_rider"),
        ("barrier", "barrier", ""),
        ("traffic_cone", "traffic_cone", ""),
    ],
)
def test_nuscenes_names_and_attributes(ours: str, theirs: str, attribute: str) -> None:
    entry = _entry(ours)
    assert (entry["detection_name"], entry["attribute_name"]) == (theirs, attribute)
    assert entry["sample_token"] == "t" and entry["detection_score"] == 0.25


def test_nuscenes_velocities_are_turned_and_unknown_ones_zero() -> None:
    assert _entry("car")["velocity"] == [0, 0]
    assert _entry("car", (np.nan, np.nan))["velocity"] == [0, 0]
    boxes = replace(_one("car"), velocities=np.array([[2.0, 0.0]]))
    left = np.eye(4)
    left[:2, :2] = [[0, -1], [1, 0]]
    assert nuscenes_results(boxes, "t", left)[0]["velocity"] == pytest.approx([0.0, 2.0])


def test_nuscenes_files_hold_samples_without_boxes_too(tmp_path: Path) -> None:
    write_nuscenes_results(tmp_path / "r.json", {"a": nuscenes_results(BOXES, "a", np.eye(4)), "b": []})
    value = json.loads((tmp_path / "r.json").read_text())
    assert set(value["results"]) == {"a", "b"} and value["results"]["b"] == []
    assert sum(value["meta"].values()) == 1


def test_colours_repeat_after_the_last() -> None:
    colours = class_colours(20)
    assert colours.shape == (20, 3) and np.array_equal(colours[:7], colours[7:14])
    assert len({tuple(one) for one in colours[:7].tolist()}) == 7
    assert class_colours(0).shape == (0, 3)


def _rows(path: Path) -> np.ndarray:
    vertices = read_ply(path).vertices
    return np.stack([vertices[name] for name in ("x", "y", "z", "red", "green", "blue")], 1)


def test_edges_are_drawn_at_the_box_and_a_line_to_its_front(tmp_path: Path) -> None:
    box = _one("car", yaw=0.0)
    write_boxed_ply(tmp_path / "a.ply", np.zeros((1, 3)), box)
    edges = _rows(tmp_path / "a.ply")[1:, :3] - [10.0, 0.0, -1.0]
    assert np.abs(edges).max(0) == pytest.approx([2.0, 0.9, 0.75], abs=1e-5)
    middle = edges[np.abs(edges[:, 1:]).max(1) < 1e-5]
    assert middle[:, 0].min() == pytest.approx(0) and middle[:, 0].max() == pytest.approx(2.0)  # not backwards


def test_points_without_a_place_are_not_drawn(tmp_path: Path) -> None:
    xyz = np.array([[1.0, 2, 3], [np.nan, 0, 0], [np.inf, 0, 0]])
    write_boxed_ply(tmp_path / "a.ply", xyz, BOXES.selected(np.zeros(2, bool)))
    rows = _rows(tmp_path / "a.ply")
    assert rows.tolist() == [[1, 2, 3, 130, 130, 130]]


def test_a_point_in_two_boxes_has_the_colour_of_the_first(tmp_path: Path) -> None:
    two = Boxes3D(
        boxes=np.repeat(_one("car").boxes, 2, 0), labels=np.array([1, 0]), names=NAMES, scores=np.array([0.9, 0.5])
    )
    write_boxed_ply(tmp_path / "a.ply", np.array([[10.0, 0, -1]]), two)
    assert np.array_equal(_rows(tmp_path / "a.ply")[0, 3:], class_colours(2)[1])


def test_a_huge_box_does_not_fill_the_disk(tmp_path: Path) -> None:
    box = replace(_one("car"), boxes=np.array([[0, 0, 0, 1e5, 1e5, 1e5, 0.0]]))
    write_boxed_ply(tmp_path / "a.ply", np.zeros((1, 3)), box)
    assert len(_rows(tmp_path / "a.ply")) < 15_000
