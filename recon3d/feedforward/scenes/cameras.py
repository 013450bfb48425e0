"""Random cameras that see the same part of a scene, checked with a few rays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from recon3d.feedforward.scenes.casting import nearest
from recon3d.feedforward.scenes.kinds.stage import Stage
from recon3d.feedforward.scenes.options import SceneOptions
from recon3d.feedforward.scenes.world import World

_N_TRIES, _PROBES, _ROOM, _SURFACE = 24, 12, 40, 0.45


class Cameras(NamedTuple):
    """Cameras of one scene.

    Args:
        cam_from_world: OpenCV axes.
        K: in pixels.
    """

    cam_from_world: Float64[np.ndarray, "s 4 4"]
    K: Float64[np.ndarray, "s 3 3"]


def draw_cameras(stage: Stage, world: World, rng: np.random.Generator, options: SceneOptions, n_views: int) -> Cameras:
    """Return cameras that see surfaces, are clear of all solids, and overlap.

    Args:
        stage: where cameras may stand.
        world: that of the stage, on the CPU.
        rng: source of randomness.
        options: ranges.
        n_views: number of cameras.
    """
    freedom, best, most = float(rng.uniform(0.15, 1.0)), None, -1.0
    for _ in range(_N_TRIES):
        cameras = _draw(stage, rng, options, n_views, freedom)
        seen, common = _quality(world, cameras, options, stage.clearance)
        score = min(seen / _SURFACE, 1.0) + min(common / options.overlap, 1.0)
        if score > most:
            best, most = cameras, score
        if score >= 2.0:
            break
        freedom *= 0.85
    return best if best is not None else cameras


def rays(
    cam_from_world: Float[Tensor, "v 4 4"], K: Float[Tensor, "v 3 3"], pixels: Float[Tensor, "2 r"]
) -> tuple[Float[Tensor, "v 3 1"], Float[Tensor, "v 3 r"]]:
    """Return centres of cameras, and directions whose length along the camera's z axis is 1.

    Args:
        cam_from_world: world to camera.
        K: in pixels.
        pixels: columns and rows.
    """
    turn = cam_from_world[:, :3, :3].transpose(1, 2)
    x = (pixels[0] - K[:, 0, 2, None]) / K[:, 0, 0, None]
    y = (pixels[1] - K[:, 1, 2, None]) / K[:, 1, 1, None]
    return -turn @ cam_from_world[:, :3, 3:], turn @ torch.stack([x, y, torch.ones_like(x)], 1)


def _draw(stage: Stage, rng: np.random.Generator, options: SceneOptions, n_views: int, freedom: float) -> Cameras:
    eyes = np.stack([_eye(stage, rng, freedom) for _ in range(n_views)])
    targets = np.stack([stage.target(rng, freedom) for _ in range(n_views)])
    rolls = np.radians(options.roll_deg) * rng.standard_normal(n_views)
    poses = [_look_at(eye, target, roll) for eye, target, roll in zip(eyes, targets, rolls, strict=True)]
    shared = rng.random() < options.shared_intrinsics
    intrinsics = [_intrinsics(rng, options) for _ in range(1 if shared else n_views)]
    return Cameras(np.stack(poses), np.stack(intrinsics * n_views if shared else intrinsics))


def _eye(stage: Stage, rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
    """Return the first place that is clear of solids, or the clearest one."""
    places = np.stack([stage.eye(rng, freedom) for _ in range(_ROOM)])
    clear = stage.builder.clearance(places)
    good = np.flatnonzero(clear > stage.clearance)
    chosen: Float64[np.ndarray, "3"] = places[good[0] if len(good) else int(clear.argmax())]
    return chosen


def _intrinsics(rng: np.random.Generator, options: SceneOptions) -> Float64[np.ndarray, "3 3"]:
    fov = np.radians(rng.uniform(*options.fov_deg))
    focal = 0.5 * max(options.height, options.width) / np.tan(0.5 * fov)
    shift = options.off_centre * rng.uniform(-1.0, 1.0, 2) * (rng.random() < 0.5)
    centre = np.array([options.width, options.height]) * (0.5 + shift)
    return np.array([[focal, 0.0, centre[0]], [0.0, focal * (1.0 + 0.01 * rng.normal()), centre[1]], [0.0, 0.0, 1.0]])


def _look_at(
    eye: Float64[np.ndarray, "3"], target: Float64[np.ndarray, "3"], roll: float
) -> Float64[np.ndarray, "4 4"]:
    forward = target - eye
    forward = forward / max(float(np.linalg.norm(forward)), 1e-9)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / max(float(np.linalg.norm(right)), 1e-9)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    turn = np.stack([c * right + s * down, c * down - s * right, forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, -turn @ eye
    return pose


def _quality(world: World, cameras: Cameras, options: SceneOptions, clearance: float) -> tuple[float, float]:
    """Return the least share of surface in a view, and the least share of it that its best partner sees too."""
    cam_from_world, K = (torch.from_numpy(value.astype(np.float32)) for value in cameras)
    pixels = _probes(options)
    origins, directions = rays(cam_from_world, K, pixels)
    n_views = len(K)
    depth = nearest(world.repeated(n_views), origins, directions).distance
    found = depth.isfinite()
    if bool((depth < clearance).any()):
        return 0.0, 0.0
    seen = float(found.float().mean(1).min())
    if n_views == 1:
        return seen, 1.0
    points = origins + directions * depth.nan_to_num(posinf=0.0)[:, None]
    common = _common(world, points, found, cam_from_world, K, origins, options)
    return seen, float(common.amax(1).min())


def _common(
    world: World,
    points: Tensor,
    found: Tensor,
    cam_from_world: Tensor,
    K: Tensor,
    origins: Tensor,
    options: SceneOptions,
) -> Float32[Tensor, "s s"]:
    """Return the share of one view's surface points that another one sees."""
    n_views, n_points = found.shape
    everywhere = points.transpose(0, 1).reshape(1, 3, -1)
    in_camera = cam_from_world[:, :3, :3] @ everywhere + cam_from_world[:, :3, 3:]
    depth = in_camera[:, 2].clamp(min=1e-6)
    x, y = (K @ (in_camera / depth[:, None])).unbind(1)[:2]
    inside = (in_camera[:, 2] > 1e-3) & (x > 0) & (x < options.width) & (y > 0) & (y < options.height)
    reached = nearest(world.repeated(n_views), origins, everywhere - origins).distance > 0.99
    visible = (inside & reached).reshape(n_views, n_views, n_points) & found
    share = visible.float().sum(2) / found.float().sum(1).clamp(min=1)
    return share.t().contiguous().fill_diagonal_(0.0)


def _probes(options: SceneOptions) -> Float32[Tensor, "2 r"]:
    steps = (torch.arange(_PROBES) + 0.5) / _PROBES
    y, x = torch.meshgrid(steps * options.height, steps * options.width, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()])
