"""What forward and backward blending share: the blocks of 4x4 pixels of a tile, and which of them a Gaussian touches.

Block b of a tile is column ``b % 4`` and row ``b // 4``; lane i of a block is column ``i % 4`` and row ``i // 4``.
Coordinates are those of pixel centres relative to the middle of the tile.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel
from recon3d.render.gaussians.cpu_simd import aligned, at, both, load, magnitude, prefetch, put, select

BLOCKS = 16
# Numbers of a Gaussian relative to a tile, see localise; where its depth, its number and its values are.
LOCAL, DEPTH, NUMBER, FIRST = 16, 6, 9, 10
_AHEAD = 12
_ZERO, _REACH = np.float32(0), np.float32(1.5)
_SLACK = np.float32(1e-3)  # a block too many costs little, one too few loses a pixel
_CENTRES = 32 * 16


def block_coordinates() -> Float32[np.ndarray, " 544"]:
    """Return x and y of the lanes of each block, then x and y of the middles of all blocks."""
    lane, block = np.arange(16), np.arange(16)
    x, y = 4 * (block % 4)[:, None] + lane % 4 - 7.5, 4 * (block // 4)[:, None] + lane // 4 - 7.5
    pixels = np.stack([x, y], 1)
    out = aligned(1, _CENTRES + 32)
    out[0] = np.concatenate([pixels.ravel(), pixels.mean(2).T.ravel()])
    return out.ravel()


@kernel(order="fused", inline=True)
@no_type_check
def localise(members, i, records, depth_at, x, y, local, place):
    """Write Gaussian ``i`` of a tile relative to the tile's middle (x, y), and ask for those that come soon.

    Written are a, b, c, d, e, l of its opacity ``2^(l - u^2 - v^2)``, ``u = a x + b y + c``, ``v = d y + e``; depth,
    half width and x of its centre; one place left free; and its first four values.
    """
    stride = records.shape[1]
    ahead = at(members, min(i + _AHEAD, len(members) - 1)) * stride
    prefetch(records, ahead)
    prefetch(records, ahead + 11)
    o = at(members, i) * stride
    a, b, d = at(records, o + 2), at(records, o + 3), at(records, o + 4)
    dx, dy = x - at(records, o), y - at(records, o + 1)
    put(local, place, a)
    put(local, place + 1, b)
    put(local, place + 2, a * dx + b * dy)
    put(local, place + 3, d)
    put(local, place + 4, d * dy)
    put(local, place + 5, at(records, o + 5))
    put(local, place + DEPTH, at(records, o + depth_at))
    put(local, place + 7, at(records, o + 6))
    put(local, place + 8, -dx)
    for k in range(4):
        put(local, place + FIRST + k, at(records, o + 8 + k))


@kernel(order="fused", inline=True)
@no_type_check
def touched_blocks(local, place, low, coordinates):
    """Return the blocks where a Gaussian, given by its place, may reach ``2^low``.

    A block is left out if its interval of v, its interval of u, or its distance along x from the centre says so: that
    keeps two blocks in a hundred too many.
    """
    block_x, block_y = load(coordinates, _CENTRES), load(coordinates, _CENTRES + 16)
    a, b, d = at(local, place), at(local, place + 1), at(local, place + 3)
    u = magnitude(block_x * a + (block_y * b + at(local, place + 2))) - _REACH * (abs(a) + abs(b))
    v = magnitude(block_y * d + at(local, place + 4)) - _REACH * d
    u, v = select(u > _ZERO, u, _ZERO), select(v > _ZERO, v, _ZERO)
    in_ellipse = u * u + v * v <= at(local, place + 5) - low + _SLACK
    return both(in_ellipse, magnitude(block_x - at(local, place + 8)) <= at(local, place + 7) + _REACH + _SLACK)
