from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import VIT, alive

from recon3d.feedforward.layers.vit import PatchEmbed, VisionTransformer, VitOptions


def vit(options: VitOptions = VIT) -> VisionTransformer:
    model = VisionTransformer(options)
    alive(model)
    return model


@pytest.fixture
def images(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(2, 3, 28, 42, generator=generator)


def test_patches_run_along_rows(images: torch.Tensor) -> None:
    embed = PatchEmbed(14, 5)
    patches = embed(images)
    assert patches.shape == (2, 6, 5)
    one = (images[0, :, 14:28, 14:28] * embed.proj.weight).sum((1, 2, 3)) + embed.proj.bias
    assert torch.allclose(patches[0, 4], one, atol=1e-5)


def test_token_order_is_class_registers_patches(images: torch.Tensor) -> None:
    model = vit()
    tokens = model.tokens(images)
    assert tokens.shape == (2, 1 + 2 + 6, 16)
    assert torch.allclose(tokens[1, 0], model.cls_token[0, 0] + model.pos_embed[0, 0])
    assert torch.equal(tokens[1, 1:3], model.register_tokens[0])  # registers have no position


def test_the_table_is_used_as_it_is_on_its_own_grid(generator: torch.Generator) -> None:
    model = vit(replace(VIT, n_registers=0))
    square = torch.rand(1, 3, 42, 42, generator=generator)
    assert torch.allclose(model.tokens(square)[:, 1:], model.patch_embed(square) + model.pos_embed[:, 1:])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_resampling_keeps_a_constant_table(images: torch.Tensor, antialias: bool, offset: float) -> None:
    model = vit(replace(VIT, n_registers=0, antialias=antialias, grid_offset=offset))
    with torch.no_grad():
        model.pos_embed[:, 1:] = 3.0
    assert torch.allclose(model.tokens(images)[:, 1:], model.patch_embed(images) + 3.0, atol=1e-5)


@pytest.mark.parametrize("size", [(14, 14), (28, 42), (56, 70), (14, 84)])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_any_grid_gets_its_table(size: tuple[int, int], offset: float) -> None:
    model = vit(replace(VIT, grid_offset=offset))
    rows, cols = size[0] // 14, size[1] // 14
    assert model.tokens(torch.zeros(1, 3, *size)).shape == (1, 3 + rows * cols, 16)


def test_the_flags_of_the_two_models_differ_where_the_table_shrinks(images: torch.Tensor) -> None:
    vggt, da3 = (vit(replace(VIT, antialias=flag, grid_offset=offset)) for flag, offset in ((True, 0.0), (False, 0.1)))
    assert not torch.allclose(vggt.tokens(images), da3.tokens(images), atol=1e-3)
    assert torch.equal(vggt.tokens(images)[:, :3], da3.tokens(images)[:, :3])  # the class token stays


def test_output_is_the_normalised_patches(images: torch.Tensor) -> None:
    model = vit()
    with torch.no_grad():
        model.norm.weight.fill_(1.0)
        model.norm.bias.zero_()
    out = model(images)
    assert out.shape == (2, 6, 16)
    assert torch.allclose(out.mean(-1), torch.zeros(2, 6), atol=1e-5)
    assert torch.allclose(out.var(-1, correction=0), torch.ones(2, 6), atol=1e-3)


def test_images_do_not_see_each_other(images: torch.Tensor) -> None:
    model = vit()
    assert torch.allclose(model(images)[1:], model(images[1:]), atol=1e-5)


def test_queries_are_normalised_from_their_block_on() -> None:
    model = vit(replace(VIT, depth=3, qk_norm_start=1))
    assert [block.attn.qk_norm for block in model.blocks] == [False, True, True]


def test_optional_tokens_exist_only_where_they_are_asked_for() -> None:
    bare = VisionTransformer(replace(VIT, n_registers=0)).state_dict()
    full = VisionTransformer(replace(VIT, has_mask_token=True)).state_dict()
    assert "register_tokens" not in bare and "mask_token" not in bare
    assert full["mask_token"].shape == (1, 16)
    assert VisionTransformer(VIT).n_special == 3
    assert VisionTransformer(replace(VIT, n_registers=0)).n_special == 1


def test_the_table_learns(images: torch.Tensor) -> None:
    model = vit()
    model(images).square().sum().backward()
    assert model.pos_embed.grad is not None and (model.pos_embed.grad.abs().sum(-1) > 0).all()
