from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import DPT, alive

from recon3d.feedforward.layers.dpt import Dpt, Frame, FusionBlock, ResidualUnit, in_chunks, output_layers, resized

FRAME = Frame(28, 42)


@pytest.fixture
def taps(generator: torch.Generator) -> list[torch.Tensor]:
    return [torch.randn(3, 6, 32, generator=generator) for _ in range(4)]


def dpt(**flags: bool) -> Dpt:
    model = Dpt(replace(DPT, **flags))
    alive(model)
    return model


def test_the_four_maps_have_their_sizes(taps: list[torch.Tensor]) -> None:
    maps = dpt().laterals(taps, FRAME)
    assert [tuple(one.shape) for one in maps] == [(3, 8, 8, 12), (3, 8, 4, 6), (3, 8, 2, 3), (3, 8, 1, 2)]


def test_fusion_ends_at_eight_times_the_patch_grid(taps: list[torch.Tensor]) -> None:
    model = dpt()
    fused = model.fused(model.laterals(taps, FRAME))
    assert fused.shape == (3, 8, 16, 24)
    assert model.full_size(fused, FRAME).shape == (3, 4, 28, 42)


@pytest.mark.parametrize("rectified", [True, False])
def test_the_skip_of_a_residual_unit(generator: torch.Generator, rectified: bool) -> None:
    """VGGT adds the rectified input, because its ReLU works in place; DA3 adds the input."""
    unit = ResidualUnit(2, rectified)
    x = torch.randn(1, 2, 3, 3, generator=generator)
    branch = unit.conv2(torch.relu(unit.conv1(torch.relu(x))))
    assert torch.allclose(unit(x), branch + (torch.relu(x) if rectified else x), atol=1e-6)


def test_the_input_of_a_residual_unit_stays_as_it_is(generator: torch.Generator) -> None:
    x = torch.randn(1, 2, 3, 3, generator=generator)
    before = x.clone()
    ResidualUnit(2, True)(x)
    assert torch.equal(x, before)


def test_the_coarsest_fusion_block_has_one_unit() -> None:
    assert not any("resConfUnit1" in name for name in FusionBlock(DPT, lateral=False).state_dict())
    assert any("resConfUnit1" in name for name in FusionBlock(DPT).state_dict())


def test_a_fusion_block_refines_the_finer_map_and_adds_it(generator: torch.Generator) -> None:
    block = FusionBlock(DPT)
    coarse, finer = torch.randn(2, 1, 8, 3, 3, generator=generator)
    want = block.out_conv(resized(block.resConfUnit2(coarse + block.resConfUnit1(finer)), (5, 6)))
    assert torch.allclose(block(coarse, finer, (5, 6)), want)


def test_resizing_keeps_the_corners(generator: torch.Generator) -> None:
    x = torch.randn(1, 1, 4, 5, generator=generator)
    y = resized(x, (9, 13))
    assert torch.allclose(y[..., [0, 0, -1, -1], [0, -1, 0, -1]], x[..., [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6)


def test_the_norm_is_shared_and_can_be_left_out(taps: list[torch.Tensor]) -> None:
    normed, bare = dpt(), dpt(token_norm=False)
    assert normed.state_dict().keys() - bare.state_dict().keys() == {"norm.weight", "norm.bias"}
    loud = [1000.0 * tap for tap in taps]
    quiet, noisy = (normed.laterals(some, FRAME)[0] for some in (taps, loud))
    assert torch.allclose(quiet, noisy, rtol=1e-2, atol=1e-3)
    assert (bare.laterals(loud, FRAME)[0].abs().mean() > 100 * bare.laterals(taps, FRAME)[0].abs().mean()).item()


def test_places_are_added_only_where_they_are_wanted(taps: list[torch.Tensor]) -> None:
    x = torch.zeros(1, 8, 4, 6)
    assert torch.equal(dpt(uv=False).placed(x, FRAME), x)
    assert dpt().placed(x, FRAME).abs().sum() > 0


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
def test_chunks_change_nothing(taps: list[torch.Tensor], chunk: int) -> None:
    model = dpt()

    def head(some: list[torch.Tensor], extra: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return model.fused(model.laterals(some, FRAME)), extra + 1

    extra = torch.arange(3.0)
    whole, chunked = head(taps, extra), in_chunks(head, taps, chunk, extra)
    assert torch.allclose(whole[0], chunked[0], atol=1e-5)
    assert torch.equal(chunked[1], extra + 1)


def test_the_last_layers_have_the_names_of_the_checkpoints() -> None:
    layers = output_layers(64, 4)
    assert {name: tuple(one.shape) for name, one in layers.state_dict().items()} == {
        "0.weight": (32, 32, 3, 3),
        "0.bias": (32,),
        "2.weight": (4, 32, 1, 1),
        "2.bias": (4,),
    }


def test_gradients_reach_every_parameter(taps: list[torch.Tensor]) -> None:
    model = dpt()
    model.full_size(model.fused(model.laterals(taps, FRAME)), FRAME).square().sum().backward()
    silent = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert not silent
