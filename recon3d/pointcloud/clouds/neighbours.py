"""What the neighbours of a point tell: its normal, and whether it is an outlier. Queries run in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.spatial import cKDTree

from recon3d.core.errors import UsageError
from recon3d.pointcloud.clouds.types import PointCloud

_BLOCK = 1 << 16
_PRIMES = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)  # of the hash of a position


def estimate_normals(
    cloud: PointCloud, *, k: int = 16, viewpoint: Sequence[float] | None = (0.0, 0.0, 0.0)
) -> PointCloud:
    """Return the cloud with unit ``normals``: the direction of least spread among the nearest neighbours.

    Args:
        cloud: any.
        k: neighbours, the point itself included; at least 3.
        viewpoint: normals face it, in the frame of the cloud, metres; None turns them upwards (z above 0).

    Returns:
        The cloud with ``normals [n,3]`` float32; NaN for points without a position, and for all where fewer than three
        points have one.

    Raises:
        UsageError: ``k`` is less than 3.
    """
    if k < 3:
        raise UsageError("a normal needs three points", got=k, expected="k of 3 or more")
    rows, xyz = _placed(cloud)
    normals = np.full((len(cloud), 3), np.nan, np.float32)
    if len(xyz) >= 3:
        tree = _tree(xyz, k)
        eye = None if viewpoint is None else np.array(viewpoint, np.float64) - _origin(cloud)
        for start in range(0, len(xyz), _BLOCK):
            part = slice(start, start + _BLOCK)
            _, near = tree.query(xyz[part], k=min(k, len(xyz)))
            normals[rows[part]] = _normals(xyz[part], np.asarray(tree.data)[near], eye)
    return cloud.with_attributes(normals=normals)


def _origin(cloud: PointCloud) -> Float64[np.ndarray, "3"]:
    return cloud.local()[1]


def _placed(cloud: PointCloud) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, "m 3"]]:
    """Rows of the points that have a position, and these positions around the middle of the cloud."""
    rows = np.flatnonzero(np.isfinite(cloud.xyz).all(1))
    return rows, cloud.xyz[rows] - _origin(cloud)


def _tree(xyz: Float64[np.ndarray, "m 3"], k: int) -> cKDTree:
    """Return a tree that answers queries for ``k`` neighbours as one of all points would.

    No more than ``k`` points of one position are in it: the tree would keep them in one leaf, and each query would look
    at all of them.
    """
    plain = np.ascontiguousarray(xyz + 0.0)  # -0 is 0
    hashes = (plain.view(np.uint64) * _PRIMES).sum(1, dtype=np.uint64)
    order = np.argsort(hashes ^ hashes >> np.uint64(29), kind="stable")
    repeats = np.zeros(len(xyz), bool)
    repeats[1:] = (plain[order[1:]] == plain[order[:-1]]).all(1)
    places = np.arange(len(xyz))
    copies = places - np.maximum.accumulate(np.where(repeats, 0, places))
    if repeats.any():
        plain = plain[np.sort(order[copies < k])]
    return cKDTree(plain, balanced_tree=False)  # many times faster to build where coordinates repeat


def _normals(
    xyz: Float64[np.ndarray, "m 3"], near: Float64[np.ndarray, "m k 3"], eye: Float64[np.ndarray, "3"] | None
) -> Float32[np.ndarray, "m 3"]:
    spread = near - near.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(np.matmul(spread.transpose(0, 2, 1), spread))
    normals = axes[:, :, 0]
    towards = np.broadcast_to([0.0, 0.0, 1.0], xyz.shape) if eye is None else eye - xyz
    normals = np.where((normals * towards).sum(1, keepdims=True) < 0, -normals, normals)
    return np.asarray(normals, np.float32)


def statistical_inliers(cloud: PointCloud, *, k: int = 16, ratio: float = 2.0) -> Bool[np.ndarray, " n"]:
    """Return which points are about as far from their neighbours as most are, ``[n]``.

    Args:
        cloud: any; points without a position are outliers.
        k: neighbours, the point itself left out; at least 1.
        ratio: a point is an outlier whose mean distance to its neighbours is more than ``ratio`` standard deviations
            above the mean of all.

    Raises:
        UsageError: ``k`` or the ratio is unfit.
    """
    if k < 1 or not ratio > 0:
        raise UsageError("no test of outliers", got=f"k {k}, ratio {ratio}", expected="k of 1 or more, ratio above 0")
    rows, xyz = _placed(cloud)
    keep = np.zeros(len(cloud), bool)
    if len(xyz) < 2:
        keep[rows] = True
        return keep
    tree, distance = _tree(xyz, k + 1), np.empty(len(xyz))
    for start in range(0, len(xyz), _BLOCK):
        part = slice(start, start + _BLOCK)
        near = np.asarray(tree.query(xyz[part], k=min(k + 1, len(xyz)))[0])
        distance[part] = near[:, 1:].mean(1)
    keep[rows] = distance <= distance.mean() + ratio * distance.std()
    return keep


def radius_inliers(cloud: PointCloud, radius: float, *, least: int = 4) -> Bool[np.ndarray, " n"]:
    """Return which points have enough neighbours nearby, ``[n]``.

    Args:
        cloud: any; points without a position are outliers.
        radius: metres, above 0.
        least: other points within it that an inlier has.

    Raises:
        UsageError: the radius is not above 0.
    """
    if not radius > 0 or not np.isfinite(radius):
        raise UsageError("no radius", got=radius, expected="metres above 0")
    rows, xyz = _placed(cloud)
    keep = np.zeros(len(cloud), bool)
    if len(xyz) <= least:
        return keep
    tree = _tree(xyz, least + 1)
    for start in range(0, len(xyz), _BLOCK):
        part = slice(start, start + _BLOCK)
        limit = float(np.nextafter(radius, np.inf))  # the query leaves the bound itself out
        distance = np.asarray(tree.query(xyz[part], k=[least + 1], distance_upper_bound=limit)[0])
        keep[rows[part]] = distance[:, 0] <= radius
    return keep
