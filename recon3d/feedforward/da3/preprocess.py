"""Photos as Depth Anything 3 was trained on them: longest side 504, sides multiples of 14, ImageNet-normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from recon3d.feedforward.preparation import Prepared, Sheet, batch, check_photos
from recon3d.feedforward.resampling import resize

SIZE = 504
_PATCH = 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Method = Literal["upper_bound_resize", "upper_bound_crop", "lower_bound_resize", "lower_bound_crop"]


def prepare(
    photos: Sequence[UInt8[np.ndarray, "..."]], method: Method = "upper_bound_resize", *, size: int = SIZE
) -> Prepared:
    """Return a normalised batch.

    Args:
        photos: upright RGB or RGBA images; alpha is ignored.
        method: the longest (``upper``) or the shortest (``lower``) side becomes ``size``; then the sides become
            multiples of 14, by another resize or by a crop. Photos of several shapes are cropped to the smallest.
        size: in pixels.

    Raises:
        InputError: there is no photo, or one is no image.
    """
    check_photos(photos)
    sheets = [_fitted(Sheet(np.ascontiguousarray(photo[..., :3])), method, size) for photo in photos]
    height, width = (min(sheet.pixels.shape[axis] for sheet in sheets) for axis in (0, 1))
    prepared = batch([sheet.cropped(height, width) for sheet in sheets])
    return replace(prepared, images=normalise(prepared.images))


def normalise(images: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """Subtract the mean of ImageNet from RGB values 0..1, and divide by its standard deviation."""
    mean, std = (
        torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None] for values in (MEAN, STD)
    )
    return (images - mean) / std


def _fitted(sheet: Sheet, method: Method, size: int) -> Sheet:
    bound, _, fit = method.split("_")
    sides = sheet.pixels.shape[:2]
    scale = size / (max(sides) if bound == "upper" else min(sides))
    sheet = _resized(sheet, *(max(1, round(side * scale)) for side in sides), grow=scale > 1)
    height, width = sheet.pixels.shape[:2]
    if fit == "crop":
        return sheet.cropped(*(max(side // _PATCH, 1) * _PATCH for side in (height, width)))
    rows, cols = (_nearest_multiple(side) for side in (height, width))
    return _resized(sheet, rows, cols, grow=rows > height or cols > width)


def _nearest_multiple(side: int) -> int:
    """Return the multiple of the patch size that is nearest, at least one patch; halves go up."""
    return max((side + _PATCH // 2) // _PATCH, 1) * _PATCH


def _resized(sheet: Sheet, height: int, width: int, *, grow: bool) -> Sheet:
    return sheet.replaced(resize(sheet.pixels, height, width, grow=grow))
