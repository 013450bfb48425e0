"""Non-maximum suppression: of boxes that overlap from above, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import kernel
from recon3d.pointcloud.boxes.arrays import Array, as_given, as_rows
from recon3d.pointcloud.boxes.clipping import common_area, prepared


def nms_bev(
    boxes: Float[Array, "n c"],
    scores: Float[Array, " n"],
    threshold: float,
    *,
    max_before: int | None = None,
    max_kept: int | None = None,
) -> Int64[Array, " k"]:
    """Return the boxes that stay, best first: greedily, those that overlap no better one by more than a threshold.

    Which boxes stay does not depend on the order in which they are given: equal scores are ordered by the numbers of
    their boxes.

    Args:
        boxes: oriented boxes ``[n,7]``; more columns are left out.
        scores: larger is better, ``[n]``.
        threshold: of the intersection over union of the rotated rectangles; with 1, all stay.
        max_before: only so many of the best take part; None = all.
        max_kept: at most so many stay; None = all.

    Returns:
        Rows of ``boxes``, ``[k]``.

    Raises:
        ShapeError: fewer than seven columns, or another number of scores.
        InputError: a number is not finite.
        UsageError: a threshold or limit that is negative.
    """
    rows, values = as_rows(boxes, 7, "boxes"), as_rows(scores[:, None], 1, "scores")[:, 0]
    kept = _suppressed(rows, values, threshold, max_before, max_kept)
    return as_given(kept, boxes)


def nms_bev_by_class(
    boxes: Float[Array, "n c"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"],
    thresholds: Sequence[float],
    *,
    max_before: Sequence[int] | None = None,
    max_kept: Sequence[int] | None = None,
) -> Int64[Array, " k"]:
    """Return the boxes that stay when only boxes of the same class compete: class by class, each best first.

    Args:
        boxes: oriented boxes ``[n,7]``; more columns are left out.
        scores: larger is better, ``[n]``.
        labels: class of each box, an index into ``thresholds``, ``[n]``.
        thresholds: of the overlap, one per class.
        max_before: of each class, only so many of the best take part; None = all.
        max_kept: of each class, at most so many stay; None = all.

    Returns:
        Rows of ``boxes``, ``[k]``.

    Raises:
        ShapeError: fewer than seven columns, or other numbers of scores, labels or limits.
        InputError: a number is not finite.
        UsageError: a label without threshold, or a threshold or limit that is negative.
    """
    rows, values = as_rows(boxes, 7, "boxes"), as_rows(scores[:, None], 1, "scores")[:, 0]
    classes = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    befores, keeps = _per_class(max_before, len(thresholds)), _per_class(max_kept, len(thresholds))
    if classes.shape != values.shape:
        raise ShapeError("there must be one label per box", got=classes.shape, expected=values.shape)
    if ((classes < 0) | (classes >= len(thresholds))).any():
        raise UsageError("a label has no threshold", got=sorted(set(classes.tolist())), expected=len(thresholds))
    kept = [np.zeros(0, np.int64)]
    for label, limits in enumerate(zip(thresholds, befores, keeps, strict=True)):
        members = np.flatnonzero(classes == label)
        kept.append(members[_suppressed(rows[members], values[members], *limits)])
    return as_given(np.concatenate(kept), boxes)


def _per_class(limits: Sequence[int] | None, n_classes: int) -> Sequence[int | None]:
    if limits is None:
        return [None] * n_classes
    if len(limits) != n_classes:
        raise ShapeError("there must be one limit per class", got=len(limits), expected=n_classes)
    return limits


def _suppressed(
    boxes: Float64[np.ndarray, "n 7"],
    scores: Float64[np.ndarray, " n"],
    threshold: float,
    max_before: int | None,
    max_kept: int | None,
) -> Int64[np.ndarray, " k"]:
    if len(boxes) != len(scores):
        raise ShapeError("there must be one score per box", got=len(scores), expected=len(boxes))
    if min(threshold, max_before or 0, max_kept or 0) < 0:
        raise UsageError("thresholds and limits must not be negative", got=(threshold, max_before, max_kept))
    order = np.lexsort((*boxes.T, -scores))[:max_before]
    most = len(order) if max_kept is None else max_kept
    kept = _greedy(prepared(boxes[order]), boxes[order, 3] * boxes[order, 4], threshold, most, np.empty((2, 2, 12)))
    chosen: Int64[np.ndarray, " k"] = order[kept].astype(np.int64)
    return chosen


@kernel(order="written")
@no_type_check
def _greedy(boxes, areas, threshold, most, scratch):
    """Return which of the boxes, best first, stay; each is compared with those that already do."""
    kept = np.zeros(min(len(boxes), most), np.int64)
    count = 0
    for row in range(len(boxes)):
        if count == len(kept):
            break
        stays = True
        for place in range(count):
            better = kept[place]
            common = common_area(boxes, better, boxes, row, scratch)
            if common > threshold * (areas[better] + areas[row] - common) and threshold < 1:
                stays = False
                break
        if stays:
            kept[count] = row
            count += 1
    return kept[:count]
