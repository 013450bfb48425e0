"""CPU kernels of the gradients of blending: back to front, from what the forward pass left behind.

What each pair of a tile and a Gaussian contributes is written down, and summed per Gaussian in a second pass in a fixed
order, so that the bits do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_forward import Blended, exponent, power, row_range, tile_chunks
from recon3d.render.gaussians.cpu_scene import TILE, Splats, TiledScene

_F = np.float32
_ZERO, _ONE, _HALF, _MIDDLE = _F(0), _F(1), _F(0.5), _F(7.5)
_LIGHT, _BEHIND, _LAST, _GRADIENT, _WEIGHT, N_PLANES = 0, 16, 32, 48, 64, 80
_MOMENTS = 6  # of a pair: sums of the derivative by ln(alpha) times 1, dx, dy, dx^2, dx dy, dy^2
_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class ByPixels:
    """Derivatives of a loss by what :func:`~recon3d.render.gaussians.cpu_forward.blend` returns.

    Args:
        image: by the blended features, ``[h,w,c]``.
        alpha: by one minus the transmittance, ``[h,w]``.
        depth_sum: ``[h,w]``.
    """

    image: Float32[np.ndarray, "h w c"]
    alpha: Float32[np.ndarray, "h w"]
    depth_sum: Float32[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class BySplats:
    """Derivatives of a loss by the fields of :class:`~recon3d.render.gaussians.cpu_scene.Splats`."""

    means2d: Float32[np.ndarray, "g 2"]
    conics: Float32[np.ndarray, "g 3"]
    depths: Float32[np.ndarray, " g"]
    opacities: Float32[np.ndarray, " g"]
    features: Float32[np.ndarray, "g c"]


def blend_backward(splats: Splats, scene: TiledScene, blended: Blended, by: ByPixels) -> BySplats:
    """Return the derivatives by the Gaussians, given those by the pixels."""
    lists, c, g = scene.lists, scene.features.shape[1], len(splats.depths)
    pairs = np.empty((len(lists.ranks), _MOMENTS + 1 + c), np.float32)
    arrays = (lists.starts, lists.ranks, lists.slots, scene.curves, scene.features, scene.rules, scene.grid.nx)
    pixels = (blended.transmittance, blended.last, blended.used, by.image, by.alpha, by.depth_sum)
    size, n_chunks = tile_chunks(scene)
    n_tiles = scene.grid.nx * scene.grid.ny
    run_chunks(
        lambda i: _blend_tiles_backward(i * size, min(n_tiles, (i + 1) * size), *arrays, *pixels, pairs), n_chunks
    )
    zeros = [np.zeros((g, size), np.float32) for size in (2, 3, 1, 1, c)]
    inputs = (scene.order, lists.slot_starts, pairs, splats.conics, splats.opacities)
    n = len(scene.order)
    run_chunks(lambda i: _sum_pairs(i * _CHUNK, min(n, (i + 1) * _CHUNK), *inputs, *zeros), -(-n // _CHUNK))
    means2d, conics, depths, opacities, features = zeros
    return BySplats(means2d, conics, depths[:, 0], opacities[:, 0], features)


@kernel
@no_type_check
def _start_tile(state, by_rows, top, left, lights, last, by_image, by_alpha, by_depth):
    """Load the pixels of a tile; those beyond the image have no Gaussian."""
    state[:], by_rows[:] = _ZERO, _ZERO
    state[:, _LIGHT : _LIGHT + 16] = _ONE
    state[:, _LAST : _LAST + 16] = -_ONE
    channels = by_image.shape[2]
    for y in range(min(TILE, lights.shape[0] - top)):
        for j in range(min(TILE, lights.shape[1] - left)):
            state[y, _LIGHT + j] = lights[top + y, left + j]
            state[y, _LAST + j] = last[top + y, left + j]
            for k in range(channels):
                by_rows[y, k, j] = by_image[top + y, left + j, k]
            by_rows[y, channels, j] = by_depth[top + y, left + j]
            by_rows[y, channels + 1, j] = by_alpha[top + y, left + j]


@kernel
@no_type_check
def _gradient_row(state, y, by_rows, features, rank, depth):
    """Leave the derivative by the weight of a Gaussian in the state."""
    channels = features.shape[1]
    for j in range(16):
        state[y, _GRADIENT + j] = by_rows[y, channels + 1, j] + depth * by_rows[y, channels, j]
    for k in range(channels):
        value = features[rank, k]
        for j in range(16):
            state[y, _GRADIENT + j] += value * by_rows[y, k, j]


@kernel
@no_type_check
def _unblend_row(state, y, p0, p1, p2, low, high, number, dy, sums):
    """Take one Gaussian off a row: restore the light before it, and add up the derivatives by its exponent.

    With Q what is seen behind it per unit of light, ``dL/dalpha = light (G - Q)``.
    """
    for j in range(16):
        x = _F(j) - _MIDDLE
        p = (p2 * x + p1) * x + p0
        alpha = power(p if p < high else high)
        alpha = alpha if p >= low and number <= state[y, _LAST + j] else _ZERO
        light = state[y, j] / (_ONE - alpha)
        weight = alpha * light
        difference = state[y, _GRADIENT + j] - state[y, _BEHIND + j]
        state[y, j] = light
        state[y, _BEHIND + j] += alpha * difference
        state[y, _WEIGHT + j] = weight
        slope = weight * difference if p < high else _ZERO
        sums[0, j] += slope
        sums[0, 16 + j] += slope * dy
        sums[0, 32 + j] += slope * dy * dy


@kernel
@no_type_check
def _gather_row(state, y, by_rows, totals):
    for k in range(len(totals)):
        for j in range(16):
            totals[k, j] += state[y, _WEIGHT + j] * by_rows[y, k, j]


@kernel
@no_type_check
def _write_pair(sums, totals, dx, pair):
    """Write the moments of a pair about the centre of its Gaussian, and the derivatives by depth and features."""
    m0, mx, my, mxx, mxy, myy = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    for j in range(16):
        x = _F(j) - _MIDDLE - dx
        m0 += sums[0, j]
        mx += sums[0, j] * x
        mxx += sums[0, j] * x * x
        my += sums[0, 16 + j]
        mxy += sums[0, 16 + j] * x
        myy += sums[0, 32 + j]
    pair[0], pair[1], pair[2], pair[3], pair[4], pair[5] = m0, mx, my, mxx, mxy, myy
    for k in range(len(totals)):
        total = _ZERO
        for j in range(16):
            total += totals[k, j]
        pair[_MOMENTS + k] = total


@kernel
@no_type_check
def _unblend_pair(i, curve, rank, features, rules, left, top, state, by_rows, sums, totals):
    first, last = row_range(curve, top)
    sums[:], totals[:] = _ZERO, _ZERO
    for y in range(first, last):
        p0, p1, p2 = exponent(curve, left, top, y)
        dy = _F(y) + (top + _HALF - curve[1])
        _gradient_row(state, y, by_rows, features, rank, curve[7])
        _unblend_row(state, y, p0, p1, p2, rules[0], rules[1], _F(i), dy, sums)
        _gather_row(state, y, by_rows, totals)


@kernel
@no_type_check
def _blend_tiles_backward(
    first, stop, starts, ranks, slots, curves, features, rules, nx,
    lights, last, used, by_image, by_alpha, by_depth, pairs,
):  # fmt: skip
    channels = features.shape[1]
    state = np.empty((16, N_PLANES), np.float32)
    by_rows = np.empty((16, channels + 2, 16), np.float32)
    sums, totals = np.empty((1, 48), np.float32), np.empty((channels + 1, 16), np.float32)
    for tile in range(first, stop):
        left, top = tile % nx * TILE, tile // nx * TILE
        _start_tile(state, by_rows, top, left, lights, last, by_image, by_alpha, by_depth)
        for i in range(starts[tile] + used[tile], starts[tile + 1]):
            pairs[slots[i]] = _ZERO
        for i in range(starts[tile] + used[tile] - 1, starts[tile] - 1, -1):
            rank, number = ranks[i], i - starts[tile]
            curve = curves[rank]
            _unblend_pair(number, curve, rank, features, rules, _F(left), _F(top), state, by_rows, sums, totals)
            _write_pair(sums, totals, curve[0] - _F(left + 8), pairs[slots[i]])


@kernel
@no_type_check
def _sum_pairs(
    start, stop, order, slot_starts, pairs, conics, opacities, means2d, by_conics, depths, by_opacities, features
):
    total = np.empty(pairs.shape[1], np.float32)
    for i in range(start, stop):
        g = order[i]
        total[:] = _ZERO
        for slot in range(slot_starts[i], slot_starts[i + 1]):
            for k in range(len(total)):
                total[k] += pairs[slot, k]
        a, b, c = conics[g, 0], conics[g, 1], conics[g, 2]
        means2d[g, 0], means2d[g, 1] = a * total[1] + b * total[2], b * total[1] + c * total[2]
        by_conics[g, 0], by_conics[g, 1], by_conics[g, 2] = -_HALF * total[3], -total[4], -_HALF * total[5]
        by_opacities[g, 0], depths[g, 0] = total[0] / opacities[g], total[_MOMENTS + features.shape[1]]
        for k in range(features.shape[1]):
            features[g, k] = total[_MOMENTS + k]
