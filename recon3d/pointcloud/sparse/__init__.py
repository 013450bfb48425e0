"""Sparse 3D convolution on voxels: tensors, layers, rulebooks, and the SparseUNet on top of them.

Weights have the layout and the names of spconv 2. CPU tensors are computed by kernels of our own, CUDA tensors by
spconv where it is installed, else by plain torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.sparse.functional import convolve as convolve
    from recon3d.pointcloud.sparse.geometry import Window as Window
    from recon3d.pointcloud.sparse.layers import (
        SparseConv3d as SparseConv3d,
        SparseInverseConv3d as SparseInverseConv3d,
        SubMConv3d as SubMConv3d,
    )
    from recon3d.pointcloud.sparse.normalization import (
        SparseBatchNorm as SparseBatchNorm,
        SparseReLU as SparseReLU,
        SparseSequential as SparseSequential,
    )
    from recon3d.pointcloud.sparse.pooling import SparseAvgPool3d as SparseAvgPool3d, SparseMaxPool3d as SparseMaxPool3d
    from recon3d.pointcloud.sparse.prompted_unet import PromptedSparseUNet as PromptedSparseUNet
    from recon3d.pointcloud.sparse.rules import (
        Rules as Rules,
        strided_rules as strided_rules,
        submanifold_rules as submanifold_rules,
    )
    from recon3d.pointcloud.sparse.sites import Sites as Sites
    from recon3d.pointcloud.sparse.tensor import SparseTensor as SparseTensor
    from recon3d.pointcloud.sparse.unet import (
        SparseUNet as SparseUNet,
        SparseUNetOptions as SparseUNetOptions,
        voxel_tensor as voxel_tensor,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "functional": ["convolve"],
        "geometry": ["Window"],
        "layers": ["SparseConv3d", "SparseInverseConv3d", "SubMConv3d"],
        "normalization": ["SparseBatchNorm", "SparseReLU", "SparseSequential"],
        "pooling": ["SparseAvgPool3d", "SparseMaxPool3d"],
        "prompted_unet": ["PromptedSparseUNet"],
        "rules": ["Rules", "strided_rules", "submanifold_rules"],
        "sites": ["Sites"],
        "tensor": ["SparseTensor"],
        "unet": ["SparseUNet", "SparseUNetOptions", "voxel_tensor"],
    },
)
