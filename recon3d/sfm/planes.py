"""Dominant planes of a sparse point cloud, by a seeded RANSAC that gives the same bits on every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

_MAX_POINTS = 4000
_N_SAMPLES = 6000
_MAX_HYPOTHESES = 500
_MIN_SHARE = 0.1
_MIN_INLIERS = 30
_MIN_CONTRAST = 2.0

Accept = Callable[[Float64[np.ndarray, "h 3"]], Bool[np.ndarray, " h"]]


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane ``normal . x = offset``.

    Args:
        normal: unit normal, ``[3]``.
        offset: distance from the origin along the normal, world units.
        share: part of all points that lie within the threshold.
        rms: root mean square distance of these points, world units.
    """

    normal: Float64[np.ndarray, "3"]
    offset: float
    share: float
    rms: float


def find_planes(
    xyz: Float64[np.ndarray, "p 3"], threshold: float, accept: Accept, *, n_planes: int = 4, seed: int = 0
) -> tuple[Plane, ...]:
    """Return the planes that hold most points, largest first.

    Args:
        xyz: points, world units, ``[p,3]``; beyond 4,000 a seeded sample of them is used.
        threshold: distance to the plane that still counts, world units.
        accept: says which candidate normals ``[h,3]`` are of interest.
        n_planes: how many planes to look for.
        seed: of the samples.

    Returns:
        Planes with at least a tenth of all points and 30 of them, and at least twice as densely filled as the slabs
        beside them, so that a slice through a blob is no plane.
    """
    generator = np.random.default_rng(seed)
    if len(xyz) > _MAX_POINTS:
        xyz = xyz[np.sort(generator.choice(len(xyz), _MAX_POINTS, replace=False))]
    left, found = xyz, []
    for _ in range(n_planes):
        if len(left) < max(_MIN_INLIERS, _MIN_SHARE * len(xyz)):
            break
        plane = _best_plane(left, threshold, accept, generator)
        if plane is None or plane.share * len(left) < max(_MIN_INLIERS, _MIN_SHARE * len(xyz)):
            break
        distance = np.abs(_distances(left, plane.normal[None], np.array([plane.offset]))[0])
        if _contrast(distance, threshold) >= _MIN_CONTRAST and accept(plane.normal[None])[0]:
            found.append(Plane(plane.normal, plane.offset, plane.share * len(left) / len(xyz), plane.rms))
        left = left[distance > threshold]
    return tuple(sorted(found, key=lambda plane: -plane.share))


def _contrast(distance: Float64[np.ndarray, " p"], threshold: float) -> float:
    inside = np.count_nonzero(distance <= threshold)
    beside = np.count_nonzero((distance > threshold) & (distance <= 3 * threshold)) / 2
    return float(inside / max(beside, 1.0))


def _best_plane(
    xyz: Float64[np.ndarray, "p 3"], threshold: float, accept: Accept, generator: np.random.Generator
) -> Plane | None:
    normals, offsets = _hypotheses(xyz, generator)
    keep = np.flatnonzero(accept(normals))[:_MAX_HYPOTHESES]
    if len(keep) == 0:
        return None
    distance = np.abs(_distances(xyz, normals[keep], offsets[keep]))
    best = int(keep[np.argmax(np.count_nonzero(distance <= threshold, axis=1))])
    return _refined(xyz, normals[best], float(offsets[best]), threshold)


def _hypotheses(
    xyz: Float64[np.ndarray, "p 3"], generator: np.random.Generator
) -> tuple[Float64[np.ndarray, "h 3"], Float64[np.ndarray, " h"]]:
    """Return planes through random triples; half of the triples are neighbours, which small planes need."""
    from scipy.spatial import cKDTree

    anchor = generator.integers(len(xyz), size=_N_SAMPLES)
    others = generator.integers(len(xyz), size=(_N_SAMPLES, 2))
    near = min(len(xyz), 2 + len(xyz) // 40)
    local = np.arange(0, _N_SAMPLES, 2)
    ranks = generator.integers(1, near, size=(len(local), 2)) if near > 1 else np.zeros((len(local), 2), dtype=np.int64)
    _, neighbours = cKDTree(xyz).query(xyz[anchor[local]], k=near)
    neighbours = neighbours.reshape(len(local), near)
    others[local] = np.take_along_axis(neighbours, ranks, axis=1)
    normals = np.cross(xyz[others[:, 0]] - xyz[anchor], xyz[others[:, 1]] - xyz[anchor])
    length = np.linalg.norm(normals, axis=1)
    usable = length > 0
    normals = normals[usable] / length[usable, None]
    return normals, (normals * xyz[anchor[usable]]).sum(1)


def _distances(
    xyz: Float64[np.ndarray, "p 3"], normals: Float64[np.ndarray, "h 3"], offsets: Float64[np.ndarray, " h"]
) -> Float64[np.ndarray, "h p"]:
    # Plain sums, no matrix product: the same bits for any number of BLAS threads.
    along = normals[:, 0, None] * xyz[None, :, 0] + normals[:, 1, None] * xyz[None, :, 1]
    return np.asarray(along + normals[:, 2, None] * xyz[None, :, 2] - offsets[:, None])


def _refined(
    xyz: Float64[np.ndarray, "p 3"], normal: Float64[np.ndarray, "3"], offset: float, threshold: float
) -> Plane:
    """Return the least-squares plane of the inliers, re-selected five times."""
    for _ in range(5):
        inside = xyz[np.abs(_distances(xyz, normal[None], np.array([offset]))[0]) <= threshold]
        if len(inside) < 3:
            break
        centre = inside.mean(0)
        _, vectors = np.linalg.eigh(np.einsum("pi,pj->ij", inside - centre, inside - centre))
        refined = vectors[:, 0] if vectors[:, 0] @ normal >= 0 else -vectors[:, 0]
        normal, offset = refined, float((refined * centre).sum())
    distance = _distances(xyz, normal[None], np.array([offset]))[0]
    distance = distance[np.abs(distance) <= threshold]
    rms = float(np.sqrt(np.mean(distance**2))) if len(distance) else 0.0
    return Plane(normal, offset, len(distance) / len(xyz), rms)
