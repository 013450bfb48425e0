"""A network that looks at a part of the turn sees all around: which turns, and how their boxes come together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_detection import NAMES, frame_of

from recon3d.pointcloud.boxes import Boxes3D, points_in_boxes
from recon3d.pointcloud.detection.turns import around_sensor, joined_looks, needed_turns, turned_boxes, turned_points

RIGHT = np.pi / 2
EVERYWHERE = np.linspace(-np.pi, np.pi, 720, endpoint=False)
OVERLAPS = (0.2, 0.2, 0.2)


def _boxes(*places: tuple[float, float, float], score: float = 0.5) -> Boxes3D:
    rows = np.array([[x, y, 0.0, 4.0, 1.8, 1.5, yaw] for x, y, yaw in places], np.float64).reshape(-1, 7)
    labels = np.zeros(len(rows), np.int64)
    return Boxes3D(boxes=rows, labels=labels, names=NAMES, scores=np.full(len(rows), score))


@pytest.mark.parametrize(("sector", "looks"), [(90.0, 4), (120.0, 3), (360.0, 1), (100.0, 4), (45.0, 8), (359.0, 2)])
def test_there_are_as_many_looks_as_fill_the_turn(sector: float, looks: int) -> None:
    turns = needed_turns(EVERYWHERE, sector)
    assert len(turns) == looks and turns[0] == 0
    steps = np.diff([*turns, 2 * np.pi])
    assert np.allclose(steps, 2 * np.pi / looks)


def test_a_look_with_nothing_to_see_is_left_out() -> None:
    ahead = np.random.default_rng(0).uniform(-0.7, 0.7, 500)
    assert needed_turns(ahead, 90.0) == (0.0,)
    behind = np.angle(np.exp(1j * (ahead + np.pi)))
    assert needed_turns(behind, 90.0) == (np.pi,)
    assert needed_turns(np.zeros(0), 90.0) == ()


def test_a_few_stray_points_are_worth_no_look() -> None:
    ahead = np.zeros(1000)
    stray = np.concatenate([ahead, np.full(5, np.pi / 2)])
    assert needed_turns(stray, 90.0) == (0.0,)
    many = np.concatenate([ahead, np.full(50, np.pi / 2)])
    assert len(needed_turns(many, 90.0)) == 2


def test_points_to_the_left_are_turned_to_the_front() -> None:
    left = np.full(100, RIGHT)
    (turn,) = needed_turns(left, 90.0)
    point = turned_points(np.array([[0.0, 7.0, 1.0, 0.5]]), turn)
    assert np.allclose(point, [[7.0, 0.0, 1.0, 0.5]], atol=1e-5)


@pytest.mark.parametrize("facing", [0.0, np.pi / 4, 1.0])
def test_the_middle_of_a_look_faces_where_the_network_wants_it(facing: float) -> None:
    for azimuth in (0.0, RIGHT, np.pi, -RIGHT):
        (turn,) = needed_turns(np.full(10, azimuth), 90.0, facing)
        x, y = turned_points(np.array([[10 * np.cos(azimuth), 10 * np.sin(azimuth)]]), turn)[0]
        assert np.arctan2(y, x) == pytest.approx(facing, abs=1e-5)


def test_turning_points_leaves_heights_and_distances() -> None:
    points = np.random.default_rng(1).normal(0, 10, (50, 5)).astype(np.float32)
    turned = turned_points(points, 0.7)
    assert turned.dtype == np.float32 and np.array_equal(turned[:, 2:], points[:, 2:])
    assert np.allclose(np.hypot(*turned[:, :2].T), np.hypot(*points[:, :2].T), rtol=1e-5)
    assert turned_points(points, 0.0) is points
    back = turned_points(turned, -0.7)
    assert np.allclose(back, points, atol=1e-5)


@pytest.mark.parametrize("turn", [0.3, -2.0, np.pi, 5.0])
def test_boxes_turn_with_their_points(turn: float) -> None:
    frame = frame_of([(0, 6.0, 2.0, 0.4), (1, 9.0, -3.0, 0.0)])
    boxes = turned_boxes(frame.boxes, turn)
    before = points_in_boxes(frame.points, frame.boxes.boxes).sum(1)
    after = points_in_boxes(turned_points(frame.points, turn), boxes.boxes).sum(1)
    assert np.abs(before - after).max() <= 2
    assert (boxes.boxes[:, 6] >= -np.pi).all() and (boxes.boxes[:, 6] < np.pi).all()
    assert np.allclose(turned_boxes(boxes, -turn).boxes, frame.boxes.boxes, atol=1e-9)


def test_boxes_that_do_not_turn_are_the_same() -> None:
    boxes = _boxes((1.0, 2.0, 0.3))
    assert turned_boxes(boxes, 0.0) is boxes


def test_a_front_look_is_taken_as_it_is() -> None:
    boxes = _boxes((10.0, 0.0, 0.1), (5.0, 30.0, 0.2))  # the second one beside the sector stays too
    assert joined_looks([boxes], (0.0,), 90.0, OVERLAPS) is boxes


def test_all_around_at_once_is_taken_as_it_is() -> None:
    boxes = _boxes((-10.0, 0.0, 0.1), (5.0, -30.0, 0.2))
    assert joined_looks([boxes], (0.0,), 360.0, OVERLAPS) is boxes


def test_a_look_to_the_left_comes_back_to_the_left() -> None:
    seen = _boxes((10.0, 1.0, 0.0))  # ahead in a view whose points were turned by -90 degrees
    back = joined_looks([seen], (-RIGHT,), 90.0, OVERLAPS)
    assert np.allclose(back.boxes[0, :2], [-1.0, 10.0]) and back.boxes[0, 6] == pytest.approx(RIGHT)


def test_a_front_look_along_the_diagonal_comes_back_to_the_front() -> None:
    facing = np.pi / 4
    seen = _boxes((10.0, 10.0, facing))
    back = joined_looks([seen], (facing,), 90.0, OVERLAPS, facing)
    assert np.allclose(back.boxes[0, :2], [np.hypot(10, 10), 0]) and back.boxes[0, 6] == pytest.approx(0, abs=1e-12)


def test_boxes_beside_a_look_are_left_to_its_neighbour() -> None:
    aside = _boxes((5.0, 20.0, 0.0))  # at 76 degrees: the look to the left has it
    none = joined_looks([aside, _boxes()], (0.0, RIGHT), 90.0, OVERLAPS)
    assert len(none) == 0
    facing = np.pi / 4
    turned = turned_boxes(aside, facing)
    assert len(joined_looks([turned, _boxes()], (facing, RIGHT + facing), 90.0, OVERLAPS, facing)) == 0


def test_of_two_boxes_at_a_border_the_better_one_stays() -> None:
    border = turned_boxes(_boxes((20.0, 0.0, 0.0)), np.pi / 4)  # at 45 degrees, seen by two looks
    weak = replace(border, scores=np.array([0.4]))
    strong = replace(turned_boxes(border, -RIGHT), scores=np.array([0.8]))
    found = joined_looks([weak, strong], (0.0, -RIGHT), 90.0, OVERLAPS)
    assert len(found) == 1 and found.scores is not None and found.scores[0] == 0.8
    assert np.allclose(found.boxes, border.boxes, atol=1e-9)


def test_boxes_of_other_classes_do_not_push_one_another_out() -> None:
    border = turned_boxes(_boxes((20.0, 0.0, 0.0)), np.pi / 4)
    other = replace(turned_boxes(border, -RIGHT), labels=np.array([1]))
    assert len(joined_looks([border, other], (0.0, -RIGHT), 90.0, OVERLAPS)) == 2


def test_four_looks_at_the_same_ring_of_boxes_give_each_box_once() -> None:
    angles = np.radians(np.arange(0, 360, 30))
    ring = _boxes(*((20 * np.cos(a), 20 * np.sin(a), a) for a in angles))
    for facing in (0.0, np.pi / 4):
        turns = needed_turns(EVERYWHERE, 90.0, facing)
        looks = [turned_boxes(ring, turn) for turn in turns]
        found = joined_looks(looks, turns, 90.0, OVERLAPS, facing)
        order = np.argsort(np.arctan2(found.boxes[:, 1], found.boxes[:, 0]))
        expected = ring.boxes[np.argsort(np.arctan2(ring.boxes[:, 1], ring.boxes[:, 0]))]
        assert len(found) == 12 and np.allclose(found.boxes[order][:, :2], expected[:, :2], atol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "yaw", "inside"),
    [
        (0.0, 0.0, 0.3, True),
        (1.9, 0.0, 0.0, True),
        (2.1, 0.0, 0.0, False),
        (0.0, 1.0, 0.0, False),
        (0.0, 1.9, RIGHT, True),  # length 4 lies along y
        (1.0, 0.0, RIGHT, False),
        (1.3, 1.3, np.pi / 4, True),
        (1.3, 1.3, -np.pi / 4, False),
        (30.0, 5.0, 1.0, False),
    ],
)
def test_a_box_around_the_sensor_is_known(x: float, y: float, yaw: float, inside: bool) -> None:
    assert around_sensor(_boxes((x, y, yaw))).tolist() == [inside]
    assert around_sensor(_boxes()).tolist() == []
