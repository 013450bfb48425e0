from __future__ import annotations

import math

import pytest
import torch

from recon3d.feedforward.layers.block import Block, BlockOptions, LayerScale, Mlp, SwiGlu


@pytest.fixture
def tokens(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 5, 12, generator=generator)


def test_the_mlp_uses_the_exact_gelu(tokens: torch.Tensor) -> None:
    mlp = Mlp(12, 24)
    hidden = mlp.fc1(tokens)
    gelu = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    assert torch.allclose(mlp(tokens), mlp.fc2(gelu), atol=1e-6)


def test_an_mlp_may_change_the_number_of_channels(tokens: torch.Tensor) -> None:
    assert Mlp(12, 24, 9)(tokens).shape == (2, 5, 9)
    assert Mlp(12, 24)(tokens).shape == tokens.shape


def test_swiglu_gates_one_half_by_the_other(tokens: torch.Tensor) -> None:
    mlp = SwiGlu(12, 48)
    gate, value = mlp.w12(tokens).split(32, dim=-1)
    assert torch.allclose(mlp(tokens), mlp.w3(gate * torch.sigmoid(gate) * value), atol=1e-6)


@pytest.mark.parametrize(("dim", "width"), [(1536, 4096), (12, 32), (10, 32)])
def test_swiglu_takes_two_thirds_of_the_width_in_eights(dim: int, width: int) -> None:
    with torch.device("meta"):
        mlp = SwiGlu(dim, 4 * dim)
    assert mlp.w3.weight.shape == (dim, width)
    assert mlp.w12.weight.shape == (2 * width, dim)


def test_layer_scale_starts_at_its_constant(tokens: torch.Tensor) -> None:
    assert torch.allclose(LayerScale(12, 0.01)(tokens), 0.01 * tokens)


def test_a_block_without_scale_is_the_identity(tokens: torch.Tensor) -> None:
    assert torch.equal(Block(12, 2, BlockOptions(layer_scale=0.0))(tokens), tokens)


def test_a_block_is_two_residual_branches(tokens: torch.Tensor) -> None:
    block = Block(12, 2, BlockOptions(layer_scale=0.5, qk_norm=True))
    x = tokens + 0.5 * block.attn(block.norm1(tokens))
    assert torch.allclose(block(tokens), x + 0.5 * block.mlp(block.norm2(x)), atol=1e-6)


@pytest.mark.parametrize("eps", [1e-6, 1e-5])
def test_the_options_reach_the_norms(eps: float) -> None:
    block = Block(12, 2, BlockOptions(norm_eps=eps, qk_norm=True))
    assert block.norm1.eps == block.norm2.eps == eps
    assert block.attn.q_norm.eps == block.attn.k_norm.eps == 1e-5


def test_the_names_are_the_official_ones() -> None:
    plain, giant = Block(12, 2, BlockOptions(qk_norm=True)), Block(12, 2, BlockOptions(ffn="swiglu"))
    ends = ("norm1", "attn.qkv", "attn.q_norm", "attn.k_norm", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    expected = {f"{name}.{kind}" for name in ends for kind in ("weight", "bias")} | {"ls1.gamma", "ls2.gamma"}
    assert plain.state_dict().keys() == expected
    assert {"mlp.w12.weight", "mlp.w3.bias"} < giant.state_dict().keys()
    assert not any("q_norm" in name for name in giant.state_dict())


def test_gradients_reach_every_parameter_and_are_exact(generator: torch.Generator) -> None:
    block = Block(4, 1, BlockOptions(layer_scale=0.7, qk_norm=True)).double()
    x = torch.randn(1, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))
    block(x).square().sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in block.parameters())
