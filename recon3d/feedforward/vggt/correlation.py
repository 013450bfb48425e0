"""Correlation of track features with feature maps around the tracks, at several resolutions."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample


def sample(
    maps: Float[Tensor, "b s f rows cols"],
    xy: Float[Tensor, "b s n 2"],
    *,
    padding: Literal["zeros", "border"] = "zeros",
) -> Float[Tensor, "b s n f"]:
    """Return bilinear values of maps; (0, 0) is the centre of the first pixel.

    Args:
        maps: ``[b,s,f,rows,cols]``.
        xy: places, in pixels, ``[b,s,n,2]``.
        padding: what lies outside.
    """
    b, s = xy.shape[:2]
    last = xy.new_tensor([maps.shape[-1] - 1, maps.shape[-2] - 1]).clamp(min=1)
    grid = (2.0 * xy / last - 1.0).flatten(0, 1)[:, None]  # [b*s,1,n,2]
    values = grid_sample(maps.flatten(0, 1), grid, align_corners=True, padding_mode=padding)  # [b*s,f,1,n]
    return torch.unflatten(values[:, :, 0].mT, 0, (b, s))


class Pyramid:
    """Feature maps at halved sizes, and the windows around tracks in them.

    Args:
        maps: feature maps, ``[b,s,f,rows,cols]``.
        levels: sizes, each half of the one before.
        radius: of the windows, in pixels of each level.
    """

    def __init__(self, maps: Float[Tensor, "b s f rows cols"], levels: int, radius: int) -> None:
        self.maps = [maps]
        for _ in range(levels - 1):
            halved = avg_pool2d(self.maps[-1].flatten(0, 1), 2)
            self.maps.append(torch.unflatten(halved, 0, maps.shape[:2]))
        steps = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
        # The first of the two axes moves x: the published weights have seen the window transposed.
        self.window = torch.cartesian_prod(steps, steps)  # [w,2]

    def correlate(
        self, features: Float[Tensor, "b s n f"], xy: Float[Tensor, "b s n 2"]
    ) -> Float[Tensor, "b s n window"]:
        """Return scalar products, scaled by 1/sqrt(f), of all levels side by side.

        Args:
            features: of every track in every photo.
            xy: where the tracks are, in pixels of the finest level.
        """
        b, s, n, f = features.shape
        found = []
        for level, maps in enumerate(self.maps):
            products = torch.unflatten(features @ maps.flatten(3), -1, maps.shape[-2:]) / f**0.5  # [b,s,n,rows,cols]
            places = xy[..., None, :] / 2**level + self.window  # [b,s,n,w,2]
            values = sample(products.reshape(b, s * n, 1, *maps.shape[-2:]), places.flatten(1, 2))
            found.append(values.reshape(b, s, n, -1))
        return torch.cat(found, -1)
