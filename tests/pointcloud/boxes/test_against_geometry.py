"""Overlaps, corners and converters against plain geometry: columns of a drawing, rotation matrices, and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.formats.kitti_text import KittiObject
from recon3d.pointcloud.boxes import (
    Boxes3D,
    NuscenesBoxes,
    box_corners,
    box_iou,
    boxes_from_mmdet3d_v0,
    boxes_from_mmdet3d_v1,
    boxes_from_nuscenes,
    boxes_from_waymo,
    intersection_bev,
    joined_boxes,
    mmdet3d_v0_from_boxes,
    mmdet3d_v1_from_boxes,
    nms_bev,
    nms_bev_by_class,
    nuscenes_from_boxes,
    points_in_boxes,
    rotated_iou_3d,
    rotated_iou_bev,
    rows_from_kitti,
)

BOX = st.tuples(*[st.floats(-2, 2)] * 3, *[st.floats(0.2, 4)] * 3, st.floats(-math.pi, math.pi, exclude_max=True)).map(
    lambda numbers: np.array([numbers])
)


def chords(one: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where upright lines enter and leave the rectangle of a box, seen from above; enter > leave where they miss."""
    c, s = math.cos(one[6]), math.sin(one[6])
    low, high = np.full(len(x), -np.inf), np.full(len(x), np.inf)
    for (nx, ny), half in (((c, s), one[3] / 2), ((-s, c), one[4] / 2)):
        middle = nx * (one[0] - x) + ny * one[1]
        if abs(ny) < 1e-12:
            missed = np.abs(nx * (x - one[0])) > half
            low[missed], high[missed] = np.inf, -np.inf
        else:
            ends = np.sort(np.stack([(middle - half) / ny, (middle + half) / ny]), axis=0)
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
    return low, high


def common_area(a: np.ndarray, b: np.ndarray, columns: int = 6000) -> float:
    """The common area as a sum over columns."""
    edges = np.linspace(-6, 6, columns + 1)
    x = (edges[1:] + edges[:-1]) / 2
    spans = [chords(one, x) for one in (a, b)]
    length = np.minimum(spans[0][1], spans[1][1]) - np.maximum(spans[0][0], spans[1][0])
    return float(np.maximum(length, 0).sum() * 12 / columns)


@settings(max_examples=60)
@given(BOX, BOX)
def test_common_areas_are_those_of_a_drawing(a: np.ndarray, b: np.ndarray) -> None:
    assert intersection_bev(a, b)[0, 0] == pytest.approx(common_area(a[0], b[0]), abs=2e-2)


@settings(max_examples=40)
@given(BOX, BOX)
def test_ratios_follow_from_areas_and_heights(a: np.ndarray, b: np.ndarray) -> None:
    common = intersection_bev(a, b)[0, 0]
    flat = common / (a[0, 3] * a[0, 4] + b[0, 3] * b[0, 4] - common)
    assert rotated_iou_bev(a, b)[0, 0] == pytest.approx(flat, abs=1e-12)
    low = max(a[0, 2] - a[0, 5] / 2, b[0, 2] - b[0, 5] / 2)
    high = min(a[0, 2] + a[0, 5] / 2, b[0, 2] + b[0, 5] / 2)
    volume = common * max(high - low, 0)
    solid = volume / (a[0, 3:6].prod() + b[0, 3:6].prod() - volume)
    assert rotated_iou_3d(a, b)[0, 0] == pytest.approx(solid, abs=1e-12)


@settings(max_examples=25)
@given(BOX, BOX, st.integers(0, 99))
def test_volumes_are_those_of_counted_points(a: np.ndarray, b: np.ndarray, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-5, 5, (60_000, 3))
    both = points_in_boxes(points, np.concatenate([a, b]))
    either, common = both.any(0).sum(), both.all(0).sum()
    if either > 300:
        claimed = float(rotated_iou_3d(a, b)[0, 0])
        sigma = math.sqrt(claimed * (1 - claimed) / either)  # a count of none does not tell its own spread
        assert common / either == pytest.approx(claimed, abs=4.5 * sigma + 2e-3)


@settings(max_examples=30)
@given(BOX)
def test_a_box_within_a_box_overlaps_by_its_share(a: np.ndarray) -> None:
    small = a.copy()
    small[:, 3:6] /= 2
    if small[0, 3:6].min() > 0.011:
        assert rotated_iou_bev(a, small)[0, 0] == pytest.approx(1 / 4)
        assert rotated_iou_3d(a, small)[0, 0] == pytest.approx(1 / 8)


@settings(max_examples=30)
@given(BOX, st.floats(0, 1))
def test_a_shift_along_the_heading(a: np.ndarray, share: float) -> None:
    moved = a.copy()
    moved[0, :2] += share * a[0, 3] * np.array([math.cos(a[0, 6]), math.sin(a[0, 6])])
    assert rotated_iou_bev(a, moved)[0, 0] == pytest.approx((1 - share) / (1 + share), abs=1e-9)


def test_many_at_once_are_each_by_itself() -> None:
    draw = np.random.default_rng(0)
    a, b = (
        np.column_stack([draw.uniform(-2, 2, (n, 3)), draw.uniform(0.5, 3, (n, 3)), draw.uniform(-3, 3, n)])
        for n in (300, 7)
    )
    every = box_iou(a, b, "3d")
    for i in (0, 255, 256, 299):
        for j in range(7):
            assert every[i, j] == box_iou(a[i : i + 1], b[j : j + 1], "3d")[0, 0]


# --- corners and points ---


@settings(max_examples=40)
@given(BOX)
def test_corners_are_the_turned_and_shifted_halves(a: np.ndarray) -> None:
    corners = box_corners(a)[0]
    assert np.allclose(corners.mean(0), a[0, :3])
    assert np.allclose(np.linalg.norm(corners - a[0, :3], axis=1), np.linalg.norm(a[0, 3:6]) / 2)
    forward, side, up = corners[0] - corners[1], corners[0] - corners[3], corners[4] - corners[0]
    assert np.allclose((np.linalg.norm(forward), np.linalg.norm(side), up[2]), a[0, 3:6])
    assert math.isclose(math.cos(math.atan2(forward[1], forward[0]) - a[0, 6]), 1, abs_tol=1e-9)
    assert np.allclose(np.cross(forward, side)[2], a[0, 3] * a[0, 4])  # left of forward


@settings(max_examples=40)
@given(BOX)
def test_corners_drawn_in_are_inside_and_drawn_out_are_not(a: np.ndarray) -> None:
    away = box_corners(a)[0] - a[0, :3]
    assert points_in_boxes(a[0, :3] + 0.999 * away, a).all()
    assert not points_in_boxes(a[0, :3] + 1.001 * away, a).any()


def test_no_points_and_no_boxes() -> None:
    assert points_in_boxes(np.zeros((0, 3)), np.zeros((2, 7)) + 1).shape == (2, 0)
    assert points_in_boxes(np.zeros((4, 3)), np.zeros((0, 7))).shape == (0, 4)
    assert box_corners(np.zeros((0, 7))).shape == (0, 8, 3)


def test_tensors_of_points_give_tensors_of_truths() -> None:
    box = torch.tensor([[0.0, 0, 0, 2, 2, 2, 0.3]])
    inside = points_in_boxes(torch.tensor([[0.0, 0, 0, 7], [3, 0, 0, 7]]), box)
    assert inside.dtype is torch.bool and inside.tolist() == [[True, False]]


# --- converters ---


@settings(max_examples=40)
@given(BOX)
def test_conventions_describe_the_same_corners(a: np.ndarray) -> None:
    """The legacy box drawn by its own rules: from the bottom, width first, clockwise from -y."""
    x, y, z, width, length, height, turn = mmdet3d_v0_from_boxes(a)[0]
    heading = np.array([math.cos(-turn - math.pi / 2), math.sin(-turn - math.pi / 2)])
    side = np.array([-heading[1], heading[0]])
    drawn = [
        [*(np.array([x, y]) + i * length / 2 * heading + j * width / 2 * side), z + k * height]
        for k in (0, 1)
        for i, j in ((1, 1), (-1, 1), (-1, -1), (1, -1))
    ]
    assert np.allclose(drawn, box_corners(a)[0], atol=1e-9)


@settings(max_examples=40)
@given(BOX)
def test_there_and_back_keeps_every_number(a: np.ndarray) -> None:
    for there, back in (
        (mmdet3d_v0_from_boxes, boxes_from_mmdet3d_v0),
        (mmdet3d_v1_from_boxes, boxes_from_mmdet3d_v1),
        (nuscenes_from_boxes, boxes_from_nuscenes),
    ):
        again = back(there(a))  # type: ignore[operator]
        assert np.allclose(again[:, :6], a[:, :6], atol=1e-12)
        assert np.allclose(np.exp(1j * again[:, 6]), np.exp(1j * a[:, 6]))
    assert np.array_equal(boxes_from_waymo(a), a)


@settings(max_examples=30)
@given(BOX, st.integers(-3, 3))
def test_whole_turns_are_taken_off(a: np.ndarray, turns: int) -> None:
    more = a.copy()
    more[:, 6] += 2 * math.pi * turns
    for convert in (boxes_from_waymo, boxes_from_mmdet3d_v1):
        found = convert(more)[0, 6]
        assert -math.pi <= found < math.pi and math.isclose(math.cos(found - a[0, 6]), 1, abs_tol=1e-9)


def test_the_sign_of_a_quaternion_does_not_matter() -> None:
    stored = nuscenes_from_boxes(np.array([[1.0, 2, 3, 4, 2, 1.5, 0.7]]))
    other = NuscenesBoxes(stored.translation, stored.size, -stored.rotation)
    assert np.allclose(boxes_from_nuscenes(other), boxes_from_nuscenes(stored))
    assert stored.size.tolist() == [[2, 4, 1.5]]  # width first


@pytest.mark.parametrize("rotation_y", [-math.pi, -1.0, 0.0, 0.5, math.pi / 2])
def test_kitti_turns_about_the_axis_that_points_down(rotation_y: float) -> None:
    line = KittiObject("Car", 0.0, 0, 0.0, (0.0, 0.0, 9.0, 9.0), (1.5, 1.6, 4.0), (2.0, 1.7, 20.0), rotation_y)
    corners = box_corners(rows_from_kitti([line]))[0]
    heading = corners[0] - corners[1]
    camera = np.array([-heading[1], -heading[2], heading[0]])  # x right, y down, z forward
    assert np.allclose(camera / 4, (math.cos(rotation_y), 0, -math.sin(rotation_y)), atol=1e-12)
    assert np.allclose(corners[:, 2].min(), -1.7)


# --- lists of boxes and suppression ---


def listed(n: int, seed: int = 0) -> Boxes3D:
    draw = np.random.default_rng(seed)
    rows = np.column_stack([draw.uniform(-9, 9, (n, 3)), draw.uniform(1, 4, (n, 3)), draw.uniform(-3, 3, n)])
    return Boxes3D(
        boxes=rows,
        labels=draw.integers(0, 2, n),
        names=("car", "bus"),
        scores=draw.uniform(0, 1, n),
        velocities=draw.normal(0, 1, (n, 2)),
    )


@settings(max_examples=25)
@given(st.integers(0, 999), st.floats(-math.pi, math.pi))
def test_overlaps_do_not_change_when_the_world_turns(seed: int, turn: float) -> None:
    boxes = listed(12, seed)
    c, s = math.cos(turn), math.sin(turn)
    moved = boxes.transformed(np.array([[c, -s, 0, 5], [s, c, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1.0]]))
    assert np.allclose(rotated_iou_3d(boxes.boxes, boxes.boxes), rotated_iou_3d(moved.boxes, moved.boxes), atol=1e-9)
    assert np.allclose(np.linalg.norm(moved.velocities, axis=1), np.linalg.norm(boxes.velocities, axis=1))


def test_joined_lists_are_as_long_as_their_parts() -> None:
    parts = [listed(3, 0), listed(0, 1), listed(4, 2)]
    whole = joined_boxes(parts)
    assert len(whole) == 7 and whole.names == ("car", "bus")
    assert np.array_equal(whole.scores, np.concatenate([one.scores for one in parts]))
    assert len(whole.of_class("car")) + len(whole.of_class("bus")) == 7
    assert len(whole.of_class("tram")) == 0


@settings(max_examples=25)
@given(st.integers(0, 999), st.sampled_from([0.05, 0.3, 0.6]))
def test_what_stays_overlaps_no_more_and_what_goes_overlaps_a_better_one(seed: int, threshold: float) -> None:
    boxes = listed(40, seed)
    kept = nms_bev(boxes.boxes, boxes.scores, threshold)
    overlap = rotated_iou_bev(boxes.boxes, boxes.boxes)
    among = overlap[np.ix_(kept, kept)] - np.eye(len(kept))
    assert (among <= threshold + 1e-12).all()
    assert (np.diff(boxes.scores[kept]) <= 0).all()
    for gone in set(range(40)) - set(kept.tolist()):
        better = [one for one in kept if boxes.scores[one] >= boxes.scores[gone]]
        assert max(overlap[gone, better]) > threshold


def test_one_class_by_class_is_all_together() -> None:
    boxes = listed(30, 5)
    together = nms_bev(boxes.boxes, boxes.scores, 0.2)
    alone = nms_bev_by_class(boxes.boxes, boxes.scores, np.zeros(30, np.int64), [0.2])
    assert np.array_equal(together, alone)
