"""Matching cost of a plane hypothesis: one minus the weighted, normalised cross-correlation of a window.

The window has 32 samples, every second pixel of a disc 11 pixels wide: two full vectors of float32. Samples are
weighted by their distance and by their likeness to the centre (bilateral weights as in Schoenberger et al., "Pixelwise
view selection for unstructured multi-view stereo", ECCV 2016, section 4.1), so that a window across a depth step
follows the surface of its centre. Variances carry that of the sensor noise, so flat regions correlate with nothing.

A window is one float32 array in sections of 32: offsets x and y, spatial weights, weights (they sum to one), weighted
deviations from the mean, and scratch. Kernels take plain arrays because every field of a tuple that holds arrays
costs a reference count.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_images import BORDER, HEADER
from recon3d.render.gaussians.cpu_simd import WIDTH, byte, load, pick, select, store, total, whole

N_SAMPLES = 32
OUTSIDE = np.float32(1.0)  # cost where a view does not see the window: as bad as no correlation
_DX, _DY, _SPATIAL, _WEIGHT, _CENTRED = 0, N_SAMPLES, 2 * N_SAMPLES, 3 * N_SAMPLES, 4 * N_SAMPLES
BEST = 5 * N_SAMPLES  # scratch: the lowest costs of a plane over the views
RANK = 6 * N_SAMPLES  # scratch: the views from the best to the worst
CAP_PX = np.float32(2.0)  # a larger disagreement costs no more: the neighbour may be wrong or occluded
_NOISE = np.float32(2.0)  # variance of the grey values that is not texture
_COLOUR = np.float32(1.0 / 24.0**2)  # inverse square of the grey difference that quarters the weight
_SPATIAL_PX = 4.0


def make_window() -> Float32[np.ndarray, " 224"]:
    """Return a window with its offsets and spatial weights; the rest is scratch of the kernels."""
    odd = range(-BORDER, BORDER + 1, 2)
    dx, dy = np.array([(x, y) for y in odd for x in odd if abs(x) + abs(y) < 2 * BORDER]).T
    spatial = np.exp(-(dx**2 + dy**2) / (2 * _SPATIAL_PX**2))
    return np.concatenate([dx, dy, spatial, np.zeros(4 * N_SAMPLES)]).astype(np.float32)


@kernel(lean=True)
@no_type_check
def load_window(reference, u, v, window):
    """Set the weights of ``window`` for pixel (u, v); return the variance, -1 where the pixel is masked."""
    center = reference[v + BORDER, u + BORDER]
    if center < np.float32(0.0):
        return np.float32(-1.0)
    stride = reference.shape[1]
    start = (v + BORDER) * stride + u + BORDER
    off_a, weight_a = _weighed(reference, start, stride, center, window, 0)
    off_b, weight_b = _weighed(reference, start, stride, center, window, WIDTH)
    first_a, first_b = weight_a * off_a, weight_b * off_b
    scale = np.float32(1.0) / max(total(weight_a + weight_b), np.float32(1e-6))
    mean = total(first_a + first_b) * scale
    variance = total(first_a * off_a + first_b * off_b) * scale - mean * mean
    weight_a, weight_b = weight_a * scale, weight_b * scale
    store(window, _WEIGHT, weight_a)
    store(window, _WEIGHT + WIDTH, weight_b)
    store(window, _CENTRED, weight_a * (off_a - mean))
    store(window, _CENTRED + WIDTH, weight_b * (off_b - mean))
    return max(variance, np.float32(0.0))


@kernel(lean=True, inline=True)
@no_type_check
def _weighed(reference, start, stride, center, window, half):
    """Return sixteen samples as differences from the centre, and their weights, which do not sum to one yet."""
    value = pick(reference, start, stride, load(window, _DX + half), load(window, _DY + half))
    off = value - center
    like = np.float32(1.0) / (np.float32(1.0) + off * off * _COLOUR)
    return off, select(value >= np.float32(0.0), load(window, _SPATIAL + half) * like * like, np.float32(0.0))


@kernel(lean=True, inline=True)
@no_type_check
def view_cost(packed, maps, view, at, plane, window, variance):
    """Return the cost of plane (w, wu, wv) at the pixel centre ``at`` in one view; :data:`OUTSIDE` if unseen."""
    x, y = at
    w, wu, wv = plane
    e0, e1, e2 = maps[view, 9], maps[view, 10], maps[view, 11]
    depth = maps[view, 6] * x + maps[view, 7] * y + maps[view, 8] + w * e2
    scale = np.float32(1.0) / depth
    sx = (maps[view, 0] * x + maps[view, 1] * y + maps[view, 2] + w * e0) * scale
    sy = (maps[view, 3] * x + maps[view, 4] * y + maps[view, 5] + w * e1) * scale
    du, dv = maps[view, 6] + wu * e2, maps[view, 7] + wv * e2
    a, b = (maps[view, 0] + wu * e0 - sx * du) * scale, (maps[view, 1] + wv * e0 - sx * dv) * scale
    c, d = (maps[view, 3] + wu * e1 - sy * du) * scale, (maps[view, 4] + wv * e1 - sy * dv) * scale
    area = a * d - b * c
    reach_x, reach_y = np.float32(BORDER) * (abs(a) + abs(b)), np.float32(BORDER) * (abs(c) + abs(d))
    sx, sy = sx - np.float32(0.5), sy - np.float32(0.5)
    start, width = np.int32(packed[HEADER * view]), np.int32(packed[HEADER * view + 1])
    right, bottom = np.float32(width - 1), np.float32(np.int32(packed[HEADER * view + 2]) - 1)
    inside = sx >= reach_x and sy >= reach_y and sx + reach_x < right and sy + reach_y < bottom
    cost = OUTSIDE
    # the area also tells surfaces seen from behind, or at a very different resolution
    if inside and depth > np.float32(1e-6) and area > np.float32(0.1) and area < np.float32(10.0):
        mean, square, cross = _sums(packed, start, width, (sx, sy), (a, b, c, d), window)
        spread = (variance + _NOISE) * (max(square - mean * mean, np.float32(0.0)) + _NOISE)
        cost = np.float32(1.0) - cross / np.float32(np.sqrt(spread))
    return cost


@kernel(lean=True, inline=True)
@no_type_check
def _sums(packed, start, width, center, warp, window):
    """Sums of weight * s, weight * s^2 and centred * s over the bilinear samples s of an affinely warped window."""
    one, weight_one = _sampled(packed, start, width, center, warp, window, 0)
    two, weight_two = _sampled(packed, start, width, center, warp, window, WIDTH)
    weighted_one, weighted_two = weight_one * one, weight_two * two
    cross = load(window, _CENTRED) * one + load(window, _CENTRED + WIDTH) * two
    mean, square = weighted_one + weighted_two, weighted_one * one + weighted_two * two
    return total(mean), total(square), total(cross)


@kernel(lean=True, inline=True)
@no_type_check
def _sampled(packed, start, width, center, warp, window, half):
    """Return sixteen bilinear samples of a view and their weights."""
    sx, sy = center
    a, b, c, d = warp
    dx, dy = load(window, _DX + half), load(window, _DY + half)
    x, y = dx * a + dy * b + sx, dx * c + dy * d + sy
    left, top = whole(x), whole(y)
    quad = pick(packed, start, width, left, top)
    x, y = x - left, y - top
    upper, lower = byte(quad, 0), byte(quad, 2)
    upper, lower = upper + x * (byte(quad, 1) - upper), lower + x * (byte(quad, 3) - lower)
    return upper + y * (lower - upper), load(window, _WEIGHT + half)


@kernel(lean=True, inline=True)
@no_type_check
def disagreement(packed, maps, fields, view, at, w):
    """Follow a pixel with inverse depth w into a neighbour's field and back.

    Returns:
        The distance in pixels between the pixel and where the neighbour's own depth puts it, the inverse depth of that
        place, and the neighbour's cost; (inf, 0, inf) where the neighbour does not see the pixel or has no depth.
    """
    off, found, cost = np.float32(np.inf), np.float32(0.0), np.float32(np.inf)
    x, y = at
    depth = maps[view, 18] * x + maps[view, 19] * y + maps[view, 20] + w * maps[view, 23]
    scale = np.float32(1.0) / depth
    sx = (maps[view, 12] * x + maps[view, 13] * y + maps[view, 14] + w * maps[view, 21]) * scale
    sy = (maps[view, 15] * x + maps[view, 16] * y + maps[view, 17] + w * maps[view, 22]) * scale
    width, height = np.int32(packed[HEADER * view + 5]), np.int32(packed[HEADER * view + 6])
    if depth > np.float32(1e-6) and sx >= 0 and sy >= 0 and sx < np.float32(width) and sy < np.float32(height):
        column, row = np.int32(sx), np.int32(sy)
        pixel = np.uint32(np.int32(packed[HEADER * view + 4]) + row * width + column)
        du, dv = sx - np.float32(column) - np.float32(0.5), sy - np.float32(row) - np.float32(0.5)
        theirs = fields[pixel, 0] + fields[pixel, 1] * du + fields[pixel, 2] * dv
        depth = maps[view, 30] * sx + maps[view, 31] * sy + maps[view, 32] + theirs * maps[view, 35]
        if fields[pixel, 0] > np.float32(0.0) and theirs > np.float32(0.0) and depth > np.float32(1e-6):
            scale = np.float32(1.0) / depth
            dx = (maps[view, 24] * sx + maps[view, 25] * sy + maps[view, 26] + theirs * maps[view, 33]) * scale - x
            dy = (maps[view, 27] * sx + maps[view, 28] * sy + maps[view, 29] + theirs * maps[view, 34]) * scale - y
            off, found, cost = np.float32(np.sqrt(dx * dx + dy * dy)), theirs * scale, fields[pixel, 3]
    return off, found, cost


@kernel(lean=True, inline=True)
@no_type_check
def quarrel(packed, maps, fields, at, w, window, search):
    """Cost of disagreement with the fields of the views ranked best, the mean over them.

    It counts as much as the neighbour's own match is trusted, and no more than its cap.
    """
    summed = np.float32(0.0)
    for i in range(search.n_best):
        off, _, their_cost = disagreement(packed, maps, fields, int(window[RANK + i]), at, w)
        summed += max(np.float32(1.0) - np.float32(1.5) * their_cost, np.float32(0.0)) * min(off, CAP_PX)
    return summed * (search.weight / np.float32(search.n_best))


@kernel(lean=True)
@no_type_check
def plane_cost(packed, maps, fields, at, plane, window, variance, search):
    """Return the mean cost of a plane over its best views, and rank the views in the scratch of ``window``."""
    for view in range(len(maps)):
        cost = view_cost(packed, maps, view, at, plane, window, variance)
        slot = view
        while slot > 0 and window[BEST + slot - 1] > cost:
            window[BEST + slot] = window[BEST + slot - 1]
            window[RANK + slot] = window[RANK + slot - 1]
            slot -= 1
        window[BEST + slot] = cost
        window[RANK + slot] = np.float32(view)
    summed = np.float32(0.0)
    for i in range(search.n_best):
        summed += window[BEST + i]
    summed /= np.float32(search.n_best)
    if search.weight > np.float32(0.0):
        summed += quarrel(packed, maps, fields, at, plane[0], window, search)
    return summed


@kernel(lean=True)
@no_type_check
def ranked_cost(packed, maps, fields, at, plane, window, variance, search, limit):
    """Return the mean cost of a plane over the views ranked best before; infinity once it must exceed ``limit``."""
    allowed = limit * np.float32(search.n_best)
    summed = np.float32(0.0)
    for i in range(search.n_best):
        summed += view_cost(packed, maps, int(window[RANK + i]), at, plane, window, variance)
        if summed >= allowed:
            break
    if summed >= allowed:
        summed = np.float32(np.inf)
    else:
        summed /= np.float32(search.n_best)
        if search.weight > np.float32(0.0):
            summed += quarrel(packed, maps, fields, at, plane[0], window, search)
    return summed
