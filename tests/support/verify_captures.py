"""Synthetic captures without images for the tests of the verification: exact geometry, noisy keypoints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.types import Mapped, Pair

WIDTH, HEIGHT, FOCAL = 640, 480, 600.0


@dataclass(frozen=True, eq=False)
class Capture:
    """True cameras, points, and the noisy keypoint of every point in every photo."""

    cameras: Cameras
    xyz: np.ndarray
    xy: np.ndarray  # [n,p,2]
    visible: np.ndarray  # [n,p]


def box_points(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.uniform([-2.0, -1.5, 4.0], [2.0, 1.5, 8.0], (n, 3))


def plane_points(rng: np.random.Generator, n: int) -> np.ndarray:
    points = rng.uniform([-2.5, -2.0, 0.0], [2.5, 2.0, 0.0], (n, 3))
    return points + np.array([0.0, 0.0, 6.0])


def look_at(centers: np.ndarray, target: np.ndarray) -> np.ndarray:
    poses = np.tile(np.eye(4), (len(centers), 1, 1))
    for pose, center in zip(poses, centers, strict=True):
        forward = (target - center) / np.linalg.norm(target - center)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
        pose[:3, 3] = -pose[:3, :3] @ center
    return poses


def arc_poses(n: int, span_deg: float = 50.0) -> np.ndarray:
    """Cameras on an arc about the scene's middle, at changing heights."""
    angle = np.radians(np.linspace(-span_deg / 2, span_deg / 2, n))
    height = 0.6 * np.cos(2.3 * np.arange(n))
    centers = np.stack([6.0 * np.sin(angle), height, 6.0 - 6.0 * np.cos(angle)], axis=1)
    return look_at(centers, np.array([0.0, 0.0, 6.0]))


def turning_poses(n: int) -> np.ndarray:
    """One camera place, n directions."""
    poses = np.tile(np.eye(4), (n, 1, 1))
    angles = np.stack([np.linspace(-8, 8, n), 3 * np.sin(np.arange(n)), 2 * np.cos(np.arange(n))], axis=1)
    poses[:, :3, :3] = Rotation.from_euler("yxz", angles, degrees=True).as_matrix()
    return poses


def photograph(poses: np.ndarray, xyz: np.ndarray, rng: np.random.Generator, noise_px: float = 0.3) -> Capture:
    n, p = len(poses), len(xyz)
    K = np.tile(np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]), (n, 1, 1))
    size = np.tile(np.array([[WIDTH, HEIGHT]], np.int64), (n, 1))
    cameras = Cameras(poses, K, size[:, 0].copy(), size[:, 1].copy(), np.zeros((n, 4)))
    camera = np.repeat(np.arange(n), p)
    pixels, depth = cameras.project(np.tile(xyz, (n, 1)), camera)
    inside = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < [WIDTH, HEIGHT]).all(axis=1)
    noisy = np.nan_to_num(pixels) + noise_px * rng.standard_normal(pixels.shape)
    return Capture(cameras, xyz, noisy.reshape(n, p, 2), inside.reshape(n, p))


def pairs_of(capture: Capture, homography: float = 0.4, min_matches: int = 15) -> list[Pair]:
    """All pairs of photos that share points; keypoint k of a photo is point k."""
    found = []
    for first in range(len(capture.visible)):
        for second in range(first + 1, len(capture.visible)):
            both = np.flatnonzero(capture.visible[first] & capture.visible[second])
            if len(both) >= min_matches:
                xy = np.stack([capture.xy[first, both], capture.xy[second, both]], axis=1)
                count = round(homography * len(both))
                found.append(Pair(first, second, np.stack([both, both], 1), xy, len(both), count, "CALIBRATED"))
    return found


def mapped_of(capture: Capture, photos: np.ndarray | None = None, mapper: str = "incremental") -> Mapped:
    """The true model of some photos, as a mapper would return it."""
    photos = np.arange(len(capture.visible)) if photos is None else photos
    seen = capture.visible[photos]
    tracked = np.flatnonzero(seen.sum(axis=0) >= 2)
    point, view = np.nonzero(seen[:, tracked].T)
    m = len(tracked)
    points = Points(
        capture.xyz[tracked],
        np.zeros((m, 3), np.uint8),
        np.full(m, 0.3),
        np.full(m, np.nan),
        point.astype(np.int32),
        view.astype(np.int32),
        capture.xy[photos[view], tracked[point]],
    )
    return Mapped(mapper, photos, capture.cameras[photos], np.zeros(len(photos), np.int64), points)


def moved(mapped: Mapped, row: int, rotation_deg: float, shift: np.ndarray | None = None) -> Mapped:
    """The model with one camera turned about its vertical axis and shifted."""
    poses = mapped.cameras.cam_from_world.copy()
    poses[row, :3, :3] = Rotation.from_euler("y", rotation_deg, degrees=True).as_matrix() @ poses[row, :3, :3]
    poses[row, :3, 3] += np.zeros(3) if shift is None else shift
    return replace(mapped, cameras=replace(mapped.cameras, cam_from_world=poses))


def with_poses(mapped: Mapped, poses: np.ndarray) -> Mapped:
    return replace(mapped, cameras=replace(mapped.cameras, cam_from_world=poses))
