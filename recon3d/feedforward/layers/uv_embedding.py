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
    diagonal, quarter = math.hypot(aspect, 1.0), channels // 4
    frequencies = 100.0 ** (-torch.arange(quarter, dtype=torch.float64, device=like.device) / quarter)
    rows, cols = size
    u = _waves(frequencies, cols, aspect / diagonal).to(like.dtype)[:, None, :].expand(-1, rows, -1)
    v = _waves(frequencies, rows, 1.0 / diagonal).to(like.dtype)[:, :, None].expand(-1, -1, cols)
    return torch.cat([u, v])


def _waves(frequencies: Float[Tensor, " k"], n: int, half_span: float) -> Float[Tensor, "k2 n"]:
    """Return sines, then cosines, at the centres of n cells that fill -half_span..half_span."""
    outermost = half_span * (n - 1) / n
    centres = torch.linspace(-outermost, outermost, n, dtype=frequencies.dtype, device=frequencies.device)
    angles = frequencies[:, None] * centres
    return _STRENGTH * torch.cat([angles.sin(), angles.cos()])
