"""Photos as VGGT was trained on them: 518 pixels wide, sides multiples of 14, resized by Pillow in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from recon3d.feedforward.preparation import Prepared, Sheet, batch, check_photos

_WHITE, _BLACK = 255, 0
SIZE = 518
_PATCH = 14


def prepare(
    photos: Sequence[UInt8[np.ndarray, "..."]], mode: Literal["crop", "pad", "square"] = "crop", *, size: int = SIZE
) -> Prepared:
    """Return a batch of RGB values 0..1.

    Args:
        photos: upright RGB or RGBA images, ``[h,w,3]`` or ``[h,w,4]``; transparent parts become white.
        mode: ``crop`` makes the width ``size`` and cuts what is taller than that; ``pad`` makes the longer side
            ``size`` and pads with white to a square; ``square`` pads with black to a square and resizes that. Photos of
            several shapes are padded with white to the largest.
        size: side of the network's images, a multiple of 14.

    Raises:
        InputError: there is no photo, or one is no image.
    """
    check_photos(photos)
    sheets = [
        _square(_opaque(photo), size) if mode == "square" else _fitted(_opaque(photo), mode, size) for photo in photos
    ]
    height, width = (max(sheet.pixels.shape[axis] for sheet in sheets) for axis in (0, 1))
    return batch([sheet.padded(height, width, _WHITE) for sheet in sheets])


def _opaque(photo: UInt8[np.ndarray, "h w c"]) -> Sheet:
    """Put a photo in front of white."""
    if photo.shape[2] == 3:
        return Sheet(photo)
    image = Image.fromarray(photo, "RGBA")
    white = Image.new("RGBA", image.size, (_WHITE,) * 4)
    return Sheet(np.asarray(Image.alpha_composite(white, image).convert("RGB")))


def _fitted(sheet: Sheet, mode: str, size: int) -> Sheet:
    height, width = sheet.pixels.shape[:2]
    tall = mode == "pad" and height > width
    if tall:
        sheet = _resized(sheet, size, _multiple(width * (size / height)))
    else:
        sheet = _resized(sheet, _multiple(height * (size / width)), size)
    return sheet.padded(size, size, _WHITE) if mode == "pad" else sheet.cropped(size, size)


def _square(sheet: Sheet, size: int) -> Sheet:
    side = max(sheet.pixels.shape[:2])
    return _resized(sheet.padded(side, side, _BLACK), size, size)


def _multiple(length: float) -> int:
    """Return the multiple of the patch size that is nearest, at least one patch; halves go to the even multiple."""
    return max(round(length / _PATCH), 1) * _PATCH


def _resized(sheet: Sheet, height: int, width: int) -> Sheet:
    image = Image.fromarray(sheet.pixels).resize((width, height), Image.Resampling.BICUBIC)
    return sheet.replaced(np.asarray(image))
