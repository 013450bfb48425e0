"""The plane of the ground, by seeded random samples and a fit to what they find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.core.seeds import generator
from recon3d.pointcloud.clouds.types import PointCloud

_SCORED = 8192
_BLOCK = 64
_FITS = 4
_BELOW = 2  # a point below the ground counts against it as much as this many on it for it


@dataclass(frozen=True)
class GroundOptions:
    """How the ground is looked for.

    Args:
        threshold_m: points within this distance of the plane are on it.
        max_tilt_deg: greatest angle between the plane's normal and ``up``.
        hypotheses: planes through three random points that are tried.
        up: direction away from the ground, in the frame of the cloud.
        seed: of the random points.
    """

    threshold_m: float = 0.2
    max_tilt_deg: float = 15.0
    hypotheses: int = 1024
    up: Sequence[float] = (0.0, 0.0, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        up = np.array(self.up, np.float64)
        if not self.threshold_m > 0 or not 0 < self.max_tilt_deg <= 90 or self.hypotheses < 1:
            got = f"{self.threshold_m} m, {self.max_tilt_deg} degrees, {self.hypotheses} planes"
            raise UsageError("unfit options of the ground", got=got, expected="numbers above 0, at most 90 degrees")
        if up.shape != (3,) or not np.isfinite(up).all() or not np.linalg.norm(up) > 0:
            raise UsageError("no direction", got=list(self.up), expected="three numbers")


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """All points ``p`` with ``normal . p + offset = 0``.

    Args:
        normal: unit, upwards, ``[3]``.
        offset: metres; for a sensor at the origin it is the height above the ground, on level ground.
        inliers: which points of the cloud are on it, ``[n]``.
    """

    normal: Float64[np.ndarray, "3"]
    offset: float
    inliers: Bool[np.ndarray, " n"]

    def heights(self, xyz: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
        """Return heights above the plane, metres, ``[n]``.

        Args:
            xyz: positions in the frame of the cloud, metres.
        """
        height: Float64[np.ndarray, " n"] = xyz @ self.normal + self.offset
        return height


def find_ground(cloud: PointCloud, options: GroundOptions | None = None) -> GroundPlane:
    """Find the plane with the most points on it and the fewest below it (a ceiling or a table top has many below).

    Args:
        cloud: any; points without a position are left out.
        options: see :class:`GroundOptions`.

    Raises:
        InputError: fewer than three points have a position.
        ResultError: no plane is level enough.
    """
    options = options or GroundOptions()
    local, origin = cloud.local()
    xyz = local.xyz[np.isfinite(local.xyz).all(1)]
    if len(xyz) < 3:
        raise InputError("a plane needs three points", got=f"{len(xyz)} with a position")
    up = np.array(options.up, np.float64) / np.linalg.norm(options.up)
    rng = generator(options.seed, "ground")
    sample = xyz[rng.choice(len(xyz), min(_SCORED, len(xyz)), replace=False)]
    plane = _best(_hypotheses(sample, up, options, rng), sample, options.threshold_m)
    if plane is None:
        expected = f"a plane within {options.max_tilt_deg} degrees of level"
        raise ResultError("no ground was found", got=f"{len(xyz)} points", expected=expected)
    for _ in range(_FITS):
        plane = _fitted(xyz, plane, up, options)
    inliers = np.zeros(len(cloud), bool)
    finite = np.flatnonzero(np.isfinite(local.xyz).all(1))
    inliers[finite] = np.abs(xyz @ plane[:3] + plane[3]) <= options.threshold_m
    return GroundPlane(plane[:3], float(plane[3] - plane[:3] @ origin), inliers)


def _hypotheses(
    sample: Float64[np.ndarray, "s 3"],
    up: Float64[np.ndarray, "3"],
    options: GroundOptions,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "h 4"]:
    """Planes through three points each, upwards, those that are level enough."""
    a, b, c = sample[rng.integers(0, len(sample), (options.hypotheses, 3))].transpose(1, 0, 2)
    if len(sample) == 3:
        a, b, c = sample[[0]], sample[[1]], sample[[2]]
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1)
    real = lengths > 1e-12
    normals, a = normals[real] / lengths[real, None], a[real]
    cosines = normals @ up
    normals = normals * np.where(cosines < 0, -1, 1)[:, None]
    level = np.abs(cosines) >= np.cos(np.radians(options.max_tilt_deg))
    planes: Float64[np.ndarray, "h 4"] = np.concatenate([normals, -(normals * a).sum(1, keepdims=True)], 1)[level]
    return planes


def _best(
    planes: Float64[np.ndarray, "h 4"], sample: Float64[np.ndarray, "s 3"], threshold: float
) -> Float64[np.ndarray, "4"] | None:
    scores = []
    for start in range(0, len(planes), _BLOCK):
        part = planes[start : start + _BLOCK]
        height = part[:, :3] @ sample.T + part[:, 3:]
        scores.append((np.abs(height) <= threshold).sum(1) - _BELOW * (height < -threshold).sum(1))
    return planes[int(np.argmax(np.concatenate(scores)))] if scores else None


def _fitted(
    xyz: Float64[np.ndarray, "n 3"],
    plane: Float64[np.ndarray, "4"],
    up: Float64[np.ndarray, "3"],
    options: GroundOptions,
) -> Float64[np.ndarray, "4"]:
    """Return the least-squares plane of the points on a plane; the plane itself where that is not level enough."""
    near = xyz[np.abs(xyz @ plane[:3] + plane[3]) <= options.threshold_m]
    if len(near) < 3:
        return plane
    middle = near.mean(0)
    spread, axes = np.linalg.eigh((near - middle).T @ (near - middle))
    normal = axes[:, 0] * (-1.0 if axes[:, 0] @ up < 0 else 1.0)
    if spread[1] <= 1e-12 or normal @ up < np.cos(np.radians(options.max_tilt_deg)):
        return plane
    return np.append(normal, -normal @ middle)
