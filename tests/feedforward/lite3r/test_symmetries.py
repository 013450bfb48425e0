"""What may be moved, added or scaled without a change, in every mode and back end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention
from recon3d.feedforward.lite3r.blocks import Blocks, choose_blocks
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.options import Backend, Mode, SparseOptions

MODES: tuple[Mode, ...] = ("block", "topk", "threeway", "dense_plus_linear", "linear_only")
every_mode = pytest.mark.parametrize("mode", MODES)
softmax_modes = pytest.mark.parametrize("mode", MODES[:-1])
SIZE, N = 16, 80


def heads(n: int = N, d: int = 16, *, seed: int = 0) -> list[Tensor]:
    """Queries, keys and values of two items with two heads; keys and queries of a block are alike."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(2, 2, -(-n // SIZE), d, generator=generator).repeat_interleave(SIZE, 2)[:, :, :n]
    return [centres + 0.5 * torch.randn(2, 2, n, d, generator=generator) for _ in range(3)]


def of(mode: Mode, *, backend: Backend = "auto", keep: float = 0.4) -> Callable[..., Tensor]:
    """The sum of both branches as a function of queries, keys and values."""
    options = SparseOptions(mode=mode, keep=keep, drop=0.2, block_size=SIZE, backend=backend)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = branches(q, k, v, options)
        return found.linear if found.sparse is None else found.sparse + found.linear

    return attend


@every_mode
def test_items_and_heads_know_nothing_of_each_other(mode: Mode) -> None:
    q, k, v = heads()
    whole = of(mode)(q, k, v)
    for item in range(2):
        for head in range(2):
            one = of(mode)(*(x[item : item + 1, head : head + 1] for x in (q, k, v)))
            torch.testing.assert_close(one[0, 0], whole[item, head], rtol=1e-5, atol=1e-6)


@every_mode
def test_moving_whole_blocks_moves_the_result(mode: Mode) -> None:
    q, k, v = heads()
    order = torch.tensor([3, 0, 4, 1, 2])
    places = (order[:, None] * SIZE + torch.arange(SIZE)).flatten()
    moved = of(mode)(*(x[:, :, places] for x in (q, k, v)))
    torch.testing.assert_close(moved, of(mode)(q, k, v)[:, :, places], rtol=1e-4, atol=1e-5)


@every_mode
def test_mixing_keys_within_a_block_changes_nothing(mode: Mode) -> None:
    q, k, v = heads()
    inside = torch.randperm(SIZE, generator=torch.Generator().manual_seed(1))
    places = (torch.arange(N // SIZE)[:, None] * SIZE + inside).flatten()
    torch.testing.assert_close(of(mode)(q, k[:, :, places], v[:, :, places]), of(mode)(q, k, v), rtol=1e-4, atol=1e-5)


@every_mode
def test_mixing_queries_within_a_block_mixes_the_result(mode: Mode) -> None:
    q, k, v = heads()
    inside = torch.randperm(SIZE, generator=torch.Generator().manual_seed(2))
    places = (torch.arange(N // SIZE)[:, None] * SIZE + inside).flatten()
    torch.testing.assert_close(of(mode)(q[:, :, places], k, v), of(mode)(q, k, v)[:, :, places], rtol=1e-4, atol=1e-5)


@every_mode
def test_linear_in_the_values(mode: Mode) -> None:
    q, k, v = heads()
    w = heads(seed=5)[2]
    both = of(mode)(q, k, 2.0 * v - 3.0 * w)
    torch.testing.assert_close(both, 2.0 * of(mode)(q, k, v) - 3.0 * of(mode)(q, k, w), rtol=1e-4, atol=1e-4)


@softmax_modes
def test_a_constant_added_to_all_keys_does_not_change_the_softmax(mode: Mode) -> None:
    q, k, v = heads(64)  # a whole number of blocks: padding has no mean of its own
    options = SparseOptions(mode=mode, keep=0.4, block_size=SIZE)
    shifted = branches(q, k + 0.7, v, options).sparse
    torch.testing.assert_close(shifted, branches(q, k, v, options).sparse, rtol=1e-4, atol=1e-5)


@softmax_modes
@pytest.mark.parametrize("n", [33, 64, 70])
def test_results_are_means_of_values(mode: Mode, n: int) -> None:
    q, k, v = heads(n)
    found = branches(q, k, v, SparseOptions(mode=mode, keep=0.4, block_size=SIZE)).sparse
    assert (found <= v.amax(2, keepdim=True) + 1e-5).all()
    assert (found >= v.amin(2, keepdim=True) - 1e-5).all()


@every_mode
def test_the_same_call_gives_the_same_bits(mode: Mode) -> None:
    q, k, v = heads(70)
    assert torch.equal(of(mode)(q, k, v), of(mode)(q, k, v))


@pytest.mark.parametrize("mode", ["block", "threeway"])
def test_backends_agree(mode: Mode) -> None:
    q, k, v = heads(70)
    numba, torch_ = (of(mode, backend=backend)(q, k, v) for backend in ("numba", "torch"))
    torch.testing.assert_close(numba, torch_, rtol=1e-5, atol=1e-5)


@every_mode
def test_double_precision_agrees_with_single(mode: Mode) -> None:
    q, k, v = heads(70)
    wide = of(mode)(*(x.double() for x in (q, k, v)))
    assert wide.dtype == torch.float64
    torch.testing.assert_close(of(mode)(q, k, v).double(), wide, rtol=1e-4, atol=1e-5)


@every_mode
def test_gradients_flow_to_queries_keys_and_values(mode: Mode) -> None:
    leaves = [x.requires_grad_() for x in heads(40)]
    grads = torch.autograd.grad(of(mode)(*leaves).square().sum(), leaves)
    assert all(one.isfinite().all() and one.abs().max() > 0 for one in grads)


@every_mode
def test_recording_gradients_changes_the_result_by_rounding_only(mode: Mode) -> None:
    q, k, v = heads(40)
    recorded = of(mode)(*(x.clone().requires_grad_() for x in (q, k, v)))
    torch.testing.assert_close(recorded.detach(), of(mode)(q, k, v), rtol=1e-5, atol=1e-6)


def test_blocks_that_are_alike_find_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(1, 6, 32, generator=generator), dim=-1) * 4
    tokens = centres.repeat_interleave(SIZE, 1) + 0.1 * torch.randn(1, 6 * SIZE, 32, generator=generator)
    kept = choose_blocks(tokens, tokens, SIZE, 1)
    assert kept[0, :, 0].tolist() == list(range(6))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_more_keys_than_queries_and_fewer(backend: Backend) -> None:
    q, _, _ = heads(20)
    _, k, v = heads(50)
    kept = choose_blocks(q, k, SIZE, 4)
    assert kept.shape == (2, 2, 2, 4)
    found = block_sparse_attention(q, k, v, kept, size=SIZE, backend=backend)
    torch.testing.assert_close(found, torch.nn.functional.scaled_dot_product_attention(q, k, v), rtol=0, atol=3e-6)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_one_token(backend: Backend) -> None:
    q, k, v = heads(1)
    kept = torch.zeros(2, 2, 1, 1, dtype=torch.int64)
    torch.testing.assert_close(block_sparse_attention(q, k, v, kept, size=SIZE, backend=backend), v)


@pytest.mark.parametrize("n", [1, 16, 17, 95])
def test_blocks_cover_every_token_once(n: int) -> None:
    x = torch.arange(n, dtype=torch.float32)[:, None]
    blocks = Blocks(n, SIZE)
    assert torch.equal(blocks.join(blocks.split(x)), x)
    assert blocks.padded(x).shape == (blocks.n_padded, 1)
    assert blocks.padded(x)[n:].abs().sum() == 0
    assert 0 <= blocks.n_padded - n < SIZE
