"""Pooling of occupied voxels against dense pooling and against loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from sparse_voxels import at_sites, listed_pairs, random_voxels, reordered
from torch.autograd import gradcheck

from recon3d.core.errors import UsageError
from recon3d.pointcloud.sparse import SparseAvgPool3d, SparseMaxPool3d, SparseTensor

KINDS = pytest.mark.parametrize("kind", [SparseMaxPool3d, SparseAvgPool3d])


@settings(max_examples=20)
@given(
    n=st.integers(0, 60),
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_largest_value_is_that_of_a_dense_pool_over_minus_infinity(
    n: int, kernel: Any, stride: int, seed: int
) -> None:
    x = random_voxels(n, (5, 4, 6), 3, seed)
    found = SparseMaxPool3d(kernel, stride)(x)
    occupied = x.with_features(torch.ones(n, 1).double()).dense() > 0
    want = F.max_pool3d(x.dense().masked_fill(~occupied, -torch.inf), kernel, stride)
    assert found.spatial_shape == tuple(want.shape[2:])
    assert torch.equal(found.features, at_sites(want, found))
    assert int(want.isfinite().any(1).sum()) == len(found)  # no window is missing


@settings(max_examples=20)
@given(n=st.integers(0, 60), kernel=st.tuples(*[st.integers(1, 3)] * 3), pad=st.integers(0, 1), seed=st.integers(0, 99))
def test_the_mean_is_over_the_occupied_voxels(n: int, kernel: Any, pad: int, seed: int) -> None:
    x = random_voxels(n, (5, 4, 6), 3, seed)
    layer = SparseAvgPool3d(kernel, 2, pad)
    found = layer(x)
    rows: dict[int, list[int]] = {}
    for _, source, target in listed_pairs(x.sites, found.sites, layer.window):
        rows.setdefault(target, []).append(source)
    assert sorted(rows) == list(range(len(found)))
    for target, sources in rows.items():
        torch.testing.assert_close(found.features[target], x.features[sources].mean(0))


@KINDS
def test_gradients(kind: Any) -> None:
    x = random_voxels(20, (3, 4, 3), 2, 3)
    leaf = x.features.clone().requires_grad_()
    assert gradcheck(lambda value: kind(2, 1)(x.with_features(value)).features, (leaf,))


def test_of_equal_values_one_gets_the_whole_gradient() -> None:
    rows = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.int32)
    leaf = torch.ones(2, 1, requires_grad=True)
    SparseMaxPool3d((1, 1, 2))(SparseTensor(rows, leaf, (1, 1, 2), 1)).features.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [[0.0], [1.0]]  # the first by kernel entry, whatever the order of the rows


@pytest.mark.parametrize("value", [-torch.inf, torch.nan])
def test_strange_values_pass(value: float) -> None:
    rows = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 3]], dtype=torch.int32)
    features = torch.tensor([[value], [1.0], [value]])
    found = SparseMaxPool3d((1, 1, 2))(SparseTensor(rows, features, (1, 1, 4), 1)).features[:, 0]
    want = torch.tensor([value if value != value else 1.0, value])
    torch.testing.assert_close(found, want, equal_nan=True)


@KINDS
def test_the_order_of_the_voxels_does_not_matter(kind: Any) -> None:
    x = random_voxels(50, (5, 4, 6), 3, 1)
    turned = reordered(x, torch.randperm(50, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(kind(2)(turned).features, kind(2)(x).features, rtol=1e-14, atol=1e-14)


@KINDS
def test_the_stride_is_the_kernel_unless_it_is_given(kind: Any) -> None:
    assert kind((1, 2, 3)).window.stride == (1, 2, 3)
    assert kind((1, 2, 3), 1).window.stride == (1, 1, 1)
    assert repr(kind(2, padding=1)).endswith("(kernel_size=(2, 2, 2), stride=(2, 2, 2), padding=(1, 1, 1))")
    with pytest.raises(UsageError, match="kernel_size is one integer or three"):
        kind((1, 2))


@KINDS
def test_nothing_and_one_voxel(kind: Any) -> None:
    empty = SparseTensor(torch.zeros(0, 4, dtype=torch.int32), torch.zeros(0, 3), (4, 4, 4), 1)
    assert kind(2)(empty).features.shape == (0, 3)
    one = SparseTensor(torch.tensor([[0, 3, 3, 3]], dtype=torch.int32), torch.tensor([[1.0, -2.0, 3.0]]), (4, 4, 4), 1)
    found = kind(2)(one)
    assert found.indices.tolist() == [[0, 1, 1, 1]]
    assert found.features.tolist() == [[1.0, -2.0, 3.0]]
