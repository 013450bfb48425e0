"""The numba back end against the oracle in float64: pictures, gradients, bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.core.kernels import threads
from recon3d.render.gaussians import cpu, cpu_projection, cpu_projection_backward, reference, reference_raster
from recon3d.render.gaussians.options import ProjectionOptions, RasterOptions
from recon3d.render.gaussians.types import Projection

WIDTH, HEIGHT = 61, 39  # no multiples of a block or a tile


def scene(n: int, channels: int = 3, log_scale: float = -2.2, seed: int = 0) -> dict[str, Tensor]:
    """Return anisotropic Gaussians around the origin; the camera stands 3 units away and a little turned."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[[0, 0, 2, 2], [0, 2, 0, 2]] = np.cos(0.3), np.sin(0.3), -np.sin(0.3), np.cos(0.3)
    pose[:3, 3] = [0.1, -0.2, 3.0]
    values = {
        "means": rng.normal(size=(n, 3)),
        "quats": rng.normal(size=(n, 4)),
        "log_scales": rng.normal(log_scale, 0.6, (n, 3)),
        "opacities": rng.uniform(0, 1, n),
        "features": rng.uniform(-1, 1, (n, channels)),
        "background": rng.uniform(-1, 1, channels),
        "pose": pose,
    }
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in values.items()}


K = torch.tensor([[55.0, 0, 28], [0, 60, 21], [0, 0, 1]])


def render(home: Any, raster: Any, given: dict[str, Tensor], options: RasterOptions, antialiased: bool = False) -> Any:
    """Return the four pictures, and the projection."""
    shape = (given["means"], given["quats"], given["log_scales"], given["pose"], K.to(given["means"].dtype))
    how = ProjectionOptions(antialiased=antialiased, min_alpha=options.min_alpha)
    seen = home.project(*shape, WIDTH, HEIGHT, opacities=given["opacities"].detach(), options=how)
    strength = given["opacities"] * seen.compensations if antialiased else given["opacities"]
    arguments = (seen, strength, given["features"], WIDTH, HEIGHT)
    return raster.rasterize_projected(*arguments, background=given["background"], options=options), seen


def gradients(home: Any, raster: Any, given: dict[str, Tensor], dtype: torch.dtype, **how: Any) -> Any:
    """Return pictures and the derivatives of a random linear function of them by all inputs."""
    inputs = {name: value.to(dtype).requires_grad_() for name, value in given.items()}
    pictures, _ = render(home, raster, inputs, **how)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(dtype) for p in pictures[:3]]
    loss = sum((picture * by).sum() for picture, by in zip(pictures[:3], cotangents, strict=True))
    return pictures, dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values())), strict=True))


def assert_as_the_oracle(given: dict[str, Tensor], options: RasterOptions, antialiased: bool = False) -> None:
    how = {"options": options, "antialiased": antialiased}
    expected, by_expected = gradients(reference, reference_raster, given, torch.float64, **how)
    found, by_found = gradients(cpu, cpu, given, torch.float32, **how)
    for wanted, got in zip(expected, found, strict=True):
        assert got.dtype == torch.float32
        # A Gaussian at the very edge of a rule may fall on either side of it: that is at most one in a thousand pixels.
        off = (wanted - got).abs() > 1e-4
        assert off.float().mean() <= 1e-3
    for name, wanted in by_expected.items():
        assert (by_found[name] - wanted).norm() <= 1e-3 * wanted.norm() + 1e-6, name


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_pictures_and_gradients(seed: int, antialiased: bool) -> None:
    assert_as_the_oracle(scene(150, seed=seed), RasterOptions(), antialiased)


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 32])
def test_any_number_of_channels(channels: int) -> None:
    assert_as_the_oracle(scene(60, channels), RasterOptions())


def test_pixels_that_saturate() -> None:
    """Hundreds of opaque layers: every list is longer than a batch, and most pixels are complete before its end."""
    given = scene(700, log_scale=-0.9)
    given["opacities"] = 0.3 + 0.69 * given["opacities"]
    (_, alpha, _, _), _ = render(cpu, cpu, given, RasterOptions())
    assert (alpha > 0.999).float().mean() > 0.8 and alpha.max() <= 1 - 1e-4 + 1e-7
    assert_as_the_oracle(given, RasterOptions())


@pytest.mark.parametrize(
    "options",
    [
        RasterOptions(max_alpha=0.5),
        RasterOptions(min_alpha=0.1),
        RasterOptions(min_alpha=1e-5),
        RasterOptions(min_transmittance=0.3),
        RasterOptions(min_transmittance=0.0),
    ],
    ids=str,
)
def test_rules_are_parameters(options: RasterOptions) -> None:
    assert_as_the_oracle(scene(80, log_scale=-1.5), options)


def test_needles_lose_less_than_the_plain_formula() -> None:
    """A thousand times as long as wide, centred outside: where dx^2, dx dy and dy^2 nearly cancel, u and v do not."""
    given = scene(40, log_scale=-4)
    given["log_scales"][:, 0] = 2.5
    given["means"] *= 3
    how = {"options": RasterOptions()}
    exact, by_exact = gradients(reference, reference_raster, given, torch.float64, **how)
    plain, _ = gradients(reference, reference_raster, given, torch.float32, **how)
    found, by_found = gradients(cpu, cpu, given, torch.float32, **how)
    assert (found[0] - exact[0]).abs().max() < 5e-3  # one Gaussian at the edge of being skipped
    assert (found[0] - exact[0]).abs().mean() < 0.5 * (plain[0] - exact[0]).abs().mean()
    for name, wanted in by_exact.items():
        assert (by_found[name] - wanted).norm() < 1e-3 * wanted.norm(), name


@pytest.mark.parametrize("antialiased", [False, True])
def test_bits_do_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch, antialiased: bool) -> None:
    for home in (cpu_projection, cpu_projection_backward):
        monkeypatch.setattr(home, "CHUNK", 16)
    given = scene(200)
    results = []
    for n_threads in (1, 2, 5):
        with threads(n_threads):
            pictures, by = gradients(cpu, cpu, given, torch.float32, options=RasterOptions(), antialiased=antialiased)
        results.append([*pictures, *by.values()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_an_empty_scene() -> None:
    (image, alpha, expected, median), seen = render(cpu, cpu, scene(0), RasterOptions())
    assert torch.equal(image, scene(0)["background"].expand(HEIGHT, WIDTH, 3))
    assert not alpha.any() and not expected.any() and not median.any()
    assert len(seen.depths) == 0
    _, by = gradients(cpu, cpu, scene(0), torch.float32, options=RasterOptions())
    assert by["background"].isfinite().all() and by["means"].shape == (0, 3)


def test_one_gaussian() -> None:
    assert_as_the_oracle(scene(1, log_scale=-1), RasterOptions())


def test_what_is_behind_or_on_the_camera_plane_has_no_part_and_no_gradient() -> None:
    given = scene(30)
    forward = given["pose"][2, :3]
    for i, depth in enumerate((0.0, -1.0, 0.01, -3.0)):
        move = depth - (given["means"][i] @ forward + given["pose"][2, 3])
        given["means"][i] += move * forward
    _, by = gradients(cpu, cpu, given, torch.float32, options=RasterOptions())
    _, seen = render(cpu, cpu, given, RasterOptions())
    assert not seen.radii[:4].any() and not seen.conics[:4].any()
    assert all(value.isfinite().all() for value in by.values())
    assert not by["means"][:4].any() and not by["features"][:4].any()


def test_of_equal_depths_the_first_is_in_front() -> None:
    first = Projection(
        means2d=torch.full((3, 2), 8.5),
        depths=torch.tensor([2.0, 2.0, 1.0]),
        conics=torch.tensor([[0.1, 0.0, 0.1]]).repeat(3, 1),
        compensations=torch.ones(3),
        radii=torch.full((3, 2), 12, dtype=torch.int32),
    )
    image, *_ = cpu.rasterize_projected(first, torch.full((3,), 0.5), torch.eye(3), 16, 16, options=RasterOptions())
    torch.testing.assert_close(image[8, 8], torch.tensor([0.25, 0.125, 0.5]))


def test_a_gaussian_stays_inside_the_tiles_of_its_box() -> None:
    wide = Projection(
        means2d=torch.tensor([[20.0, 20.0]]),
        depths=torch.ones(1),
        conics=torch.tensor([[1e-4, 0.0, 1e-4]]),
        compensations=torch.ones(1),
        radii=torch.full((1, 2), 3, dtype=torch.int32),
    )
    _, alpha, *_ = cpu.rasterize_projected(wide, torch.ones(1), torch.ones(1, 3), 64, 64, options=RasterOptions())
    assert (alpha[16:32, 16:32] > 0.9).all()
    assert alpha.count_nonzero() == 256


def test_conics_that_are_no_ellipses_are_not_drawn() -> None:
    seen = Projection(
        means2d=torch.full((2, 2), 8.0),
        depths=torch.ones(2),
        conics=torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 1.0]]),
        compensations=torch.ones(2),
        radii=torch.full((2, 2), 5, dtype=torch.int32),
    )
    _, alpha, *_ = cpu.rasterize_projected(seen, torch.ones(2), torch.ones(2, 3), 16, 16, options=RasterOptions())
    assert not alpha.any()


@pytest.mark.parametrize("chosen", ["gsplat", "tight"])
def test_projection_of_many(chosen: Any) -> None:
    """Values and radii of 3,000 Gaussians, some of them far outside or behind."""
    given = scene(3000, log_scale=-1.5, seed=4)
    given["means"] *= 2
    shape = ("means", "quats", "log_scales", "pose")
    options = replace(ProjectionOptions(), bounds=chosen)
    wide = [given[name].double() for name in shape]
    expected = reference.project(
        *wide, K.double(), WIDTH, HEIGHT, opacities=given["opacities"].double(), options=options
    )
    narrow = [given[name] for name in shape]
    found = cpu.project(*narrow, K, WIDTH, HEIGHT, opacities=given["opacities"], options=options)
    same = (expected.radii == found.radii).all(1)
    assert (~same).sum() <= 3  # a ceiling may fall on either side
    assert 500 < (found.radii > 0).all(1).sum() < 2900
    for name in ("means2d", "depths", "conics", "compensations"):
        wanted, got = getattr(expected, name)[same], getattr(found, name)[same].double()
        torch.testing.assert_close(got, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("degree", range(4))
def test_spherical_harmonics(degree: int) -> None:
    generator = torch.Generator().manual_seed(degree)
    directions = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(50, 16, 3, generator=generator, dtype=torch.float64)
    by = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    results = []
    for home, dtype in ((reference, torch.float64), (cpu, torch.float32)):
        inputs = [value.to(dtype).requires_grad_() for value in (directions, coefficients)]
        values = home.spherical_harmonics(*inputs, degree)
        grads = torch.autograd.grad(values, inputs, by.to(dtype), allow_unused=True)
        results.append([values, *(torch.zeros(50, 3) if grad is None else grad for grad in grads)])
    for wanted, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), wanted.double(), rtol=1e-5, atol=1e-5)
