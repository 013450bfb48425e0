from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.boxes import nms_bev, nms_bev_by_class, rotated_iou_bev


def crowd(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    boxes = np.column_stack([draw.uniform(-8, 8, (n, 3)), draw.uniform(1, 4, (n, 3)), draw.uniform(-3, 3, n)])
    return boxes, draw.integers(0, 6, n) / 8  # many equal scores


def by_hand(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    overlaps, kept = rotated_iou_bev(boxes, boxes), []
    for row in np.lexsort((*boxes.T, -scores)).tolist():
        if all(overlaps[row, better] <= threshold for better in kept):
            kept.append(row)
    return kept


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.3, 0.7]))
def test_it_is_the_plain_greedy_rule(seed: int, threshold: float) -> None:
    boxes, scores = crowd(30, seed)
    assert nms_bev(boxes, scores, threshold).tolist() == by_hand(boxes, scores, threshold)


@given(st.integers(0, 1000))
def test_the_order_of_the_boxes_does_not_matter(seed: int) -> None:
    boxes, scores = crowd(40, seed)
    mixed = np.random.default_rng(seed).permutation(40)
    kept = nms_bev(boxes, scores, 0.2)
    assert mixed[nms_bev(boxes[mixed], scores[mixed], 0.2)].tolist() == kept.tolist()
    assert nms_bev(boxes[kept], scores[kept], 0.2).tolist() == list(range(len(kept)))  # nothing more to suppress


def test_threshold_one_keeps_all_and_duplicates_collapse() -> None:
    boxes, scores = crowd(10, 0)
    double, twice = np.concatenate([boxes, boxes]), np.concatenate([scores, scores])
    assert len(nms_bev(double, twice, 1.0)) == 20
    assert len(nms_bev(double, twice, 0.999)) == 10


def test_limits() -> None:
    boxes, scores = crowd(50, 1)
    every = nms_bev(boxes, scores, 0.1)
    assert nms_bev(boxes, scores, 0.1, max_kept=3).tolist() == every[:3].tolist()
    first = np.lexsort((*boxes.T, -scores))[:20]
    assert (
        nms_bev(boxes, scores, 0.1, max_before=20).tolist() == first[nms_bev(boxes[first], scores[first], 0.1)].tolist()
    )
    assert not len(nms_bev(boxes, scores, 0.1, max_kept=0))


def test_classes_do_not_compete() -> None:
    boxes, scores = crowd(60, 2)
    labels = np.arange(60) % 3
    kept = nms_bev_by_class(boxes, scores, labels, [0.8, 0.3, 0.1], max_kept=[2, 50, 50])
    parts = []
    for label, threshold in enumerate([0.8, 0.3, 0.1]):
        rows = np.flatnonzero(labels == label)
        parts.append(rows[nms_bev(boxes[rows], scores[rows], threshold, max_kept=2 if label == 0 else None)])
    assert kept.tolist() == np.concatenate(parts).tolist()
    tensors = [torch.from_numpy(one) for one in (boxes, scores, labels)]
    assert nms_bev_by_class(*tensors, [0.8, 0.3, 0.1], max_kept=[2, 50, 50]).tolist() == kept.tolist()


def test_tensors_and_empty_input() -> None:
    boxes, scores = crowd(30, 3)
    kept = nms_bev(torch.from_numpy(boxes), torch.from_numpy(scores), 0.2)
    assert kept.dtype is torch.int64
    assert kept.tolist() == nms_bev(boxes, scores, 0.2).tolist()
    assert nms_bev(torch.zeros(0, 9), torch.zeros(0), 0.5).shape == (0,)
    assert nms_bev_by_class(np.zeros((0, 7)), np.zeros(0), np.zeros(0, np.int64), [0.5]).shape == (0,)


def test_bad_input() -> None:
    boxes, scores = crowd(4, 4)
    with pytest.raises(InputError, match="scores holds a number that is not finite"):
        nms_bev(boxes, np.array([0, 1, np.nan, 0]), 0.5)
    with pytest.raises(UsageError, match="must not be negative"):
        nms_bev(boxes, scores, -0.1)
    with pytest.raises(UsageError, match="a label has no threshold"):
        nms_bev_by_class(boxes, scores, np.array([0, 1, 2, 0]), [0.5, 0.5])
    with pytest.raises(ShapeError, match="one limit per class"):
        nms_bev_by_class(boxes, scores, np.array([0, 1, 1, 0]), [0.5, 0.5], max_kept=[3])


@pytest.mark.usefixtures("without_shape_checks")
def test_other_numbers_of_scores_or_labels() -> None:
    boxes, scores = crowd(4, 4)
    with pytest.raises(ShapeError, match="one score per box"):
        nms_bev(boxes, scores[:3], 0.5)
    with pytest.raises(ShapeError, match="one label per box"):
        nms_bev_by_class(boxes, scores, np.zeros(3, np.int64), [0.5])
