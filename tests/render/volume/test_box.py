from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st

from recon3d.core.errors import UsageError
from recon3d.render.rays import Rays
from recon3d.render.volume import box_interval, ray_box

LOWER, UPPER = torch.full((3,), -0.5, dtype=torch.float64), torch.full((3,), 0.5, dtype=torch.float64)
INF = float("inf")


def one(origin: list[float], direction: list[float], **limits: float) -> tuple[float, float, bool]:
    rays = Rays(torch.tensor([origin], dtype=torch.float64), torch.tensor([direction], dtype=torch.float64))
    hits = ray_box(rays, LOWER, UPPER, **limits)
    return float(hits.near), float(hits.far), bool(hits.hit)


@pytest.mark.parametrize(
    ("origin", "direction", "want"),
    [
        pytest.param([2.0, 0, 0], [-1.0, 0, 0], (1.5, 2.5, True), id="from outside"),
        pytest.param([0.0, 0, 0], [0, 0, 1.0], (0.0, 0.5, True), id="from inside"),
        pytest.param([2.0, 0, 0], [1.0, 0, 0], (0.0, 0.0, False), id="the box is behind"),
        pytest.param([0.5, 2, 0], [0, -1.0, 0], (1.5, 2.5, True), id="along a face"),
        pytest.param([0.5, 2, 0], [0.0, -1.0, -0.0], (1.5, 2.5, True), id="along a face, minus zero"),
        pytest.param([0.500001, 2, 0], [0, -1.0, 0], (0.0, 0.0, False), id="beside a face"),
        pytest.param([1.5, 0, 0.5], [-1.0, 1.0, 0], (0.0, 0.0, False), id="touches an edge"),
        pytest.param([0.5, 0, 0], [1.0, 0, 0], (0.0, 0.0, False), id="starts on a face, leaves"),
        pytest.param([0.5, 0, 0], [-2.0, 0, 0], (0.0, 0.5, True), id="direction of length two"),
    ],
)
def test_cases(origin: list[float], direction: list[float], want: tuple[float, float, bool]) -> None:
    assert one(origin, direction) == want


def test_the_diagonal_is_as_long_as_it_should_be() -> None:
    corner, way = [2.0, 2.0, 2.0], [-1 / math.sqrt(3)] * 3
    near, far, hit = one(corner, way)
    assert hit
    assert far - near == pytest.approx(math.sqrt(3), abs=1e-12)


def test_near_and_far_planes() -> None:
    assert one([2.0, 0, 0], [-1.0, 0, 0], near=1.75, far=2.0) == (1.75, 2.0, True)
    assert one([2.0, 0, 0], [-1.0, 0, 0], near=2.5) == (0.0, 0.0, False)
    assert one([2.0, 0, 0], [-1.0, 0, 0], far=1.5) == (0.0, 0.0, False)


numbers = st.floats(-2.0, 2.0).map(lambda x: 0.0 if abs(x) < 1e-3 else x)
vectors = st.tuples(numbers, numbers, numbers)


@given(vectors, vectors.filter(any))
def test_the_interval_is_what_lies_inside(origin: tuple[float, ...], direction: tuple[float, ...]) -> None:
    """Points a little inside the interval lie in the box, points a little outside do not."""
    rays = Rays(torch.tensor([origin], dtype=torch.float64), torch.tensor([direction], dtype=torch.float64))
    enter, leave = box_interval(rays, LOWER, UPPER)
    t = torch.linspace(-5.0, 5.0, 1001, dtype=torch.float64)
    unclear = torch.minimum((t - enter).abs(), (t - leave).abs()) < 1e-9
    inside = ((rays.at(t[None]) >= LOWER) & (rays.at(t[None]) <= UPPER)).all(-1)[0]
    on_a_face = bool((rays.origins.abs() == 0.5).any())
    assert on_a_face or torch.equal(inside[~unclear], ((t > enter) & (t < leave))[~unclear])


def test_no_ray() -> None:
    hits = ray_box(Rays(torch.zeros(0, 3), torch.zeros(0, 3)), LOWER.float(), UPPER.float())
    assert [len(value) for value in hits] == [0, 0, 0]


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    origins = torch.rand(6, 3, generator=generator, dtype=torch.float64) * 0.6 + torch.tensor([2.0, 0, 0])
    directions = -origins + 0.2 * torch.rand(6, 3, generator=generator, dtype=torch.float64)
    leaves = [value.clone().requires_grad_() for value in (origins, directions, LOWER, UPPER)]
    assert torch.autograd.gradcheck(lambda o, d, lo, hi: ray_box(Rays(o, d), lo, hi)[:2], leaves)


def test_a_parallel_ray_has_finite_gradients() -> None:
    origins = torch.tensor([[2.0, 0.5, 0.0], [2.0, 3.0, 0.0]], dtype=torch.float64, requires_grad=True)
    directions = torch.tensor([[-1.0, 0.0, 0.0]] * 2, dtype=torch.float64, requires_grad=True)
    hits = ray_box(Rays(origins, directions), LOWER, UPPER)
    (hits.near + hits.far).sum().backward()
    assert origins.grad is not None and origins.grad.isfinite().all()
    assert directions.grad is not None and directions.grad.isfinite().all()


def test_bad_limits_are_refused() -> None:
    rays = Rays(torch.zeros(1, 3), torch.ones(1, 3))
    with pytest.raises(UsageError, match="near must not be negative"):
        ray_box(rays, LOWER.float(), UPPER.float(), near=-1.0)
    with pytest.raises(UsageError, match="far must lie behind"):
        ray_box(rays, LOWER.float(), UPPER.float(), near=2.0, far=2.0)
    with pytest.raises(UsageError, match="lower corner"):
        ray_box(rays, UPPER.float(), LOWER.float())
