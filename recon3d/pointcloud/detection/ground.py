"""How high a sensor stands over the ground, from its points alone: a check, not a map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from recon3d.core.errors import ResultError
from recon3d.pointcloud.clouds.ground import GroundOptions, find_ground
from recon3d.pointcloud.clouds.types import PointCloud

_NEAR, _FAR = 3.0, 25.0  # metres; nearer is the vehicle itself, farther the ground may rise
_FEW, _SHARE = 300, 0.1
_OPTIONS = GroundOptions(hypotheses=128, max_tilt_deg=10.0)


def sensor_height(xyz: Float[np.ndarray, "n 3"]) -> float | None:
    """Return the height of the origin over the plane that most points around it lie on; None where there is no such.

    Args:
        xyz: points with z up, metres.
    """
    away = np.linalg.norm(xyz[:, :2], axis=1)
    near = xyz[(away > _NEAR) & (away < _FAR)].astype(np.float64)
    if len(near) < _FEW:
        return None
    try:
        plane = find_ground(PointCloud(xyz=near), _OPTIONS)
    except ResultError:
        return None
    return float(plane.offset / plane.normal[2]) if plane.inliers.mean() > _SHARE else None
