"""Normals of points that come without them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from recon3d.pointcloud.clouds.neighbours import estimate_normals
from recon3d.pointcloud.clouds.types import PointCloud


def upward_normals(xyz: Float64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
    """Return a unit normal per point, turned upwards; (0, 0, 1) where there are fewer than three points.

    Args:
        xyz: positions, finite, ``[n,3]``.
    """
    found = estimate_normals(PointCloud(xyz=xyz), viewpoint=None).attributes["normals"]
    upward: np.ndarray = np.where(np.isfinite(found), found, np.array([0, 0, 1], np.float32))
    return upward
