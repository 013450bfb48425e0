"""Sine-cosine embedding of the place in the image that the DPT heads of VGGT and Depth Anything 3 add to their maps."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_STRENGTH = 0.1


def uv_embedding(
    channels: int, size: tuple[int, int], aspect: float, *, like: Float[Tensor, "..."]
) -> Float[Tensor, "c rows cols"]:
    """Return the embedding of all pixels of a map.

    The pixels span a rectangle of the image's aspect whose half diagonal has length one, so that a place means the same
    in every resolution.

    Args:
        channels: c, a multiple of 4: sine and cosine of u, then of v, each at c/4 frequencies ``100 ** (-k/(c/4))``.
        size: rows and columns of the map.
        aspect: width over height of the image.
        like: gives dtype and device; the values are computed in float64.
    """
    diagonal = math.hypot(aspect, 1.0)
    (rows, cols), device = size, like.device
    u = _axis(cols, aspect / diagonal, device).expand(rows, cols)
    v = _axis(rows, 1.0 / diagonal, device)[:, None].expand(rows, cols)
    quarter = channels // 4
    frequencies = 100.0 ** (-torch.arange(quarter, dtype=torch.float64, device=device) / quarter)
    angles = [frequencies[:, None, None] * axis for axis in (u, v)]
    waves = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())])
    return (_STRENGTH * waves).to(like.dtype)


def _axis(n: int, half_span: float, device: torch.device) -> Float[Tensor, " n"]:
    """Return n centres of cells that fill -half_span..half_span."""
    outermost = half_span * (n - 1) / n
    return torch.linspace(-outermost, outermost, n, dtype=torch.float64, device=device)
