"""The Gaussians that the optimisation starts from: one per point, as wide as the points are apart."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from scipy.spatial import cKDTree

from recon3d.formats.quaternions import quaternion_from_rotation
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians.types import Gaussians

SH0 = 0.28209479177387814
N_NEIGHBOURS = 3
FLATNESS = 0.2
MAX_DISTANCE = 30.0
SMALLEST_PX = 0.5
FEW_POINTS = 2000
START_OPACITY = 0.1


def initial_gaussians(
    xyz: Float64[np.ndarray, "p 3"],
    rgb: UInt8[np.ndarray, "p 3"],
    normals: Float64[np.ndarray, "p 3"] | None,
    limits: tuple[float, float],
) -> Gaussians:
    """Return one round Gaussian per point, or a disc where the normal is known.

    Args:
        xyz: points in the frame of the optimisation, ``[p,3]``.
        rgb: colours, sRGB, ``[p,3]``.
        normals: unit normals, ``[p,3]``; rows of NaN where unknown.
        limits: smallest and largest standard deviation.

    Source: Kerbl et al., 3D Gaussian splatting, 2023, section 5: the mean distance to the three nearest points.
    """
    scale = np.clip(point_spacing(xyz), *limits)
    log_scales = np.repeat(np.log(scale)[:, None], 3, axis=1)
    quats = np.tile([1.0, 0.0, 0.0, 0.0], (len(xyz), 1))
    if normals is not None and len(xyz):
        known = np.isfinite(normals).all(axis=1) & (np.linalg.norm(normals, axis=1) > 0.5)
        quats[known] = _turn_z_to(normals[known])
        log_scales[known, 2] += np.log(FLATNESS)
    sh = (np.maximum(rgb, 1) / 255.0 - 0.5) / SH0  # a channel of 0 would get no gradient: colours are cut there
    logits = np.full(len(xyz), np.log(START_OPACITY / (1 - START_OPACITY)))
    means, quaternions, log_scale, opacity, colour = (
        torch.as_tensor(part.astype(np.float32)) for part in (xyz, quats, log_scales, logits, sh[:, None, :])
    )
    return Gaussians(means, quaternions, log_scale, opacity, colour)


def point_spacing(xyz: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, " p"]:
    """Return the root mean square distance of each point to its three nearest neighbours; 1 for a lonely point."""
    if len(xyz) < 2:
        return np.ones(len(xyz))
    k = min(N_NEIGHBOURS, len(xyz) - 1)
    distance = np.asarray(cKDTree(xyz).query(xyz, k=k + 1)[0])
    return np.asarray(np.sqrt((distance[:, 1:] ** 2).mean(axis=1)))


def _turn_z_to(normals: Float64[np.ndarray, "m 3"]) -> Float64[np.ndarray, "m 4"]:
    """Return a rotation for each normal that turns the z axis onto it."""
    z = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    helper = np.where(np.abs(z[:, :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return quaternion_from_rotation(np.stack([x, np.cross(z, x), z], axis=2))


def usable_points(xyz: Float64[np.ndarray, "p 3"]) -> np.ndarray:
    """Return which points of the frame are finite and not absurdly far away, as a mask ``[p]``."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(xyz).all(axis=1) & (np.linalg.norm(xyz, axis=1) < MAX_DISTANCE))


def scattered_points(
    cameras: Cameras, images: tuple[UInt8[np.ndarray, "_ _ 3"], ...], n_points: int, generator: np.random.Generator
) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
    """Return random points in the view of the cameras with the colours of their pixels, for scenes with few points.

    Args:
        cameras: in the frame of the optimisation, where scenes lie about one unit in front of the cameras.
        images: their photos.
        n_points: how many.
        generator: random choices.
    """
    view = generator.integers(0, len(cameras), n_points)
    size = np.stack([cameras.width, cameras.height], axis=1)[view]
    pixel = generator.random((n_points, 2)) * size
    depth = np.exp(generator.uniform(np.log(0.5), np.log(2.0), n_points))
    K, pose = cameras.K[view], cameras.world_from_cam[view]
    rays = np.ones((n_points, 3))
    rays[:, :2] = (pixel - K[:, :2, 2]) / K[:, (0, 1), (0, 1)]
    xyz = np.einsum("nij,nj->ni", pose[:, :3, :3], rays * depth[:, None]) + pose[:, :3, 3]
    column, row = pixel.astype(np.int64).T
    rgb = np.stack([images[v][y, x] for v, y, x in zip(view, row, column, strict=True)]) if n_points else None
    return xyz, np.zeros((0, 3), np.uint8) if rgb is None else rgb
