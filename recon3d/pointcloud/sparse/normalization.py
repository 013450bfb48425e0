"""Layers that act on the features of each voxel."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from recon3d.pointcloud.sparse.layers import SparseLayer
from recon3d.pointcloud.sparse.tensor import SparseTensor


class SparseBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the features of all voxels of a batch; also takes plain features ``[n, c]``.

    In training the mean and variance are over the voxels of all items together. Running statistics are in
    ``state_dict`` under the names of ``torch.nn.BatchNorm1d``.
    """

    def forward(self, x: SparseTensor | Float[Tensor, "n c"]) -> SparseTensor | Float[Tensor, "n c"]:  # type: ignore[override]
        """Normalise.

        Args:
            x: a sparse tensor or features.
        """
        if isinstance(x, SparseTensor):
            return x.with_features(super().forward(x.features))
        return super().forward(x)


class SparseReLU(SparseLayer):
    """The positive part of the features."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Cut off.

        Args:
            x: any sparse tensor.
        """
        return x.with_features(x.features.relu())


class SparseSequential(nn.Sequential):
    """Layers one after another; plain torch modules between them see the features."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply all layers.

        Args:
            x: any sparse tensor.
        """
        for layer in self:
            x = layer(x) if isinstance(layer, SparseLayer) else x.with_features(layer(x.features))
        return x
