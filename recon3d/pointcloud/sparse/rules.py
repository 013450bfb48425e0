"""Rulebooks: which input row meets which weight for which output row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from recon3d.core.kernels import run_chunks
from recon3d.pointcloud.sparse import rule_kernels
from recon3d.pointcloud.sparse.geometry import Window
from recon3d.pointcloud.sparse.sites import Sites, check_extent, output_sites

BLOCK = 1024  # outputs that are computed together: their rows and those of their inputs stay in a core's cache
_CHUNK_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class Blocks:
    """Pairs by block of outputs and kernel offset, each list padded to a multiple of ``tiles.GROUP``, for the kernels.

    Args:
        rows_in: input rows; of padding, any.
        rows_out: output rows; of padding, one after the last.
        counts: pairs of each block and offset, without padding.
    """

    rows_in: Int32[np.ndarray, " p"]
    rows_out: Int32[np.ndarray, " p"]
    counts: Int32[np.ndarray, "b k"]

    @cached_property
    def starts(self) -> Int64[np.ndarray, "b k"]:
        """Where each list begins."""
        padded = -(-self.counts.astype(np.int64).ravel() // rule_kernels.GROUP) * rule_kernels.GROUP
        return (np.cumsum(padded) - padded).reshape(self.counts.shape)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs by kernel offset, for plain torch.

    Args:
        rows_in: input rows.
        rows_out: output rows; within one offset they differ.
        counts: pairs of each offset.
    """

    rows_in: Int64[Tensor, " p"]
    rows_out: Int64[Tensor, " p"]
    counts: tuple[int, ...]

    def each(self) -> Iterator[tuple[int, Int64[Tensor, " q"], Int64[Tensor, " q"]]]:
        """Yield offset, input rows and output rows of every offset that has pairs."""
        counts = list(self.counts)
        lists = zip(torch.split(self.rows_in, counts), torch.split(self.rows_out, counts), strict=True)
        for offset, (rows_in, rows_out) in enumerate(lists):
            if len(rows_in):
                yield offset, rows_in, rows_out


class Rules:
    """The rulebook of one convolution between two sets of sites; its lists are made when first asked for.

    Args:
        source: sites of the inputs.
        target: sites of the outputs.
        window: how a target sees sources.
        transposed: the rulebook of which this one has inputs and outputs exchanged; then ``source`` sees ``target``.
    """

    def __init__(self, source: Sites, target: Sites, window: Window, transposed: Rules | None = None) -> None:
        self.source, self.target, self.window = source, target, window
        self._other = transposed

    @property
    def volume(self) -> int:
        """Number of kernel entries."""
        return self.window.volume

    @property
    def is_symmetric(self) -> bool:
        """Inputs and outputs may be exchanged by reversing the kernel."""
        return self.source is self.target and all(size % 2 for size in self.window.kernel)

    @cached_property
    def transposed(self) -> Rules:
        """The rulebook with inputs and outputs exchanged; its kernel entries keep their numbers."""
        return self._other if self._other is not None else Rules(self.target, self.source, self.window, self)

    @cached_property
    def blocks(self) -> Blocks:
        """The lists for the kernels (CPU)."""
        if self._other is not None:
            return _transposed_blocks(self._other)
        return _pair_blocks(self.source, self.target, self.window)

    @cached_property
    def pairs(self) -> Pairs:
        """The lists for plain torch."""
        if self._other is not None:
            other = self._other.pairs
            return Pairs(other.rows_out, other.rows_in, other.counts)
        if self.source.indices.is_cuda:
            return searched_pairs(self.source, self.target, self.window)
        lists = self.blocks
        compact = torch.from_numpy(
            rule_kernels.compact_pairs(lists.rows_in, lists.rows_out, lists.starts, lists.counts)
        )
        return Pairs(compact[0], compact[1], tuple(lists.counts.sum(0).tolist()))


def submanifold_rules(sites: Sites, window: Window) -> Rules:
    """Return the rulebook of a convolution whose outputs are its inputs' sites, from the cache of the sites."""
    key = ("submanifold", window)
    if key not in sites.rules:
        sites.rules[key] = sites, Rules(sites, sites, window)
    return sites.rules[key][1]


def strided_rules(sites: Sites, window: Window) -> Rules:
    """Return the rulebook of a convolution that makes new sites, from the cache of its inputs' sites."""
    key = ("strided", window)
    if key not in sites.rules:
        target = output_sites(sites, window)
        sites.rules[key] = target, Rules(sites, target, window)
    return sites.rules[key][1]


def _box(source: Sites, target: Sites, window: Window) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return lower corner and extent of a box that holds all inputs and all that outputs look for."""
    low, high = [min(source.low[0], target.low[0])], [max(source.high[0], target.high[0])]
    for axis in range(3):
        stride, padding = window.stride[axis], window.padding[axis]
        reach = (window.kernel[axis] - 1) * window.dilation[axis]
        low.append(min(source.low[axis + 1], target.low[axis + 1] * stride - padding))
        high.append(max(source.high[axis + 1], target.high[axis + 1] * stride - padding + reach))
    return tuple(low), tuple(above - below + 1 for below, above in zip(low, high, strict=True))


def _pair_blocks(source: Sites, target: Sites, window: Window) -> Blocks:
    low, extent = _box(source, target, window)
    check_extent(extent)
    order = source.order.numpy()
    keys = rule_kernels.linear_keys(source.ordered.numpy(), np.array(low), np.array(extent))
    steps = np.array([window.kernel, window.stride, window.padding, window.dilation], np.int64)
    sites, out_order = target.ordered.numpy(), target.order.numpy()
    rows = BLOCK * _CHUNK_BLOCKS
    parts: list[tuple[np.ndarray, ...]] = [()] * max(1, -(-len(target) // rows))

    def fill(chunk: int) -> None:
        first, last = chunk * rows, min(len(target), (chunk + 1) * rows)
        parts[chunk] = rule_kernels.pair_blocks(
            first, last, BLOCK, sites, keys, order, out_order, steps, np.array(extent), np.array(low)
        )

    run_chunks(fill, len(parts))
    rows_in, rows_out, counts = (np.concatenate(one) for one in zip(*parts, strict=True))
    return Blocks(rows_in, rows_out, counts)


def _transposed_blocks(other: Rules) -> Blocks:
    lists, order = other.blocks, other.source.order.numpy()
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=order.dtype)
    return Blocks(
        *rule_kernels.transposed_blocks(lists.rows_in, lists.rows_out, lists.starts, lists.counts, place, BLOCK)
    )


def searched_pairs(source: Sites, target: Sites, window: Window) -> Pairs:
    """Return the pairs of a rulebook by binary search in plain torch, on any device.

    Args:
        source: sites of the inputs.
        target: sites of the outputs.
        window: how a target sees sources.
    """
    low, extent = _box(source, target, window)
    device, order = source.indices.device, source.order.long()
    keys = source.keys(low, extent)[order]
    moved = target.indices.long()
    moved[:, 1:] = moved[:, 1:] * torch.tensor(window.stride, device=device) - torch.tensor(
        window.padding, device=device
    )
    steps = torch.tensor([extent[2] * extent[3], extent[3], 1], device=device)
    base = moved[:, 0] - low[0]
    for axis in range(1, 4):
        base = base * extent[axis] + (moved[:, axis] - low[axis])
    found: list[tuple[Tensor, Tensor]] = []
    for entry in np.ndindex(*window.kernel):
        shift = torch.tensor([n * d for n, d in zip(entry, window.dilation, strict=True)], device=device)
        wanted = base + (shift * steps).sum()
        place = torch.searchsorted(keys, wanted).clamp(max=max(0, len(keys) - 1))
        rows_out = (keys[place] == wanted).nonzero()[:, 0] if len(keys) else wanted[:0]
        found.append((order[place[rows_out]] if len(keys) else rows_out, rows_out))
    counts = tuple(len(one[0]) for one in found)
    return Pairs(torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found]), counts)
