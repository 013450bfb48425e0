"""Structural similarity in plain torch: any device, any float dtype, differentiable; the oracle of the CPU kernels."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError

RADIUS = 5
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
Padding = Literal["valid", "zero"]


def gaussian_taps() -> Float[Tensor, "11"]:
    """Return the window of SSIM: 11 samples of a Gaussian with a standard deviation of 1.5 px, summing to 1."""
    offset = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    return taps / taps.sum()


def ssim_map(
    image: Float[Tensor, "h w c"], reference: Float[Tensor, "h w c"], padding: Padding = "valid"
) -> Float[Tensor, "hv wv c"]:
    """Return the structural similarity around each pixel, per channel.

    Args:
        image: between 0 and 1, ``[h,w,c]``.
        reference: what it is compared with, ``[h,w,c]``.
        padding: ``valid`` leaves out the 5 px at the border whose window leaves the image, as metrics do; ``zero``
            keeps them and takes the outside as black, as the loss of 3D Gaussian splatting does.

    Returns:
        The map, ``[h-10,w-10,c]`` (``valid``) or ``[h,w,c]`` (``zero``). Differentiable in both images.

    Raises:
        ShapeError: the sizes differ, or ``valid`` leaves nothing.
        UsageError: the padding is unknown.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, eq. 13, with
    K1 = 0.01, K2 = 0.03 and a range of 1.
    """
    if image.shape != reference.shape:
        raise ShapeError("SSIM compares images of one size", got=tuple(reference.shape), expected=tuple(image.shape))
    if padding not in ("valid", "zero"):
        raise UsageError("unknown padding of SSIM", got=padding, expected="valid or zero")
    if padding == "valid" and min(image.shape[:2]) <= 2 * RADIUS:
        raise ShapeError("the image is too small for SSIM", got=tuple(image.shape), expected="at least 11 x 11 px")
    x, y = image.permute(2, 0, 1), reference.permute(2, 0, 1)
    mu_x, mu_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]), padding)
    luminance = (2 * mu_x * mu_y + C1) / (mu_x**2 + mu_y**2 + C1)
    structure = (2 * (xy - mu_x * mu_y) + C2) / (xx - mu_x**2 + yy - mu_y**2 + C2)
    similarity: Tensor = luminance * structure
    return similarity.permute(1, 2, 0)


def _blur(planes: Float[Tensor, "n c h w"], padding: Padding) -> Float[Tensor, "n c hv wv"]:
    n, c, h, w = planes.shape
    taps = gaussian_taps().to(planes)
    pad = 0 if padding == "valid" else RADIUS
    flat = planes.reshape(n * c, 1, h, w)
    flat = torch.nn.functional.conv2d(flat, taps[None, None, :, None], padding=(pad, 0))
    flat = torch.nn.functional.conv2d(flat, taps[None, None, None, :], padding=(0, pad))
    return flat.reshape(n, c, *flat.shape[-2:])
