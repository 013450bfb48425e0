"""First guesses for the planes: from the sparse points at the coarsest scale, from the coarser scale at the others."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.spatial import cKDTree

from recon3d.dense.stereo_views import ViewPlan

_NEAREST = 2  # sparse points whose own depth is tried
_FITTED = 8  # sparse points that a first plane is fitted to
Grid: TypeAlias = Float64[np.ndarray, "h w 2"]


def first_planes(
    plan: ViewPlan, scale: float, height: int, width: int, rng: np.random.Generator
) -> Float32[np.ndarray, "m h w 3"]:
    """Return candidate planes per pixel: through nearby sparse points, interpolated between them, and random ones.

    Args:
        plan: sparse points and depth range of the photo.
        scale: pixels at this scale per pixel of the photo.
        height: of the image at this scale.
        width: of the image at this scale.
        rng: draws the random guesses.
    """
    xy, w = plan.xy * scale, 1.0 / plan.depth_z
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    index = cKDTree(xy).query(grid, k=min(_FITTED, len(xy)))[1].reshape(height, width, -1)
    flat = [_fronto_parallel(w[index[..., i]]) for i in range(min(_NEAREST, len(xy)))]
    low, high = 1.0 / plan.depth_range[1], 1.0 / plan.depth_range[0]
    chance = rng.random((height, width, 3))
    guess = np.empty((height, width, 3))
    guess[..., 0] = low + chance[..., 0] * (high - low)
    guess[..., 1:] = 0
    return np.stack([*flat, _fitted(xy, w, index, grid), guess]).astype(np.float32)


def _fronto_parallel(w: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w 3"]:
    return np.stack([w, np.zeros_like(w), np.zeros_like(w)], -1)


def _fitted(
    xy: Float64[np.ndarray, "n 2"], w: Float64[np.ndarray, " n"], index: Int64[np.ndarray, "h w k"], grid: Grid
) -> Float64[np.ndarray, "h w 3"]:
    """Least-squares planes through the nearest sparse points of every pixel; zero where they do not span one."""
    off, value = xy[index] - grid[:, :, None], w[index]
    off_mean, value_mean = off.mean(2), value.mean(2)
    off, value = off - off_mean[:, :, None], value - value_mean[..., None]
    xx, yy = (off[..., 0] ** 2).sum(-1), (off[..., 1] ** 2).sum(-1)
    xy_, xw, yw = (off[..., 0] * off[..., 1]).sum(-1), (off[..., 0] * value).sum(-1), (off[..., 1] * value).sum(-1)
    determinant = xx * yy - xy_**2
    solid = determinant > 1e-2 * np.square(xx + yy)
    safe = np.where(solid, determinant, 1.0)
    slope_u, slope_v = (yy * xw - xy_ * yw) / safe, (xx * yw - xy_ * xw) / safe
    center = value_mean - slope_u * off_mean[..., 0] - slope_v * off_mean[..., 1]
    return np.asarray(np.where(solid[..., None], np.stack([center, slope_u, slope_v], -1), 0.0))


def upsampled_field(field: Float32[np.ndarray, "h w 4"], height: int, width: int) -> Float32[np.ndarray, "h2 w2 4"]:
    """Carry the planes to the next finer scale: every pixel lies on the plane of the coarse pixel that holds it."""
    rows = np.minimum(np.arange(height) // 2, field.shape[0] - 1)
    columns = np.minimum(np.arange(width) // 2, field.shape[1] - 1)
    fine = np.ascontiguousarray(field[rows[:, None], columns])
    fine[..., 1:3] *= 0.5
    dv = (np.arange(height) + 0.5 - (2 * rows + 1)).astype(np.float32)[:, None]
    du = (np.arange(width) + 0.5 - (2 * columns + 1)).astype(np.float32)
    moved = fine[..., 0] + fine[..., 1] * du + fine[..., 2] * dv
    fine[..., 0] = np.where(moved > 0, moved, fine[..., 0])
    return fine
