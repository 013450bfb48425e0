"""Which depths the neighbours confirm, and how far apart the confirmed depths lie."""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from recon3d.core.kernels import kernel


class Neighbours(NamedTuple):
    """Planes of the neighbours at one scale, one after the other in ``planes``; w is 0 where there is none.

    ``forward`` maps pixels of the photo into the neighbours, ``back`` the other way, both in pixels of that scale.
    """

    planes: Float32[np.ndarray, "total 3"]
    start: Int32[np.ndarray, " s"]
    width: Int32[np.ndarray, " s"]
    height: Int32[np.ndarray, " s"]
    forward: Float32[np.ndarray, "s 12"]
    back: Float32[np.ndarray, "s 12"]


class Agreement(NamedTuple):
    """What counts as confirmed."""

    max_px: np.float32
    max_relative: np.float32


def stack_neighbours(
    planes: list[Float32[np.ndarray, "_h _w 3"]],
    forward: Float32[np.ndarray, "s 12"],
    back: Float32[np.ndarray, "s 12"],
) -> Neighbours:
    """Lay the planes of the neighbours one after the other for the kernels."""
    start = np.concatenate([[0], np.cumsum([p.shape[0] * p.shape[1] for p in planes])])[:-1].astype(np.int32)
    width = np.array([p.shape[1] for p in planes], np.int32)
    height = np.array([p.shape[0] for p in planes], np.int32)
    flat = np.concatenate([p.reshape(-1, 3) for p in planes]) if planes else np.zeros((0, 3), np.float32)
    return Neighbours(flat, start, width, height, forward, back)


@kernel
@no_type_check
def seen_by(neighbours, view, x, y, w):
    """Follow a pixel with inverse depth w into a neighbour and back.

    Returns:
        The distance between the pixel and where the neighbour's own depth puts it, in pixels, and the inverse depth of
        that place in the photo; (inf, 0) where the neighbour does not see the pixel or has no depth there.
    """
    nowhere = (np.float32(np.inf), np.float32(0.0))
    m = neighbours.forward[view]
    depth = m[6] * x + m[7] * y + m[8] + w * m[11]
    if depth <= np.float32(1e-6):
        return nowhere
    sx, sy = (m[0] * x + m[1] * y + m[2] + w * m[9]) / depth, (m[3] * x + m[4] * y + m[5] + w * m[10]) / depth
    width, height = neighbours.width[view], neighbours.height[view]
    if not (sx >= 0 and sy >= 0 and sx < width and sy < height):
        return nowhere
    column, row = np.int32(sx), np.int32(sy)
    plane = neighbours.planes[neighbours.start[view] + row * width + column]
    if plane[0] <= np.float32(0.0):
        return nowhere
    half = np.float32(0.5)
    theirs = plane[0] + plane[1] * (sx - np.float32(column) - half) + plane[2] * (sy - np.float32(row) - half)
    m = neighbours.back[view]
    depth = m[6] * sx + m[7] * sy + m[8] + theirs * m[11]
    if depth <= np.float32(1e-6) or theirs <= np.float32(0.0):
        return nowhere
    dx = (m[0] * sx + m[1] * sy + m[2] + theirs * m[9]) / depth - x
    dy = (m[3] * sx + m[4] * sy + m[5] + theirs * m[10]) / depth - y
    return np.float32(np.sqrt(dx * dx + dy * dy)), theirs / depth


def confirm(
    planes: Float32[np.ndarray, "h w 3"], neighbours: Neighbours, agreement: Agreement
) -> tuple[UInt8[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Count the neighbours that confirm each pixel.

    Returns:
        The count; the mean inverse depth over the pixel and its confirmations; the sum of squared deviations from it.
    """
    shape = planes.shape[:2]
    count, mean, spread = np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    _confirm(planes, neighbours, agreement, count, mean, spread)
    return count, mean, spread


@kernel
@no_type_check
def _confirm(planes, neighbours, agreement, count, mean, spread):
    height, width = count.shape
    for v in range(height):
        for u in range(width):
            w = planes[v, u, 0]
            if w <= np.float32(0.0):
                continue
            n, first, second = 0, np.float32(0.0), np.float32(0.0)
            for view in range(len(neighbours.start)):
                off, theirs = seen_by(neighbours, view, np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5), w)
                relative = theirs / w - np.float32(1.0)
                if off <= agreement.max_px and abs(relative) <= agreement.max_relative:
                    n += 1
                    first += relative
                    second += relative * relative
            center = first / np.float32(n + 1)
            count[v, u] = n
            mean[v, u] = w * (np.float32(1.0) + center)
            spread[v, u] = max(second - center * first, np.float32(0.0)) * w * w


def remove_small_regions(
    depth_z: Float32[np.ndarray, "h w"], min_region_px: int, max_step: float
) -> Float32[np.ndarray, "h w"]:
    """Return the depth map without connected regions of fewer than ``min_region_px`` pixels.

    Args:
        depth_z: depth, 0 = none.
        min_region_px: smallest region that is kept.
        max_step: neighbouring pixels belong together if their depths differ by at most this share.
    """
    parent = np.arange(depth_z.size, dtype=np.int32)
    _join(depth_z, np.float32(max_step), parent)
    size = np.bincount(parent, minlength=depth_z.size)
    return np.where(size[parent].reshape(depth_z.shape) >= min_region_px, depth_z, np.float32(0.0))


@kernel
@no_type_check
def _join(depth_z, max_step, parent):
    height, width = depth_z.shape
    for v in range(height):
        for u in range(width):
            z, at = depth_z[v, u], v * width + u
            if z <= np.float32(0.0):
                continue
            if u > 0 and abs(depth_z[v, u - 1] - z) <= max_step * z:
                _unite(parent, at, at - 1)
            if v > 0 and abs(depth_z[v - 1, u] - z) <= max_step * z:
                _unite(parent, at, at - width)
    for at in range(height * width):
        parent[at] = _root(parent, at)


@kernel
@no_type_check
def _root(parent, at):
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at


@kernel
@no_type_check
def _unite(parent, a, b):
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)
