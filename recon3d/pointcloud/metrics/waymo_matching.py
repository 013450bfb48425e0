"""Who found whom: the assignment with the largest sum of overlaps, at every cutoff of the score."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.optimize import linear_sum_assignment

_RESOLUTION = 1e6  # overlaps are rounded to this, as in the official tool


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidates:
    """Predictions and truths of one frame and class.

    Args:
        overlaps: in 3D, ``[p,t]``.
        least: overlap of a match.
        heading_accuracy: 1 - |difference| / pi, ``[p,t]``.
        scores: of the predictions, ``[p]``.
        harmless: predictions that are no false positives when they match nothing, ``[p]``.
        levels: difficulty of the truths, 1 or 2, ``[t]``.
    """

    overlaps: Float64[np.ndarray, "p t"]
    least: float
    heading_accuracy: Float64[np.ndarray, "p t"]
    scores: Float64[np.ndarray, " p"]
    harmless: Bool[np.ndarray, " p"]
    levels: Int64[np.ndarray, " t"]


def matched_counts(candidates: Candidates, cutoffs: Float32[np.ndarray, " c"]) -> Float64[np.ndarray, "c 5"]:
    """Return, for each cutoff: hits, sum of their heading accuracies, false positives, misses of level 1, all misses.

    Args:
        candidates: of one frame and class.
        cutoffs: least scores, ascending.
    """
    until = np.searchsorted(cutoffs, candidates.scores.astype(np.float32), side="right")  # cutoffs that it passes
    pairs = _matches(candidates, until)
    first, last, found, there = pairs.T
    changes = np.zeros((len(cutoffs) + 1, 5))
    _add(changes, np.zeros_like(until), until, ~candidates.harmless, 2)
    changes[0, 3:] += (candidates.levels <= 1).sum(), len(candidates.levels)
    _add(changes, first, last, np.ones(len(pairs)), 0)
    _add(changes, first, last, candidates.heading_accuracy[found, there], 1)
    _add(changes, first, last, -1.0 * ~candidates.harmless[found], 2)
    _add(changes, first, last, -1.0 * (candidates.levels[there] <= 1), 3)
    _add(changes, first, last, -np.ones(len(pairs)), 4)
    return changes.cumsum(0)[:-1]


def _add(changes: np.ndarray, first: np.ndarray, last: np.ndarray, amounts: np.ndarray, column: int) -> None:
    """Add amounts to the cutoffs from ``first`` to below ``last``, as changes from one cutoff to the next."""
    np.add.at(changes[:, column], first, amounts)
    np.subtract.at(changes[:, column], last, amounts.astype(np.float64))


def _matches(candidates: Candidates, until: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, "m 4"]:
    """Return matches as rows: first cutoff, cutoff after the last one, prediction, truth."""
    weights = np.where(candidates.overlaps >= candidates.least, np.round(candidates.overlaps * _RESOLUTION), 0.0)
    linked = weights > 0
    alone = linked & (linked.sum(1, keepdims=True) == 1) & (linked.sum(0) == 1)
    rows, cols = np.nonzero(alone)
    found = [np.column_stack([np.zeros_like(rows), until[rows], rows, cols])]
    rivals, wanted = np.flatnonzero((linked & ~alone).any(1)), np.flatnonzero((linked & ~alone).any(0))
    bounds = np.unique(np.append(until[rivals], 0))
    for first, last in pairwise(bounds.tolist()):
        present = rivals[until[rivals] >= last]
        chosen = weights[np.ix_(present, wanted)]
        rows, cols = linear_sum_assignment(chosen, maximize=True)
        real = chosen[rows, cols] > 0
        rows, cols = present[rows[real]], wanted[cols[real]]
        found.append(np.column_stack([np.full_like(rows, first), np.full_like(rows, last), rows, cols]))
    return np.concatenate(found).astype(np.int64)
