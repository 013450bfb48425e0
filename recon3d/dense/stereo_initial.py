"""First guesses for the planes: from the sparse points at the coarsest scale, from the coarser scale at the others."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from scipy.spatial import Delaunay, QhullError, cKDTree

from recon3d.dense.stereo_views import ViewPlan

_NEAREST = 3


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
    index = cKDTree(xy).query(grid, k=min(_NEAREST, len(xy)))[1].reshape(height, width, -1)
    flat = [_fronto_parallel(w[index[..., i]]) for i in range(index.shape[-1])]
    low, high = 1.0 / plan.depth_range[1], 1.0 / plan.depth_range[0]
    chance = rng.random((height, width, 3))
    guess = np.empty((height, width, 3))
    guess[..., 0] = low + chance[..., 0] * (high - low)
    guess[..., 1:] = 0
    return np.stack([*flat, _interpolated(xy, w, grid), guess]).astype(np.float32)


def _fronto_parallel(w: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w 3"]:
    return np.stack([w, np.zeros_like(w), np.zeros_like(w)], -1)


def _interpolated(
    xy: Float64[np.ndarray, "p 2"], w: Float64[np.ndarray, " p"], grid: Float64[np.ndarray, "h w 2"]
) -> Float64[np.ndarray, "h w 3"]:
    """Planes through the triangles of a Delaunay triangulation of the sparse points; zero outside of their hull."""
    try:
        triangles = Delaunay(xy)
    except QhullError:  # all on one line
        return np.zeros((*grid.shape[:2], 3))
    corners, values = xy[triangles.simplices], w[triangles.simplices]
    slopes = np.zeros((len(corners) + 1, 3))  # the last row answers for pixels outside
    edges, rises = corners[:, 1:] - corners[:, :1], values[:, 1:] - values[:, :1]
    solid = np.abs(np.linalg.det(edges)) > 1e-9
    slopes[:-1][solid, 1:] = np.linalg.solve(edges[solid], rises[solid][..., None])[..., 0]
    slopes[:-1][solid, 0] = values[solid, 0] - (slopes[:-1][solid, 1:] * corners[solid, 0]).sum(1)
    planes = slopes[triangles.find_simplex(grid)]
    planes[..., 0] += (planes[..., 1:] * grid).sum(-1)
    return planes


def upsampled_field(field: Float32[np.ndarray, "h w 4"], height: int, width: int) -> Float32[np.ndarray, "h2 w2 4"]:
    """Carry the planes to the next finer scale: every pixel lies on the plane of the coarse pixel that holds it."""
    rows = np.minimum(np.arange(height) // 2, field.shape[0] - 1)
    columns = np.minimum(np.arange(width) // 2, field.shape[1] - 1)
    fine = field[rows[:, None], columns]
    fine[..., 1:3] *= 0.5
    dv = (np.arange(height) + 0.5 - (2 * rows + 1)).astype(np.float32)[:, None]
    du = (np.arange(width) + 0.5 - (2 * columns + 1)).astype(np.float32)
    moved = fine[..., 0] + fine[..., 1] * du + fine[..., 2] * dv
    fine[..., 0] = np.where(moved > 0, moved, fine[..., 0])
    return fine
