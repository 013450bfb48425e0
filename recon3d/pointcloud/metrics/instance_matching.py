"""Which predicted masks are right at an overlap, as ScanNet decides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassScene:
    """Masks and true instances of one class in one scene; numbers of points.

    Args:
        scores: of the masks, descending, ``[m]``.
        sizes: of the masks, ``[m]``.
        true_sizes: of the instances that count, ``[t]``.
        common: of masks and instances, ``[m,t]``.
        ignorable: of each mask on void and on instances that are too small, ``[m]``.
    """

    scores: Float64[np.ndarray, " m"]
    sizes: Float64[np.ndarray, " m"]
    true_sizes: Float64[np.ndarray, " t"]
    common: Float64[np.ndarray, "m t"]
    ignorable: Float64[np.ndarray, " m"]


class Ranking(NamedTuple):
    """What the curve of precision over recall needs.

    Args:
        scores: of the masks that count.
        right: which of them are right.
        n_truths: how many instances there are.
        n_missed: how many of them no mask found.
    """

    scores: Float64[np.ndarray, " k"]
    right: Bool[np.ndarray, " k"]
    n_truths: int
    n_missed: int


def rank(scene: ClassScene, least: float) -> Ranking:
    """Return which masks are right: of those that fit an instance, the surest; the others are wrong.

    Args:
        scene: masks and instances of one class.
        least: overlap that a match must exceed.
    """
    overlaps = scene.common / (scene.sizes[:, None] + scene.true_sizes[None] - scene.common)
    fits = overlaps > least
    used = np.zeros(len(scene.scores), np.bool_)
    right, wrong = [], []
    for truth in range(len(scene.true_sizes)):
        rows = np.flatnonzero(fits[:, truth] & ~used)
        right += rows[:1].tolist()
        wrong += rows[1:].tolist()
        used[rows[:1]] = True
    share = scene.ignorable / np.maximum(scene.sizes, 1)
    wrong += np.flatnonzero(~fits.any(1) & (share <= least)).tolist()
    flags = np.repeat([True, False], [len(right), len(wrong)])
    chosen = np.array([*right, *wrong], np.int64)
    return Ranking(scene.scores[chosen], flags, len(scene.true_sizes), len(scene.true_sizes) - len(right))
