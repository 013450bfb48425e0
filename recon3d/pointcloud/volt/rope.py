"""Rotary position encoding in three dimensions, computed for the positions at hand: a scene may have any extent."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int64, Shaped
from torch import Tensor


def rope_frequencies(pairs: int, theta: float) -> Float[Tensor, " pairs"]:
    """Return the radians per patch of the channel pairs of one axis, ``theta ** -(j / (pairs - 1))``."""
    return theta ** -torch.linspace(0, 1, pairs, dtype=torch.float32)


def rope_rotations(
    position: Int64[Tensor, "n 3"], split: tuple[int, int, int], theta: float
) -> Complex[Tensor, "n pairs"]:
    """Return the rotation of every channel pair as a complex number of size 1.

    Args:
        position: patch index of each token, ``[n,3]``; negative ones are fine, since attention feels differences only.
        split: channel pairs that belong to x, y and z.
        theta: see :func:`rope_frequencies`.
    """
    angles = [
        position[:, axis, None].float() * rope_frequencies(pairs, theta).to(position.device)
        for axis, pairs in enumerate(split)
    ]
    angle = torch.cat(angles, dim=1)
    return torch.polar(torch.ones_like(angle), angle)


def rope_rotated(
    x: Shaped[Tensor, "*batch n d"], rotation: Complex[Tensor, "*broadcast pairs"]
) -> Shaped[Tensor, "*batch n d"]:
    """Turn the adjacent channel pairs (2j, 2j+1) of queries or keys in float32; differentiable in ``x``.

    Args:
        x: queries or keys, ``[...,n,d]``; the result has their type.
        rotation: of each pair, broadcast over the leading axes, ``[...,n,d/2]``.
    """
    real = x.to(rotation.real.dtype)
    pairs = torch.view_as_complex(real.reshape(*x.shape[:-1], x.shape[-1] // 2, 2))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)
