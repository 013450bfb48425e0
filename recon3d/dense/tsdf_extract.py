"""The surface of a sparse signed distance field: marching cubes per chunk, with vertices shared across chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from recon3d.core.kernels import kernel, run_chunks
from recon3d.dense.tsdf import TsdfVolume
from recon3d.dense.tsdf_blocks import HALF_RANGE, SIDE, find_block, unpack

CHUNK = 64
_PER_CHUNK = CHUNK // SIDE
_LEAST = np.float32(1e-3)
_N_COLOUR = 1 << 14
_marching_cubes: Callable[..., Any] = marching_cubes  # it has no annotations
Field = tuple[Float32[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]]


def extract_surface(
    volume: TsdfVolume, min_weight: float, min_views: int
) -> tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]:
    """Return the surface in the cells of eight known voxels, of which one was confirmed by several maps.

    Args:
        volume: the field.
        min_weight: weight from which on a voxel is known; some map must have shown the surface near it as well.
        min_views: number of maps that must have shown the surface near the confirmed voxel.

    Returns:
        Vertices in voxels of the lattice, ``[v,3]``, and faces, counter-clockwise seen from in front, ``[f,3]``.
    """
    chunks = np.unique(unpack(volume.keys) // _PER_CHUNK, axis=0)
    fields = (volume.distance, volume.weight, volume.n_views)

    def field(chunk: Int32[np.ndarray, " 3"]) -> Field:
        values = np.ones((CHUNK + 1,) * 3, np.float32)
        known, confirmed = np.zeros((2, *values.shape), np.bool_)
        least = (np.float32(min_weight), min_views)
        _gather(volume.keys, chunk * _PER_CHUNK, fields, least, (values, known, confirmed))
        return values, known, confirmed

    return march(chunks, field)


def march(
    chunks: Int32[np.ndarray, "c 3"], field: Callable[[Int32[np.ndarray, " 3"]], Field]
) -> tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]:
    """Run marching cubes over chunks that share their border samples, and join their vertices.

    A vertex is known by the lattice edge that it lies on, not by its rounded position; so chunks join without a gap.

    Args:
        chunks: chunk coordinates; chunk c holds the lattice points 64 c to 64 c + 64, ``[c,3]``.
        field: samples of a chunk ``[65,65,65]``, which of them are known and which confirmed; cells with an unknown
            corner or without a confirmed one are left out.

    Returns:
        Vertices in voxels of the lattice, ``[v,3]``, and faces, ``[f,3]``.
    """
    parts: list[tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"], Int64[np.ndarray, " v"]] | None]
    parts = [None] * len(chunks)

    def one(row: int) -> None:
        parts[row] = _march_chunk(*field(chunks[row]), chunks[row], row)

    run_chunks(one, len(chunks))
    found = [part for part in parts if part is not None]
    if not found:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in found[:-1])])
    faces = np.concatenate([faces + start for (_, faces, _), start in zip(found, starts, strict=True)])
    _, first, joined = np.unique(np.concatenate([ids for _, _, ids in found]), return_index=True, return_inverse=True)
    vertices = np.concatenate([vertices for vertices, _, _ in found])[first]
    return vertices, joined.ravel()[faces].astype(np.int32)


def _march_chunk(
    values: Float32[np.ndarray, "x y z"],
    known: Bool[np.ndarray, "x y z"],
    confirmed: Bool[np.ndarray, "x y z"],
    chunk: Int32[np.ndarray, " 3"],
    row: int,
) -> tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"], Int64[np.ndarray, " v"]] | None:
    """Return vertices, faces and the identity of each vertex; None where the chunk holds no surface."""
    # A zero would put the vertices of several edges on one corner.
    np.copyto(values, np.copysign(_LEAST, values), where=np.abs(values) < _LEAST)
    cells = _over_cells(known, np.logical_and) & _over_cells(confirmed, np.logical_or)
    inside = values < 0
    if not cells.any() or inside.all() or not inside.any():
        return None
    mask = np.zeros_like(known)
    mask[1:, 1:, 1:] = cells  # scikit-image asks the far corner of a cell
    try:
        vertices, faces, _, _ = _marching_cubes(values, 0.0, mask=mask)
    except RuntimeError:  # its word for "no surface"
        return None
    return vertices + chunk * float(CHUNK), faces, _identities(vertices, chunk, row)


def _over_cells(known: Bool[np.ndarray, "x y z"], join: np.ufunc) -> Bool[np.ndarray, "x2 y2 z2"]:
    """Join the eight corners of every cell."""
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        known = join(known[tuple(low)], known[tuple(high)])
    return known


def _identities(
    vertices: Float32[np.ndarray, "v 3"], chunk: Int32[np.ndarray, " 3"], row: int
) -> Int64[np.ndarray, " v"]:
    """Return the packed lattice edge of each vertex; negative numbers for vertices inside a cell, which none shares."""
    whole = np.floor(vertices)
    off = vertices > whole
    edge = off.argmax(axis=1)
    x, y, z = (whole.astype(np.int64) + chunk.astype(np.int64) * CHUNK + HALF_RANGE * SIDE).T
    ids = (((x << 20 | y) << 20 | z) << 2) | edge
    inner = off.sum(axis=1) > 1
    ids[inner] = -1 - (np.flatnonzero(inner) + (np.int64(row) << 32))
    return np.asarray(ids, np.int64)


def vertex_colours(volume: TsdfVolume, vertices: Float64[np.ndarray, "v 3"]) -> UInt8[np.ndarray, "v 3"]:
    """Return the sRGB colour of each vertex, from the voxels around it or else from the nearest vertex that has one.

    Args:
        volume: the field with colours.
        vertices: in voxels of the lattice, ``[v,3]``.
    """
    rgb, coloured = np.zeros((len(vertices), 3), np.uint8), np.zeros(len(vertices), np.bool_)

    def part(chunk: int) -> None:
        first, last = chunk * _N_COLOUR, min((chunk + 1) * _N_COLOUR, len(vertices))
        _colour(volume.keys, volume.colour, vertices, first, last, rgb, coloured)

    run_chunks(part, -(-len(vertices) // _N_COLOUR))
    if coloured.any() and not coloured.all():
        _, nearest = cKDTree(vertices[coloured]).query(vertices[~coloured])
        rgb[~coloured] = rgb[coloured][nearest]
    return rgb


@kernel
@no_type_check
def _gather(keys, corner, fields, least, out):
    """Copy the samples of a chunk and of its far borders out of the blocks."""
    for x in range(_PER_CHUNK + 1):
        for y in range(_PER_CHUNK + 1):
            for z in range(_PER_CHUNK + 1):
                block = find_block(keys, corner[0] + x, corner[1] + y, corner[2] + z)
                if block >= 0:
                    _copy_block(block, x * SIDE, y * SIDE, z * SIDE, fields, least, out)


@kernel
@no_type_check
def _copy_block(block, x, y, z, fields, least, out):
    n = out[0].shape[0]
    for i in range(min(SIDE, n - x)):
        for j in range(min(SIDE, n - y)):
            for k in range(min(SIDE, n - z)):
                index = (i * SIDE + j) * SIDE + k
                out[0][x + i, y + j, z + k] = fields[0][block, index]
                out[1][x + i, y + j, z + k] = fields[1][block, index] >= least[0] and fields[2][block, index] > 0
                out[2][x + i, y + j, z + k] = fields[2][block, index] >= least[1]


@kernel
@no_type_check
def _colour(keys, colour, vertices, first, last, rgb, coloured):
    """Average the colours of the voxels around a vertex, by their nearness and not by how often they were seen."""
    for vertex in range(first, last):
        x, y, z = np.floor(vertices[vertex, 0]), np.floor(vertices[vertex, 1]), np.floor(vertices[vertex, 2])
        total = np.zeros(4)
        for corner in range(8):
            i, j, k = np.int64(x) + (corner >> 2), np.int64(y) + ((corner >> 1) & 1), np.int64(z) + (corner & 1)
            near = (1 - abs(vertices[vertex, 0] - i)) * (1 - abs(vertices[vertex, 1] - j))
            near *= 1 - abs(vertices[vertex, 2] - k)
            if near > 0:
                _add_colour(keys, colour, i, j, k, near, total)
        if total[3] > 0:
            coloured[vertex] = True
            for channel in range(3):
                rgb[vertex, channel] = np.uint8(min(total[channel] / total[3] + 0.5, 255.0))


@kernel
@no_type_check
def _add_colour(keys, colour, i, j, k, near, total):
    block = find_block(keys, i >> 3, j >> 3, k >> 3)
    if block < 0:
        return
    sample = colour[block, (((i & 7) << 3) | (j & 7)) << 3 | (k & 7)]
    if sample[3] > 0:
        for channel in range(3):
            total[channel] += near * sample[channel] / sample[3]
        total[3] += near
