"""Facts of forward and deferred shading of relightable splats."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import pairwise

import pytest
import torch
from small_gaussians import camera
from torch import Tensor

from recon3d.render.gaussians import Gaussians
from recon3d.render.shading import (
    Environment,
    PrefilteredEnvironment,
    brdf_lut,
    linear_from_srgb,
    sh_from_environment,
    shade_split_sum,
)
from recon3d.splats.relight import (
    RelightableGaussians,
    SplatLight,
    bake_colours,
    open_transfer,
    rasterize_materials,
    render_deferred,
    render_forward,
    shade_splats,
    specular_occlusion,
)

Y00 = 0.28209479177387814
EYE = torch.zeros(3, dtype=torch.float64)


@pytest.fixture(autouse=True)
def small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on the size of the table, and the usual one takes seconds."""
    monkeypatch.setattr("recon3d.splats.relight.shade.brdf_lut", lambda: brdf_lut(32))


def light(seed: int = 0, rows: int = 16) -> Environment:
    source = torch.Generator().manual_seed(seed)
    return Environment(torch.rand(rows, 2 * rows, 3, generator=source, dtype=torch.float64))


def lit_splats(n: int = 6, seed: int = 0) -> RelightableGaussians:
    """Splats in front of the cameras that face them, each in the open."""
    source = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=source, dtype=torch.float64)

    means = torch.cat([uniform(n, 2) - 0.5, 1.5 + uniform(n, 1)], 1)
    normals = torch.nn.functional.normalize(-means + 0.8 * (uniform(n, 3) - 0.5), dim=-1)
    quats, ones = uniform(n, 4), torch.ones(n, dtype=torch.float64)
    gaussians = Gaussians(means, quats, -2 + 0 * means, 3 * ones, torch.zeros(n, 1, 3, dtype=torch.float64))
    rough = 0.2 + 0.7 * uniform(n)
    return RelightableGaussians(gaussians, normals, uniform(n, 3), rough, uniform(n), open_transfer(normals))


def test_open_splats_are_shaded_as_surfaces_are() -> None:
    splats, env = lit_splats(), light()
    got = shade_splats(splats, EYE, SplatLight.of(env, 16))
    views = torch.nn.functional.normalize(-splats.gaussians.means, dim=-1)
    material = (splats.albedo, splats.roughness, splats.metallic)
    smooth = PrefilteredEnvironment(env, max_rows=16)
    want = shade_split_sum(splats.normals, views, *material, smooth, brdf_lut(32))
    assert ((got - want).abs() < 0.02 * want).all()  # irradiance to degree 2 against the whole of it


def test_constant_light_on_a_white_wall() -> None:
    """Without specular light, what leaves a white diffuse surface is the light times its openness."""
    splats = lit_splats()
    ones = torch.ones(6, dtype=torch.float64)
    splats = replace(splats, albedo=ones[:, None].expand(6, 3), metallic=0 * ones, transfer=0.4 * splats.transfer)
    sh = torch.zeros(9, 3, dtype=torch.float64)
    sh[0] = 2 * math.sqrt(4 * math.pi)
    dark = SplatLight(sh, PrefilteredEnvironment(light().scaled(0.0), max_rows=8))
    torch.testing.assert_close(shade_splats(splats, EYE, dark), torch.full((6, 3), 0.8, dtype=torch.float64))


def test_closed_splats_are_black() -> None:
    splats = replace(lit_splats(), transfer=torch.zeros(6, 9, dtype=torch.float64))
    splats = replace(splats, roughness=torch.full((6,), 0.5, dtype=torch.float64))
    assert shade_splats(splats, EYE, SplatLight.of(light(), 16)).max() < 0.05


def test_irradiance_is_never_negative() -> None:
    splats = replace(lit_splats(), transfer=-lit_splats().transfer)
    assert (shade_splats(splats, EYE, SplatLight.of(light(), 16)) >= 0).all()


@pytest.mark.parametrize("roughness", [0.0, 0.3, 1.0])
def test_specular_occlusion(roughness: float) -> None:
    nv, rough = torch.linspace(0.01, 1, 20), torch.full((20,), roughness)
    torch.testing.assert_close(specular_occlusion(nv, torch.ones(20), rough), torch.ones(20))
    assert specular_occlusion(nv, torch.zeros(20), rough).min() >= 0
    steps = [specular_occlusion(nv, torch.full((20,), share), rough) for share in (0.1, 0.4, 0.7, 1.0)]
    assert all((low <= high).all() for low, high in pairwise(steps))


def test_light_turns_with_the_world() -> None:
    """Turning the light and the normals about the vertical changes no irradiance."""
    turned = light().rotated_z(70.0)
    turn = turned.rotation
    normals = lit_splats().normals
    before = open_transfer(normals) @ sh_from_environment(light(), 2)
    after = open_transfer(normals @ turn.T) @ sh_from_environment(turned, 2)
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)


def test_twice_the_light_is_twice_the_picture() -> None:
    splats = lit_splats()
    for render in (
        lambda env: render_forward(splats, camera(2), env).image,
        lambda env: render_deferred(splats, camera(2), env),
    ):
        once, twice = render(SplatLight.of(light(), 16)), render(SplatLight.of(light().scaled(2.0), 16))
        assert once.max() > 0.05
        torch.testing.assert_close(twice, 2 * once)
        assert render(SplatLight.of(light().scaled(0.0), 16)).abs().max() == 0


def test_each_camera_sees_its_own_reflections() -> None:
    splats, env = lit_splats(), SplatLight.of(light(), 16)
    both = render_forward(splats, camera(2), env)
    assert both.image.shape[0] == len(both.projections) == 2
    views = camera(2)
    second = replace(views, cam_from_world=views.cam_from_world[1:], K=views.K[1:])
    torch.testing.assert_close(both.image[1:], render_forward(splats, second, env).image)


def test_deferred_is_forward_where_one_splat_is_seen() -> None:
    one = lit_splats()[:1]
    axis = torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64)
    one = replace(
        one, gaussians=replace(one.gaussians, means=axis, log_scales=0 * axis, opacity_logits=12 * axis[:, 2])
    )
    env = SplatLight.of(light(), 16)
    forward, deferred = render_forward(one, camera(), env).image, render_deferred(one, camera(), env)
    y, x = camera().height // 2, camera().width // 2
    torch.testing.assert_close(forward[0, y, x], deferred[0, y, x], rtol=1e-3, atol=1e-5)


def test_gbuffer_holds_means() -> None:
    """A constant stays constant where it is covered; normals have length one; there is nothing where nothing is."""
    splats = replace(lit_splats(), roughness=torch.full((6,), 0.3, dtype=torch.float64))
    seen = rasterize_materials(splats, camera(2))
    covered, bare = seen.alpha > 0.01, seen.alpha == 0
    assert covered.any()
    assert bare.any()
    torch.testing.assert_close(
        seen.roughness[covered], torch.full_like(seen.roughness[covered], 0.3), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(
        seen.normal[covered].norm(dim=-1), torch.ones_like(seen.alpha[covered]), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(seen.view.norm(dim=-1), torch.ones_like(seen.alpha))
    for name in ("normal", "albedo", "transfer", "depth"):
        assert getattr(seen, name)[bare].abs().max() == 0
    assert {field.name for field in fields(seen)} >= {"metallic", "view"}


def test_gradients_of_shading() -> None:
    splats, env = lit_splats(2), light(rows=4)

    def shaded(
        normals: Tensor, albedo: Tensor, rough: Tensor, metal: Tensor, transfer: Tensor, radiance: Tensor
    ) -> Tensor:
        lit = replace(splats, normals=normals, albedo=albedo, roughness=rough, metallic=metal, transfer=transfer)
        return shade_splats(lit, EYE, SplatLight.of(Environment(radiance), 4))

    inputs = (splats.normals, splats.albedo, splats.roughness, splats.metallic, 0.7 * splats.transfer, env.radiance)
    values = tuple(value.clone().requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(shaded, values, atol=1e-5, rtol=1e-3, fast_mode=True)


def test_gradients_reach_everything_through_pictures() -> None:
    splats, radiance = lit_splats(), light(rows=8).radiance.clone().requires_grad_()
    names = ("normals", "albedo", "roughness", "metallic", "transfer")
    leaves = {name: (getattr(splats, name) * (0.8 if name == "transfer" else 1)).requires_grad_() for name in names}
    env = SplatLight.of(Environment(radiance), 8)
    lit = replace(splats, **leaves)
    for picture in (render_forward(lit, camera(), env).image, render_deferred(lit, camera(), env)):
        found = torch.autograd.grad(picture.square().sum(), [*leaves.values(), radiance], retain_graph=True)
        assert all(grad.isfinite().all() and grad.abs().max() > 0 for grad in found)


def test_baked_colours_are_what_is_seen_along_the_normal() -> None:
    splats, env = lit_splats(), SplatLight.of(light(), 16)
    baked = bake_colours(splats, env, "noise", exposure=0.5)
    from_front = shade_splats(replace(splats, gaussians=replace(splats.gaussians, means=-splats.normals)), EYE, env)
    colours = linear_from_srgb(baked.gaussians.sh[:, 0] * Y00 + 0.5)
    torch.testing.assert_close(colours, (0.5 * from_front).clamp(0, 1))
    assert (baked.light, baked.gaussians.colour_space, baked.gaussians.sh_degree) == ("noise", "srgb", 0)


def test_shadows_follow_the_light() -> None:
    """A splat that sees only one side of the sky is lit from there and dark from the other one."""
    up = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    half = torch.tensor([[math.pi / 2, 0, math.pi / 3, 2 / 3, 0, 0, math.pi / 4, math.pi / 8, 0]], dtype=torch.float64)
    scale = torch.tensor([Y00, 0, 0.4886025, -0.4886025, 0, 0, 0.3153916, -1.0925484, 0], dtype=torch.float64)
    sky = torch.zeros(16, 32, 3, dtype=torch.float64)
    sky[4, 16] = 100.0  # towards +x and up
    one, other = Environment(sky), Environment(sky).rotated_z(180.0)
    lit, dark = ((half * scale) @ sh_from_environment(env, 2) for env in (one, other))
    open_light = open_transfer(up) @ sh_from_environment(one, 2)
    assert lit.min() > 0.8 * open_light.max()
    assert dark.max() < 0.25 * open_light.min()
