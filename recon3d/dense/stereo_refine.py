"""The last sweep, at full size: neighbours' planes, a change of slope, and a parabola through three depths.

The curvature of the parabola is what the photos say about the depth: the flatter, the less.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_cost import load_window, make_window, plane_cost, quarrel, ranked_cost
from recon3d.dense.stereo_images import Sources
from recon3d.dense.stereo_patchmatch import TILE, Search, allowed, from_neighbour, keep, parallax, perturbed

_STEP_PX = np.float32(0.5)  # distance of the outer two depths from the middle one, in pixels of parallax
_FLOOR = np.float32(0.02)  # a match is never better than this: sampling and rounding


def polish(
    field: Float32[np.ndarray, "h w 4"], reference: Float32[np.ndarray, "hp wp"], sources: Sources, search: Search
) -> Float32[np.ndarray, "h w"]:
    """Improve every pixel of ``field`` in place and return the spread of its inverse depth, not calibrated yet.

    The spread is the square root of cost over curvature: the deviation of a least-squares fit whose residual is the
    cost, but for a factor that depends on how many samples are independent.
    """
    spread = np.zeros(field.shape[:2], np.float32)
    for colour in (0, 1):
        _polish(
            field, spread, reference, *sources, make_window(), search, search._replace(weight=np.float32(0.0)), colour
        )
    return spread


@kernel
@no_type_check
def _polish(field, spread, reference, packed, maps, fields, window, search, photo, colour):
    height, width = field.shape[:2]
    for tile in range(height * ((width + TILE - 1) // TILE)):
        v, left = tile % height, tile // height * TILE
        for u in range(left + ((v + colour) & 1), min(left + TILE, width), 2):
            variance = load_window(reference, u, v, window)
            if variance < np.float32(0.0):
                continue
            at = (np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5))
            plane = (field[v, u, 0], field[v, u, 1], field[v, u, 2])
            field[v, u, 3] = plane_cost(packed, maps, fields, at, plane, window, variance, search)
            moves = parallax(maps, at, plane[0])
            for guess in range(4 + search.n_random):
                if guess < 4:
                    plane = from_neighbour(field, u, v, guess, search.same_px / moves)
                else:
                    plane = perturbed(field, u, v, guess - 3, search.step_px / moves, search)
                if allowed(plane, search):
                    cost = ranked_cost(packed, maps, fields, at, plane, window, variance, search, field[v, u, 3])
                    keep(field, u, v, plane, cost)
            spread[v, u] = _parabola(field, u, v, packed, maps, fields, at, window, variance, search, photo, moves)


@kernel(lean=True)
@no_type_check
def _parabola(field, u, v, packed, maps, fields, at, window, variance, search, photo, moves):
    """Move pixel (u, v) to the vertex of a parabola through the costs of three depths and return the spread."""
    w, wu, wv, middle = field[v, u, 0], field[v, u, 1], field[v, u, 2], field[v, u, 3]
    if search.weight > np.float32(0.0):
        middle -= quarrel(packed, maps, fields, at, w, window, search)
    step = _STEP_PX / moves
    no_limit = np.float32(np.inf)
    low = ranked_cost(packed, maps, fields, at, (w - step, wu, wv), window, variance, photo, no_limit)
    high = ranked_cost(packed, maps, fields, at, (w + step, wu, wv), window, variance, photo, no_limit)
    bend = low - np.float32(2.0) * middle + high
    if low < middle or high < middle:
        off = -step if low < high else step
    else:
        off = np.float32(0.5) * (low - high) / max(bend, np.float32(1e-6)) * step
    field[v, u, 0] = min(max(w + off, search.w_min), search.w_max)
    curvature = max(bend, np.float32(1e-3)) / (step * step)
    return np.float32(np.sqrt((max(middle, np.float32(0.0)) + _FLOOR) / curvature))
