from __future__ import annotations

import math

import pytest
import torch
from tiny_networks import TRACK, VGGT, alive

from recon3d.feedforward.layers.dpt import Frame
from recon3d.feedforward.vggt.correlation import Pyramid, sample
from recon3d.feedforward.vggt.track_embedding import displacement_embedding, place_embedding
from recon3d.feedforward.vggt.track_head import Tracker, TrackHead
from recon3d.feedforward.vggt.update_transformer import NormedBlock, UpdateTransformer


@pytest.fixture
def maps(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(2, 3, 8, 6, 9, generator=generator)


def places(*xy: tuple[float, float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(xy, dtype=torch.float32).expand(*like.shape[:2], -1, -1)


def test_values_at_pixels_and_halfway_between_them(maps: torch.Tensor) -> None:
    found = sample(maps, places((0, 0), (8, 5), (3, 2), (3.5, 2), like=maps))
    assert found.shape == (2, 3, 4, 8)
    assert torch.allclose(found[1, 2, 0], maps[1, 2, :, 0, 0], atol=1e-5)
    assert torch.allclose(found[1, 2, 1], maps[1, 2, :, 5, 8], atol=1e-5)
    assert torch.allclose(found[0, 1, 2], maps[0, 1, :, 2, 3], atol=1e-5)
    assert torch.allclose(found[0, 1, 3], maps[0, 1, :, 2, 3:5].mean(-1), atol=1e-5)


def test_outside_is_zero_or_the_border(maps: torch.Tensor) -> None:
    outside = places((-5.0, 2.0), like=maps)
    assert not sample(maps, outside).any()
    assert torch.allclose(sample(maps, outside, padding="border")[0, 0, 0], maps[0, 0, :, 2, 0], atol=1e-5)


def test_a_map_of_one_pixel_can_be_sampled() -> None:
    one = torch.full((1, 1, 2, 1, 1), 3.0)
    assert torch.isfinite(sample(one, torch.zeros(1, 1, 1, 2))).all()


def test_correlation_is_the_scaled_product_in_a_window(maps: torch.Tensor, generator: torch.Generator) -> None:
    features = torch.randn(2, 3, 1, 8, generator=generator)
    found = Pyramid(maps, 1, 1).correlate(features, places((4, 3), like=maps))
    assert found.shape == (2, 3, 1, 9)
    product = torch.einsum("bsf,bsfhw->bshw", features[:, :, 0], maps) / 8**0.5
    window = product[:, :, 2:5, 3:6]  # the first axis of the window moves x
    assert torch.allclose(found[:, :, 0].reshape(2, 3, 3, 3), window.mT, atol=1e-5)


def test_coarser_levels_average_and_halve(maps: torch.Tensor, generator: torch.Generator) -> None:
    features = torch.randn(2, 3, 1, 8, generator=generator)
    pyramid = Pyramid(maps, 2, 0)
    assert [tuple(one.shape[-2:]) for one in pyramid.maps] == [(6, 9), (3, 4)]
    coarse = pyramid.correlate(features, places((4, 2), like=maps))[..., 1]
    mean = maps[..., 2:4, 4:6].mean((-1, -2))
    assert torch.allclose(coarse[..., 0], (features[:, :, 0] * mean).sum(-1) / 8**0.5, atol=1e-5)


def test_displacements_are_interleaved_waves() -> None:
    found = displacement_embedding(torch.tensor([[0.01, -0.02]]), 4)
    fast = 2 * 1000.0 / 4
    want = [0, 1, math.sin(0.01 * fast), math.cos(0.01 * fast), 0, 1, math.sin(-0.02 * fast), math.cos(0.02 * fast)]
    assert torch.allclose(found, torch.tensor([want]), atol=1e-5)


def test_places_are_waves_of_x_then_y() -> None:
    found = place_embedding(8, torch.tensor([[[3.0, 1.0]]]), (4, 6))[0, 0]
    want = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    want += [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    assert torch.allclose(found, torch.tensor(want), atol=1e-5)


def test_places_between_pixels_are_interpolated() -> None:
    xy = torch.tensor([[[2.0, 1.0], [3.0, 1.0], [2.5, 1.0]]])
    a, b, middle = place_embedding(8, xy, (4, 6))[0]
    assert torch.allclose(middle, (a + b) / 2, atol=1e-5)


def transformer() -> UpdateTransformer:
    model = UpdateTransformer(TRACK, 12)
    alive(model)
    return model


def test_tracks_have_no_order_but_see_each_other(generator: torch.Generator) -> None:
    model, x = transformer(), torch.randn(2, 4, 3, 12, generator=generator)
    found = model(x)
    assert found.shape == (2, 4, 3, TRACK.features + 2)
    order = [2, 0, 3, 1]
    assert torch.allclose(model(x[:, order]), found[:, order], atol=1e-5)
    assert not torch.allclose(model(x[:, :2]), found[:, :2], atol=1e-4)


def test_the_residual_of_a_block_starts_from_the_normalised_input(generator: torch.Generator) -> None:
    block = NormedBlock(8, 2)
    x = torch.randn(1, 4, 8, generator=generator)
    assert torch.allclose(block(x), block(5.0 * x + 0.0), atol=1e-4)  # a scale is normalised away
    normed = block.norm1(x)
    y = normed + block.attn(normed, normed, normed)[0]
    assert torch.allclose(block(x), y + block.mlp(block.norm2(y)), atol=1e-5)


def test_cross_blocks_read_their_context(generator: torch.Generator) -> None:
    block = NormedBlock(8, 2, cross=True)
    x, context = torch.randn(1, 4, 8, generator=generator), torch.randn(1, 3, 8, generator=generator)
    normed, seen = block.norm1(x), block.norm_context(context)
    y = normed + block.cross_attn(normed, seen, seen)[0]
    assert torch.allclose(block(x, context), y + block.mlp(block.norm2(y)), atol=1e-5)
    assert "norm_context.weight" in block.state_dict() and "attn.in_proj_weight" not in block.state_dict()


@torch.no_grad()
def test_in_the_first_photo_a_track_is_its_query(maps: torch.Tensor) -> None:
    tracker = Tracker(TRACK)
    alive(tracker)
    queries = torch.tensor([[[2.0, 3.0], [10.0, 8.0]]]).repeat(2, 1, 1)
    found = tracker(maps, queries, 3)
    assert len(found.xy) == 3
    for xy in found.xy:
        assert torch.allclose(xy[:, 0], queries)
        assert not torch.allclose(xy[:, 1], queries, atol=1e-3)


@torch.no_grad()
def test_scenes_are_tracked_on_their_own(maps: torch.Tensor) -> None:
    tracker = Tracker(TRACK)
    alive(tracker)
    queries = torch.tensor([[[2.0, 3.0]], [[4.0, 1.0]]])
    both, second = tracker(maps, queries, 1), tracker(maps[1:], queries[1:], 1)
    assert torch.allclose(both.xy[0][1:], second.xy[0], atol=1e-4)


def test_a_tracker_that_says_nothing_stays_where_it_is(maps: torch.Tensor) -> None:
    tracker = Tracker(TRACK)
    alive(tracker)
    with torch.no_grad():
        tracker.updateformer.flow_head.weight.zero_()
        tracker.updateformer.flow_head.bias.zero_()
    queries = torch.tensor([[[2.0, 3.0]]]).repeat(2, 1, 1)
    for xy in tracker(maps, queries, 2).xy:
        assert torch.allclose(xy, queries[:, None].expand_as(xy))


@torch.no_grad()
def test_feature_maps_have_half_the_size_of_the_images(generator: torch.Generator) -> None:
    head = TrackHead(VGGT)
    alive(head)
    taps = [torch.randn(1, 2, 6, 32, generator=generator) for _ in range(4)]
    assert head.features(taps, Frame(28, 42)).shape == (1, 2, 8, 14, 21)
    assert len(head(taps, torch.ones(1, 1, 2), Frame(28, 42), iterations=1).xy) == 1
    assert len(head(taps, torch.ones(1, 1, 2), Frame(28, 42)).xy) == VGGT.iterations
