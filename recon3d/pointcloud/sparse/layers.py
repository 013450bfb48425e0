"""Layers of sparse networks, with the weight layout ``[out, k0, k1, k2, in]`` and the parameter names of spconv 2."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.sparse import spconv_cuda
from recon3d.pointcloud.sparse.functional import SparseBackend, convolve
from recon3d.pointcloud.sparse.geometry import Window, triple
from recon3d.pointcloud.sparse.rules import Rules, strided_rules, submanifold_rules
from recon3d.pointcloud.sparse.tensor import SparseTensor

Size = int | Sequence[int]


class SparseLayer(nn.Module):
    """A module from sparse tensor to sparse tensor."""


class _Convolution(SparseLayer):
    """Weight, bias and the product with a rulebook.

    A kernel of one entry is applied as spconv 2 does it: ``features @ weight.reshape(in, out)``, which is not the
    transpose that the declared layout suggests. Published weights depend on it.

    Args:
        in_channels: of the input features.
        out_channels: of the output features.
        kernel_size: along i, j and k.
        bias: add one number per output channel.
        indice_key: name of the rulebook.
        backend: see :func:`~recon3d.pointcloud.sparse.functional.convolve`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        bias: bool,
        indice_key: str | None,
        backend: SparseBackend,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.indice_key, self.backend = triple(kernel_size, "kernel_size"), indice_key, backend
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights uniformly, with a bound of one over the square root of the inputs of an output."""
        bound = 1 / math.sqrt(max(1, self.in_channels * math.prod(self.kernel_size)))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Return the sizes for ``print``."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, key={self.indice_key!r}"

    def matrices(self) -> Float[Tensor, "k c d"]:
        """Return the weight as one matrix per kernel entry, inputs by outputs."""
        volume = math.prod(self.kernel_size)
        if volume == 1:
            return self.weight.reshape(1, self.in_channels, self.out_channels)
        return self.weight.reshape(self.out_channels, volume, self.in_channels).permute(1, 2, 0)

    def applied(self, features: Float[Tensor, "n c"], rules: Rules) -> Float[Tensor, "m d"]:
        """Return the convolution of features with this layer's weights.

        Raises:
            ShapeError: the number of channels is another one.
        """
        if features.shape[1] != self.in_channels:
            raise ShapeError("channels of a sparse tensor", got=features.shape[1], expected=self.in_channels)
        if rules.volume > 1 and spconv_cuda.takes(features, self.backend):
            out = spconv_cuda.convolve(features, self.weight, rules)
        else:
            out = convolve(features, self.matrices(), rules, self.backend)
        return out if self.bias is None else out + self.bias

    def remembered(self, x: SparseTensor, rules: Rules) -> dict[str, Rules]:
        """Return the rulebooks of a tensor with this layer's one under its key.

        Raises:
            UsageError: the key names another rulebook.
        """
        if self.indice_key is None:
            return dict(x.keys)
        known = x.keys.get(self.indice_key)
        if known is not None and known is not rules:
            got = f"{self.indice_key!r} holds {known.window} on {len(known.source)} voxels"
            expected = f"a key of its own for {rules.window} on {len(rules.source)} voxels"
            raise UsageError("an indice_key is used for two rulebooks", got=got, expected=expected)
        return {**x.keys, self.indice_key: rules}


class SubMConv3d(_Convolution):
    """A submanifold convolution: outputs live on the sites of the inputs, in the same row order.

    Args:
        in_channels: of the input features.
        out_channels: of the output features.
        kernel_size: along i, j and k; odd sizes are centred.
        stride: ignored, as in spconv.
        padding: ignored, as in spconv: the kernel is always centred.
        dilation: distance of neighbouring kernel entries.
        bias: add one number per output channel.
        indice_key: layers with one key share a rulebook: they have one kernel size and dilation, on the same sites.
        backend: see :func:`~recon3d.pointcloud.sparse.functional.convolve`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        bias: bool = True,
        indice_key: str | None = None,
        backend: SparseBackend = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, indice_key=indice_key, backend=backend)
        self.window = Window.centred(self.kernel_size, triple(dilation, "dilation"))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve.

        Args:
            x: any sparse tensor.

        Raises:
            ShapeError: the number of channels is wrong.
            UsageError: the key names another rulebook.
        """
        rules = submanifold_rules(x.sites, self.window)
        keys = self.remembered(x, rules) if self.window.volume > 1 else x.keys
        return x.moved(x.sites, self.applied(x.features, rules), keys)


class SparseConv3d(_Convolution):
    """A convolution whose outputs live wherever its window meets an input, in lexicographic order.

    Args:
        in_channels: of the input features.
        out_channels: of the output features.
        kernel_size: along i, j and k.
        stride: of the outputs.
        padding: in front of the first voxel and behind the last.
        dilation: distance of neighbouring kernel entries.
        bias: add one number per output channel.
        indice_key: name by which a :class:`SparseInverseConv3d` finds the way back; used once.
        backend: see :func:`~recon3d.pointcloud.sparse.functional.convolve`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        *,
        bias: bool = True,
        indice_key: str | None = None,
        backend: SparseBackend = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, indice_key=indice_key, backend=backend)
        parts = (triple(stride, "stride"), triple(padding, "padding"), triple(dilation, "dilation"))
        self.window = Window(self.kernel_size, *parts)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve.

        Args:
            x: any sparse tensor.

        Raises:
            ShapeError: the number of channels is wrong.
            UsageError: the key names another rulebook.
        """
        rules = strided_rules(x.sites, self.window)
        return x.moved(rules.target, self.applied(x.features, rules), self.remembered(x, rules))


class SparseInverseConv3d(_Convolution):
    """The way back of a :class:`SparseConv3d`: outputs live on its inputs' sites, in their row order.

    Sites that it had dropped are zero (or the bias).

    Args:
        in_channels: of the input features.
        out_channels: of the output features.
        kernel_size: that of the partner.
        indice_key: that of the partner.
        bias: add one number per output channel.
        backend: see :func:`~recon3d.pointcloud.sparse.functional.convolve`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        indice_key: str,
        *,
        bias: bool = True,
        backend: SparseBackend = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, indice_key=indice_key, backend=backend)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Convolve.

        Args:
            x: features on the outputs' sites of the partner.

        Raises:
            ShapeError: the number of channels is wrong.
            UsageError: no layer has left such a key, or its kernel or sites are others.
        """
        partner = x.keys.get(str(self.indice_key))
        if partner is None or partner.window.kernel != self.kernel_size or partner.target is not x.sites:
            got = f"indice_key {self.indice_key!r}, kernel {self.kernel_size}, {len(x)} voxels"
            found = ", ".join(f"{key!r} {rules.window.kernel} to {len(rules.target)}" for key, rules in x.keys.items())
            raise UsageError(
                "an inverse convolution finds no partner", got=got, expected=found or "a SparseConv3d before"
            )
        rules = partner.transposed
        return x.moved(rules.target, self.applied(x.features, rules), x.keys)
