"""The same scenes once more: other colours, mirrored, and with another photo first."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from recon3d.feedforward.scenes import TrueViews


def augmented(
    views: TrueViews, generator: torch.Generator, *, brightness: float = 0.1, recolour: float = 0.0
) -> TrueViews:
    """Return scenes with their photos in another order, half of them mirrored, and with other gains.

    Args:
        views: scenes.
        generator: of the CPU; the same state gives the same result.
        brightness: standard deviation of the logarithm of a photo's gain; colours get half of it each.
        recolour: share of the scenes whose colour channels change places.
    """
    b, s = views.images.shape[:2]
    order = torch.rand(b, s, generator=generator).argsort(1).to(views.images.device)
    flips = (torch.rand(b, generator=generator) < 0.5).to(views.images.device)
    gains = brightness * (torch.randn(b, s, 1, generator=generator) + 0.5 * torch.randn(b, s, 3, generator=generator))
    moved = mirrored(reordered(views, order), flips)
    channels = _channels(b, recolour, generator).to(order.device)[:, None, :, None, None]
    colours = moved.images.gather(2, channels.expand_as(moved.images))
    images = (colours * gains.exp().to(views.images.device)[..., None, None]).clamp(0, 1)
    return TrueViews(
        images=images, cam_from_world=moved.cam_from_world, K=moved.K, depth_z=moved.depth_z, normals=moved.normals
    )


def reordered(views: TrueViews, order: Int64[Tensor, "b s"]) -> TrueViews:
    """Return the photos of every scene in another order.

    Args:
        views: scenes.
        order: numbers of the photos, ``[b,s]``.
    """
    rows = torch.arange(len(order), device=order.device)[:, None]
    parts = {
        name: getattr(views, name)[rows, order] for name in ("images", "cam_from_world", "K", "depth_z", "normals")
    }
    return TrueViews(**parts)


def mirrored(views: TrueViews, chosen: Bool[Tensor, " b"]) -> TrueViews:
    """Return scenes of which some are seen in a mirror: x of the world and of the cameras changes its sign.

    Args:
        views: scenes.
        chosen: which, ``[b]``.
    """
    width = views.images.shape[-1]
    sign = torch.where(chosen, -1.0, 1.0)
    axes = torch.stack([sign, torch.ones_like(sign), torch.ones_like(sign)], -1)  # [b,3]
    flip = torch.diag_embed(torch.cat([axes, axes[:, 1:2]], -1))[:, None]  # [b,1,4,4]
    K = views.K.clone()
    K[..., 0, 2] = torch.where(chosen[:, None], width - K[..., 0, 2], K[..., 0, 2])
    where = chosen[:, None, None, None]
    return TrueViews(
        images=torch.where(where[..., None], views.images.flip(-1), views.images),
        cam_from_world=flip @ views.cam_from_world @ flip,
        K=K,
        depth_z=torch.where(where, views.depth_z.flip(-1), views.depth_z),
        normals=torch.where(where[..., None], views.normals.flip(-2), views.normals) * axes[:, None, None, None],
    )


def _channels(b: int, share: float, generator: torch.Generator) -> Int64[Tensor, "b 3"]:
    """Return the order of the colour channels of every scene."""
    order = torch.rand(b, 3, generator=generator).argsort(1)
    return torch.where(torch.rand(b, 1, generator=generator) < share, order, torch.arange(3))
