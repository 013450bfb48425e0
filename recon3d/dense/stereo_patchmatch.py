"""PatchMatch: good plane hypotheses spread to their neighbours and are perturbed, on a checkerboard.

A sweep changes the pixels of one colour and reads the planes of the other, so its result does not depend on the order
in which pixels are visited; random numbers are hashes of the pixel and the sweep.
Bleyer et al., "PatchMatch stereo", BMVC 2011; Galliani et al., "Massively parallel multiview stereopsis by surface
normal diffusion", ICCV 2015 (the checkerboard).

A field ``[h,w,4]`` holds the plane ``(w, wu, wv)`` of every pixel and its cost.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_cost import load_window, make_window, plane_cost, ranked_cost
from recon3d.dense.stereo_images import Sources

TILE = 64  # columns that are visited together, so that the windows stay in the cache


class Search(NamedTuple):
    """Limits and step sizes of a sweep.

    ``step_px`` is the largest random change of depth, in pixels of parallax; slopes are multiples of w / focal length;
    ``weight`` is the cost of a pixel of disagreement with the fields of the neighbours; a ``ranked`` sweep compares
    planes in the views that suit the current plane best, instead of the views that suit each plane best.
    """

    w_min: np.float32
    w_max: np.float32
    focal: np.float32
    max_slope: np.float32
    step_px: np.float32
    step_slope: np.float32
    weight: np.float32
    same_px: np.float32
    n_random: int
    n_best: int
    ranked: bool
    seed: np.uint32


def sweep(
    field: Float32[np.ndarray, "h w 4"], reference: Float32[np.ndarray, "hp wp"], sources: Sources, search: Search
) -> None:
    """Visit every pixel once: first one colour of the checkerboard, then the other."""
    for colour in (0, 1):
        _sweep(field, reference, *sources, make_window(), search, colour)


def choose(
    candidates: Float32[np.ndarray, "m h w c"],
    reference: Float32[np.ndarray, "hp wp"],
    sources: Sources,
    search: Search,
) -> Float32[np.ndarray, "h w 4"]:
    """Return the best of ``m`` candidate planes of every pixel and its cost; w is 0 and the cost infinite if masked."""
    field = np.zeros((*candidates.shape[1:3], 4), np.float32)
    field[..., 3] = np.inf
    _choose(candidates, field, reference, *sources, make_window(), search)
    return field


@kernel
@no_type_check
def _choose(candidates, field, reference, packed, maps, fields, window, search):
    height, width = field.shape[:2]
    for v in range(height):
        for u in range(width):
            variance = load_window(reference, u, v, window)
            if variance < np.float32(0.0):
                continue
            at = (np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5))
            for i in range(len(candidates)):
                plane = (candidates[i, v, u, 0], candidates[i, v, u, 1], candidates[i, v, u, 2])
                if plane[0] > np.float32(0.0):
                    keep(field, u, v, plane, plane_cost(packed, maps, fields, at, plane, window, variance, search))


@kernel(lean=True, inline=True)
@no_type_check
def keep(field, u, v, plane, cost):
    """Take the plane for pixel (u, v) if it costs less than the current one."""
    if cost < field[v, u, 3]:
        field[v, u, 0], field[v, u, 1], field[v, u, 2], field[v, u, 3] = plane[0], plane[1], plane[2], cost


@kernel
@no_type_check
def _sweep(field, reference, packed, maps, fields, window, search, colour):
    height, width = field.shape[:2]
    for tile in range(height * ((width + TILE - 1) // TILE)):
        v, left = tile % height, tile // height * TILE
        for u in range(left + ((v + colour) & 1), min(left + TILE, width), 2):
            variance = load_window(reference, u, v, window)
            if variance < np.float32(0.0):
                continue
            at = (np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5))
            if search.ranked:
                plane = (field[v, u, 0], field[v, u, 1], field[v, u, 2])
                field[v, u, 3] = plane_cost(packed, maps, fields, at, plane, window, variance, search)
            moves = parallax(maps, at, field[v, u, 0])
            for guess in range(4 + search.n_random):
                if guess < 4:
                    plane = from_neighbour(field, u, v, guess, search.same_px / moves)
                else:
                    plane = perturbed(field, u, v, guess - 4, search.step_px / moves, search)
                if allowed(plane, search):
                    if search.ranked:
                        cost = ranked_cost(packed, maps, fields, at, plane, window, variance, search, field[v, u, 3])
                    else:
                        cost = plane_cost(packed, maps, fields, at, plane, window, variance, search)
                    keep(field, u, v, plane, cost)


@kernel(lean=True, inline=True)
@no_type_check
def parallax(maps, at, w):
    """Return how far a pixel moves in the neighbours per unit of inverse depth, the mean over them, pixels."""
    x, y = at
    total = np.float32(1e-12)
    for view in range(len(maps)):
        e0, e1, e2 = maps[view, 9], maps[view, 10], maps[view, 11]
        depth = max(maps[view, 6] * x + maps[view, 7] * y + maps[view, 8] + w * e2, np.float32(1e-6))
        sx = (maps[view, 0] * x + maps[view, 1] * y + maps[view, 2] + w * e0) / depth
        sy = (maps[view, 3] * x + maps[view, 4] * y + maps[view, 5] + w * e1) / depth
        dx, dy = e0 - sx * e2, e1 - sy * e2
        total += np.float32(np.sqrt(dx * dx + dy * dy)) / depth
    return total / np.float32(len(maps))


@kernel(lean=True, inline=True)
@no_type_check
def allowed(plane, search):
    """Tell whether a plane lies in the depth range and is not too steep."""
    w, wu, wv = plane
    limit = search.max_slope * w / search.focal
    return search.w_min <= w <= search.w_max and abs(wu) <= limit and abs(wv) <= limit


@kernel(lean=True, inline=True)
@no_type_check
def from_neighbour(field, u, v, direction, same):
    """Return the plane of the cheapest pixel among those 1, 3 and 5 steps away in one direction.

    The inverse depth is 0, which is never allowed, where there is no pixel or its plane is nearly the current one.
    """
    height, width = field.shape[:2]
    sign = 1 - 2 * (direction & 1)
    best, bu, bv = np.float32(np.inf), -1, -1
    for distance in range(1, 6, 2):
        nu = u + sign * distance if direction < 2 else u
        nv = v if direction < 2 else v + sign * distance
        if 0 <= nu < width and 0 <= nv < height and field[nv, nu, 3] < best:
            best, bu, bv = field[nv, nu, 3], nu, nv
    if bu < 0:
        return np.float32(0.0), np.float32(0.0), np.float32(0.0)
    wu, wv = field[bv, bu, 1], field[bv, bu, 2]
    w = field[bv, bu, 0] + wu * np.float32(u - bu) + wv * np.float32(v - bv)
    tilt = abs(wu - field[v, u, 1]) + abs(wv - field[v, u, 2])
    if abs(w - field[v, u, 0]) + np.float32(3.0) * tilt < same:
        return np.float32(0.0), wu, wv
    return w, wu, wv


@kernel(lean=True, inline=True)
@no_type_check
def perturbed(field, u, v, draw, step, search):
    """Return a random change of the current plane: first of the depth, then of the slopes, then of both."""
    w, wu, wv = field[v, u, 0], field[v, u, 1], field[v, u, 2]
    state = hash32(np.uint32(u * 73856093 ^ v * 19349663) ^ hash32(np.uint32(search.seed + np.uint32(draw))))
    r0, state = _signed_unit(state)
    r1, state = _signed_unit(state)
    r2, state = _signed_unit(state)
    slope = search.step_slope * w / search.focal
    if draw % 3 != 1:
        w += r0 * step
    if draw % 3 != 0:
        wu += r1 * slope
        wv += r2 * slope
    return w, wu, wv


@kernel(lean=True, inline=True)
@no_type_check
def hash32(x):
    """Mix the bits of a 32-bit integer (the finaliser of MurmurHash3)."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x85EBCA6B))
    x = np.uint32(x ^ (x >> np.uint32(13)))
    x = np.uint32(x * np.uint32(0xC2B2AE35))
    return np.uint32(x ^ (x >> np.uint32(16)))


@kernel(lean=True, inline=True)
@no_type_check
def _signed_unit(state):
    """Return a number in [-1, 1) and the next state."""
    state = hash32(np.uint32(state + np.uint32(0x9E3779B9)))
    return np.float32(np.int32(state >> np.uint32(8))) * np.float32(2.0**-23) - np.float32(1.0), state
