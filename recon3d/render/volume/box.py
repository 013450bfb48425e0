"""Where rays enter and leave an axis-aligned box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.rays import Rays


class BoxHits(NamedTuple):
    """Which part of each ray lies inside a box."""

    near: Float[Tensor, " r"]  # zero for a miss
    far: Float[Tensor, " r"]
    hit: Bool[Tensor, " r"]


def ray_box(
    rays: Rays, lower: Float[Tensor, "3"], upper: Float[Tensor, "3"], *, near: float = 0.0, far: float = float("inf")
) -> BoxHits:
    """Return the parts of rays that lie inside a box and between two planes, by the slab test.

    Differentiable in the rays and the box. Touching an edge is a miss. A ray along a face is inside.

    Args:
        rays: in the frame of the box; directions of any length.
        lower: smallest corner.
        upper: largest corner.
        near: nothing nearer than this counts, in lengths of the directions.
        far: nor does anything beyond this.

    Raises:
        UsageError: near is negative or not below far.
    """
    if not 0.0 <= near < far:
        raise UsageError("near must not be negative, and far must lie behind it", got=f"near {near}, far {far}")
    enter, leave = box_interval(rays, lower, upper)
    first, last = enter.clamp(min=near), leave.clamp(max=far)
    hit = last > first
    zero = torch.zeros_like(first)
    return BoxHits(torch.where(hit, first, zero), torch.where(hit, last, zero), hit)


def box_interval(
    rays: Rays, lower: Float[Tensor, "3"], upper: Float[Tensor, "3"]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Return where the lines of rays enter and leave a box, also behind the origins.

    A line beside the box enters after it leaves; infinity and minus infinity if it is parallel to an axis.

    Args:
        rays: in the frame of the box.
        lower: smallest corner.
        upper: largest corner.

    Raises:
        UsageError: a corner is not below the other.
    """
    if not bool((lower < upper).all()):
        got = f"{lower.tolist()} and {upper.tolist()}"
        raise UsageError("the lower corner of a box must lie below the upper one", got=got)
    parallel = rays.directions == 0
    between = (lower <= rays.origins) & (rays.origins <= upper)
    # A parallel axis either bounds nothing or excludes everything; a division by zero would make NaN on a face.
    inverse = 1.0 / torch.where(parallel, 1.0, rays.directions)
    first, second = (lower - rays.origins) * inverse, (upper - rays.origins) * inverse
    inf = torch.full_like(first, torch.inf)
    outside = parallel & ~between
    enter = torch.where(outside, inf, torch.where(parallel, -inf, torch.minimum(first, second)))
    leave = torch.where(outside, -inf, torch.where(parallel, inf, torch.maximum(first, second)))
    return enter.amax(-1), leave.amin(-1)
