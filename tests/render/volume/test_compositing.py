"""Compositing against what can be worked out by hand (spec ponder 11.5), in a rectangle and in one row."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.volume import (
    Packing,
    accumulate,
    composite_depths,
    opacity,
    over_background,
    visible,
    weights_from_alpha,
    weights_from_density,
)

LAYOUTS = pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])


def wide(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rays(packed: bool, *values: Tensor) -> tuple[Tensor, ...]:
    """Values ``[r,n,...]`` in the layout, with the packing or None behind them."""
    r, n = values[0].shape[:2]
    if not packed:
        return (*values, None)  # type: ignore[return-value]
    packing = Packing.of_counts(torch.full((r,), n))
    return (*(value.flatten(0, 1) for value in values), packing)  # type: ignore[return-value]


def random_rays(seed: int, r: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.rand(r, n, *more, generator=generator, dtype=torch.float64) for more in ((), (), (3,))]
    return draw[0] * 4, draw[1], draw[2]


@LAYOUTS
@given(cuts=st.lists(st.floats(0.0, 1.0), max_size=6), density=st.floats(0.0, 30.0))
def test_constant_density_is_the_same_for_any_partition(packed: bool, cuts: list[float], density: float) -> None:
    edges = wide(0.0, *sorted(cuts), 1.0)
    deltas = edges.diff()[None]
    *flat, packing = rays(packed, torch.full_like(deltas, density), deltas)
    found = weights_from_density(*flat, packing)
    assert float(opacity(found.weights, packing)) == pytest.approx(1 - math.exp(-density), abs=1e-14)


@LAYOUTS
def test_expected_depth_of_a_constant_density(packed: bool) -> None:
    start, length, density = 0.7, 1.5, 2.0
    errors = []
    for n in (200, 400):
        edges = torch.linspace(start, start + length, n + 1, dtype=torch.float64)[None]
        t, deltas = 0.5 * (edges[:, 1:] + edges[:, :-1]), edges.diff()
        *flat, packing = rays(packed, torch.full_like(t, density), deltas, t)
        weights = weights_from_density(flat[0], flat[1], packing).weights
        gone = math.exp(-density * length)
        exact = start + 1 / density - length * gone / (1 - gone)
        errors.append(abs(float(composite_depths(weights, flat[2], packing).expected) - exact))
    assert errors[0] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)  # of second order in the step


@LAYOUTS
def test_two_slabs(packed: bool) -> None:
    s1, s2, colours = 0.8, 1.7, wide([[1.0, 0.2, 0.0], [0.1, 0.9, 0.4]])
    *flat, packing = rays(packed, wide([s1, s2]), torch.ones(1, 2).double(), colours[None, 0])
    weights = weights_from_density(flat[0], flat[1], packing).weights
    want = (1 - math.exp(-s1)) * colours[0, 0] + math.exp(-s1) * (1 - math.exp(-s2)) * colours[0, 1]
    assert torch.allclose(accumulate(weights, flat[2], packing)[0], want, atol=1e-15)


@LAYOUTS
@given(seed=st.integers(0, 1000), at=st.integers(0, 5), share=st.floats(0.0, 1.0))
def test_splitting_an_interval_changes_nothing(packed: bool, seed: int, at: int, share: float) -> None:
    density, deltas, colours = random_rays(seed, 2, 6)
    length = deltas[:, at : at + 1]
    parts = [deltas[:, :at], share * length, (1 - share) * length, deltas[:, at + 1 :]]
    again = [0, 1, 2, 3, 4, 5]
    again.insert(at, at)
    split = density[:, again], torch.cat(parts, 1), colours[:, again]
    *one, packing = rays(packed, density, deltas, colours)
    *two, finer = rays(packed, *split)
    before = accumulate(weights_from_density(one[0], one[1], packing).weights, one[2], packing)
    after = accumulate(weights_from_density(two[0], two[1], finer).weights, two[2], finer)
    assert torch.allclose(before, after, atol=1e-13)


@LAYOUTS
def test_empty_samples_change_nothing(packed: bool) -> None:
    density, deltas, colours = random_rays(0, 3, 5)
    zeros = torch.zeros(3, 1).double()
    more = torch.cat([zeros, density, zeros], 1), torch.cat([deltas[:, :1], deltas, deltas[:, :1]], 1)
    *one, packing = rays(packed, density, deltas, colours)
    *two, longer = rays(packed, *more, torch.cat([colours[:, :1], colours, colours[:, :1]], 1))
    before = accumulate(weights_from_density(one[0], one[1], packing).weights, one[2], packing)
    after = accumulate(weights_from_density(two[0], two[1], longer).weights, two[2], longer)
    assert torch.allclose(before, after, atol=1e-15)


@LAYOUTS
def test_every_sample_changes_the_opacity_by_what_passes_the_ray(packed: bool) -> None:
    density, deltas, _ = random_rays(1, 3, 7)
    *flat, packing = rays(packed, density, deltas)
    flat[0].requires_grad_()
    stops = opacity(weights_from_density(flat[0], flat[1], packing).weights, packing)
    (by_density,) = torch.autograd.grad(stops.sum(), flat[0])
    want = deltas * (1 - stops.detach())[:, None]
    assert torch.allclose(by_density.reshape(3, 7), want, atol=1e-14)


@LAYOUTS
def test_nothing_before_a_white_background_is_white(packed: bool) -> None:
    _, deltas, colours = random_rays(2, 2, 4)
    *flat, packing = rays(packed, torch.zeros_like(deltas), deltas, colours)
    flat[2].requires_grad_()
    weights = weights_from_density(flat[0], flat[1], packing).weights
    seen = over_background(accumulate(weights, flat[2], packing), opacity(weights, packing), torch.ones(3).double())
    assert torch.equal(seen, torch.ones(2, 3).double())
    seen.sum().backward()
    assert flat[2].grad is not None and not flat[2].grad.any()


@LAYOUTS
def test_the_streaming_gradient_of_the_paper(packed: bool) -> None:
    """dL/dsigma_i = d_i (T_i+1 g_i - sum of w_j g_j behind it - T_end g_bg), with a background."""
    density, deltas, colours = random_rays(3, 4, 9)
    background, by_colour = wide(0.3, 0.6, 0.1), wide(0.7, -0.4, 1.1)
    *flat, packing = rays(packed, density, deltas, colours)
    flat[0].requires_grad_()
    found = weights_from_density(flat[0], flat[1], packing)
    seen = over_background(accumulate(found.weights, flat[2], packing), opacity(found.weights, packing), background)
    (got,) = torch.autograd.grad((seen * by_colour).sum(), flat[0])
    weights, before = (value.detach().reshape(4, 9) for value in found[:2])
    g, end = colours @ by_colour, 1 - weights.sum(-1, keepdim=True)
    behind = (weights * g).flip(1).cumsum(1).flip(1) - weights * g
    want = deltas * ((before - weights) * g - behind - end * (background @ by_colour))
    assert torch.allclose(got.reshape(4, 9), want, atol=1e-13)


@LAYOUTS
def test_gradients_twice(packed: bool) -> None:
    density, deltas, colours = random_rays(4, 2, 4)
    *flat, packing = rays(packed, density, deltas, colours)
    leaves = [value.requires_grad_() for value in flat]

    def seen(density: Tensor, deltas: Tensor, colours: Tensor) -> Tensor:
        found = weights_from_density(density, deltas, packing)
        light = accumulate(found.weights, colours, packing)
        return torch.cat([light.flatten(), composite_depths(found.weights, deltas, packing).expected])

    assert torch.autograd.gradcheck(seen, leaves)
    assert torch.autograd.gradgradcheck(seen, leaves)


@LAYOUTS
@pytest.mark.parametrize("opaque", [[], [1], [0, 2], [0, 1, 2, 3]])
def test_gradients_of_opacities_twice_also_at_one(packed: bool, opaque: list[int]) -> None:
    """A quotient would be 0/0 there. The opacity goes on beyond one as a polynomial, so differences are two-sided."""
    alphas = random_rays(5, 2, 4)[1]
    alphas[:, opaque] = 1.0
    *flat, packing = rays(packed, alphas)
    leaf = flat[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda a: weights_from_alpha(a, packing).weights, (leaf,))
    assert torch.autograd.gradgradcheck(lambda a: weights_from_alpha(a, packing).weights, (leaf,))


@LAYOUTS
def test_densities_and_their_opacities_agree(packed: bool) -> None:
    density, deltas, _ = random_rays(6, 3, 8)
    *flat, packing = rays(packed, density, deltas)
    one = weights_from_density(flat[0], flat[1], packing)
    two = weights_from_alpha(one.alphas, packing)
    assert all(torch.allclose(a, b, atol=1e-15) for a, b in zip(one, two, strict=True))


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_wall_hides_what_is_behind_it(packed: bool, dtype: torch.dtype) -> None:
    """Infinite density is an opaque sample: values and gradients stay finite."""
    density = torch.tensor([[0.5, torch.inf, 2.0], [torch.inf, 1.0, torch.inf]], dtype=dtype)
    *flat, packing = rays(packed, density, torch.ones_like(density))
    flat[0].requires_grad_()
    found = weights_from_density(flat[0], flat[1], packing)
    stops = opacity(found.weights, packing)
    assert torch.equal(stops, torch.ones_like(stops))
    assert float(found.weights.reshape(2, 3)[0, 2].detach()) == 0.0
    found.weights.sum().backward()
    assert flat[0].grad is not None and flat[0].grad.isfinite().all()


@LAYOUTS
def test_median_depth_is_where_half_is_reached(packed: bool) -> None:
    alphas, t = (
        wide([0.3, 0.2, 0.5, 0.9], [0.5, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]),
        wide([1.0, 2, 3, 4]).expand(3, 4),
    )
    *flat, packing = rays(packed, alphas, t)
    weights = weights_from_alpha(flat[0], packing).weights
    assert composite_depths(weights, flat[1], packing).median.tolist() == [3.0, 1.0, 0.0]


@LAYOUTS
def test_what_is_visible(packed: bool) -> None:
    *flat, packing = rays(packed, wide([0.1, 0.99, 0.5, 0.5]))
    found = weights_from_alpha(flat[0], packing)
    assert visible(found, early_stop=0.005).flatten().tolist() == [True, True, True, False]
    assert visible(found, early_stop=0.0, alpha_threshold=0.5).flatten().tolist() == [False, True, True, True]
    assert visible(found, early_stop=1.0, alpha_threshold=0.1).flatten().tolist() == [True, False, False, False]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 1000))
def test_packed_rays_are_rays_alone(counts: list[int], seed: int) -> None:
    """Each ray of a row is, to the last bit, what it is without the others; also rays without samples."""
    packing = Packing.of_counts(torch.tensor(counts))
    density, deltas, colours = (value[0] for value in random_rays(seed, 1, sum(counts)))
    weights = weights_from_density(density, deltas, packing).weights
    light, depths = accumulate(weights, colours, packing), composite_depths(weights, deltas, packing)
    end = 0
    for ray, count in enumerate(counts):
        own = slice(end, end + count)
        end += count
        alone = Packing.of_counts(torch.tensor([count]))
        mine = weights_from_density(density[own], deltas[own], alone).weights
        assert torch.equal(mine, weights[own])
        assert torch.equal(accumulate(mine, colours[own], alone)[0], light[ray])
        single = composite_depths(mine, deltas[own], alone)
        assert all(a[0] == b[ray] for a, b in zip(single, depths, strict=True))


def test_rays_without_samples_show_the_background_and_have_finite_gradients() -> None:
    packing = Packing(torch.tensor([1, 1]), 3)
    density = torch.tensor([0.5, 0.5], requires_grad=True)
    weights = weights_from_density(density, torch.ones(2), packing).weights
    stops, depths = opacity(weights, packing), composite_depths(weights, torch.ones(2), packing)
    seen = over_background(accumulate(weights, torch.ones(2, 3), packing), stops, torch.full((3,), 0.25))
    assert torch.equal(seen[[0, 2]], torch.full((2, 3), 0.25))
    assert all(not value[[0, 2]].any() for value in (stops, *depths))
    (seen.sum() + depths.expected.sum()).backward()
    assert density.grad is not None and density.grad.isfinite().all()


def test_no_sample_and_no_ray() -> None:
    for n_rays in (0, 4):
        nothing, packing = torch.zeros(0), Packing(torch.zeros(0, dtype=torch.int64), n_rays)
        for found in (weights_from_density(nothing, nothing, packing), weights_from_alpha(nothing, packing)):
            assert accumulate(found.weights, torch.zeros(0, 3), packing).shape == (n_rays, 3)
            assert composite_depths(found.weights, nothing, packing).median.shape == (n_rays,)
    dense = weights_from_density(torch.zeros(3, 0), torch.zeros(3, 0))
    assert composite_depths(dense.weights, torch.zeros(3, 0)).median.tolist() == [0.0] * 3


def test_a_background_of_each_ray() -> None:
    seen = over_background(torch.zeros(2, 3), torch.tensor([0.0, 0.5]), torch.eye(3)[:2])
    assert torch.equal(seen, torch.tensor([[1.0, 0, 0], [0, 0.5, 0]]))


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments_are_refused() -> None:
    flat, packing = torch.ones(4), Packing(torch.zeros(4, dtype=torch.int64), 1)
    cases: list[tuple[type[Exception], str, Any]] = [
        (ShapeError, "rectangle; got: .4.*give the packing", lambda: weights_from_density(flat, flat)),
        (ShapeError, "deltas", lambda: weights_from_density(flat, flat[:2], packing)),
        (ShapeError, "one value per packed sample", lambda: weights_from_alpha(flat[:2], packing)),
        (ShapeError, "values are given per sample", lambda: accumulate(flat, torch.ones(3, 2), packing)),
        (ShapeError, "background", lambda: over_background(torch.ones(2, 3), torch.ones(2), torch.ones(4))),
        (UsageError, "floating-point", lambda: weights_from_alpha(flat.long(), packing)),
        (ShapeError, "t has the wrong shape", lambda: composite_depths(flat, flat[:3], packing)),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()
