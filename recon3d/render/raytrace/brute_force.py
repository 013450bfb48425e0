"""The oracle of rays: every ray against every triangle in float64."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer

from recon3d.render.raytrace.bvh import Hits

_MEMORY = 1 << 22  # pairs of a ray and a triangle at once


def closest_hit(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    t_min: float = 0.0,
    t_max: float = np.inf,
) -> Hits:
    """Return what :meth:`recon3d.render.raytrace.Bvh.closest_hit` returns, to the rounding of float32.

    Args:
        vertices: positions, ``[v,3]``.
        faces: vertex indices, ``[f,3]``.
        origins: where rays start, ``[n,3]``.
        directions: of any length, ``[n,3]``.
        t_min: hits must be farther.
        t_max: hits must be nearer.
    """
    n = len(origins)
    hits = Hits(np.full(n, -1, np.int32), np.full(n, np.inf, np.float32), np.zeros((n, 2), np.float32))
    if len(faces):
        step = max(1, _MEMORY // len(faces))
        for start in range(0, n, step):
            part = slice(start, start + step)
            t, uv = crossings(vertices, faces, origins[part], directions[part])
            t = np.where((t > t_min) & (t < t_max), t, np.inf)
            face, rows = t.argmin(axis=1), np.arange(len(t))
            found = np.isfinite(t[rows, face])
            hits.face[part] = np.where(found, face, -1)
            hits.t[part] = t[rows, face]
            hits.uv[part] = np.where(found[:, None], uv[rows, face], 0.0)
    return hits


def any_hit(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    t_min: float = 0.0,
    t_max: float = np.inf,
) -> Bool[np.ndarray, " n"]:
    """Return whether every ray hits something; the arguments are those of :func:`closest_hit`."""
    return np.asarray(closest_hit(vertices, faces, origins, directions, t_min, t_max).face >= 0)


def crossings(
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
) -> tuple[Float64[np.ndarray, "n f"], Float64[np.ndarray, "n f 2"]]:
    """Return where each line meets each triangle, borders included: distances, infinity = nowhere, and weights.

    "Fast, Minimum Storage Ray/Triangle Intersection" (Moeller, Trumbore; 1997), without an epsilon.
    """
    corners = vertices.astype(np.float64)[faces]
    first, edge1, edge2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    ways = directions.astype(np.float64)[:, None]
    offset = origins.astype(np.float64)[:, None] - first
    with np.errstate(all="ignore"):
        p, q = np.cross(ways, edge2), np.cross(offset, edge1)
        scale = 1.0 / (edge1 * p).sum(axis=-1)
        u, v = (offset * p).sum(axis=-1) * scale, (ways * q).sum(axis=-1) * scale
        t = (edge2 * q).sum(axis=-1) * scale
        inside = (u >= 0) & (v >= 0) & (u + v <= 1) & np.isfinite(t)
    return np.where(inside, t, np.inf), np.stack([u, v], axis=-1)
