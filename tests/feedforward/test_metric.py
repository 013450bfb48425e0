from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import DA3, METRIC, photos, tiny_da3

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.metric import (
    NestedDepthAnything3,
    far_sky,
    least_squares_scale,
    metric_depth,
    nested,
    upper_quantile,
)
from recon3d.feedforward.da3.model import Da3Prediction

K = torch.tensor([[200.0, 0, 8], [0, 400.0, 8], [0, 0, 1]]).expand(1, 2, 3, 3)


@pytest.fixture
def depth(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(1, 2, 16, 16, generator=generator) + 0.5


def sky(rows: int) -> torch.Tensor:
    """The upper rows of both photos are sky."""
    values = torch.zeros(1, 2, 16, 16)
    values[:, :, :rows] = 0.9
    return values


def predictions(depth: torch.Tensor, scale: float, rows: int) -> tuple[Da3Prediction, Da3Prediction]:
    """What both networks would say of one scene; one unit is ``scale`` metres, and the focal length is 300 pixels."""
    pose = torch.eye(3, 4).repeat(1, 2, 1, 1)
    pose[..., 3] = torch.tensor([1.0, 2.0, 3.0])
    confidence = torch.full_like(depth, 3.0)
    relative = Da3Prediction(cam_from_world=pose, K=K, depth_z=depth, confidence=confidence)
    return relative, Da3Prediction(depth_z=scale * depth, sky=sky(rows))


def test_metres_grow_with_the_focal_length(depth: torch.Tensor) -> None:
    assert torch.allclose(metric_depth(depth, K), depth)  # (200 + 400) / 2 / 300
    assert torch.allclose(metric_depth(depth, 2 * K), 2 * depth)


def test_the_sky_is_as_far_as_the_farthest_land(depth: torch.Tensor) -> None:
    found = far_sky(depth, sky(4))
    land = depth[:, :, 4:]
    assert torch.equal(found[:, :, 4:], land)
    assert torch.allclose(found[:, :, :4], torch.quantile(land.flatten(), 0.99).expand(1, 2, 4, 16))


@pytest.mark.parametrize("rows", [0, 16])
def test_all_land_and_all_sky_stay(depth: torch.Tensor, rows: int) -> None:
    assert torch.equal(far_sky(depth, sky(rows)), depth)


def test_ten_pixels_are_too_few(depth: torch.Tensor) -> None:
    few = torch.zeros_like(depth)
    few.view(-1)[:10] = 1.0
    assert torch.equal(far_sky(depth, few), depth)
    few.view(-1)[:11] = 1.0
    assert not torch.equal(far_sky(depth, few), depth)


def test_the_quantile_of_very_many_values_is_taken_of_some() -> None:
    values = torch.linspace(0.0, 1.0, 150_001)
    assert float(upper_quantile(values)) == pytest.approx(0.99, abs=1e-4)
    assert float(upper_quantile(values[:101])) == pytest.approx(float(values[99]), rel=1e-4)


def test_the_least_squares_scale_has_the_smallest_error(generator: torch.Generator) -> None:
    values, target = torch.rand(2, 50, generator=generator) + 0.5
    best = float(least_squares_scale(values, target))
    errors = [float((scale * values - target).square().sum()) for scale in (0.99 * best, best, 1.01 * best)]
    assert errors[1] < min(errors[0], errors[2])
    assert float(least_squares_scale(values, 3.0 * values)) == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("scale", [0.2, 1.0, 30.0])
def test_the_scale_is_found_and_applied(depth: torch.Tensor, scale: float) -> None:
    relative, metric = predictions(depth, scale, 4)
    found = nested(relative, metric)
    assert found.is_metric and float(found.scale) == pytest.approx(scale, rel=1e-5)
    assert torch.allclose(found.depth_z[:, :, 4:], scale * depth[:, :, 4:], rtol=1e-4)
    assert torch.allclose(found.cam_from_world[..., 3], scale * relative.cam_from_world[..., 3], rtol=1e-4)
    assert torch.equal(found.cam_from_world[..., :3], relative.cam_from_world[..., :3])
    assert torch.equal(found.K, K) and torch.equal(found.sky, metric.sky)


def test_the_sky_is_far_and_not_trusted(depth: torch.Tensor) -> None:
    relative, metric = predictions(depth, 1000.0, 4)
    found = nested(relative, metric)
    assert torch.equal(found.depth_z[:, :, :4], torch.full((1, 2, 4, 16), 200.0))  # never farther than that
    assert torch.equal(found.confidence[:, :, :4], torch.ones(1, 2, 4, 16))
    assert torch.equal(found.confidence[:, :, 4:], relative.confidence[:, :, 4:])


def test_pixels_of_low_confidence_do_not_vote(depth: torch.Tensor) -> None:
    relative, metric = predictions(depth, 2.0, 0)
    wrong = metric.depth_z.clone()
    wrong[:, :, :6] *= 10.0
    doubt = relative.confidence.clone()
    doubt[:, :, :6] = 1.0
    relative, metric = replace(relative, confidence=doubt), replace(metric, depth_z=wrong)
    assert float(nested(relative, metric).scale) == pytest.approx(2.0, rel=1e-5)


def test_nothing_but_sky_has_no_scale(depth: torch.Tensor) -> None:
    relative, metric = predictions(depth, 2.0, 16)
    found = nested(relative, metric)
    assert not found.is_metric and float(found.scale) == 1.0
    assert torch.equal(found.depth_z, depth) and torch.equal(found.cam_from_world, relative.cam_from_world)


def test_the_networks_are_not_to_be_mixed_up(depth: torch.Tensor) -> None:
    relative, metric = predictions(depth, 2.0, 4)
    with pytest.raises(UsageError, match="an any-view and a metric network"):
        nested(metric, relative)


@torch.no_grad()
def test_the_nested_network_runs_both() -> None:
    model = NestedDepthAnything3(tiny_da3(DA3), tiny_da3(METRIC))
    assert {name.split(".")[0] for name in model.state_dict()} == {"da3", "da3_metric"}
    images = photos(3)
    found, relative = model(images, strategy="first"), model.da3(images, strategy="first")
    assert torch.equal(found.K, relative.K) and torch.equal(found.rays, relative.rays)
    assert found.reference.tolist() == [0]
    if found.is_metric:
        shift = found.cam_from_world[..., 3], float(found.scale) * relative.cam_from_world[..., 3]
        assert torch.allclose(*shift, rtol=1e-4)
