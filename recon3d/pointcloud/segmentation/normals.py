"""Normals of points that come without them: the direction in which a point's neighbours spread least."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from scipy.spatial import cKDTree

_ROWS = 1 << 17
_NEIGHBOURS = 16
_FEW = 3


def estimated_normals(xyz: Float64[np.ndarray, "n 3"], neighbours: int = _NEIGHBOURS) -> Float32[np.ndarray, "n 3"]:
    """Return a unit normal per point, with z not negative; (0, 0, 1) where there are fewer than three points.

    Args:
        xyz: positions, finite, ``[n,3]``.
        neighbours: points of a neighbourhood, the point itself included.
    """
    found = np.tile(np.array([0, 0, 1], np.float32), (len(xyz), 1))
    if len(xyz) < _FEW:
        return found
    tree, k = cKDTree(xyz), min(neighbours, len(xyz))
    for start in range(0, len(xyz), _ROWS):
        part = xyz[start : start + _ROWS]
        found[start : start + _ROWS] = _least_axes(xyz[tree.query(part, k)[1]])
    return found


def _least_axes(near: Float64[np.ndarray, "m k 3"]) -> Float32[np.ndarray, "m 3"]:
    away = near - near.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("mki,mkj->mij", away, away))[1][:, :, 0]
    upward: np.ndarray = np.where(normals[:, 2:] < 0, -normals, normals)
    return upward.astype(np.float32)
