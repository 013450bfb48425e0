"""A textured room that cameras look at from inside, and an estimator that knows the truth and errs as networks do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.feedforward.sequence import sim3

HALF = np.array([5.0, 4.0, 1.5])  # of the room, metres
SIZE = (36, 48)
K = np.array([[30.0, 0.0, 24.0], [0.0, 30.0, 18.0], [0.0, 0.0, 1.0]])


@dataclass
class Views:
    """Photos with their truth."""

    images: list[np.ndarray]
    cam_from_world: np.ndarray
    depth_z: np.ndarray


def looking(centre: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``cam_from_world`` of a level camera; z is up."""
    z = (target - centre) / np.linalg.norm(target - centre)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = [x, np.cross(z, x), z]
    pose[:3, 3] = -pose[:3, :3] @ centre
    return pose


def circle(n: int, *, turns: float = 1.0, radius: float = 1.8) -> np.ndarray:
    """Poses on a circle that look ahead and outwards."""
    angle = 2 * np.pi * turns * np.arange(n) / n
    centres = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.2 * np.sin(3 * angle)], -1)
    ahead = np.stack([np.cos(angle + 0.5), np.sin(angle + 0.5), 0 * angle], -1)
    return np.stack([looking(c, c + a) for c, a in zip(centres, ahead, strict=True)])


def photographed(poses: np.ndarray, size: tuple[int, int] = SIZE) -> Views:
    """Ray-cast the room."""
    v, u = np.indices(size) + 0.5
    scale = size[1] / SIZE[1]
    rays = np.stack([(u / scale - K[0, 2]) / K[0, 0], (v / scale - K[1, 2]) / K[1, 1], np.ones(size)], -1)
    images, depths = [], []
    for pose in poses:
        world_from_cam = np.linalg.inv(pose)
        along, origin = rays @ world_from_cam[:3, :3].T, world_from_cam[:3, 3]
        with np.errstate(divide="ignore"):
            far = np.where(along > 0, HALF - origin, HALF + origin) / np.abs(along)
        depth = far.min(-1)
        images.append(painted(origin + depth[..., None] * along))
        depths.append(depth)
    return Views(images, poses, np.stack(depths))


def painted(points: np.ndarray) -> np.ndarray:
    """The colours of the walls: waves that repeat nowhere in the room."""
    source = np.random.default_rng(5)
    waves = source.normal(size=(3, 24, 3)) * np.linspace(0.5, 6.0, 24)[:, None]
    value = np.sin(np.einsum("...i,cki->...ck", points, waves) + source.uniform(0, 7, (3, 24))).sum(-1)
    return np.asarray(np.clip(128 + 24 * value, 0, 255), np.uint8)


@dataclass
class Oracle:
    """The truth about known photos in a random frame of reference for every call, with noise and drift.

    ``growth`` is the logarithm by which the scale rises from photo to photo inside a call, unless the photos are far
    apart; depths of 0 are unknown.
    """

    views: Views
    noise: float = 0.0
    growth: float = 0.0
    outliers: float = 0.0
    metric: bool = False
    seed: int = 0
    K: np.ndarray = field(default_factory=lambda: K)
    calls: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = {image.tobytes(): i for i, image in enumerate(self.views.images)}
        self.random = np.random.default_rng(self.seed)

    def __call__(self, images: Sequence[np.ndarray]) -> ViewEstimates:
        rows = [self.index[image.tobytes()] for image in images]
        self.calls.append(rows)
        poses, scales = self.drifted(rows)
        noise = sim3.exp(self.noise * self.random.normal(size=(len(rows), 7)) * [0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0])
        depth = self.views.depth_z[rows] * scales[:, None, None]
        depth = depth * np.exp(self.noise * self.random.normal(size=depth.shape))
        bad = self.random.random(depth.shape) < self.outliers
        depth = np.where(bad, depth * self.random.uniform(1.5, 3.0, depth.shape), depth)
        gauge = self.gauge()
        depth = depth * sim3.scale_of(gauge)
        return ViewEstimates(
            cam_from_world=sim3.moved_cameras(gauge, noise @ poses),
            K=np.tile(self.K, (len(rows), 1, 1)),
            depth_z=depth.astype(np.float32),
            sigma=(max(self.noise, 0.01) * depth).astype(np.float32),
            confidence=np.ones(depth.shape, np.float32),
            valid=depth > 0,
            metric=self.metric,
        )

    def gauge(self) -> np.ndarray:
        tangent = self.random.normal(size=7) * [3, 3, 3, 1, 1, 1, 0.0 if self.metric else 0.7]
        return sim3.exp(tangent)

    def drifted(self, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Poses whose steps grow, and the scale of the depth of each."""
        world_from_cam = np.linalg.inv(self.views.cam_from_world[rows])
        centres, steps = world_from_cam[:, :3, 3].copy(), np.diff(rows)
        near = np.abs(steps) < 20
        log_scale = np.concatenate([[0.0], np.cumsum(np.where(near, self.growth * steps, 0.0))])
        moves = np.diff(centres, axis=0) * np.exp(log_scale[:-1, None])
        world_from_cam[1:, :3, 3] = centres[0] + np.cumsum(moves, axis=0)
        return np.linalg.inv(world_from_cam), np.exp(log_scale)


def trajectory_error(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Root mean square distance of the centres after a similarity, in metres."""
    from recon3d.evaluation.alignment import absolute_errors, align

    distance, _ = absolute_errors(truth, estimate, align(truth, estimate))
    return float(np.sqrt((distance**2).mean()))
