"""Rays against a height field: marching with steps that its steepest slope makes safe, then bisection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_N_STEPS, _N_HALVINGS, _N_SHADOW = 48, 10, 24
_STEEPEST = 1.2  # slopes beyond it are passed with the least step, which may cut a ridge's tip
_LEAST_STEP = 0.012  # of the distance
_BELOW = -1e4
_INFINITE = float("inf")


def height(heights: Float[Tensor, "v g g"], extent: float, x: Tensor, y: Tensor) -> Float[Tensor, "v r"]:
    """Return the bilinear height at points, very low outside the field.

    Args:
        heights: on the grid, rows along y.
        extent: half side of the field.
        x: of the points, ``[v,r]``.
        y: of the points, ``[v,r]``.
    """
    grid = torch.stack([x, y], -1)[:, None] / extent
    sampled = F.grid_sample(heights[:, None], grid, padding_mode="border", align_corners=True)[:, 0, 0]
    return torch.where(grid[:, 0].abs().amax(-1) > 1.0, _BELOW, sampled)


def distance(
    heights: Float[Tensor, "v g g"],
    extent: float,
    origins: Float[Tensor, "v 3 _o"],
    directions: Float[Tensor, "v 3 _d"],
    limit: Float[Tensor, "v r"],
) -> Float[Tensor, "v r"]:
    """Return distances to the field, infinite where it is missed.

    Args:
        heights: on the grid.
        extent: half side.
        origins: of the rays, above the field.
        directions: of the rays.
        limit: distances beyond which a hit does not matter.
    """
    o, d = origins.expand(-1, -1, limit.shape[1]), directions.expand(-1, -1, limit.shape[1])
    level = d[:, :2].norm(dim=1)
    fall = (d[:, 2].neg() + _STEEPEST * level).clamp(min=1e-6)
    above, below = torch.zeros_like(limit), torch.full_like(limit, _INFINITE)
    t = torch.zeros_like(limit)
    for _ in range(_N_STEPS):
        gap = _gap(heights, extent, o, d, t)
        under = gap <= 0
        below = torch.where(under, torch.minimum(below, t), below)
        above = torch.where(under, above, t)
        step = torch.maximum(gap / fall, _LEAST_STEP * t)
        t = torch.where(below < _INFINITE, t, t + step)
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (above + below)
        under = _gap(heights, extent, o, d, middle.nan_to_num(posinf=0.0)) <= 0
        below, above = torch.where(under, middle, below), torch.where(under, above, middle)
    return below


def is_blocked(
    heights: Float[Tensor, "v g g"],
    extent: float,
    origins: Float[Tensor, "v 3 _o"],
    directions: Float[Tensor, "v 3 _d"],
) -> Bool[Tensor, "v r"]:
    """Return whether the field stands in the way.

    Args:
        heights: on the grid.
        extent: half side.
        origins: of the rays, just above the field.
        directions: of the rays.
    """
    n_rays = max(origins.shape[2], directions.shape[2])
    o, d = origins.expand(-1, -1, n_rays), directions.expand(-1, -1, n_rays)
    length = d.norm(dim=1).clamp(min=1e-6)
    result = torch.zeros_like(length, dtype=torch.bool)
    for number in range(1, _N_SHADOW + 1):
        t = extent * (number / _N_SHADOW) ** 2.0 / length
        result |= _gap(heights, extent, o, d, t) < 0
    return result


def _gap(heights: Tensor, extent: float, o: Tensor, d: Tensor, t: Tensor) -> Tensor:
    """Return the height above the field at a distance."""
    x, y, z = (o[:, axis] + t * d[:, axis] for axis in range(3))
    return z - height(heights, extent, x, y)


def normals(heights: Float[Tensor, "v g g"], extent: float, points: Float[Tensor, "v 3 r"]) -> Float[Tensor, "v 3 r"]:
    """Return unit normals, from central differences one cell wide.

    Args:
        heights: on the grid.
        extent: half side.
        points: on the field.
    """
    x, y, step = points[:, 0], points[:, 1], 2.0 * extent / (heights.shape[1] - 1)
    inside = extent * (1.0 - 1e-4) - step
    x, y = x.clamp(-inside, inside), y.clamp(-inside, inside)
    along = height(heights, extent, x + step, y) - height(heights, extent, x - step, y)
    across = height(heights, extent, x, y + step) - height(heights, extent, x, y - step)
    return F.normalize(torch.stack([-along, -across, torch.full_like(along, 2.0 * step)], 1), dim=1)
