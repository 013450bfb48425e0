"""Photos as a network wants them, and how its pixels lie in the photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped, UInt8
from torch import Tensor

from recon3d.core.errors import InputError


class Placement(NamedTuple):
    """Where the pixels of a photo went: ``x_network = scale_x * x_photo + offset_x``, likewise y, corners at (0, 0).

    Args:
        scale_x: pixels of the network's image per pixel of the photo.
        scale_y: the same along y.
        offset_x: of the photo's left side, in pixels of the network's image.
        offset_y: of its upper side.
    """

    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    @property
    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """Homogeneous ``network_from_photo``."""
        return np.array([[self.scale_x, 0, self.offset_x], [0, self.scale_y, self.offset_y], [0, 0, 1.0]])

    def to_network(self, K: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
        """Return the intrinsics of the network's image of those of the photo."""
        return np.asarray(self.matrix @ K)

    def to_photo(self, K: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
        """Return the intrinsics of the photo of those of the network's image."""
        return np.linalg.solve(self.matrix, K)

    def resized(self, scale_x: float, scale_y: float) -> Placement:
        """Return the placement after another resize."""
        return Placement(
            self.scale_x * scale_x, self.scale_y * scale_y, self.offset_x * scale_x, self.offset_y * scale_y
        )

    def shifted(self, left: float, top: float) -> Placement:
        """Return the placement after padding by ``left`` and ``top`` pixels; negative numbers crop."""
        return self._replace(offset_x=self.offset_x + left, offset_y=self.offset_y + top)


_WHOLE = Placement()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A batch of one scene.

    Args:
        images: what the network takes, ``[s,3,h,w]``.
        placements: of each photo.
    """

    images: Float[Tensor, "s 3 h w"]
    placements: tuple[Placement, ...]


@dataclass(frozen=True, eq=False)
class Sheet:
    """One photo on its way.

    Args:
        pixels: RGB, ``[h,w,3]``.
        placement: of the photo in it.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    placement: Placement = _WHOLE

    def padded(self, height: int, width: int, colour: int) -> Sheet:
        """Return the sheet in the middle of a larger one; an odd pixel goes to the bottom and the right.

        Args:
            height: of the result, in pixels.
            width: of the result, in pixels.
            colour: grey value of the new pixels.
        """
        top, left = (height - self.pixels.shape[0]) // 2, (width - self.pixels.shape[1]) // 2
        pixels = np.full((height, width, 3), colour, np.uint8)
        pixels[top : top + self.pixels.shape[0], left : left + self.pixels.shape[1]] = self.pixels
        return Sheet(pixels, self.placement.shifted(left, top))

    def cropped(self, height: int, width: int) -> Sheet:
        """Return the middle of the sheet; sides that are smaller already stay."""
        top, left = (max(have - want, 0) // 2 for have, want in zip(self.pixels.shape, (height, width), strict=False))
        pixels = self.pixels[top : top + height, left : left + width]
        return replace(self, pixels=pixels, placement=self.placement.shifted(-left, -top))

    def replaced(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Sheet:
        """Return the sheet after a resize to ``pixels``."""
        (height, width), (old_height, old_width) = pixels.shape[:2], self.pixels.shape[:2]
        return Sheet(pixels, self.placement.resized(width / old_width, height / old_height))


def check_photos(photos: Sequence[Shaped[np.ndarray, "..."]]) -> None:
    """Refuse an empty list and arrays that are no RGB or RGBA images.

    Raises:
        InputError: with the number of the photo.
    """
    if not photos:
        raise InputError("there is no photo", expected="at least one")
    for number, photo in enumerate(photos):
        if photo.ndim != 3 or photo.shape[2] not in (3, 4) or 0 in photo.shape or photo.dtype != np.uint8:
            got = f"{list(photo.shape)} {photo.dtype}"
            raise InputError(f"photo {number} is no image", got=got, expected="uint8 [h,w,3] or [h,w,4]")


def batch(sheets: Sequence[Sheet]) -> Prepared:
    """Return sheets of one size as a batch with values 0..1."""
    pixels = torch.from_numpy(np.stack([sheet.pixels for sheet in sheets])).permute(0, 3, 1, 2)
    return Prepared(pixels.float() / 255.0, tuple(sheet.placement for sheet in sheets))
