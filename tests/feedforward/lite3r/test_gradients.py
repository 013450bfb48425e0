"""Gradients of the block-sparse softmax: every back end, every shape, and however they arrive."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recon3d.core.kernels import threads
from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention
from recon3d.feedforward.lite3r.blocks import Blocks
from recon3d.feedforward.lite3r.options import Backend

on_both = pytest.mark.parametrize("backend", ["numba", "torch"])


def case(n: int, m: int, d: int, size: int, n_kept: int, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Leaves and kept blocks."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [torch.randn(2, length, d, generator=generator).requires_grad_() for length in (n, m, m)]
    n_blocks = Blocks(m, size).count
    draws = torch.rand(2, Blocks(n, size).count, n_blocks, generator=generator)
    return leaves, draws.topk(min(n_kept, n_blocks), -1).indices


def wanted(leaves: list[Tensor], kept: Tensor, size: int, target: Tensor) -> tuple[Tensor, ...]:
    """Gradients of masked dense attention in double precision."""
    q, k, _ = leaves
    seen = torch.zeros(*kept.shape[:-1], Blocks(k.shape[-2], size).count, dtype=torch.bool).scatter_(-1, kept, True)
    mask = seen.repeat_interleave(size, -1).repeat_interleave(size, -2)[..., : q.shape[-2], : k.shape[-2]]
    wide = [one.detach().double().requires_grad_() for one in leaves]
    return torch.autograd.grad(scaled_dot_product_attention(*wide, attn_mask=mask), wide, target.double())


@on_both
@settings(max_examples=20)
@given(
    n=st.integers(1, 100),
    m=st.integers(1, 100),
    d=st.sampled_from([1, 4, 24, 65]),
    size=st.sampled_from([16, 48]),
    n_kept=st.integers(1, 4),
    seed=st.integers(0, 3),
)
def test_any_shape(backend: Backend, n: int, m: int, d: int, size: int, n_kept: int, seed: int) -> None:
    leaves, kept = case(n, m, d, size, n_kept, seed)
    target = torch.randn(2, n, d, generator=torch.Generator().manual_seed(9))
    found = torch.autograd.grad(block_sparse_attention(*leaves, kept, size=size, backend=backend), leaves, target)
    for one, other in zip(found, wanted(leaves, kept, size, target), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=2e-5)


@on_both
def test_keys_that_nobody_keeps_have_none(backend: Backend) -> None:
    leaves, _ = case(40, 64, 8, 16, 1)
    kept = torch.full((2, 3, 1), 1)
    block_sparse_attention(*leaves, kept, size=16, backend=backend).square().sum().backward()
    for one in leaves[1:]:
        assert not one.grad[:, :16].any() and not one.grad[:, 32:].any()
        assert one.grad[:, 16:32].abs().amax(-1).min() > 0


@on_both
def test_a_gradient_that_is_one_number_everywhere(backend: Backend) -> None:
    """``sum`` hands back a view of a single number, without an order in memory."""
    leaves, kept = case(40, 40, 8, 16, 2)
    block_sparse_attention(*leaves, kept, size=16, backend=backend).sum().backward()
    for one, other in zip(leaves, wanted(leaves, kept, 16, torch.ones(2, 40, 8)), strict=True):
        torch.testing.assert_close(one.grad.double(), other, rtol=1e-4, atol=1e-5)


@on_both
def test_a_gradient_with_another_order_in_memory(backend: Backend) -> None:
    leaves, kept = case(40, 40, 8, 16, 2)
    target = torch.randn(8, 40, 2, generator=torch.Generator().manual_seed(4)).permute(2, 1, 0)
    found = torch.autograd.grad(block_sparse_attention(*leaves, kept, size=16, backend=backend), leaves, target)
    for one, other in zip(found, wanted(leaves, kept, 16, target), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@on_both
@pytest.mark.parametrize("learns", [0, 1, 2])
def test_only_what_learns_gets_one(backend: Backend, learns: int) -> None:
    leaves, kept = case(40, 40, 8, 16, 2)
    for place, one in enumerate(leaves):
        one.requires_grad_(place == learns)
    block_sparse_attention(*leaves, kept, size=16, backend=backend).square().sum().backward()
    assert [one.grad is not None for one in leaves] == [place == learns for place in range(3)]


@on_both
def test_nothing_is_kept_for_a_backward_pass_that_cannot_come(backend: Backend) -> None:
    leaves, kept = case(40, 40, 8, 16, 2)
    with torch.no_grad():
        assert not block_sparse_attention(*leaves, kept, size=16, backend=backend).requires_grad


@on_both
def test_second_derivatives_are_refused_and_not_wrong(backend: Backend) -> None:
    leaves, kept = case(20, 20, 4, 16, 1)
    out = block_sparse_attention(*leaves, kept, size=16, backend=backend).square().sum()
    (first,) = torch.autograd.grad(out, leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_the_number_of_threads_changes_no_bit() -> None:
    found = []
    for count in (1, 3):
        leaves, kept = case(200, 200, 16, 16, 3)
        with threads(count):
            block_sparse_attention(*leaves, kept, size=16, backend="numba").square().sum().backward()
        found.append([one.grad for one in leaves])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@on_both
def test_values_share_what_the_queries_hand_down(backend: Backend) -> None:
    """Weights sum to one, so the gradients of the values sum to those of the results."""
    leaves, kept = case(40, 64, 8, 16, 2)
    target = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(1))
    block_sparse_attention(*leaves, kept, size=16, backend=backend).backward(target)
    torch.testing.assert_close(leaves[2].grad.sum(1), target.sum(1), rtol=1e-4, atol=1e-4)


@on_both
def test_equal_values_leave_nothing_for_queries_and_keys(backend: Backend) -> None:
    """A mean of equal values is that value, whatever the weights."""
    leaves, kept = case(40, 64, 8, 16, 2)
    with torch.no_grad():
        leaves[2].copy_(leaves[2][:, :1].expand(-1, 64, -1))
    block_sparse_attention(*leaves, kept, size=16, backend=backend).square().sum().backward()
    assert leaves[0].grad.abs().max() < 1e-5 and leaves[1].grad.abs().max() < 1e-4


@on_both
def test_very_peaked_weights_have_small_finite_gradients(backend: Backend) -> None:
    leaves, kept = case(32, 32, 8, 16, 2)
    with torch.no_grad():
        leaves[0].mul_(1e3)
    block_sparse_attention(*leaves, kept, size=16, backend=backend).sum().backward()
    assert all(one.grad.isfinite().all() for one in leaves)
    torch.testing.assert_close(leaves[2].grad.sum(1), torch.full((2, 8), 32.0), rtol=1e-4, atol=1e-3)
