"""The photos at the sizes that the optimisation goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import CameraTensors

_FULL = 254  # even, so that half of it is not rounded


@dataclass(frozen=True, eq=False)
class Target:
    """One photo at one size.

    Args:
        image: sRGB, ``[h,w,3]``.
        mask: non-zero where a pixel counts, ``[h,w]``; None = everywhere.
        cam_from_world: pose, ``[4,4]``.
        K: intrinsics for this size, ``[3,3]``.
    """

    image: UInt8[Tensor, "h w 3"]
    mask: UInt8[Tensor, "h w"] | None
    cam_from_world: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return self.image.shape[0] * self.image.shape[1]

    def camera(self, cam_from_world: Float[Tensor, "4 4"] | None = None) -> CameraTensors:
        """Return the camera, with another pose where one is given."""
        pose = self.cam_from_world if cam_from_world is None else cam_from_world
        return CameraTensors(pose[None], self.K[None], self.image.shape[1], self.image.shape[0])


def make_targets(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    masks: Sequence[UInt8[np.ndarray, "_ _"] | None],
    cameras: Cameras,
    shrink: float,
    device: torch.device,
) -> tuple[Target, ...]:
    """Return all photos at ``shrink`` times their size."""
    small_masks = [None if mask is None else resize_mask(mask, shrink) for mask in masks]
    small = [
        resize(image, shrink) if mask is None or counts is None else _without_masked(image, mask, counts, shrink)
        for image, mask, counts in zip(images, masks, small_masks, strict=True)
    ]
    scaled = scale_cameras(cameras, [image.shape[:2] for image in small])
    tensors = scaled.torch(str(device))
    return tuple(
        Target(
            torch.tensor(image, device=device),
            None if mask is None else torch.tensor(mask, device=device),
            tensors["cam_from_world"][i],
            tensors["K"][i],
        )
        for i, (image, mask) in enumerate(zip(small, small_masks, strict=True))
    )


def resize(image: UInt8[np.ndarray, "h w *c"], shrink: float) -> UInt8[np.ndarray, "h2 w2 *c"]:
    """Return an image at ``shrink`` times its size (at most 1); each pixel is the mean of what it covers."""
    height, width = (max(1, round(side * shrink)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _without_masked(
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    counts: UInt8[np.ndarray, "h2 w2"],
    shrink: float,
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Return a reduced image whose pixels are means of what counts; black where a pixel does not count."""
    size = counts.shape[::-1]
    planes = [*np.moveaxis(image * (mask != 0)[..., None], -1, 0), mask != 0]
    shares = [Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX) for plane in planes]
    red, green, blue, share = (np.asarray(one) for one in shares)
    mean = np.stack([red, green, blue], axis=-1) / np.maximum(share, 1e-6)[..., None]
    return np.where(counts[..., None] != 0, np.rint(mean), 0).clip(0, 255).astype(np.uint8)


def resize_mask(mask: UInt8[np.ndarray, "h w"], shrink: float) -> UInt8[np.ndarray, "h2 w2"]:
    """Return a mask at ``shrink`` times its size; a pixel counts when more than half of what it covers counts."""
    share = resize((mask != 0).astype(np.uint8) * np.uint8(_FULL), shrink)
    return (share > _FULL // 2).astype(np.uint8)


def scale_cameras(cameras: Cameras, sizes: Sequence[tuple[int, int]]) -> Cameras:
    """Return cameras for images of other sizes ``(height, width)``."""
    height, width = np.array(sizes, np.int64).reshape(-1, 2).T
    K = cameras.K.copy()
    K[:, 0] *= (width / cameras.width)[:, None]
    K[:, 1] *= (height / cameras.height)[:, None]
    return replace(cameras, K=K, width=width.copy(), height=height.copy())
