from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.metrics import WaymoFrame, WaymoOptions, mean_waymo_score, waymo_metrics
from recon3d.pointcloud.metrics.waymo_matching import Candidates, matched_counts

NAMES = ("vehicle", "pedestrian", "sign", "cyclist")


def frame(seed: int, n: int = 12, **changes: object) -> WaymoFrame:
    """Boxes far from each other, each found with a score of its own."""
    draw = np.random.default_rng(seed)
    places = np.column_stack([8.0 * np.arange(n), draw.uniform(-2, 2, n), draw.uniform(-1, 1, n)])
    rows = np.column_stack([places, draw.uniform(1, 4, (n, 3)), draw.uniform(-3, 3, n)])
    truths = Boxes3D(boxes=rows, labels=np.arange(n) % 4, names=NAMES)
    return WaymoFrame(predictions=replace(truths, scores=draw.uniform(0.1, 1, n)), truths=truths, **changes)


def moved(one: WaymoFrame, offset: list[float], rows: slice = slice(None)) -> WaymoFrame:
    boxes = one.predictions.boxes.copy()
    boxes[rows] += np.array(offset)
    return replace(one, predictions=replace(one.predictions, boxes=boxes))


def test_perfect_detections_have_precision_one_everywhere() -> None:
    scores = waymo_metrics([frame(0), frame(1)])
    assert len(scores) == 4 * 4 * 2
    for name, score in scores.items():
        assert score == pytest.approx((0, 0) if "CYCLIST_[30" in name else (1, 1)), name  # there is none
    assert mean_waymo_score(scores, 2, NAMES) == pytest.approx((1, 1))


def test_flipped_headings_lose_aph_alone() -> None:
    scores = waymo_metrics([moved(frame(0), [0, 0, 0, 0, 0, 0, math.pi])])
    assert all(score == pytest.approx((1, 0), abs=1e-9) for name, score in scores.items() if "_[" not in name)
    whole = waymo_metrics([moved(frame(0), [0, 0, 0, 0, 0, 0, 2 * math.pi])])
    assert whole["VEHICLE_LEVEL_1"] == pytest.approx((1, 1))


def test_nothing_found_and_nothing_there() -> None:
    far = moved(frame(0), [0, 500, 0, 0, 0, 0, 0])
    assert all(tuple(score) == (0, 0) for score in waymo_metrics([far]).values())
    empty = replace(frame(0), truths=frame(0).truths.selected(np.zeros(12, np.bool_)))
    assert all(tuple(score) == (0, 0) for score in waymo_metrics([empty]).values())


def test_half_of_the_truths_found() -> None:
    """Six of twelve, all with precision 1: the area below a curve that ends at recall one half."""
    options = WaymoOptions(iou={"vehicle": 0.7}, ranges=())
    one = frame(0)
    labels = np.zeros(12, np.int64)
    one = replace(one, predictions=replace(one.predictions, labels=labels), truths=replace(one.truths, labels=labels))
    half = replace(one, predictions=one.predictions.selected(np.arange(6)))
    assert waymo_metrics([half], options)["VEHICLE_LEVEL_1"] == pytest.approx((0.5, 0.5))


def test_levels() -> None:
    """Truths with few points count at level 2 alone, those without not at all, and a label of the level wins."""
    options = WaymoOptions(iou={"vehicle": 0.7}, ranges=())
    labels = np.zeros(12, np.int64)
    one = frame(0, truth_points=np.array([0] * 2 + [5] * 4 + [6] * 6), truth_levels=np.array([0] * 10 + [2, 1]))
    one = replace(one, truths=replace(one.truths, labels=labels))
    assert one.levels().tolist() == [0, 0, 2, 2, 2, 2, 1, 1, 1, 1, 2, 1]
    found = replace(one.predictions, labels=labels).selected(np.array([6, 7, 8, 9, 11]))
    scores = waymo_metrics([replace(one, predictions=found)], options)
    assert scores["VEHICLE_LEVEL_1"].ap == pytest.approx(1)
    assert scores["VEHICLE_LEVEL_2"].ap == pytest.approx(0.5)


def test_ranges_are_of_the_centre() -> None:
    options = WaymoOptions(iou={"vehicle": 0.7, "pedestrian": 0.5}, ranges=((0.0, 10.0), (10.0, math.inf)))
    scores = waymo_metrics([moved(frame(0), [0, 500, 0, 0, 0, 0, 0], slice(2, None))], options)
    assert set(scores) >= {"VEHICLE_[0,10)_LEVEL_1", "VEHICLE_[10,inf)_LEVEL_2"}
    assert scores["VEHICLE_[0,10)_LEVEL_1"].ap == pytest.approx(1)
    assert scores["VEHICLE_[10,inf)_LEVEL_1"].ap == 0


def test_false_positives_in_no_label_zones_do_no_harm() -> None:
    one = frame(0)
    ghosts = moved(one, [0, 500, 0, 0, 0, 0, 0]).predictions
    both = Boxes3D(
        boxes=np.concatenate([ghosts.boxes, one.predictions.boxes]),
        labels=np.tile(one.predictions.labels, 2),
        names=NAMES,
        scores=np.ones(24),
    )
    zone = np.arange(24) < 12
    options = WaymoOptions(ranges=())
    assert waymo_metrics([replace(one, predictions=both, in_no_label_zone=zone)], options)["SIGN_LEVEL_1"].ap == 1
    assert waymo_metrics([replace(one, predictions=both)], options)["SIGN_LEVEL_1"].ap == pytest.approx(0.5)


def by_hand(candidates: Candidates, cutoff: float) -> float:
    """The largest sum of overlaps of any assignment."""
    rows = np.flatnonzero(candidates.scores.astype(np.float32) >= np.float32(cutoff))
    weights = np.where(candidates.overlaps >= candidates.least, np.round(candidates.overlaps * 1e6), 0)[rows]
    weights = np.pad(weights, ((0, 0), (0, len(rows))))
    orders = itertools.permutations(range(weights.shape[1]), len(rows))
    return max((sum(weights[i, j] for i, j in enumerate(order)) for order in orders), default=0.0)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_the_assignment_is_the_best_one_at_every_cutoff(seed: int) -> None:
    draw = np.random.default_rng(seed)
    overlaps = draw.uniform(0.2, 1, (3, 3))
    candidates = Candidates(
        overlaps=overlaps,
        least=0.5,
        heading_accuracy=overlaps,  # so that the sum of accuracies is that of the overlaps
        scores=draw.uniform(0, 1, 3),
        harmless=draw.uniform(size=3) < 0.3,
        levels=draw.integers(1, 3, 3),
    )
    cutoffs = np.array([0, 0.3, 0.6, 1], np.float32)
    counts = matched_counts(candidates, cutoffs)
    for row, cutoff in zip(counts, cutoffs.tolist(), strict=True):
        assert row[1] == pytest.approx(by_hand(candidates, cutoff) / 1e6, abs=1e-5)
        assert row[0] + row[4] == 3
        assert 0 <= row[3] <= row[4]
        assert row[0] + row[2] <= (candidates.scores >= cutoff).sum()


def test_bad_input() -> None:
    one = frame(0)
    with pytest.raises(UsageError, match="have no scores"):
        WaymoFrame(predictions=one.truths, truths=one.truths)
    with pytest.raises(ShapeError, match=r"WaymoFrame\.truth_points has the wrong shape"):
        frame(0, truth_points=np.zeros(3, np.int64))
    with pytest.raises(UsageError, match=r"no class is known; got: .*'cyclist'"):
        waymo_metrics([one], WaymoOptions(iou={"Car": 0.7}))
