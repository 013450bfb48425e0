"""Synthetic captures on disk: features, verified pairs and databases of scenes whose cameras are exactly known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.bundle import Problem, make_problem
from recon3d.sfm.mapping import build_database
from recon3d.sfm.matching import guess_camera, save_pairs
from recon3d.sfm.refine import Refined
from recon3d.sfm.types import Mapped, Pair

SIZE = (640, 480)
CENTRED = (600.0, 600.0, 320.0, 240.0)
NO_DISTORTION = (0.0, 0.0, 0.0, 0.0)


def ring_poses(n: int, span_deg: float = 60.0) -> np.ndarray:
    """Cameras six units from the origin that look at it, on an arc, at changing heights and a little rolled."""
    angle = np.radians(np.linspace(-span_deg / 2, span_deg / 2, n))
    height = 1.2 * np.cos(2.3 * np.arange(n))
    centers = np.stack([6.0 * np.sin(angle), height, -6.0 * np.cos(angle)], axis=1)
    poses = np.tile(np.eye(4), (n, 1, 1))
    for i, center in enumerate(centers):
        forward = -center / np.linalg.norm(center)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        upright = np.stack([right, np.cross(forward, right), forward])
        poses[i, :3, :3] = Rotation.from_euler("z", 7.0 * np.sin(1.7 * i), degrees=True).as_matrix() @ upright
        poses[i, :3, 3] = -poses[i, :3, :3] @ center
    return poses


def cloud(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-2.2, -1.6, -1.5], [2.2, 1.6, 1.5], (n, 3))


def cameras_at(
    poses: np.ndarray,
    lens: tuple[float, float, float, float] = CENTRED,
    distortion: tuple[float, float, float, float] = NO_DISTORTION,
) -> Cameras:
    n, (fx, fy, cx, cy) = len(poses), lens
    K = np.tile(np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), (n, 1, 1))
    sizes = np.full(n, SIZE[0], np.int64), np.full(n, SIZE[1], np.int64)
    return Cameras(poses, K, *sizes, np.tile(np.array(distortion), (n, 1)))


def observe(cameras: Cameras, xyz: np.ndarray, noise_px: float = 0.0, seed: int = 0, max_views: int = 0) -> Points:
    """Every point as all cameras (or ``max_views`` random ones) see it, whether inside the photo or not."""
    rng = np.random.default_rng(seed)
    n, p = len(cameras), len(xyz)
    rank = rng.random((p, n)).argsort(axis=1)
    point, view = np.nonzero(rank < (max_views or n))
    xy, _ = cameras.project(xyz[point], view)
    xy = xy + noise_px * rng.standard_normal(xy.shape)
    unknown, rgb = np.full(p, np.nan), np.zeros((p, 3), np.uint8)
    return Points(xyz, rgb, unknown, unknown, point.astype(np.int32), view.astype(np.int32), xy)


def problem_of(cameras: Cameras, points: Points, group: np.ndarray | None = None) -> Problem:
    return make_problem(cameras, np.zeros(len(cameras), np.int64) if group is None else group, points)


def shaken(problem: Problem, size: float, seed: int = 1) -> Problem:
    """The problem with its poses and points moved at random by about ``size`` radians and world units."""
    rng = np.random.default_rng(seed)
    pose = problem.pose.copy()
    pose[:, :3, :3] = Rotation.from_rotvec(size * rng.standard_normal((len(pose), 3))).as_matrix() @ pose[:, :3, :3]
    pose[:, :3, 3] += size * rng.standard_normal((len(pose), 3))
    xyz = problem.xyz + size * rng.standard_normal(problem.xyz.shape)
    return replace(problem, pose=pose, xyz=xyz, intrinsics=problem.intrinsics.copy())


def fake_descriptors(n: int, seed: int = 11) -> np.ndarray:
    """Random descriptors of the length that COLMAP gives root-normalised ones: an eighth of the bins is filled."""
    rng = np.random.default_rng(seed)
    raw = np.zeros((n, 128))
    bins = rng.random((n, 128)).argsort(axis=1)[:, :16]
    np.put_along_axis(raw, bins, rng.uniform(0.7, 1.3, (n, 16)), axis=1)
    return np.rint(512.0 * raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class OnDisk:
    """A capture as the stages before mapping leave it; keypoint ``k`` of every photo is point ``k``."""

    folder: Path
    cameras: Cameras
    xyz: np.ndarray
    xy: np.ndarray  # [n,p,2], float32 precision
    rgb: np.ndarray  # [p,3]
    features: tuple[str, ...]
    guesses: tuple[dict[str, object], ...]
    group: tuple[int, ...]
    pairs: tuple[Pair, ...]
    pairs_file: Path

    def database(self, path: Path) -> Path:
        build_database(path, self.features, self.guesses, self.group, self.pairs)
        return path


def write_capture(
    folder: Path,
    cameras: Cameras,
    xyz: np.ndarray,
    noise_px: float = 0.3,
    group: tuple[int, ...] | None = None,
    focal_px: float | None = None,
) -> OnDisk:
    """Photograph points that lie inside every photo's frame or not, and write features and pairs."""
    rng, n, p = np.random.default_rng(3), len(cameras), len(xyz)
    exact, depth = cameras.project(np.tile(xyz, (n, 1)), np.repeat(np.arange(n), p))
    seen = ((exact > 0).all(axis=1) & (exact < SIZE).all(axis=1) & (depth > 0)).reshape(n, p)
    xy = (exact + noise_px * rng.standard_normal(exact.shape)).reshape(n, p, 2).astype(np.float32)
    rgb, descriptors = rng.integers(0, 256, (p, 3)).astype(np.uint8), fake_descriptors(p)
    files = []
    for photo in range(n):
        files.append(str(folder / f"{photo:06d}.npz"))
        np.savez(files[-1], xy=xy[photo], descriptors=descriptors, rgb=rgb)
    pairs = []
    for first in range(n):
        for second in range(first + 1, n):
            both = np.flatnonzero(seen[first] & seen[second])
            matched = np.stack([xy[first, both], xy[second, both]], axis=1).astype(np.float64)
            pairs.append(Pair(first, second, np.stack([both, both], 1), matched, len(both), 20, "CALIBRATED"))
    guesses = tuple(guess_camera(*SIZE, focal_px) for _ in range(n))
    save_pairs(folder / "pairs.npz", pairs)
    groups = group or (0,) * n
    return OnDisk(folder, cameras, xyz, xy, rgb, tuple(files), guesses, groups, tuple(pairs), folder / "pairs.npz")


@dataclass(frozen=True, eq=False)
class Solved:
    """A capture, its database, its incremental model, and that model after refinement."""

    capture: OnDisk
    database: Path
    mapped: Mapped
    refined: Refined


def rotation_errors_deg(found: Cameras, truth: Cameras) -> np.ndarray:
    """Angle of every relative orientation to the first camera against the truth."""

    def relative(cameras: Cameras) -> np.ndarray:
        rotation = cameras.cam_from_world[:, :3, :3]
        return rotation @ rotation[0].T

    return np.degrees(Rotation.from_matrix(relative(found) @ relative(truth).transpose(0, 2, 1)).magnitude())


def centre_errors(found: Cameras, truth: Cameras) -> np.ndarray:
    """Distances of the camera centres after the best similarity (Umeyama 1991)."""
    a, b = found.centers - found.centers.mean(axis=0), truth.centers - truth.centers.mean(axis=0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return np.linalg.norm((s * flip).sum() / (a * a).sum() * a @ (u * flip @ vt).T - b, axis=1)
