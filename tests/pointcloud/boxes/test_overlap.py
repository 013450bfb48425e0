from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.boxes import (
    axis_aligned_iou_3d,
    box_iou,
    box_iou_of_pairs,
    intersection_bev,
    nearest_iou_bev,
    rotated_iou_3d,
    rotated_iou_bev,
)

KINDS = ("bev", "3d", "axis_aligned", "nearest_bev")


def box(x: float = 0, y: float = 0, z: float = 0, size: tuple[float, ...] = (4, 2, 1.5), yaw: float = 0) -> np.ndarray:
    return np.array([[x, y, z, *size, yaw]], np.float64)


def random_boxes(n: int, seed: int, reach: float = 4.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.column_stack(
        [draw.uniform(-reach, reach, (n, 3)), draw.uniform(0.5, 5, (n, 3)), draw.uniform(-math.pi, math.pi, n)]
    )


BOXES = st.tuples(
    *[st.floats(-3, 3)] * 3, *[st.floats(0.1, 5)] * 3, st.floats(-math.pi, math.pi, exclude_max=True)
).map(lambda numbers: np.array([numbers]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_overlaps_itself_wholly_and_its_neighbour_not(kind: str) -> None:
    turned = box(yaw=0.7, x=1e5, y=-3e4)
    assert box_iou(turned, turned, kind)[0, 0] == pytest.approx(1, abs=1e-12)
    assert box_iou(box(), box(x=4), kind)[0, 0] == 0  # they touch
    assert box_iou(box(), box(x=40), kind)[0, 0] == 0


def test_touching_turned_boxes_do_not_overlap() -> None:
    yaw = 0.3
    beside = box(x=-2 * math.sin(yaw), y=2 * math.cos(yaw), yaw=yaw)
    assert rotated_iou_bev(box(yaw=yaw), beside)[0, 0] < 1e-14


def test_a_square_turned_by_45_degrees() -> None:
    squares = box(size=(1, 1, 1)), box(size=(1, 1, 1), yaw=math.pi / 4)
    common = 2 * (math.sqrt(2) - 1)
    assert intersection_bev(*squares)[0, 0] == pytest.approx(common, abs=1e-14)
    assert rotated_iou_bev(*squares)[0, 0] == pytest.approx(common / (2 - common), abs=1e-14)


def test_heights_count_in_3d_alone() -> None:
    lifted = box(z=0.75)
    assert rotated_iou_bev(box(), lifted)[0, 0] == 1
    assert rotated_iou_3d(box(), lifted)[0, 0] == pytest.approx(1 / 3)
    assert rotated_iou_3d(box(), box(z=1.5))[0, 0] == 0


def test_a_cross_and_the_kinds_that_see_it_otherwise() -> None:
    across = box(yaw=math.pi / 2 - 0.01)
    assert rotated_iou_bev(box(), box(yaw=math.pi / 2))[0, 0] == pytest.approx(4 / 12)
    assert nearest_iou_bev(box(), across)[0, 0] == pytest.approx(4 / 12)
    assert axis_aligned_iou_3d(box(), across)[0, 0] == 1


@pytest.mark.parametrize(
    ("kind", "size"), [("bev", (4, 0.01, 1)), ("3d", (4, 2, 0.01)), ("axis_aligned", (0.01, 2, 1))]
)
def test_a_box_thinner_than_a_centimetre_overlaps_nothing(kind: str, size: tuple[float, ...]) -> None:
    assert box_iou(box(size=size), box(size=size), kind)[0, 0] == 0
    assert box_iou(box(size=(-1, -1, -1)), box(), kind)[0, 0] == 0
    assert box_iou(box(size=(0.011, 0.011, 0.011)), box(size=(0.011, 0.011, 0.011)), kind)[0, 0] == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_the_diagonal(kind: str) -> None:
    a, b = random_boxes(40, 0), random_boxes(40, 1)
    np.testing.assert_array_equal(box_iou_of_pairs(a, b, kind), box_iou(a, b, kind).diagonal())


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    for kind in KINDS:
        one, other = box_iou(a, b, kind)[0, 0], box_iou(b, a, kind)[0, 0]
        assert 0 <= one <= 1
        assert one == pytest.approx(other, abs=1e-10)
    assert intersection_bev(a, b)[0, 0] <= min(a[0, 3] * a[0, 4], b[0, 3] * b[0, 4]) + 1e-9


@given(BOXES, BOXES, st.floats(-3, 3), st.floats(-100, 100))
@settings(max_examples=50)
def test_overlap_stays_when_everything_moves(a: np.ndarray, b: np.ndarray, turn: float, shift: float) -> None:
    def moved(one: np.ndarray) -> np.ndarray:
        x, y = one[:, 0], one[:, 1]
        place = [math.cos(turn) * x - math.sin(turn) * y + shift, math.sin(turn) * x + math.cos(turn) * y - shift]
        return np.column_stack([*place, one[:, 2:6], one[:, 6] + turn])

    assert rotated_iou_3d(moved(a), moved(b))[0, 0] == pytest.approx(rotated_iou_3d(a, b)[0, 0], abs=1e-7)


@given(BOXES, BOXES)
def test_half_a_turn_changes_nothing(a: np.ndarray, b: np.ndarray) -> None:
    turned = a + np.array([0, 0, 0, 0, 0, 0, math.pi])
    assert rotated_iou_bev(turned, b)[0, 0] == pytest.approx(rotated_iou_bev(a, b)[0, 0], abs=1e-10)


def test_areas_agree_with_counted_points() -> None:
    a, b = random_boxes(6, 3, 1.0), random_boxes(6, 4, 1.0)
    points = np.random.default_rng(5).uniform(-6, 6, (200_000, 2))

    def inside(one: np.ndarray) -> np.ndarray:
        offset, cosine, sine = points - one[:2], math.cos(one[6]), math.sin(one[6])
        along, across = offset @ [cosine, sine], offset @ [-sine, cosine]
        return (np.abs(along) <= one[3] / 2) & (np.abs(across) <= one[4] / 2)

    for left, right, area in zip(a, b, intersection_bev(a, b).diagonal(), strict=True):
        assert (inside(left) & inside(right)).mean() * 144 == pytest.approx(area, abs=0.25)  # four sigmas


def test_tensors_come_back_as_tensors_of_their_type() -> None:
    a, b = random_boxes(5, 0), random_boxes(7, 1)
    for kind in (torch.float32, torch.float64, torch.float16):
        found = rotated_iou_3d(torch.from_numpy(a).to(kind), torch.from_numpy(b).requires_grad_())
        assert (found.dtype, tuple(found.shape), found.requires_grad) == (kind, (5, 7), False)
    np.testing.assert_array_equal(rotated_iou_3d(torch.from_numpy(a), torch.from_numpy(b)), rotated_iou_3d(a, b))


def test_velocities_behind_the_seventh_column_are_left_out() -> None:
    a = random_boxes(5, 0)
    wide = np.column_stack([a, np.full((5, 2), np.nan)])
    np.testing.assert_array_equal(rotated_iou_bev(wide, a), rotated_iou_bev(a, a))


@pytest.mark.parametrize("kind", KINDS)
def test_no_boxes(kind: str) -> None:
    none = np.zeros((0, 7))
    assert box_iou(none, box(), kind).shape == (0, 1)
    assert box_iou(box(), none, kind).shape == (1, 0)
    assert box_iou_of_pairs(none, none, kind).shape == (0,)


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"a has the wrong shape; got: \(1, 6\)"):
        rotated_iou_bev(box()[:, :6], box())
    with pytest.raises(InputError, match="b holds a number that is not finite; got: row 0"):
        rotated_iou_bev(box(), box(x=math.nan))


@pytest.mark.usefixtures("without_shape_checks")
def test_unequal_pairs_and_an_unknown_kind() -> None:
    with pytest.raises(ShapeError, match="as many boxes on both sides"):
        box_iou_of_pairs(box(), np.concatenate([box(), box()]), "bev")
    with pytest.raises(UsageError, match="unknown kind of overlap; got: 4d"):
        box_iou(box(), box(), "4d")
