"""Semantic segmentation: intersection over union and accuracy of point labels, summed over a whole split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from recon3d.core.errors import ShapeError, UsageError

_TINY = 1e-10  # of the reference; a class that never occurs counts as 0


@dataclass(frozen=True, eq=False, kw_only=True)
class SemanticScore:
    """How well points are labelled.

    Args:
        mean_iou: over the classes.
        mean_accuracy: over the classes.
        accuracy: share of all points that are right.
        iou: by class, ``[c]``.
        class_accuracy: share of the points of each class that are right, ``[c]``.
    """

    mean_iou: float
    mean_accuracy: float
    accuracy: float
    iou: Float64[np.ndarray, " c"]
    class_accuracy: Float64[np.ndarray, " c"]


class SemanticCounts:
    """Counts of points by true and predicted class; scenes are added one by one.

    Args:
        n_classes: how many classes there are.
        ignored: true label of the points that do not count.

    Raises:
        UsageError: no class.
    """

    def __init__(self, n_classes: int, ignored: int = -1) -> None:
        if n_classes < 1:
            raise UsageError("there must be a class", got=n_classes)
        self.ignored = ignored
        # Rows are truths; the last column counts predictions that are no class.
        self.counts: Int64[np.ndarray, "c c+1"] = np.zeros((n_classes, n_classes + 1), np.int64)

    def add(self, predicted: Int[np.ndarray, " n"], truth: Int[np.ndarray, " n"]) -> None:
        """Add the points of a scene.

        Args:
            predicted: class of each point; where it is no class, the point counts as wrong.
            truth: class of each point, or the ignored label.

        Raises:
            ShapeError: different numbers of points.
            UsageError: a truth that is neither a class nor ignored.
        """
        if predicted.shape != truth.shape:
            raise ShapeError("there must be one prediction per point", got=predicted.shape, expected=truth.shape)
        n = len(self.counts)
        counted = truth != self.ignored
        there, found = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
        if len(there) and not (there.min() >= 0 and there.max() < n):
            raise UsageError(
                "a true label is no class", got=(int(there.min()), int(there.max())), expected=f"0 to {n - 1}"
            )
        found = np.where((found < 0) | (found >= n), n, found)
        self.counts += np.bincount(there * (n + 1) + found, minlength=n * (n + 1)).reshape(n, n + 1)

    def score(self, *, skip_absent: bool = False) -> SemanticScore:
        """Return the score of all points so far.

        Args:
            skip_absent: leave classes that are neither there nor predicted out of the means, instead of counting them
                as 0 as the reference does.
        """
        right, there = self.counts.diagonal().astype(np.float64), self.counts.sum(1).astype(np.float64)
        union = there + self.counts[:, :-1].sum(0) - right
        iou, of_class = right / (union + _TINY), right / (there + _TINY)
        counted = union > 0 if skip_absent and union.any() else np.ones(len(union), np.bool_)
        return SemanticScore(
            mean_iou=float(iou[counted].mean()),
            mean_accuracy=float(of_class[counted].mean()),
            accuracy=float(right.sum() / (there.sum() + _TINY)),
            iou=iou,
            class_accuracy=of_class,
        )
