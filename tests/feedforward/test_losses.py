from __future__ import annotations

import pytest
import torch

from recon3d.feedforward.losses import DenseLossOptions, camera_loss, dense_loss

PLAIN = DenseLossOptions()


@pytest.fixture
def cameras(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(6, 9, generator=generator)


@pytest.fixture
def depth(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(2, 6, 7, 1, generator=generator) + 0.5


def everywhere(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence of one, and a mask of everything."""
    return torch.ones(values.shape[:-1]), torch.ones(values.shape[:-1], dtype=torch.bool)


def test_true_cameras_cost_nothing(cameras: torch.Tensor) -> None:
    assert [float(term) for term in camera_loss([cameras, cameras], cameras)] == [0.0] * 4


def test_the_terms_are_mean_absolute_errors(cameras: torch.Tensor) -> None:
    moved = cameras.clone()
    moved[:, 0] += 3.0
    moved[:, 4] -= 2.0
    moved[:, 8] += 1.0
    loss = camera_loss([moved], cameras)
    assert [float(term) for term in loss] == pytest.approx([1.0, 0.5, 0.5, 1.75], rel=1e-5)
    assert float(camera_loss([moved], cameras, fov_weight=2.0).total) == pytest.approx(2.5, rel=1e-5)


def test_earlier_refinements_count_less(cameras: torch.Tensor) -> None:
    wrong = cameras + 1.0
    first, last = (float(camera_loss(stages, cameras).rotation) for stages in ([wrong, cameras], [cameras, wrong]))
    assert first == pytest.approx(0.6 / 2, rel=1e-5)
    assert last == pytest.approx(1.0 / 2, rel=1e-5)


def test_a_translation_that_ran_away_is_capped(cameras: torch.Tensor) -> None:
    far = cameras.clone()
    far[:, :3] += 1e6
    assert float(camera_loss([far], cameras).translation) == pytest.approx(100.0)


@pytest.mark.parametrize(("factor", "free"), [(0.2, True), (8.0, True), (-3.0, True), (0.01, False), (50.0, False)])
def test_alignment_forgives_a_scale_of_a_tenth_to_ten(cameras: torch.Tensor, factor: float, free: bool) -> None:
    scaled = cameras.clone()
    scaled[:, :3] *= factor
    error = float(camera_loss([scaled], cameras, align=True).translation)
    assert (error < 1e-5) == free
    assert float(camera_loss([scaled], cameras).translation) > 0.1


def test_true_depth_costs_nothing(depth: torch.Tensor) -> None:
    confidence, mask = everywhere(depth)
    loss = dense_loss(depth, confidence, depth, mask, PLAIN)
    assert [float(term) for term in (*loss, loss.total)] == [0.0] * 4


def test_confidence_pays_where_the_error_is_small(depth: torch.Tensor) -> None:
    """Its best value is alpha / error: more of it costs where the map is wrong."""
    ones, mask = everywhere(depth)

    def cost(error: float, confidence: float) -> float:
        return float(dense_loss(depth + error, confidence * ones, depth, mask, PLAIN).confident)

    assert cost(0.01, 5.0) < cost(0.01, 1.0)
    assert cost(1.0, 5.0) > cost(1.0, 1.0)
    assert cost(0.1, 2.0) < min(cost(0.1, 1.9), cost(0.1, 2.1))


def test_only_valid_pixels_count(depth: torch.Tensor) -> None:
    confidence, mask = everywhere(depth)
    mask[0, 0, 0] = False
    wrong = depth.clone()
    wrong[0, 0, 0] = float("nan")
    loss = dense_loss(wrong, confidence, depth, mask, DenseLossOptions(smooth="gradient"))
    assert [float(term) for term in loss] == [0.0] * 3


def test_nothing_valid_is_zero_and_has_a_gradient(depth: torch.Tensor) -> None:
    confidence, mask = everywhere(depth)
    leaf = depth.clone().requires_grad_()
    loss = dense_loss(leaf, confidence, depth + 1, ~mask, PLAIN)
    loss.total.backward()
    assert float(loss.total.detach()) == 0.0
    assert leaf.grad is not None and not leaf.grad.any()


def test_points_are_compared_by_distance(generator: torch.Generator) -> None:
    points = torch.randn(1, 5, 5, 3, generator=generator)
    confidence, mask = everywhere(points)
    moved = points + torch.tensor([3.0, 0.0, 4.0])
    assert float(dense_loss(moved, confidence, points, mask, PLAIN).plain) == pytest.approx(5.0, rel=1e-5)


def test_the_largest_errors_of_many_are_dropped() -> None:
    """Those that are not below the quantile; of a thousand pixels or fewer, all count."""
    error = torch.linspace(0.0, 2.0, 2500).reshape(1, 50, 50, 1)

    def plain(some: torch.Tensor) -> float:
        confidence, mask = everywhere(some)
        loss = dense_loss(some, confidence, torch.zeros_like(some), mask, DenseLossOptions(valid_range=0.9))
        return float(loss.plain)

    assert plain(error) == pytest.approx(float(error.flatten()[:2249].mean()), rel=1e-5)
    assert plain(error[:, :20]) == pytest.approx(float(error[:, :20].mean()), rel=1e-5)


@pytest.mark.parametrize("factor", [0.11, 0.5, 3.0, 9.0])
def test_alignment_forgives_the_scale_of_depth(depth: torch.Tensor, factor: float) -> None:
    confidence, mask = everywhere(depth)
    loss = dense_loss(depth / factor, confidence, depth, mask, PLAIN, align=True)
    assert float(loss.plain) < 1e-5
    assert float(dense_loss(depth / factor, confidence, depth, mask, PLAIN).plain) > 0.05


def test_the_scale_of_the_alignment_has_no_gradient(depth: torch.Tensor) -> None:
    confidence, mask = everywhere(depth)
    leaf = (depth * 1.5 + 0.1).requires_grad_()
    dense_loss(leaf, confidence, depth, mask, PLAIN, align=True).plain.backward()
    scale = (leaf * depth).sum() / (leaf * leaf).sum()
    want = scale * torch.sign(scale * leaf - depth) / depth.numel()
    assert leaf.grad is not None and torch.allclose(leaf.grad, want, atol=1e-7)


@pytest.mark.parametrize("smooth", ["none", "gradient", "normal"])
def test_losses_are_differentiable(generator: torch.Generator, smooth: str) -> None:
    points, target = torch.rand(2, 1, 6, 6, 3, generator=generator, dtype=torch.float64) + 1.0
    confidence = torch.rand(1, 6, 6, generator=generator, dtype=torch.float64) + 1.0
    mask = torch.rand(1, 6, 6, generator=generator) > 0.2
    setting = DenseLossOptions(smooth=smooth)  # type: ignore[arg-type]
    leaves = points.requires_grad_(), confidence.requires_grad_()
    total = lambda *values: dense_loss(*values, target, mask, setting).total  # noqa: E731
    assert torch.autograd.gradcheck(total, leaves)
