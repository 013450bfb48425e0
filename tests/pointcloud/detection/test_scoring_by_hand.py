"""Average precision against cases that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_detection import NAMES, frame_of

from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.detection import DetectionScores, LabelledFrame, ScoreOptions, score_detections

CARS = frame_of([(0, 4.0, 0.0, 0.0), (0, 10.0, 0.0, 0.0)])
ONE_CAR = frame_of([(0, 4.0, 0.0, 0.0)])


def _found(frame: LabelledFrame, scores: list[float], shift: tuple[float, float, float] = (0, 0, 0)) -> Boxes3D:
    boxes = frame.boxes.boxes.copy()
    boxes[:, :3] += shift
    return replace(frame.boxes, boxes=boxes, scores=np.array(scores))


def _wrong(score: float, label: int = 0) -> Boxes3D:
    rows = np.array([[8.0, 5.0, -1.0, 4.0, 1.8, 1.5, 0.0]])
    return Boxes3D(boxes=rows, labels=np.array([label]), names=NAMES, scores=np.array([score]))


def _both(a: Boxes3D, b: Boxes3D) -> Boxes3D:
    scores = np.concatenate([a.scores, b.scores])  # type: ignore[list-item]
    return Boxes3D(
        boxes=np.concatenate([a.boxes, b.boxes]),
        labels=np.concatenate([a.labels, b.labels]),
        names=NAMES,
        scores=scores,
    )


def _car(found: Boxes3D, frame: LabelledFrame, options: ScoreOptions | None = None) -> float:
    return score_detections([(found, frame)], options).bev["car"]


def test_everything_found_is_one() -> None:
    assert _car(_found(CARS, [0.9, 0.8]), CARS) == pytest.approx(1.0)


def test_half_of_the_truth_without_a_mistake_is_half() -> None:
    half = _found(CARS, [0.9, 0.8]).selected(np.array([True, False]))
    assert _car(half, CARS) == pytest.approx(0.5, abs=0.02)


def test_a_mistake_with_a_lower_score_costs_nothing() -> None:
    assert _car(_both(_found(ONE_CAR, [0.9]), _wrong(0.3)), ONE_CAR) == pytest.approx(1.0)


def test_a_mistake_with_a_higher_score_halves_the_precision() -> None:
    assert _car(_both(_found(ONE_CAR, [0.3]), _wrong(0.9)), ONE_CAR) == pytest.approx(0.5, abs=0.02)


def test_a_second_box_on_the_same_car_is_a_mistake() -> None:
    twice = _both(_found(ONE_CAR, [0.5]), _found(ONE_CAR, [0.9], (0.1, 0, 0)))
    assert _car(twice, ONE_CAR) == pytest.approx(1.0)  # the surer one is right, the other comes later
    two = _both(_found(CARS, [0.9, 0.2]), _found(ONE_CAR, [0.6], (0.1, 0, 0)))
    assert _car(two, CARS) < 0.95


def test_the_right_place_of_another_class_is_a_mistake_there() -> None:
    person = replace(_found(ONE_CAR, [0.9]), labels=np.array([1]))
    scores = score_detections([(person, ONE_CAR)])
    assert scores.bev["car"] == 0 and scores.mean_bev == 0
    assert scores.truths == {"car": 1, "pedestrian": 0, "cyclist": 0}


@pytest.mark.parametrize(("shift", "overlap"), [(0.4, 0.8 / 1.2 * 0 + 3.6 / 4.4), (1.0, 3 / 5), (1.6, 2.4 / 5.6)])
def test_the_bound_of_the_overlap_decides(shift: float, overlap: float) -> None:
    moved = _found(ONE_CAR, [0.9], (shift, 0, 0))
    assert _car(moved, ONE_CAR, ScoreOptions(vehicle_iou=overlap - 0.02)) == pytest.approx(1.0)
    assert _car(moved, ONE_CAR, ScoreOptions(vehicle_iou=overlap + 0.02)) == 0


def test_in_3d_the_height_counts_too() -> None:
    lifted = _found(ONE_CAR, [0.9], (0, 0, 0.6))  # overlap 0.9 / 2.1
    scores = score_detections([(lifted, ONE_CAR)])
    assert scores.bev["car"] == pytest.approx(1) and scores.box_3d["car"] == 0
    kind = score_detections([(lifted, ONE_CAR)], ScoreOptions(vehicle_iou=0.4))
    assert kind.box_3d["car"] == pytest.approx(1)


def test_frames_are_scored_together() -> None:
    other = frame_of([(0, 7.0, 2.0, 0.0)], seed=3)
    nothing = _found(other, [0.5]).selected(np.zeros(1, bool))
    scores = score_detections([(_found(ONE_CAR, [0.9]), ONE_CAR), (nothing, other)])
    assert scores.bev["car"] == pytest.approx(0.5, abs=0.02) and scores.truths["car"] == 2


def test_a_car_with_few_points_is_neither_right_nor_wrong() -> None:
    options = ScoreOptions(min_points=100_000)
    scores = score_detections([(_found(ONE_CAR, [0.9]), ONE_CAR)], options)
    assert scores.truths["car"] == 0
    mixed = score_detections([(_found(CARS, [0.9, 0.8]), _thinned(CARS))])
    assert mixed.truths["car"] == 1 and mixed.bev["car"] == pytest.approx(1.0)


def _thinned(frame: LabelledFrame) -> LabelledFrame:
    """The frame without the points of its second box."""
    near = np.abs(frame.points[:, :2] - frame.boxes.boxes[1, :2]) < [2.2, 1.2]
    return replace(frame, points=frame.points[~near.all(1)])


def test_means_are_over_classes_that_occur() -> None:
    scores = DetectionScores(
        bev={"car": 0.8, "pedestrian": 0.4, "cyclist": 0.9},
        box_3d={"car": 0.6, "pedestrian": 0.2, "cyclist": 0.9},
        truths={"car": 3, "pedestrian": 1, "cyclist": 0},
    )
    assert scores.mean_bev == pytest.approx(0.6) and scores.mean_3d == pytest.approx(0.4)
    said = scores.to_json()
    assert said["mean_bev"] == 0.6 and said["3d"]["cyclist"] == 0.9 and said["truths"]["car"] == 3


def test_people_need_less_overlap_than_vehicles() -> None:
    person = frame_of([(1, 4.0, 0.0, 0.0)])
    moved = _found(person, [0.9], (0.3, 0, 0))  # 0.4 / 1.0
    assert score_detections([(moved, person)]).bev["pedestrian"] == pytest.approx(1)
    assert score_detections([(moved, person)], ScoreOptions(other_iou=0.5)).bev["pedestrian"] == 0
