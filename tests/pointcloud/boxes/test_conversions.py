from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recon3d.core.errors import ShapeError
from recon3d.formats.kitti_text import KittiCalibration, KittiObject
from recon3d.pointcloud.boxes import (
    Boxes3D,
    NuscenesBoxes,
    box_corners,
    boxes_from_kitti,
    boxes_from_mmdet3d_v0,
    boxes_from_mmdet3d_v1,
    boxes_from_nuscenes,
    boxes_from_waymo,
    image_boxes,
    kitti_from_boxes,
    mmdet3d_v0_from_boxes,
    mmdet3d_v1_from_boxes,
    nuscenes_from_boxes,
    rows_from_kitti,
)

ROWS = st.integers(0, 10_000).map(
    lambda seed: np.column_stack(
        [
            np.random.default_rng(seed).uniform(-9, 9, (6, 3)),
            np.random.default_rng(seed + 1).uniform(0.5, 5, (6, 3)),
            np.random.default_rng(seed + 2).uniform(-math.pi, math.pi, 6),
        ]
    )
)


def near(got: np.ndarray, want: np.ndarray) -> bool:
    turn = np.abs(np.angle(np.exp(1j * (got[:, 6] - want[:, 6])))).max(initial=0)
    return bool(np.allclose(got[:, :6], want[:, :6], atol=1e-9) and turn < 1e-9 and np.abs(got[:, 6]).max() <= math.pi)


@given(ROWS)
def test_round_trips(rows: np.ndarray) -> None:
    assert near(boxes_from_mmdet3d_v0(mmdet3d_v0_from_boxes(rows)), rows)
    assert near(boxes_from_mmdet3d_v1(mmdet3d_v1_from_boxes(rows)), rows)
    assert near(boxes_from_nuscenes(nuscenes_from_boxes(rows)), rows)
    assert near(boxes_from_waymo(rows + np.array([0, 0, 0, 0, 0, 0, 2 * math.pi])), rows)
    assert near(boxes_from_mmdet3d_v0(mmdet3d_v0_from_boxes(torch.from_numpy(rows))).numpy(), rows)


def test_the_legacy_box_of_the_specification() -> None:
    """x, y, z of the bottom, width, length, height, and r clockwise from -y; velocities stay."""
    ahead = np.array([[1.0, 2, 3, 4, 2, 1, 0.0, 7, 8]])  # along +x
    np.testing.assert_allclose(mmdet3d_v0_from_boxes(ahead), [[1, 2, 2.5, 2, 4, 1, -math.pi / 2, 7, 8]])
    backwards = np.array([[0.0, 0, 0, 2, 4, 1, 0.0]])  # r = 0: along -y
    assert boxes_from_mmdet3d_v0(backwards)[0, 6] == pytest.approx(-math.pi / 2)
    assert ahead[0, 2] == 3  # nothing was written into the argument


def test_the_bottom_of_a_modern_box() -> None:
    assert boxes_from_mmdet3d_v1(np.array([[0.0, 0, 0, 4, 2, 1, 0.3]])).tolist() == [[0, 0, 0.5, 4, 2, 1, 0.3]]


def test_a_nuscenes_box_that_is_tilted() -> None:
    """A quarter about z after a small pitch: yaw is where the nose points on the ground."""
    turn, pitch = math.sqrt(0.5), 0.1
    rotation = np.array(
        [[turn * math.cos(pitch), -turn * math.sin(pitch), turn * math.sin(pitch), turn * math.cos(pitch)]]
    )
    box = boxes_from_nuscenes(NuscenesBoxes(np.zeros((1, 3)), np.array([[2.0, 4, 1]]), rotation))
    np.testing.assert_allclose(box, [[0, 0, 0, 4, 2, 1, math.pi / 2]], atol=1e-12)


def test_too_few_columns() -> None:
    for convert in (boxes_from_mmdet3d_v0, mmdet3d_v0_from_boxes, boxes_from_mmdet3d_v1, mmdet3d_v1_from_boxes):
        with pytest.raises(ShapeError, match=r"got: \(2, 6\)"):
            convert(np.zeros((2, 6)))


def calibration() -> KittiCalibration:
    """A camera that is nearly, not wholly, along the axes of the LiDAR."""
    small = 0.01
    tilt = np.array([[1, 0, 0], [0, math.cos(small), -math.sin(small)], [0, math.sin(small), math.cos(small)]])
    rigid = np.array([[0.0, -1, 0, 0.06], [0, 0, -1, -0.08], [1, 0, 0, -0.27]])
    P2 = np.array([[700.0, 0, 600, 40], [0, 700, 180, 0], [0, 0, 1, 0]])
    return KittiCalibration({"P2": P2, "R0_rect": tilt, "Tr_velo_to_cam": rigid})


def ahead(rows: np.ndarray) -> Boxes3D:
    far = rows + np.array([25, 0, 0, 0, 0, 0, 0])
    return Boxes3D(boxes=far, labels=np.array([0, 1] * 3), names=("Car", "Cyclist"), scores=np.linspace(0, 1, 6))


@given(ROWS)
def test_kitti_there_and_back(rows: np.ndarray) -> None:
    boxes = ahead(rows)
    lines = kitti_from_boxes(boxes, calibration(), (4000, 4000))
    seen = image_boxes(boxes, calibration(), (4000, 4000))[1]
    back = boxes_from_kitti(lines, calibration(), boxes.names)
    assert near(back.boxes, boxes.boxes[seen])
    assert (back.labels.tolist(), back.scores.tolist()) == (boxes.labels[seen].tolist(), boxes.scores[seen].tolist())


def test_a_label_of_kitti() -> None:
    """A car along the camera's x axis, that is to the right, stands across the LiDAR's x axis."""
    line = KittiObject("Car", 0.0, 0, 0.0, (0.0, 0.0, 9.0, 9.0), (1.5, 1.6, 4.0), (2.0, 1.7, 20.0), 0.0)
    np.testing.assert_allclose(rows_from_kitti([line]), [[20, -2, -0.95, 4, 1.6, 1.5, -math.pi / 2]], atol=1e-12)
    ignored = KittiObject("DontCare", -1.0, -1, -10.0, (0.0, 0.0, 9.0, 9.0), (-1.0,) * 3, (-1000.0,) * 3, -10.0)
    boxes = boxes_from_kitti([ignored, line], calibration())
    assert (boxes.names, len(boxes), boxes.scores) == (("Car",), 1, None)
    assert len(boxes_from_kitti([], calibration())) == 0


def test_rectangles_in_the_image() -> None:
    boxes = Boxes3D(
        boxes=np.array(
            [[25.0, 0, 0, 4, 2, 1.5, 0.3], [-25, 0, 0, 4, 2, 1.5, 0], [1, 0, 0, 4, 2, 1.5, 0], [25, 90, 0, 4, 2, 1, 0]]
        ),
        labels=np.zeros(4, np.int64),
        names=("Car",),
    )
    rectangles, seen = image_boxes(boxes, calibration(), (1242, 375))
    assert seen.tolist() == [True, False, False, False]  # behind, around the camera, beside the image
    pixels, _ = calibration().project(box_corners(boxes.boxes)[0])
    np.testing.assert_allclose(rectangles[0], [*pixels.min(0), *pixels.max(0)])
    assert not rectangles[1:].any()
    (line,) = kitti_from_boxes(boxes, calibration(), (1242, 375))
    assert line.alpha == pytest.approx(line.rotation_y - math.atan2(line.location[0], line.location[2]))
