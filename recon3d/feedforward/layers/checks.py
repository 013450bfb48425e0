"""What every network demands of its images, and the type that a module computes in."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.core.errors import ShapeError


def check_images(images: Float[Tensor, "..."], patch_size: int) -> None:
    """Refuse batches that a network cannot cut into patches.

    Args:
        images: expected to be ``[b,s,3,h,w]``.
        patch_size: side of a patch, in pixels.

    Raises:
        ShapeError: another shape, no view, or a side that is no multiple of the patch size.
    """
    shape = list(images.shape)
    if images.ndim != 5 or shape[2] != 3 or 0 in shape or shape[3] % patch_size or shape[4] % patch_size:
        expected = f"[scenes, views, 3, height, width], both sides multiples of {patch_size}"
        fix = "prepare the photos with the function that belongs to the network"
        raise ShapeError("the images have the wrong shape", got=shape, expected=expected, fix=fix)


def dtype_of(module: nn.Module) -> torch.dtype:
    """Return the type of a module's parameters; float32 where it has none."""
    return next((one.dtype for one in module.parameters() if one.dtype.itemsize > 1), torch.float32)
