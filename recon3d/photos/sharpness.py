"""How sharp a photo is, and which photos of a capture are clearly less sharp than the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from PIL import Image

MEASURED_SIDE = 1024
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
_CLEARLY = 1.9
_SHARP_PX = 0.5
_MAX_BLUR_PX = 20.0


def reduced_grey(image: Image.Image, side: int) -> Float32[np.ndarray, "h w"]:
    """Return grey values 0 to 255 of an RGB image, averaged down to ``side`` pixels where it is larger.

    Args:
        image: 8-bit RGB.
        side: longest side of the result in pixels; smaller images keep their size.
    """
    grey = image.convert("L")
    scale = side / max(grey.size)
    if scale < 1:
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        grey = grey.resize(size, Image.Resampling.BILINEAR)  # widened by Pillow: no aliasing
    return np.asarray(grey, dtype=np.float32)


def edge_blur_px(grey: Float32[np.ndarray, "h w"]) -> float:
    """Return the standard deviation of the Gaussian that blurs the strongest edges, in pixels.

    A step edge under a Gaussian of deviation s has the slope I' = g and the curvature I'' = -x g / s^2. Weighted with
    the squared slope, the ratio of the squared curvature to the squared slope is 1 / (4 s^2), whatever the contrast and
    the number of edges; the weight lets the strongest edges decide, not texture and noise. With the differences
    ``I(+1) - I(-1)`` and ``I(+1) - 2 I(0) + I(-1)`` the ratio is 1 / (16 s^2). It is taken in the direction where it is
    smallest, because motion blurs along one direction.

    Args:
        grey: grey values of an image.

    Returns:
        About 0.3 to 0.7 for a sharp photo; 20 at most, also for a photo without any edge.
    """
    if min(grey.shape) < 5:
        return _MAX_BLUR_PX
    ratio = min(_curvature_ratio(grey, dy, dx) for dy, dx in _DIRECTIONS)
    return min(1.0 / math.sqrt(16.0 * ratio), _MAX_BLUR_PX) if ratio > 0 else _MAX_BLUR_PX


def clearly_blurred(blurs_px: Sequence[float]) -> list[bool]:
    """Return which photos of a capture are blurred by its own standard.

    The standard is the lower quartile of the blur, so that a capture may be blurred for the most part, and at least
    half a pixel, which no lens and no demosaicing undercuts; a photo is blurred when its edges are more than 1.9 times
    as wide.

    Args:
        blurs_px: :func:`edge_blur_px` of every photo.
    """
    if not blurs_px:
        return []
    usual = max(float(np.percentile(np.asarray(blurs_px), 25)), _SHARP_PX)
    return [blur > _CLEARLY * usual for blur in blurs_px]


def _curvature_ratio(grey: Float32[np.ndarray, "h w"], dy: int, dx: int) -> float:
    height, width = grey.shape
    centre = grey[1:-1, 1:-1]
    ahead = grey[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
    behind = grey[1 - dy : height - 1 - dy, 1 - dx : width - 1 - dx]
    slope = np.square(ahead - behind)
    steepness = float(np.einsum("ij,ij->", slope, slope, dtype=np.float64))
    curvature = np.square(ahead - 2 * centre + behind)
    return float(np.einsum("ij,ij->", curvature, slope, dtype=np.float64)) / steepness if steepness > 0 else 0.0
