from __future__ import annotations

import pytest
import torch

from recon3d.feedforward.smoothness import gradient_term, normal_term


def plane(a: float, b: float, n: int = 12) -> torch.Tensor:
    """Points of z = a x + b y + 3 over a grid."""
    y, x = torch.meshgrid(torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64), indexing="ij")
    return torch.stack([x, y, a * x + b * y + 3.0], -1)[None]


ALL = torch.ones(1, 12, 12, dtype=torch.bool)


def test_a_constant_offset_has_no_gradient_error() -> None:
    points = plane(0.2, 0.1)
    assert float(gradient_term(points + 5.0, points, ALL)) == pytest.approx(0.0, abs=1e-12)


def test_a_slope_costs_its_steepness_at_every_stride() -> None:
    """Over n pixels there are n - 1 steps per row; steps of stride s are s times as steep."""
    error = plane(1.0, 0.0)[..., 2:]
    target = torch.zeros_like(error)
    expected = [stride * (count - 1) / count for stride, count in ((1, 12), (2, 6), (4, 3), (8, 2))]
    assert float(gradient_term(error, target, ALL)) == pytest.approx(sum(expected) / 4)
    assert float(gradient_term(error, target, ALL, scales=1)) == pytest.approx(expected[0])


def test_steps_across_holes_do_not_count() -> None:
    error = torch.zeros(1, 12, 12, 1)
    error[:, :, 6:] = 9.0
    mask = ALL.clone()
    mask[:, :, 6] = False
    assert float(gradient_term(error, torch.zeros_like(error), mask, scales=1)) == 0.0
    assert float(gradient_term(error, torch.zeros_like(error), ALL, scales=1)) > 0.0


def test_holes_may_hold_anything() -> None:
    error = torch.zeros(1, 12, 12, 1)
    error[0, 3, 3] = float("nan")
    mask = ALL.clone()
    mask[0, 3, 3] = False
    assert float(gradient_term(error, torch.zeros_like(error), mask)) == 0.0


def test_nothing_valid_costs_nothing() -> None:
    points = plane(0.1, 0.2)
    assert float(gradient_term(points, points + 1, ~ALL)) == 0.0
    assert float(normal_term(points, points + 1, ~ALL)) == 0.0


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.5, -0.2), (3.0, 1.0)])
def test_normals_do_not_see_place_and_size(a: float, b: float) -> None:
    points = plane(a, b)
    assert float(normal_term(2.0 * points + 7.0, points, ALL)) == pytest.approx(0.0, abs=1e-7)


def test_tilted_planes_differ_by_the_cosine_of_their_angle() -> None:
    """z = x is tilted by 45 degrees."""
    found = float(normal_term(plane(1.0, 0.0), plane(0.0, 0.0), ALL))
    assert found == pytest.approx(1.0 - 0.5**0.5, rel=1e-6)


def test_a_surface_seen_from_behind_costs_two() -> None:
    points = plane(0.3, 0.1)
    flipped = points * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    mirrored = plane(0.3, 0.1).flip(2) * torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    assert float(normal_term(plane(0.0, 0.0) * torch.tensor([-1.0, 1, 1]), plane(0.0, 0.0), ALL)) == pytest.approx(2.0)
    assert float(normal_term(flipped, points, ALL)) > 1.0
    assert float(normal_term(mirrored, points, ALL)) > 1.0


def test_a_normal_needs_three_points() -> None:
    points, mask = plane(0.0, 0.0), torch.zeros_like(ALL)
    mask[:, ::2, ::2] = True  # no two neighbours
    assert float(normal_term(plane(1.0, 0.0), points, mask, scales=1)) == 0.0
    assert float(normal_term(plane(1.0, 0.0), points, mask, scales=2)) > 0.1  # at stride 2 all are neighbours
