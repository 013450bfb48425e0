"""Resizing 8-bit images as OpenCV does: by area where they shrink, bicubic where they grow."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch.nn.functional import interpolate


def resize(
    pixels: UInt8[np.ndarray, "h w 3"], height: int, width: int, *, grow: bool
) -> UInt8[np.ndarray, "rows cols 3"]:
    """Return an image of another size.

    Args:
        pixels: RGB.
        height: of the result.
        width: of the result.
        grow: interpolate (bicubic, a = -0.75, no filter) instead of averaging over areas.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if grow:
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double()
        values = interpolate(image, (height, width), mode="bicubic", align_corners=False)[0].permute(1, 2, 0).numpy()
    else:
        values = np.einsum("rh,hwc->rwc", area_weights(pixels.shape[0], height), pixels, optimize=True)
        values = np.einsum("sw,rwc->rsc", area_weights(pixels.shape[1], width), values, optimize=True)
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def area_weights(n: int, n_new: int) -> Float64[np.ndarray, "n_new n"]:
    """Return the share of every old pixel in every new one along an axis.

    Args:
        n: old pixels.
        n_new: new ones, no more than the old ones.
    """
    edges = np.linspace(0, n, n_new + 1)[:, None]
    covered = np.clip(edges[1:], None, np.arange(1, n + 1)) - np.clip(edges[:-1], np.arange(n), None)
    return np.clip(covered, 0, None) * (n_new / n)
