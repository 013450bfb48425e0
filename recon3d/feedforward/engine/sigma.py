"""From a network's confidence to a standard deviation of its depth, learned from truth or from other photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from scipy.special import ndtri

from recon3d.core.errors import UsageError
from recon3d.feedforward.engine.agreement import Maps, overlapping, seen_by

_N_BINS = 8
_MIN_SAMPLES = 50  # in a bin
_SAMPLES = 2000  # pixels of a photo that are compared with another
_N_NEIGHBOURS = 4
_FLOOR = 1e-4
ROBUST, ONE_SIGMA = 0.5, 0.6827
UNKNOWN = 0.2  # of the depth, where nothing tells


@dataclass(frozen=True)
class SigmaTable:
    """Relative standard deviation of a depth by the network's confidence.

    Args:
        confidence: ascending.
        relative: sigma over depth at those, never rising.
        source: where it was learned, in plain words.
    """

    confidence: tuple[float, ...]
    relative: tuple[float, ...]
    source: str

    def __post_init__(self) -> None:
        wrong = len(self.confidence) != len(self.relative) or not self.relative or min(self.relative) <= 0
        if wrong or (np.diff(self.confidence) <= 0).any():
            raise UsageError("a table of sigmas is wrong", got=self, expected="ascending confidences, positive sigmas")

    def sigma(
        self, depth_z: Float32[np.ndarray, "*n"], confidence: Float32[np.ndarray, "*n"]
    ) -> Float32[np.ndarray, "*n"]:
        """Return one standard deviation of each depth, in its unit."""
        relative = np.interp(confidence, self.confidence, np.log(self.relative))
        return np.asarray(depth_z * np.exp(relative), np.float32)


def fit_table(
    confidence: Float64[np.ndarray, " m"], error: Float64[np.ndarray, " m"], source: str, level: float = ROBUST
) -> SigmaTable | None:
    """Return the table that samples suggest; None where there are too few.

    In each of some bins with equal numbers of samples, the robust spread of the errors; then a fit that never rises,
    because a higher confidence cannot mean less.

    Args:
        confidence: of each sample.
        error: its relative error, of either sign.
        source: where the samples come from.
        level: share of the errors whose largest decides: the median where half of them may be mistakes, 68.3 % where
            all of them count.
    """
    good = np.isfinite(confidence) & np.isfinite(error)
    confidence, error = confidence[good], np.abs(error[good])
    if len(confidence) < _MIN_SAMPLES:
        return None
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, min(_N_BINS, len(confidence) // _MIN_SAMPLES) + 1)))
    number = np.digitize(confidence, edges[1:])  # by value, so that equal confidences share a bin
    bins = [rows for k in range(len(edges)) if len(rows := np.flatnonzero(number == k)) >= _MIN_SAMPLES]
    bins = bins or [np.arange(len(error))]
    centre = np.array([np.median(confidence[rows]) for rows in bins])
    spread = np.array([np.quantile(error[rows], level) for rows in bins]) / ndtri((1 + level) / 2)
    spread = _never_rising(np.maximum(spread, _FLOOR))
    centre, first = np.unique(centre, return_index=True)
    return SigmaTable(tuple(centre.tolist()), tuple(spread[first].tolist()), source)


def table_of_views(maps: Maps, confidence: Float32[np.ndarray, "s h w"]) -> SigmaTable | None:
    """Return the table by which the depth maps of overlapping photos differ; None where too little overlaps.

    Both depths of a difference are uncertain, so it is taken as root two times the sigma of one. Errors that all photos
    share cannot be seen in this way.

    Args:
        maps: depth maps.
        confidence: of their pixels.
    """
    samples, errors = [], []
    for first, second in overlapping(maps, _N_NEIGHBOURS):
        known = np.flatnonzero(maps.depth_z[first])
        seen = seen_by(maps, first, second, known[:: max(1, len(known) // _SAMPLES)])
        samples.append(confidence[first].ravel()[seen.pixel].astype(np.float64))
        errors.append(seen.relative / np.sqrt(2.0))
    if not samples:
        return None
    return fit_table(np.concatenate(samples), np.concatenate(errors), "agreement of overlapping photos")


def _never_rising(values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Return the closest values in the least-squares sense that do not rise (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            (later, n_later), (earlier, n_earlier) = blocks.pop(), blocks.pop()
            n = n_earlier + n_later
            blocks.append(((earlier * n_earlier + later * n_later) / n, n))
    return np.concatenate([np.full(n, value) for value, n in blocks])
