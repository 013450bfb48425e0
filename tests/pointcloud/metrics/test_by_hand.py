"""Scores of small cases, computed by hand from the protocols: few boxes, ties, nothing found, nothing to find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.formats.kitti_text import KittiObject
from recon3d.pointcloud.boxes import Boxes3D
from recon3d.pointcloud.metrics import (
    InstanceOptions,
    InstanceScene,
    NuscenesFrame,
    NuscenesOptions,
    NuscenesScore,
    SemanticCounts,
    WaymoFrame,
    WaymoOptions,
    instance_metrics,
    kitti_metrics,
    mean_waymo_score,
    nuscenes_metrics,
    waymo_metrics,
)
from recon3d.pointcloud.metrics.kitti import KittiOverlaps
from recon3d.pointcloud.metrics.waymo import WaymoScore


def row(x: float, y: float = 0.0, yaw: float = 0.0) -> list[float]:
    return [x, y, 0.0, 4.0, 2.0, 1.5, yaw]


def boxes(name: str, rows: Sequence[list[float]], scores: Sequence[float] | None = None) -> Boxes3D:
    return Boxes3D(
        boxes=np.array(rows, np.float64).reshape(-1, 7),
        labels=np.zeros(len(rows), np.int64),
        names=(name,),
        scores=None if scores is None else np.array(scores, np.float64),
    )


# --- KITTI: R40 ---

CAR = {"Car": KittiOverlaps(0.7, 0.7, 0.7)}


def car(place: int, score: float | None = None, **changes: object) -> KittiObject:
    made = KittiObject(
        kind="Car",
        truncated=0.0,
        occluded=0,
        alpha=0.0,
        box_2d=(60.0 * place, 100.0, 60.0 * place + 50, 160.0),
        size_hwl=(1.5, 1.6, 4.0),
        location=(6.0 * place, 1.7, 20.0),
        rotation_y=0.0,
        score=score,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def r40(truths: list[KittiObject], found: list[KittiObject], name: str = "Car_3d/easy") -> float:
    return kitti_metrics([truths], [found], CAR)[f"{name}_R40"]


@pytest.mark.parametrize("n", [1, 2, 10, 40, 41, 60])
def test_r40_of_few_truths_stops_below_a_hundred(n: int) -> None:
    """n hits give n thresholds, and recall position 0 does not count: so does the benchmark's own program."""
    truths = [car(place) for place in range(n)]
    found = [car(place, 1 - 0.01 * place) for place in range(n)]
    assert r40(truths, found) == pytest.approx(100 * min(n - 1, 40) / 40)


def test_a_surer_ghost_costs_its_share_everywhere() -> None:
    truths, found = [car(k) for k in range(41)], [car(k, 0.9 - 0.01 * k) for k in range(41)]
    assert r40(truths, [*found, car(99, 0.95)]) == pytest.approx(100 * 41 / 42)
    assert r40(truths, [*found, car(99, 0.1)]) == pytest.approx(100)


def test_equal_scores_are_all_in_or_all_out() -> None:
    truths, found = [car(k) for k in range(41)], [car(k, 0.5) for k in range(41)]
    assert r40(truths, found) == pytest.approx(100)
    assert r40(truths, found + [car(100 + k, 0.5) for k in range(41)]) == pytest.approx(50)


@pytest.mark.parametrize(("turn", "share"), [(0.0, 1.0), (math.pi / 2, 0.5), (math.pi, 0.0), (2 * math.pi, 1.0)])
def test_orientation_similarity_is_half_of_one_plus_the_cosine(turn: float, share: float) -> None:
    truths, found = [car(k) for k in range(41)], [car(k, 0.9 - 0.01 * k, alpha=turn) for k in range(41)]
    assert r40(truths, found, "Car_aos/easy") == pytest.approx(100 * share, abs=1e-9)
    assert r40(truths, found, "Car_image/easy") == pytest.approx(100)


def test_two_detections_on_one_truth_are_a_hit_and_a_ghost() -> None:
    truths = [car(k) for k in range(41)]
    twice = [car(k, 0.9 - 0.01 * k) for k in range(41)] + [car(k, 0.91 - 0.01 * k) for k in range(41)]
    assert r40(truths, twice) < 60


def test_truths_that_all_are_too_hard_leave_nothing_to_find() -> None:
    hidden = [car(k, occluded=3) for k in range(5)]
    found = [car(k, 0.9) for k in range(5)]
    assert set(kitti_metrics([hidden], [found], CAR).values()) == {0.0}


def test_frames_do_not_see_each_other() -> None:
    truths, found = [[car(0)], [car(1)]], [[car(1, 0.9)], [car(0, 0.9)]]
    assert set(kitti_metrics(truths, found, CAR).values()) == {0.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="score of a detection is not finite"):
        kitti_metrics([[car(0)]], [[car(0, bad)]], CAR)
    with pytest.raises(InputError, match="not finite"):
        boxes("vehicle", [row(0)], [bad])
    with pytest.raises(InputError, match="score of a mask is not finite; got: mask 1"):
        masks([[0], [1]], [0, 0], [0.5, bad])


# --- Waymo: AP and APH ---

VEHICLE = WaymoOptions(iou={"vehicle": 0.7}, ranges=())


def waymo(found: Boxes3D, there: Boxes3D, **changes: object) -> WaymoScore:
    frame = WaymoFrame(predictions=found, truths=there, **changes)  # type: ignore[arg-type]
    return waymo_metrics([frame], VEHICLE)["VEHICLE_LEVEL_2"]


def test_two_truths_and_a_ghost_between_them() -> None:
    """(recall, precision) is (1, 2/3) from the last score on, and (1/2, 1) before the ghost; steps of 0.05 between."""
    there = boxes("vehicle", [row(10), row(20)])
    found = boxes("vehicle", [row(10), row(30), row(20)], [0.9, 0.7, 0.6])
    expected = 0.45 * 2 / 3 + 0.05 * (1 + 2 / 3) / 2 + 0.5
    assert waymo(found, there) == pytest.approx((expected, expected))


def test_a_heading_that_is_off_by_a_right_angle_counts_half() -> None:
    square = [[10, 0, 0, 2, 2, 1.5, 0.0], [20, 0, 0, 2, 2, 1.5, 0.0]]
    turned = [[10, 0, 0, 2, 2, 1.5, math.pi / 2], [20, 0, 0, 2, 2, 1.5, math.pi / 2]]
    assert waymo(boxes("vehicle", turned, [0.9, 0.8]), boxes("vehicle", square)) == pytest.approx((1.0, 0.5))


@pytest.mark.parametrize("wrong", [1, 3])
def test_ghosts_that_are_as_sure_share_the_precision(wrong: int) -> None:
    found = boxes("vehicle", [row(10), *(row(100 + 10 * k) for k in range(wrong))], [0.5] * (1 + wrong))
    assert waymo(found, boxes("vehicle", [row(10)])).ap == pytest.approx(1 / (1 + wrong))


def test_overlap_at_the_threshold_is_enough() -> None:
    """A box shifted by a share s along itself overlaps (1-s)/(1+s): 0.7 for s = 3/17."""
    there, just = boxes("vehicle", [row(10)]), 4 * 3 / 17
    assert waymo(boxes("vehicle", [row(10 + just - 1e-6)], [0.9]), there).ap == pytest.approx(1)
    assert waymo(boxes("vehicle", [row(10 + just + 1e-4)], [0.9]), there).ap == 0


def test_no_truth_and_no_prediction() -> None:
    none, some = boxes("vehicle", [], []), boxes("vehicle", [row(10)])
    assert waymo(none, some) == (0, 0)
    assert waymo(boxes("vehicle", [row(10)], [0.9]), boxes("vehicle", [])) == (0, 0)
    assert waymo(none, boxes("vehicle", [])) == (0, 0)


def test_truths_without_points_are_ignored_and_then_predictions_are_ghosts() -> None:
    there, found = boxes("vehicle", [row(10), row(20)]), boxes("vehicle", [row(10), row(20)], [0.9, 0.8])
    assert waymo(found, there, truth_points=np.array([0, 0])) == (0, 0)
    one = waymo(found, there, truth_points=np.array([9, 0]))
    assert one.ap == pytest.approx(1)  # the ghost is less sure
    other = waymo(found, there, truth_points=np.array([0, 9]))
    assert other.ap == pytest.approx(0.5)


def test_the_mean_is_over_the_classes_asked_for() -> None:
    scores = {"A_LEVEL_1": WaymoScore(0.2, 0.1), "B_LEVEL_1": WaymoScore(0.6, 0.3), "C_LEVEL_1": WaymoScore(1, 1)}
    assert mean_waymo_score(scores, 1, ("a", "b")) == pytest.approx((0.4, 0.2))


# --- nuScenes: NDS ---

CARS = NuscenesOptions(ranges={"car": 50.0})


def nds(found: Boxes3D, there: Boxes3D, **changes: object) -> NuscenesScore:
    return nuscenes_metrics([NuscenesFrame(predictions=found, truths=there, **changes)], CARS)  # type: ignore[arg-type]


def test_one_of_two_cars_found_exactly() -> None:
    """Precision 1 up to recall 0.5: 40 of the 90 positions. Velocity and attribute are not known: errors of 1."""
    score = nds(boxes("car", [row(10)], [0.9]), boxes("car", [row(10), row(20)]))
    assert score.mean_ap == pytest.approx(4 / 9)
    assert score.errors == pytest.approx({"ATE": 0, "ASE": 0, "AOE": 0, "AVE": 1, "AAE": 1})
    assert score.nds == pytest.approx((5 * 4 / 9 + 3) / 10)


def test_a_surer_ghost_before_the_only_car() -> None:
    """Precision rises linearly from 0 to 1/2 over the recall."""
    score = nds(boxes("car", [row(30), row(10)], [0.9, 0.8]), boxes("car", [row(10)]))
    recall = np.arange(11, 101) / 100
    assert score.mean_ap == pytest.approx(np.maximum(recall / 2 - 0.1, 0).mean() / 0.9)


def test_of_equal_scores_the_last_takes_the_truth() -> None:
    found = boxes("car", [row(10), row(11)], [0.5, 0.5])
    assert nds(found, boxes("car", [row(10)])).errors["ATE"] == pytest.approx(1)
    back = boxes("car", [row(11), row(10)], [0.5, 0.5])
    assert nds(back, boxes("car", [row(10)])).errors["ATE"] == pytest.approx(0)


def test_distances_are_strict_bounds() -> None:
    there = boxes("car", [row(10)])
    for shift, hit in ((0.5, [0, 1, 1, 1]), (1.0, [0, 0, 1, 1]), (3.9, [0, 0, 0, 1]), (4.0, [0, 0, 0, 0])):
        score = nds(boxes("car", [row(10 + shift)], [0.9]), there)
        assert list(score.ap["car"].values()) == pytest.approx(hit)


def test_the_larger_of_two_sizes_is_the_union() -> None:
    large = [10.0, 0, 0, 8, 2, 1.5, 0]
    score = nds(boxes("car", [large], [0.9]), boxes("car", [row(10)]))
    assert score.errors["ASE"] == pytest.approx(0.5)


def test_no_truth_scores_nothing() -> None:
    score = nds(boxes("car", [row(10)], [0.9]), boxes("car", []))
    assert (score.mean_ap, score.nds) == (0, 0) and set(score.errors.values()) == {1.0}


def test_boxes_at_the_range_do_not_count() -> None:
    at, below = boxes("car", [row(50)]), boxes("car", [row(49.999)])
    assert nds(boxes("car", [row(50)], [0.9]), at).mean_ap == 0
    assert nds(boxes("car", [row(49.999)], [0.9]), below).mean_ap == pytest.approx(1)


def test_a_frame_counts_its_own_lengths() -> None:
    with pytest.raises(ShapeError, match="truth_points has the wrong length; got: 2; expected: 1"):
        nds(boxes("car", [row(1)], [0.9]), boxes("car", [row(1)]), truth_points=np.array([1, 1]))


# --- mean IoU ---


def test_swapped_classes_of_two() -> None:
    """4 points: 2 + 1 right of the classes 0 and 1, one of class 1 called 0: 2/3 and 1/2."""
    counts = SemanticCounts(2)
    counts.add(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    score = counts.score()
    assert score.iou == pytest.approx([2 / 3, 1 / 2]) and score.mean_iou == pytest.approx(7 / 12)
    assert score.class_accuracy == pytest.approx([1, 1 / 2]) and score.accuracy == pytest.approx(3 / 4)


def test_points_that_are_ignored_change_nothing() -> None:
    one, other = SemanticCounts(2, ignored=255), SemanticCounts(2, ignored=255)
    one.add(np.array([0, 1]), np.array([0, 1]))
    other.add(np.array([0, 1, 0, 1]), np.array([0, 1, 255, 255]))
    assert np.array_equal(one.counts, other.counts)


def test_all_points_ignored_or_none_there() -> None:
    counts = SemanticCounts(3)
    counts.add(np.array([0, 1]), np.array([-1, -1]))
    counts.add(np.zeros(0, np.int64), np.zeros(0, np.int64))
    for skip in (False, True):
        assert counts.score(skip_absent=skip).mean_iou == 0 == counts.score(skip_absent=skip).accuracy


@settings(max_examples=30)
@given(st.integers(0, 999), st.permutations(range(4)))
def test_names_of_classes_do_not_matter(seed: int, order: list[int]) -> None:
    draw = np.random.default_rng(seed)
    truth, found = draw.integers(0, 4, 80), draw.integers(0, 4, 80)
    one, other = SemanticCounts(4), SemanticCounts(4)
    one.add(found, truth)
    other.add(np.array(order)[found], np.array(order)[truth])
    assert other.score().iou[order] == pytest.approx(one.score().iou)
    assert other.score().mean_iou == pytest.approx(one.score().mean_iou)


@settings(max_examples=30)
@given(st.integers(0, 999))
def test_iou_is_that_of_the_sets_of_points(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth, found = draw.integers(0, 3, 50), draw.integers(0, 3, 50)
    counts = SemanticCounts(3)
    counts.add(found, truth)
    for label, value in enumerate(counts.score().iou):
        there, said = set(np.flatnonzero(truth == label)), set(np.flatnonzero(found == label))
        assert value == pytest.approx(len(there & said) / max(len(there | said), 1), abs=1e-9)


# --- instances ---

ONE = InstanceOptions(classes={0: "thing"}, smallest=1)


def masks(members: list[list[int]], labels: list[int], scores: list[float], n: int = 4) -> InstanceScene:
    """Each point is a thing of its own."""
    drawn = np.zeros((len(members), n), np.bool_)
    for mask, points in zip(drawn, members, strict=True):
        mask[points] = True
    return InstanceScene(
        masks=drawn,
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float64),
        true_labels=np.zeros(n, np.int64),
        true_instances=np.arange(n),
    )


def test_right_wrong_right() -> None:
    """Recalls 1, 1/2, 1/2, 0 with precisions 2/3, 1/2, 1, 1, each weighted with half of what its neighbours span."""
    scene = masks([[0], [0], [1]], [0, 0, 0], [0.9, 0.8, 0.7], n=2)
    expected = 0.25 * (2 / 3 + 1 / 2 + 1 + 1)
    score = instance_metrics([scene], ONE)
    assert (score.ap, score.ap50, score.ap25) == pytest.approx((expected,) * 3)


def test_equal_scores_are_one_point_of_the_curve() -> None:
    scene = masks([[0], [0], [1]], [0, 0, 0], [0.5, 0.5, 0.5], n=2)
    assert instance_metrics([scene], ONE).ap == pytest.approx(0.5 * 2 / 3 + 0.5)


def test_a_mask_of_two_things_is_neither_at_half() -> None:
    scene = masks([[0, 1]], [0], [0.9], n=2)
    score = instance_metrics([scene], ONE)
    assert score.ap50 == 0 and score.ap25 == pytest.approx(0.5)


@pytest.mark.parametrize("found", [0, 1, 2, 3, 4])
def test_so_many_of_four_found(found: int) -> None:
    scene = masks([[k] for k in range(found)], [0] * found, [0.9 - 0.1 * k for k in range(found)])
    assert instance_metrics([scene], ONE).ap == pytest.approx(found / 4)


def test_scenes_are_pooled() -> None:
    good, nothing = masks([[0]], [0], [0.9], n=1), masks([], [], [], n=1)
    assert instance_metrics([good], ONE).ap == 1
    assert instance_metrics([good, nothing], ONE).ap == pytest.approx(0.5)


def test_classes_are_averaged_and_unknown_ones_left_out() -> None:
    scene = masks([[0], [1]], [0, 1], [0.9, 0.9], n=2)
    both = InstanceScene(**{**scene.__dict__, "true_labels": np.array([0, 1])})
    two = InstanceOptions(classes={0: "thing", 1: "other"}, smallest=1)
    assert instance_metrics([both], two).ap == 1
    missed = InstanceScene(**{**both.__dict__, "labels": np.array([0, 0])})
    assert instance_metrics([missed], two).class_ap["other"] == 0
    assert instance_metrics([missed], ONE).class_ap == {"thing": 1.0}  # the other is void for these options


def test_points_without_an_instance_are_void() -> None:
    scene = masks([[0], [1]], [0, 0], [0.5, 0.9], n=2)
    half = InstanceScene(**{**scene.__dict__, "true_instances": np.array([0, -1])})
    assert instance_metrics([half], ONE).ap == 1


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_lengths_are_refused() -> None:
    scene = masks([[0]], [0], [0.5])
    for name in ("true_labels", "true_instances"):
        with pytest.raises(ShapeError, match=f"InstanceScene.{name} has the wrong shape"):
            InstanceScene(**{**scene.__dict__, name: np.zeros(3, np.int64)})
    with pytest.raises(UsageError, match="no scores"):
        WaymoFrame(predictions=boxes("vehicle", [row(0)]), truths=boxes("vehicle", []))
    with pytest.raises(UsageError, match="no scores"):
        NuscenesFrame(predictions=boxes("car", [row(0)]), truths=boxes("car", []))
