"""Random sparse tensors, and what a dense convolution says about them."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor

from recon3d.pointcloud.sparse import Sites, SparseTensor, Window


def random_voxels(
    n: int, shape: tuple[int, int, int], channels: int, seed: int = 0, *, batch: int = 2, dtype: Any = torch.float64
) -> SparseTensor:
    """Different voxels in random order with random features."""
    draw = torch.Generator().manual_seed(seed)
    keys = torch.randperm(batch * shape[0] * shape[1] * shape[2], generator=draw)[:n]
    parts = [keys % shape[2], keys // shape[2] % shape[1], keys // (shape[1] * shape[2]) % shape[0]]
    indices = torch.stack([keys // (shape[0] * shape[1] * shape[2]), *parts[::-1]], 1).int()
    return SparseTensor(indices, torch.randn(n, channels, generator=draw).to(dtype), shape, batch)


def reordered(x: SparseTensor, rows: Tensor) -> SparseTensor:
    """The same voxels in another order."""
    return SparseTensor(x.indices[rows], x.features[rows], x.spatial_shape, x.batch_size)


def at_sites(grid: Tensor, x: SparseTensor) -> Tensor:
    """The rows of a dense grid [b, c, i, j, k] at the voxels."""
    b, i, j, k = x.indices.long().T
    return grid[b, :, i, j, k]


def dense_weight(layer: Any) -> Tensor:
    """The weight of a sparse layer as that of a dense one."""
    weight: Tensor = layer.weight.detach()
    return weight.permute(0, 4, 1, 2, 3)


def listed_pairs(source: Sites, target: Sites, window: Window) -> set[tuple[int, int, int]]:
    """Kernel entry, input row and output row of every pair, by a search in plain Python."""
    rows = {tuple(site): row for row, site in enumerate(source.indices.tolist())}
    found = set()
    for out, (item, *place) in enumerate(target.indices.tolist()):
        for number, entry in enumerate(product(*(range(n) for n in window.kernel))):
            seen = [
                q * stride - pad + step * dilation
                for q, stride, pad, step, dilation in zip(
                    place, window.stride, window.padding, entry, window.dilation, strict=True
                )
            ]
            if (item, *seen) in rows:
                found.add((number, rows[(item, *seen)], out))
    return found
