from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.volume import Spacing, even_edges, importance_edges, merge_edges, neus_edges
from recon3d.render.volume.spacing import SpacingKind

KINDS: tuple[SpacingKind, ...] = get_args(SpacingKind)
WIDE = torch.zeros((), dtype=torch.float64)


def increasing(edges: Tensor) -> bool:
    return bool((edges.diff(dim=1) >= 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_spacing_goes_from_near_to_far_and_back(kind: SpacingKind) -> None:
    spacing = Spacing(torch.tensor([0.2, 3.0]).double(), torch.tensor([0.9, 40.0]).double(), kind)
    s = torch.linspace(0, 1, 33, dtype=torch.float64).expand(2, -1)
    t = spacing.distances(s)
    assert torch.allclose(t[:, [0, -1]], torch.stack([spacing.near, spacing.far], 1))
    assert (t.diff(dim=1) > 0).all()
    assert torch.allclose(spacing.fractions(t), s, atol=1e-12)


def test_what_the_kinds_space_evenly() -> None:
    near, far = torch.tensor([0.25]).double(), torch.tensor([16.0]).double()
    s = torch.linspace(0, 1, 9, dtype=torch.float64)[None]
    maps: dict[SpacingKind, Any] = {"uniform": lambda t: t, "disparity": lambda t: 1 / t, "sqrt": torch.sqrt}
    for kind, scale in (maps | {"log": torch.log}).items():
        steps = scale(Spacing(near, far, kind).distances(s)).diff()
        assert torch.allclose(steps, steps[:, :1].expand_as(steps))
    half = Spacing(torch.tensor([0.0]).double(), torch.tensor([1e9]).double(), "piecewise").distances(s)
    assert half[0, 4] == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(half[0, :4], torch.arange(4).double() / 4, atol=1e-6)


def test_a_ray_of_no_length_has_all_samples_in_one_place() -> None:
    spacing = Spacing(torch.tensor([2.0]), torch.tensor([2.0]))
    assert torch.equal(spacing.distances(torch.rand(1, 5)), torch.full((1, 5), 2.0))
    assert not spacing.fractions(torch.full((1, 5), 2.0)).any()


@pytest.mark.parametrize(
    ("near", "far", "kind", "message"),
    [
        (0.0, 1.0, "log", "near must be positive for log"),
        (0.0, 1.0, "disparity", "near must be positive"),
        (-0.1, 1.0, "sqrt", "near must be not negative"),
        (2.0, 1.0, "uniform", "not lie before near"),
        (0.0, float("inf"), "uniform", "far must be finite"),
        (0.0, 1.0, "cubic", "no such spacing"),
    ],
)
@pytest.mark.usefixtures("without_shape_checks")
def test_bad_spacing_is_refused(near: float, far: float, kind: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Spacing(torch.tensor([near]), torch.tensor([far]), kind)


@given(st.integers(1, 20), st.integers(0, 2**31))
def test_jittered_edges_stay_in_their_strata(n: int, seed: int) -> None:
    edges = even_edges(3, n, like=WIDE, jitter=torch.Generator().manual_seed(seed))
    even = even_edges(3, n, like=WIDE)
    assert edges.shape == (3, n + 1)
    assert increasing(edges)
    assert ((edges - even).abs() <= 0.5 / n + 1e-12).all()
    assert (edges >= 0).all() and (edges <= 1).all()


def test_jitter_is_the_same_for_the_same_numbers() -> None:
    numbers = torch.rand(4, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    drawn = even_edges(4, 8, like=WIDE, jitter=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, even_edges(4, 8, like=WIDE, jitter=numbers))
    single = even_edges(4, 8, like=WIDE, jitter=numbers[:, :1])
    assert torch.allclose(single[:, 1:-1].diff(dim=1), torch.full((4, 6), 0.125, dtype=torch.float64))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.integers(1, 30))
def test_importance_edges_are_in_order_and_inside(weights: list[float], n: int) -> None:
    edges = even_edges(1, len(weights), like=WIDE, jitter=torch.Generator().manual_seed(len(weights)))
    new = importance_edges(edges, torch.tensor([weights]).double(), n)
    assert new.isfinite().all()
    assert increasing(new)
    assert (new >= edges[:, :1]).all() and (new <= edges[:, -1:]).all()


def test_quantiles_of_a_piecewise_constant_density() -> None:
    """Two bins with shares 1/4 and 3/4: the inverse of the integral is a line in each."""
    edges, n = torch.tensor([[0.0, 0.5, 1.0]]).double(), 15
    got = importance_edges(edges, torch.tensor([[1.0, 3.0]]).double(), n)[0]
    u = (torch.arange(n + 1).double() + 0.5) / (n + 1)
    assert torch.allclose(got, torch.where(u < 0.25, 2.0 * u, 0.5 + (u - 0.25) / 1.5), atol=1e-12)


def test_a_flat_density_gives_even_samples() -> None:
    edges = even_edges(2, 7, like=WIDE)
    for weights in (torch.ones(2, 7).double(), torch.zeros(2, 7).double()):
        got = importance_edges(edges, weights, 9)
        u = (torch.arange(10).double() + 0.5) / 10
        assert torch.allclose(got, u.expand(2, -1), atol=1e-12)


def test_one_full_bin_takes_all_samples() -> None:
    weights = torch.zeros(1, 10).double()
    weights[0, 3] = 2.0
    got = importance_edges(even_edges(1, 10, like=WIDE), weights, 6)
    assert (got >= 0.3).all() and (got <= 0.4).all()
    assert (got.diff() > 0).all()


def test_random_samples_follow_the_density() -> None:
    """Kolmogorov-Smirnov distance of 10,000 samples on one ray."""
    weights = torch.tensor([[0.1, 0.0, 0.5, 0.4, 0.0, 1.0]]).double()
    got = importance_edges(even_edges(1, 6, like=WIDE), weights, 9_999, jitter=torch.Generator().manual_seed(0))[0]
    integral = torch.cat([torch.zeros(1).double(), (weights / weights.sum())[0].cumsum(0)])
    place = (got * 6).clamp(max=6 - 1e-9)
    low = place.floor().long()
    exact = integral[low] + (place - low) * (integral[low + 1] - integral[low])
    distance = (exact - (torch.arange(10_000).double() + 0.5) / 10_000).abs().max()
    assert distance < 0.02


def test_merged_edges_keep_every_start() -> None:
    one, other = torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.2, 0.5, 0.9, 0.95]])
    assert torch.equal(merge_edges(one, other), torch.tensor([[0.0, 0.2, 0.5, 0.5, 0.9, 1.0]]))


@pytest.mark.parametrize("steps", [[32], [16, 16], [8, 8, 8, 8]])
def test_neus_samples_gather_where_a_sphere_begins(steps: list[int]) -> None:
    distance, radius = 2.0, 0.4
    spacing = Spacing(torch.tensor([0.5]).double(), torch.tensor([3.5]).double())

    def sphere(t: Tensor) -> Tensor:
        return (t - distance).abs() - radius

    edges = neus_edges(sphere, spacing, even_edges(1, 32, like=WIDE), steps)
    t = spacing.distances(edges)[0]
    assert len(t) == 32 + sum(steps) + 1
    assert increasing(t[None])
    close = ((t - (distance - radius)).abs() < 0.1).sum()
    assert close > 0.8 * sum(steps)


def test_neus_asks_for_every_sample_once() -> None:
    asked: list[Tensor] = []

    def plane(t: Tensor) -> Tensor:
        asked.append(t)
        return 0.5 - t

    spacing = Spacing(torch.zeros(1), torch.ones(1))
    edges = neus_edges(plane, spacing, even_edges(1, 8, like=torch.zeros(())), [4, 4])
    assert [value.shape[1] for value in asked] == [8, 4]
    starts = spacing.distances(edges)[0, :-1]
    assert all(bool((starts == value).any()) for value in torch.cat(asked, 1)[0])


def test_no_ray() -> None:
    edges = even_edges(0, 4, like=WIDE)
    assert edges.shape == (0, 5)
    assert importance_edges(edges, torch.zeros(0, 4).double(), 3).shape == (0, 4)
    spacing = Spacing(torch.zeros(0).double(), torch.zeros(0).double())
    assert neus_edges(lambda t: t, spacing, edges, [3]).shape == (0, 8)


def test_bad_requests_are_refused() -> None:
    edges = even_edges(2, 4, like=WIDE)
    with pytest.raises(UsageError, match="a ray needs samples"):
        even_edges(2, 0, like=WIDE)
    with pytest.raises(UsageError, match="a ray needs samples"):
        importance_edges(edges, torch.ones(2, 4).double(), 0)
    with pytest.raises(ShapeError, match="jitter"):
        even_edges(2, 4, like=WIDE, jitter=torch.rand(2, 4).double())
    with pytest.raises(ShapeError, match="edges"):
        importance_edges(edges, torch.ones(2, 5).double(), 3)
    spacing = Spacing(torch.zeros(2).double(), torch.ones(2).double())
    with pytest.raises(UsageError, match="each step wants its random numbers"):
        neus_edges(lambda t: t, spacing, edges, [3, 3], jitter=[None])
