"""Dynamic voxelisation: every point keeps its pillar, every occupied pillar is kept (FlatFormer, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.core.errors import ShapeError
from recon3d.pointcloud.flatformer.options import PillarGrid


@dataclass(frozen=True, eq=False, kw_only=True)
class Pillars:
    """Points of some samples and the pillars that they stand in.

    Args:
        points: of all samples, one sample after another; x, y, z in metres and other columns.
        pillar_of_point: row of ``coords`` for every point.
        coords: sample, z, y and x cell of every occupied pillar, in this lexicographic order.
        batch_size: samples, the empty ones included.
    """

    points: Float[Tensor, "p c"]
    pillar_of_point: Int64[Tensor, " p"]
    coords: Int64[Tensor, "n 4"]
    batch_size: int


def cell_indices(xyz: Float[Tensor, "p 3"], grid: PillarGrid) -> Int64[Tensor, "p 3"]:
    """Return the x, y and z cell of points: floor in float32, then clamped to the grid.

    A point outside comes into a cell of the border: crop first (``prepare_points``).

    Args:
        xyz: metres.
        grid: the cells.
    """
    lower, size = xyz.new_tensor(grid.lower, dtype=torch.float32), xyz.new_tensor(grid.size, dtype=torch.float32)
    cells = ((xyz.float() - lower) / size).floor()
    last = xyz.new_tensor(grid.shape, dtype=torch.float32) - 1
    return cells.clamp(min=torch.zeros_like(last), max=last).long()


def pillarize(samples: Sequence[Float[Tensor, "_ c"]], grid: PillarGrid) -> Pillars:
    """Put the points of some samples into pillars.

    Args:
        samples: prepared points of each sample, all on one device; a sample may be empty.
        grid: the cells.

    Raises:
        ShapeError: there is no sample, or their columns differ.
    """
    if not samples or len({one.shape[-1] for one in samples}) != 1:
        raise ShapeError("no batch of points", got=[tuple(one.shape) for one in samples], expected="equal columns")
    points = torch.cat(list(samples))
    counts = torch.tensor([len(one) for one in samples])
    sample = torch.arange(len(samples)).repeat_interleave(counts).to(points.device)
    nx, ny, nz = grid.shape
    x, y, z = cell_indices(points[:, :3], grid).unbind(1)
    cell = ((sample * nz + z) * ny + y) * nx + x
    # A table of all cells instead of a sort: exact, the same everywhere, and linear.
    occupied = torch.zeros(len(samples) * nz * ny * nx, dtype=torch.bool, device=points.device)
    occupied[cell] = True
    row = occupied.cumsum(0) - 1
    return Pillars(
        points=points,
        pillar_of_point=row[cell],
        coords=_coords(occupied.nonzero()[:, 0], grid),
        batch_size=len(samples),
    )


def _coords(cell: Tensor, grid: PillarGrid) -> Tensor:
    nx, ny, nz = grid.shape
    x, y, z = cell % nx, cell // nx % ny, cell // (nx * ny) % nz
    return torch.stack([cell // (nx * ny * nz), z, y, x], 1)
