from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.metrics import NuscenesFrame, NuscenesOptions, NuscenesScore, nuscenes_metrics, nuscenes_ranges

NAMES = tuple(nuscenes_ranges())


def frame(n: int = 40, **changes: object) -> NuscenesFrame:
    """Boxes around the vehicle, nearer than 30 m and more than 4 m from each other within a class."""
    angle = 2 * math.pi * np.arange(n) / n
    rows = np.column_stack([20 * np.cos(angle), 20 * np.sin(angle), np.zeros(n), np.tile([4.0, 2, 1.5], (n, 1)), angle])
    truths = Boxes3D(boxes=rows, labels=np.arange(n) % 10, names=NAMES, velocities=np.ones((n, 2)))
    values: dict[str, object] = {
        "predictions": replace(truths, scores=np.linspace(1, 0.1, n)),
        "truths": truths,
        "predicted_attributes": ["a"] * n,
        "true_attributes": ["a"] * n,
    }
    return NuscenesFrame(**(values | changes))


def score_of(one: NuscenesFrame, **changes: object) -> NuscenesScore:
    values = {name: getattr(one.predictions, name) for name in ("boxes", "velocities")}
    for name, change in changes.items():
        values[name] = values[name] + np.array(change)
    return nuscenes_metrics([replace(one, predictions=replace(one.predictions, **values))])


def test_perfect_detections() -> None:
    score = nuscenes_metrics([frame(), frame()])
    assert (score.nds, score.mean_ap) == pytest.approx((1, 1))
    assert all(value == pytest.approx(0, abs=1e-12) for value in score.errors.values())
    assert math.isnan(score.class_errors["traffic_cone"]["AOE"])
    assert math.isnan(score.class_errors["barrier"]["AVE"])
    assert score.class_errors["barrier"]["AOE"] == 0


def test_nothing_found() -> None:
    score = score_of(frame(), boxes=[0, 0, 0, 0, 0, 0, 0], velocities=[0, 0])
    assert score.nds == pytest.approx(1)
    none = replace(frame(), predictions=frame().predictions.selected(np.zeros(40, np.bool_)), predicted_attributes=None)
    score = nuscenes_metrics([none])
    assert (score.nds, score.mean_ap, set(score.errors.values())) == (0, 0, {1.0})


def test_each_error_is_what_it_says() -> None:
    assert score_of(frame(), boxes=[0.3, 0.4 - 1e-9, 0, 0, 0, 0, 0]).errors["ATE"] == pytest.approx(0.5)
    assert score_of(frame(), boxes=[0, 0, 0, 4, 0, 0, 0]).errors["ASE"] == pytest.approx(0.5)
    assert score_of(frame(), boxes=[0, 0, 9, 0, 0, 0, 0]).nds == pytest.approx(1)  # height is not looked at
    assert score_of(frame(), velocities=[3, 4]).errors["AVE"] == pytest.approx(5)
    other = replace(frame(), predicted_attributes=["b"] * 40)
    assert nuscenes_metrics([other]).errors["AAE"] == 1
    assert nuscenes_metrics([replace(other, true_attributes=None)]).errors["AAE"] == 1  # none is known
    flipped = score_of(frame(), boxes=[0, 0, 0, 0, 0, 0, math.pi])
    assert flipped.class_errors["car"]["AOE"] == pytest.approx(math.pi)
    assert flipped.class_errors["barrier"]["AOE"] == pytest.approx(0, abs=1e-9)


def test_distances() -> None:
    score = score_of(frame(), boxes=[1.5, 0, 0, 0, 0, 0, 0])
    assert score.ap["car"] == pytest.approx({0.5: 0, 1.0: 0, 2.0: 1, 4.0: 1})


def test_each_truth_is_found_once_and_by_the_surest() -> None:
    one = frame()
    double = Boxes3D(
        boxes=np.concatenate([one.predictions.boxes, one.predictions.boxes + np.array([0.1, 0, 0, 0, 0, 0, 0])]),
        labels=np.tile(one.predictions.labels, 2),
        names=NAMES,
        scores=np.concatenate([one.predictions.scores, one.predictions.scores - 0.5]),
        velocities=np.ones((80, 2)),
    )
    score = nuscenes_metrics([replace(one, predictions=double, predicted_attributes=None)])
    assert 0.5 < score.mean_ap < 1
    assert score.errors["ATE"] < 0.05


def test_boxes_that_are_far_away_do_not_count() -> None:
    """At 35 m, cones and barriers are out of range, and everything else from 45 m to 50 m but vehicles."""
    for place, out in ((35.0, {"traffic_cone", "barrier"}), (45.0, set(NAMES[5:])), (60.0, set(NAMES))):
        one = frame()
        rows = one.truths.boxes * np.array([place / 20, place / 20, 1, 1, 1, 1, 1])
        there, found = replace(one.truths, boxes=rows), replace(one.predictions, boxes=rows)
        score = nuscenes_metrics([replace(one, truths=there, predictions=found)])
        assert {name for name in NAMES if score.ap[name][2.0] == 0} == out
        moved = replace(one, truths=there, predictions=found, ego_xy=(1000.0, 0.0))
        assert nuscenes_metrics([moved]).mean_ap == 0
        everywhere = NuscenesOptions(ranges=dict.fromkeys(NAMES, math.inf))
        assert nuscenes_metrics([moved], everywhere).nds == pytest.approx(1)


def test_truths_without_points_and_bikes_in_racks_are_left_out() -> None:
    one = frame()
    found = one.predictions.selected(np.arange(20))
    seen = np.array([1] * 20 + [0] * 20)
    half = replace(one, predictions=found, predicted_attributes=["a"] * 20)
    assert nuscenes_metrics([half]).mean_ap < 0.6
    assert nuscenes_metrics([replace(half, truth_points=seen)]).nds == pytest.approx(1)
    rack = np.array([[0.0, 0, 0, 100, 100, 9, 0]])
    score = nuscenes_metrics([replace(one, bike_racks=rack)])
    assert {name for name in NAMES if score.ap[name][2.0] == 0} == {"bicycle", "motorcycle"}


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="have no scores"):
        frame(predictions=frame().truths)
    with pytest.raises(ShapeError, match=r"NuscenesFrame\.true_attributes has the wrong length"):
        frame(true_attributes=["a"])
    with pytest.raises(UsageError, match="too many predictions; got: 40"):
        nuscenes_metrics([frame()], NuscenesOptions(max_boxes=39))
    with pytest.raises(UsageError, match="one of the distances; got: 3"):
        nuscenes_metrics([frame()], NuscenesOptions(error_distance=3.0))
    with pytest.raises(UsageError, match="no class is known"):
        nuscenes_metrics([frame()], NuscenesOptions(ranges={"Car": 50.0}))
