"""Boxes at the edges of what is allowed: turned by whole turns, thin, huge, far away, of other types, and unfit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.formats.kitti_text import KittiCalibration
from recon3d.pointcloud.boxes import (
    Boxes3D,
    box_corners,
    box_iou,
    box_iou_of_pairs,
    boxes_from_kitti,
    image_boxes,
    kitti_from_boxes,
    nearest_iou_bev,
    nms_bev,
    points_in_boxes,
    rotated_iou_3d,
    rotated_iou_bev,
    validate_boxes,
)
from recon3d.pointcloud.boxes.arrays import as_given, as_rows, wrapped

KINDS = ("bev", "3d", "axis_aligned", "nearest_bev")


def one(x: float = 0.0, y: float = 0.0, yaw: float = 0.0, size: tuple[float, ...] = (4, 2, 1.5)) -> np.ndarray:
    return np.array([[x, y, 0.0, *size, yaw]], np.float64)


def some(n: int, seed: int = 0) -> Boxes3D:
    draw = np.random.default_rng(seed)
    rows = np.column_stack([draw.uniform(10, 40, n), draw.uniform(-8, 8, n), draw.uniform(-1, 1, n)])
    rows = np.column_stack([rows, draw.uniform(1, 4, (n, 3)), draw.uniform(-3, 3, n)])
    return Boxes3D(boxes=rows, labels=np.arange(n) % 2, names=("Car", "Cyclist"), scores=draw.random(n))


# --- angles and arrays ---


@settings(max_examples=60)
@given(st.floats(-50, 50))
def test_wrapped_angles_point_the_same_way(angle: float) -> None:
    found = float(wrapped(np.array([angle]))[0])
    assert -math.pi <= found < math.pi
    assert math.isclose(math.cos(found), math.cos(angle), abs_tol=1e-9)
    assert math.isclose(math.sin(found), math.sin(angle), abs_tol=1e-9)


@pytest.mark.parametrize("angle", [math.pi, -math.pi, 3 * math.pi, math.nextafter(math.pi, 0), 0.0, -0.0])
def test_angles_at_the_seam(angle: float) -> None:
    for values in (np.array([angle]), torch.tensor([angle], dtype=torch.float64)):
        assert -math.pi <= float(wrapped(values)[0]) < math.pi


@settings(max_examples=30)
@given(st.floats(-3.14, 3.14))
def test_angles_that_are_in_range_keep_every_bit(angle: float) -> None:
    assert wrapped(np.array([angle]))[0] == angle


def test_rows_take_any_kind_and_leave_the_rest_out() -> None:
    for values in (np.ones((2, 9), np.float32), torch.ones(2, 9), np.ones((2, 9), np.int64)):
        rows = as_rows(values, 7, "boxes")
        assert rows.dtype == np.float64 and rows.shape == (2, 7) and rows.flags.c_contiguous


@pytest.mark.parametrize("values", [np.ones(7), np.ones((2, 6)), np.ones((1, 2, 7))])
def test_rows_need_two_axes_and_enough_columns(values: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"boxes has the wrong shape; got: .*; expected: \[n, 7\] or more"):
        as_rows(values, 7, "boxes")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rows_name_the_first_number_that_is_none(bad: float) -> None:
    rows = np.ones((5, 7))
    rows[3, 2] = rows[4, 1] = bad
    with pytest.raises(InputError, match="boxes holds a number that is not finite; got: row 3"):
        as_rows(rows, 7, "boxes")
    assert as_rows(rows, 7, "boxes", finite=False).shape == (5, 7)


def test_results_come_back_in_the_kind_of_the_argument() -> None:
    truth, number = np.array([True]), np.array([0.5])
    assert as_given(number, np.ones(1)) is number
    assert as_given(number, torch.ones(1)).dtype is torch.float32
    assert as_given(number, torch.ones(1, dtype=torch.int32)).dtype is torch.float64
    assert as_given(truth, torch.ones(1)).dtype is torch.bool


# --- overlaps ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [0.0, 1e4, 1e6])
def test_overlaps_are_right_far_from_the_origin(kind: str, far: float) -> None:
    here, there = one(far, -far), one(far + 2.0, -far)
    assert box_iou(here, there, kind)[0, 0] == pytest.approx(1 / 3, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1e-1, 1e-1, 1e-1), (1e3, 1e3, 1e3), (1e3, 1e-1, 1.0)])
def test_overlaps_of_small_large_and_long_boxes_with_themselves(kind: str, size: tuple[float, ...]) -> None:
    assert box_iou(one(yaw=0.4, size=size), one(yaw=0.4, size=size), kind)[0, 0] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("yaw", "same"), [(0.0, True), (0.78, True), (0.79, False), (1.57, False), (2.4, True), (3.1, True)]
)
def test_the_nearest_axis_changes_at_45_degrees(yaw: float, same: bool) -> None:
    assert nearest_iou_bev(one(), one(yaw=yaw))[0, 0] == pytest.approx(1.0 if same else 1 / 3)


@settings(max_examples=30)
@given(st.floats(-3, 3), st.floats(0, 6.2))
def test_squares_turned_by_right_angles_are_the_same(yaw: float, turn: float) -> None:
    square = one(yaw=yaw, size=(2, 2, 2))
    quarter = one(yaw=yaw + math.pi / 2 * round(turn), size=(2, 2, 2))
    assert rotated_iou_3d(square, quarter)[0, 0] == pytest.approx(1, abs=1e-9)


@settings(max_examples=30)
@given(st.floats(0.0, math.pi / 2))
def test_a_strip_across_a_strip_has_the_area_of_a_rhombus(turn: float) -> None:
    """Two long strips of width 1 that cross at an angle have a rhombus of area 1 / sin(angle) in common."""
    if not 0.2 < turn < math.pi - 0.2:
        return
    strips = one(size=(100, 1, 1)), one(yaw=turn, size=(100, 1, 1))
    common = 1 / math.sin(turn)
    assert rotated_iou_bev(*strips)[0, 0] == pytest.approx(common / (200 - common), rel=1e-9)


@pytest.mark.usefixtures("without_shape_checks")
def test_integers_are_boxes_too() -> None:
    whole = np.array([[0, 0, 0, 4, 2, 2, 0]])
    assert box_iou(whole, whole, "3d")[0, 0] == 1.0  # type: ignore[type-var]


def test_pairs_of_tensors_are_tensors() -> None:
    boxes = torch.from_numpy(some(6).boxes).float()
    found = box_iou_of_pairs(boxes, boxes, "bev")
    assert found.dtype is torch.float32 and torch.allclose(found, torch.ones(6))


# --- suppression ---


@pytest.mark.parametrize("n", [0, 1])
def test_suppression_of_few(n: int) -> None:
    boxes = some(n)
    assert nms_bev(boxes.boxes, boxes.scores, 0.5).tolist() == list(range(n))


def test_a_chain_of_boxes_loses_every_second() -> None:
    """Each overlaps its neighbours only: the best goes on, the next is dropped, the one after stays."""
    chain = np.concatenate([one(x=2.0 * k) for k in range(7)])
    assert nms_bev(chain, np.linspace(0.9, 0.3, 7), 0.3).tolist() == [0, 2, 4, 6]


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    pair = np.concatenate([one(size=(2, 2, 2)), one(x=1.0, size=(2, 2, 2))])  # 1/3
    assert len(nms_bev(pair, np.array([0.9, 0.8]), 2 / 6)) == 2
    assert len(nms_bev(pair, np.array([0.9, 0.8]), 0.33)) == 1


def test_thin_boxes_suppress_nothing() -> None:
    thin = np.concatenate([one(size=(4, 0.001, 1))] * 3)
    assert len(nms_bev(thin, np.ones(3), 0.0)) == 3


# --- points, images and reports ---


@settings(max_examples=25)
@given(st.integers(0, 999))
def test_points_in_boxes_are_those_of_the_turned_frame(seed: int) -> None:
    draw = np.random.default_rng(seed)
    boxes, points = some(4, seed).boxes, draw.uniform((5, -10, -3), (45, 10, 3), (300, 3))
    for box, mask in zip(boxes, points_in_boxes(points, boxes), strict=True):
        c, s = math.cos(box[6]), math.sin(box[6])
        local = (points - box[:3]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        assert np.array_equal(mask, (np.abs(local) <= box[3:6] / 2).all(1))


def calibration() -> KittiCalibration:
    turn = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -0.3]], np.float64)
    camera = np.array([[700, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]], np.float64)
    return KittiCalibration({"P2": camera, "R0_rect": np.eye(3), "Tr_velo_to_cam": turn})


@settings(max_examples=25)
@given(st.integers(0, 999))
def test_rectangles_hold_the_corners_and_lie_in_the_image(seed: int) -> None:
    boxes = some(5, seed)
    rectangles, seen = image_boxes(boxes, calibration(), (1242, 375))
    for corners, rectangle, visible in zip(box_corners(boxes.boxes), rectangles, seen, strict=True):
        pixels, depth = calibration().project(corners)
        assert (depth > 0).all()
        clipped = np.clip(pixels, 0, (1242, 375))
        assert not visible or np.allclose(rectangle, [*clipped.min(0), *clipped.max(0)])
        assert visible or not rectangle.any()


@settings(max_examples=25)
@given(st.integers(0, 999))
def test_kitti_lines_and_back(seed: int) -> None:
    boxes = some(5, seed)
    lines = kitti_from_boxes(boxes, calibration(), (10_000, 10_000))
    seen = image_boxes(boxes, calibration(), (10_000, 10_000))[1]
    back = boxes_from_kitti(lines, calibration(), boxes.names)
    assert np.allclose(back.boxes, boxes.boxes[seen], atol=1e-9)
    assert np.allclose(back.scores, boxes.scores[seen])
    only = boxes_from_kitti(lines, calibration(), ("Cyclist",))
    assert len(only) == (boxes.labels[seen] == 1).sum()


def test_reports_count_points_and_complain_only_where_most_boxes_are_empty() -> None:
    boxes = some(4)
    full = np.repeat(boxes.boxes[:, :3], [5, 4, 3, 2], axis=0)
    report = validate_boxes(full, boxes)
    assert report.points_inside.min() >= 2 and report.n_empty == 0 and not report.problems
    half = validate_boxes(boxes.boxes[:2, :3], boxes)
    assert half.n_empty == 2 and not half.problems
    one_of_four = validate_boxes(boxes.boxes[:1, :3], boxes)
    assert one_of_four.n_empty == 3 and "3 of 4 boxes hold no point" in one_of_four.problems


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"labels": np.array([0, 0, 2, 0])}, UsageError, "a label has no name; got: 2"),
        ({"labels": np.array([0, -1, 0, 0])}, UsageError, "a label has no name; got: -1"),
        ({"scores": np.array([0, 0, math.nan, 0])}, InputError, "row 2"),
    ],
)
def test_lists_that_do_not_hold_together(changes: dict[str, np.ndarray], error: type[Exception], text: str) -> None:
    values = {name: getattr(some(4), name) for name in ("boxes", "labels", "names", "scores")}
    with pytest.raises(error, match=text):
        Boxes3D(**(values | changes))
