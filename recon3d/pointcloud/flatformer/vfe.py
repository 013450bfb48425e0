"""Dynamic voxel feature encoder: two layers on points, the largest value of each pillar after each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.pointcloud.flatformer.options import PillarGrid
from recon3d.pointcloud.flatformer.pillars import Pillars

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01
_CHUNK = 1 << 18
_STEP = 2.0**-20  # metres; sums of integers do not depend on the order of the points


class PointLayer(nn.Module):
    """Linear layer without bias, batch norm, ReLU.

    Args:
        dim_in: channels of a point.
        dim_out: channels of the result.
    """

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim_in, dim_out, bias=False)
        self.norm = nn.BatchNorm1d(dim_out, eps=NORM_EPS, momentum=NORM_MOMENTUM)

    def forward(self, points: Float[Tensor, "p c"]) -> Float[Tensor, "p d"]:
        """Return features of points.

        Args:
            points: features before.
        """
        out: Tensor = torch.relu(self.norm(self.linear(points)))
        return out


class DynamicVFE(nn.Module):
    """Features of pillars from all of their points.

    Args:
        columns: of a point: x, y, z and others.
        channels: of the two layers.
        grid: the cells.
    """

    def __init__(self, columns: int, channels: tuple[int, int], grid: PillarGrid) -> None:
        super().__init__()
        self.grid = grid
        first, last = channels
        self.vfe_layers = nn.ModuleList([PointLayer(columns + 6, first), PointLayer(2 * first, last)])

    def forward(self, pillars: Pillars) -> Float[Tensor, "n c"]:
        """Return a row for every pillar, in float32 whatever autocast says: sums over points overflow below it.

        Without gradients the points pass in chunks, so that memory does not grow with their features.

        Args:
            pillars: points and their pillars.
        """
        with torch.autocast(pillars.points.device.type, enabled=False):
            mean, chunks = pillar_means(pillars), self._chunks(len(pillars.points))
            kept = self._first(pillars, mean, chunks[0]) if len(chunks) == 1 else None

            def first(rows: slice) -> Tensor:
                """Of several chunks the first layer is computed twice: cheaper than keeping it."""
                return self._first(pillars, mean, rows) if kept is None else kept

            pooled = _pooled(pillars, chunks, first)

            def second(rows: slice) -> Tensor:
                out: Tensor = self.vfe_layers[1](torch.cat([first(rows), pooled[pillars.pillar_of_point[rows]]], 1))
                return out

            return _pooled(pillars, chunks, second)

    def _chunks(self, points: int) -> list[slice]:
        step = points if torch.is_grad_enabled() or self.training else _CHUNK
        return [slice(start, start + step) for start in range(0, points, step)] if points else [slice(0, 0)]

    def _first(self, pillars: Pillars, mean: Tensor, rows: slice) -> Tensor:
        points, pillar = pillars.points[rows].float(), pillars.pillar_of_point[rows]
        xyz = points[:, :3]
        lower, size = xyz.new_tensor(self.grid.lower), xyz.new_tensor(self.grid.size)
        centre = pillars.coords[pillar][:, [3, 2, 1]] * size + (size / 2 + lower)
        features = torch.cat([points, xyz - mean[pillar], xyz - centre], 1)  # [p, columns + 6]
        out: Tensor = self.vfe_layers[0](features)
        return out


def _pooled(pillars: Pillars, chunks: list[slice], layer: Callable[[slice], Tensor]) -> Tensor:
    """Return the largest values of every pillar; features are not negative and no pillar is empty, so 0 may start."""
    pooled: Tensor | None = None
    for rows in chunks:
        found = layer(rows)  # [p, c]
        index = pillars.pillar_of_point[rows, None].expand_as(found)
        start = found.new_zeros(len(pillars.coords), found.shape[1]) if pooled is None else pooled
        pooled = start.scatter_reduce(0, index, found, "amax")
    return found if pooled is None else pooled


def pillar_means(pillars: Pillars) -> Float[Tensor, "n 3"]:
    """Return the mean position of the points of every pillar, to a millionth of a metre, in any order of them.

    Args:
        pillars: points and their pillars.
    """
    n, rows = len(pillars.coords), pillars.pillar_of_point
    steps = (pillars.points[:, :3].double() / _STEP).round().long()
    total = torch.zeros(n, 3, dtype=torch.long, device=steps.device).index_add_(0, rows, steps)
    count = torch.bincount(rows, minlength=n)[:, None]
    return (total.double() / count * _STEP).float()
