"""The calls to gsplat at odd sizes of image and features, against plain torch; a stand-in plays gsplat."""

from __future__ import annotations

import sys
from dataclasses import replace

import fake_gsplat
import pytest
import torch
from small_gaussians import as_dtype, camera, layers, random_scene

from recon3d.render.gaussians import (
    Gaussians,
    Projection,
    ProjectionOptions,
    RasterOptions,
    cuda,
    rasterize,
    reference,
    reference_raster,
)

PICTURES = ("image", "alpha", "depth_expected", "depth_median")


@pytest.fixture(autouse=True)
def gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", fake_gsplat)


def projected(scene: Gaussians, size: tuple[int, int], options: ProjectionOptions) -> tuple[Projection, Projection]:
    """Return the projection by the calls to gsplat and that by plain torch."""
    view = camera(1, torch.float32, size)
    where = (scene.means, scene.quats, scene.log_scales, view.cam_from_world[0], view.K[0], *size)
    ours, wanted = (home.project(*where, opacities=scene.opacities, options=options) for home in (cuda, reference))
    return ours, wanted


@pytest.mark.parametrize("size", [(1, 1), (15, 17), (33, 16), (16, 16)])
@pytest.mark.parametrize("n_channels", [0, 1, 31, 32, 33, 65])
def test_any_size_and_number_of_channels(size: tuple[int, int], n_channels: int) -> None:
    scene = as_dtype(random_scene(30, seed=n_channels), torch.float32)
    features = torch.rand(30, n_channels, generator=torch.Generator().manual_seed(n_channels))
    ours, wanted = projected(scene, size, ProjectionOptions())
    found = cuda.rasterize_projected(ours, scene.opacities, features, *size, options=RasterOptions())
    plain = reference_raster.rasterize_projected(wanted, scene.opacities, features, *size, options=RasterOptions())
    for got, want in zip(found, plain, strict=True):
        assert got.shape == want.shape and torch.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    "options", [ProjectionOptions(near=1.5, far=2.5), ProjectionOptions(eps2d=1.0, antialiased=True)]
)
def test_options_of_the_projection_are_passed_on(options: ProjectionOptions) -> None:
    ours, wanted = projected(as_dtype(random_scene(60), torch.float32), (24, 20), options)
    seen = (wanted.radii > 0).all(1)
    assert 0 < seen.sum() < 60 and (ours.radii >= wanted.radii)[seen].all()
    for name in ("means2d", "depths", "conics", "compensations"):
        torch.testing.assert_close(getattr(ours, name)[seen], getattr(wanted, name)[seen])


def test_another_least_alpha_is_left_to_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_gsplat, "fully_fused_projection", None)
    scene = as_dtype(random_scene(20), torch.float32)
    ours, wanted = projected(scene, (24, 20), ProjectionOptions(min_alpha=0.1))
    assert torch.equal(ours.radii, wanted.radii) and torch.equal(ours.conics, wanted.conics)


@pytest.mark.parametrize(("n_channels", "padded"), [(1, 1), (2, 2), (3, 4), (5, 8), (31, 32), (32, 32)])
def test_channels_are_filled_up_with_zeros(n_channels: int, padded: int) -> None:
    values = cuda._padded(torch.ones(3, n_channels))
    assert values.shape == (3, padded) and values.is_contiguous()
    assert values[:, :n_channels].all() and not values[:, n_channels:].any()


def test_what_stands_in_the_camera_has_a_colour_without_a_nan() -> None:
    coefficients = torch.rand(2, 4, 3, requires_grad=True)
    directions = torch.tensor([[0.0, 0, 0], [0, 0, 2.0]], requires_grad=True)
    colours = cuda.spherical_harmonics(directions, coefficients, 1)
    colours.sum().backward()
    assert colours.isfinite().all() and directions.grad is not None and directions.grad.isfinite().all()
    assert not directions.grad[0].any()


@pytest.mark.parametrize("depths", [[2.0, 2.0, 2.0], [3.0, 1.0, 2.0]])
def test_ties_and_orders_of_depth(depths: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    scene = layers(depths=depths, opacities=[0.5, 0.6, 0.7], dtype=torch.float32)
    features, view = torch.eye(3), camera(1, torch.float32)
    found = []
    for name in ("gsplat", "torch"):
        monkeypatch.setattr("recon3d.render.gaussians.dispatch.resolve", lambda *_, name=name: name)
        found.append(rasterize(replace(scene), view, features=features))
    for name in PICTURES:
        assert torch.allclose(getattr(found[0], name), getattr(found[1], name), atol=1e-6), name
