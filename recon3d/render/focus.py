"""What cameras look at: the point closest to their optical axes, which way is up, and how the photos are turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.trajectories import look_at, spread_of

_MAX_TILT_DEG = 35.0  # beyond, the world is not levelled, and the cameras say where up is
_PRIOR = 0.02  # weight of the middle of the scene against one optical axis: decides where the axes are parallel
_Z = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Focus:
    """What cameras look at.

    Args:
        target: the point closest to their optical axes, world units.
        up: unit vector about which an orbit turns.
        is_inward: they look at the target; otherwise they look away from a place in their middle.
        roll: by how much the photos are turned against ``up``, radians, a multiple of a quarter turn.
    """

    target: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]
    is_inward: bool
    roll: float = 0.0


def find_focus(cameras: Cameras, points: Float64[np.ndarray, "p 3"] | None = None) -> Focus:
    """Return the point closest to the optical axes, by least squares with falling weights for axes that miss it.

    Args:
        cameras: at least one.
        points: points of the scene, world units; they decide the distance where the axes are all but parallel.

    Raises:
        UsageError: there is no camera.
    """
    if not len(cameras):
        raise UsageError("an orbit needs at least one camera")
    centers, axes = cameras.centers, cameras.cam_from_world[:, 2, :3]
    depth = _typical_depths(cameras, points)
    middle = _spatial_median(centers + depth[:, None] * axes)
    target = _closest_to_axes(centers, axes, middle)
    ahead = np.einsum("ni,ni->n", target - centers, axes)
    is_inward = bool(np.median(ahead / depth) > 0.3)
    up = _up(cameras)
    if not is_inward:
        return Focus(_spatial_median(centers), up, False)
    axis = _ring_axis(centers, up)
    return Focus(target, up, True) if axis is None else Focus(target, axis, True, _roll(cameras, target, axis))


def _typical_depths(cameras: Cameras, points: Float64[np.ndarray, "p 3"] | None) -> Float64[np.ndarray, " n"]:
    """Return the median depth of the points that each camera sees; the spread of the cameras where none is known."""
    centers = cameras.centers
    depths = np.full(len(cameras), np.nan)
    chosen = np.zeros((0, 3)) if points is None else points[:: max(1, len(points) // 5000)]
    for index in range(len(cameras) if len(chosen) else 0):
        pixels, depth = cameras.pinhole().project(chosen, np.full(len(chosen), index))
        limit = np.array([cameras.width[index], cameras.height[index]])
        seen = depth[((pixels > 0) & (pixels < limit)).all(axis=1) & (depth > 0)]
        if len(seen):
            depths[index] = np.median(seen)
    known = depths[np.isfinite(depths)]
    return np.where(np.isfinite(depths), depths, np.median(known) if len(known) else spread_of(centers))


def _spatial_median(points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "3"]:
    """Return the point with the least sum of distances (Weiszfeld 1937); it turns with the world, unlike medians."""
    middle = points.mean(axis=0)
    for _ in range(50):
        distance = np.linalg.norm(points - middle, axis=1)
        weight = 1 / np.maximum(distance, 1e-6 * float(distance.max()) + 1e-300)
        middle = weight @ points / weight.sum()
    return np.asarray(middle)


def _closest_to_axes(
    centers: Float64[np.ndarray, "n 3"], axes: Float64[np.ndarray, "n 3"], middle: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "3"]:
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    target, weight = middle, np.ones(len(centers))
    for _ in range(20):
        matrix = np.einsum("n,nij->ij", weight, across) + _PRIOR * weight.sum() * np.eye(3)
        vector = np.einsum("n,nij,nj->i", weight, across, centers) + _PRIOR * weight.sum() * middle
        target = np.linalg.solve(matrix, vector)
        miss = np.linalg.norm(np.einsum("nij,nj->ni", across, target - centers), axis=1)
        weight = 1 / np.maximum(miss, 1e-3 * float(miss.max()) + 1e-12)
    return target


def _up(cameras: Cameras) -> Float64[np.ndarray, "3"]:
    mean = -cameras.cam_from_world[:, 1, :3].mean(axis=0)
    length = float(np.linalg.norm(mean))
    levelled = mean[2] >= np.cos(np.radians(_MAX_TILT_DEG)) * length
    return _Z if levelled or length < 0.2 else mean / length


def _ring_axis(centers: Float64[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"] | None:
    """Return the axis of cameras that stand on an arc about something else than the vertical: photos on their side."""
    if len(centers) < 3:
        return None
    _, spread, axes = np.linalg.svd(centers - centers.mean(axis=0), full_matrices=False)
    is_arc = spread[2] < 0.2 * spread[1] and spread[1] > 0.05 * spread[0]
    axis = axes[2]
    return np.asarray(axis if axis @ up >= 0 else -axis) if is_arc and abs(axis @ up) < np.sqrt(0.5) else None


def _roll(cameras: Cameras, target: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"]) -> float:
    level = look_at(cameras.centers, target, up)
    photo_up = -cameras.cam_from_world[:, 1, :3]
    right, above = (np.einsum("ni,ni->n", photo_up, level[:, row, :3]) for row in (0, 1))
    turn = np.arctan2(right.sum(), -above.sum())
    return float(np.rint(turn / (np.pi / 2)) * np.pi / 2)
