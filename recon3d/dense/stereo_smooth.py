"""Neighbouring pixels on one surface share what they know: averages of planes, weighted by what each pixel knows.

An edge-avoiding average over 3x3 pixels with growing steps (Dammertz et al., "Edge-avoiding a-trous wavelet transform
for fast global illumination filtering", HPG 2010). A neighbour counts by the inverse of its variance, and less the
farther its plane passes from the pixel's own, in terms of both deviations; so well-matched pixels stay and weak ones
follow them.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel


def smooth(
    field: Float32[np.ndarray, "h w 4"],
    spread: Float32[np.ndarray, "h w"],
    steps: tuple[int, ...] = (1, 2, 4),
    largest: float = 0.01,
    share: float = 0.3,
) -> tuple[Float32[np.ndarray, "h w 4"], Float32[np.ndarray, "h w"]]:
    """Return the smoothed field and its spread.

    Args:
        field: plane and cost per pixel; w = 0 where there is none.
        spread: deviation of the inverse depth.
        steps: pixels between the taps of each pass.
        largest: deviation, relative to the inverse depth, beyond which it does not grow when planes are compared.
        share: of the deviation within which planes count as one surface.
    """
    for step in steps:
        result, deviation = field.copy(), spread.copy()
        _smooth(field, spread, np.int64(step), np.float32(largest), np.float32(share), result, deviation)
        field, spread = result, deviation
    return field, spread


@kernel
@no_type_check
def _smooth(field, spread, step, largest, share, result, deviation):
    height, width = spread.shape
    for v in range(height):
        for u in range(width):
            w = field[v, u, 0]
            if w <= np.float32(0.0):
                continue
            cap = largest * w
            total, depth, slope_u, slope_v, sigma = _accumulate(field, spread, u, v, step, cap, share)
            if total > np.float32(0.0):
                result[v, u, 0] = w + depth / total
                result[v, u, 1], result[v, u, 2] = slope_u / total, slope_v / total
                deviation[v, u] = sigma / total


@kernel
@no_type_check
def _accumulate(field, spread, u, v, step, cap, share):
    height, width = spread.shape
    own = min(share * spread[v, u], cap)
    total, depth, sigma = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    slope_u, slope_v = np.float32(0.0), np.float32(0.0)
    for j in range(-1, 2):
        for i in range(-1, 2):
            nu, nv = u + i * step, v + j * step
            if not (0 <= nu < width and 0 <= nv < height) or field[nv, nu, 0] <= np.float32(0.0):
                continue
            theirs = min(share * spread[nv, nu], cap)
            wu, wv = field[nv, nu, 1], field[nv, nu, 2]
            off = field[nv, nu, 0] - wu * np.float32(i * step) - wv * np.float32(j * step) - field[v, u, 0]
            both = own * own + theirs * theirs
            likeness = both / (both + off * off)
            weight = likeness * likeness * likeness / (theirs * theirs)
            total += weight
            depth += weight * off
            slope_u += weight * wu
            slope_v += weight * wv
            sigma += weight * spread[nv, nu]
    return total, depth, slope_u, slope_v, sigma
