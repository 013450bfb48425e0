"""Rendering of whole fields: grids, surfaces, Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.rays import Rays
from recon3d.render.volume import FieldValues, OccupancyGrid, VolumeOptions, VolumeRendering, render_rays, trilinear

LOWER, UPPER = torch.tensor([-1.0, -1.0, -1.0]).double(), torch.tensor([1.0, 1.0, 1.0]).double()
BOX = (LOWER, UPPER)
RED = torch.tensor([1.0, 0.1, 0.0]).double()


def rays(seed: int = 0, n: int = 12) -> Rays:
    """From a distance of three towards a place near the centre; the last one misses."""
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64), dim=-1)
    directions = torch.randn(n, 3, generator=generator, dtype=torch.float64) * 0.2 - origins
    directions[-1] = origins[-1]
    return Rays(origins, torch.nn.functional.normalize(directions, dim=-1))


def fog(positions: Tensor, directions: Tensor) -> FieldValues:
    """Density one everywhere, red."""
    return FieldValues(rgb=RED.to(positions).expand_as(positions), density=torch.ones_like(positions[:, 0]))


def blob(positions: Tensor, directions: Tensor) -> FieldValues:
    """One Gaussian of density, of standard deviation 0.15."""
    density = 5.0 * torch.exp(-0.5 * (positions / 0.15).square().sum(-1))
    return FieldValues(rgb=0.5 + 0.5 * positions, density=density, features={"place": positions})


def ball(positions: Tensor, directions: Tensor) -> FieldValues:
    """A sphere of radius one half, coloured by its normal."""
    distance = positions.norm(dim=-1)
    normal = positions / distance[:, None].clamp(min=1e-9)
    return FieldValues(rgb=0.5 + 0.5 * normal, sdf=distance - 0.5, gradient=normal, inv_s=300.0)


def full(resolution: int = 8) -> OccupancyGrid:
    return OccupancyGrid.full(LOWER, UPPER, resolution)


def test_fog_in_a_box_is_as_thick_as_the_way_through_it() -> None:
    some, white = rays(), torch.ones(3).double()
    seen = render_rays(some, fog, VolumeOptions(n_samples=5), box=BOX, background=white)
    length = seen.samples.packing.sum(seen.samples.deltas)
    assert (length[:-1] > 1.5).all() and length[-1] == 0
    assert torch.allclose(seen.opacity, 1 - torch.exp(-length), atol=1e-14)
    assert seen.rgb is not None
    assert torch.allclose(seen.rgb, white + seen.opacity[:, None] * (RED - white), atol=1e-14)


def test_the_grid_and_the_box_agree() -> None:
    some = rays()
    boxed = render_rays(some, blob, VolumeOptions(n_samples=2000), box=BOX)
    marched = render_rays(some, blob, VolumeOptions(step=0.001), grid=full())
    assert boxed.rgb is not None and marched.rgb is not None
    assert torch.allclose(boxed.rgb, marched.rgb, atol=1e-5)
    assert torch.allclose(boxed.depth_expected, marched.depth_expected, atol=1e-4)
    assert torch.allclose(boxed.depth_median, marched.depth_median, atol=3e-3)
    assert torch.allclose(boxed.features["place"], marched.features["place"], atol=1e-5)


def test_a_gaussian_of_density_has_the_integral_that_it_should() -> None:
    """Along a line it is a Gaussian in one dimension times how far the line passes."""
    some, sigma = rays(), 0.15
    seen = render_rays(some, blob, VolumeOptions(n_samples=1000, near=1.0, far=5.0))
    nearest = -(some.origins * some.directions).sum(-1, keepdim=True)
    passed = (some.origins + nearest * some.directions).square().sum(-1)
    total = 5.0 * sigma * math.sqrt(2 * math.pi) * torch.exp(-0.5 * passed / sigma**2)
    total[-1] = 0.0
    assert torch.allclose(seen.opacity, 1 - torch.exp(-total), atol=1e-6)


def exact_distance(some: Rays, radius: float = 0.5) -> Tensor:
    """Where rays meet a sphere about the origin; NaN for those that do not."""
    along = (some.origins * some.directions).sum(-1)
    return -along - (along.square() - some.origins.square().sum(-1) + radius**2).sqrt()


@pytest.mark.parametrize(
    "arguments",
    [
        {"options": VolumeOptions(n_samples=1024), "box": BOX},
        {"options": VolumeOptions(n_samples=64, n_importance=(32, 32)), "box": BOX},
        {"options": VolumeOptions(step=0.004), "grid": full()},
    ],
    ids=["even", "importance", "grid"],
)
def test_a_surface_is_where_it_is(arguments: dict[str, Any]) -> None:
    some = rays(1)
    some = some[exact_distance(some) > 0]
    seen = render_rays(some, ball, **arguments)
    want = exact_distance(some)
    assert len(some) > 3
    assert torch.allclose(seen.depth_median, want, atol=8e-3)
    assert seen.rgb is not None
    # The eye sees the normal of the place where the ray meets the sphere.
    assert torch.allclose(seen.rgb, 0.5 + some.at(want[:, None])[:, 0], atol=2e-2)


def thin(positions: Tensor, directions: Tensor) -> FieldValues:
    """A shell of density that even samples would miss between them."""
    distance = positions.norm(dim=-1)
    return FieldValues(density=400.0 * torch.exp(-0.5 * ((distance - 0.5) / 0.02).square()))


def test_importance_samples_see_more_of_a_thin_shell() -> None:
    some, errors = rays(2, 60), []
    exact = render_rays(some, thin, VolumeOptions(n_samples=4000), box=BOX).depth_expected
    for options in (VolumeOptions(n_samples=96), VolumeOptions(n_samples=64, n_importance=(32,))):
        seen = render_rays(some, thin, options, box=BOX)
        assert seen.samples.packing.longest == 96
        errors.append(float((seen.depth_expected - exact).abs().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_chunks_and_the_order_of_rays_change_nothing() -> None:
    some = rays(3)
    for arguments in ({"box": BOX}, {"grid": full()}):
        options = VolumeOptions(n_samples=20, step=0.05, n_importance=() if "grid" in arguments else (5,))
        whole = render_rays(some, blob, options, **arguments)  # type: ignore[arg-type]
        parts = render_rays(some, blob, replace(options, chunk=5), **arguments)  # type: ignore[arg-type]
        order = torch.randperm(len(some), generator=torch.Generator().manual_seed(0))
        shuffled = render_rays(some[order], blob, options, **arguments)  # type: ignore[arg-type]
        for name in ("rgb", "opacity", "depth_sum", "depth_expected", "depth_median"):
            assert torch.equal(getattr(whole, name), getattr(parts, name))
            assert torch.equal(getattr(whole, name)[order], getattr(shuffled, name))
        assert torch.equal(whole.features["place"], parts.features["place"])
        assert torch.equal(whole.weights, parts.weights)
        assert torch.equal(whole.samples.packing.ray_indices, parts.samples.packing.ray_indices)


def test_a_background_of_each_ray_is_cut_with_the_rays() -> None:
    some, behind = rays(3), torch.rand(12, 3).double()
    whole = render_rays(some, blob, box=BOX, background=behind)
    parts = render_rays(some, blob, VolumeOptions(chunk=5), box=BOX, background=behind)
    assert whole.rgb is not None and parts.rgb is not None
    assert torch.equal(whole.rgb, parts.rgb)
    assert torch.equal(whole.rgb[-1], behind[-1])


def test_hidden_samples_are_not_asked_for_colours() -> None:
    """Behind 12 opaque units nothing is seen; dropping it changes the picture by less than the threshold."""
    asked: list[int] = []

    def dense(positions: Tensor, directions: Tensor) -> FieldValues:
        return FieldValues(density=torch.full_like(positions[:, 0], 12.0))

    def coloured(positions: Tensor, directions: Tensor) -> FieldValues:
        asked.append(len(positions))
        return replace(dense(positions, directions), rgb=0.5 + 0.5 * positions)

    some, options = rays(4), VolumeOptions(step=0.02)
    every = render_rays(some, coloured, options, grid=full())
    fewer = render_rays(some, coloured, options, grid=full(), geometry=dense)
    assert every.rgb is not None and fewer.rgb is not None
    assert asked[3] < 0.6 * asked[1]
    assert torch.allclose(every.rgb, fewer.rgb, atol=2e-4)
    assert len(fewer.weights) == asked[3]


def test_gradients_reach_the_field_and_the_background() -> None:
    generator = torch.Generator().manual_seed(0)
    nodes = torch.rand(1, 4, 3, 3, 3, generator=generator, dtype=torch.float64)
    some, background = rays(5, 4), torch.tensor([0.2, 0.4, 0.6]).double()

    def picture(nodes: Tensor, background: Tensor) -> Tensor:
        def grid_field(positions: Tensor, directions: Tensor) -> FieldValues:
            values = trilinear(nodes, positions[None])[0]
            return FieldValues(rgb=values[:, 1:], density=values[:, 0] * 3)

        seen = render_rays(some, grid_field, VolumeOptions(n_samples=6), box=BOX, background=background)
        assert seen.rgb is not None
        return torch.cat([seen.rgb.flatten(), seen.depth_expected])

    leaves = nodes.requires_grad_(), background.requires_grad_()
    assert torch.autograd.gradcheck(picture, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(picture, leaves, fast_mode=True)


def test_opacities_of_samples_are_blended_as_they_are() -> None:
    def glass(positions: Tensor, directions: Tensor) -> FieldValues:
        return FieldValues(alpha=torch.full_like(positions[:, 0], 0.5))

    seen = render_rays(rays(), glass, VolumeOptions(n_samples=3), box=BOX)
    assert seen.rgb is None
    assert torch.allclose(seen.opacity[:-1], torch.full((11,), 0.875).double())


def test_random_samples_need_the_same_generator() -> None:
    some = rays()
    for arguments in ({"box": BOX}, {"grid": full()}):
        pictures = [
            render_rays(some, blob, generator=torch.Generator().manual_seed(seed), **arguments)  # type: ignore[arg-type]
            for seed in (0, 0, 1)
        ]
        assert torch.equal(pictures[0].depth_sum, pictures[1].depth_sum)
        assert not torch.equal(pictures[0].depth_sum, pictures[2].depth_sum)
        assert torch.allclose(pictures[0].opacity, pictures[2].opacity, atol=0.02)


@pytest.mark.parametrize("field", [fog, ball, blob])
@pytest.mark.parametrize("case", ["no ray", "only misses"])
def test_nothing_is_seen_where_nothing_is(case: str, field: Callable[[Tensor, Tensor], FieldValues]) -> None:
    some = rays()[:0] if case == "no ray" else rays()[-1:]
    background = torch.tensor([0.25, 0.5, 1.0]).double()
    options = VolumeOptions(n_importance=(4,))
    for arguments in ({"box": BOX}, {"grid": full()}):
        seen: VolumeRendering = render_rays(some, field, options, background=background, **arguments)  # type: ignore[arg-type]
        assert seen.rgb is not None
        assert torch.equal(seen.rgb, background.expand(len(some), 3))
        assert not seen.opacity.any() and not seen.depth_median.any() and not seen.depth_expected.any()
        assert len(seen.samples) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"n_samples": 0},
        {"n_importance": (8, 0)},
        {"chunk": 0},
        {"early_stop": 1.0},
        {"alpha_threshold": -0.1},
        {"step": 0.0},
        {"near": -1.0},
    ],
)
def test_bad_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        VolumeOptions(**bad)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_arguments_are_refused() -> None:
    some, ones = rays(), torch.ones(12)
    surface = {"sdf": ones, "gradient": torch.ones(12, 3)}
    cases: list[tuple[type[Exception], str, Any]] = [
        (UsageError, "not in both", lambda: render_rays(some, fog, box=BOX, grid=full())),
        (UsageError, "far must be finite", lambda: render_rays(some, fog)),
        (ShapeError, "background", lambda: render_rays(some, fog, box=BOX, background=torch.ones(5, 3).double())),
        (ShapeError, "background", lambda: render_rays(some, fog, box=BOX, background=torch.ones(4).double())),
        (ShapeError, "answers at every point", lambda: render_rays(some, lambda p, d: fog(p[1:], d), box=BOX)),
        (UsageError, "one of density, alpha and sdf; got: none", lambda: FieldValues(rgb=torch.ones(12, 3))),
        (UsageError, "one of density, alpha and sdf; got:", lambda: FieldValues(density=ones, alpha=ones)),
        (UsageError, "wants its gradient and inv_s", lambda: FieldValues(sdf=ones)),
        (UsageError, "wants its gradient and inv_s", lambda: FieldValues(**surface)),  # type: ignore[arg-type]
        (ShapeError, "rgb is given per point", lambda: FieldValues(rgb=torch.ones(3, 3), density=ones)),
        (ShapeError, "f is given per point", lambda: FieldValues(density=ones, features={"f": torch.ones(3, 3)})),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_a_field_speaks_of_one_thing() -> None:
    def changing(positions: Tensor, directions: Tensor) -> FieldValues:
        return ball(positions, directions) if len(positions) == 1 else fog(positions, directions)

    with pytest.raises(UsageError, match="answers alike everywhere"):
        render_rays(rays(), changing, box=BOX)
    with pytest.raises(UsageError, match="answers alike everywhere"):
        render_rays(rays(), changing, VolumeOptions(n_importance=(4,)), box=BOX)
