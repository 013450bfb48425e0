"""Voxels of a sample: one point per voxel for training, fragments that visit every point for testing, and crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from recon3d.core.errors import InputError
from recon3d.pointcloud.volt.samples import Sample

_FNV_OFFSET, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)


def voxel_indices(xyz: Float64[np.ndarray, "n 3"], size: float) -> Int64[np.ndarray, "n 3"]:
    """Return the voxel of each point; the least index of every axis is 0.

    Raises:
        InputError: a coordinate is NaN or infinite, or the voxels are too small for the extent.
    """
    grid = np.floor(xyz / size)
    if not np.isfinite(grid).all() or (len(grid) and np.abs(grid).max() > 2.0**40):
        raise InputError("points cannot be voxelised", got=f"size {size}", expected="finite points, size above 0")
    whole = grid.astype(np.int64)
    return whole - whole.min(axis=0) if len(whole) else whole


def fnv_hashes(grid: Int64[np.ndarray, "n 3"]) -> UInt64[np.ndarray, " n"]:
    """Return the 64-bit FNV hash of each voxel, taken over its three indices."""
    found = np.full(len(grid), _FNV_OFFSET)
    for axis in range(3):
        found = (found * _FNV_PRIME) ^ grid[:, axis].astype(np.uint64)
    return found


@dataclass(frozen=True, eq=False)
class VoxelOrder:
    """Points sorted by the hash of their voxel.

    Args:
        order: points, voxel after voxel, ``[n]``.
        start: first place of each voxel in ``order``, ``[v]``.
        count: points of each voxel, ``[v]``.
        inverse: voxel of each point, ``[n]``.
    """

    order: Int64[np.ndarray, " n"]
    start: Int64[np.ndarray, " v"]
    count: Int64[np.ndarray, " v"]
    inverse: Int64[np.ndarray, " n"]

    def chosen(self, number: int | Int64[np.ndarray, " v"]) -> Int64[np.ndarray, " v"]:
        """Return one point of every voxel: that of a number, counted round where a voxel has fewer."""
        rows: np.ndarray = self.order[self.start + number % self.count]
        return rows


def voxel_order(grid: Int64[np.ndarray, "n 3"], *, sort: Literal["stable", "quicksort"] = "stable") -> VoxelOrder:
    """Sort points by the hash of their voxel.

    Args:
        grid: voxel of each point, ``[n,3]``.
        sort: ``stable`` keeps the points of a voxel in their order. The public code has numpy's ``quicksort``, whose
            order within a voxel depends on the processor.
    """
    hashes = fnv_hashes(grid)
    _, inverse, count = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.argsort(hashes, kind=sort)
    return VoxelOrder(order, np.cumsum(count) - count, count, inverse)


def voxel_fragments(found: VoxelOrder) -> list[Int64[np.ndarray, " v"]]:
    """Return fragments of one point per voxel, as many as the fullest voxel has points: together they have all."""
    return [found.chosen(number) for number in range(int(found.count.max(initial=0)))]


def voxelised(sample: Sample, size: float, rng: np.random.Generator | None = None) -> tuple[Sample, VoxelOrder]:
    """Return one point per voxel with its ``grid``, and the map between points and voxels.

    Args:
        sample: the points.
        size: edge of a voxel in metres.
        rng: chooses the point of each voxel; None for the first.
    """
    grid = voxel_indices(sample.xyz, size)
    found = voxel_order(grid)
    number = np.zeros(len(found.count), np.int64) if rng is None else rng.integers(0, 2**32, len(found.count))
    rows = found.chosen(number)
    return sample.selected(rows).changed(grid=grid[rows]), found


def sphere_rows(
    xyz: Float64[np.ndarray, "n 3"], centre: Float64[np.ndarray, "3"], count: int
) -> Int64[np.ndarray, " k"]:
    """Return the ``count`` points nearest to a centre, in the order of the points."""
    distance = ((xyz - centre) ** 2).sum(axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:count])
