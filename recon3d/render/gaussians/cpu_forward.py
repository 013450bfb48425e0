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
from recon3d.render.gaussians.cpu_blocks import (
    BLOCKS,
    DEPTH,
    FIRST,
    LOCAL,
    NUMBER,
    block_coordinates,
    localise,
    touched_blocks,
)
from recon3d.render.gaussians.cpu_scene import N_SHAPE, TILE, TiledScene
from recon3d.render.gaussians.cpu_simd import (
    aligned,
    at,
    bits,
    exp2,
    load,
    lowest_bit,
    magnitude,
    mark,
    put,
    scratch,
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


@dataclass(frozen=True, eq=False)
class Blended:
    """What the image looks like, and what the backward pass needs.

    Args:
        image: over the background, ``[h,w,c]``.
        alpha: one minus the transmittance behind all Gaussians, ``[h,w]``.
        expected: blend-weighted mean depth, ``[h,w]``.
        median: depth at which the transmittance falls to one half, ``[h,w]``.
        ends: for each tile and block the transmittance behind all Gaussians, and the place in the tile's list of the
            last one that was blended, -1 = none, ``[tiles,512]``.
    """

    image: Float32[np.ndarray, "h w c"]
    alpha: Float32[np.ndarray, "h w"]
    expected: Float32[np.ndarray, "h w"]
    median: Float32[np.ndarray, "h w"]
    ends: Float32[np.ndarray, "tiles 512"]


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
    ends = aligned(n_tiles, 2 * TILE * TILE)
    out = Blended(np.empty((h, w, c), np.float32), alpha, expected, median, ends)
    arrays = (scene.lists.starts, scene.lists.members, scene.records, scene.rules, scene.grid.nx, background)
    results = (block_coordinates(), out.image, alpha, expected, median, ends)
    size, n_chunks = tile_chunks(scene)
    run_chunks(lambda i: _blend_tiles(i * size, min(n_tiles, (i + 1) * size), *arrays, *results), n_chunks)
    return out


@kernel(order="fused", inline=True)
@no_type_check
def _fill_word(start, stop, begin, first, members, records, depth_at, rules, x, y, coordinates, local):
    """Write up to 32 Gaussians of a tile relative to its middle (x, y); return their bits in each block's word."""
    words = spread(_ZERO)
    for i in range(start, stop):
        place = (first + i - start) * LOCAL
        localise(members, i, records, depth_at, x, y, local, place)
        put(local, place + NUMBER, _F(i - begin))
        touched = touched_blocks(local, place, rules[0], coordinates)
        words = mark(words, touched, np.int32(1 << (i - start)))
    return words


@kernel(order="fused", inline=True)
@no_type_check
def _word(words, block, half):
    """Return the bits of 64 Gaussians of a batch in a block."""
    return np.int64(at(words, 32 * half + block)) | np.int64(at(words, 32 * half + block + 16)) << 32


@kernel(order="fused", inline=True)
@no_type_check
def _blend_block(block, words, local, rules, coordinates, state, base, weights):
    """Blend up to ``n`` Gaussians into a block; return how many it took, and whether light is left behind them."""
    x, y = load(coordinates, block * 32), load(coordinates, block * 32 + 16)
    low, high, stop = spread(rules[0]), spread(rules[1]), spread(rules[2])
    light, last, median = load(state, base), load(state, base + _LAST), load(state, base + _MEDIAN)
    v0, v1 = load(state, base + _VALUES), load(state, base + _VALUES + 16)
    v2, v3 = load(state, base + _VALUES + 32), load(state, base + _VALUES + 48)
    k, left = 0, 1
    for half in range(2):
        word = _word(words, block, half)
        while word != 0 and left != 0:
            o = (64 * half + lowest_bit(word)) * LOCAL
            word &= word - 1
            u = spread_from(local, o) * x + (spread_from(local, o + 1) * y + spread_from(local, o + 2))
            v = spread_from(local, o + 3) * y + spread_from(local, o + 4)
            power = spread_from(local, o + 5) - u * u - v * v
            alpha = select(power >= low, exp2(select(power < high, power, high)), _ZERO)
            weight = alpha * light
            after = light - weight
            open_ = after > stop
            left = bits(open_)
            weight = select(open_, weight, _ZERO)
            median = select(light > _HALF, spread_from(local, o + DEPTH), median)
            last = select(weight > _ZERO, spread_from(local, o + NUMBER), last)
            light = select(open_, after, _ZERO - magnitude(light))
            v0 = v0 + weight * spread_from(local, o + FIRST)
            v1 = v1 + weight * spread_from(local, o + FIRST + 1)
            v2 = v2 + weight * spread_from(local, o + FIRST + 2)
            v3 = v3 + weight * spread_from(local, o + FIRST + 3)
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
def _add_values(block, words, n, weights, start, members, records, state, base):
    """Add the values behind the first four to a block whose ``n`` weights are known."""
    stride = records.shape[1]
    for group in range(4, stride - N_SHAPE, 4):
        plane = base + _VALUES + group * 16
        v0, v1 = load(state, plane), load(state, plane + 16)
        v2, v3 = load(state, plane + 32), load(state, plane + 48)
        half, word = 0, _word(words, block, 0)
        for k in range(n):
            if word == 0:
                half, word = 64, _word(words, block, 1)
            o, weight = at(members, start + half + lowest_bit(word)) * stride + N_SHAPE + group, load(weights, k * 16)
            word &= word - 1
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
    channels, width = len(background), alpha.shape[1]
    for y in range(rows):
        for x in range(columns):
            place = (y // 4 * 4 + x // 4) * planes + y % 4 * 4 + x % 4
            pixel, light = (top + y) * width + left + x, abs(at(state, place))
            for k in range(channels):
                value = at(state, place + _VALUES + 16 * k) + light * at(background, k)
                put(image, pixel * channels + k, value)
            opaque = _ONE - light
            depth = at(state, place + _VALUES + 16 * channels) / (opaque if opaque > _ZERO else _ONE)
            put(alpha, pixel, opaque)
            put(expected, pixel, depth)
            put(median, pixel, at(state, place + _MEDIAN) if light <= _HALF else _ZERO)
    for block in range(BLOCKS):
        store(ends, block * 16, magnitude(load(state, block * planes)))
        store(ends, block * 16 + 256, load(state, block * planes + _LAST))


@kernel
@no_type_check
def _blend_tile(
    begin, end, members, records, depth_at, rules, x, y, alive, coordinates, state, planes, local, words, weights
):
    """Blend one tile, batch after batch, until no light is left."""
    as_bits = words.view(np.uint32)
    for start in range(begin, end, BATCH):
        for part in range(4):
            first, stop = min(start + 32 * part, end), min(start + 32 * part + 32, end)
            found = _fill_word(
                first, stop, begin, 32 * part, members, records, depth_at, rules, x, y, coordinates, local
            )
            store(words, part * 16, found)
        left = alive
        while left != 0:
            block = lowest_bit(left)
            left &= left - 1
            base = block * planes
            n, open_ = _blend_block(block, as_bits, local, rules, coordinates, state, base, weights)
            if planes > _VALUES + 64:
                _add_values(block, as_bits, n, weights, start, members, records, state, base)
            if not open_:
                alive &= ~(1 << block)
        if alive == 0:
            break


@kernel
@no_type_check
def _blend_tiles(
    first, stop, starts, members, records, rules, nx, background, coordinates, image, alpha, expected, median, ends
):  # fmt: skip
    channels = len(background)
    planes = _VALUES + 16 * (records.shape[1] - N_SHAPE)
    state, weights = scratch(BLOCKS * planes), scratch(BATCH * 16)
    local, words = scratch(BATCH * LOCAL), scratch(64)
    height, width = alpha.shape
    for tile in range(first, stop):
        left, top = tile % nx * TILE, tile // nx * TILE
        rows, columns = min(TILE, height - top), min(TILE, width - left)
        alive = _start_tile(state, planes, rows, columns)
        _blend_tile(
            starts[tile], starts[tile + 1], members, records, N_SHAPE + channels, rules,
            _F(left) + _MIDDLE, _F(top) + _MIDDLE, alive, coordinates, state, planes, local, words, weights,
        )  # fmt: skip
        _finish_tile(
            state, planes, top, left, rows, columns, background, image, alpha, expected, median, ends[tile]
        )  # fmt: skip
