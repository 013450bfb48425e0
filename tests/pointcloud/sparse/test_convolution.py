"""Sparse convolutions against dense ones in float64, their derivatives, and their edge cases."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from sparse_voxels import at_sites, dense_weight, random_voxels, reordered
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
    x = random_voxels(n, (5, 4, 6), 3, seed)
    layer = SubMConv3d(3, 3 if size == (1, 1, 1) else 5, size, dilation=dilation, backend=backend).double()
    if size == (1, 1, 1):  # the published layout of 1x1x1 kernels is transposed, see the docstring of the layer
        want = x.features @ layer.weight.reshape(3, 3) + layer.bias
    else:
        padding = tuple(one // 2 * dilation for one in size)
        dense = F.conv3d(x.dense(), dense_weight(layer), layer.bias, 1, padding, dilation)
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
    x = random_voxels(n, (5, 7, 6), 3, seed)
    down = SparseConv3d(3, 4, kernel, stride, pad, bias=False, indice_key="d", backend=backend).double()
    up = SparseInverseConv3d(4, 2, kernel, "d", bias=False, backend=backend).double()
    coarse = down(x)
    dense = F.conv3d(x.dense(), dense_weight(down), None, stride, pad)
    assert tuple(dense.shape[2:]) == coarse.spatial_shape
    assert torch.allclose(coarse.dense(), dense, rtol=1e-10, atol=1e-10)  # also: no site is missing
    back = torch.zeros(2, 2, *(extent + stride + kernel for extent in x.spatial_shape)).double()
    weight = up.weight.detach().permute(4, 0, 1, 2, 3)
    full = F.conv_transpose3d(coarse.dense(), weight, None, stride)
    back[:, :, : full.shape[2], : full.shape[3], : full.shape[4]] = full
    cut = tuple(slice(pad, pad + extent) for extent in x.spatial_shape)
    assert torch.allclose(
        up(coarse).features, at_sites(back[(slice(None), slice(None), *cut)], x), rtol=1e-10, atol=1e-10
    )


@BACKENDS
@pytest.mark.parametrize("strided", [False, True])
def test_first_and_second_derivatives(backend: Any, strided: bool) -> None:
    x = random_voxels(6, (2, 3, 2), 2, 3, batch=1)
    rules = strided_rules(x.sites, Window((2, 2, 2), (2, 2, 2))) if strided else None
    rules = rules or submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(rules.volume, 2, 1, generator=torch.Generator().manual_seed(4)).double().requires_grad_()
    inputs = (x.features.clone().requires_grad_(), weight)
    with threads(1):
        assert gradcheck(lambda f, w: convolve(f, w, rules, backend), inputs)
        assert gradgradcheck(lambda f, w: convolve(f, w, rules, backend), inputs, fast_mode=True)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    x = random_voxels(6000, (30, 30, 30), 20, 5)
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


SIZES = [
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1)),
    ((3, 1, 1), (2, 1, 1), (0, 0, 0), (1, 1, 1)),
    ((2, 3, 4), (1, 2, 3), (1, 0, 2), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), (2, 1, 2)),
    ((2, 2, 2), (1, 1, 1), (0, 0, 0), (3, 2, 1)),
    ((5, 4, 6), (1, 1, 1), (0, 0, 0), (1, 1, 1)),  # one output
]


@BACKENDS
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), SIZES)
def test_anisotropic_windows_of_any_kind(backend: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    x = random_voxels(50, (5, 4, 6), 3, 7, batch=3)
    layer = SparseConv3d(3, 4, kernel, stride, padding, dilation, bias=False, backend=backend).double()
    want = F.conv3d(x.dense(), dense_weight(layer), None, stride, padding, dilation)
    found = layer(x)
    assert found.spatial_shape == tuple(want.shape[2:])
    torch.testing.assert_close(found.dense(), want, rtol=1e-10, atol=1e-10)


@BACKENDS
@pytest.mark.parametrize("size", [(2, 2, 2), (4, 2, 3)])
def test_an_even_submanifold_kernel_looks_further_back(backend: Any, size: tuple[int, int, int]) -> None:
    x = random_voxels(60, (5, 4, 6), 2, 8)
    layer = SubMConv3d(2, 3, size, bias=False, backend=backend).double()
    grid = F.pad(x.dense(), [pad for n in reversed(size) for pad in (n // 2, n - 1 - n // 2)])
    want = at_sites(F.conv3d(grid, dense_weight(layer)), x)
    torch.testing.assert_close(layer(x).features, want, rtol=1e-10, atol=1e-10)


@BACKENDS
def test_voxels_at_the_border_see_nothing_beyond_it_nor_the_other_side(backend: Any) -> None:
    rows = [[b, i, j, k] for b in (0, 1) for i in (0, 3) for j in (0, 2) for k in (0, 4)]
    indices = torch.tensor(rows, dtype=torch.int32)
    x = SparseTensor(indices, torch.randn(len(rows), 2).double(), (4, 3, 5), 2)
    layer = SubMConv3d(2, 2, 3, bias=False, backend=backend).double()
    alone = x.features @ layer.weight[:, 1, 1, 1].T  # the corners are too far from each other
    torch.testing.assert_close(layer(x).features, alone, rtol=1e-12, atol=1e-12)


@BACKENDS
def test_the_layout_of_a_weight_is_output_i_j_k_input(backend: Any) -> None:
    indices = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 2]], dtype=torch.int32)
    x = SparseTensor(indices, torch.tensor([[1.0, 10.0], [100.0, 1000.0]]), (3, 3, 3), 1)
    layer = SubMConv3d(2, 1, 3, bias=False, backend=backend)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 1, 2] = torch.tensor([2.0, 3.0])  # one voxel before along i, the same j, one behind along k
    assert layer(x).features.tolist() == [[2.0 * 100 + 3.0 * 1000], [0.0]]


@BACKENDS
def test_a_kernel_of_one_entry_is_the_transpose_that_published_weights_need(backend: Any) -> None:
    x = random_voxels(9, (3, 3, 3), 3, 1)
    for layer in (SubMConv3d(3, 4, 1, bias=False, backend=backend), SparseConv3d(3, 4, 1, bias=False, backend=backend)):
        layer = layer.double()
        rows = layer(x)
        want = x.features[x.sites.order.long() if rows.sites is not x.sites else slice(None)] @ layer.weight.view(3, 4)
        torch.testing.assert_close(rows.features, want, rtol=1e-12, atol=1e-12)


@BACKENDS
@pytest.mark.parametrize("strided", [False, True])
def test_the_order_of_the_voxels_does_not_matter(backend: Any, strided: bool) -> None:
    x = random_voxels(60, (5, 4, 6), 3, 2)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    layer = SparseConv3d(3, 4, 3, 2, 1, backend=backend) if strided else SubMConv3d(3, 4, 3, backend=backend)
    layer = layer.double()
    found, turned = layer(x), layer(reordered(x, order))
    if strided:
        assert torch.equal(found.indices, turned.indices)
    wanted = found.features if strided else found.features[order]
    torch.testing.assert_close(turned.features, wanted, rtol=1e-12, atol=1e-12)


@BACKENDS
def test_samples_do_not_see_each_other(backend: Any) -> None:
    x = random_voxels(90, (4, 4, 4), 3, 4, batch=2)
    layer = SubMConv3d(3, 4, 3, backend=backend).double()
    together = layer(x).features
    for item in range(2):
        rows = x.indices[:, 0] == item
        indices = x.indices[rows] * torch.tensor([0, 1, 1, 1], dtype=torch.int32)
        alone = layer(SparseTensor(indices, x.features[rows], (4, 4, 4), 1)).features
        torch.testing.assert_close(alone, together[rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [(1, 1), (7, 9), (8, 16), (15, 17), (16, 32), (33, 31), (40, 65), (3, 100)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_channels_fits_the_tiles(channels: tuple[int, int], dtype: torch.dtype) -> None:
    x = random_voxels(150, (6, 6, 6), channels[0], 3, dtype=dtype)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    draw = torch.Generator().manual_seed(1)
    weight, grads = (torch.randn(*size, generator=draw).to(dtype) for size in ((27, *channels), (150, channels[1])))
    found = []
    for backend in ("numba", "torch"):
        leaves = [x.features.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = convolve(*leaves, rules, backend)  # type: ignore[call-overload]
        out.backward(grads)
        found.append([out.detach(), *(one.grad for one in leaves)])
    for ours, plain in zip(*found, strict=True):
        scale = float(plain.abs().max())
        torch.testing.assert_close(ours, plain, rtol=0, atol=scale * (1e-5 if dtype == torch.float32 else 1e-13))


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1023, 1024, 1025, 4096, 4097])
def test_any_number_of_voxels_fits_the_blocks(n: int) -> None:
    x = random_voxels(n, (16, 16, 16), 4, 5, dtype=torch.float32)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(27, 4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        convolve(x.features, weight, rules, "numba"), convolve(x.features, weight, rules, "torch"), rtol=0, atol=1e-4
    )


@BACKENDS
def test_no_channels_give_zeros(backend: Any) -> None:
    x = random_voxels(20, (4, 4, 4), 0)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    leaf = torch.zeros(27, 0, 3, dtype=torch.float64, requires_grad=True)
    out = convolve(x.features, leaf, rules, backend)
    out.sum().backward()
    assert out.shape == (20, 3)
    assert not out.any()
    assert leaf.grad is not None
    none = convolve(torch.ones(20, 2, dtype=torch.float64), torch.zeros(27, 2, 0, dtype=torch.float64), rules, backend)
    assert none.shape == (20, 0)


@BACKENDS
def test_not_a_number_stays_where_it_can_be_seen(backend: Any) -> None:
    indices = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 5, 5, 5]], dtype=torch.int32)
    features = torch.tensor([[torch.nan], [1.0], [2.0]])
    out = SubMConv3d(1, 1, 3, backend=backend)(SparseTensor(indices, features, (6, 6, 6), 1)).features[:, 0]
    assert out.isnan().tolist() == [True, True, False]


@BACKENDS
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_derivatives_of_layers_of_every_kind(backend: Any, kind: str) -> None:
    x = random_voxels(7, (2, 3, 3), 2, 3, batch=2)
    torch.manual_seed(1)
    down = SparseConv3d(2, 2, (2, 1, 3), (2, 1, 1), (0, 0, 1), indice_key="d", backend=backend).double()
    layer: Any = down if kind == "strided" else SubMConv3d(2, 2, (1, 3, 3), dilation=(1, 1, 2), backend=backend)
    layer = SparseInverseConv3d(2, 1, (2, 1, 3), "d", backend=backend) if kind == "inverse" else layer
    layer = layer.double()
    given = down(x) if kind == "inverse" else x

    def value(features: Any, weight: Any, bias: Any) -> Any:
        named = {"weight": weight, "bias": bias}
        return torch.func.functional_call(layer, named, (given.with_features(features),)).features

    leaves = [one.detach().clone().requires_grad_() for one in (given.features, layer.weight, layer.bias)]
    with threads(1):  # a second one costs more than so few voxels
        assert gradcheck(value, leaves)
        assert gradgradcheck(value, leaves, fast_mode=True)


@BACKENDS
def test_a_gradient_that_nobody_needs_is_not_computed(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = random_voxels(20, (4, 4, 4), 2)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(27, 2, 3).double()

    def refuse(*_: Any) -> None:
        raise AssertionError

    home = "cpu" if backend == "numba" else "plain"
    monkeypatch.setattr(f"recon3d.pointcloud.sparse.{home}.weight_gradient", refuse)
    leaf = x.features.clone().requires_grad_()
    convolve(leaf, weight, rules, backend).sum().backward()
    assert leaf.grad is not None


def test_equal_calls_give_equal_bits() -> None:
    x = random_voxels(3000, (20, 20, 20), 12, 5, dtype=torch.float32)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(27, 12, 20, generator=torch.Generator().manual_seed(1))
    first = convolve(x.features, weight, rules)
    assert all(torch.equal(convolve(x.features, weight, rules), first) for _ in range(3))


def test_memory_does_not_grow_with_the_pairs() -> None:
    x = random_voxels(20_000, (40, 30, 20), 32, 5, dtype=torch.float32, batch=1)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(27, 32, 32)
    pairs = int(rules.blocks.counts.sum())
    assert pairs > 15 * len(x)
    tracemalloc.start()
    with torch.no_grad():
        out = convolve(x.features, weight, rules, "numba")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * out.numel() * 4  # a copy of the gathered rows would take twenty times the features


def test_wrong_calls_are_one_clear_error(without_shape_checks: None) -> None:
    x = random_voxels(20, (4, 4, 4), 2)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.zeros(27, 2, 3).double()
    for features, matrices in ((x.features[:-1], weight), (x.features, weight[:-1]), (x.features, weight[:, :1])):
        with pytest.raises(ShapeError, match=r"a sparse convolution.*20 rows, and 27 matrices"):
            convolve(features, matrices, rules)
    with pytest.raises(UsageError, match="float16"):
        convolve(x.features.half(), weight.half(), rules, "numba")
    with pytest.raises(UsageError, match="spconv does not take such tensors"):
        SubMConv3d(2, 3, 3, backend="spconv").double()(x)


def test_other_types_are_computed_by_torch() -> None:
    x = random_voxels(20, (4, 4, 4), 2)
    rules = submanifold_rules(x.sites, Window.centred((3, 3, 3)))
    weight = torch.randn(27, 2, 3, generator=torch.Generator().manual_seed(1))
    out = convolve(x.features.bfloat16(), weight.bfloat16(), rules)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), convolve(x.features, weight.double(), rules), rtol=0, atol=0.3)


def test_several_threads_of_the_caller_may_share_a_layer() -> None:
    x = random_voxels(3000, (20, 20, 20), 8, 5, dtype=torch.float32)
    layer = SubMConv3d(8, 8, 3)
    want = layer(x).features.detach()

    def work(_: int) -> bool:
        with torch.no_grad():
            return torch.equal(layer(SparseTensor(x.indices, x.features, (20, 20, 20), 2)).features, want)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(6)))
