"""Queries that look at another number of keys, batches without items, and values that are no numbers, in every mode."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.lite3r.attention import SparseLinearAttention
from recon3d.feedforward.lite3r.blocks import Blocks, choose_blocks
from recon3d.feedforward.lite3r.branches import branches
from recon3d.feedforward.lite3r.conversion import convert
from recon3d.feedforward.lite3r.linear import linear_attention
from recon3d.feedforward.lite3r.options import Mode, SparseOptions

MODES: tuple[Mode, ...] = ("block", "topk", "threeway", "dense_plus_linear", "linear_only")
every_mode = pytest.mark.parametrize("mode", MODES)
SIZE = 16


def heads(
    n: int, m: int, d: int = 16, *, batch: tuple[int, ...] = (1, 2), dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*batch, length, d, generator=generator, dtype=dtype) for length in (n, m, m)]


@pytest.mark.parametrize(("n", "m"), [(5, 70), (70, 5), (64, 33), (1, 200), (200, 1)])
@every_mode
def test_shapes_follow_the_queries(mode: Mode, n: int, m: int) -> None:
    found = branches(*heads(n, m), SparseOptions(mode=mode, block_size=SIZE))
    assert found.linear.shape == (1, 2, n, 16)
    assert (found.sparse is None) == (mode == "linear_only")
    assert found.sparse is None or found.sparse.shape == (1, 2, n, 16)


@pytest.mark.parametrize(("n", "m"), [(5, 70), (70, 5), (64, 33)])
@pytest.mark.parametrize("mode", ["block", "topk", "dense_plus_linear"])
def test_all_keys_are_dense_attention(mode: Mode, n: int, m: int) -> None:
    q, k, v = heads(n, m)
    found = branches(q, k, v, SparseOptions(mode=mode, keep=1.0, block_size=SIZE))
    torch.testing.assert_close(found.sparse, scaled_dot_product_attention(q, k, v), rtol=0, atol=2e-6)
    wanted = linear_attention(*(x.double() for x in (q, k, v)))
    torch.testing.assert_close(found.linear.double(), wanted, rtol=0, atol=1e-5)


def test_the_share_is_one_of_the_keys_not_of_the_queries() -> None:
    """With one block of queries and ten of keys, 0.3 keeps three: as many as for ten blocks of queries."""
    q, k, v = heads(10, 10 * SIZE)
    options = SparseOptions(keep=0.3, block_size=SIZE)
    kept = choose_blocks(q, k, SIZE, 3)
    seen = torch.zeros(1, 2, 1, 10, dtype=torch.bool).scatter_(-1, kept, True).repeat_interleave(SIZE, -1)
    wanted = scaled_dot_product_attention(q, k, v, attn_mask=seen.expand(1, 2, 10, 10 * SIZE))
    torch.testing.assert_close(branches(q, k, v, options).sparse, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", ["block", "threeway"])
def test_literal_padding_fills_queries_and_keys_each_to_their_own_blocks(mode: Mode) -> None:
    q, k, v = heads(20, 50)
    options = SparseOptions(mode=mode, block_size=SIZE, keep=1.0, padding="literal")
    filled = [Blocks(x.shape[-2], SIZE).padded(x) for x in (q, k, v)]
    masked = branches(*filled, SparseOptions(mode=mode, block_size=SIZE, keep=1.0))
    found = branches(q, k, v, options)
    torch.testing.assert_close(found.sparse, masked.sparse[..., :20, :])


def test_an_attention_module_takes_other_keys() -> None:
    module = SparseLinearAttention(32, 2, options=SparseOptions(keep=1.0, block_size=SIZE))
    q, k, v = heads(7, 60)
    torch.nn.init.zeros_(module.proj_lin.weight)
    torch.testing.assert_close(module.attend(q, k, v), scaled_dot_product_attention(q, k, v), rtol=0, atol=2e-6)


@every_mode
@pytest.mark.parametrize("batch", [(0, 2), (3, 0), (0,)])
def test_a_batch_without_items_stays_one(mode: Mode, batch: tuple[int, ...]) -> None:
    found = branches(*heads(40, 40, batch=batch), SparseOptions(mode=mode, block_size=SIZE))
    assert found.linear.shape == (*batch, 40, 16)


@every_mode
@pytest.mark.parametrize("batch", [(), (1,), (2, 1, 3)])
def test_any_number_of_batch_axes(mode: Mode, batch: tuple[int, ...]) -> None:
    inputs = heads(40, 40, batch=batch)
    found = branches(*inputs, SparseOptions(mode=mode, block_size=SIZE))
    flat = branches(*(x.reshape(1, -1, 40, 16) for x in inputs), SparseOptions(mode=mode, block_size=SIZE))
    torch.testing.assert_close(found.linear, flat.linear.reshape(*batch, 40, 16))
    if found.sparse is not None:
        torch.testing.assert_close(found.sparse, flat.sparse.reshape(*batch, 40, 16))


@every_mode
@pytest.mark.parametrize("place", [0, 1, 2])
def test_not_a_number_is_never_hidden_and_never_leaves_its_head(mode: Mode, place: int) -> None:
    inputs = heads(40, 40)
    inputs[place][0, 0, 3, 2] = torch.nan
    found = branches(*inputs, SparseOptions(mode=mode, block_size=SIZE, keep=0.5))
    whole = found.linear if found.sparse is None else found.sparse + found.linear
    rows = whole.isnan().any(-1)[0]
    assert rows[0].any() and not rows[1].any()
    if place == 0:
        assert rows[0].tolist() == [row == 3 for row in range(40)]


@pytest.mark.parametrize("n", [1000, 100_000])
def test_very_long_sequences_lose_no_digits_in_the_linear_branch(n: int) -> None:
    q, k, v = heads(20, n, 8, batch=(1, 1))
    wanted = linear_attention(*(x.double() for x in (q, k, v)))
    scale = wanted.abs().max()
    assert (linear_attention(q, k, v) - wanted).abs().max() < 3e-5 * scale
    ones = linear_attention(q, k, torch.ones_like(v))
    torch.testing.assert_close(ones, torch.ones_like(ones), rtol=0, atol=1e-6)


@pytest.mark.parametrize("d", [65, 128, 200])
def test_wide_heads(d: int) -> None:
    q, k, v = heads(70, 90, d)
    wanted = linear_attention(*(x.double() for x in (q, k, v)))
    torch.testing.assert_close(linear_attention(q, k, v).double(), wanted, rtol=0, atol=1e-5)
    found = branches(q, k, v, SparseOptions(keep=1.0, block_size=SIZE))
    torch.testing.assert_close(found.sparse, scaled_dot_product_attention(q, k, v), rtol=0, atol=3e-6)


def test_a_module_with_the_linear_branch_alone_has_no_projection_in_its_way() -> None:
    module = SparseLinearAttention(32, 2, options=SparseOptions(mode="linear_only"))
    torch.nn.init.constant_(module.proj_lin.weight, torch.nan)  # not even looked at
    q, k, v = heads(40, 40)
    torch.testing.assert_close(module.attend(q, k, v), linear_attention(q, k, v))


@pytest.mark.parametrize("mode", ["block", "threeway", "topk", "dense_plus_linear"])
def test_the_projection_acts_on_the_linear_branch_of_every_head_alike(mode: Mode) -> None:
    module = SparseLinearAttention(32, 2, options=SparseOptions(mode=mode, keep=0.5, block_size=SIZE))
    torch.nn.init.normal_(module.proj_lin.weight)
    q, k, v = heads(70, 70)
    plain = branches(q, k, v, module.options)
    wanted = plain.sparse + plain.linear @ module.proj_lin.weight.detach().T
    torch.testing.assert_close(module.attend(q, k, v).detach(), wanted, rtol=1e-4, atol=1e-5)


def test_both_projections_are_learned_where_there_are_two() -> None:
    module = SparseLinearAttention(32, 2, options=SparseOptions(keep=0.5, block_size=SIZE, project_sparse=True))
    q, k, v = heads(70, 70)
    module.attend(q, k, v).square().sum().backward()
    assert module.proj_lin.weight.grad.abs().max() > 0 and module.proj_topk.weight.grad.abs().max() > 0
    plain = branches(q, k, v, module.options)
    wanted = plain.sparse @ module.proj_topk.weight.T + plain.linear @ module.proj_lin.weight.T
    torch.testing.assert_close(module.attend(q, k, v), wanted, rtol=1e-4, atol=1e-5)


def test_projections_keep_the_type_and_place_of_the_attention() -> None:
    dense = torch.nn.Sequential(SparseLinearAttention(32, 2)).double()
    assert dense[0].proj_lin.weight.dtype == torch.float64

    narrow = convert(torch.nn.Sequential(Attention(32, 2)).bfloat16())
    assert narrow[0].proj_lin.weight.dtype == torch.bfloat16
    assert 5e-4 < narrow[0].proj_lin.weight.float().std() < 2e-3
    assert narrow[0].lam.item() == 0.5 and not narrow[0].lam.requires_grad
