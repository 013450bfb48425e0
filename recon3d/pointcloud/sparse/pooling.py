"""Pooling over the windows of sparse tensors; empty voxels do not count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.pointcloud.sparse.geometry import Window, triple
from recon3d.pointcloud.sparse.layers import SparseLayer
from recon3d.pointcloud.sparse.rules import Rules, strided_rules
from recon3d.pointcloud.sparse.tensor import SparseTensor


class _Pool(SparseLayer):
    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        kernel = triple(kernel_size, "kernel_size")
        step = kernel if stride is None else triple(stride, "stride")
        self.window = Window(kernel, step, triple(padding, "padding"))

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        return f"kernel_size={self.window.kernel}, stride={self.window.stride}, padding={self.window.padding}"


class SparseMaxPool3d(_Pool):
    """The largest value of each channel in a window.

    Args:
        kernel_size: along i, j and k.
        stride: of the outputs; None = the kernel size.
        padding: in front of the first voxel and behind the last.
    """

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Pool.

        Args:
            x: any sparse tensor.
        """
        rules = strided_rules(x.sites, self.window)
        winners = _largest(x.features.detach(), rules)
        return x.moved(rules.target, x.features.gather(0, winners), x.keys)


class SparseAvgPool3d(_Pool):
    """The mean of each channel over the occupied voxels of a window.

    Args:
        kernel_size: along i, j and k.
        stride: of the outputs; None = the kernel size.
        padding: in front of the first voxel and behind the last.
    """

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Pool.

        Args:
            x: any sparse tensor.
        """
        rules = strided_rules(x.sites, self.window)
        sums = x.features.new_zeros(len(rules.target), x.features.shape[1])
        n = x.features.new_zeros(len(rules.target), 1)
        for _, rows_in, rows_out in rules.pairs.each():
            sums = sums.index_add(0, rows_out, x.features[rows_in])
            n = n.index_add(0, rows_out, n.new_ones(len(rows_out), 1))
        return x.moved(rules.target, sums / n, x.keys)


def _largest(features: Float[Tensor, "n c"], rules: Rules) -> Int64[Tensor, "m c"]:
    """Return the row of the largest value in each window and channel; of equal ones, the first by kernel entry."""
    shape = (len(rules.target), features.shape[1])
    best = features.new_full(shape, -torch.inf)
    winners = torch.zeros(shape, dtype=torch.int64, device=features.device)
    seen = torch.zeros(shape[0], 1, dtype=torch.bool, device=features.device)
    for _, rows_in, rows_out in rules.pairs.each():
        values, before = features[rows_in], best[rows_out]
        wins = (values > before) | ~seen[rows_out] | (values.isnan() & ~before.isnan())
        best[rows_out] = torch.where(wins, values, before)
        winners[rows_out] = torch.where(wins, rows_in[:, None], winners[rows_out])
        seen[rows_out] = True
    return winners
