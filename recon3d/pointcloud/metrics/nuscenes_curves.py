"""Precision and errors over the recall, as nuScenes samples and averages them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

ERRORS = ("ATE", "ASE", "AOE", "AVE", "AAE")
_N_SAMPLES, _FIRST = 101, 11  # recalls 0, 0.01 to 1; those up to 0.1 do not count
_LEAST_PRECISION = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Hits:
    """The predictions of one class, the surest first.

    Args:
        n_truths: how many there are to be found.
        scores: of the predictions, descending, ``[p]``.
        hit: which of them found a truth, ``[p]``.
        errors: of those, in the same order; NaN = unknown. ``[hits,5]``.
    """

    n_truths: int
    scores: Float64[np.ndarray, " p"]
    hit: Bool[np.ndarray, " p"]
    errors: Float64[np.ndarray, "h 5"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Curves:
    """What holds at 101 recalls.

    Args:
        precision: 0 beyond the largest recall.
        scores: of the prediction that reaches the recall; 0 beyond the largest.
        errors: means over the hits up to there.
    """

    precision: Float64[np.ndarray, " 101"]
    scores: Float64[np.ndarray, " 101"]
    errors: Float64[np.ndarray, "101 5"]


def sampled_curves(hits: Hits) -> Curves:
    """Return the curves of one class at one distance; without a hit, precision 0 and errors 1.

    Args:
        hits: of all predictions of the class.
    """
    if not hits.hit.any():
        zeros = np.zeros(_N_SAMPLES)
        return Curves(precision=zeros, scores=zeros, errors=np.ones((_N_SAMPLES, len(ERRORS))))
    right = hits.hit.cumsum()
    recall, precision = right / hits.n_truths, right / np.arange(1, len(right) + 1)
    samples = np.linspace(0, 1, _N_SAMPLES)
    scores = np.interp(samples, recall, hits.scores, right=0)
    sure = hits.scores[hits.hit]
    errors = [np.interp(scores[::-1], sure[::-1], _running_mean(one)[::-1])[::-1] for one in hits.errors.T]
    precision = np.interp(samples, recall, precision, right=0)
    return Curves(precision=precision, scores=scores, errors=np.stack(errors, 1))


def _running_mean(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return the mean of all known values so far; 0 before the first, and 1 everywhere where none is known."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    means: Float64[np.ndarray, " n"] = np.nancumsum(values) / np.maximum(known.cumsum(), 1)
    return means


def average_precision(curves: Curves) -> float:
    """Return the mean of the precision above 0.1 at recalls above 0.1, stretched to 0..1.

    Args:
        curves: of one class at one distance.
    """
    above = np.maximum(curves.precision[_FIRST:] - _LEAST_PRECISION, 0)
    return float(above.mean()) / (1 - _LEAST_PRECISION)


def mean_error(curves: Curves, name: str) -> float:
    """Return the mean of an error over the recalls from 0.11 to the largest; 1 where that is never reached.

    Args:
        curves: of one class at one distance.
        name: one of ``ERRORS``.
    """
    reached = np.flatnonzero(curves.scores)
    last = int(reached[-1]) if len(reached) else 0
    return 1.0 if last < _FIRST else float(curves.errors[_FIRST : last + 1, ERRORS.index(name)].mean())
