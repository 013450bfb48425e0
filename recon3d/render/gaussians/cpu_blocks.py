"""What forward and backward blending share: the blocks of 4x4 pixels of a tile, and which of them a Gaussian touches.

Block b of a tile is column ``b % 4`` and row ``b // 4``; lane i of a block is column ``i % 4`` and row ``i // 4``.
Coordinates are those of pixel centres relative to the middle of the tile.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel
from recon3d.render.gaussians.cpu_simd import bits, both, load, magnitude, select

BLOCKS = 16
_ZERO, _REACH = np.float32(0), np.float32(1.5)
_SLACK = np.float32(1e-3)  # a block too many costs little, one too few loses a pixel
_CENTRES = 32 * 16


def block_coordinates() -> Float32[np.ndarray, " 544"]:
    """Return x and y of the lanes of each block, then x and y of the middles of all blocks."""
    lane, block = np.arange(16), np.arange(16)
    x, y = 4 * (block % 4)[:, None] + lane % 4 - 7.5, 4 * (block // 4)[:, None] + lane // 4 - 7.5
    pixels = np.stack([x, y], 1)
    return np.concatenate([pixels.ravel(), pixels.mean(2).T.ravel()]).astype(np.float32)


@kernel
@no_type_check
def touched_blocks(a, b, c, d, e, reach, x, half_width, coordinates):
    """Return as bits the blocks that an ellipse ``u^2 + v^2 <= reach`` may touch.

    With ``u = a x + b y + c`` and ``v = d y + e``. A block is left out if its interval of v, its interval of u, or its
    distance along x from the centre says so: that keeps two blocks in a hundred too many.
    """
    block_x, block_y = load(coordinates, _CENTRES), load(coordinates, _CENTRES + 16)
    u = magnitude(block_x * a + (block_y * b + c)) - _REACH * (abs(a) + abs(b))
    v = magnitude(block_y * d + e) - _REACH * d
    u, v = select(u > _ZERO, u, _ZERO), select(v > _ZERO, v, _ZERO)
    near = both(u * u + v * v <= reach + _SLACK, magnitude(block_x - x) <= half_width + _REACH + _SLACK)
    return bits(near)
