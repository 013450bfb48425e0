"""Rays against a height field: marching with steps that its steepest slope makes safe, then bisection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_N_STEPS, _N_HALVINGS, _N_SHADOW = 40, 6, 16
_STEEPEST = 0.7  # slopes beyond it are passed with the least step, which may cut a ridge's tip
_LEAST_STEP = 0.03  # of the distance
_LEAST_CELLS = 1.0  # added to it
_INFINITE = float("inf")


def height(heights: Float[Tensor, "v g g"], places: Float[Tensor, "v r 2"]) -> Float[Tensor, "v r"]:
    """Return the bilinear height at points; beyond the field, that of its border.

    Args:
        heights: on the grid, rows along y.
        places: x and y of the points, -1 to 1 on the field.
    """
    return F.grid_sample(heights[:, None], places[:, None], padding_mode="border", align_corners=True)[:, 0, 0]


def distance(
    heights: Float[Tensor, "v g g"],
    extent: float,
    origins: Float[Tensor, "v 3 _o"],
    directions: Float[Tensor, "v 3 _d"],
) -> Float[Tensor, "v r"]:
    """Return distances to the field, infinite where it is missed.

    Args:
        heights: on the grid.
        extent: half side.
        origins: of the rays, above the field.
        directions: of the rays.
    """
    march = _March(heights, extent, origins, directions)
    t = above = torch.zeros_like(march.end)
    gap_above = gap = march.gap(t)
    for _ in range(_N_STEPS):
        under = gap <= 0
        above, gap_above = torch.where(under, above, t), torch.where(under, gap_above, gap)
        # A ray that is below stays where it is, one that is above goes on.
        t = t + torch.maximum(gap * march.reach, march.least + _LEAST_STEP * t).masked_fill_(under, 0.0)
        gap = march.gap(t)
    below, gap_below = t, gap
    found = (gap <= 0) & (t <= march.end)
    for _ in range(_N_HALVINGS):
        middle = 0.5 * (above + below)
        gap = march.gap(middle)
        under = gap <= 0
        below, gap_below = torch.where(under, middle, below), torch.where(under, gap, gap_below)
        above, gap_above = torch.where(under, above, middle), torch.where(under, gap_above, gap)
    share = gap_above / (gap_above - gap_below).clamp(min=1e-12)
    return torch.where(found, above + share * (below - above), _INFINITE)


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
        directions: of the rays, unit.
    """
    march = _March(heights, extent, origins, directions)
    result = torch.zeros_like(march.end, dtype=torch.bool)
    for number in range(1, _N_SHADOW + 1):
        t = torch.full_like(march.end, extent * (number / _N_SHADOW) ** 2.0)
        result |= (march.gap(t) < 0) & (t < march.end)
    return result


class _March:
    """Rays in the frame in which the field is the square from -1 to 1.

    Args:
        heights: on the grid.
        extent: half side.
        origins: of the rays.
        directions: of the rays.
    """

    def __init__(self, heights: Tensor, extent: float, origins: Tensor, directions: Tensor) -> None:
        n_rays = max(origins.shape[2], directions.shape[2])
        o, d = origins.expand(-1, -1, n_rays), directions.expand(-1, -1, n_rays)
        self._heights = heights
        self.least = _LEAST_CELLS * 2.0 * extent / heights.shape[1]
        (x, y, self._z), (dx, dy, self._dz) = o.unbind(1), d.unbind(1)
        self.reach = 1.0 / (_STEEPEST * (dx * dx + dy * dy).sqrt() - self._dz).clamp(min=1e-6)
        self._start, self._step = torch.stack([x, y], -1) / extent, torch.stack([dx, dy], -1) / extent
        ends = (1.0 - self._start * self._step.sign()) / self._step.abs().clamp(min=1e-9)
        self.end = torch.minimum(ends[..., 0], ends[..., 1])

    def gap(self, t: Tensor) -> Tensor:
        """Return the height above the field at a distance."""
        ground = height(self._heights, torch.addcmul(self._start, t[..., None], self._step))
        return torch.addcmul(self._z, t, self._dz) - ground


def normals(heights: Float[Tensor, "v g g"], extent: float, points: Float[Tensor, "v 3 r"]) -> Float[Tensor, "v 3 r"]:
    """Return unit normals, from differences one cell to each side.

    Args:
        heights: on the grid.
        extent: half side.
        points: on the field.
    """
    step = 2.0 / (heights.shape[1] - 1)
    places = (points[:, :2].transpose(1, 2) / extent).clamp(step - 1.0, 1.0 - step)
    slopes = []
    for shift in (places.new_tensor([step, 0.0]), places.new_tensor([0.0, step])):
        rise = height(heights, places - shift) - height(heights, places + shift)
        slopes.append(rise / (2.0 * step * extent))
    along, across = slopes
    return torch.stack([along, across, torch.ones_like(along)], 1) / (along**2 + across**2 + 1.0).sqrt()[:, None]
