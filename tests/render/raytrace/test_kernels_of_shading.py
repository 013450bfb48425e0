"""The fast kernels of the path tracer agree with the BSDFs and environments that they stand for."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import pytest
import torch
from ray_scenes import constant_light, lumpy_light, sphere

from recon3d.core.kernels import kernel
from recon3d.render.raytrace.light_table import draw_light, drawn_radiance, light_table, lights_from
from recon3d.render.raytrace.metallic import Metallic, _direction, _scatter, as_metallic, shade_metallic
from recon3d.render.raytrace.random_numbers import draw, path_keys, uniforms
from recon3d.render.raytrace.scene import RenderObject
from recon3d.render.raytrace.shade import shade
from recon3d.render.raytrace.surfaces import Surface, merge, surface_at
from recon3d.render.raytrace.vectors import row, set_row
from recon3d.render.shading import EnvironmentSampler
from recon3d.render.shading.bsdf import Bsdf, Lambert, MetallicRoughness, RoughConductor

N = 4000


@kernel
@no_type_check
def scatter_all(base, roughness, metallic, flags, wi, wo, value, density):
    for i in range(len(wi)):
        found, density[i] = _scatter(row(base, i), roughness[i], metallic[i], flags, row(wi, i), row(wo, i))
        set_row(value, i, found)


@kernel
@no_type_check
def directions_of(base, roughness, metallic, flags, wi, numbers, out):
    for i in range(len(wi)):
        a, b, c = row(numbers, i)
        set_row(out, i, _direction(row(base, i), roughness[i], metallic[i], flags, row(wi, i), a, b, c))


@kernel
@no_type_check
def draw_lights(table, keys, ways, lights, densities):
    for i in range(len(keys)):
        way, y, column, z = draw_light(table, draw(keys[i], 0), draw(keys[i], 1))
        light, densities[i] = drawn_radiance(table, y, column, z)
        set_row(ways, i, way)
        set_row(lights, i, light)


def upwards(n: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, 3))
    found[:, 2] = np.abs(found[:, 2]) + 1e-3
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def parameters(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    metallic = torch.rand(n, generator=generator)
    metallic[: n // 4], metallic[n // 4 : n // 3] = 0.0, 1.0
    return torch.rand(n, 3, generator=generator), torch.rand(n, generator=generator), metallic


def materials() -> dict[str, Bsdf]:
    base, roughness, metallic = parameters(N)
    return {
        "lambert": Lambert(base),
        "correlated": MetallicRoughness(base, roughness, metallic),
        "separable": MetallicRoughness(base, roughness, metallic, masking="separable"),
        "fresnel": MetallicRoughness(base, roughness, metallic, fresnel_diffuse=True),
        "constant": MetallicRoughness(torch.tensor([0.9, 0.5, 0.0]), 0.3, 0.5),
        "black": MetallicRoughness(torch.zeros(3), 0.5, 1.0),
    }


def known(bsdf: Bsdf) -> Metallic:
    found = as_metallic(bsdf, N)
    assert found is not None
    return found


@pytest.mark.parametrize("name", materials())
def test_values_and_densities_are_those_of_the_bsdf(name: str) -> None:
    bsdf, wi, wo = materials()[name], upwards(N, 1), upwards(N, 2)
    value, density = np.empty((N, 3), np.float32), np.empty(N, np.float32)
    scatter_all(*known(bsdf), wi, wo, value, density)
    want = bsdf.eval(torch.from_numpy(wi), torch.from_numpy(wo)).numpy()
    np.testing.assert_allclose(value, want, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(density, bsdf.pdf(torch.from_numpy(wi), torch.from_numpy(wo)), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lambert", "constant"])
@pytest.mark.parametrize("cosine", [0.95, 0.15])
def test_directions_are_drawn_with_the_density(name: str, cosine: float) -> None:
    """Chi-square over a grid of cosines and angles, in which the density is integrated."""
    n, n_z, n_phi = 200_000, 8, 8
    bsdf = {"lambert": Lambert(torch.full((3,), 0.5)), "constant": materials()["constant"]}[name]
    material = as_metallic(bsdf, n)
    assert material is not None
    wi = np.tile(np.float32([np.sqrt(1 - cosine**2), 0, cosine]), (n, 1))
    out = np.empty((n, 3), np.float32)
    directions_of(*material, wi, np.random.default_rng(0).random((n, 3), dtype=np.float32), out)
    up = out[out[:, 2] > 0]
    phi = np.arctan2(up[:, 1], up[:, 0])
    counts, _, _ = np.histogram2d(up[:, 2], phi, bins=(n_z, n_phi), range=((0, 1), (-np.pi, np.pi)))
    fine = 128
    z, a = (np.arange(n_z * fine) + 0.5) / (n_z * fine), (np.arange(n_phi * fine) + 0.5) / (n_phi * fine)
    z, a = (one.ravel() for one in np.meshgrid(z, -np.pi + 2 * np.pi * a, indexing="ij"))
    wo = np.stack([np.sqrt(1 - z * z) * np.cos(a), np.sqrt(1 - z * z) * np.sin(a), z], axis=-1).astype(np.float32)
    density = bsdf.pdf(torch.from_numpy(wi[:1]).expand(len(wo), 3), torch.from_numpy(wo)).numpy()
    cells = density.reshape(n_z, fine, n_phi, fine).mean(axis=(1, 3)) * (2 * np.pi / (n_z * n_phi))
    expected = cells * n
    large = expected > 20
    chi2 = ((counts - expected) ** 2 / expected)[large].sum()
    assert chi2 < large.sum() + 5 * np.sqrt(2 * large.sum())
    assert abs(counts.sum() / n - cells.sum()) < 5e-3


@pytest.mark.parametrize("name", ["lambert", "correlated"])
def test_the_kernel_estimates_what_any_bsdf_estimates(name: str) -> None:
    """Both ways of shading draw other numbers; their means agree."""
    mesh = sphere(9)
    n, base = 40_000, torch.tensor([0.8, 0.4, 0.2])
    bsdf = Lambert(base) if name == "lambert" else MetallicRoughness(base, 0.4, 0.5)
    surface = surface_at(
        merge([RenderObject(mesh, lambda uv, position: bsdf)], [True]),
        np.full(n, 60, np.int32),
        np.full((n, 2), 0.3, np.float32),
        np.tile(np.float32([-1, -0.3, -0.8]), (n, 1)),
    )
    sampler, keys = EnvironmentSampler(lumpy_light()), np.empty(n, np.uint64)
    path_keys(3, 0, np.arange(n), 0, 1, keys)
    material = as_metallic(bsdf, n)
    assert material is not None
    fast = shade_metallic(surface, material, light_table(sampler), keys, 0)
    slow = shade(surface, bsdf, sampler, np.random.default_rng(0).random((n, 5), dtype=np.float32))
    for one, other in ((fast.light, slow.light), (fast.weight, slow.weight)):
        error = np.hypot(one.std(axis=0), other.std(axis=0)) / np.sqrt(n)
        assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 5 * error + 1e-6).all()


def test_what_the_kernel_does_not_know_is_left_to_the_bsdf() -> None:
    base = torch.full((3,), 0.5)
    assert as_metallic(MetallicRoughness(base, 0.5, 0.0, clearcoat=0.1), 4) is None
    assert as_metallic(MetallicRoughness(base, 0.5, 0.0, anisotropy=torch.zeros(4)), 4) is None
    assert as_metallic(RoughConductor(base, base, 0.1, 0.1), 4) is None


def test_the_light_table_is_the_environment() -> None:
    sampler = EnvironmentSampler(lumpy_light())
    directions = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32)
    directions[:4] = [[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0]]
    light, density = np.empty((N, 3), np.float32), np.empty(N, np.float32)
    lights_from(tuple(light_table(sampler)), directions, light, density)
    ways = torch.from_numpy(directions)
    np.testing.assert_allclose(light, sampler.env.lookup(ways), rtol=1e-3, atol=1e-4)
    differs = np.abs(density - sampler.pdf(ways).numpy()) > 1e-4 * density
    assert differs.mean() < 1e-3  # directions on the borders of pixels


@pytest.mark.parametrize("env", [lumpy_light(), constant_light()])
def test_lights_are_drawn_with_their_density(env: Any) -> None:
    sampler, n = EnvironmentSampler(env), 200_000
    table, keys = light_table(sampler), np.random.default_rng(0).integers(0, 1 << 63, n).astype(np.uint64)
    ways, light, density = np.empty((n, 3), np.float32), np.empty((n, 3), np.float32), np.empty(n, np.float32)
    draw_lights(tuple(table), keys, ways, light, density)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(light, env.lookup(torch.from_numpy(ways)), rtol=2e-2, atol=1e-3)
    line, column = (one.numpy() for one in env.pixels(torch.from_numpy(ways)))
    places = np.clip(np.floor(line + 0.5).astype(int), 0, env.height - 1) * env.width
    counts = np.bincount(places + np.floor(column + 0.5).astype(int) % env.width, minlength=env.height * env.width)
    expected = n * (sampler.pdf(env.directions() @ env.rotation.mT) * env.solid_angles()).numpy().ravel()
    large = expected > 20
    chi2 = ((counts - expected) ** 2 / expected)[large].sum()
    assert chi2 < large.sum() + 5 * np.sqrt(2 * large.sum())


def test_random_numbers_are_uniform_and_functions_of_their_place() -> None:
    keys, part = np.empty(60_000, np.uint64), np.empty(20, np.uint64)
    path_keys(5, 1, np.arange(6000), 0, 10, keys)
    path_keys(5, 1, np.arange(40, 44), 3, 5, part)
    np.testing.assert_array_equal(part, keys.reshape(6000, 10)[40:44, 3:8].ravel())
    assert len(np.unique(keys)) == len(keys)
    numbers, later = np.empty((60_000, 6), np.float32), np.empty((60_000, 2), np.float32)
    uniforms(keys, 0, numbers)
    uniforms(keys, 4, later)
    np.testing.assert_array_equal(later, numbers[:, 4:])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.stack([np.histogram(column, 64, (0, 1))[0] for column in numbers.T])
    expected = len(keys) / 64
    assert (((counts - expected) ** 2 / expected).sum(axis=1) < 63 + 5 * np.sqrt(2 * 63)).all()
    assert np.abs(np.corrcoef(numbers.T) - np.eye(6)).max() < 5 / np.sqrt(len(keys))


def test_other_seeds_and_views_give_other_numbers() -> None:
    keys = [np.empty(100, np.uint64) for _ in range(3)]
    for found, (seed, view) in zip(keys, ((0, 0), (1, 0), (0, 1)), strict=True):
        path_keys(seed, view, np.arange(100), 0, 1, found)
    assert len(np.unique(keys)) == 300


def test_a_surface_is_what_its_triangle_says() -> None:
    """The frame follows u, is turned to the viewer where asked, and the point lies where its weights put it."""
    mesh = sphere(17)
    uvs = np.tile(np.float32([[[0, 0], [1, 0], [0, 1]]]), (len(mesh.faces), 1, 1))
    face = np.arange(100, 140, dtype=np.int32)
    weights = np.full((40, 2), 0.25, np.float32)
    for turns in (True, False):
        triangles = merge([RenderObject(mesh, lambda uv, position: Lambert(position), uvs=uvs)], [turns])
        corners = triangles.corners[face]
        outside = corners.mean(axis=1)
        for sign in (-1, 1):
            found: Surface = surface_at(triangles, face, weights, (sign * outside).astype(np.float32))
            np.testing.assert_allclose(found.position, np.einsum("nkc,k->nc", corners, [0.5, 0.25, 0.25]), atol=1e-6)
            np.testing.assert_allclose(found.uv, 0.25, atol=1e-6)
            frame = found.frame
            np.testing.assert_allclose(frame @ frame.transpose(0, 2, 1), np.tile(np.eye(3), (40, 1, 1)), atol=1e-5)
            assert (np.linalg.det(frame) > 0).all()
            facing = -1 if sign > 0 and turns else 1
            assert (facing * (frame[:, 2] * outside).sum(axis=1) > 0).all()
            assert (facing * (found.flat * outside).sum(axis=1) > 0).all()
            assert ((frame[:, 0] * (corners[:, 1] - corners[:, 0])).sum(axis=1) > 0).all()
            assert ((found.wi[:, 2] > 0) == (turns or sign < 0)).all()
