"""Photos of `images/` for the dense stages: decoded, reduced to a size, with cameras that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from recon3d.core.errors import InputError
from recon3d.photos.decode import read_mask, read_upright
from recon3d.render.cameras import Cameras


@dataclass(frozen=True, eq=False)
class SizedPhotos:
    """Undistorted photos at a working size.

    Args:
        images: sRGB photos, each ``[h,w,3]``.
        masks: True = use, each ``[h,w]``; None = everywhere.
        cameras: pinhole cameras of that size.
    """

    images: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    masks: tuple[Bool[np.ndarray, "_ _"] | None, ...]
    cameras: Cameras


def read_sized(
    paths: Sequence[Path], masks: Sequence[Path | None], cameras: Cameras, max_image_size: int, max_pixels: int
) -> SizedPhotos:
    """Read undistorted photos and reduce those whose long side exceeds a limit, by area averaging.

    Args:
        paths: one photo per camera.
        masks: PNG of each, white = use; None = everywhere.
        cameras: pinhole cameras of the photos as they are on disk.
        max_image_size: limit for the long side in pixels.
        max_pixels: cap for decoding.

    Raises:
        InputError: a photo does not have the size of its camera.
    """
    sized = cameras.limited(max_image_size)
    images, uses = [], []
    for i, (path, mask) in enumerate(zip(paths, masks, strict=True)):
        image = read_upright(path, max_pixels)
        old, new = (int(cameras.width[i]), int(cameras.height[i])), (int(sized.width[i]), int(sized.height[i]))
        if image.shape[1::-1] != old:
            raise InputError(f"{path} does not have the size of its camera", got=image.shape[1::-1], expected=old)
        use = None if mask is None else read_mask(mask, *old)
        images.append(image if new == old else _reduced(image, new))
        uses.append(use if use is None or new == old else _reduced(use.astype(np.uint8) * 255, new) >= 255)
    return SizedPhotos(tuple(images), tuple(uses), sized)


def _reduced(image: UInt8[np.ndarray, "..."], size: tuple[int, int]) -> UInt8[np.ndarray, "..."]:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
