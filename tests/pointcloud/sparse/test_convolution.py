"""Sparse convolutions against dense ones in float64, their derivatives, and their edge cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.pointcloud.sparse import (
    SparseConv3d,
    SparseInverseConv3d,
    SparseTensor,
    SubMConv3d,
    Window,
    convolve,
    strided_rules,
    submanifold_rules,
)

BACKENDS = pytest.mark.parametrize("backend", ["numba", "torch"])


def cloud(n: int, shape: tuple[int, int, int], channels: int, seed: int, batch: int = 2) -> SparseTensor:
    """Distinct voxels in random order with random features in float64."""
    generator = torch.Generator().manual_seed(seed)
    size = batch * shape[0] * shape[1] * shape[2]
    keys = torch.randperm(size, generator=generator)[:n]
    parts = [keys % shape[2], keys // shape[2] % shape[1], keys // (shape[1] * shape[2]) % shape[0]]
    indices = torch.stack([keys // (shape[0] * shape[1] * shape[2]), *parts[::-1]], 1).int()
    return SparseTensor(indices, torch.randn(n, channels, generator=generator).double(), shape, batch)


def at_sites(grid: Tensor, x: SparseTensor) -> Tensor:
    b, i, j, k = x.indices.long().T
    return grid[b, :, i, j, k]


def dense_weight(layer: Any) -> Tensor:
    weight: Tensor = layer.weight.detach()
    return weight.permute(0, 4, 1, 2, 3)


@BACKENDS
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(0, 60),
    size=st.tuples(*[st.sampled_from([1, 3, 5])] * 3),
    dilation=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_a_submanifold_convolution_is_a_dense_one_at_its_sites(
    backend: Any, n: int, size: tuple[int, int, int], dilation: int, seed: int
) -> None:
    x = cloud(n, (5, 4, 6), 3, seed)
    layer = SubMConv3d(3, 3 if size == (1, 1, 1) else 5, size, dilation=dilation, backend=backend).double()
    if size == (1, 1, 1):  # the published layout of 1x1x1 kernels is transposed, see the docstring of the layer
        want = x.features @ layer.weight.reshape(3, 3) + layer.bias
    else:
        padding = tuple(one // 2 * dilation for one in size)
        dense = torch.nn.functional.conv3d(x.dense(), dense_weight(layer), layer.bias, 1, padding, dilation)
        want = at_sites(dense, x)
    assert torch.allclose(layer(x).features, want, rtol=1e-10, atol=1e-10)


@BACKENDS
@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(0, 60),
    kernel=st.integers(2, 3),
    stride=st.integers(1, 3),
    pad=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_a_strided_convolution_and_its_inverse_are_dense_ones(
    backend: Any, n: int, kernel: int, stride: int, pad: int, seed: int
) -> None:
    x = cloud(n, (5, 7, 6), 3, seed)
    down = SparseConv3d(3, 4, kernel, stride, pad, bias=False, indice_key="d", backend=backend).double()
    up = SparseInverseConv3d(4, 2, kernel, "d", bias=False, backend=backend).double()
    coarse = down(x)
    dense = torch.nn.functional.conv3d(x.dense(), dense_weight(down), None, stride, pad)
    assert tuple(dense.shape[2:]) == coarse.spatial_shape
    assert torch.allclose(coarse.dense(), dense, rtol=1e-10, atol=1e-10)  # also: no site is missing
    back = torch.zeros(2, 2, *(extent + stride + kernel for extent in x.spatial_shape)).double()
    weight = up.weight.detach().permute(4, 0, 1, 2, 3)
    full = torch.nn.functional.conv_transpose3d(coarse.dense(), weight, None, stride)
    back[:, :, : full.shape[2], : full.shape[3], : full.shape[4]] = full
    cut = tuple(slice(pad, pad + extent) for extent in x.spatial_shape)
    assert torch.allclose(
        up(coarse).features, at_sites(back[(slice(None), slice(None), *cut)], x), rtol=1e-10, atol=1e-10
    )


@BACKENDS
@pytest.mark.parametrize("strided", [False, True])
def test_first_and_second_derivatives(backend: Any, strided: bool) -> None:
    x = cloud(6, (2, 3, 2), 2, 3, batch=1)
    rules = strided_rules(x.sites, Window((2, 2, 2), (2, 2, 2))) if strided else None
    rules = rules or submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(rules.volume, 2, 1, generator=torch.Generator().manual_seed(4)).double().requires_grad_()
    inputs = (x.features.clone().requires_grad_(), weight)
    assert gradcheck(lambda f, w: convolve(f, w, rules, backend), inputs)
    assert gradgradcheck(lambda f, w: convolve(f, w, rules, backend), inputs)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    x = cloud(6000, (30, 30, 30), 20, 5)
    found = []
    for n in (1, 2):
        features = x.features.float().requires_grad_()
        torch.manual_seed(0)
        layer = SubMConv3d(20, 36, 3)
        with threads(n):
            out = layer(SparseTensor(x.indices, features, x.spatial_shape, 2)).features
            (out * out).sum().backward()
        found.append((out.detach(), features.grad, layer.weight.grad))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@BACKENDS
def test_empty_tensors_and_one_voxel(backend: Any) -> None:
    layer = SubMConv3d(3, 4, 3, backend=backend)
    empty = SparseTensor(torch.zeros(0, 4, dtype=torch.int32), torch.zeros(0, 3), (4, 4, 4), 1)
    assert layer(empty).features.shape == (0, 4)
    assert SparseConv3d(3, 4, 2, 2, backend=backend)(empty).features.shape == (0, 4)
    one = SparseTensor(torch.tensor([[0, 1, 2, 3]], dtype=torch.int32), torch.ones(1, 3), (4, 4, 4), 1)
    want = layer.weight[:, 1, 1, 1].sum(1) + layer.bias
    assert torch.allclose(layer(one).features[0], want, atol=1e-6)


def test_bad_input_is_one_clear_error() -> None:
    rows = torch.tensor([[0, 1, 1, 1], [0, 2, 2, 2], [0, 1, 1, 1]], dtype=torch.int32)
    with pytest.raises(InputError, match=r"hold one voxel.*rows 0 and 2"):
        SparseTensor(rows, torch.zeros(3, 1), (4, 4, 4), 1)
    with pytest.raises(InputError, match="outside the grid"):
        SparseTensor(rows[:2], torch.zeros(2, 1), (2, 4, 4), 1)
    x = SparseTensor(rows[:2], torch.zeros(2, 1), (4, 4, 4), 1)
    with pytest.raises(ShapeError, match="channels"):
        SubMConv3d(2, 2, 3)(x)
    with pytest.raises(UsageError, match="no partner"):
        SparseInverseConv3d(1, 2, 2, "d")(x)
    with pytest.raises(UsageError, match="two rulebooks"):
        SubMConv3d(1, 2, 5, indice_key="s")(SubMConv3d(1, 1, 3, indice_key="s")(x))
