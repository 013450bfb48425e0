"""PatchMatch: good plane hypotheses spread to their neighbours and are perturbed, on a checkerboard.

A sweep changes the pixels of one colour and reads the planes of the other colour, so its result does not depend on the order in
which pixels are visited; random numbers are hashes of the pixel and the sweep.
Bleyer et al., "PatchMatch stereo", BMVC 2011; Galliani et al., "Massively parallel multiview stereopsis by surface
normal diffusion", ICCV 2015 (the checkerboard).
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_cost import Window, load_window, plane_cost
from recon3d.dense.stereo_images import Sources


class Field(NamedTuple):
    """The photo that is matched at one scale, and the current plane and cost of every pixel."""

    reference: Float32[np.ndarray, "hp wp"]
    planes: Float32[np.ndarray, "h w 3"]
    cost: Float32[np.ndarray, "h w"]


class Search(NamedTuple):
    """Limits and step sizes of a sweep; slopes are multiples of w / focal length."""

    w_min: np.float32
    w_max: np.float32
    focal: np.float32
    max_slope: np.float32
    step_px: np.float32
    step_slope: np.float32
    n_random: int
    seed: np.uint32


def sweep(field: Field, sources: Sources, window: Window, search: Search) -> None:
    """Visit every pixel once: first one colour of the checkerboard, then the other."""
    for colour in (0, 1):
        _sweep(field, sources, window, search, colour)


def choose(field: Field, sources: Sources, window: Window, candidates: Float32[np.ndarray, "m h w 3"]) -> None:
    """Set every pixel to the best of ``m`` candidate planes."""
    field.cost[:] = np.inf
    _choose(field, sources, window, candidates)


@kernel
@no_type_check
def _choose(field, sources, window, candidates):
    height, width = field.cost.shape
    for v in range(height):
        for u in range(width):
            variance = load_window(field.reference, u, v, window)
            if variance < np.float32(0.0):
                continue
            x, y = np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5)
            for i in range(len(candidates)):
                w, wu, wv = candidates[i, v, u, 0], candidates[i, v, u, 1], candidates[i, v, u, 2]
                if w > np.float32(0.0):
                    try_plane(field, sources, window, u, v, w, wu, wv, variance)


@kernel
@no_type_check
def try_plane(field, sources, window, u, v, w, wu, wv, variance):
    """Take the plane for pixel (u, v) if it costs less than the current one."""
    x, y = np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5)
    cost = plane_cost(sources, x, y, w, wu, wv, window, variance)
    if cost < field.cost[v, u]:
        field.cost[v, u] = cost
        field.planes[v, u, 0] = w
        field.planes[v, u, 1] = wu
        field.planes[v, u, 2] = wv


@kernel
@no_type_check
def _sweep(field, sources, window, search, colour):
    height, width = field.cost.shape
    for v in range(height):
        for u in range((v + colour) & 1, width, 2):
            variance = load_window(field.reference, u, v, window)
            if variance < np.float32(0.0):
                continue
            step = search.step_px / max(parallax(sources, u, v, field.planes[v, u, 0]), np.float32(1e-12))
            for direction in range(4):
                _propagate(field, sources, window, search, u, v, direction, step, variance)
            for draw in range(search.n_random):
                _perturb(field, sources, window, search, u, v, draw, step, variance)


@kernel
@no_type_check
def parallax(sources, u, v, w):
    """Return how far a pixel moves in the neighbours per unit of inverse depth, the mean over them, pixels."""
    x, y = np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5)
    total = np.float32(0.0)
    for view in range(len(sources.start)):
        m = sources.maps[view]
        depth = m[6] * x + m[7] * y + m[8] + w * m[11]
        sx = (m[0] * x + m[1] * y + m[2] + w * m[9]) / depth
        sy = (m[3] * x + m[4] * y + m[5] + w * m[10]) / depth
        dx, dy = m[9] - sx * m[11], m[10] - sy * m[11]
        total += np.float32(np.sqrt(dx * dx + dy * dy)) / max(depth, np.float32(1e-6))
    return total / np.float32(len(sources.start))


@kernel
@no_type_check
def _propagate(field, sources, window, search, u, v, direction, step, variance):
    """Try the plane of the cheapest pixel among those 1, 3 and 5 steps away in one direction."""
    height, width = field.cost.shape
    sign = 1 - 2 * (direction & 1)
    best, best_u, best_v = np.float32(np.inf), -1, -1
    for distance in range(1, 6, 2):
        nu = u + sign * distance if direction < 2 else u
        nv = v if direction < 2 else v + sign * distance
        if 0 <= nu < width and 0 <= nv < height and field.cost[nv, nu] < best:
            best, best_u, best_v = field.cost[nv, nu], nu, nv
    if best_u < 0:
        return
    w, wu, wv = field.planes[best_v, best_u, 0], field.planes[best_v, best_u, 1], field.planes[best_v, best_u, 2]
    w += wu * np.float32(u - best_u) + wv * np.float32(v - best_v)
    limit = search.max_slope * w / search.focal
    if w < search.w_min or w > search.w_max or abs(wu) > limit or abs(wv) > limit:
        return
    if not same_plane(field, u, v, w, wu, wv, step):
        try_plane(field, sources, window, u, v, w, wu, wv, variance)


@kernel
@no_type_check
def same_plane(field, u, v, w, wu, wv, step):
    """Tell whether a plane is so close to the current one that comparing them is wasted time."""
    near = np.float32(0.1) * step
    off_u, off_v = abs(wu - field.planes[v, u, 1]), abs(wv - field.planes[v, u, 2])
    return abs(w - field.planes[v, u, 0]) + np.float32(3.0) * (off_u + off_v) < near


@kernel
@no_type_check
def _perturb(field, sources, window, search, u, v, draw, step, variance):
    """Try a random change of the current plane; the first draw changes the depth, the second the slopes, ..."""
    w, wu, wv = field.planes[v, u, 0], field.planes[v, u, 1], field.planes[v, u, 2]
    state = hash32(np.uint32(u * 73856093 ^ v * 19349663) ^ hash32(np.uint32(search.seed + draw)))
    r0, state = signed_unit(state)
    r1, state = signed_unit(state)
    r2, state = signed_unit(state)
    slope = search.step_slope * w / search.focal
    if draw % 3 != 1:
        w += r0 * step
    if draw % 3 != 0:
        wu += r1 * slope
        wv += r2 * slope
    limit = search.max_slope * w / search.focal
    if search.w_min <= w <= search.w_max and abs(wu) <= limit and abs(wv) <= limit:
        try_plane(field, sources, window, u, v, w, wu, wv, variance)


@kernel
@no_type_check
def hash32(x):
    """Mix the bits of a 32-bit integer (the finaliser of MurmurHash3)."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x85EBCA6B))
    x = np.uint32(x ^ (x >> np.uint32(13)))
    x = np.uint32(x * np.uint32(0xC2B2AE35))
    return np.uint32(x ^ (x >> np.uint32(16)))


@kernel
@no_type_check
def signed_unit(state):
    """Return a number in [-1, 1) and the next state."""
    state = hash32(np.uint32(state + np.uint32(0x9E3779B9)))
    return np.float32(np.int32(state >> np.uint32(8))) * np.float32(2.0**-23) - np.float32(1.0), state
