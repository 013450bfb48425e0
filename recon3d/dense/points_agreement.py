"""Whether two depth maps agree about the surface at a pixel."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from recon3d.core.kernels import kernel

_WIDEST = 3.0


@kernel
@no_type_check
def add_agreement(mine, theirs, pose, limits, bounds, out):
    """Add weight, weighted depth on my ray and weighted colour of another photo to the pixels where it agrees.

    Args:
        mine: 1/z and weight 1/sigma^2 ``[h,w]``, lens ``[4]``.
        theirs: the same of the other photo, and its colours ``[h2,w2,3]``.
        pose: their camera from mine, ``[4,4]``.
        limits: relative difference, difference in sigmas, and distance in pixels that still agree, ``[3]``.
        bounds: first and last row of this part.
        out: sums ``[h,w,5]``, number of agreeing photos ``[h,w]``, and the pixel that agrees or -1 ``[h,w]``.
    """
    width = mine[0].shape[1]
    lens = mine[2]
    for row in range(bounds[0], bounds[1]):
        y = (np.float32(row) + np.float32(0.5) - lens[3]) / lens[1]
        for col in range(width):
            if mine[0][row, col] <= np.float32(0):
                continue
            x = (np.float32(col) + np.float32(0.5) - lens[2]) / lens[0]
            z = np.float32(1) / mine[0][row, col]
            at = _pixel_of(x * z, y * z, z, mine[1][row, col], theirs, pose, limits)
            if at < 0:
                continue
            depth, u, v = _back(at, theirs, pose, lens)
            du, dv = u - np.float32(col) - np.float32(0.5), v - np.float32(row) - np.float32(0.5)
            if depth > np.float32(0) and du * du + dv * dv <= limits[2] * limits[2]:
                _add(out, row, col, at, depth, theirs)


@kernel
@no_type_check
def _pixel_of(x, y, z, weight, theirs, pose, limits):
    """Return the pixel of the other photo that sees my point at its own depth, -1 = none."""
    lens, h, w = theirs[2], theirs[0].shape[0], theirs[0].shape[1]
    depth = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
    if depth <= np.float32(1e-6):
        return -1
    u = lens[0] * (pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]) / depth + lens[2]
    v = lens[1] * (pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]) / depth + lens[3]
    if not (u >= 0 and v >= 0 and u < w and v < h):
        return -1
    row, col = int(v), int(u)
    if theirs[0][row, col] <= np.float32(0):
        return -1
    sigma = np.sqrt(np.float32(1) / weight + np.float32(1) / theirs[1][row, col])
    most = limits[0] * depth
    most = min(max(most, limits[1] * sigma), np.float32(_WIDEST) * most)
    return row * w + col if abs(np.float32(1) / theirs[0][row, col] - depth) <= most else -1


@kernel
@no_type_check
def _back(at, theirs, pose, lens):
    """Return depth and pixel in my camera of the surface that the other photo sees at a pixel."""
    w = theirs[0].shape[1]
    row, col, other = at // w, at % w, theirs[2]
    z = np.float32(1) / theirs[0][row, col]
    x = (np.float32(col) + np.float32(0.5) - other[2]) / other[0] * z - pose[0, 3]
    y = (np.float32(row) + np.float32(0.5) - other[3]) / other[1] * z - pose[1, 3]
    z -= pose[2, 3]
    depth = pose[0, 2] * x + pose[1, 2] * y + pose[2, 2] * z
    u = lens[0] * (pose[0, 0] * x + pose[1, 0] * y + pose[2, 0] * z) / depth + lens[2]
    v = lens[1] * (pose[0, 1] * x + pose[1, 1] * y + pose[2, 1] * z) / depth + lens[3]
    return depth, u, v


@kernel
@no_type_check
def _add(out, row, col, at, depth, theirs):
    w = theirs[0].shape[1]
    weight = theirs[1][at // w, at % w]
    sums = out[0][row, col]
    sums[0] += weight
    sums[1] += weight * depth
    for channel in range(3):
        sums[2 + channel] += weight * np.float32(theirs[3][at // w, at % w, channel])
    out[1][row, col] += np.uint8(1)
    out[2][row, col] = at
