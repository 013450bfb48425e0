from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tiny_networks import VGGT, alive, photos

from recon3d.feedforward.vggt.aggregator import Aggregator
from recon3d.feedforward.vggt.config import VggtOptions


def aggregator(options: VggtOptions = VGGT) -> Aggregator:
    model = Aggregator(options)
    alive(model)
    return model


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_tokens_are_camera_registers_patches_and_twice_as_wide() -> None:
    model = aggregator()
    kept = model(photos(2, scenes=3))
    assert sorted(kept) == [0, 1, 2, 3]
    assert all(one.shape == (3, 2, 1 + 2 + 6, 32) for one in kept.values())
    assert model.n_special == 3


def test_only_the_wanted_pairs_are_kept_and_they_are_the_same() -> None:
    model, images = aggregator(), photos(2)
    every, some = model(images), model(images, keep={1, 3})
    assert sorted(some) == [1, 3]
    assert all(torch.equal(some[i], every[i]) for i in some)


def test_other_frames_may_come_in_any_order() -> None:
    model, images = aggregator(), photos(4)
    order = [0, 3, 1, 2]
    assert torch.allclose(model(images[:, order])[3], model(images)[3][:, order], atol=1e-5)


def test_the_first_frame_is_special() -> None:
    model, images = aggregator(), photos(2)
    assert not torch.allclose(model(images.flip(1))[3], model(images)[3].flip(1), atol=1e-2)


def test_scenes_do_not_see_each_other_but_frames_do() -> None:
    model, images = aggregator(), photos(2, scenes=2)
    changed = images.clone()
    changed[1, 1] = 0.0
    before, after = model(images)[3], model(changed)[3]
    assert torch.allclose(before[0], after[0], atol=1e-6)
    assert not torch.allclose(before[1, 0], after[1, 0], atol=1e-3)


def test_the_first_half_has_not_seen_other_frames_in_the_first_pair() -> None:
    model, images = aggregator(), photos(2)
    changed = images.clone()
    changed[:, 1] = 0.0
    before, after = model(images)[0], model(changed)[0]
    assert torch.allclose(before[:, 0, :, :16], after[:, 0, :, :16], atol=1e-6)
    assert not torch.allclose(before[:, 0, :, 16:], after[:, 0, :, 16:], atol=1e-3)


def test_groups_pair_the_jth_frame_block_with_the_jth_global_block() -> None:
    """With groups as long as the network, all frame blocks come first: their half sees one frame alone."""
    grouped = Aggregator(replace(VGGT, group=4))
    grouped.load_state_dict(aggregator().state_dict())
    images = photos(2)
    changed = images.clone()
    changed[:, 1] = 0.0
    before, after = grouped(images), grouped(changed)
    assert sorted(before) == [0, 1, 2, 3]
    for i in range(4):
        assert torch.allclose(before[i][:, 0, :, :16], after[i][:, 0, :, :16], atol=1e-5)
    assert torch.allclose(before[0][..., :16], aggregator()(images)[0][..., :16], atol=1e-5)
    assert not torch.allclose(before[1], aggregator()(images)[1], atol=1e-2)


def test_a_group_that_does_not_divide_the_depth_ends_early() -> None:
    assert sorted(aggregator(replace(VGGT, group=3))(photos(1))) == [0, 1, 2, 3]


def test_colours_are_normalised_inside() -> None:
    """A grey of the mean of ImageNet makes patches of the bias alone."""
    model = aggregator()
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None].expand(1, 1, 3, 28, 42)
    model.patch_embed.blocks = torch.nn.ModuleList()
    vit = model.patch_embed
    patches = vit.norm(vit.patch_embed.proj.bias + vit._positions(2, 3)[:, 1:])
    tokens = model._tokens(mean)
    assert torch.allclose(tokens[:, 3:], patches, atol=1e-4)


def test_special_tokens_of_every_scene() -> None:
    model = aggregator()
    tokens = model._tokens(photos(3, scenes=2)).unflatten(0, (2, 3))
    for scene in (0, 1):
        for frame, slot in ((0, 0), (1, 1), (2, 1)):
            assert torch.equal(tokens[scene, frame, 0], model.camera_token[0, slot, 0])
            assert torch.equal(tokens[scene, frame, 1:3], model.register_token[0, slot])
