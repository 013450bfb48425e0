"""CPU kernels of the gradients of blending: back to front, from what the forward pass left behind.

One Gaussian after the other passes over the blocks that it touches, with its sums in vector registers. What each pair
of a tile and a Gaussian contributes is written down, and summed per Gaussian in a second pass in a fixed order, so that
the bits do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_blocks import BLOCKS, FIRST, LOCAL, block_coordinates, localise, touched_blocks
from recon3d.render.gaussians.cpu_forward import BATCH, Blended, tile_chunks
from recon3d.render.gaussians.cpu_scene import N_SHAPE, TILE, Splats, TiledScene
from recon3d.render.gaussians.cpu_simd import (
    aligned,
    at,
    bits,
    both,
    exp2,
    fold1,
    fold2,
    fold4,
    fold8,
    load,
    lowest_bit,
    put,
    scratch,
    select,
    spread,
    spread_from,
    store,
    total,
)

_F = np.float32
_ZERO, _HALF, _ONE, _MIDDLE, _LN2 = _F(0), _F(0.5), _F(1), _F(8), _F(log(2))
_CHUNK = 8192
# Planes of a block's state, 16 numbers each: light, what lies behind per unit of light, the last Gaussian, the weight,
# and the derivatives by alpha and by the values.
_BEHIND, _LAST, _WEIGHT, _BY_ALPHA, _BY_VALUES = 16, 32, 48, 64, 80
_MOMENTS = 6  # numbers of a pair before its values: sums of dL/d(ln alpha) times 1, u, v, u^2, u v, v^2


@dataclass(frozen=True, eq=False)
class ByPixels:
    """Derivatives of a loss by what :func:`~recon3d.render.gaussians.cpu_forward.blend` returns.

    Args:
        image: ``[h,w,c]``.
        alpha: ``[h,w]``.
        expected: ``[h,w]``.
    """

    image: Float32[np.ndarray, "h w c"]
    alpha: Float32[np.ndarray, "h w"]
    expected: Float32[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class BySplats:
    """Derivatives of a loss by the fields of :class:`~recon3d.render.gaussians.cpu_scene.Splats` and the background."""

    means2d: Float32[np.ndarray, "g 2"]
    conics: Float32[np.ndarray, "g 3"]
    depths: Float32[np.ndarray, " g"]
    opacities: Float32[np.ndarray, " g"]
    features: Float32[np.ndarray, "g c"]
    background: Float32[np.ndarray, " c"]


def blend_backward(
    splats: Splats, scene: TiledScene, background: Float32[np.ndarray, " c"], blended: Blended, by: ByPixels
) -> BySplats:
    """Return the derivatives by the Gaussians and the background, given those by the pixels."""
    lists, c, g, n = scene.lists, len(background), len(splats.depths), len(scene.visible)
    n_tiles = scene.grid.nx * scene.grid.ny
    pairs = aligned(len(lists.members), 16 * -(-(_MOMENTS + c + 1) // 16))
    backgrounds = np.zeros((n_tiles, c), np.float32)
    arrays = (lists.starts, lists.members, lists.slots, scene.records, scene.rules, scene.grid.nx, background)
    pixels = (block_coordinates(), blended.alpha, blended.expected, blended.ends, by.image, by.alpha, by.expected)
    size, n_chunks = tile_chunks(scene)
    run_chunks(
        lambda i: _unblend_tiles(i * size, min(n_tiles, (i + 1) * size), *arrays, *pixels, pairs, backgrounds),
        n_chunks,
    )
    means2d, conics, features = (np.zeros((g, width), np.float32) for width in (2, 3, c))
    depths, opacities = np.zeros(g, np.float32), np.zeros(g, np.float32)
    inputs = (scene.visible, lists.slot_starts, pairs, scene.records, splats.opacities)
    results = (means2d, conics, depths, opacities, features)
    run_chunks(lambda i: _sum_pairs(i * _CHUNK, min(n, (i + 1) * _CHUNK), *inputs, *results), -(-n // _CHUNK))
    return BySplats(means2d, conics, depths, opacities, features, _sum_rows(backgrounds))


@kernel
@no_type_check
def _start_tile(
    state, planes, top, left, background, alpha, expected, ends, by_image, by_alpha, by_expected, by_background
):  # fmt: skip
    """Load the pixels of a tile, add up the derivative by the background; pixels beyond the image have no Gaussian."""
    channels = len(background)
    state[:] = _ZERO
    for block in range(BLOCKS):
        store(state, block * planes, load(ends, block * 16))
        store(state, block * planes + _LAST, load(ends, block * 16 + 256))
    height, width = alpha.shape
    for y in range(min(TILE, height - top)):
        for x in range(min(TILE, width - left)):
            place = (y // 4 * 4 + x // 4) * planes + y % 4 * 4 + x % 4
            pixel = (top + y) * width + left + x
            opaque, behind = at(alpha, pixel), _ZERO
            share = at(by_expected, pixel) / (opaque if opaque > _ZERO else _ONE)
            for k in range(channels):
                value = at(by_image, pixel * channels + k)
                put(state, place + _BY_VALUES + 16 * k, value)
                behind += value * at(background, k)
            put(state, place + _BEHIND, behind)
            put(state, place + _BY_VALUES + 16 * channels, share)
            put(state, place + _BY_ALPHA, at(by_alpha, pixel) - share * at(expected, pixel))
    for k in range(channels):
        sums = spread(_ZERO)
        for block in range(BLOCKS):
            base = block * planes
            sums = sums + load(state, base) * load(state, base + _BY_VALUES + 16 * k)
        put(by_background, k, total(sums))


@kernel
@no_type_check
def _last_numbers(ends, out):
    """Write for each block the last number of its pixels."""
    for block in range(BLOCKS):
        most = -_ONE
        for lane in range(16):
            most = max(most, ends[256 + block * 16 + lane])
        out[block] = most


@kernel(order="fused", inline=True)
@no_type_check
def _unblend_pair(touched, number, local, o, extra, first_extra, rules, coordinates, state, planes, pairs, slot):
    """Take one Gaussian off the blocks of a tile and write what the pair contributes.

    With Q what is seen behind a Gaussian per unit of light, and G the derivative by its weight, it is
    ``dL/dalpha = light (G - Q)``.
    """
    s = su = sv = suu = suv = svv = g0 = g1 = g2 = g3 = spread(_ZERO)
    while touched:
        block = lowest_bit(touched)
        touched &= touched - 1
        base, x, y = block * planes, load(coordinates, block * 32), load(coordinates, block * 32 + 16)
        # Read again for each block, as a part of the operation: kept in registers, they would push out the sums.
        u = spread_from(local, o) * x + (spread_from(local, o + 1) * y + spread_from(local, o + 2))
        v = spread_from(local, o + 3) * y + spread_from(local, o + 4)
        power, high = spread_from(local, o + 5) - u * u - v * v, spread_from(rules, 1)
        drawn = both(power >= spread_from(rules, 0), load(state, base + _LAST) >= number)
        alpha = select(drawn, exp2(select(power < high, power, high)), _ZERO)
        light = load(state, base) / (_ONE - alpha)
        weight = alpha * light
        store(state, base, light)
        by0, by1 = load(state, base + _BY_VALUES), load(state, base + _BY_VALUES + 16)
        by2, by3 = load(state, base + _BY_VALUES + 32), load(state, base + _BY_VALUES + 48)
        by_weight = load(state, base + _BY_ALPHA) + spread_from(local, o + FIRST) * by0
        by_weight = by_weight + spread_from(local, o + FIRST + 1) * by1 + spread_from(local, o + FIRST + 2) * by2
        by_weight = by_weight + spread_from(local, o + FIRST + 3) * by3
        if planes > _BY_VALUES + 64:
            for k in range((planes - _BY_VALUES) // 16 - 4):
                by_value = load(state, base + _BY_VALUES + 64 + 16 * k)
                by_weight = by_weight + spread_from(extra, first_extra + k) * by_value
            store(state, base + _WEIGHT, weight)
        behind = load(state, base + _BEHIND)
        difference = by_weight - behind
        store(state, base + _BEHIND, behind + alpha * difference)
        slope = select(power < high, weight * difference, _ZERO)
        g0, g1, g2, g3 = g0 + weight * by0, g1 + weight * by1, g2 + weight * by2, g3 + weight * by3
        along_u, along_v = slope * u, slope * v
        s, su, sv = s + slope, su + along_u, sv + along_v
        suu, suv, svv = suu + along_u * u, suv + along_u * v, svv + along_v * v
    zero = spread(_ZERO)
    first = fold2(fold4(fold8(s, su), fold8(sv, suu)), fold4(fold8(suv, svv), fold8(g0, g1)))
    store(pairs, slot, fold1(first, fold2(fold4(fold8(g2, g3), zero), zero)))


@kernel
@no_type_check
def _unblend_values(touched, state, planes, pair):
    """Write the derivatives by the values behind the first four of a Gaussian, whose weights are known."""
    for place in range(_MOMENTS + 4, len(pair)):
        sums, rest = spread(_ZERO), touched
        plane = _BY_VALUES + 16 * (place - _MOMENTS)
        while rest != 0 and plane < planes:
            base = lowest_bit(rest) * planes
            rest &= rest - 1
            sums = sums + load(state, base + _WEIGHT) * load(state, base + plane)
        pair[place] = total(sums)


@kernel
@no_type_check
def _unblend_tile(
    begin, end, members, slots, records, depth_at, rules, x, y, coordinates, state, planes, local, masks, lasts, pairs
):
    """Take the Gaussians of a tile off again, last one first."""
    stride, width = records.shape[1], pairs.shape[1]
    for stop in range(end, begin, -BATCH):
        start = max(stop - BATCH, begin)
        for j in range(stop - start):
            localise(members, start + j, records, depth_at, x, y, local, j * LOCAL)
            here = load(lasts, 0) >= _F(start + j - begin)
            put(masks, j, bits(both(here, touched_blocks(local, j * LOCAL, rules[0], coordinates))))
        for j in range(stop - start - 1, -1, -1):
            i, touched = start + j, at(masks, j)
            slot, extra = at(slots, i), at(members, i) * stride + N_SHAPE + 4
            if touched == 0:
                pairs[slot] = _ZERO
                continue
            _unblend_pair(
                touched,
                _F(i - begin),
                local,
                j * LOCAL,
                records,
                extra,
                rules,
                coordinates,
                state,
                planes,
                pairs,
                slot * width,
            )
            if planes > _BY_VALUES + 64:
                _unblend_values(touched, state, planes, pairs[slot])


@kernel
@no_type_check
def _unblend_tiles(
    first, stop, starts, members, slots, records, rules, nx, background,
    coordinates, alpha, expected, ends, by_image, by_alpha, by_expected, pairs, backgrounds,
):  # fmt: skip
    planes = _BY_VALUES + 16 * (records.shape[1] - N_SHAPE)
    state, lasts = scratch(BLOCKS * planes), scratch(BLOCKS)
    local, masks = scratch(BATCH * LOCAL), np.empty(BATCH, np.int64)
    for tile in range(first, stop):
        left, top = tile % nx * TILE, tile // nx * TILE
        _start_tile(
            state, planes, top, left, background, alpha, expected, ends[tile],
            by_image, by_alpha, by_expected, backgrounds[tile],
        )  # fmt: skip
        _last_numbers(ends[tile], lasts)
        _unblend_tile(
            starts[tile], starts[tile + 1], members, slots, records, N_SHAPE + len(background), rules,
            _F(left) + _MIDDLE, _F(top) + _MIDDLE, coordinates, state, planes, local, masks, lasts, pairs,
        )  # fmt: skip


@kernel
@no_type_check
def _sum_slots(pairs, start, stop, out):
    """Add up the pairs of one Gaussian."""
    for part in range(0, len(out), 16):
        sums = spread(_ZERO)
        for slot in range(start, stop):
            sums = sums + load(pairs, slot * len(out) + part)
        store(out, part, sums)


@kernel
@no_type_check
def _sum_pairs(
    start, stop, visible, slot_starts, pairs, records, opacities,
    by_means2d, by_conics, by_depths, by_opacities, by_features,
):  # fmt: skip
    sums, channels = scratch(pairs.shape[1]), by_features.shape[1]
    for i in range(start, stop):
        g, a, b, d = visible[i], records[i, 2], records[i, 3], records[i, 4]
        _sum_slots(pairs, slot_starts[i], slot_starts[i + 1], sums)
        by_opacities[g] = sums[0] / opacities[g]
        by_means2d[g, 0], by_means2d[g, 1] = _F(2) * _LN2 * a * sums[1], _F(2) * _LN2 * (b * sums[1] + d * sums[2])
        p, q, r = _ONE / a, b / (a * d), _ONE / d
        by_conics[g, 0] = -_HALF * (p * p * sums[3] - _F(2) * p * q * sums[4] + q * q * sums[5])
        by_conics[g, 1], by_conics[g, 2] = r * (q * sums[5] - p * sums[4]), -_HALF * r * r * sums[5]
        for k in range(channels):
            by_features[g, k] = sums[_MOMENTS + k]
        by_depths[g] = sums[_MOMENTS + channels]


@kernel
@no_type_check
def _sum_rows(rows):
    """Return the sum of rows, added in their order."""
    sums = np.zeros(rows.shape[1])
    for i in range(len(rows)):
        for k in range(rows.shape[1]):
            sums[k] += rows[i, k]
    return sums.astype(np.float32)
