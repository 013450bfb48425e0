"""Irradiance, prefiltering, split sum, light sampling and Monte-Carlo shading: closed forms and exact sums."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.gaussians.reference import bases
from recon3d.render.shading import (
    Environment,
    EnvironmentSampler,
    Lambert,
    MetallicRoughness,
    PrefilteredEnvironment,
    RoughConductor,
    brdf_lut,
    irradiance_from_sh,
    lookup_brdf,
    sh_basis,
    sh_from_environment,
    shade_monte_carlo,
    shade_split_sum,
    shading_frames,
    to_local,
    to_world,
)
from recon3d.render.shading.frames import reflect
from recon3d.render.shading.irradiance import irradiance
from recon3d.render.shading.split_sum import brdf_integral

LEVELS = (0.0, 0.3, 0.6, 1.0)
UNIFORM = Environment(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).expand(16, 32, 3))


def unit(n: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=source, dtype=torch.float64), dim=-1)


def uneven(height: int = 16, width: int = 32) -> Environment:
    """Dim light with a lamp and black areas, rotated."""
    source = torch.Generator().manual_seed(0)
    light = torch.rand(height, width, 3, generator=source, dtype=torch.float64) * 0.3
    light[: height // 3, : width // 4] = 0
    light[height // 4, width // 2] = 40.0
    return Environment(light).rotated_z(31)


def lamp() -> Environment:
    """One pixel of light close to the zenith of a fine map."""
    light = torch.zeros(64, 128, 3, dtype=torch.float64)
    light[12, 40] = 100.0
    return Environment(light)


def test_frames_are_right_handed_and_turn_directions_there_and_back() -> None:
    normals = torch.cat([unit(50), torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)])
    for frames in (shading_frames(normals), shading_frames(normals, unit(52, 1))):
        torch.testing.assert_close(frames @ frames.mT, torch.eye(3).double().expand(52, 3, 3))
        torch.testing.assert_close(torch.linalg.det(frames), torch.ones(52).double())
        torch.testing.assert_close(frames[..., 2], normals)
        torch.testing.assert_close(to_world(frames, to_local(frames, unit(52, 2))), unit(52, 2))
    tangents = unit(52, 1)
    local = to_local(shading_frames(normals, tangents), tangents)
    assert float(local[:, 1].abs().max()) < 1e-9 and float(local[:, 0].min()) > 0


def test_harmonics_are_orthonormal_and_those_of_splats() -> None:
    env = Environment(torch.ones(64, 128, 3, dtype=torch.float64))
    basis = sh_basis(env.directions()).reshape(-1, 16)
    gram = basis.mT @ (basis * env.solid_angles().reshape(-1, 1))
    torch.testing.assert_close(gram, torch.eye(16).double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(sh_basis(unit(20)), bases(unit(20), 3))


def test_uniform_light() -> None:
    """E = pi L by every way, prefiltered = L, and c00 = L sqrt(4 pi)."""
    light = UNIFORM.radiance[0, 0]
    normals = unit(20)
    sh = sh_from_environment(UNIFORM)
    torch.testing.assert_close(sh[0], light * math.sqrt(4 * math.pi))
    pre = PrefilteredEnvironment(UNIFORM, LEVELS, 32)
    for found in (irradiance(UNIFORM, normals), irradiance_from_sh(sh, normals), pre.irradiance(normals)):
        torch.testing.assert_close(found, (math.pi * light).expand(20, 3), rtol=1e-2, atol=0)
    roughness = torch.linspace(0, 1, 20, dtype=torch.float64)
    torch.testing.assert_close(pre.specular(normals, roughness), light.expand(20, 3))


def test_harmonics_turn_with_the_light() -> None:
    turned = uneven().rotated_z(50)
    a, normals = math.radians(50), unit(20)
    turn = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]]).double()
    there = irradiance_from_sh(sh_from_environment(turned, 2), normals @ turn.mT)
    torch.testing.assert_close(there, irradiance_from_sh(sh_from_environment(uneven(), 2), normals))
    torch.testing.assert_close(irradiance(turned, normals @ turn.mT), irradiance(uneven(), normals))


def test_the_irradiance_of_one_lamp_is_its_cosine() -> None:
    env, normals = lamp(), unit(30)
    towards = env.directions()[12, 40]
    want = (normals @ towards).clamp_min(0)[:, None] * 100 * env.solid_angles()[12, 40]
    torch.testing.assert_close(irradiance(env, normals), want.expand(30, 3))


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
def test_prefiltering_is_the_sum_that_it_stands_for(roughness: float) -> None:
    """At pixel centres of a map of its own size, against the weighted sum over all pixels, written out."""
    env = uneven(32, 64)
    pre = PrefilteredEnvironment(env, (0.0, roughness, 1.0) if roughness < 1 else (0.0, 1.0), 32)
    directions = env.directions()[::5, ::7].reshape(-1, 3)
    cosine = directions @ env.directions().reshape(-1, 3).mT
    alpha2 = roughness**4
    d = alpha2 / (math.pi * ((1 + cosine) / 2 * (alpha2 - 1) + 1) ** 2)
    weights = d * cosine.clamp_min(0) * env.solid_angles().reshape(-1)
    want = weights @ env.radiance.reshape(-1, 3) / weights.sum(1, keepdim=True)
    torch.testing.assert_close(pre.specular(directions @ env.rotation.mT, roughness), want)


def test_roughness_zero_is_the_light_and_levels_blend() -> None:
    pre, directions = PrefilteredEnvironment(uneven(), LEVELS, 32), unit(10)
    torch.testing.assert_close(pre.specular(directions, 0.0), uneven().lookup(directions))
    middle = 0.5 * (pre.specular(directions, 0.3) + pre.specular(directions, 0.6))
    torch.testing.assert_close(pre.specular(directions, 0.45), middle)


def test_prefiltering_has_gradients() -> None:
    radiance = (uneven(4, 8).radiance + 0.1).requires_grad_()
    directions, roughness = unit(3).requires_grad_(), torch.tensor([0.2, 0.5, 0.9]).double().requires_grad_()

    def look(light: Tensor, d: Tensor, r: Tensor) -> Tensor:
        pre = PrefilteredEnvironment(Environment(light), LEVELS, 8)
        return pre.specular(d, r) + pre.irradiance(d)

    assert torch.autograd.gradcheck(look, (radiance, directions, roughness))


@pytest.mark.parametrize("levels", [(0.0,), (0.1, 1.0), (0.0, 0.9), (0.0, 0.5, 0.5, 1.0)])
def test_levels_must_rise_from_zero_to_one(levels: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="levels must rise"):
        PrefilteredEnvironment(UNIFORM, levels)


def test_wrong_numbers_of_coefficients_rows_and_degrees() -> None:
    with pytest.raises(ShapeError, match="no spherical harmonics"):
        irradiance_from_sh(torch.ones(5, 3), unit(2).float())
    with pytest.raises(UsageError, match="this degree; got: 4"):
        sh_from_environment(UNIFORM, 4)
    with pytest.raises(UsageError, match="max_rows must be even"):
        PrefilteredEnvironment(UNIFORM, max_rows=33)
    with pytest.raises(UsageError, match="no such table"):
        brdf_lut(1)


def test_values_of_the_table_that_are_published() -> None:
    """At n.v 0.6 and roughness 0.5, as the specification lists them."""
    at = torch.tensor([0.6], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    torch.testing.assert_close(brdf_integral(*at)[0], torch.tensor([0.8608, 0.01095]).double(), atol=1e-3, rtol=0)
    ibl = brdf_integral(*at, "schlick")[0]
    torch.testing.assert_close(ibl, torch.tensor([0.7726, 0.00933]).double(), atol=1e-3, rtol=0)
    found = lookup_brdf(brdf_lut(32).double(), *at)
    torch.testing.assert_close(found, brdf_integral(*at), atol=2e-3, rtol=0)


def test_the_table_is_the_albedo_of_a_white_conductor() -> None:
    """A + B with F0 = 1 is what a perfect mirror of that roughness reflects."""
    view = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    u = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    white, none = torch.ones(3).double(), torch.zeros(3).double()
    _, weight, _ = RoughConductor(none, white, 0.36, 0.36, "correlated").sample(view.expand(20_000, 3), u)
    table = brdf_integral(torch.tensor([0.8]).double(), torch.tensor([0.6]).double())
    assert float(table.sum()) == pytest.approx(float(weight.mean()), abs=5e-3)


def test_light_samples_follow_their_density() -> None:
    """Chi-square over the pixels of the map, and the mean of radiance over density is all the light."""
    env, n = uneven(), 60_000
    sampler = EnvironmentSampler(env)
    directions, radiance, density = sampler.sample(torch.rand(n, 2, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(density, sampler.pdf(directions))
    torch.testing.assert_close(radiance, env.lookup(directions))
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(n).double())
    row, column = env.pixels(directions)
    index = (row + 0.5).floor().long() * 32 + (column + 0.5).floor().long() % 32
    world = env.directions() @ env.rotation.mT
    expected = n * (sampler.pdf(world) * env.solid_angles()).reshape(-1)
    assert float(expected.sum()) == pytest.approx(n, rel=1e-9)
    counts, large = torch.bincount(index, minlength=512).double(), expected >= 5
    statistic = float(((counts - expected)[large] ** 2 / expected[large]).sum())
    freedom = int(large.sum())
    assert abs(statistic - freedom) < 6 * math.sqrt(2 * freedom)
    fine = Environment(env.radiance, env.rotation)
    grid = Environment(torch.zeros(256, 512, 3, dtype=torch.float64), env.rotation)
    total = (fine.lookup(grid.directions() @ env.rotation.mT) * grid.solid_angles()[..., None]).sum((0, 1))
    torch.testing.assert_close((radiance / density[:, None]).mean(0), total, rtol=0.02, atol=0)


def test_the_density_is_positive_where_there_is_light() -> None:
    """Beside the lamp the interpolated map is bright, although those pixels are black."""
    env = lamp()
    sampler = EnvironmentSampler(env)
    near = torch.nn.functional.normalize(env.directions()[12, 40] + 0.02 * unit(200), dim=-1)
    lit = env.lookup(near)[:, 0] > 0
    assert bool(lit.any()) and bool((sampler.pdf(near)[lit] > 0).all())


def test_a_black_sky_is_drawn_from_evenly() -> None:
    sampler = EnvironmentSampler(Environment(torch.zeros(4, 8, 3)))
    _, radiance, density = sampler.sample(torch.rand(100, 2))
    torch.testing.assert_close(density, torch.full((100,), 1 / (4 * math.pi)))
    assert not radiance.any()


def lambert_row() -> tuple[Tensor, Tensor, Lambert]:
    normals = unit(6)
    return normals, normals, Lambert(torch.tensor([0.8, 0.5, 0.2], dtype=torch.float64))


def test_monte_carlo_of_a_matt_surface_is_its_irradiance() -> None:
    normals, views, material = lambert_row()
    env = uneven(64, 128)
    got = shade_monte_carlo(normals, views, material, EnvironmentSampler(env), 2048)
    want = material.albedo * irradiance(env, normals) / math.pi
    torch.testing.assert_close(got, want, rtol=0.03, atol=2e-3)


def test_more_samples_come_closer_and_the_seed_decides() -> None:
    normals, views, material = lambert_row()
    sampler, want = EnvironmentSampler(uneven()), None
    want = shade_monte_carlo(normals, views, material, sampler, 8192)
    few, many = (
        (shade_monte_carlo(normals, views, material, sampler, n) - want).square().mean().sqrt() for n in (8, 512)
    )
    assert float(many) < 0.3 * float(few)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    first, same, other = (shade_monte_carlo(normals, views, material, sampler, 16, generator=g) for g in seeds)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_what_is_not_seen_casts_no_light() -> None:
    """A wall over half the sky: what remains is the exact sum over the other half."""
    normals, views, material = lambert_row()
    env = uneven(64, 128)
    asked = []

    def visibility(rows: Tensor, directions: Tensor) -> Tensor:
        asked.append((rows, directions))
        return (directions[:, 0] > 0).double() * (rows < 5)

    got = shade_monte_carlo(normals, views, material, EnvironmentSampler(env), 2048, visibility)
    half = Environment(env.radiance * (env.directions() @ env.rotation.mT)[..., :1].gt(0), env.rotation)
    want = material.albedo * irradiance(half, normals) / math.pi
    torch.testing.assert_close(got[:5], want[:5], rtol=0.05, atol=4e-3)
    assert not got[5].any()
    assert all(rows.shape == d.shape[:1] and bool(((normals[rows] * d).sum(-1) > 0).all()) for rows, d in asked)


def test_monte_carlo_has_gradients_of_material_and_light() -> None:
    """In the albedo the result is linear, so the gradient is the result itself over the albedo."""
    normals, views, _ = lambert_row()
    albedo = torch.full((6, 3), 0.5, dtype=torch.float64, requires_grad=True)
    radiance = uneven().radiance.clone().requires_grad_()
    sampler = EnvironmentSampler(Environment(radiance))
    shaded = shade_monte_carlo(normals, views, Lambert(albedo), sampler, 64)
    shaded.sum().backward()
    assert albedo.grad is not None and radiance.grad is not None
    torch.testing.assert_close(albedo.grad, shaded.detach() / 0.5)
    torch.testing.assert_close((radiance.grad * radiance.detach()).sum(), shaded.detach().sum())


def test_an_anisotropic_highlight_turns_with_the_tangent() -> None:
    normals = torch.tensor([[0.0, 0.0, 1.0]] * 2, dtype=torch.float64)
    views = torch.nn.functional.normalize(torch.tensor([[0.0, 0.3, 1.0]] * 2), dim=-1).double()
    tangents = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    material = MetallicRoughness(torch.ones(3).double(), 0.3, 1.0, anisotropy=0.9)
    shaded = shade_monte_carlo(normals, views, material, EnvironmentSampler(lamp()), 512, tangents=tangents)
    assert float((shaded[0] / shaded[1].clamp_min(1e-9)).max()) > 1.5 or float((shaded[1] / shaded[0]).max()) > 1.5


def test_split_sum_and_monte_carlo_agree_under_soft_light() -> None:
    """Where the light hardly varies over a lobe, the split is no approximation."""
    d = Environment(torch.zeros(32, 64, 3, dtype=torch.float64)).directions()
    soft = Environment(1 + 0.3 * d[..., 2:] + 0.2 * d[..., :1] * torch.tensor([1.0, 0.5, 0.2]).double())
    normals = unit(8)
    views = torch.nn.functional.normalize(normals + 0.5 * unit(8, 1), dim=-1)
    albedo, rough = torch.rand(8, 3).double() * 0.8, torch.linspace(0.2, 0.9, 8).double()
    metallic = torch.linspace(1, 0, 8).double()
    pre = PrefilteredEnvironment(soft, LEVELS, 32)
    split = shade_split_sum(normals, views, albedo, rough, metallic, pre, brdf_lut(32))
    sampled = shade_monte_carlo(
        normals, views, MetallicRoughness(albedo, rough, metallic), EnvironmentSampler(soft), 4096
    )
    torch.testing.assert_close(split, sampled, rtol=0.04, atol=0)


def test_split_sum_has_gradients() -> None:
    normals = unit(3)
    views = torch.nn.functional.normalize(normals + 0.5 * unit(3, 1), dim=-1)
    material = [
        torch.full((3, 3), 0.4).double(),
        torch.tensor([0.25, 0.5, 0.8]).double(),
        torch.full((3,), 0.3).double(),
    ]
    leaves = [value.clone().requires_grad_() for value in (normals, views, *material)]
    pre, lut = PrefilteredEnvironment(uneven(8, 16), LEVELS, 8), brdf_lut(16).double()
    assert torch.autograd.gradcheck(lambda *v: shade_split_sum(*v, pre, lut), leaves)


def test_the_mirror_direction() -> None:
    normal, view = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.6, 0.0, 0.8])
    torch.testing.assert_close(reflect(view, normal), torch.tensor([-0.6, 0.0, 0.8]))


def test_monte_carlo_refuses_what_it_cannot_do() -> None:
    normals, views, material = lambert_row()
    sampler = EnvironmentSampler(UNIFORM)
    with pytest.raises(UsageError, match="at least one sample"):
        shade_monte_carlo(normals, views, material, sampler, 0)
