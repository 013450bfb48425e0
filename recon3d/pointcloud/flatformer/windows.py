"""The order of pillars along windows, and the equal-size groups that are cut from it; integers only.

Every sample is sorted by itself: one key for a whole batch lets samples run into each other on small maps, which the
released code does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor

from recon3d.pointcloud.flatformer.options import EncoderOptions

# The four layers of a block: axis of the sort, and whether the windows are shifted by half.
LAYER_ORDERS = {"x": (0, False), "x_shift": (0, True), "y": (1, False), "y_shift": (1, True)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Grouping:
    """Groups of a sorted sequence.

    The last tokens of a sample that fill no whole group form one with the tokens before them; so nothing is padded,
    and some tokens stand in two slots, of which they own one.

    Args:
        slots: position in the sequence for every slot, group after group.
        owned: the slot whose result a position takes.
        runs: number of groups and their size, for each run of groups of one size, in the order of the slots.
    """

    slots: Int64[Tensor, " s"]
    owned: Int64[Tensor, " n"]
    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerOrder:
    """What one layer gathers.

    Args:
        permutation: rows of the pillars in the order of the sort, sample after sample.
        slots: row of the pillar for every slot.
        back: slot for every row.
        runs: as in ``Grouping``.
    """

    permutation: Int64[Tensor, " n"]
    slots: Int64[Tensor, " s"]
    back: Int64[Tensor, " n"]
    runs: tuple[tuple[int, int], ...]

    @cached_property
    def kept(self) -> Bool[Tensor, " s"]:
        """The slots whose result their pillar takes."""
        return self.back[self.slots] == torch.arange(len(self.slots), device=self.slots.device)


def _sign(k: Tensor) -> Tensor:
    return 1 - 2 * (k % 2)


def sort_keys(
    xy: Integer[Tensor, "n 2"], *, window: tuple[int, int], cells: tuple[int, int], axis: int, shifted: bool
) -> Int64[Tensor, " n"]:
    """Return keys whose order is a snake over the windows and inside each; unique for different cells.

    Args:
        xy: cells along x and y.
        window: cells of a window along x and y.
        cells: of the map along x and y.
        axis: 0 for rows of windows along x, 1 for columns along y.
        shifted: move the windows by half their size.
    """
    w, other = window[axis], window[1 - axis]
    along = xy[:, axis].long() + (w // 2 if shifted else 0)
    across = xy[:, 1 - axis].long() + (other // 2 if shifted else 0)
    block, inside = along // w, along % w
    row, height = across // other, across % other
    windows = 2 * (math.ceil(cells[axis] / w) + 1)
    outer = windows * row + _sign(row) * block
    inner = _sign(row) * (2 * other * inside + _sign(inside) * height)
    return outer * (4 * w * other) + inner


def group_slots(counts: Sequence[int], group: int, device: torch.device | None = None) -> Grouping:
    """Cut the sorted sequences of some samples into groups.

    Args:
        counts: pillars of each sample; 0 is allowed.
        group: pillars of a group; a sample with fewer is one group of its own.
        device: of the result.
    """
    starts = [sum(counts[:i]) for i in range(len(counts))]
    sizes = sorted({min(n, group) for n in counts if n}, reverse=True)
    alike = [
        [_sample_slots(start, n, size) for start, n in zip(starts, counts, strict=True) if n and min(n, group) == size]
        for size in sizes
    ]
    parts = [torch.cat([slots for slots, _ in samples]) for samples in alike]
    slots = torch.cat([*parts, torch.zeros(0, dtype=torch.long)])
    own = torch.cat([*(own for samples in alike for _, own in samples), torch.zeros(0, dtype=torch.bool)])
    owned = torch.empty(sum(counts), dtype=torch.long)
    owned[slots[own]] = own.nonzero()[:, 0]
    runs = tuple((len(part) // size, size) for part, size in zip(parts, sizes, strict=True))
    return Grouping(slots=slots.to(device), owned=owned.to(device), runs=runs)


def _sample_slots(start: int, n: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the positions in the groups of one sample, and which of these slots their token owns.

    Places behind the last token repeat the tokens one group before: with the rest they are the last ``size`` tokens.
    """
    place = torch.arange(math.ceil(n / size) * size)
    return start + torch.where(place < n, place, place - size), place < n


def layer_orders(coords: Integer[Tensor, "n 4"], batch_size: int, options: EncoderOptions) -> Mapping[str, LayerOrder]:
    """Return the orders of the four layers of a block, by name; all blocks share them.

    Args:
        coords: sample, z, y and x cell of the pillars, in any order.
        batch_size: samples, the empty ones included.
        options: of the encoder.
    """
    sample = coords[:, 0].long()
    counts = torch.bincount(sample, minlength=batch_size).tolist()
    rows = torch.split(sample.argsort(stable=True), counts)
    grouping = group_slots(counts, options.group, coords.device)
    xy = coords[:, [3, 2]]
    orders = {}
    for name, (axis, shifted) in LAYER_ORDERS.items():
        keys = sort_keys(xy, window=options.window, cells=options.cells, axis=axis, shifted=shifted)
        permutation = torch.cat([one[keys[one].argsort(stable=True)] for one in rows])
        back = torch.empty_like(permutation)
        back[permutation] = grouping.owned
        slots = permutation[grouping.slots]
        orders[name] = LayerOrder(permutation=permutation, slots=slots, back=back, runs=grouping.runs)
    return orders
