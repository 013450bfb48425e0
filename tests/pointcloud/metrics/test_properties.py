"""What must hold for any detections: order, frames, extra boxes and masks, and the ends of the scale."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.formats.kitti_text import KittiObject
from recon3d.pointcloud.boxes import Boxes3D, joined_boxes
from recon3d.pointcloud.metrics import (
    InstanceOptions,
    InstanceScene,
    NuscenesFrame,
    NuscenesOptions,
    WaymoFrame,
    WaymoOptions,
    instance_metrics,
    kitti_metrics,
    nuscenes_metrics,
    waymo_metrics,
)
from recon3d.pointcloud.metrics.instance_matching import ClassScene, rank
from recon3d.pointcloud.metrics.kitti import KittiOverlaps
from recon3d.pointcloud.metrics.kitti_matching import hit_scores
from recon3d.pointcloud.metrics.nuscenes_curves import Hits, average_precision, mean_error, sampled_curves

SEEDS = st.integers(0, 10_000)


def truths(seed: int, n: int = 8) -> Boxes3D:
    """Cars that are far from each other."""
    draw = np.random.default_rng(seed)
    place = np.column_stack([9.0 * np.arange(n) - 30, draw.uniform(-9, 9, n), draw.uniform(-1, 1, n)])
    rows = np.column_stack([place, np.tile([4.0, 2.0, 1.5], (n, 1)), draw.uniform(-3, 3, n)])
    return Boxes3D(boxes=rows, labels=np.zeros(n, np.int64), names=("car",))


def detections(seed: int, there: Boxes3D, ghosts: int = 4) -> Boxes3D:
    """Some of the truths, shifted a little, and some ghosts, with scores of their own."""
    draw = np.random.default_rng(seed + 1)
    found = there.boxes[draw.random(len(there)) < 0.7].copy()
    found[:, :2] += draw.normal(0, 0.15, (len(found), 2))
    wrong = np.column_stack(
        [draw.uniform(-40, 40, (ghosts, 2)), np.full(ghosts, 30.0), np.tile([4.0, 2, 1.5, 0], (ghosts, 1))]
    )
    rows = np.concatenate([found, wrong + np.array([0, 60, 0, 0, 0, 0, 0])])
    return Boxes3D(
        boxes=rows,
        labels=np.zeros(len(rows), np.int64),
        names=("car",),
        scores=draw.permutation(np.linspace(0.05, 0.95, len(rows))),
    )


def waymo_ap(frames: list[tuple[Boxes3D, Boxes3D]]) -> tuple[float, float]:
    options = WaymoOptions(iou={"car": 0.5}, ranges=())
    made = [WaymoFrame(predictions=found, truths=there) for found, there in frames]
    return tuple(waymo_metrics(made, options)["CAR_LEVEL_2"])


def nuscenes_ap(frames: list[tuple[Boxes3D, Boxes3D]]) -> float:
    options = NuscenesOptions(ranges={"car": math.inf})
    return nuscenes_metrics(
        [NuscenesFrame(predictions=found, truths=there) for found, there in frames], options
    ).mean_ap


@settings(max_examples=20)
@given(SEEDS)
def test_scores_lie_between_nothing_and_everything(seed: int) -> None:
    there = truths(seed)
    found = detections(seed, there)
    ap, aph = waymo_ap([(found, there)])
    assert 0 <= aph <= ap <= 1 and 0 <= nuscenes_ap([(found, there)]) <= 1 + 1e-12


@settings(max_examples=12)
@given(SEEDS)
def test_the_order_of_boxes_and_frames_does_not_matter(seed: int) -> None:
    pairs = [(detections(seed + k, truths(seed + k)), truths(seed + k)) for k in range(3)]
    draw = np.random.default_rng(seed)
    mixed = [
        (found.selected(draw.permutation(len(found))), there.selected(draw.permutation(len(there))))
        for found, there in pairs
    ]
    mixed = [mixed[k] for k in draw.permutation(3)]
    assert waymo_ap(mixed) == pytest.approx(waymo_ap(pairs), abs=1e-12)
    assert nuscenes_ap(mixed) == pytest.approx(nuscenes_ap(pairs), abs=0.05)  # equal scores of frames tie


@settings(max_examples=12)
@given(SEEDS)
def test_a_ghost_never_helps_and_an_unsure_one_hardly_harms(seed: int) -> None:
    there = truths(seed)
    found = detections(seed, there)
    far = Boxes3D(
        boxes=np.array([[0, 500.0, 0, 4, 2, 1.5, 0]]),
        labels=np.zeros(1, np.int64),
        names=("car",),
        scores=np.array([0.99]),
    )
    surest, least = joined_boxes([found, far]), joined_boxes([found, replace(far, scores=np.array([0.01]))])
    plain = waymo_ap([(found, there)])[0], nuscenes_ap([(found, there)])
    assert waymo_ap([(surest, there)])[0] <= plain[0] + 1e-12
    assert nuscenes_ap([(surest, there)]) <= plain[1] + 1e-12
    assert waymo_ap([(least, there)])[0] == pytest.approx(plain[0], abs=1e-9)
    assert nuscenes_ap([(least, there)]) == pytest.approx(plain[1], abs=0.012)  # one of the 90 recalls, the largest


@settings(max_examples=20)
@given(SEEDS)
def test_truths_as_detections_are_perfect(seed: int) -> None:
    there = truths(seed)
    sure = replace(there, scores=np.linspace(0.9, 0.3, len(there)))
    assert waymo_ap([(sure, there)]) == pytest.approx((1, 1))
    assert nuscenes_ap([(sure, there)]) == pytest.approx(1)


@settings(max_examples=20)
@given(SEEDS)
def test_one_more_hit_never_harms(seed: int) -> None:
    there = truths(seed)
    found = detections(seed, there, 0)
    missing = [row for row in there.boxes if np.linalg.norm(found.boxes[:, :2] - row[:2], axis=1).min(initial=99) > 3]
    if not missing or not len(found):
        return
    extra = Boxes3D(
        boxes=missing[0][None], labels=np.zeros(1, np.int64), names=("car",), scores=found.scores.max(keepdims=True)
    )
    more = joined_boxes([found, extra])
    assert waymo_ap([(more, there)])[0] >= waymo_ap([(found, there)])[0] - 1e-9
    assert nuscenes_ap([(more, there)]) >= nuscenes_ap([(found, there)]) - 1e-9


@settings(max_examples=15)
@given(SEEDS, st.floats(0.1, 0.9))
def test_only_the_order_of_scores_counts_for_nuscenes(seed: int, power: float) -> None:
    there = truths(seed)
    found = detections(seed, there)
    other = replace(found, scores=found.scores**power)
    assert nuscenes_ap([(other, there)]) == pytest.approx(nuscenes_ap([(found, there)]))


# --- KITTI ---


def line(place: int, score: float | None = None, **changes: object) -> KittiObject:
    made = KittiObject(
        kind="Pedestrian",
        truncated=0.0,
        occluded=0,
        alpha=0.0,
        box_2d=(60.0 * place, 100.0, 60.0 * place + 50, 160.0),
        size_hwl=(1.8, 0.6, 0.8),
        location=(3.0 * place, 1.7, 20.0),
        rotation_y=0.0,
        score=score,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@settings(max_examples=15)
@given(SEEDS)
def test_easier_levels_are_part_of_harder_ones_and_r40_is_a_percentage(seed: int) -> None:
    draw = np.random.default_rng(seed)
    there = [line(k, occluded=int(draw.integers(0, 4)), truncated=float(draw.uniform(0, 0.6))) for k in range(30)]
    found = [line(k, float(draw.random())) for k in range(0, 40, 2)]
    scores = kitti_metrics([there], [found], {"Pedestrian": KittiOverlaps(0.5, 0.5, 0.5)})
    assert all(0 <= value <= 100 for value in scores.values())
    for kind in ("image", "bev", "3d"):
        assert scores[f"Pedestrian_{kind}/easy_R40"] == pytest.approx(scores["Pedestrian_3d/easy_R40"])
    for level in ("easy", "moderate", "hard"):
        assert scores[f"Pedestrian_aos/{level}_R40"] == pytest.approx(scores[f"Pedestrian_image/{level}_R40"])


@settings(max_examples=25)
@given(SEEDS)
def test_each_truth_takes_the_surest_that_fits_and_each_detection_serves_once(seed: int) -> None:
    draw = np.random.default_rng(seed)
    overlaps, scores = draw.uniform(0, 1, (6, 4)), draw.permutation(6) / 6
    hits = hit_scores(overlaps, scores, np.zeros(4, np.int64), np.zeros(6, np.int64), 0.5)
    taken: set[int] = set()
    want = []
    for truth in range(4):
        fitting = [row for row in range(6) if overlaps[row, truth] > 0.5 and row not in taken]
        if fitting:
            best = max(fitting, key=lambda row: scores[row])
            taken.add(best)
            want.append(scores[best])
    assert hits.tolist() == want


def test_neighbouring_classes_swallow_but_do_not_score() -> None:
    overlaps = np.array([[0.9, 0.0], [0.0, 0.9]])
    roles = np.zeros(2, np.int64)
    assert hit_scores(overlaps, np.array([0.5, 0.6]), np.array([0, 1]), roles, 0.5).tolist() == [0.5]
    assert hit_scores(overlaps, np.array([0.5, 0.6]), np.array([0, -1]), roles, 0.5).tolist() == [0.5]
    assert hit_scores(overlaps, np.array([0.5, 0.6]), np.array([0, 0]), np.array([0, 1]), 0.5).tolist() == [0.5]


# --- the curves of nuScenes ---


def hits(flags: list[bool], n_truths: int) -> Hits:
    n = len(flags)
    errors = np.tile([0.5, 0.1, 0.2, np.nan, 1.0], (sum(flags), 1))
    return Hits(n_truths=n_truths, scores=np.linspace(0.9, 0.1, n), hit=np.array(flags, np.bool_), errors=errors)


@settings(max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 10))
def test_curves_are_within_their_ranges(flags: list[bool], missed: int) -> None:
    curves = sampled_curves(hits(flags, sum(flags) + missed))
    assert curves.precision.shape == (101,) and (curves.precision >= 0).all() and (curves.precision <= 1).all()
    assert 0 <= average_precision(curves) <= 1 + 1e-12
    largest = sum(flags) / max(sum(flags) + missed, 1)
    assert not curves.precision[np.arange(101) / 100 > largest + 1e-9].any()


def test_constant_errors_are_their_mean_and_unknown_ones_are_one() -> None:
    curves = sampled_curves(hits([True] * 4, 4))
    assert [mean_error(curves, name) for name in ("ATE", "ASE", "AOE", "AVE", "AAE")] == pytest.approx(
        [0.5, 0.1, 0.2, 1.0, 1.0]
    )


def test_recalls_below_a_tenth_have_errors_of_one() -> None:
    curves = sampled_curves(hits([True], 20))
    assert mean_error(curves, "ATE") == 1.0 and average_precision(curves) == 0


# --- instances ---


@settings(max_examples=25)
@given(SEEDS)
def test_masks_are_right_once_and_wrong_only_where_nothing_excuses_them(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes, common = draw.integers(20, 60, 5).astype(float), draw.integers(0, 20, (5, 3)).astype(float)
    scene = ClassScene(
        scores=np.sort(draw.random(5))[::-1],
        sizes=sizes,
        true_sizes=draw.integers(20, 40, 3).astype(float),
        common=common,
        ignorable=draw.integers(0, 20, 5).astype(float),
    )
    for least in (0.05, 0.25, 0.5):
        ranking = rank(scene, least)
        assert ranking.right.sum() + ranking.n_missed == 3 == ranking.n_truths
        fits = (common / (sizes[:, None] + scene.true_sizes - common) > least).any(0)
        assert ranking.right.sum() <= fits.sum()
        assert len(ranking.scores) == len(ranking.right)


@settings(max_examples=15)
@given(SEEDS)
def test_ap_falls_with_the_threshold_and_lies_between(seed: int) -> None:
    draw = np.random.default_rng(seed)
    instances = np.repeat(np.arange(6), 30)
    masks = np.array([instances == k for k in range(6)]) ^ (draw.random((6, 180)) < 0.08)
    scene = InstanceScene(
        masks=masks,
        labels=np.zeros(6, np.int64),
        scores=draw.random(6),
        true_labels=np.zeros(180, np.int64),
        true_instances=instances,
    )
    score = instance_metrics([scene], InstanceOptions(classes={0: "thing"}, smallest=5))
    assert 0 <= score.ap <= score.ap50 <= score.ap25 <= 1


@settings(max_examples=10)
@given(SEEDS)
def test_names_of_instances_do_not_matter(seed: int) -> None:
    draw = np.random.default_rng(seed)
    instances = draw.integers(0, 5, 120)
    scene = InstanceScene(
        masks=draw.random((4, 120)) < 0.3,
        labels=draw.integers(0, 2, 4),
        scores=draw.random(4),
        true_labels=(instances % 2).astype(np.int64),
        true_instances=instances,
    )
    renamed = InstanceScene(**{**scene.__dict__, "true_instances": 7 + 3 * draw.permutation(5)[instances]})
    options = InstanceOptions(classes={0: "a", 1: "b"}, smallest=5)
    assert instance_metrics([renamed], options) == instance_metrics([scene], options)
