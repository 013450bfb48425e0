"""Deterministic voxels: which points share one, which point stands for it, and exact maps both ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.clouds.types import PointCloud

_BLOCK = 1 << 20
_MAX_KEY = 2**62


@dataclass(frozen=True, eq=False, kw_only=True)
class Voxels:
    """Occupied voxels in the lexicographic order of their indices ``(i, j, k)`` along x, y and z.

    Where several points fall into one voxel, the one with the least row stands for it (:attr:`first`); no point is
    dropped from the maps. The result depends on the order of the points and on nothing else.

    Args:
        indices: of each voxel, ``[v,3]``: ``floor((p - origin) / size)`` per axis, in float64.
        voxel_of_point: row of each point's voxel in ``indices``; -1 for a point without a position or outside the
            bounds, ``[n]``.
        points: rows of all points that are in a voxel, voxel after voxel and in rising order within one, ``[m]``.
        start: place of each voxel's first point in ``points``, and ``m`` at the end, ``[v+1]``.
        origin: corner of the voxel (0, 0, 0), metres, ``[3]``.
        size: edges of a voxel, metres, ``[3]``.
    """

    indices: Int64[np.ndarray, "v 3"]
    voxel_of_point: Int64[np.ndarray, " n"]
    points: Int64[np.ndarray, " m"]
    start: Int64[np.ndarray, " v_and_1"]
    origin: Float64[np.ndarray, "3"]
    size: Float64[np.ndarray, "3"]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def first(self) -> Int64[np.ndarray, " v"]:
        """The point that stands for each voxel: the least row of those inside, ``[v]``."""
        rows: Int64[np.ndarray, " v"] = self.points[self.start[:-1]]
        return rows

    @property
    def count(self) -> Int64[np.ndarray, " v"]:
        """Points of each voxel, ``[v]``."""
        return np.diff(self.start)

    @property
    def centres(self) -> Float64[np.ndarray, "v 3"]:
        """Middles of the voxels, metres, ``[v,3]``."""
        middles: Float64[np.ndarray, "v 3"] = (self.indices + 0.5) * self.size + self.origin
        return middles

    def means(self, values: Shaped[np.ndarray, "n ..."]) -> Float64[np.ndarray, "v ..."]:
        """Return the mean over the points of each voxel, summed in the order of rows.

        Args:
            values: one row per point of the cloud.
        """
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        total = np.empty((len(self), flat.shape[1]))
        for column in range(flat.shape[1]):
            ordered = flat[self.points, column].astype(np.float64)
            total[:, column] = np.add.reduceat(ordered, self.start[:-1]) if len(self) else 0.0
        means: Float64[np.ndarray, "v ..."] = (total / self.count[:, None]).reshape(len(self), *values.shape[1:])
        return means


def voxelise(
    cloud: PointCloud,
    size: float | Sequence[float],
    *,
    lower: Sequence[float] | None = None,
    upper: Sequence[float] | None = None,
) -> Voxels:
    """Sort the points of a cloud into voxels.

    Args:
        cloud: any; points without a position are in no voxel.
        size: edge of a voxel, metres; or one number per axis.
        lower: corner of the voxel (0, 0, 0), metres; points below it are in no voxel. None takes the origin of the
            frame, and indices may be negative.
        upper: points with a coordinate of this or more are in no voxel, metres; None for no bound.

    Raises:
        UsageError: a size or a bound is unfit.
        InputError: the voxels are too small for the extent of the cloud.
    """
    edges, origin, limit = _grid(size, lower, upper)
    least, shape = _extent(cloud, edges, origin, limit, bounded=lower is not None)
    keys = np.full(len(cloud), -1, np.int64)
    for start in range(0, len(cloud), _BLOCK):
        cells, inside = _cells(cloud.xyz[start : start + _BLOCK], edges, origin, limit, bounded=lower is not None)
        cells -= least
        part = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
        keys[start : start + _BLOCK][inside] = part
    return _grouped(keys, least, shape, origin, edges)


def _grid(
    size: float | Sequence[float], lower: Sequence[float] | None, upper: Sequence[float] | None
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    edges = np.array([size] * 3 if isinstance(size, int | float) else list(size), np.float64)
    origin = np.zeros(3) if lower is None else np.array(list(lower), np.float64)
    limit = np.full(3, np.inf) if upper is None else np.array(list(upper), np.float64)
    if not edges.shape == origin.shape == limit.shape == (3,):
        raise UsageError("voxels have three axes", got=f"size {size}, {lower} to {upper}")
    if not ((edges > 0) & np.isfinite(edges)).all() or not np.isfinite(origin).all() or not (origin < limit).all():
        got, expected = f"size {size}, {lower} to {upper}", "sizes above 0, lower below upper"
        raise UsageError("not a grid of voxels", got=got, expected=expected)
    return edges, origin, limit


def _cells(
    xyz: Float64[np.ndarray, "n 3"],
    edges: Float64[np.ndarray, "3"],
    origin: Float64[np.ndarray, "3"],
    limit: Float64[np.ndarray, "3"],
    *,
    bounded: bool,
) -> tuple[Int64[np.ndarray, "m 3"], Shaped[np.ndarray, " n"]]:
    """Return the cells of the points that are in one, and which are."""
    inside = np.isfinite(xyz).all(1) & (xyz < limit).all(1)
    if bounded:
        inside &= (xyz >= origin).all(1)
    grid = np.floor((xyz[inside] - origin) / edges)
    if len(grid) and np.abs(grid).max() >= _MAX_KEY:
        raise InputError("the voxels are too small for this cloud", got=f"size {edges.tolist()}")
    return grid.astype(np.int64), inside


def _extent(
    cloud: PointCloud,
    edges: Float64[np.ndarray, "3"],
    origin: Float64[np.ndarray, "3"],
    limit: Float64[np.ndarray, "3"],
    *,
    bounded: bool,
) -> tuple[Int64[np.ndarray, "3"], Int64[np.ndarray, "3"]]:
    """Return the least cell of each axis and the number of cells."""
    ends = []
    for start in range(0, len(cloud), _BLOCK):
        cells, _ = _cells(cloud.xyz[start : start + _BLOCK], edges, origin, limit, bounded=bounded)
        ends += [cells.min(0), cells.max(0)] if len(cells) else []
    if not ends:
        return np.zeros(3, np.int64), np.ones(3, np.int64)
    least = np.min(ends, 0)
    shape = np.max(ends, 0) - least + 1
    if float(shape[0]) * float(shape[1]) * float(shape[2]) >= _MAX_KEY:
        got = f"{shape.tolist()} voxels of {edges.tolist()} m"
        raise InputError("the voxels are too small for this cloud", got=got, fix="take larger voxels, or crop it")
    return least, shape


def _grouped(
    keys: Int64[np.ndarray, " n"],
    least: Int64[np.ndarray, "3"],
    shape: Int64[np.ndarray, "3"],
    origin: Float64[np.ndarray, "3"],
    edges: Float64[np.ndarray, "3"],
) -> Voxels:
    order = np.argsort(keys, kind="stable")
    n_outside = int((keys < 0).sum())
    points = order[n_outside:]
    ordered = keys[points]
    begins = np.ones(len(ordered), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    start = np.append(np.flatnonzero(begins), len(ordered))
    voxel_of_point = np.full(len(keys), -1, np.int64)
    voxel_of_point[points] = np.cumsum(begins) - 1
    unique = ordered[start[:-1]]
    rows, k = np.divmod(unique, shape[2])
    i, j = np.divmod(rows, shape[1])
    indices = np.stack([i, j, k], 1) + least
    return Voxels(indices=indices, voxel_of_point=voxel_of_point, points=points, start=start, origin=origin, size=edges)


def voxel_downsample(
    cloud: PointCloud, size: float | Sequence[float], *, keep: Literal["mean", "first"] = "mean"
) -> PointCloud:
    """Return one point per voxel, in the order of :class:`Voxels`.

    Args:
        cloud: any; points without a position are dropped.
        size: edge of a voxel, metres; or one number per axis.
        keep: ``first`` keeps the point with the least row, untouched; ``mean`` averages positions, colours, normals and
            attributes of floats, and takes all others (labels, rings) from that point.

    Raises:
        UsageError: the size or ``keep`` is unfit.
        InputError: the voxels are too small for the extent of the cloud.
    """
    if keep not in ("mean", "first"):
        raise UsageError("no such point of a voxel", got=keep, expected="mean or first")
    voxels = voxelise(cloud, size)
    chosen = cloud.selected(voxels.first)
    if keep == "first":
        return chosen
    averaged = {
        name: _average(name, values, voxels) for name, values in cloud.attributes.items() if _smooth(name, values)
    }
    return replace(chosen, xyz=voxels.means(cloud.xyz), attributes={**chosen.attributes, **averaged})


def _smooth(name: str, values: Shaped[np.ndarray, "n ..."]) -> bool:
    return name == "rgb" or values.dtype.kind == "f"


def _average(name: str, values: Shaped[np.ndarray, "n ..."], voxels: Voxels) -> Shaped[np.ndarray, "v ..."]:
    means = voxels.means(values)
    if name == "normals":
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means = means / np.where(lengths > 0, lengths, 1)
    if values.dtype.kind in "iu":
        means = np.rint(means)
    return means.astype(values.dtype)
