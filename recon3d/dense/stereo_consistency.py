"""Which depths the neighbours confirm, and how far apart the confirmed depths lie."""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_cost import disagreement
from recon3d.dense.stereo_images import Sources
from recon3d.dense.stereo_patchmatch import parallax

_BY_VIEWS = 2.0  # errors of neighbouring photos are alike, so their spread shows only a part of them
_BY_CURVATURE = 0.08
_FLOOR_PX = 0.08


class Agreement(NamedTuple):
    """What counts as confirmed."""

    max_px: np.float32
    max_relative: np.float32


def confirm(
    field: Float32[np.ndarray, "h w 4"], sources: Sources, agreement: Agreement
) -> Float32[np.ndarray, "h w 4"]:
    """Ask the neighbours about every pixel.

    Returns:
        How many confirm it; the mean inverse depth over the pixel and its confirmations; the sum of the squared
        deviations from that mean; the inverse depth that moves the pixel by one pixel in the neighbours, ``[h,w,4]``.
    """
    votes = np.zeros((*field.shape[:2], 4), np.float32)
    _confirm(field, sources.packed, sources.maps, sources.fields, agreement, votes)
    return votes


def confirmed_depth(
    votes: Float32[np.ndarray, "h w 4"], spread: Float32[np.ndarray, "h w"], keep: Bool[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Return depth and sigma of the pixels to keep, 0 elsewhere.

    The variance has three parts: how far the confirmed depths lie apart, how flat the matching cost is, and a floor in
    pixels of parallax. The factors were fitted to sensor depth and to exact depth of rendered photos (docs/stereo.md).

    Args:
        votes: of :func:`confirm`.
        spread: deviation of the inverse depth from the curvature of the cost, not calibrated.
        keep: which pixels.
    """
    count, w, apart, pixel = np.moveaxis(votes, -1, 0)
    variance = np.square(_BY_VIEWS) * apart / np.maximum(count, 1)
    variance += np.square(_BY_CURVATURE * spread) + np.square(_FLOOR_PX * pixel)
    depth_z = np.where(keep, 1.0 / np.maximum(w, 1e-20), 0.0).astype(np.float32)
    return depth_z, (np.sqrt(variance) * depth_z * depth_z).astype(np.float32)


@kernel
@no_type_check
def _confirm(field, packed, maps, fields, agreement, votes):
    height, width = field.shape[:2]
    for v in range(height):
        for u in range(width):
            w = field[v, u, 0]
            if w <= np.float32(0.0):
                continue
            n, first, second = 0, np.float32(0.0), np.float32(0.0)
            at = (np.float32(u) + np.float32(0.5), np.float32(v) + np.float32(0.5))
            for view in range(len(maps)):
                off, theirs, _ = disagreement(packed, maps, fields, view, at, w)
                relative = theirs / w - np.float32(1.0)
                if off <= agreement.max_px and abs(relative) <= agreement.max_relative:
                    n += 1
                    first += relative
                    second += relative * relative
            center = first / np.float32(n + 1)
            votes[v, u, 0] = n
            votes[v, u, 1] = w * (np.float32(1.0) + center)
            votes[v, u, 2] = max(second - center * first, np.float32(0.0)) * w * w
            votes[v, u, 3] = np.float32(1.0) / parallax(maps, at, w)


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
