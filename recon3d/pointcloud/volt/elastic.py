"""Elastic distortion: smooth random displacements of the space that a scene lies in."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import convolve1d


def elastic_noise_shape(xyz: Float64[np.ndarray, "n 3"], granularity: float) -> tuple[int, int, int, int]:
    """Return the shape of the noise for points: knots of the given spacing along x, y, z, and three displacements."""
    x, y, z = ((xyz.max(axis=0) - xyz.min(axis=0)) // granularity).astype(int) + 3
    return int(x), int(y), int(z), 3


def elastically_moved(
    xyz: Float64[np.ndarray, "n 3"], noise: Float32[np.ndarray, "x y z 3"], granularity: float, magnitude: float
) -> Float64[np.ndarray, "n 3"]:
    """Return points moved by noise that is blurred twice over three knots per axis and interpolated linearly.

    Args:
        xyz: the points, metres, ``[n,3]``.
        noise: normal numbers of the shape of :func:`elastic_noise_shape`.
        granularity: metres between knots.
        magnitude: metres that noise of 1 moves.
    """
    third = np.full(3, np.float32(1) / np.float32(3))
    for axis in (0, 1, 2, 0, 1, 2):
        noise = convolve1d(noise, third, axis=axis, mode="constant")
    low, counts = xyz.min(axis=0), np.array(noise.shape[:3])
    knots = [np.linspace(low[i] - granularity, low[i] + granularity * (counts[i] - 2), counts[i]) for i in range(3)]
    moves = RegularGridInterpolator(tuple(knots), noise, bounds_error=False, fill_value=0.0)(xyz)
    return np.asarray(xyz + moves * magnitude, np.float64)
