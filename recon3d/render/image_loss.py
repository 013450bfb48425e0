"""The photometric loss of splatting: L1 and structural dissimilarity behind a colour transform, fused on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.image_loss_cpu import loss_parts
from recon3d.render.ssim import ssim_map


@dataclass(frozen=True, eq=False)
class PhotometricLoss:
    """The loss of one image and what is good to know beside it; means over the pixels that count.

    Args:
        loss: ``(1 - l) l1 + l (1 - ssim)``; differentiable.
        l1: mean absolute difference.
        ssim: mean structural similarity.
        mse: mean squared difference.
    """

    loss: Float[Tensor, ""]
    l1: float
    ssim: float
    mse: float


def photometric_loss(
    image: Float[Tensor, "h w 3"],
    target: Shaped[Tensor, "h w 3"],
    mask: UInt8[Tensor, "h w"] | None = None,
    colour: Float[Tensor, "3 4"] | None = None,
    lambda_dssim: float = 0.2,
) -> PhotometricLoss:
    """Compare a rendered image with a photo.

    Args:
        image: rendered, between 0 and 1, ``[h,w,3]``.
        target: the photo, ``[h,w,3]``; uint8 from 0 to 255, or float from 0 to 1.
        mask: non-zero where a pixel counts, ``[h,w]``; None = everywhere. A pixel that does not count shows the photo
            in both images, so that it disturbs no window of its neighbours.
        colour: affine transform ``[A | b]`` that the rendered colours go through first, ``[3,4]``; None = none.
        lambda_dssim: share l of the structural dissimilarity.

    Returns:
        The loss and its parts. Differentiable in ``image`` and ``colour``. Windows at the border take the outside as
        black in both images.

    Raises:
        ShapeError: the sizes differ.
        UsageError: the photo is neither uint8 nor float.

    Source: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023, eq. 7.
    """
    for name, value in (("target", target), ("mask", mask)):
        if value is not None and value.shape[:2] != image.shape[:2]:
            got = tuple(value.shape)
            raise ShapeError(f"the {name} has another size than the image", got=got, expected=tuple(image.shape[:2]))
    if target.dtype != torch.uint8 and not target.is_floating_point():
        raise UsageError("the target has another type", got=target.dtype, expected="uint8 to 255, or float to 1")
    if image.device.type == "cpu" and image.dtype == torch.float32:
        matrix = torch.eye(3, 4) if colour is None else colour
        loss, parts = _Fused.apply(image, matrix, target, mask, lambda_dssim)  # type: ignore[no-untyped-call]
        l1, ssim, mse = parts.tolist()
        return PhotometricLoss(loss, l1, ssim, mse)
    return photometric_loss_torch(image, target, mask, colour, lambda_dssim)


def photometric_loss_torch(
    image: Float[Tensor, "h w 3"],
    target: Shaped[Tensor, "h w 3"],
    mask: UInt8[Tensor, "h w"] | None = None,
    colour: Float[Tensor, "3 4"] | None = None,
    lambda_dssim: float = 0.2,
) -> PhotometricLoss:
    """Return what :func:`photometric_loss` returns, in plain torch: any device, any float dtype; the oracle."""
    wanted = target.to(image) / 255 if target.dtype == torch.uint8 else target.to(image)
    seen = image if colour is None else image @ colour[:, :3].T + colour[:, 3]
    counts = torch.ones_like(image[..., :1]) if mask is None else (mask != 0).to(image)[..., None]
    seen = torch.where(counts > 0, seen, wanted)
    n_values = (3 * counts.sum()).clamp(min=1)
    l1 = ((seen - wanted).abs() * counts).sum() / n_values
    ssim = (ssim_map(seen, wanted, "zero") * counts).sum() / n_values
    mse = ((seen - wanted) ** 2 * counts).sum() / n_values
    loss = (1 - lambda_dssim) * l1 + lambda_dssim * (1 - ssim)
    return PhotometricLoss(loss, float(l1.detach()), float(ssim.detach()), float(mse.detach()))


class _Fused(torch.autograd.Function):
    """The kernels as one operator: the derivative is computed with the value, since it is always wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        colour: Tensor,
        target: Tensor,
        mask: Tensor | None,
        lambda_dssim: float,
    ) -> tuple[Tensor, Tensor]:
        parts = loss_parts(
            image.detach().contiguous().numpy(),
            (target if target.dtype == torch.uint8 else target.to(torch.float32)).detach().contiguous().numpy(),
            None if mask is None else mask.contiguous().numpy(),
            colour.detach().to(torch.float32).contiguous().numpy(),
            lambda_dssim,
        )
        n = max(parts.n_values, 1)
        means = torch.tensor([parts.l1 / n, parts.ssim / n, parts.squared / n], dtype=torch.float64)
        loss = (1 - lambda_dssim) * means[0] + lambda_dssim * (1 - means[1])
        ctx.save_for_backward(torch.from_numpy(parts.grad_image), torch.from_numpy(parts.grad_colour).to(colour))
        ctx.mark_non_differentiable(means)
        return loss.to(torch.float32), means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        by_image, by_colour = ctx.saved_tensors
        return by_image * grad_loss, by_colour * grad_loss, None, None, None
