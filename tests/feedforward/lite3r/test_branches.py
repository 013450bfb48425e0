"""The branches of sparse linear attention: what they must equal, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import elu, scaled_dot_product_attention

from recon3d.core.errors import UsageError
from recon3d.feedforward.lite3r.blocks import Blocks
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.linear import linear_attention
from recon3d.feedforward.lite3r.options import Mode, SparseOptions
from recon3d.feedforward.lite3r.threeway import classify_blocks, marginal_attention
from recon3d.feedforward.lite3r.tokens import topk_attention

SOFTMAX_MODES: tuple[Mode, ...] = ("block", "topk", "threeway", "dense_plus_linear")


def heads(n: int, d: int = 16, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 2, n, d, generator=generator, dtype=dtype) for _ in range(3)]


def slow_linear(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """Linear attention as a dense matrix of weights, of which only the ``seen`` count."""
    weights = (elu(q.double()) + 1) @ (elu(k.double()) + 1).mT * seen
    return weights @ v.double() / (weights.sum(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("mode", ["block", "topk", "dense_plus_linear"])
def test_keeping_everything_is_dense_attention(mode: Mode) -> None:
    q, k, v = heads(53)
    found = branches(q, k, v, SparseOptions(mode=mode, keep=1.0, block_size=16))
    torch.testing.assert_close(found.sparse, scaled_dot_product_attention(q, k, v), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", SOFTMAX_MODES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 100])
def test_weights_sum_to_one_for_any_length(mode: Mode, n: int) -> None:
    q, k, v = heads(n)
    found = branches(q, k, torch.ones_like(v), SparseOptions(mode=mode, keep=0.2, block_size=16))
    torch.testing.assert_close(found.sparse, torch.ones_like(v))
    if mode != "threeway":  # where every block is critical or negligible, nothing is marginal
        torch.testing.assert_close(found.linear, torch.ones_like(v), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("d", [4, 16, 24])
def test_linear_attention_is_a_dense_matrix_of_weights(n: int, d: int) -> None:
    q, k, v = heads(n, d)
    projection = torch.randn(d, d, generator=torch.Generator().manual_seed(1))
    wanted = slow_linear(q, k, v, torch.ones(n, n)) @ projection.double().mT
    torch.testing.assert_close(linear_attention(q, k, v, projection=projection).double(), wanted, rtol=0, atol=1e-5)
    plain = linear_attention(*(x.requires_grad_() for x in (q, k, v)))
    torch.testing.assert_close(plain.double(), slow_linear(q, k, v, torch.ones(n, n)), rtol=0, atol=1e-5)


def test_linear_attention_is_differentiable() -> None:
    leaves = [x.requires_grad_() for x in heads(5, 3, dtype=torch.float64)]
    projection = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k, v, p: linear_attention(q, k, v, projection=p), (*leaves, projection))


@pytest.mark.parametrize("value", [-300.0, 300.0])
def test_extreme_features_stay_finite(value: float) -> None:
    q, k, v = heads(20)
    found = linear_attention(torch.full_like(q, value), k, v)
    assert found.isfinite().all()


def test_single_keys_are_the_largest_scores() -> None:
    q, k, v = heads(30, dtype=torch.float64)
    scores = q @ k.mT / 4.0
    least = scores.topk(7, dim=-1).values[..., -1:]
    wanted = scores.masked_fill(scores < least, -torch.inf).softmax(-1) @ v
    torch.testing.assert_close(topk_attention(q, k, v, 7), wanted)


def test_blocks_of_one_token_are_single_keys_where_the_query_block_is_one() -> None:
    q, k, v = heads(20, dtype=torch.float64)
    options = {"keep": 0.3}  # of 20: floor and round agree
    whole = branches(q, k, v, SparseOptions(mode="block", block_size=1, **options))
    single = branches(q, k, v, SparseOptions(mode="topk", **options))
    torch.testing.assert_close(whole.sparse, single.sparse)


def test_gradients_of_single_keys() -> None:
    leaves = [x.requires_grad_() for x in heads(6, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: topk_attention(*x, 3), leaves)


@pytest.mark.parametrize("mode", ["block", "threeway"])
def test_masked_padding_differs_from_literal_padding_only_where_there_is_some(mode: Mode) -> None:
    for n, same in ((48, True), (50, False)):
        found = [
            branches(*heads(n), SparseOptions(mode=mode, block_size=16, keep=0.7, padding=padding))
            for padding in ("masked", "literal")
        ]
        assert torch.equal(found[0].sparse, found[1].sparse) == same


def test_three_classes_of_blocks_share_nothing() -> None:
    q, k, _ = heads(150)
    critical, marginal = classify_blocks(q, k, 16, n_kept=2, n_dropped=3)
    kept = torch.zeros_like(marginal).scatter_(-1, critical, True)
    assert not (kept & marginal).any()
    assert (marginal.sum(-1) == 10 - 2 - 3).all()
    scores = Blocks(150, 16).means(q) @ Blocks(150, 16).means(k).mT
    lowest = scores.masked_fill(kept | marginal, torch.inf).amin(-1)
    assert (scores.masked_fill(~marginal, torch.inf).amin(-1) > lowest).all()


def test_marginal_attention_is_linear_attention_over_those_blocks() -> None:
    q, k, v = heads(70)
    _, marginal = classify_blocks(q, k, 16, n_kept=1, n_dropped=1)
    seen = marginal.repeat_interleave(16, -1).repeat_interleave(16, -2)[..., :70, :70]
    torch.testing.assert_close(
        marginal_attention(q, k, v, marginal, 16).double(), slow_linear(q, k, v, seen), rtol=0, atol=1e-5
    )


def test_no_marginal_blocks_give_zero() -> None:
    q, k, v = heads(20)
    assert not marginal_attention(q, k, v, torch.zeros(1, 2, 2, 2, dtype=torch.bool), 16).any()


def test_blocks_are_cut_joined_and_averaged() -> None:
    x = heads(21)[0]
    blocks = Blocks(21, 8)
    assert (blocks.count, blocks.n_padded) == (3, 24)
    assert torch.equal(blocks.join(blocks.split(x)), x)
    torch.testing.assert_close(blocks.means(x)[..., 2, :], x[..., 16:, :].mean(-2))
    torch.testing.assert_close(blocks.means(x)[..., 0, :], x[..., :8, :].mean(-2))


@pytest.mark.parametrize(
    ("options", "n", "kept"),
    [
        (SparseOptions(keep=0.3), 10, 3),
        (SparseOptions(keep=0.01), 10, 1),
        (SparseOptions(keep=1.0), 1, 1),
        (SparseOptions(keep=0.5, max_blocks=4), 100, 4),
        (SparseOptions(keep=0.5, max_blocks=4), 6, 3),
        (SparseOptions(mode="threeway", keep=0.19), 10, 1),
    ],
)
def test_kept_blocks(options: SparseOptions, n: int, kept: int) -> None:
    assert options.kept_blocks(n) == kept


@pytest.mark.parametrize("bad", [{"keep": 0.0}, {"keep": 1.1}, {"drop": -0.1}, {"block_size": 0}, {"max_blocks": 0}])
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SparseOptions(**bad)
