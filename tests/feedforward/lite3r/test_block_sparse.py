"""Softmax over kept key blocks: every back end against a dense softmax under a mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.feedforward.lite3r import block_sparse_cuda
from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention
from recon3d.feedforward.lite3r.blocks import Blocks, choose_blocks
from recon3d.feedforward.lite3r.linear import linear_attention
from recon3d.feedforward.lite3r.options import Backend

ON_THE_CPU: tuple[Backend, ...] = ("numba", "torch")
on_both = pytest.mark.parametrize("backend", ON_THE_CPU)


def heads(n: int, d: int = 8, *, seed: int = 0, batch: tuple[int, ...] = (2, 3)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*batch, n, d, generator=generator) for _ in range(3)]


def some_blocks(n_queries: int, n_keys: int, size: int, n_kept: int, *, batch: tuple[int, ...] = (2, 3)) -> Tensor:
    """Random distinct key blocks for each query block."""
    n_rows, n_blocks = Blocks(n_queries, size).count, Blocks(n_keys, size).count
    draws = torch.rand(*batch, n_rows, n_blocks, generator=torch.Generator().manual_seed(1))
    return draws.topk(min(n_kept, n_blocks), -1).indices


def dense(q: Tensor, k: Tensor, v: Tensor, kept: Tensor, size: int) -> Tensor:
    """Softmax over all keys, those of other blocks masked, in double precision."""
    seen = torch.zeros(*kept.shape[:-1], Blocks(k.shape[-2], size).count, dtype=torch.bool).scatter_(-1, kept, True)
    mask = seen.repeat_interleave(size, -1).repeat_interleave(size, -2)[..., : q.shape[-2], : k.shape[-2]]
    return scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask)


@on_both
@settings(max_examples=25)
@given(
    n=st.integers(1, 150), m=st.integers(1, 150), d=st.sampled_from([4, 16, 24, 65]), size=st.sampled_from([16, 32, 48])
)
def test_equals_dense_attention_under_a_mask(backend: Backend, n: int, m: int, d: int, size: int) -> None:
    q, (_, k, v) = heads(n, d)[0], heads(m, d, seed=2)
    kept = some_blocks(n, m, size, 3)
    found = block_sparse_attention(q, k, v, kept, size=size, backend=backend)
    torch.testing.assert_close(found.double(), dense(q, k, v, kept, size), rtol=0, atol=3e-6)


@on_both
def test_all_blocks_kept_is_dense_attention(backend: Backend) -> None:
    q, k, v = heads(70, 32)
    everything = torch.arange(5).expand(2, 3, 5, 5)
    found = block_sparse_attention(q, k, v, everything, size=16, backend=backend)
    torch.testing.assert_close(found, scaled_dot_product_attention(q, k, v), rtol=0, atol=2e-6)


@on_both
def test_what_lies_in_the_padding_or_in_other_blocks_changes_nothing(backend: Backend) -> None:
    q, k, v = heads(40, 16)
    kept = some_blocks(40, 40, 16, 1)
    before = block_sparse_attention(q, k, v, kept, size=16, backend=backend)
    seen = torch.zeros(2, 3, 3, dtype=torch.bool).scatter_(-1, kept[..., 0], True).repeat_interleave(16, -1)[..., :40]
    changed = [torch.where(seen[..., None], x, 7.0) for x in (k, v)]
    assert torch.equal(before, block_sparse_attention(q, *changed, kept, size=16, backend=backend))


@on_both
def test_large_scores_neither_overflow_nor_lose_the_largest(backend: Backend) -> None:
    q, k, v = heads(48, 16)
    kept = torch.tensor([[0, 2], [1, 2], [0, 1]]).expand(2, 3, 3, 2)
    found = block_sparse_attention(1e4 * q, k, v, kept, size=16, backend=backend)
    torch.testing.assert_close(found.double(), dense(1e4 * q, k, v, kept, 16), rtol=0, atol=1e-3)


@on_both
def test_a_later_block_far_above_the_first_takes_all_the_weight(backend: Backend) -> None:
    q, k, v = torch.ones(1, 16, 4), torch.zeros(1, 200, 4), heads(200, 4, batch=(1,))[2]
    k[0, 190] = 300.0
    found = block_sparse_attention(q, k, v, torch.arange(13)[None, None], size=16, backend=backend)
    torch.testing.assert_close(found, v[:, 190:191].expand(1, 16, 4))


def test_not_a_number_is_not_hidden() -> None:
    q, k, v = heads(32, 16)
    for broken in (q, k, v):
        broken[0, 0, 3, 0] = torch.nan
        kept = torch.zeros(2, 3, 2, 1, dtype=torch.int64)
        assert block_sparse_attention(q, k, v, kept, size=16, backend="numba")[0, 0, 3].isnan().any()
        broken[0, 0, 3, 0] = 0.0


def test_views_without_order_in_memory_are_read_as_they_are() -> None:
    qkv = torch.randn(1, 50, 3, 2, 16, generator=torch.Generator().manual_seed(0))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    kept = some_blocks(50, 50, 16, 2, batch=(1, 2))
    found = block_sparse_attention(q, k, v, kept, size=16)
    assert torch.equal(found, block_sparse_attention(q.contiguous(), k.contiguous(), v.contiguous(), kept, size=16))


def test_the_number_of_threads_changes_no_bit() -> None:
    q, k, v = heads(200, 16)
    kept = some_blocks(200, 200, 16, 4)
    with threads(1):
        one = block_sparse_attention(q, k, v, kept, size=16)
    with threads(3):
        assert torch.equal(one, block_sparse_attention(q, k, v, kept, size=16))


def test_half_precision_is_computed_in_single_and_comes_back_in_half() -> None:
    q, k, v = (x.bfloat16() for x in heads(40, 16))
    kept = some_blocks(40, 40, 16, 2)
    found = block_sparse_attention(q, k, v, kept, size=16)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), dense(q, k, v, kept, 16), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("n", [8, 11])
def test_gradients(n: int) -> None:
    leaves = [x.double().requires_grad_() for x in heads(n, 2, batch=(2,))]
    kept = some_blocks(n, n, 4, 2, batch=(2,))
    assert torch.autograd.gradcheck(lambda *x: block_sparse_attention(*x, kept, size=4), leaves)


@on_both
def test_gradients_in_single_precision_are_those_of_masked_attention(backend: Backend) -> None:
    leaves = [x.requires_grad_() for x in heads(75, 16)]
    kept, target = some_blocks(75, 75, 16, 2), heads(75, 16, seed=5)[0]
    found = torch.autograd.grad(block_sparse_attention(*leaves, kept, size=16, backend=backend), leaves, target)
    wanted = torch.autograd.grad(dense(*leaves, kept, 16), leaves, target.double())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_sees_the_same_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    flex = pytest.importorskip("torch.nn.attention.flex_attention")
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(block_sparse_cuda, "_flex", lambda: flex.flex_attention)  # as it is where nothing is compiled
    q, k, v = heads(150, 16, batch=(3,))
    kept = some_blocks(150, 150, 64, 2, batch=(3,))
    found = block_sparse_cuda.attend(q, k, v, kept, 64)
    torch.testing.assert_close(found.double(), dense(q, k, v, kept, 64), rtol=0, atol=3e-6)
    mask = block_sparse_cuda.block_mask(kept, n_queries=150, n_keys=150, size=64)
    seen = torch.zeros(1, 3, 3, 3, dtype=torch.int32).scatter_(-1, kept[None], 1)
    assert torch.equal(mask.to_dense(), seen)


def test_a_backend_that_cannot_says_so() -> None:
    q, k, v = heads(20)
    kept = some_blocks(20, 20, 10, 1)
    with pytest.raises(UsageError, match="blocks of 10"):
        block_sparse_attention(q, k, v, kept, size=10, backend="numba")
    with pytest.raises(UsageError, match="flex cannot"):
        block_sparse_attention(q, k, v, kept, size=10, backend="flex")
    found = block_sparse_attention(q, k, v, kept, size=10)
    torch.testing.assert_close(found.double(), dense(q, k, v, kept, 10), rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (torch.zeros(2, 3, 2, 1, dtype=torch.int64), "do not fit the queries"),
        (torch.zeros(2, 1, 3, 1, dtype=torch.int64), "do not fit the queries"),
        (torch.zeros(2, 3, 3, 0, dtype=torch.int64), "do not fit the queries"),
        (torch.full((2, 3, 3, 1), 3), "do not exist; got: 3 to 3; expected: 0 to 2"),
        (torch.full((2, 3, 3, 1), -1), "do not exist"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_kept_blocks_that_cannot_be_are_refused(kept: Tensor, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        block_sparse_attention(*heads(40), kept, size=16)


MISFITS = [heads(40, 7)[0], heads(40, batch=(3,))[0], torch.ones(8)]
SHORT = heads(39)[0]  # as queries it would be fine


@pytest.mark.parametrize(
    ("place", "wrong"), [*((place, one) for place in range(3) for one in MISFITS), (1, SHORT), (2, SHORT)]
)
@pytest.mark.usefixtures("without_shape_checks")
def test_shapes_that_do_not_fit_are_refused(place: int, wrong: Tensor) -> None:
    inputs = heads(40)
    inputs[place] = wrong
    with pytest.raises(ShapeError, match="do not fit each other"):
        block_sparse_attention(*inputs, some_blocks(40, 40, 16, 1), size=16)
    with pytest.raises(ShapeError, match="do not fit each other"):
        linear_attention(*inputs)


def test_chosen_blocks_are_the_ones_with_the_largest_mean_products() -> None:
    q, k, _ = heads(50, 16)
    kept = choose_blocks(q, k, 16, 2)
    means = [torch.stack([x[..., at : at + 16, :].mean(-2) for at in range(0, 50, 16)], -2) for x in (q, k)]
    wanted = (means[0] @ means[1].mT).topk(2).indices.sort(-1).values
    assert torch.equal(kept, wanted)
