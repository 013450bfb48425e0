"""The terms of the loss by hand, and what they pull at."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from training_runs import TINY

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.model import Da3Prediction
from recon3d.feedforward.da3.preprocess import normalise
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.network import Trained, learnable, match_across, new_network, start_ahead
from recon3d.feedforward.training.objective import training_loss
from recon3d.feedforward.training.options import LossOptions
from recon3d.feedforward.training.targets import Targets, targets_of


def flat_truth(depth: float = 2.0) -> Targets:
    """One camera before a wall."""
    K = torch.tensor([[4.0, 0, 2], [0, 4, 2], [0, 0, 1]])[None, None]
    maps = torch.full((1, 1, 4, 4), depth)
    pose = torch.eye(4)[None, None, :3]
    return Targets(cam_from_world=pose, K=K, depth_z=maps, mask=maps > 0, unit=torch.ones(1))


def exact(truth: Targets) -> Da3Prediction:
    """The right answer, with confidence 1."""
    ones = torch.ones_like(truth.depth_z)
    return Da3Prediction(
        depth_z=truth.depth_z,
        confidence=ones,
        pose_encoding=truth.encoding(),
        rays=truth.rays(4, 4),
        rays_confidence=ones,
    )


def test_the_right_answer_costs_nothing() -> None:
    truth = flat_truth()
    for name, value in training_loss(exact(truth), truth).values().items():
        assert value == pytest.approx(0.0, abs=1e-6), name


def test_every_term_by_hand() -> None:
    truth = flat_truth(2.0)
    found = exact(truth)
    found = replace(
        found,
        depth_z=found.depth_z * math.e,
        confidence=torch.full_like(truth.depth_z, 3.0),
        rays=found.rays + 0.6,
        pose_encoding=found.pose_encoding + torch.tensor([0.3, 0, 0, 0, 0, 0, 0, 0.1, 0.1]),
    )
    terms = training_loss(found, truth, LossOptions(alpha=0.5))
    error = 2 * math.e - 2
    assert terms.depth.item() == pytest.approx(3 * error - 0.5 * math.log(3))
    assert terms.relative.item() == pytest.approx(1.0)
    assert terms.gradient.item() == pytest.approx(0.0, abs=1e-6)
    assert terms.rays.item() == pytest.approx(0.6)
    assert terms.camera.item() == pytest.approx(0.3 / 3 + 0.5 * 0.1)


def test_a_point_is_the_end_of_its_ray() -> None:
    truth = flat_truth(2.0)
    found = exact(truth)
    moved = replace(found, rays=found.rays + torch.tensor([0, 0, 0, 0.3, 0, 0]))
    assert training_loss(moved, truth).points.item() == pytest.approx(0.1)
    longer = replace(found, depth_z=found.depth_z + 1.0)
    expected = truth.rays(4, 4)[..., :3].abs().mean().item()
    assert training_loss(longer, truth).points.item() == pytest.approx(expected)


def test_the_total_is_the_weighted_sum() -> None:
    truth = flat_truth()
    found = replace(exact(truth), depth_z=truth.depth_z * 1.5)
    weights = LossOptions(depth=2.0, relative=3.0, gradient=0.0, rays=0.0, points=0.0, camera=0.0)
    terms = training_loss(found, truth, weights)
    assert terms.total.item() == pytest.approx(2 * terms.depth.item() + 3 * terms.relative.item())


def test_the_sky_does_not_count() -> None:
    truth = flat_truth()
    depth = truth.depth_z.clone()
    depth[0, 0, 0] = 0.0
    sky = replace(truth, depth_z=depth, mask=depth > 0)
    wrong = exact(truth).depth_z.clone()
    wrong[0, 0, 0] = 99.0
    assert training_loss(replace(exact(truth), depth_z=wrong), sky).total.item() == pytest.approx(0.0, abs=1e-6)


def test_nothing_to_see_gives_no_nan() -> None:
    truth = flat_truth()
    empty = replace(truth, depth_z=torch.zeros_like(truth.depth_z), mask=torch.zeros_like(truth.mask))
    assert training_loss(exact(truth), empty).total.isfinite()


def test_what_is_very_far_counts_as_if_it_were_twenty_units_away() -> None:
    truth = flat_truth(1e5)
    found = replace(exact(truth), depth_z=torch.full_like(truth.depth_z, 20.0))
    assert training_loss(found, truth).relative.item() == pytest.approx(0.0, abs=1e-6)


def test_a_network_without_cameras_cannot_be_trained() -> None:
    truth = flat_truth()
    with pytest.raises(UsageError, match="cannot be trained"):
        training_loss(Da3Prediction(depth_z=truth.depth_z), truth)
    with pytest.raises(UsageError, match="cannot be trained"):
        new_network("da3metric-large", 0)


def test_gradients_reach_all_that_is_learned(views: TrueViews) -> None:
    model = new_network(TINY, 0, whitened=False)
    truth = targets_of(views)
    trained = Trained(model, torch.float32)
    for known in ((None, None), (truth.cam_from_world, views.K)):
        training_loss(trained(normalise(views.images), *known), truth).total.backward()
    silent = [name for name, one in model.named_parameters() if one.requires_grad and one.grad is None]
    assert silent == []
    zero = {name for name, one in model.named_parameters() if one.requires_grad and not one.grad.any()}
    # A tiny network may have dead ReLUs, but no layer is cut off.
    assert not {name for name in zero if ".weight" in name and "norm" not in name}
    frozen = {name.split(".")[2] for name, one in model.named_parameters() if not one.requires_grad}
    assert frozen == {"output_conv1_aux", "output_conv2_aux"}


def test_both_precisions_see_the_same(views: TrueViews) -> None:
    model = learnable(new_network(TINY, 0, whitened=False))
    images = normalise(views.images)
    full, narrow = (Trained(model, dtype)(images) for dtype in (torch.float32, torch.bfloat16))
    torch.testing.assert_close(full.depth_z, narrow.depth_z, rtol=0.03, atol=0)
    torch.testing.assert_close(full.pose_encoding, narrow.pose_encoding, rtol=0, atol=0.02)
    plain = model(images, strategy="first")
    torch.testing.assert_close(full.depth_z, plain.depth_z, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(full.rays, plain.rays, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(full.cam_from_world, plain.cam_from_world, rtol=1e-4, atol=1e-5)


def test_an_untrained_network_looks_ahead(views: TrueViews) -> None:
    model = new_network(TINY, 1, whitened=False)
    start_ahead(model)
    found = model(normalise(views.images), strategy="first")
    torch.testing.assert_close(found.cam_from_world[..., :3], torch.eye(3).expand(2, 3, 3, 3), atol=0.1, rtol=0)
    assert found.rays[..., 2].mean() > 0.7


def test_like_looks_at_like_across_views() -> None:
    model = new_network(TINY, 1, whitened=False)
    match_across(model)
    for number, block in enumerate(model.backbone.pretrained.blocks):
        queries, keys, _ = block.attn.qkv.weight.chunk(3)
        assert torch.equal(queries, keys) == (number >= 2 and number % 2 == 1)
