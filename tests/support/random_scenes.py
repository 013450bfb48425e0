"""Random but exact scenes: cameras around a cloud, every observation is the projection of its point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.render.cameras import Cameras
from recon3d.scene import Points, Scale, Scene, View


def random_rotations(generator: np.random.Generator, n: int) -> np.ndarray:
    return rotation_from_quaternion(generator.normal(size=(n, 4)))


def random_cameras(seed: int, n: int = 4, distorted: bool = True) -> Cameras:
    """Cameras of different lenses and sizes that all look at the unit ball about the origin."""
    generator = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = random_rotations(generator, n)
    poses[:, :3, 3] = generator.uniform([-0.3, -0.3, 4], [0.3, 0.3, 9], (n, 3))
    width, height = generator.integers(500, 900, n), generator.integers(400, 700, n)
    K = np.zeros((n, 3, 3))
    K[:, (0, 1), (0, 1)] = generator.uniform(600, 1200, (n, 2))
    K[:, :2, 2] = np.stack([width, height], -1) / 2 + generator.normal(0, 15, (n, 2))
    K[:, 2, 2] = 1
    lens = generator.normal(0, [0.1, 0.05, 0.003, 0.003], (n, 4))
    return Cameras(poses, K, width, height, lens if distorted else None)


def random_points(seed: int, cameras: Cameras, n: int = 40) -> Points:
    """Points in the unit ball; each is seen by two or more cameras, in an order of its own."""
    generator = np.random.default_rng(seed)
    direction = generator.normal(size=(n, 3))
    xyz = direction / np.linalg.norm(direction, axis=1, keepdims=True) * generator.random((n, 1))
    tracks = [generator.permutation(len(cameras))[: generator.integers(2, len(cameras) + 1)] for _ in range(n)]
    view = np.concatenate(tracks).astype(np.int32) if n else np.zeros(0, np.int32)
    point = np.repeat(np.arange(n), [len(track) for track in tracks]).astype(np.int32)
    xy, _ = cameras.project(xyz[point], view.astype(np.int64))
    rgb = generator.integers(0, 256, (n, 3)).astype(np.uint8)
    sigma = np.where(generator.random(n) < 0.3, np.nan, generator.random(n))
    return Points(xyz, rgb, generator.random(n), sigma, point, view, xy)


def random_scene(seed: int, n_views: int = 4, n_points: int = 40, distorted: bool = True) -> Scene:
    cameras = random_cameras(seed, n_views, distorted)
    generator = np.random.default_rng(seed + 1)
    shift = np.zeros((n_views, 3, 3))
    shift[:, :2, :] = generator.normal(0, 5, (n_views, 2, 3)) * [[1, 0, 1], [0, 1, 1]]
    pinhole = replace(cameras.pinhole(), K=cameras.K + shift, width=cameras.width + 7)
    sizes = zip(cameras.width.tolist(), cameras.height.tolist(), strict=True)
    views = [
        View(f"cam {i % 2}/IMG_{i}.JPG", "registered", "", w, h, f"{i:064x}", i, 0) for i, (w, h) in enumerate(sizes)
    ]
    views.append(View("zz/broken.jpg", "skipped", "not an image"))
    sigma = generator.random((n_views, 6))
    sigma[0, 0], sigma[-1, 2] = np.nan, np.inf
    return Scene(
        tuple(sorted(views, key=lambda view: view.key)),
        cameras,
        pinhole,
        random_points(seed + 2, cameras, n_points),
        sigma,
        Scale("metric", "measured with a tape", (0.99, 1.013)),
        np.diag([0.1, 0.1, 0.1, 1.0]) + 1e-17,
        {"rms_px": 1 / 3, "pairs": [1, 2], "nested": {"none": None, "big": 1e300}},
        {"options": {"seed": 3}, "warnings": ["blurred"]},
    )


def unchecked(kind: type, **values: object) -> object:
    """Return a dataclass without the run-time checks of the tests, so that its own checks can be seen."""
    made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    made.__post_init__()
    return made


def same_bits(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
