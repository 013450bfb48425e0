"""Smoothness terms of the training losses: neighbours in a map should differ as they do in the truth."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize, pad

_LARGEST = 100.0
_EPS = 1e-8
_FEW = 10


def gradient_term(
    prediction: Float[Tensor, "n h w k"],
    target: Float[Tensor, "n h w k"],
    mask: Bool[Tensor, "n h w"],
    scales: int = 4,
) -> Float[Tensor, ""]:
    """Return the mean difference of the error between neighbours, over several strides.

    Args:
        prediction: values.
        target: true values.
        mask: pixels with a true value; a difference needs both.
        scales: strides 1, 2, 4, ...
    """
    total = prediction.new_zeros(())
    for stride in (2**level for level in range(scales)):
        seen = mask[:, ::stride, ::stride, None]
        error = torch.where(seen, (prediction - target)[:, ::stride, ::stride], 0.0)
        for axis in (1, 2):
            n = error.shape[axis] - 1
            both = seen.narrow(axis, 1, n) & seen.narrow(axis, 0, n)
            steps = torch.where(both, error.diff(dim=axis).abs().clamp(max=_LARGEST), 0.0)
            total = total + steps.sum() / (seen.sum() * error.shape[-1]).clamp(min=1)
    return total / scales


def normal_term(
    prediction: Float[Tensor, "n h w 3"],
    target: Float[Tensor, "n h w 3"],
    mask: Bool[Tensor, "n h w"],
    scales: int = 3,
) -> Float[Tensor, ""]:
    """Return one minus the cosine between the normals of two point maps, over several strides.

    Args:
        prediction: points.
        target: true points.
        mask: pixels with a true point; a normal needs three.
        scales: strides 1, 2, 4, ...
    """
    total = prediction.new_zeros(())
    for stride in (2**level for level in range(scales)):
        seen = mask[:, ::stride, ::stride]
        ours, valid = _normals(prediction[:, ::stride, ::stride], seen)
        theirs, _ = _normals(target[:, ::stride, ::stride], seen)
        cosine = (ours * theirs).sum(-1)[valid].clamp(-1 + _EPS, 1 - _EPS)
        if cosine.numel() >= _FEW:
            total = total + (1.0 - cosine).mean()
    return total / scales


def _normals(points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return four normals per pixel, each from two neighbours, and whether all three points are there."""
    points, mask = pad(points, (0, 0, 1, 1, 1, 1)), pad(mask, (1, 1, 1, 1))
    around = [(slice(None, -2), slice(1, -1)), (slice(1, -1), slice(None, -2))]  # up, left
    around += [(slice(2, None), slice(1, -1)), (slice(1, -1), slice(2, None))]  # down, right
    centre = slice(None), slice(1, -1), slice(1, -1)
    edges = [points[:, rows, cols] - points[centre] for rows, cols in around]
    seen = [mask[:, rows, cols] & mask[centre] for rows, cols in around]
    normals = [torch.cross(edges[i], edges[(i + 1) % 4], dim=-1) for i in range(4)]
    valid = [seen[i] & seen[(i + 1) % 4] for i in range(4)]
    return normalize(torch.stack(normals), dim=-1, eps=_EPS), torch.stack(valid)
