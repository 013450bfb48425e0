"""The similarity between two runs of a network about the same photos: robust, weighted by how certain each point is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import UsageError
from recon3d.feedforward.sequence.samples import Samples
from recon3d.feedforward.sequence.sim3 import moved_points, similarity

_LEAST = 1e-12
_CUT = 3.0  # deltas beyond which a point counts nothing: Huber's weights alone let many wrong depths of one sign pull


@dataclass(frozen=True)
class RegistrationOptions:
    """How two runs are laid over each other.

    Args:
        delta: error over depth from which on a point counts less (Huber), and beyond which it is no inlier.
        iterations: of the reweighting.
        camera_share: weight of the cameras, as a share of that of the points.
        n_points: of each photo.
        min_inliers: share of points within ``delta`` below which the runs contradict each other.
    """

    delta: float = 0.1
    iterations: int = 5
    camera_share: float = 0.2
    n_points: int = 2048
    min_inliers: float = 0.5

    def __post_init__(self) -> None:
        if self.delta <= 0 or self.iterations < 1 or self.camera_share <= 0 or self.n_points < 1:
            raise UsageError("the options of a registration must be positive", got=self)


@dataclass(frozen=True, eq=False)
class Registration:
    """How one frame of reference lies in another.

    Args:
        target_from_source: similarity, ``[4,4]``.
        inliers: share of the points whose error is at most ``delta`` of their depth.
        residual: median error of the points, over their depth.
        centre: weighted mean of the points in the target, ``[3]``.
    """

    target_from_source: Float64[np.ndarray, "4 4"]
    inliers: float
    residual: float
    centre: Float64[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Points in both frames, with their weights and the depth in the target by which an error is divided.

    Weights and depths are geometric means over both sides: with the noisy depths of one side alone, every link of a
    chain would shrink a little.
    """

    target: Float64[np.ndarray, "n 3"]
    source: Float64[np.ndarray, "n 3"]
    weight: Float64[np.ndarray, " n"]
    depth_z: Float64[np.ndarray, " n"]

    def errors(self, target_from_source: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, " n"]:
        """Return distances over depths."""
        return np.asarray(
            np.linalg.norm(moved_points(target_from_source, self.source) - self.target, axis=1) / self.depth_z
        )


def register(
    target: Sequence[Samples], source: Sequence[Samples], options: RegistrationOptions | None = None
) -> Registration:
    """Return the similarity that lays one run of a network over another.

    Surface points of the same pixels and the cameras themselves (their centre and the tips of their axes, as long as
    the median depth) are matched by iteratively reweighted least squares with Huber's weights, cut off far out; the
    start is the median scale of the depths with the mean rotation of the cameras.

    Args:
        target: samples of the shared photos in one run, at least one.
        source: of the same photos in the other run, in the same order.
        options: how.
    """
    options = options or RegistrationOptions()
    if not target or len(target) != len(source):
        raise UsageError("two runs need the same photos", got=f"{len(target)} and {len(source)}")
    scales = [_depth_ratio(a, b) for a, b in zip(target, source, strict=True)]
    points = _joined([_surface(*row) for row in zip(target, source, scales, strict=True)])
    cameras = _joined([_camera(*row) for row in zip(target, source, scales, strict=True)])
    heavy = options.camera_share * points.weight.sum() / cameras.weight.sum() if len(points.weight) else 1.0
    used = _joined([points, replace(cameras, weight=heavy * cameras.weight)])
    found = _start(target, source, float(np.median(scales)))
    for _ in range(options.iterations):
        errors = used.errors(found)
        huber = options.delta / np.maximum(errors, options.delta)
        near = errors <= _CUT * options.delta
        found = _least_squares(used, used.weight * huber * (near if near.any() else 1.0))
    errors = (points if len(points.weight) else cameras).errors(found)
    centre = used.weight @ used.target / used.weight.sum()
    return Registration(found, float((errors <= options.delta).mean()), float(np.median(errors)), centre)


def _common(target: Samples, source: Samples) -> Int64[np.ndarray, " m"]:
    """Return the rows of the points that both runs can use."""
    if target.size != source.size:
        return np.zeros(0, np.int64)
    return np.flatnonzero((target.precision > 0) & (source.precision > 0))


def _depth_ratio(target: Samples, source: Samples) -> float:
    """Return the median depth in the target over that in the source."""
    both = _common(target, source)
    if len(both):
        return float(np.median(target.depth_z[both] / source.depth_z[both]))
    return max(target.median_depth, _LEAST) / max(source.median_depth, _LEAST)


def _surface(target: Samples, source: Samples, scale: float) -> _Pairs:
    """Return the common points of one photo."""
    both = _common(target, source)
    depth = np.sqrt(target.depth_z[both] * source.depth_z[both] * scale)
    variance = 1.0 / target.precision[both] + 1.0 / source.precision[both]
    return _Pairs(target.points_world[both], source.points_world[both], 1.0 / (variance * depth**2), depth)


def _camera(target: Samples, source: Samples, scale: float) -> _Pairs:
    """Return the points of the camera of one photo."""
    unit = max(target.median_depth, _LEAST)
    tips = _camera_points(target.cam_from_world, unit), _camera_points(source.cam_from_world, unit / scale)
    return _Pairs(*tips, np.full(4, 1.0 / unit**2), np.full(4, unit))


def _camera_points(cam_from_world: Float64[np.ndarray, "4 4"], length: float) -> Float64[np.ndarray, "4 3"]:
    """Return the centre and the tips of the axes of a camera, in the world."""
    own = length * np.concatenate([np.zeros((1, 3)), np.eye(3)])
    return moved_points(np.linalg.inv(cam_from_world), own)


def _joined(parts: Sequence[_Pairs]) -> _Pairs:
    return _Pairs(
        np.concatenate([one.target for one in parts]),
        np.concatenate([one.source for one in parts]),
        np.concatenate([one.weight for one in parts]),
        np.concatenate([one.depth_z for one in parts]),
    )


def _start(target: Sequence[Samples], source: Sequence[Samples], scale: float) -> Float64[np.ndarray, "4 4"]:
    """Return the similarity of a known scale with the mean rotation and the median shift of the cameras."""
    a, b = (np.stack([np.linalg.inv(one.cam_from_world) for one in run]) for run in (target, source))
    rotation = _nearest_rotation(np.einsum("nij,nkj->ik", a[:, :3, :3], b[:, :3, :3]))
    return similarity(scale, rotation, np.median(a[:, :3, 3] - scale * b[:, :3, 3] @ rotation.T, axis=0))


def _least_squares(pairs: _Pairs, weight: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "4 4"]:
    """Return the similarity of weighted points; its scale treats both sides alike (Horn 1987)."""
    w = weight / weight.sum()
    a_mean, b_mean = w @ pairs.target, w @ pairs.source
    a, b = pairs.target - a_mean, pairs.source - b_mean
    covariance = (a * w[:, None]).T @ b
    rotation = _nearest_rotation(covariance)
    scale = float(np.sqrt(w @ (a**2).sum(1) / max(w @ (b**2).sum(1), _LEAST)))  # both sides are noisy alike
    return similarity(scale, rotation, a_mean - scale * rotation @ b_mean)


def _nearest_rotation(matrix: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    U, _, Vt = np.linalg.svd(matrix)
    return np.asarray(U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt)
