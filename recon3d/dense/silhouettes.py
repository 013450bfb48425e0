"""Depth that has grown over the silhouette of a body into the flat background beside it.

A matching window that reaches over a silhouette sees no texture but that of the body; so the background beside it gets
the depth of the body ("foreground fattening": Scharstein and Szeliski, IJCV 2002), in all photos alike, and no other
photo contradicts it. Its colours do: they are those of the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from scipy.ndimage import distance_transform_edt

from recon3d.dense.types import DepthMap

PhotoDepth = tuple[DepthMap, UInt8[np.ndarray, "_h _w 3"]]
_NEIGHBOURHOOD = 3  # colours are compared with those within this many reaches
_FLAT = 30.0  # grey levels; a background of more contrast has texture to match
_NOISE = 4.0  # grey levels
_LOG_ODDS = 3.0
_Moments = tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, "m 3"], Float64[np.ndarray, " m"]]


class TrimmedMaps(Sequence[PhotoDepth]):
    """Depth maps without what :func:`grown_over` finds; one bit per pixel is kept, so the work is done once.

    Args:
        maps: depth maps and sRGB colours of the same size.
        reach_px: how far depth grows over a silhouette, in pixels; 0 = not at all.
    """

    def __init__(self, maps: Sequence[PhotoDepth], reach_px: int) -> None:
        self.maps, self.reach_px = maps, reach_px
        self._bits: dict[int, UInt8[np.ndarray, " n"]] = {}

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: Any) -> Any:
        depth, rgb = self.maps[index]
        if self.reach_px == 0 or rgb.shape[:2] != depth.depth_z.shape:
            return depth, rgb
        if index not in self._bits:
            self._bits[index] = np.packbits(grown_over(depth.depth_z, rgb, self.reach_px))
        shape = depth.depth_z.shape
        grown = np.unpackbits(self._bits[index], count=depth.depth_z.size).reshape(shape).astype(np.bool_)
        zero = np.float32(0)
        return DepthMap(np.where(grown, zero, depth.depth_z), np.where(grown, zero, depth.sigma), depth.normal_cam), rgb


def grown_over(
    depth_z: Float32[np.ndarray, "h w"], rgb: UInt8[np.ndarray, "h w 3"], reach_px: int
) -> Bool[np.ndarray, "h w"]:
    """Return which pixels have a depth, but the colour of the flat background beside them.

    The background is where no depth was found, as far as discs of that reach fit in. The colours of a pixel near it are
    compared with those of the background around, and with those of the body around, further inside: two normal
    distributions each. Where the background has texture, or one of both is missing, nothing is said.

    Args:
        depth_z: depth along camera z, 0 or NaN = none.
        rgb: sRGB of the same pixels.
        reach_px: how far depth grows over a silhouette.
    """
    known = depth_z > 0
    background = _opened(~known, reach_px)
    if not background.any():
        return np.zeros_like(known)
    far = distance_transform_edt(~background) > reach_px
    near = np.flatnonzero(known & ~far)
    half = _NEIGHBOURHOOD * reach_px
    n_body, body, body_variance = _colours(rgb, known & far, half, near)
    n_back, back, back_variance = _colours(rgb, background, half, near)
    colour = rgb.reshape(-1, 3)[near].astype(np.float64)
    odds = _log_likelihood(colour, back, back_variance) - _log_likelihood(colour, body, body_variance)
    grown = np.zeros(known.size, np.bool_)
    grown[near] = (odds > _LOG_ODDS) & (n_body > 0) & (n_back > 0) & (back_variance < _FLAT**2)
    return grown.reshape(known.shape)


def _opened(hole: Bool[np.ndarray, "h w"], radius: int) -> Bool[np.ndarray, "h w"]:
    """Return the parts of a hole that discs of a radius inside the photo fit into."""
    centres = distance_transform_edt(np.pad(hole, 1))[1:-1, 1:-1] > radius
    if not centres.any():
        return np.zeros_like(hole)
    return np.asarray(distance_transform_edt(~centres) <= radius)


def _colours(
    rgb: UInt8[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"], half: int, at: Int64[np.ndarray, " m"]
) -> _Moments:
    """Return the number of marked pixels in a square around pixels, their mean colour, and its mean variance."""
    colour = rgb.astype(np.int64) * where[..., None]
    square = (colour**2).sum(axis=-1, keepdims=True)
    sums = _box_sums(np.concatenate([where[..., None].astype(np.int64), colour, square], axis=-1), half, at)
    n = sums[:, 0]
    mean = sums[:, 1:4] / np.maximum(n, 1)[:, None]
    variance = (sums[:, 4] / np.maximum(n, 1) - (mean**2).sum(axis=1)) / 3
    return n, mean, np.maximum(variance, 0) + _NOISE**2


def _box_sums(values: Int64[np.ndarray, "h w c"], half: int, at: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, "m c"]:
    """Return sums over squares around flat pixel indices, cut at the border; in integers they are exact."""
    h, w = values.shape[:2]
    total = np.zeros((h + 1, w + 1, values.shape[2]), np.int64)
    total[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    row, col = np.divmod(at, w)
    top, left = np.maximum(row - half, 0), np.maximum(col - half, 0)
    bottom, right = np.minimum(row + half + 1, h), np.minimum(col + half + 1, w)
    return np.asarray(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])


def _log_likelihood(
    colour: Float64[np.ndarray, "m 3"], mean: Float64[np.ndarray, "m 3"], variance: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    return np.asarray(-0.5 * ((colour - mean) ** 2).sum(axis=1) / variance - 1.5 * np.log(variance))
