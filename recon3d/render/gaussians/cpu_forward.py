"""CPU kernels that blend the Gaussians of each tile front to back.

The pixels of a tile are kept as rows of 16 numbers per quantity, and every loop over such a row has a fixed length and
no branch, which compilers turn into a few vector instructions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_scene import TILE, TiledScene

_F = np.float32
_ZERO, _ONE, _HALF, _MIDDLE = _F(0), _F(1), _F(0.5), _F(7.5)
# 2^q on [-1,0] to a relative error of 8e-8: Chebyshev-like fit, exact at 0.
_E1, _E2, _E3, _E4, _E5 = _F(0.69314372), _F(0.24018014), _F(0.055297339), _F(0.0092057771), _F(0.00094489557)
_LIGHT, _LAST, _DEPTH, _MEDIAN, _WEIGHT, N_PLANES = 0, 16, 32, 48, 64, 80
_CHECK = 8  # Gaussians between two looks at whether a tile is complete


@dataclass(frozen=True, eq=False)
class Blended:
    """What the image looks like, and what the backward pass needs.

    Args:
        image: without background, ``[h,w,c]``.
        transmittance: what is left behind all Gaussians, ``[h,w]``.
        depth_sum: blend-weighted sum of depths, ``[h,w]``.
        median: depth at which the transmittance falls to one half, ``[h,w]``.
        last: place in the tile's list of the last Gaussian that was blended, -1 = none, ``[h,w]``.
        used: how many Gaussians of each tile were looked at, ``[tiles]``.
    """

    image: Float32[np.ndarray, "h w c"]
    transmittance: Float32[np.ndarray, "h w"]
    depth_sum: Float32[np.ndarray, "h w"]
    median: Float32[np.ndarray, "h w"]
    last: Float32[np.ndarray, "h w"]
    used: Int32[np.ndarray, " tiles"]


def tile_chunks(scene: TiledScene) -> tuple[int, int]:
    """Return how many tiles make a chunk, and how many chunks there are."""
    n_tiles = scene.grid.nx * scene.grid.ny
    size = max(4, n_tiles // 64)
    return size, -(-n_tiles // size)


def blend(scene: TiledScene) -> Blended:
    """Blend the Gaussians of a scene front to back."""
    h, w, c = scene.height, scene.width, scene.features.shape[1]
    n_tiles = scene.grid.nx * scene.grid.ny
    light, depth_sum, median, last = (np.empty((h, w), np.float32) for _ in range(4))
    out = Blended(np.empty((h, w, c), np.float32), light, depth_sum, median, last, np.zeros(n_tiles, np.int32))
    arrays = (scene.lists.starts, scene.lists.ranks, scene.curves, scene.features, scene.rules, scene.grid.nx)
    results = (out.image, out.transmittance, out.depth_sum, out.median, out.last, out.used)
    size, n_chunks = tile_chunks(scene)
    run_chunks(lambda i: _blend_tiles(i * size, min(n_tiles, (i + 1) * size), *arrays, *results), n_chunks)
    return out


@kernel
@no_type_check
def power(q):
    """Return ``2^(8 q)``; relative error below 1e-6 for q in [-1,0]."""
    value = ((((_E5 * q + _E4) * q + _E3) * q + _E2) * q + _E1) * q + _ONE
    value *= value
    value *= value
    return value * value


@kernel
@no_type_check
def row_range(curve, top):
    """Return the rows of a tile that a Gaussian touches."""
    middle, half = curve[1] - top - _HALF, curve[6] + _F(1e-3)
    first, last = max(ceil(middle - half), _ZERO), min(floor(middle + half), _F(TILE - 1))
    return int(first), int(last) + 1


@kernel
@no_type_check
def exponent(curve, left, top, y):
    """Return the coefficients of the exponent of a Gaussian along a row, as a polynomial about the row's middle."""
    dy = _F(y) + (top + _HALF - curve[1])
    x = curve[0] - (left + _F(8)) + curve[2] * dy
    return curve[5] - curve[3] * dy * dy - curve[4] * x * x, _F(2) * curve[4] * x, -curve[4]


@kernel
@no_type_check
def _weigh_row(state, y, p0, p1, p2, low, high, stop, number, depth):
    """Advance transmittance, depths and last Gaussian of a row by one Gaussian, and leave its weights in the state."""
    for j in range(16):
        x = _F(j) - _MIDDLE
        p = (p2 * x + p1) * x + p0
        alpha = power(p if p < high else high)
        alpha = alpha if p >= low else _ZERO
        light = state[y, j]
        weight = alpha * light
        after = light - weight
        open_ = after > stop
        weight = weight if open_ else _ZERO
        state[y, j] = after if open_ else -abs(light)
        state[y, _LAST + j] = number if weight > _ZERO else state[y, _LAST + j]
        state[y, _DEPTH + j] += weight * depth
        state[y, _MEDIAN + j] = depth if light > _HALF else state[y, _MEDIAN + j]
        state[y, _WEIGHT + j] = weight


@kernel
@no_type_check
def _add_row(state, y, total, features, rank):
    for k in range(features.shape[1]):
        value = features[rank, k]
        for j in range(16):
            total[y, k, j] += state[y, _WEIGHT + j] * value


@kernel
@no_type_check
def _is_complete(state):
    most = -_ONE
    for y in range(16):
        for j in range(16):
            most = state[y, j] if state[y, j] > most else most
    return most < _ZERO


@kernel
@no_type_check
def _start_tile(state, total, rows, columns):
    """Empty the state of a tile; pixels beyond the image are complete."""
    total[:] = _ZERO
    for y in range(16):
        for j in range(16):
            state[y, j] = _ONE if y < rows and j < columns else -_ONE
            state[y, _LAST + j] = -_ONE
            state[y, _DEPTH + j] = _ZERO
            state[y, _MEDIAN + j] = _ZERO


@kernel
@no_type_check
def _finish_tile(state, total, top, left, rows, columns, image, lights, depth_sum, median, last):
    for y in range(rows):
        for j in range(columns):
            light = abs(state[y, j])
            for k in range(image.shape[2]):
                image[top + y, left + j, k] = total[y, k, j]
            lights[top + y, left + j] = light
            depth_sum[top + y, left + j] = state[y, _DEPTH + j]
            median[top + y, left + j] = state[y, _MEDIAN + j] if light <= _HALF else _ZERO
            last[top + y, left + j] = state[y, _LAST + j]


@kernel
@no_type_check
def _blend_tile(start, stop, ranks, curves, features, rules, left, top, state, total):
    """Blend one tile; return how many of its Gaussians were looked at."""
    for i in range(start, stop):
        rank = ranks[i]
        first, last = row_range(curves[rank], top)
        for y in range(first, last):
            p0, p1, p2 = exponent(curves[rank], left, top, y)
            number, depth = _F(i - start), curves[rank, 7]
            _weigh_row(state, y, p0, p1, p2, rules[0], rules[1], rules[2], number, depth)
            _add_row(state, y, total, features, rank)
        if (i - start) % _CHECK == _CHECK - 1 and _is_complete(state):
            return i + 1 - start
    return stop - start


@kernel
@no_type_check
def _blend_tiles(
    first, stop, starts, ranks, curves, features, rules, nx, image, lights, depth_sum, median, last, used
):  # fmt: skip
    state = np.empty((16, N_PLANES), np.float32)
    total = np.empty((16, features.shape[1], 16), np.float32)
    height, width = lights.shape
    for tile in range(first, stop):
        left, top = tile % nx * TILE, tile // nx * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        _start_tile(state, total, rows, columns)
        used[tile] = _blend_tile(
            starts[tile], starts[tile + 1], ranks, curves, features, rules, _F(left), _F(top), state, total
        )
        _finish_tile(state, total, top, left, rows, columns, image, lights, depth_sum, median, last)
