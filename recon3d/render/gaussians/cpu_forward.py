"""CPU kernels that blend the Gaussians of each tile front to back, a block of 4x4 pixels at a time.

The Gaussians of a tile come in batches. For each of a batch the blocks that it touches are found and its place is
appended to their lists; then each block runs through its list with its pixels in vector registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_blocks import BLOCKS, block_coordinates, touched_blocks
from recon3d.render.gaussians.cpu_scene import N_SHAPE, TILE, TiledScene
from recon3d.render.gaussians.cpu_simd import (
    bits,
    exp2,
    load,
    lowest_bit,
    magnitude,
    select,
    spread,
    spread_from,
    store,
)

_F = np.float32
_ZERO, _ONE, _HALF, _MIDDLE = _F(0), _F(1), _F(0.5), _F(8)
BATCH = 128
# Planes of a block's state, 16 numbers each; the values follow.
_LIGHT, _LAST, _MEDIAN, _VALUES = 0, 16, 32, 48
# Numbers of a Gaussian in a batch: a, b, c, d, e, l; then its place in the tile's list, its depth and four values.
_NUMBER, _DEPTH, _FIRST, _LOCAL = 6, 7, 8, 12


@dataclass(frozen=True, eq=False)
class Blended:
    """What the image looks like, and what the backward pass needs.

    Args:
        image: over the background, ``[h,w,c]``.
        alpha: one minus the transmittance behind all Gaussians, ``[h,w]``.
        expected: blend-weighted mean depth, ``[h,w]``.
        median: depth at which the transmittance falls to one half, ``[h,w]``.
        ends: for each tile and block the transmittance behind all Gaussians, and the place in the tile's list of the
            last one that was blended, -1 = none, ``[tiles,2,256]``.
    """

    image: Float32[np.ndarray, "h w c"]
    alpha: Float32[np.ndarray, "h w"]
    expected: Float32[np.ndarray, "h w"]
    median: Float32[np.ndarray, "h w"]
    ends: Float32[np.ndarray, "tiles 2 256"]


def tile_chunks(scene: TiledScene) -> tuple[int, int]:
    """Return how many tiles make a chunk, and how many chunks there are."""
    n_tiles = scene.grid.nx * scene.grid.ny
    size = max(4, n_tiles // 64)
    return size, -(-n_tiles // size)


def blend(scene: TiledScene, background: Float32[np.ndarray, " c"]) -> Blended:
    """Blend the Gaussians of a scene front to back, over a background."""
    h, w, c = scene.height, scene.width, len(background)
    n_tiles = scene.grid.nx * scene.grid.ny
    alpha, expected, median = (np.empty((h, w), np.float32) for _ in range(3))
    ends = np.empty((n_tiles, 2, TILE * TILE), np.float32)
    out = Blended(np.empty((h, w, c), np.float32), alpha, expected, median, ends)
    arrays = (scene.lists.starts, scene.lists.ranks, scene.records, scene.rules, scene.grid.nx, background)
    results = (block_coordinates(), out.image, alpha, expected, median, ends)
    size, n_chunks = tile_chunks(scene)
    run_chunks(lambda i: _blend_tiles(i * size, min(n_tiles, (i + 1) * size), *arrays, *results), n_chunks)
    return out


@kernel
@no_type_check
def _fill_batch(start, stop, begin, ranks, records, depth_at, rules, x, y, alive, coordinates, local, lists, counts):
    """Write some Gaussians of a tile relative to its middle (x, y), and the lists of its blocks."""
    counts[:] = 0
    for i in range(start, stop):
        record = records[ranks[i]]
        a, b, d = record[2], record[3], record[4]
        dx, dy = x - record[0], y - record[1]
        c, e = a * dx + b * dy, d * dy
        touched = alive & touched_blocks(a, b, c, d, e, record[5] - rules[0], -dx, record[6], coordinates)
        if touched == 0:
            continue
        j = i - start
        local[j, 0], local[j, 1], local[j, 2], local[j, 3], local[j, 4], local[j, 5] = a, b, c, d, e, record[5]
        local[j, _NUMBER], local[j, _DEPTH] = i - begin, record[depth_at]
        local[j, _FIRST], local[j, _FIRST + 1] = record[N_SHAPE], record[N_SHAPE + 1]
        local[j, _FIRST + 2], local[j, _FIRST + 3] = record[N_SHAPE + 2], record[N_SHAPE + 3]
        while touched:
            block = lowest_bit(touched)
            touched &= touched - 1
            lists[block, counts[block]] = j
            counts[block] += 1


@kernel
@no_type_check
def _blend_block(block, places, n, local, rules, coordinates, state, base, weights):
    """Blend up to ``n`` Gaussians into a block; return how many it took, and whether light is left behind them."""
    x, y = load(coordinates, block * 32), load(coordinates, block * 32 + 16)
    low, high, stop = spread(rules[0]), spread(rules[1]), spread(rules[2])
    light, last, median = load(state, base), load(state, base + _LAST), load(state, base + _MEDIAN)
    v0, v1 = load(state, base + _VALUES), load(state, base + _VALUES + 16)
    v2, v3 = load(state, base + _VALUES + 32), load(state, base + _VALUES + 48)
    k, left = 0, 1
    while k < n and left != 0:
        o = places[k] * _LOCAL
        u = spread_from(local, o) * x + (spread_from(local, o + 1) * y + spread_from(local, o + 2))
        v = spread_from(local, o + 3) * y + spread_from(local, o + 4)
        power = spread_from(local, o + 5) - u * u - v * v
        alpha = select(power >= low, exp2(select(power < high, power, high)), _ZERO)
        weight = alpha * light
        after = light - weight
        open_ = after > stop
        left = bits(open_)
        weight = select(open_, weight, _ZERO)
        median = select(light > _HALF, spread_from(local, o + _DEPTH), median)
        last = select(weight > _ZERO, spread_from(local, o + _NUMBER), last)
        light = select(open_, after, _ZERO - magnitude(light))
        v0 = v0 + weight * spread_from(local, o + _FIRST)
        v1 = v1 + weight * spread_from(local, o + _FIRST + 1)
        v2 = v2 + weight * spread_from(local, o + _FIRST + 2)
        v3 = v3 + weight * spread_from(local, o + _FIRST + 3)
        store(weights, k * 16, weight)
        k += 1
    store(state, base, light)
    store(state, base + _LAST, last)
    store(state, base + _MEDIAN, median)
    store(state, base + _VALUES, v0)
    store(state, base + _VALUES + 16, v1)
    store(state, base + _VALUES + 32, v2)
    store(state, base + _VALUES + 48, v3)
    return k, left != 0


@kernel
@no_type_check
def _add_values(places, n, weights, start, ranks, records, first, state, base):
    """Add the values from ``first`` on, four at a time, to a block whose weights are known."""
    for group in range(first, records.shape[1], 4):
        plane = base + _VALUES + (group - N_SHAPE) * 16
        v0, v1 = load(state, plane), load(state, plane + 16)
        v2, v3 = load(state, plane + 32), load(state, plane + 48)
        for k in range(n):
            o, weight = ranks[start + places[k]] * records.shape[1] + group, load(weights, k * 16)
            v0 = v0 + weight * spread_from(records, o)
            v1 = v1 + weight * spread_from(records, o + 1)
            v2 = v2 + weight * spread_from(records, o + 2)
            v3 = v3 + weight * spread_from(records, o + 3)
        store(state, plane, v0)
        store(state, plane + 16, v1)
        store(state, plane + 32, v2)
        store(state, plane + 48, v3)


@kernel
@no_type_check
def _start_tile(state, planes, rows, columns):
    """Empty the state of a tile, and return its blocks in the image as bits; pixels beyond the image are complete."""
    state[:] = _ZERO
    alive = 0
    for block in range(BLOCKS):
        left, top, base = block % 4 * 4, block // 4 * 4, block * planes
        if top < rows and left < columns:
            alive |= 1 << block
        for lane in range(16):
            inside = top + lane // 4 < rows and left + lane % 4 < columns
            state[base + lane] = _ONE if inside else -_ONE
            state[base + _LAST + lane] = -_ONE
    return alive


@kernel
@no_type_check
def _finish_tile(state, planes, top, left, rows, columns, background, image, alpha, expected, median, ends):
    channels = len(background)
    for y in range(rows):
        for x in range(columns):
            place = (y // 4 * 4 + x // 4) * planes + y % 4 * 4 + x % 4
            light = abs(state[place])
            for k in range(channels):
                image[top + y, left + x, k] = state[place + _VALUES + 16 * k] + light * background[k]
            opaque = _ONE - light
            depth = state[place + _VALUES + 16 * channels]
            alpha[top + y, left + x] = opaque
            expected[top + y, left + x] = depth / opaque if opaque > _ZERO else _ZERO
            median[top + y, left + x] = state[place + _MEDIAN] if light <= _HALF else _ZERO
    for block in range(BLOCKS):
        store(ends, block * 16, magnitude(load(state, block * planes)))
        store(ends, block * 16 + 256, load(state, block * planes + _LAST))


@kernel
@no_type_check
def _blend_tile(
    begin, end, ranks, records, depth_at, rules, x, y, alive, coordinates, state, planes, local, lists, counts, weights
):  # fmt: skip
    """Blend one tile, batch after batch, until no light is left."""
    channels = (planes - _VALUES) // 16
    for start in range(begin, end, BATCH):
        stop = min(start + BATCH, end)
        _fill_batch(start, stop, begin, ranks, records, depth_at, rules, x, y, alive, coordinates, local, lists, counts)
        for block in range(BLOCKS):
            if counts[block] == 0:
                continue
            places, base = lists[block], block * planes
            n, open_ = _blend_block(block, places, counts[block], local, rules, coordinates, state, base, weights)
            if channels > 4:
                _add_values(places, n, weights, start, ranks, records, N_SHAPE + 4, state, base)
            if not open_:
                alive &= ~(1 << block)
        if alive == 0:
            break


@kernel
@no_type_check
def _blend_tiles(
    first, stop, starts, ranks, records, rules, nx, background, coordinates, image, alpha, expected, median, ends
):  # fmt: skip
    channels = len(background)
    planes = _VALUES + 16 * (records.shape[1] - N_SHAPE)
    state, weights = np.empty(BLOCKS * planes, np.float32), np.empty(BATCH * 16, np.float32)
    local = np.empty((BATCH, _LOCAL), np.float32)
    lists, counts = np.empty((BLOCKS, BATCH), np.int32), np.empty(BLOCKS, np.int64)
    height, width = alpha.shape
    for tile in range(first, stop):
        left, top = tile % nx * TILE, tile // nx * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        alive = _start_tile(state, planes, rows, columns)
        _blend_tile(
            starts[tile], starts[tile + 1], ranks, records, N_SHAPE + channels, rules,
            _F(left) + _MIDDLE, _F(top) + _MIDDLE, alive, coordinates, state, planes, local, lists, counts, weights,
        )  # fmt: skip
        _finish_tile(
            state, planes, top, left, rows, columns, background, image, alpha, expected, median, ends[tile]
        )  # fmt: skip
