"""Rivals of the FlatFormer encoder: sparse convolutions, and attention in windows padded to a few sizes.

Both take pillars and give features of pillars, like ``FlatFormerEncoder``. They are written for the benchmark, after
the published descriptions of CenterPoint and PillarNet and of SST; they are no ports and load no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recon3d.core.linear import linear
from recon3d.pointcloud.flatformer import EncoderOptions
from recon3d.pointcloud.flatformer.encoder import GroupLayer, position_embedding
from recon3d.pointcloud.sparse import (
    SparseBatchNorm,
    SparseConv3d,
    SparseReLU,
    SparseSequential,
    SparseTensor,
    SubMConv3d,
)

SST_WINDOW = (12, 12)
SST_SIZES = (30, 60, 100, 144)  # tokens to which windows are padded; the last is a full window, so none is dropped
NORM = {"eps": 1e-3, "momentum": 0.01}


# --- sparse convolutions ---


class ResidualBlock(nn.Module):
    """Two submanifold convolutions and the way around them.

    Args:
        channels: in and out.
        kernel: of the convolutions.
        key: of their rulebook.
    """

    def __init__(self, channels: int, kernel: tuple[int, int, int], key: str) -> None:
        super().__init__()
        first, second = (SubMConv3d(channels, channels, kernel, bias=False, indice_key=key) for _ in range(2))
        self.first = SparseSequential(first, SparseBatchNorm(channels, **NORM), SparseReLU())
        self.second = SparseSequential(second, SparseBatchNorm(channels, **NORM))

    def forward(self, x: SparseTensor) -> SparseTensor:
        out = self.second(self.first(x))
        return out.with_features((out.features + x.features).relu())


class SparsePillarEncoder(nn.Module):
    """Residual blocks of 3x3 submanifold convolutions on the pillars, at stride 1 as FlatFormer has it.

    A layer of FlatFormer (attention, feed-forward) stands against a block (two convolutions) here.

    Args:
        channels: of a pillar.
        blocks: of two convolutions.
        cells: of the map along x and y.
    """

    def __init__(self, channels: int, blocks: int, cells: tuple[int, int]) -> None:
        super().__init__()
        self.cells = cells
        self.blocks = nn.Sequential(*(ResidualBlock(channels, (1, 3, 3), "pillars") for _ in range(blocks)))

    def forward(self, coords: Tensor, features: Tensor, batch_size: int) -> Tensor:
        nx, ny = self.cells
        x = SparseTensor(coords.int(), features, (1, ny, nx), batch_size)
        out: Tensor = self.blocks(x).features
        return out


class SparseVoxelEncoder(nn.Module):
    """The 3D encoder of CenterPoint with voxels: 16, 32, 64, 128 channels, halved three times, then along z.

    Args:
        columns: of a voxel.
        shape: voxels along z, y and x.
    """

    def __init__(self, columns: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        stages: list[nn.Module] = [self._step(SubMConv3d(columns, 16, 3, bias=False, indice_key="in"), 16)]
        for number, channels in enumerate((16, 32, 64, 128)):
            if number:
                down = SparseConv3d(channels // 2, channels, 3, 2, 1, bias=False, indice_key=f"down{number}")
                stages.append(self._step(down, channels))
            stages += [ResidualBlock(channels, (3, 3, 3), f"stage{number}") for _ in range(2)]
        last = SparseConv3d(128, 128, (3, 1, 1), (2, 1, 1), bias=False, indice_key="out")
        self.stages = nn.Sequential(*stages, self._step(last, 128))

    @staticmethod
    def _step(layer: nn.Module, channels: int) -> SparseSequential:
        return SparseSequential(layer, SparseBatchNorm(channels, **NORM), SparseReLU())

    def forward(self, coords: Tensor, features: Tensor, batch_size: int) -> Tensor:
        out: Tensor = self.stages(SparseTensor(coords.int(), features, self.shape, batch_size)).features
        return out


def convolution_flops(encoder: nn.Module, coords: Tensor, features: Tensor) -> float:
    """Multiplications and additions of the sparse convolutions, of which each has a key."""
    found: list[float] = []

    def count(layer: Any, _: Any, out: SparseTensor) -> None:
        pairs = int(out.keys[layer.indice_key].blocks.counts.sum())
        found.append(2.0 * pairs * layer.in_channels * layer.out_channels)

    layers = [one for one in encoder.modules() if isinstance(one, SubMConv3d | SparseConv3d)]
    hooks = [one.register_forward_hook(count) for one in layers]
    with torch.no_grad():
        encoder(coords, features, 1)
    for hook in hooks:
        hook.remove()
    return sum(found)


# --- padded windows ---


@dataclass(frozen=True, eq=False, kw_only=True)
class PaddedWindows:
    """Windows of a layer, in buckets of about equal size, each padded to the largest of its bucket.

    Args:
        slots: for each bucket: row of the pillar in every place of every window, [windows, size]; padding holds 0.
        filled: for each bucket: whether a pillar stands there.
        position: embedding of the cell in its window.
    """

    slots: Sequence[Tensor]
    filled: Sequence[Tensor]
    position: Tensor

    @property
    def padded(self) -> int:
        """Places, the padding included."""
        return sum(one.numel() for one in self.slots)

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows of one size, as many at once as FlatFormer takes slots."""
        for slots, filled in zip(self.slots, self.filled, strict=True):
            step = 4608 // slots.shape[1]
            yield from zip(torch.split(slots, step), torch.split(filled, step), strict=True)


def pad_windows(
    coords: Tensor, batch_size: int, options: EncoderOptions, sizes: Sequence[int], *, shifted: bool
) -> PaddedWindows:
    """Put the pillars into windows and these into buckets.

    Args:
        coords: sample, z, y and x cell.
        batch_size: samples.
        options: window and map.
        sizes: of the buckets, rising; the last holds a full window.
        shifted: move the windows by half their size.
    """
    window = torch.tensor(options.window)
    cells = torch.tensor(options.cells)
    place = coords[:, [3, 2]].long() + (window // 2 if shifted else 0)
    along, across = (cells // window + 2).tolist()
    number = (coords[:, 0] * across + place[:, 1] // window[1]) * along + place[:, 0] // window[0]
    order = number.argsort(stable=True)
    _, row, counts = number[order].unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[row]
    slots, filled = [], []
    for low, size in zip((0, *sizes[:-1]), sizes, strict=True):
        chosen = (counts > low) & (counts <= size)
        target, mine = (chosen.cumsum(0) - 1)[row], chosen[row]
        rows = torch.zeros(int(chosen.sum()), size, dtype=torch.long)
        there = torch.zeros_like(rows, dtype=torch.bool)
        rows[target[mine], rank[mine]] = order[mine]
        there[target[mine], rank[mine]] = True
        slots.append(rows)
        filled.append(there)
    return PaddedWindows(slots=slots, filled=filled, position=position_embedding(place % window, options))


class PaddedWindowLayer(nn.Module):
    """A layer like FlatFormer's whose attention is that of the pillars of each window; padding is masked.

    Windows pass in chunks that fit the cache, as FlatFormer's groups do.

    Args:
        options: width and heads.
        lean: project before padding, which the released code does not do: padding costs attention only.
    """

    def __init__(self, options: EncoderOptions, *, lean: bool) -> None:
        super().__init__()
        self.inner, self.lean = GroupLayer(options), lean

    def forward(self, x: Tensor, order: PaddedWindows) -> Tensor:
        out, inner = torch.empty_like(x), self.inner
        for slots, filled in order.chunks():
            rows, places = slots[filled], filled.flatten().nonzero()[:, 0]
            there = x.index_select(0, rows)
            y = inner.norm1(there + self._attended(x, order.position, slots, filled, places))
            wide = F.gelu(linear(y, inner.fc1.weight, inner.fc1.bias))
            out.index_copy_(0, rows, inner.norm2(y + linear(wide, inner.fc2.weight, inner.fc2.bias)))
        return out

    def _attended(self, x: Tensor, position: Tensor, slots: Tensor, filled: Tensor, places: Tensor) -> Tensor:
        attn, every = self.inner.attn.attn, slots.flatten()
        chosen = every.index_select(0, places) if self.lean else every
        qkv = self._projected(x.index_select(0, chosen), position.index_select(0, chosen))
        if self.lean:
            qkv = qkv.new_zeros(len(every), qkv.shape[1]).index_copy_(0, places, qkv)
        q, k, v = qkv.view(*slots.shape, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)  # [windows, heads, size, dim]
        mask = filled[:, None, None].expand(-1, 1, slots.shape[1], -1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(len(every), -1)
        if self.lean:
            out = out.index_select(0, places)
        out = linear(out, attn.out_proj.weight, attn.out_proj.bias)
        return out if self.lean else out.index_select(0, places)

    def _projected(self, rows: Tensor, position: Tensor) -> Tensor:
        attn, c = self.inner.attn.attn, rows.shape[1]
        (qk_weight, v_weight), (qk_bias, v_bias) = (
            torch.split(one, [2 * c, c]) for one in (attn.in_proj_weight, attn.in_proj_bias)
        )
        return torch.cat([linear(rows + position, qk_weight, qk_bias), linear(rows, v_weight, v_bias)], 1)


class PaddedWindowEncoder(nn.Module):
    """Layers like FlatFormer's, but on whole windows, shifted in every second layer.

    Args:
        options: width, heads, window and map; four layers for each of its blocks.
        sizes: of the buckets.
        lean: see ``PaddedWindowLayer``.
    """

    def __init__(self, options: EncoderOptions, sizes: Sequence[int] = SST_SIZES, *, lean: bool = False) -> None:
        super().__init__()
        self.options, self.sizes = options, sizes
        self.layers = nn.ModuleList([PaddedWindowLayer(options, lean=lean) for _ in range(4 * options.blocks)])

    def orders(self, coords: Tensor, batch_size: int) -> Mapping[bool, PaddedWindows]:
        """The windows of the even and of the odd layers."""
        return {
            shifted: pad_windows(coords, batch_size, self.options, self.sizes, shifted=shifted)
            for shifted in (False, True)
        }

    def forward(self, coords: Tensor, features: Tensor, batch_size: int) -> Tensor:
        orders = self.orders(coords, batch_size)
        for number, layer in enumerate(self.layers):
            features = layer(features, orders[bool(number % 2)])
        return features
