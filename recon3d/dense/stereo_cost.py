"""Matching cost of a plane hypothesis: one minus the weighted, normalised cross-correlation of a window.

The window has 32 samples, every second pixel of a disc 11 pixels wide, two full vectors of float32. Samples are weighted by
their distance and by their likeness to the centre (bilateral weights as in Schoenberger et al., "Pixelwise view
selection for unstructured multi-view stereo", ECCV 2016, section 4.1), so that a window across a depth step follows
the surface of its centre. Variances carry that of the sensor noise, so flat regions correlate with nothing.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_images import BORDER

N_SAMPLES = 32
OUTSIDE = np.float32(1.0)  # cost where a view does not see the window: as bad as no correlation
_NOISE = np.float32(2.0)  # variance of the grey values that is not texture
_COLOUR = np.float32(1.0 / 24.0**2)  # inverse square of the grey difference that halves the weight, roughly
_SPATIAL = 4.0


class Window(NamedTuple):
    """Where a window is sampled, and scratch for the reference samples of the current pixel.

    ``weight`` sums to one; ``centred`` is weight times (grey - mean); ``best`` collects the lowest costs.
    """

    dx: Float32[np.ndarray, " 32"]
    dy: Float32[np.ndarray, " 32"]
    step: Int32[np.ndarray, " 32"]
    spatial: Float32[np.ndarray, " 32"]
    weight: Float32[np.ndarray, " 32"]
    centred: Float32[np.ndarray, " 32"]
    best: Float32[np.ndarray, " k"]


def make_window(padded_width: int, n_best: int) -> Window:
    """Return the window for a padded reference of that width and the mean over ``n_best`` views."""
    odd = range(-BORDER, BORDER + 1, 2)
    offsets = np.array([(x, y) for y in odd for x in odd if abs(x) + abs(y) < 2 * BORDER])
    dx, dy = offsets.T
    spatial = np.exp(-(dx**2 + dy**2) / (2 * _SPATIAL**2)).astype(np.float32)
    step = (dy * padded_width + dx).astype(np.int32)
    scratch = [np.zeros(N_SAMPLES, np.float32) for _ in range(2)]
    return Window(dx.astype(np.float32), dy.astype(np.float32), step, spatial, *scratch, np.zeros(n_best, np.float32))


@kernel
@no_type_check
def load_window(reference, u, v, window):
    """Fill the scratch of ``window`` for pixel (u, v); return the variance, -1 where the pixel is masked."""
    flat = reference.ravel()
    middle = np.int32((v + BORDER) * reference.shape[1] + u + BORDER)
    center = flat[middle]
    if center < np.float32(0.0):
        return np.float32(-1.0)
    total, first, second = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(N_SAMPLES):
        value = flat[middle + window.step[i]]
        off = value - center
        like = np.float32(1.0) / (np.float32(1.0) + off * off * _COLOUR)
        weight = window.spatial[i] * like * like if value >= np.float32(0.0) else np.float32(0.0)
        window.weight[i] = weight
        window.centred[i] = off
        total += weight
        first += weight * off
        second += weight * off * off
    scale = np.float32(1.0) / max(total, np.float32(1e-6))
    mean = first * scale
    for i in range(N_SAMPLES):
        window.weight[i] *= scale
        window.centred[i] = window.weight[i] * (window.centred[i] - mean)
    return max(second * scale - mean * mean, np.float32(0.0))


@kernel
@no_type_check
def view_cost(sources, view, x, y, w, wu, wv, window, variance):
    """Return the cost of plane (w, wu, wv) at the pixel centre (x, y) in one view; :data:`OUTSIDE` if unseen."""
    m = sources.maps[view]
    depth = m[6] * x + m[7] * y + m[8] + w * m[11]
    if depth <= np.float32(1e-6):
        return OUTSIDE
    scale = np.float32(1.0) / depth
    sx = (m[0] * x + m[1] * y + m[2] + w * m[9]) * scale
    sy = (m[3] * x + m[4] * y + m[5] + w * m[10]) * scale
    du, dv = m[6] + wu * m[11], m[7] + wv * m[11]
    a, b = (m[0] + wu * m[9] - sx * du) * scale, (m[1] + wv * m[9] - sx * dv) * scale
    c, d = (m[3] + wu * m[10] - sy * du) * scale, (m[4] + wv * m[10] - sy * dv) * scale
    area = a * d - b * c
    if area < np.float32(0.1) or area > np.float32(10.0):  # seen from behind, or at a very different resolution
        return OUTSIDE
    reach_x, reach_y = np.float32(BORDER) * (abs(a) + abs(b)), np.float32(BORDER) * (abs(c) + abs(d))
    sx, sy = sx - np.float32(0.5), sy - np.float32(0.5)
    width, height = sources.width[view], sources.height[view]
    if not (sx >= reach_x and sy >= reach_y and sx + reach_x < width - 1 and sy + reach_y < height - 1):
        return OUTSIDE
    mean, square, cross = _sums(sources.packed, sources.start[view], width, sx, sy, a, b, c, d, window)
    spread = (variance + _NOISE) * (max(square - mean * mean, np.float32(0.0)) + _NOISE)
    return np.float32(1.0) - cross / np.float32(np.sqrt(spread))


@kernel
@no_type_check
def _sums(packed, start, width, sx, sy, a, b, c, d, window):
    """Sums of weight * s, weight * s^2 and centred * s over the bilinear samples s of an affinely warped window."""
    dx, dy, weights, centred = window.dx, window.dy, window.weight, window.centred
    mean, square, cross = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(N_SAMPLES):
        x, y = sx + a * dx[i] + b * dy[i], sy + c * dx[i] + d * dy[i]
        left, top = np.int32(x), np.int32(y)
        fx, fy = x - np.float32(left), y - np.float32(top)
        quad = np.int32(packed[np.uint32(start + top * width + left)])
        s00, s01 = np.float32(quad & np.int32(255)), np.float32((quad >> np.int32(8)) & np.int32(255))
        s10, s11 = np.float32((quad >> np.int32(16)) & np.int32(255)), np.float32((quad >> np.int32(24)) & np.int32(255))
        upper, lower = s00 + fx * (s01 - s00), s10 + fx * (s11 - s10)
        sample = upper + fy * (lower - upper)
        weighted = weights[i] * sample
        mean += weighted
        square += weighted * sample
        cross += centred[i] * sample
    return mean, square, cross


@kernel
@no_type_check
def plane_cost(sources, x, y, w, wu, wv, window, variance):
    """Return the mean cost of a plane over its best views."""
    best = window.best
    n_best = len(best)
    best[:] = OUTSIDE
    for view in range(len(sources.start)):
        cost = view_cost(sources, view, x, y, w, wu, wv, window, variance)
        at = n_best - 1
        if cost < best[at]:
            while at > 0 and best[at - 1] > cost:
                best[at] = best[at - 1]
                at -= 1
            best[at] = cost
    total = np.float32(0.0)
    for i in range(n_best):
        total += best[i]
    return total / np.float32(n_best)
