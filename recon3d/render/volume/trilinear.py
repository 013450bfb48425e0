"""Values between the nodes of a dense grid, with second derivatives, which ``grid_sample`` does not have in 3D."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.checks import check_alike, check_shapes


def trilinear(
    volume: Float[Tensor, "b c z y x"], points: Float[Tensor, "b n 3"], *, align_corners: bool = True
) -> Float[Tensor, "b n c"]:
    """Sample a grid between its nodes; outside it fades to zero within one cell.

    Differentiable in volume and points, and so are its gradients. At a node plane the derivative by a point is that of
    the side of larger coordinates.

    Args:
        volume: values at the nodes; the last axis is x.
        points: x, y, z in -1..1.
        align_corners: -1 and 1 are the centres of the outer nodes; otherwise the outer faces of cells around them.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: device or dtype differ, or the grid has no node.
    """
    check_shapes({"volume": (volume, (None,) * 5), "points": (points, (len(volume), None, 3))})
    check_alike({"volume": volume, "points": points})
    sizes = volume.shape[:1:-1]
    if 0 in sizes:
        raise UsageError("the grid has no node", got=list(volume.shape))
    place = _node_coordinates(points, sizes, align_corners)
    below = _below(place, sizes)
    sides = [_side(below + up, place - below if up else 1.0 - (place - below), sizes) for up in (0, 1)]
    rows = volume.flatten(2).transpose(1, 2).flatten(0, 1)
    first_row = torch.arange(len(volume), device=volume.device)[:, None] * sizes.numel()
    total = volume.new_zeros((*points.shape[:2], volume.shape[1]))
    for x, y, z in product(sides, repeat=3):
        row = first_row + x.row[..., 0] + y.row[..., 1] + z.row[..., 2]
        weight = x.weight[..., 0] * y.weight[..., 1] * z.weight[..., 2]
        total = total + weight[..., None] * rows[row]
    return total


class _Side(NamedTuple):
    """The nodes on one side of points along each axis; weight zero for those that are not there."""

    row: Tensor  # what it adds to the number of the node, [b,n,3]
    weight: Tensor


def _side(node: Tensor, weight: Tensor, sizes: torch.Size) -> _Side:
    steps = torch.tensor([1, sizes[0], sizes[0] * sizes[1]], device=node.device)
    inside = (node >= 0) & (node < node.new_tensor(sizes))
    return _Side(torch.where(inside, node, 0.0).long() * steps, torch.where(inside, weight, 0.0))


def _node_coordinates(points: Tensor, sizes: torch.Size, align_corners: bool) -> Tensor:
    """Return x, y, z in numbers of nodes."""
    n = points.new_tensor(sizes)
    return 0.5 * (points + 1.0) * (n - 1.0) if align_corners else 0.5 * ((points + 1.0) * n - 1.0)


@torch.no_grad()
def _below(place: Tensor, sizes: torch.Size) -> Tensor:
    """Return the node below, for places far outside one whose cell is outside as well."""
    return torch.minimum(place.floor().clamp(min=-2.0), place.new_tensor(sizes) + 1.0)
