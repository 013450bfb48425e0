from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.boxes import Boxes3D, box_corners, joined_boxes, points_in_boxes
from recon3d.pointcloud.boxes.arrays import wrapped


def two_boxes(**changes: object) -> Boxes3D:
    values: dict[str, object] = {
        "boxes": np.array([[1.0, 2, 3, 4, 2, 1, 0.5], [0, 0, 0, 1, 1, 1, -2.0]]),
        "labels": np.array([0, 1]),
        "names": ("car", "person"),
        "scores": np.array([0.9, 0.1]),
        "velocities": np.array([[1.0, 0.0], [np.nan, np.nan]]),
    }
    return Boxes3D(**(values | changes))


@given(st.floats(-50, 50))
def test_angles_are_wrapped(angle: float) -> None:
    turned = wrapped(np.array([angle]))[0]
    assert -math.pi <= turned < math.pi
    assert math.cos(turned - angle) == pytest.approx(1, abs=1e-12)
    assert wrapped(np.array([turned]))[0] == turned


def test_the_yaw_of_boxes_is_wrapped_and_the_given_array_is_not_touched() -> None:
    rows = np.array([[0.0, 0, 0, 1, 1, 1, math.pi]])
    assert Boxes3D(boxes=rows, labels=np.array([0]), names=("a",)).boxes[0, 6] == -math.pi
    assert rows[0, 6] == math.pi


def test_selection_keeps_everything_together() -> None:
    boxes = two_boxes()
    for second in (boxes.selected(np.array([False, True])), boxes.selected(np.array([1])), boxes.of_class("person")):
        assert (len(second), second.labels.tolist(), second.scores.tolist()) == (1, [1], [0.1])
        assert np.isnan(second.velocities).all()
    assert len(boxes.of_class("tree")) == 0
    assert boxes.selected(np.array([1, 0])).labels.tolist() == [1, 0]


def test_a_turn_and_its_inverse() -> None:
    boxes, turn = two_boxes(), np.eye(4)
    turn[:2, :2], turn[:3, 3] = [[0, -1], [1, 0]], [5, 6, 7]
    moved = boxes.transformed(turn)
    np.testing.assert_allclose(moved.boxes[0], [3, 7, 10, 4, 2, 1, 0.5 + math.pi / 2])
    np.testing.assert_allclose(moved.velocities[0], [0, 1])
    np.testing.assert_allclose(moved.transformed(np.linalg.inv(turn)).boxes, boxes.boxes, atol=1e-12)
    corners = np.concatenate([box_corners(boxes.boxes), np.ones((2, 8, 1))], 2) @ turn.T
    np.testing.assert_allclose(box_corners(moved.boxes), corners[..., :3], atol=1e-12)


def test_joining() -> None:
    joined = joined_boxes([two_boxes(), two_boxes(scores=None)])
    assert (len(joined), joined.scores, joined.velocities.shape) == (4, None, (4, 2))
    with pytest.raises(UsageError, match="same class names"):
        joined_boxes([two_boxes(), two_boxes(names=("a", "b"))])
    with pytest.raises(UsageError, match="same class names"):
        joined_boxes([])


def test_bad_boxes() -> None:
    with pytest.raises(InputError, match="not finite; got: row 1"):
        two_boxes(boxes=np.array([[0.0] * 7, [np.inf] * 7]))
    with pytest.raises(InputError, match="not finite; got: row 0"):
        two_boxes(scores=np.array([np.nan, 0]))
    for labels in (np.array([0, 2]), np.array([-1, 0])):
        with pytest.raises(UsageError, match="a label has no name"):
            two_boxes(labels=labels)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("name", ["labels", "scores", "velocities"])
def test_arrays_of_another_length(name: str) -> None:
    with pytest.raises(ShapeError, match=f"Boxes3D.{name} has the wrong shape"):
        two_boxes(**{name: np.zeros(3)})


def test_corners_of_a_box_along_x() -> None:
    corners = box_corners(np.array([[10.0, 0, 1, 4, 2, 2, 0]]))[0]
    np.testing.assert_array_equal(corners[:4], [[12, 1, 0], [8, 1, 0], [8, -1, 0], [12, -1, 0]])
    np.testing.assert_array_equal(corners[4:], corners[:4] + np.array([0, 0, 2]))


def test_points_on_a_face_are_inside_and_lost_points_are_not() -> None:
    box = np.array([[0.0, 0, 0, 4, 2, 2, 0], [50, 0, 0, 1, 1, 1, 0]])
    points = np.array([[2, 1, 1], [2.001, 0, 0], [0, -1.001, 0], [0, 0, 1.001], [np.nan, 0, 0], [50, 0, 0]])
    expected = [[True, *[False] * 5], [*[False] * 5, True]]
    assert points_in_boxes(points, box).tolist() == expected


@given(st.integers(0, 10_000))
def test_points_made_inside_are_found_inside(seed: int) -> None:
    draw = np.random.default_rng(seed)
    box = np.concatenate([draw.uniform(-9, 9, 3), draw.uniform(0.5, 5, 3), draw.uniform(-3, 3, 1)])[None]
    corners = box_corners(box)[0]
    inner = draw.dirichlet(np.ones(8), 20) @ corners
    outer = corners + 0.01 * (corners - box[:, :3])
    assert points_in_boxes(inner, box).all()
    assert not points_in_boxes(outer, box).any()
