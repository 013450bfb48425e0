"""The sites of a sparse tensor: checked, sorted once, and with the rulebooks that were made for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int, Int32, Int64
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.sparse import rule_kernels
from recon3d.pointcloud.sparse.geometry import Triple, Window

if TYPE_CHECKING:
    from recon3d.pointcloud.sparse.rules import Rules

_MAX_KEY = 2**62


@dataclass(frozen=True, eq=False)
class Sites:
    """Occupied voxels of a batch, each once.

    Args:
        indices: batch item and voxel (i, j, k) of each row, ``[n, 4]``.
        spatial_shape: extent of the grid along i, j and k.
        batch_size: number of items.
        rules: rulebooks by window, filled as layers ask for them.

    Raises:
        ShapeError: the indices are not int32 ``[n, 4]``.
        InputError: a voxel lies outside the grid, or two rows hold the same one.
    """

    indices: Int32[Tensor, "n 4"]
    spatial_shape: Triple
    batch_size: int
    rules: dict[tuple[str, Window], tuple[Sites, Rules]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape[1] != 4 or self.indices.dtype != torch.int32:
            got = f"{self.indices.dtype} {tuple(self.indices.shape)}"
            raise ShapeError("indices of a sparse tensor", got=got, expected="torch.int32 (n, 4): batch, i, j, k")
        object.__setattr__(self, "indices", self.indices.contiguous())
        limits = (self.batch_size, *self.spatial_shape)
        if len(self) and (min(self.low) < 0 or any(h >= n for h, n in zip(self.high, limits, strict=True))):
            got = f"{self.low} to {self.high}"
            raise InputError("a voxel lies outside the grid", got=got, expected=f"(0, 0, 0, 0) to below {limits}")
        _ = self.order  # finds duplicates

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def _bounds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if not len(self):
            return (0,) * 4, (0,) * 4
        low, high = self.indices.aminmax(dim=0)
        return tuple(low.tolist()), tuple(high.tolist())

    @property
    def low(self) -> tuple[int, ...]:
        """Smallest batch item, i, j and k."""
        return self._bounds[0]

    @property
    def high(self) -> tuple[int, ...]:
        """Largest batch item, i, j and k."""
        return self._bounds[1]

    @cached_property
    def order(self) -> Int[Tensor, " n"]:
        """Rows in lexicographic order of their voxels; int32 on the CPU, else int64."""
        extent = tuple(h - low + 1 for low, h in zip(self.low, self.high, strict=True))
        if self.indices.is_cuda:
            keys, order = self.keys(self.low, extent).sort(stable=True)
            equal = (keys[1:] == keys[:-1]).nonzero()
            place = int(equal[0]) if len(equal) else -1
        else:
            unsorted = rule_kernels.linear_keys(self.indices.numpy(), np.array(self.low), np.array(extent))
            check_extent(extent)
            order = torch.from_numpy(rule_kernels.sorted_order(unsorted))
            place = rule_kernels.first_duplicate(unsorted[order.numpy()])
        if place >= 0:
            first, second = (int(order[place + step]) for step in (0, 1))
            got = f"rows {first} and {second} are both {self.indices[first].tolist()}"
            raise InputError(
                "two rows of a sparse tensor hold one voxel", got=got, fix="merge points into voxels first"
            )
        return order

    @cached_property
    def ordered(self) -> Int32[Tensor, "n 4"]:
        """The indices in lexicographic order."""
        return self.indices.index_select(0, self.order)

    def keys(self, low: tuple[int, ...], extent: tuple[int, ...]) -> Int64[Tensor, " n"]:
        """Return the numbers of the sites, in row order, in the lexicographic order of a box.

        Args:
            low: lower corner of the box (batch, i, j, k).
            extent: its size.

        Raises:
            InputError: the box has too many voxels for 64 bits.
        """
        check_extent(extent)
        keys = torch.zeros(len(self), dtype=torch.int64, device=self.indices.device)
        for axis in range(4):
            keys = keys * extent[axis] + (self.indices[:, axis] - low[axis])
        return keys


def check_extent(extent: tuple[int, ...]) -> None:
    """Refuse boxes whose voxels cannot be numbered.

    Args:
        extent: batch items, and voxels along i, j and k.

    Raises:
        InputError: there are too many for 64 bits.
    """
    if extent[0] * extent[1] * extent[2] * extent[3] >= _MAX_KEY:
        raise InputError(
            "the voxels span too large a grid", got=extent, fix="use a larger voxel size, or crop far points"
        )


def output_sites(sites: Sites, window: Window) -> Sites:
    """Return the sites, in lexicographic order, that see at least one input."""
    shape = window.output_shape(sites.spatial_shape)
    if not len(sites) or min(shape) == 0:
        return Sites(sites.indices[:0], shape, sites.batch_size)
    check_extent((sites.batch_size, *shape))
    if sites.indices.is_cuda:
        return Sites(_output_indices(sites, window, shape), shape, sites.batch_size)
    spans = (np.array(one, np.int64) for one in (window.kernel, window.stride, window.padding, window.dilation, shape))
    kernel, stride, padding, dilation, extent = spans
    keys = rule_kernels.reached_keys(sites.ordered.numpy(), kernel, stride, padding, dilation, extent)
    found = rule_kernels.distinct_sites(keys, rule_kernels.sorted_order(keys), extent)
    return Sites(torch.from_numpy(found), shape, sites.batch_size)


def _output_indices(sites: Sites, window: Window, shape: Triple) -> Int32[Tensor, "m 4"]:
    """The same in plain torch."""
    device = sites.indices.device
    steps = torch.cartesian_prod(*(torch.arange(n, device=device) for n in window.kernel)).reshape(-1, 3)
    stride, padding, dilation, extent = (
        torch.tensor(one, device=device) for one in (window.stride, window.padding, window.dilation, shape)
    )
    scaled = sites.indices[:, None, 1:] + padding - steps * dilation
    inside = ((scaled >= 0) & (scaled % stride == 0) & (scaled // stride < extent)).all(-1)
    batch = sites.indices[:, None, :1].expand(-1, len(steps), -1)
    found = torch.cat([batch, (scaled.div(stride, rounding_mode="floor")).to(batch.dtype)], dim=-1)[inside]
    distinct: Tensor = torch.unique(found, dim=0)
    return distinct
