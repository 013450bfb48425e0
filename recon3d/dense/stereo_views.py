"""Which photos a photo is matched against, and between which depths; both from the sparse points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points

MIN_SHARED = 5  # fewer common points prove no overlap
_CANDIDATES = 4  # candidates per wanted source, before they are chosen for what they add
_LEAST_DEG = 0.2  # smaller angles tell no depth
_GOOD_DEG = (3.0, 20.0)  # triangulation angles that are both accurate and easy to match


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """What one photo is matched against.

    Args:
        sources: camera indices of the neighbours, best first, ``[s]``.
        depth_range: nearest and farthest depth along z to search, world units.
        xy: where the photo sees its sparse points, pixels of its camera, ``[p,2]``.
        depth_z: their depths along z, ``[p]``.
    """

    sources: Int64[np.ndarray, " s"]
    depth_range: tuple[float, float]
    xy: Float64[np.ndarray, "p 2"]
    depth_z: Float64[np.ndarray, " p"]


@dataclass(frozen=True, eq=False)
class _Capture:
    """What all plans share: cameras, points, where the observations of each point begin, and who may be a source."""

    cameras: Cameras
    points: Points
    first: Int64[np.ndarray, " q"]
    may_help: Bool[np.ndarray, " n"]


def plan_views(
    cameras: Cameras,
    points: Points,
    n_sources: int,
    depth_margin: float,
    may_help: Bool[np.ndarray, " n"] | None = None,
) -> list[ViewPlan]:
    """Choose the neighbours and the depth range of every photo.

    A neighbour counts for every common sparse point by its triangulation angle (3 to 20 degrees are best) and by how
    alike the two photos resolve it; points that chosen neighbours cover already count less.

    Args:
        cameras: pinhole cameras of the photos.
        points: sparse points whose ``obs_view`` indexes ``cameras``.
        n_sources: neighbours per photo.
        depth_margin: factor that widens the range of the sparse depths on both sides.
        may_help: which photos may be sources of others, ``[n]``; None = all.

    Returns:
        One plan per camera; without sources where nothing overlaps.
    """
    by_view = np.argsort(points.obs_view, kind="stable")
    bounds = np.searchsorted(points.obs_view[by_view], np.arange(len(cameras) + 1))
    first = np.searchsorted(points.obs_point, np.arange(len(points) + 1))
    helpers = np.ones(len(cameras), np.bool_) if may_help is None else may_help
    capture, plans = _Capture(cameras, points, first, helpers), []
    for view in range(len(cameras)):
        seen = np.unique(points.obs_point[by_view[bounds[view] : bounds[view + 1]]]).astype(np.int64)
        plans.append(_plan(view, seen, capture, n_sources, depth_margin))
    return plans


def _plan(
    view: int,
    seen: Int64[np.ndarray, " p"],
    capture: _Capture,
    n_sources: int,
    depth_margin: float,
) -> ViewPlan:
    cameras, points = capture.cameras, capture.points
    xy, depth_z = cameras.project(points.xyz[seen], np.full(len(seen), view))
    inside = (depth_z > 0) & (xy > 0).all(1) & (xy[:, 0] < cameras.width[view]) & (xy[:, 1] < cameras.height[view])
    seen, xy, depth_z = seen[inside], xy[inside], depth_z[inside]
    if len(seen) < MIN_SHARED:
        return ViewPlan(np.zeros(0, np.int64), (0.0, 0.0), xy, depth_z)
    near, far = np.percentile(depth_z, [0.5, 99.5])
    sources = _choose(view, seen, capture, n_sources)
    return ViewPlan(sources, (float(near / depth_margin), float(far * depth_margin)), xy, depth_z)


def _choose(view: int, seen: Int64[np.ndarray, " p"], capture: _Capture, n_sources: int) -> Int64[np.ndarray, " s"]:
    """Choose greedily by the summed weight of common points, each worth less the more often it is covered."""
    cameras, points, first = capture.cameras, capture.points, capture.first
    counts = first[seen + 1] - first[seen]
    local = np.repeat(np.arange(len(seen)), counts)
    rows = np.repeat(first[seen] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    other = points.obs_view[rows].astype(np.int64)
    usable = (other != view) & capture.may_help[other]
    local, other = local[usable], other[usable]
    weight = _pair_weight(view, other, points.xyz[seen][local], cameras)
    n = len(cameras)
    total = np.bincount(other, weight, n)
    total[np.bincount(other, minlength=n) < MIN_SHARED] = 0
    candidates = np.argsort(-total, kind="stable")[: _CANDIDATES * n_sources]
    candidates = candidates[total[candidates] > 0]
    table = np.zeros((n, len(seen)))[: len(candidates)]
    row_of = np.full(n, -1)
    row_of[candidates] = np.arange(len(candidates))
    used = row_of[other] >= 0
    table[row_of[other[used]], local[used]] = weight[used]
    return np.asarray(candidates[_greedy(table, n_sources)])


def _greedy(table: Float64[np.ndarray, "c p"], n_sources: int) -> Int64[np.ndarray, " s"]:
    chosen: list[int] = []
    covered = np.zeros(table.shape[1])
    for _ in range(min(n_sources, len(table))):
        gain = (table / (1 + covered)).sum(1)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        covered += table[chosen[-1]]
    return np.array(chosen, np.int64)


def _pair_weight(
    view: int, other: Int64[np.ndarray, " m"], xyz: Float64[np.ndarray, "m 3"], cameras: Cameras
) -> Float64[np.ndarray, " m"]:
    """Weight of a common point for stereo between ``view`` and ``other``: its angle and its resolution ratio."""
    centers = cameras.centers
    here, there = centers[view] - xyz, centers[other] - xyz
    distance, distance_other = np.linalg.norm(here, axis=1), np.linalg.norm(there, axis=1)
    cosine = np.einsum("ij,ij->i", here, there) / np.maximum(distance * distance_other, 1e-300)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    low, high = _GOOD_DEG
    weight = np.minimum(angle / low, 1.0) ** 2 * np.exp(-np.square(np.maximum(angle - high, 0) / 12.0))
    focal = np.sqrt(cameras.K[:, 0, 0] * cameras.K[:, 1, 1])
    ratio = focal[view] / distance * distance_other / focal[other]
    return np.asarray(np.where(angle > _LEAST_DEG, weight * np.minimum(ratio, 1 / ratio), 0.0))
