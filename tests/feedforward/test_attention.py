from __future__ import annotations

import pytest
import torch

from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.layers.rope import grid_positions, rope_2d


@pytest.fixture
def tokens(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 7, 16, generator=generator)


def test_attention_is_the_softmax_of_the_formula(tokens: torch.Tensor) -> None:
    module = Attention(16, 2, qk_norm=True)
    q, k, v = module.heads(tokens)
    weights = torch.softmax(q @ k.mT / 8**0.5, dim=-1)
    assert torch.allclose(module.attend(q, k, v), weights @ v, atol=1e-6)
    assert torch.allclose(module(tokens), module.proj((weights @ v).transpose(1, 2).flatten(2)), atol=1e-6)


def test_heads_follow_the_official_layout(tokens: torch.Tensor) -> None:
    """One linear layer holds q, k and v in this order, each with its heads one after another."""
    module = Attention(16, 2)
    whole = module.qkv(tokens)
    for part, got in enumerate(module.heads(tokens)):
        assert torch.equal(got[:, 1], whole[..., 16 * part + 8 : 16 * part + 16])


def test_normalised_queries_have_unit_variance(tokens: torch.Tensor) -> None:
    q, k, _ = Attention(16, 2, qk_norm=True).heads(tokens)
    for part in (q, k):
        assert torch.allclose(part.var(-1, correction=0), torch.ones(2, 2, 7), atol=1e-2)


def test_tokens_may_come_in_any_order_without_positions(tokens: torch.Tensor) -> None:
    module, order = Attention(16, 2), torch.randperm(7)
    assert torch.allclose(module(tokens[:, order]), module(tokens)[:, order], atol=1e-6)


def test_a_subclass_may_replace_the_inner_step(tokens: torch.Tensor) -> None:
    class Copy(Attention):
        def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return v

    module = Copy(16, 2)
    assert torch.allclose(module(tokens), module.proj(module.qkv(tokens)[..., 32:]), atol=1e-6)


def test_rope_is_a_rotation_and_position_zero_is_none(generator: torch.Generator) -> None:
    rope = rope_2d(grid_positions(2, 3, n_special=1), 16)
    x = torch.randn(2, 3, 7, 16, generator=generator)
    turned = rope.rotate(x)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1], x[:, :, 1], atol=0.1)


def test_rope_sees_only_how_far_two_tokens_are_apart(generator: torch.Generator) -> None:
    """The product of two rotated vectors depends on the difference of their positions alone."""
    q, k = torch.randn(2, 1, 16, generator=generator, dtype=torch.float64)

    def product(at: list[int], to: list[int]) -> torch.Tensor:
        rope = rope_2d(torch.tensor([at, to]), 16)
        one, two = rope.rotate(torch.cat([q, k]))
        return one @ two

    assert torch.allclose(product([1, 4], [3, 2]), product([6, 7], [8, 5]), atol=1e-5)
    assert not torch.allclose(product([1, 4], [3, 2]), product([1, 4], [2, 3]), atol=1e-3)


def test_rope_turns_rows_in_the_first_half_and_columns_in_the_second() -> None:
    rope = rope_2d(torch.tensor([[2, 0], [0, 2]]), 8, base=100.0)
    assert torch.allclose(rope.cos[0], torch.tensor([2.0, 0.2, 2.0, 0.2, 0, 0, 0, 0]).cos(), atol=1e-6)
    assert torch.equal(rope.cos[1], rope.cos[0].roll(4))


def test_positions_run_along_rows_and_repeat_for_every_view() -> None:
    positions = grid_positions(2, 3, n_special=2)
    assert positions.tolist() == [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]
    rope = rope_2d(positions, 8).repeated(3)
    assert rope.cos.shape == (24, 8)
    assert torch.equal(rope.sin[8:16], rope.sin[:8])


def test_rotation_keeps_the_type(generator: torch.Generator) -> None:
    rope = rope_2d(grid_positions(1, 2, n_special=0), 8)
    assert rope.rotate(torch.randn(2, 8, generator=generator).bfloat16()).dtype == torch.bfloat16


def test_below_autocast_all_three_have_one_type(tokens: torch.Tensor) -> None:
    """The norms of queries and keys answer in float32 there, and rotations are computed in it."""
    module, rope = Attention(16, 2, qk_norm=True), rope_2d(grid_positions(2, 3, n_special=1), 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert {part.dtype for part in module.heads(tokens)} == {torch.bfloat16}
        assert torch.allclose(module(tokens, rope).float(), module.float()(tokens, rope).float(), atol=0.05)


def test_gradients_of_rotations_are_exact(generator: torch.Generator) -> None:
    rope = rope_2d(grid_positions(2, 2, n_special=1), 8)
    x = torch.randn(1, 5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rope.rotate, (x,), atol=1e-4)
