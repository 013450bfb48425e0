"""Closing a surface where nothing was seen: the field is continued smoothly until the solid is watertight.

What was seen stays; elsewhere the field solves Laplace's equation between it and empty space at the border of a box, so
that the surface spans a hole like a soap film (compare Davis et al., "Filling holes in complex surfaces using
volumetric diffusion", 2002). Space that photos saw through is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from recon3d.core.kernels import kernel, run_chunks
from recon3d.dense.tsdf import TsdfVolume
from recon3d.dense.tsdf_blocks import SIDE, Lattice, find_block
from recon3d.dense.tsdf_extract import CHUNK, Field, march
from recon3d.dense.tsdf_pixels import PixelRays

Continuation = Callable[[Float32[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]], Float32[np.ndarray, "x y z"]]
BYTES_PER_VOXEL = 16
_CARVE = 4
_COARSEST = 12
_ITERATIONS = 16
_SLABS = 8
_MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class Box:
    """Lattice points ``low`` to ``low + size - 1`` along each axis.

    Args:
        low: first lattice point, ``[3]``.
        size: number of lattice points, ``[3]``; multiples of four.
    """

    low: Int64[np.ndarray, " 3"]
    size: Int64[np.ndarray, " 3"]

    @classmethod
    def around(cls, vertices: Float64[np.ndarray, "v 3"], lattice: Lattice) -> Box:
        """Return the box of a surface (in voxels) with room for the truncation and a tenth of its length."""
        low, high = np.floor(vertices.min(axis=0)), np.ceil(vertices.max(axis=0))
        room = np.ceil(max(lattice.truncation / lattice.voxel + 2, _MARGIN * float((high - low).max())))
        size = (-(-(high - low + 1 + 2 * room) // _CARVE) * _CARVE).astype(np.int64)
        return cls((low - room).astype(np.int64), size)

    @property
    def memory_bytes(self) -> int:
        """What :func:`closed_surface` needs at most."""
        return int(self.size.prod()) * BYTES_PER_VOXEL


def closed_surface(
    volume: TsdfVolume,
    box: Box,
    min_weight: float,
    maps: Iterable[PixelRays],
    min_views: int,
    continued: Continuation | None = None,
) -> tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]:
    """Return the watertight surface of what was seen and of its smooth continuation.

    Args:
        volume: the field.
        box: where the solid lies; its border is empty.
        min_weight: weight from which on a voxel is kept as it is.
        maps: depth maps; what lies in front of their surfaces is empty.
        min_views: how many of them must see through a place.
        continued: how the field goes on where nothing was seen; None = :func:`continue_field`.

    Returns:
        Vertices in voxels of the lattice, ``[v,3]``, and faces, ``[f,3]``.
    """
    field = np.ones(tuple(box.size), np.float32)
    fixed = np.zeros(field.shape, np.bool_)
    _copy_known(volume, box, min_weight, field, fixed)
    _carve(volume.lattice, box, maps, min_views, field, fixed)
    field = (continued or continue_field)(field, fixed)
    vertices, faces = surface_of_field(field)
    return vertices + box.low, faces


def surface_of_field(
    field: Float32[np.ndarray, "x y z"],
) -> tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]:
    """Return where a field is 0; faces look to where it is positive.

    Args:
        field: values at the points of a grid, ``[x,y,z]``.

    Returns:
        Vertices in steps of the grid, ``[v,3]``, and faces, ``[f,3]``.
    """
    everywhere = np.ones((CHUNK + 1,) * 3, np.bool_)

    def samples(chunk: Int32[np.ndarray, " 3"]) -> Field:
        values = np.ones((CHUNK + 1,) * 3, np.float32)
        part = field[tuple(slice(c * CHUNK, c * CHUNK + CHUNK + 1) for c in chunk)]
        values[tuple(slice(n) for n in part.shape)] = part
        return values, everywhere, everywhere

    chunks = np.stack(np.meshgrid(*(np.arange(-(-n // CHUNK)) for n in field.shape), indexing="ij"), -1)
    return march(chunks.reshape(-1, 3).astype(np.int32), samples)


def _copy_known(
    volume: TsdfVolume,
    box: Box,
    min_weight: float,
    field: Float32[np.ndarray, "x y z"],
    fixed: Bool[np.ndarray, "x y z"],
) -> None:
    first, last = box.low // SIDE, (box.low + box.size - 1) // SIDE

    def slab(chunk: int) -> None:
        bounds = (int(first[0]) + chunk, first, last)
        _copy_slab(volume.keys, (volume.distance, volume.weight), bounds, box.low, np.float32(min_weight), field, fixed)

    run_chunks(slab, int(last[0] - first[0] + 1))


def _carve(
    lattice: Lattice,
    box: Box,
    maps: Iterable[PixelRays],
    min_views: int,
    field: Float32[np.ndarray, "x y z"],
    fixed: Bool[np.ndarray, "x y z"],
) -> None:
    """Empty the cells of 4x4x4 voxels that maps see through, where nothing is known yet."""
    views = np.zeros(tuple(box.size // _CARVE), np.uint8)
    corner = np.array(lattice.origin) + lattice.voxel * (box.low + 0.5 * (_CARVE - 1))
    margin = lattice.truncation + lattice.voxel * _CARVE
    for rays in maps:
        pose = (rays.cam_from_world, corner, lattice.voxel * _CARVE, margin)

        def layer(x: int, rays: PixelRays = rays, pose: tuple[object, ...] = pose) -> None:
            _count_free(rays.inverse_z, rays.lens, pose, x, views)

        run_chunks(layer, len(views))
    free = views >= min_views
    for axis in range(3):
        free = np.repeat(free, _CARVE, axis=axis)
    free &= ~fixed
    field[free] = 1.0
    fixed |= free


def continue_field(
    field: Float32[np.ndarray, "x y z"], fixed: Bool[np.ndarray, "x y z"], border: float = 1.0, reach: float = np.inf
) -> Float32[np.ndarray, "x y z"]:
    """Return the field with all that is not fixed continued smoothly, from coarse to fine.

    Args:
        field: values, ``[x,y,z]``; those that are not fixed do not matter.
        fixed: which values stay, ``[x,y,z]``.
        border: value at the border of the box; 1 = empty.
        reach: number of points after which the continuation has faded to 1/e.
    """
    for axis in range(3):
        for end in (0, -1):
            side = [slice(None)] * 3
            side[axis] = slice(end, end + 1 or None)
            field[tuple(side)], fixed[tuple(side)] = border, True
    fading = np.float32(1.0 / (6.0 + 1.0 / reach**2))  # of (discrete) Laplace c = c / reach^2
    if min(field.shape) <= _COARSEST:
        start = np.where(fixed, field, np.float32(border)).astype(np.float32)
        return _relax(start, fixed, _ITERATIONS * _COARSEST, fading)
    half = tuple(-(-n // 2) for n in field.shape)
    coarse, known = np.full(half, border, np.float32), np.zeros(half, np.bool_)
    run_chunks(lambda x: _halve(field, fixed, x, coarse, known), half[0])
    coarse = continue_field(coarse, known, border, reach / 2)
    run_chunks(lambda x: _double(coarse, fixed, x, field), len(field))
    return _relax(field, fixed, _ITERATIONS, fading)


def _relax(
    field: Float32[np.ndarray, "x y z"], fixed: Bool[np.ndarray, "x y z"], n_iterations: int, fading: np.float32
) -> Float32[np.ndarray, "x y z"]:
    """Replace what is not fixed by the mean of its neighbours, again and again (Jacobi: no order, the same bits)."""
    other = field.copy()
    for _ in range(n_iterations):
        run_chunks(partial(_average_slab, field, fixed, fading, other), -(-len(field) // _SLABS))
        field, other = other, field
    return field


def _average_slab(
    source: Float32[np.ndarray, "x y z"],
    fixed: Bool[np.ndarray, "x y z"],
    fading: np.float32,
    target: Float32[np.ndarray, "x y z"],
    slab: int,
) -> None:
    _average(source, fixed, slab * _SLABS, fading, target)


@kernel
@no_type_check
def _copy_slab(keys, fields, bounds, low, min_weight, field, fixed):
    x, first, last = bounds
    for y in range(first[1], last[1] + 1):
        for z in range(first[2], last[2] + 1):
            block = find_block(keys, x, y, z)
            if block < 0:
                continue
            for index in range(SIDE**3):
                i = x * SIDE + (index >> 6) - low[0]
                j = y * SIDE + ((index >> 3) & 7) - low[1]
                k = z * SIDE + (index & 7) - low[2]
                inside = 0 <= i < field.shape[0] and 0 <= j < field.shape[1] and 0 <= k < field.shape[2]
                if inside and fields[1][block, index] >= min_weight:
                    field[i, j, k] = fields[0][block, index]
                    fixed[i, j, k] = True


@kernel
@no_type_check
def _count_free(inverse, lens, pose, x, views):
    """Count a map for the cells of one layer that lie in front of its surface by the margin."""
    matrix, corner, side, margin = pose
    h, w = inverse.shape
    for y in range(views.shape[1]):
        for z in range(views.shape[2]):
            a, b, c = corner[0] + side * x, corner[1] + side * y, corner[2] + side * z
            depth = matrix[2, 0] * a + matrix[2, 1] * b + matrix[2, 2] * c + matrix[2, 3]
            if depth <= 0:
                continue
            u = lens[0] * (matrix[0, 0] * a + matrix[0, 1] * b + matrix[0, 2] * c + matrix[0, 3]) / depth + lens[2]
            v = lens[1] * (matrix[1, 0] * a + matrix[1, 1] * b + matrix[1, 2] * c + matrix[1, 3]) / depth + lens[3]
            if u >= 0 and v >= 0 and u < w and v < h and views[x, y, z] < 255:
                q = inverse[int(v), int(u)]
                if q > 0 and q * (depth + margin) < 1:
                    views[x, y, z] += np.uint8(1)


@kernel
@no_type_check
def _halve(field, fixed, x, coarse, known):
    """Average the fixed values of two by two by two points."""
    nx, ny, nz = field.shape
    for y in range(coarse.shape[1]):
        for z in range(coarse.shape[2]):
            total, n = np.float32(0), 0
            for corner in range(8):
                i, j, k = 2 * x + (corner >> 2), 2 * y + ((corner >> 1) & 1), 2 * z + (corner & 1)
                if i < nx and j < ny and k < nz and fixed[i, j, k]:
                    total += field[i, j, k]
                    n += 1
            if n > 0:
                coarse[x, y, z] = total / np.float32(n)
                known[x, y, z] = True


@kernel
@no_type_check
def _double(coarse, fixed, x, field):
    for y in range(field.shape[1]):
        for z in range(field.shape[2]):
            if not fixed[x, y, z]:
                field[x, y, z] = coarse[x >> 1, y >> 1, z >> 1]


@kernel
@no_type_check
def _average(source, fixed, first, fading, target):
    for x in range(max(first, 1), min(first + _SLABS, source.shape[0] - 1)):
        for y in range(1, source.shape[1] - 1):
            for z in range(1, source.shape[2] - 1):
                if fixed[x, y, z]:
                    target[x, y, z] = source[x, y, z]
                else:
                    total = source[x - 1, y, z] + source[x + 1, y, z] + source[x, y - 1, z]
                    total += source[x, y + 1, z] + source[x, y, z - 1] + source[x, y, z + 1]
                    target[x, y, z] = total * fading
