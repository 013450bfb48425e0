"""Exact depth maps of simple bodies by ray casting, for tests of the fusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras

Body = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sphere(centre: Sequence[float], radius: float) -> Body:
    """Distance along unnormalised rays from outside, NaN without a hit."""

    def cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        off = origin - np.asarray(centre)
        a, b, c = (direction**2).sum(-1), direction @ off, off @ off - radius**2
        with np.errstate(invalid="ignore"):
            return (-b - np.sqrt(b * b - a * c)) / a

    return cast


def room(half: float) -> Body:
    """The inside of a cube around the world's origin."""

    def cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.where(direction > 0, (half - origin) / direction, (-half - origin) / direction).min(-1)

    return cast


def wall(z: float, half: float = np.inf) -> Body:
    """The plane z = const, a square around the axis."""

    def cast(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (z - origin[2]) / direction[..., 2]
            hit = origin + t[..., None] * direction
        return np.where((t > 0) & (np.abs(hit[..., :2]) < half).all(-1), t, np.nan)

    return cast


def look_at(eye: Sequence[float], target: Sequence[float] = (0, 0, 0), up: Sequence[float] = (0, 0, 1)) -> np.ndarray:
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ eye
    return pose


def cameras_at(poses: Sequence[np.ndarray], size: int = 96, field_deg: float = 50.0) -> Cameras:
    focal = size / 2 / np.tan(np.radians(field_deg) / 2)
    K = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    sizes = np.full(len(poses), size, np.int64)
    return Cameras(np.stack(poses), np.tile(K, (len(poses), 1, 1)), sizes, sizes)


def ring(n: int, distance: float = 3.0, height: float = 0.8) -> list[np.ndarray]:
    angles = np.arange(n) * 2 * np.pi / n
    return [look_at((distance * np.cos(a), distance * np.sin(a), height)) for a in angles]


def around(n: int, distance: float = 3.0) -> list[np.ndarray]:
    """Poses spread over a whole sphere of directions (a Fibonacci spiral)."""
    z = 1 - 2 * (np.arange(n) + 0.5) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    r = np.sqrt(1 - z * z)
    return [look_at(distance * eye) for eye in np.stack([r * np.cos(angle), r * np.sin(angle), z], -1)]


def colours_of(points: np.ndarray) -> np.ndarray:
    """Colours that are linear in the position, so that their mean is exact."""
    return np.clip(128 + 60 * points, 0, 255)


def render(cameras: Cameras, bodies: Sequence[Body], sigma: float = 0.0) -> list[tuple[DepthMap, np.ndarray]]:
    """Depth along z of the nearest body, 0 = none, and its colours."""
    maps = []
    for pose, K, w, h in zip(cameras.cam_from_world, cameras.K, cameras.width, cameras.height, strict=True):
        x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
        origin, direction = -pose[:3, :3].T @ pose[:3, 3], rays @ pose[:3, :3]
        depth = np.fmin.reduce([np.where(t > 0, t, np.nan) for t in (cast(origin, direction) for cast in bodies)])
        rgb = colours_of(origin + np.nan_to_num(depth)[..., None] * direction)
        known = np.isfinite(depth)
        depth = np.where(known, depth, 0.0).astype(np.float32)
        maps.append((DepthMap(depth, np.where(known, sigma, 0.0).astype(np.float32)), np.round(rgb).astype(np.uint8)))
    return maps
