"""Whether a surface is an object that was photographed from all sides, so that it can be closed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

_MAX_GAP_DEG = 120.0
_SECTORS = 6
_MIN_SECTOR_SHARE = 0.03
_SIDEWAYS = 0.8
_OUTSIDE = 0.9
_TRIM = 0.01


def is_seen_all_round(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], centers: Float64[np.ndarray, "n 3"]
) -> bool:
    """Return whether cameras went round an object, and its surface looks to all sides.

    The cameras must lie outside the box of the surface and leave no gap of 120 degrees around it, and in each of six
    directions around the axis of their path at least 3 % of the surface must face outwards. A facade, a room from
    inside and a landscape are no such object.

    Args:
        vertices: of the surface, in the world of the cameras, ``[v,3]``.
        faces: counter-clockwise seen from outside, ``[f,3]``.
        centers: camera centres, ``[n,3]``.
    """
    if len(faces) == 0 or not is_surrounded(vertices, centers):
        return False
    return _faces_all_ways(vertices, faces, _directions(vertices, centers)[1])


def is_surrounded(vertices: Float[np.ndarray, "v 3"], centers: Float64[np.ndarray, "n 3"]) -> bool:
    """Return whether cameras lie outside the box of some points, and leave no gap of 120 degrees around it.

    Args:
        vertices: the points, in the world of the cameras, ``[v,3]``.
        centers: camera centres, ``[n,3]``.
    """
    if len(centers) < 3 or len(vertices) == 0:
        return False
    low, high = np.quantile(vertices, [_TRIM, 1 - _TRIM], axis=0)
    outside = ((centers < low) | (centers > high)).any(axis=1)
    if outside.mean() < _OUTSIDE:
        return False
    away, axes = _directions(vertices, centers)
    angles = np.sort(np.degrees(np.arctan2(away @ axes[1], away @ axes[0])))
    gaps = np.diff(np.append(angles, angles[0] + 360.0))
    return bool(gaps.max() <= _MAX_GAP_DEG)


def _directions(
    vertices: Float[np.ndarray, "v 3"], centers: Float64[np.ndarray, "n 3"]
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "3 3"]]:
    """Return the directions towards the cameras, and the axes of their path, the last across it, as rows."""
    low, high = np.quantile(vertices, [_TRIM, 1 - _TRIM], axis=0)
    away = centers - (low + high) / 2
    away = away / np.linalg.norm(away, axis=1, keepdims=True)
    return away, np.linalg.svd(away - away.mean(axis=0))[2]


def _faces_all_ways(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], axes: Float64[np.ndarray, "3 3"]
) -> bool:
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    area = np.linalg.norm(across, axis=1)
    sideways = np.abs(across @ axes[2]) <= _SIDEWAYS * area
    angle = np.arctan2(across @ axes[1], across @ axes[0])
    sector = np.minimum(((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(np.int64), _SECTORS - 1)
    shares = np.bincount(sector[sideways], area[sideways], minlength=_SECTORS) / max(float(area.sum()), 1e-300)
    return bool(shares.min() >= _MIN_SECTOR_SHARE)
