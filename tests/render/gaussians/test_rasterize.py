"""What a picture of Gaussians is, on every back end of the CPU."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_gaussians import FIELDS, HEIGHT, WIDTH, as_dtype, camera, layers, pixel, random_scene, requiring_gradients
from torch import Tensor

from recon3d.render.gaussians import (
    CameraTensors,
    Gaussians,
    Rasterization,
    RasterOptions,
    rasterize,
)
from recon3d.render.gaussians.options import GaussianBackend

VARIANTS = [("torch", torch.float64), ("torch", torch.float32), ("numba", torch.float32)]
PICTURES = ("image", "alpha", "depth_expected", "depth_median")


@pytest.fixture(params=VARIANTS, ids=lambda one: f"{one[0]}-{str(one[1])[6:]}")
def how(request: pytest.FixtureRequest) -> tuple[GaussianBackend, torch.dtype]:
    backend, dtype = request.param
    return backend, dtype


How = tuple[GaussianBackend, torch.dtype]


def grey(value: float, n: int, dtype: torch.dtype) -> Tensor:
    return torch.full((n, 1), value, dtype=dtype)


def draw(gaussians: Gaussians, how: How, *, n_views: int = 1, **more: object) -> Rasterization:
    backend, dtype = how
    return rasterize(as_dtype(gaussians, dtype), camera(n_views, dtype), backend=backend, **more)  # type: ignore[arg-type]


def test_one_wide_gaussian_is_a_veil(how: How) -> None:
    background = torch.tensor([0.0, 0.2, 1.0], dtype=how[1])
    seen = draw(layers(depths=[2.0], opacities=[0.25]), how, background=background)
    assert seen.image.shape == (1, HEIGHT, WIDTH, 3)
    assert seen.image.dtype == how[1]
    assert torch.allclose(seen.image, (0.25 * 0.5 + 0.75 * background).expand_as(seen.image), atol=1e-5)
    assert torch.allclose(seen.alpha, torch.full_like(seen.alpha, 0.25), atol=1e-5)
    assert torch.allclose(seen.depth_expected, torch.full_like(seen.alpha, 2.0), atol=1e-4)
    assert not seen.depth_median.any()


def test_a_round_gaussian_falls_off_as_it_should(how: How) -> None:
    opacity, scale, depth = 0.8, 0.2, 2.0
    seen = draw(layers(depths=[depth], opacities=[opacity], scale=scale), how)
    variance = (20.0 * scale / depth) ** 2 + 0.3
    across = torch.arange(WIDTH) - WIDTH // 2
    down = torch.arange(HEIGHT) - HEIGHT // 2
    wanted = opacity * torch.exp(-0.5 * (across[None, :] ** 2 + down[:, None] ** 2) / variance)
    wanted = torch.where(wanted >= 1 / 255, wanted, 0).to(how[1])
    assert torch.allclose(seen.alpha[0], wanted, atol=2e-5)


def test_an_empty_scene_shows_the_background(how: How) -> None:
    background = torch.tensor([0.1, 0.2, 0.3], dtype=how[1], requires_grad=True)
    seen = draw(random_scene(0), how, background=background, n_views=2)
    assert torch.equal(seen.image, background.expand(2, HEIGHT, WIDTH, 3))
    assert not seen.alpha.any() and not seen.depth_expected.any() and not seen.depth_median.any()
    seen.image.sum().backward()
    assert background.grad is not None
    assert background.grad.tolist() == [2.0 * HEIGHT * WIDTH] * 3


def test_what_is_behind_or_on_the_camera_plane_changes_nothing(how: How) -> None:
    front = random_scene(20)
    more = layers(depths=[0.0, -1.0, -3.0, 0.005], opacities=[0.9] * 4)
    both = Gaussians(
        *(torch.cat([getattr(front, name), getattr(more, name)]) for name in FIELDS[:4]),
        torch.cat([front.sh, torch.zeros(4, 4, 3, dtype=front.sh.dtype)]),
    )
    for name in PICTURES:
        assert torch.equal(getattr(draw(front, how), name), getattr(draw(both, how), name)), name


def test_a_pixel_is_complete_before_the_gaussian_that_would_close_it(how: How) -> None:
    """0.05^3 of the light is left behind three layers; the fourth would leave 6e-6, and is not blended."""
    gaussians = layers(depths=[1.0, 2.0, 3.0, 4.0, 5.0], opacities=[0.95, 0.95, 0.95, 0.95, 0.01])
    features = torch.eye(5, dtype=how[1], requires_grad=True)
    seen = draw(gaussians, how, features=features)
    assert torch.allclose(pixel(seen.image), torch.tensor([0.95, 0.0475, 0.002375, 0, 0], dtype=how[1]), atol=1e-6)
    assert float(1 - pixel(seen.alpha.detach())) == pytest.approx(0.05**3, rel=2e-3)
    seen.image.sum().backward()
    assert features.grad is not None
    assert (features.grad[:3] > 0).all() and not features.grad[3:].any()


def test_opacity_is_cut_and_has_no_gradient_there(how: How) -> None:
    gaussians = requiring_gradients(as_dtype(layers(depths=[1.0], opacities=[0.99999]), how[1]))
    for limit in (0.999, 0.99):
        seen = rasterize(gaussians, camera(1, how[1]), backend=how[0], options=RasterOptions(max_alpha=limit))
        assert float(pixel(seen.alpha.detach())) == pytest.approx(limit, abs=1e-6)
        seen.alpha.sum().backward()
    assert gaussians.opacity_logits.grad is not None
    assert not gaussians.opacity_logits.grad.any()


@pytest.mark.parametrize("bounds", ["tight", "gsplat"])
def test_a_faint_gaussian_is_skipped(how: How, bounds: str) -> None:
    faint, visible = (draw(layers(depths=[1.0], opacities=[o]), how, bounds=bounds) for o in (0.0038, 0.0041))
    assert not faint.alpha.any()
    assert torch.allclose(visible.alpha, torch.full_like(visible.alpha, 0.0041), atol=1e-6)


def test_the_order_is_that_of_the_depths(how: How) -> None:
    one, other = torch.tensor([[1.0], [0.0]], dtype=how[1]), torch.tensor([[0.0], [1.0]], dtype=how[1])
    near_first = draw(layers(depths=[1.0, 2.0], opacities=[0.5, 0.5]), how, features=one)
    near_last = draw(layers(depths=[2.0, 1.0], opacities=[0.5, 0.5]), how, features=other)
    assert torch.equal(near_first.image, near_last.image)
    assert float(pixel(near_first.image)) == pytest.approx(0.5, abs=1e-6)


def test_of_equal_depths_the_first_is_in_front(how: How) -> None:
    features = torch.eye(3, dtype=how[1])
    seen = draw(layers(depths=[2.0] * 3, opacities=[0.5, 0.5, 0.5]), how, features=features)
    assert torch.allclose(pixel(seen.image), torch.tensor([0.5, 0.25, 0.125], dtype=how[1]), atol=1e-6)


@pytest.mark.parametrize(
    ("opacities", "median"), [([0.4, 0.8], 3.0), ([0.6, 0.8], 1.0), ([0.3, 0.2], 0.0), ([0.51, 0.5], 1.0)]
)
def test_two_layers_have_an_expected_and_a_median_depth(how: How, opacities: list[float], median: float) -> None:
    front, behind = opacities[0], (1 - opacities[0]) * opacities[1]
    seen = draw(layers(depths=[1.0, 3.0], opacities=opacities), how)
    assert float(pixel(seen.depth_expected)) == pytest.approx((front + 3 * behind) / (front + behind), rel=1e-5)
    assert float(pixel(seen.depth_median)) == pytest.approx(median)
    assert not seen.depth_median.requires_grad


def test_features_of_any_number_of_channels_replace_the_colours(how: How) -> None:
    gaussians = random_scene(30)
    source = torch.Generator().manual_seed(1)
    features = torch.rand(30, 37, generator=source, dtype=torch.float64).to(how[1])
    whole = draw(gaussians, how, features=features).image
    for channel in (0, 17, 36):
        alone = draw(gaussians, how, features=features[:, channel : channel + 1]).image
        assert torch.allclose(whole[..., channel], alone[..., 0], atol=1e-6)


def test_without_channels_there_are_still_alpha_and_depth(how: How) -> None:
    gaussians = random_scene(30)
    nothing = draw(gaussians, how, features=torch.zeros(30, 0, dtype=how[1]))
    colours = draw(gaussians, how)
    assert nothing.image.shape == (1, HEIGHT, WIDTH, 0)
    for name in PICTURES[1:]:
        assert torch.allclose(getattr(nothing, name), getattr(colours, name), atol=1e-6), name


def test_each_camera_may_have_its_own_background(how: How) -> None:
    backgrounds = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=how[1])
    seen = draw(layers(depths=[1.0], opacities=[0.5]), how, n_views=2, background=backgrounds)
    assert torch.allclose(seen.image[0, 0, 0], torch.tensor([0.75, 0.25, 0.25], dtype=how[1]), atol=1e-5)
    assert torch.allclose(seen.image[1, 0, 0], torch.tensor([0.25, 0.75, 0.25], dtype=how[1]), atol=1e-5)


def test_colours_are_a_half_plus_harmonics_and_never_negative(how: How) -> None:
    gaussians = requiring_gradients(as_dtype(layers(depths=[1.0], opacities=[0.5]), how[1]))
    sh = torch.tensor([[[0.0, 1.0, -5.0]]], dtype=how[1], requires_grad=True)
    seen = rasterize(replace(gaussians, sh=sh), camera(1, how[1]), backend=how[0])
    colour = torch.tensor([0.5, 0.5 + 0.28209479177387814, 0.0], dtype=how[1])
    assert torch.allclose(pixel(seen.image), 0.5 * colour, atol=1e-6)
    seen.image.sum().backward()
    assert sh.grad is not None
    assert (sh.grad[0, 0, :2] > 0).all() and sh.grad[0, 0, 2] == 0


def test_directions_point_from_the_camera_to_the_gaussian(how: How) -> None:
    gaussians = as_dtype(layers(depths=[2.0], opacities=[0.5]), how[1])
    sh = torch.zeros(1, 4, 3, dtype=how[1])
    sh[0, 2] = 0.3  # the basis along z
    seen = rasterize(replace(gaussians, sh=sh), camera(1, how[1]), backend=how[0])
    wanted = 0.5 * (0.5 + 0.3 * math.sqrt(3 / (4 * math.pi)))
    assert float(pixel(seen.image)[0]) == pytest.approx(wanted, abs=1e-6)


def test_compensation_keeps_the_light_of_what_is_smaller_than_a_pixel(how: How) -> None:
    """The sum over the pixels is the opacity times the area 2 pi sigma^2; without compensation it is far more."""
    opacity, scale = 0.9, 0.01
    tiny = layers(depths=[1.0], opacities=[opacity], scale=scale)
    area = 2 * math.pi * (20.0 * scale) ** 2
    assert float(draw(tiny, how, antialiased=True).alpha.sum()) == pytest.approx(opacity * area, rel=0.05)
    assert float(draw(tiny, how).alpha.sum()) > 5 * opacity * area


@pytest.mark.parametrize("antialiased", [False, True])
def test_bounds_do_not_change_the_picture(how: How, antialiased: bool) -> None:
    gaussians = random_scene(80, seed=2)
    tight, loose = (draw(gaussians, how, bounds=bounds, antialiased=antialiased) for bounds in ("tight", "gsplat"))
    assert (tight.projections[0].radii < loose.projections[0].radii).any()
    for name in PICTURES:
        assert torch.allclose(getattr(tight, name), getattr(loose, name), atol=1e-6), name


def test_densification_finds_the_gradients_of_the_projected_centres(how: How) -> None:
    gaussians = requiring_gradients(as_dtype(random_scene(20), how[1]))
    seen = rasterize(gaussians, camera(2, how[1]), backend=how[0])
    seen.image.square().sum().backward()
    for projection in seen.projections:
        assert projection.means2d.grad is not None
        moved = projection.means2d.grad.norm(dim=1) > 0
        assert moved.any() and not (moved & (projection.radii == 0).all(1)).any()
    detached = rasterize(gaussians.detach(), camera(1, how[1]), backend=how[0])
    assert not detached.image.requires_grad


def settled(gaussians: Gaussians, view: CameraTensors, **more: object) -> Tensor:
    """Pixels of the oracle's picture that do not change when the thresholds are moved a little."""
    rules = [
        {name: getattr(RasterOptions, name) * f}
        for f in (0.9999, 1.0001)
        for name in ("min_alpha", "min_transmittance")
    ]
    pictures = [rasterize(gaussians, view, backend="torch", options=RasterOptions(**r), **more).image for r in rules]  # type: ignore[arg-type]
    stack = torch.stack(pictures)
    return (stack.amax(0) - stack.amin(0)).amax(-1) < 1e-7


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_float32_agrees_with_the_oracle(backend: GaussianBackend, seed: int, antialiased: bool) -> None:
    """Pictures within 1e-4 and every gradient within 1e-3, pixels at a threshold apart."""
    scene = random_scene(150, degree=3, seed=seed)
    keep = settled(scene, camera(2), antialiased=antialiased)
    assert keep.double().mean() > 0.98
    source = torch.Generator().manual_seed(seed)
    by = {
        name: torch.randn(*keep.shape, generator=source, dtype=torch.float64) * keep
        for name in ("r", "g", "b", "a", "d")
    }
    pictures, gradients = [], []
    for one, dtype in ((backend, torch.float32), ("torch", torch.float64)):
        gaussians, view = requiring_gradients(as_dtype(scene, dtype)), camera(2, dtype)
        pose, background = view.cam_from_world.requires_grad_(), torch.full((3,), 0.3, dtype=dtype, requires_grad=True)
        seen = rasterize(gaussians, view, background=background, antialiased=antialiased, backend=one)  # type: ignore[arg-type]
        loss = sum((seen.image[..., i] * by[c].to(dtype)).sum() for i, c in enumerate("rgb"))
        loss = loss + (seen.alpha * by["a"].to(dtype)).sum() + (seen.depth_expected * by["d"].to(dtype)).sum()
        loss.backward()
        pictures.append(seen)
        gradients.append([value.grad for value in (*(getattr(gaussians, name) for name in FIELDS), pose, background)])
    for name in ("image", "alpha", "depth_expected"):
        off = (getattr(pictures[0], name).double() - getattr(pictures[1], name)).abs()[keep]
        assert off.max() < 1e-4, name
    halves = (pictures[0].depth_median.double() - pictures[1].depth_median).abs()[keep] < 1e-4
    assert halves.double().mean() > 0.99  # a transmittance within rounding of one half may fall either way
    for got, want in zip(*gradients, strict=True):
        assert got is not None and want is not None
        assert (got.double() - want).norm() <= 1e-3 * want.norm()


def test_poses_have_the_gradients_of_finite_differences(how: How) -> None:
    """The slope along a small rigid motion, in float64 by differences, in each back end by its own gradient."""
    scene = random_scene(30, seed=4)
    source = torch.Generator().manual_seed(0)
    twist = torch.randn(3, 4, generator=source, dtype=torch.float64)
    twist[:, :3] -= twist[:, :3].mT.clone()
    weights = torch.randn(1, HEIGHT, WIDTH, 3, generator=source, dtype=torch.float64)
    rules = RasterOptions(min_alpha=1e-7, min_transmittance=0.0)

    def loss(step: float) -> float:
        view = camera()
        view.cam_from_world[0, :3] += step * twist
        return float((rasterize(scene, view, backend="torch", options=rules).image * weights).sum())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    view = camera(1, how[1])
    pose = view.cam_from_world.requires_grad_()
    seen = rasterize(as_dtype(scene, how[1]), view, backend=how[0], options=rules)
    (seen.image * weights.to(how[1])).sum().backward()
    assert pose.grad is not None
    assert not pose.grad[0, 3].any()
    assert float((pose.grad[0, :3].double() * twist).sum()) == pytest.approx(slope, rel=2e-3)


def test_the_same_call_gives_the_same_bits(how: How) -> None:
    gaussians = random_scene(100, seed=6)
    one, other = draw(gaussians, how), draw(gaussians, how)
    for name in PICTURES:
        assert np.array_equal(getattr(one, name).numpy(), getattr(other, name).numpy()), name
