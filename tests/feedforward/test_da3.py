from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from tiny_networks import DA3, METRIC, photos, tiny_da3

from recon3d.core.errors import ShapeError, UsageError
from recon3d.feedforward.da3.config import CONFIGS
from recon3d.feedforward.da3.model import Da3Prediction, DepthAnything3
from recon3d.feedforward.initialization import initialize
from recon3d.feedforward.losses import DenseLossOptions, camera_loss, dense_loss
from recon3d.feedforward.pose_encoding import inverted


def cameras(views: int) -> dict[str, torch.Tensor]:
    pose = torch.eye(3, 4).repeat(1, views, 1, 1)
    pose[0, :, 0, 3] = torch.arange(float(views))
    K = torch.tensor([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]]).expand(1, views, 3, 3)
    return {"cam_from_world": pose, "K": K}


def permuted(found: Da3Prediction, order: list[int]) -> list[torch.Tensor]:
    fields = found.depth_z, found.confidence, found.rays, found.cam_from_world, found.K
    return [one[:, order] for one in fields if one is not None]


@torch.no_grad()
def test_everything_has_its_shape() -> None:
    found = tiny_da3()(photos(3, scenes=2), gaussians=True)
    assert found.cam_from_world.shape == (2, 3, 3, 4) and found.K.shape == (2, 3, 3, 3)
    assert found.depth_z.shape == found.confidence.shape == (2, 3, 28, 42)
    assert found.rays.shape == (2, 3, 16, 24, 6) and found.rays_confidence.shape == (2, 3, 16, 24)
    assert found.pose_encoding.shape == (2, 3, 9)
    assert found.reference.shape == (2,)
    assert found.gaussians.means.shape == (2, 3 * 28 * 42, 3)
    assert found.sky is None


@torch.no_grad()
def test_values_are_in_their_ranges() -> None:
    found = tiny_da3()(photos(2))
    assert (found.depth_z > 0).all()
    assert (found.confidence >= 1).all() and (found.rays_confidence >= 1).all()
    assert (found.pose_encoding[..., 7:] >= 0).all()
    assert torch.isfinite(found.K).all()


@torch.no_grad()
def test_the_encoding_is_of_the_other_direction() -> None:
    found = tiny_da3()(photos(2))
    centre = inverted(found.cam_from_world)[..., 3]
    assert torch.allclose(centre, found.pose_encoding[..., :3], atol=1e-5)


@torch.no_grad()
def test_with_a_selector_photos_may_come_in_any_order() -> None:
    model, images = tiny_da3(), photos(4)
    before = model(images)
    for order in ([1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]):
        after = model(images[:, order])
        assert order[int(after.reference)] == int(before.reference)
        for one, other in zip(permuted(before, order), permuted(after, [0, 1, 2, 3]), strict=True):
            assert torch.allclose(one, other, atol=1e-4)


@torch.no_grad()
def test_with_the_first_as_reference_only_the_others_may_move() -> None:
    model, images, order = tiny_da3(), photos(4), [0, 3, 1, 2]
    before, after = (model(some, strategy="first") for some in (images, images[:, order]))
    for one, other in zip(permuted(before, order), permuted(after, [0, 1, 2, 3]), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    swapped = model(images[:, [1, 0, 2, 3]], strategy="first")
    assert not torch.allclose(swapped.depth_z[:, 2:], before.depth_z[:, 2:], atol=1e-4)


@torch.no_grad()
def test_fewer_than_three_photos_choose_no_reference() -> None:
    model = tiny_da3()
    assert model(photos(1)).reference is None and model(photos(2)).reference is None
    assert model(photos(3)).reference is not None


@torch.no_grad()
def test_known_cameras_matter_and_keep_the_order() -> None:
    model, images = tiny_da3(), photos(3)
    known = model(images, **cameras(3))
    assert known.reference is None
    assert not torch.allclose(known.depth_z, model(images, strategy="first").depth_z, atol=1e-4)
    moved = cameras(3)
    moved["cam_from_world"] = moved["cam_from_world"] * 2.0
    assert not torch.allclose(known.depth_z, model(images, **moved).depth_z, atol=1e-5)


@torch.no_grad()
def test_equal_photos_and_plain_ones_stay_finite() -> None:
    model = tiny_da3()
    for images in (photos(1).expand(1, 4, 3, 28, 42), torch.zeros(1, 3, 3, 28, 42), torch.ones(1, 3, 3, 28, 42)):
        found = model(images)
        assert found.reference.item() in range(images.shape[1])
        for one in permuted(found, [0, 1, 2]):
            assert torch.isfinite(one).all()


@torch.no_grad()
def test_scenes_of_a_batch_choose_their_own_reference() -> None:
    model, images = tiny_da3(), photos(4, scenes=6)
    together = model(images)
    assert len(set(together.reference.tolist())) > 1
    for scene in range(6):
        alone = model(images[scene : scene + 1])
        assert alone.reference.item() == together.reference[scene].item()
        assert torch.allclose(alone.depth_z[0], together.depth_z[scene], atol=1e-4)


def test_half_known_cameras_are_refused() -> None:
    for given in ("cam_from_world", "K"):
        with pytest.raises(UsageError, match="known cameras need both"):
            tiny_da3()(photos(2), **{given: cameras(2)[given]})
    with pytest.raises(UsageError, match="a network of several photos"):
        tiny_da3(METRIC)(photos(2), **cameras(2))


def test_gaussians_need_their_head() -> None:
    with pytest.raises(UsageError, match="no Gaussian head; to fix: take da3-giant"):
        tiny_da3(replace(DA3, gaussians=None))(photos(1), gaussians=True)
    assert tiny_da3()(photos(1)).gaussians is None


def test_images_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ShapeError, match="multiples of 14"):
        tiny_da3()(photos(2, 28, 40))


@torch.no_grad()
@pytest.mark.parametrize("views", [1, 9])
def test_chunks_change_nothing(views: int) -> None:
    images = photos(views, 14, 28)
    whole, single = (tiny_da3(chunk=chunk)(images, gaussians=True) for chunk in (8, 1))
    for one, other in zip(permuted(whole, [*range(views)]), permuted(single, [*range(views)]), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(whole.gaussians.means, single.gaussians.means, atol=1e-4)


@torch.no_grad()
def test_taps_are_one_raw_and_one_normalised_half() -> None:
    model = tiny_da3()
    taps = model.tapped(photos(2))
    assert [tuple(one.shape) for one in taps.patches] == [(1, 2, 6, 32)] * 4
    assert [tuple(one.shape) for one in taps.camera] == [(1, 2, 32)] * 4
    norm = model.backbone.pretrained.norm
    current = (taps.patches[-1][..., 16:] - norm.bias) / norm.weight
    assert torch.allclose(current.mean(-1), torch.zeros(1, 2, 6), atol=1e-4)
    # Taps 2 and 4 are blocks that see one view alone: both halves start from the same tokens.
    for raw, mixed in itertools.pairwise([*taps.patches[0].split(16, -1)]):
        assert torch.allclose(norm(raw), mixed, atol=1e-5)


@torch.no_grad()
def test_tokens_of_any_block_can_be_exported() -> None:
    model, images = tiny_da3(), photos(3)
    taps = model.tapped(images, export=[0, 5])
    assert sorted(taps.exported) == [0, 5]
    assert torch.allclose(taps.exported[5], taps.patches[-1][..., 16:], atol=1e-6)  # the same order of views
    assert torch.allclose(taps.exported[0][:, 1], model.tapped(images[:, 1:2], export=[0]).exported[0][:, 0], atol=1e-5)


@torch.no_grad()
def test_blocks_before_the_alternation_see_one_photo_alone() -> None:
    model, images = tiny_da3(), photos(2)
    changed = images.clone()
    changed[:, 1] = 0.0
    before, after = (model.tapped(some, export=[2, 3]).exported for some in (images, changed))
    assert torch.allclose(before[2][:, 0], after[2][:, 0], atol=1e-6)
    assert not torch.allclose(before[3][:, 0], after[3][:, 0], atol=1e-4)


@torch.no_grad()
def test_across_views_a_patch_has_no_place() -> None:
    alone, across = tiny_da3().backbone.pretrained._ropes(photos(2))
    assert across.cos.shape == (2 * 7, 8)
    assert torch.equal(across.cos[1:7], across.cos[1:2].expand(6, -1))
    assert torch.equal(across.cos[0], torch.ones(8))
    assert len({tuple(row) for row in alone.cos.tolist()}) == 7


@torch.no_grad()
def test_a_network_of_single_photos() -> None:
    model, images = tiny_da3(METRIC), photos(3)
    found = model(images)
    assert found.depth_z.shape == found.sky.shape == (1, 3, 28, 42)
    assert (found.sky >= 0).all() and (found.depth_z > 0).all()
    assert found.cam_from_world is None and found.confidence is None and found.rays is None
    assert torch.allclose(model(images[:, 1:2]).depth_z, found.depth_z[:, 1:2], atol=1e-5)
    assert model.backbone.pretrained(images[0]).shape == (3, 6, 16)


@torch.no_grad()
def test_the_heads_stay_in_float32_below_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = tiny_da3()(photos(2), gaussians=True)
    assert found.depth_z.dtype == found.cam_from_world.dtype == found.gaussians.means.dtype == torch.float32


def test_only_the_finest_rays_are_used() -> None:
    model = tiny_da3()
    found = model(photos(2), gaussians=True)
    (found.rays.sum() + found.depth_z.sum() + found.pose_encoding.sum() + found.gaussians.sh.sum()).backward()
    silent = {name for name, one in model.named_parameters() if one.grad is None}
    unused = {
        name for name in silent if name.startswith(("head.scratch.output_conv1_aux", "head.scratch.output_conv2_aux"))
    }
    assert all(name.split(".")[3] in "012" for name in unused) and len(unused) == 3 * (10 + 6)
    assert all(name.startswith("cam_enc.") for name in silent - unused)


def test_one_batch_can_be_learned() -> None:
    """Depth, rays and cameras of one scene: a few steps by the signs of the gradients take most of the loss away."""
    model = DepthAnything3(replace(DA3, gaussians=None))
    initialize(model, 0)
    images, random = photos(3, 14, 28), torch.Generator().manual_seed(1)
    target, rays = 0.3 * torch.rand(3, 9, generator=random), 0.5 * torch.rand(1, 3, 1, 1, 6, generator=random)
    depth, mask = torch.tensor([1.2, 1.8, 1.5])[:, None, None, None].expand(3, 14, 28, 1), torch.ones(3, 14, 28).bool()
    losses = []
    for step in range(20):
        found = model(images, strategy="first")
        dense = dense_loss(found.depth_z[0, ..., None], found.confidence[0], depth, mask, DenseLossOptions()).plain
        loss = dense + camera_loss([found.pose_encoding[0]], target).total + (found.rays - rays).abs().mean()
        loss.backward()
        with torch.no_grad():
            for one in model.parameters():
                if one.grad is not None:
                    one -= 0.005 * 0.9**step * one.grad.sign()
                    one.grad = None
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_sizes_of_the_published_networks() -> None:
    """Millions of parameters, as counted from the public code."""
    want = {"da3-small": 34.3, "da3-base": 135.4, "da3-large": 410.9, "da3-giant": 1355.7, "da3metric-large": 334.2}
    for name, millions in want.items():
        with torch.device("meta"):
            model = DepthAnything3(CONFIGS[name])
        assert sum(one.numel() for one in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
