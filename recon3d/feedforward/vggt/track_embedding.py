"""Sine-cosine embeddings of places and displacements, as VGGT's tracker was trained with them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.feedforward.vggt.correlation import sample


def displacement_embedding(xy: Float[Tensor, "*batch 2"], channels: int) -> Float[Tensor, "*batch twice"]:
    """Return sine and cosine by turns, at frequencies of 0 to about 1000 rad per pixel, x before y.

    The frequencies amplify rounding by 50 to 100 per refinement; the published weights need them.

    Args:
        xy: displacements, in pixels of the feature maps.
        channels: per axis, even.
    """
    frequencies = torch.arange(0, channels, 2, device=xy.device, dtype=xy.dtype) * (1000.0 / channels)
    angles = xy[..., None] * frequencies  # [...,2,channels/2]
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-3)


def place_embedding(channels: int, xy: Float[Tensor, "b n 2"], size: tuple[int, int]) -> Float[Tensor, "b n c"]:
    """Return the embedding of places, interpolated between those of the pixels.

    Args:
        channels: c, a multiple of 4: sines and cosines of x, then of y, at c/4 frequencies ``10000 ** (-4k/c)``.
        xy: places, in pixels.
        size: rows and columns of the map.
    """
    rows, cols = size
    quarter = channels // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64, device=xy.device) / quarter)
    x, y = (torch.arange(n, dtype=torch.float64, device=xy.device)[:, None] * frequencies for n in (cols, rows))
    along_x = torch.cat([x.sin(), x.cos()], 1)[None].expand(rows, -1, -1)
    along_y = torch.cat([y.sin(), y.cos()], 1)[:, None].expand(-1, cols, -1)
    table = torch.cat([along_x, along_y], -1).permute(2, 0, 1).to(xy.dtype)  # [c,rows,cols]
    return sample(table.expand(len(xy), 1, -1, -1, -1), xy[:, None], padding="border")[:, 0]
