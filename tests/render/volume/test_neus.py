"""Surfaces: what NeuS and VolSDF make of planes and spheres (spec ponder 11.5)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.volume import (
    accumulate,
    composite_depths,
    laplace_density,
    neus_alpha,
    opacity,
    section_alphas,
    weights_from_alpha,
    weights_from_density,
)

N = 132


def wide(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def plane(cos: float, inv_s: float, *, eps: float = 1e-5, leak: float = 1e-7, n: int = N) -> tuple[Tensor, Tensor]:
    """Weights and expected depth of a ray that meets a plane at 0.5, in the unit interval."""
    t = torch.linspace(0, 1, n + 1, dtype=torch.float64)[None, :-1]
    normal = wide(-cos, math.sqrt(1 - cos * cos), 0.0).expand(1, n, 3)
    direction = wide(1.0, 0, 0).expand(1, n, 3)
    alphas = neus_alpha((0.5 - t) * cos, normal, direction, torch.full_like(t, 1 / n), inv_s, eps=eps)
    weights = weights_from_alpha(alphas, leak=leak).weights
    return weights, composite_depths(weights, t).expected


@pytest.mark.parametrize(
    ("cos", "inv_s", "depth", "total"),
    [
        (1.0, 20.0855, 0.499812, 0.999993),
        (1.0, 200.0, 0.499832, 1.0000067),
        (0.5, 20.0855, 0.499563, None),
        (0.5, 200.0, 0.499831, None),
    ],
)
def test_a_plane(cos: float, inv_s: float, depth: float, total: float | None) -> None:
    weights, got = plane(cos, inv_s)
    assert float(got) == pytest.approx(depth, abs=1.5e-6)
    if total is not None:
        assert float(opacity(weights)) == pytest.approx(total, abs=1.5e-6)


def test_without_its_epsilons_the_product_telescopes() -> None:
    """The light that passes is a ratio of two values of the logistic distribution, however many samples there are."""
    for n in (7, N):
        weights, _ = plane(1.0, 20.0, eps=0.0, leak=0.0, n=n)
        # Mid-points of consecutive samples meet, so only the first and the last edge are left.
        first, last = (torch.sigmoid(wide(20.0 * (0.5 - edge))) for edge in (-0.5 / n, 1.0 - 0.5 / n))
        assert float(opacity(weights)) == pytest.approx(float(1 - last / first), abs=1e-13)


def test_the_normal_of_a_sphere_looks_back_at_the_eye() -> None:
    distance, radius, n = 1.5, 0.5, 2000
    t = torch.linspace(0.5, 1.5, n + 1, dtype=torch.float64)[None, :-1]
    points = torch.stack([t - distance, torch.full_like(t, 1e-3), torch.zeros_like(t)], -1)
    normals = points / points.norm(dim=-1, keepdim=True)
    direction = wide(1.0, 0, 0).expand_as(points)
    alphas = neus_alpha(points.norm(dim=-1) - radius, normals, direction, torch.full_like(t, 1 / n), 500.0)
    weights = weights_from_alpha(alphas).weights
    seen = accumulate(weights, normals)[0]
    assert torch.allclose(seen, wide(-1.0, 0.0, 0.0), atol=1e-2)
    assert float(composite_depths(weights, t).median) == pytest.approx(distance - radius, abs=2e-3)


def test_a_ray_that_passes_a_sphere_is_dimmed_as_the_logistic_says() -> None:
    radius, inv_s, n = 0.4, 100.0, 20_000
    offset = radius + 4.0 / inv_s
    t = torch.linspace(-1.0, 1.0, n + 1, dtype=torch.float64)[None, :-1]
    points = torch.stack([t, torch.full_like(t, offset), torch.zeros_like(t)], -1)
    distance = points.norm(dim=-1)
    direction = wide(1.0, 0, 0).expand_as(points)
    alphas = neus_alpha(
        distance - radius, points / distance[..., None], direction, torch.full_like(t, 2.0 / n), inv_s, eps=0.0
    )
    got = float(opacity(weights_from_alpha(alphas).weights))
    assert got == pytest.approx(1 - 1 / (1 + math.exp(-4.0)), abs=2e-4)


def surface(seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    sdf, deltas = torch.rand(2, 2, 3, generator=generator, dtype=torch.float64) * 0.4
    gradients, directions = torch.randn(2, 2, 3, 3, generator=generator, dtype=torch.float64)
    return sdf - 0.2, gradients, torch.nn.functional.normalize(directions, dim=-1), deltas + 0.05, wide(12.0)[0]


@pytest.mark.parametrize("cos_anneal", [0.0, 0.4, 1.0])
def test_gradients_twice(cos_anneal: float) -> None:
    leaves = [value.requires_grad_() for value in surface(0)]
    assert torch.autograd.gradcheck(lambda *args: neus_alpha(*args, cos_anneal=cos_anneal), leaves)
    assert torch.autograd.gradgradcheck(lambda *args: neus_alpha(*args, cos_anneal=cos_anneal), leaves)


@given(st.floats(-40.0, 40.0), st.floats(0.0, 1.0))
def test_opacities_lie_between_zero_and_one(sdf: float, cos: float) -> None:
    normal = wide(-cos, math.sqrt(1 - cos * cos), 0.0)[None]
    for inv_s in (1.0, 20.0, 1e6):
        alpha = neus_alpha(wide(sdf), normal, wide(1.0, 0, 0)[None], wide(0.1), inv_s)
        assert 0.0 <= float(alpha) <= 1.0


def test_float32_keeps_its_digits_far_outside() -> None:
    """Both values of the sigmoid are almost one there; their difference would be noise."""
    sdf = torch.linspace(0.2, 0.6, 9, dtype=torch.float64)[None]
    deltas = torch.full_like(sdf, 0.05)
    exact = section_alphas(-sdf.flip(1) + 0.8, deltas, 30.0, eps=0.0)
    narrow = section_alphas((-sdf.flip(1) + 0.8).float(), deltas.float(), 30.0, eps=0.0)
    assert torch.allclose(exact, torch.zeros_like(exact))  # the distance grows: nothing is crossed
    exact = section_alphas(sdf.flip(1), deltas, 30.0, eps=0.0)
    narrow = section_alphas(sdf.flip(1).float(), deltas.float(), 30.0, eps=0.0)
    assert ((narrow - exact).abs() <= 1e-4 * exact.abs()).all()


def test_a_surface_seen_from_behind_is_not_there() -> None:
    alpha = neus_alpha(wide(0.0), wide(1.0, 0, 0)[None], wide(1.0, 0, 0)[None], wide(0.1), 50.0, eps=0.0)
    assert float(alpha) == 0.0


@pytest.mark.parametrize("beta", [0.01, 0.3, -0.3])
def test_laplace_density(beta: float) -> None:
    scale = abs(beta) + 1e-4
    got = laplace_density(wide(-1e6, -0.2, 0.0, 0.2, 1e6), beta)
    want = wide(1.0, 1 - 0.5 * math.exp(-0.2 / scale), 0.5, 0.5 * math.exp(-0.2 / scale), 0.0) / scale
    assert torch.allclose(got, want, rtol=1e-13)


def test_laplace_density_is_differentiable_everywhere() -> None:
    leaves = wide(-0.3, -0.01, 0.02, 0.5).requires_grad_(), torch.tensor(0.1).double().requires_grad_()
    assert torch.autograd.gradcheck(laplace_density, leaves)
    assert torch.autograd.gradgradcheck(laplace_density, leaves)
    far = wide(-1e5, 0.0, 1e5).requires_grad_()
    laplace_density(far, 0.01).sum().backward()
    assert far.grad is not None and far.grad.isfinite().all()


def test_a_slab_of_laplace_density_is_opaque() -> None:
    t = torch.linspace(-1, 1, 401, dtype=torch.float64)[None]
    density = laplace_density(t[:, :-1].abs() - 0.4, 0.005)
    assert float(opacity(weights_from_density(density, t.diff()).weights)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_bad_annealing_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="cos_anneal"):
        neus_alpha(*surface(0), cos_anneal=bad)
