"""Facts of unknown materials below an unknown light, and of the colours that they predict."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.render.mesh import Mesh
from recon3d.render.shading import EnvironmentSampler, MetallicRoughness, shade_monte_carlo
from recon3d.render.shading.bsdf.metallic_roughness import DIELECTRIC_F0
from recon3d.splats.relight.surface_model import (
    ALBEDO,
    ROUGHNESS,
    SurfaceModel,
    chromaticity,
    squash,
    unsquash,
)
from tests.support.relight_scenes import (
    ROWS,
    around,
    ball_mesh,
    from_above,
    model_of,
    room,
    sheet,
    some_light,
    together,
)

GREY = 0.4


def ball_model(rings: int = 6, n: int = 4, seed: int = 0, mesh: Mesh | None = None) -> SurfaceModel:
    mesh = ball_mesh(rings) if mesh is None else mesh
    return model_of(mesh, around(n, 32), some_light(), torch.full((len(mesh.vertices), 3), GREY), seed=seed)


def upward(model: SurfaceModel, n: int, degrees: float) -> tuple[Tensor, Tensor]:
    """Vertices whose normals point up, and views at an angle to them."""
    rows = torch.nonzero(model.transport.normals[:, 2] > 0.999)[:, 0]
    angle = math.radians(degrees)
    view = torch.tensor([math.sin(angle), 0.0, math.cos(angle)]).expand(n, 3)
    return rows[torch.arange(n) % len(rows)], view


def specular_of(model: SurfaceModel, roughness: float, degrees: float, light: Tensor, f0: float) -> Tensor:
    rows, view = upward(model, 400, degrees)
    a, b = model.specular(rows, view, torch.full((400,), roughness), light, 24)
    return (f0 * a + b).mean(0)


@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("degrees", [0.0, 60.0])
def test_specular_light_is_that_of_the_material(roughness: float, degrees: float) -> None:
    """The mean over rays is that of a metal of the same reflectance, shaded by an independent method."""
    model, light = ball_model(mesh=sheet(4, 0.5, 0.0)), some_light(seed=3, low=0.0)
    f0 = 0.6
    got = specular_of(model, roughness, degrees, light, f0)
    metal = MetallicRoughness(torch.full((3,), f0), roughness, 1.0)
    _, view = upward(model, 1, degrees)
    sampler = EnvironmentSampler(model.transport.environment(light))
    want = shade_monte_carlo(torch.tensor([[0.0, 0.0, 1.0]]), view, metal, sampler, 4096)[0]
    torch.testing.assert_close(got, want, rtol=0.03, atol=0)


def test_a_smooth_mirror_reflects_nearly_everything() -> None:
    """Below light of 1 from everywhere, a + b is what a white metal sends."""
    model, ones = ball_model(mesh=sheet(4, 0.5, 0.0)), torch.ones(2 * ROWS * ROWS, 3)
    got = specular_of(model, 0.05, 30.0, ones, 1.0)
    torch.testing.assert_close(got, torch.ones(3), rtol=0.01, atol=0)


def test_specular_light_is_linear_in_the_light() -> None:
    model, light = ball_model(), some_light()
    rows, view = model.rows[:8], model.transport.normals[model.rows[:8]]

    def shaded(radiance: Tensor) -> Tensor:
        model.random.manual_seed(5)
        return model.specular(rows, view, torch.full((8,), 0.4), radiance, 4)[0]

    torch.testing.assert_close(shaded(3 * light), 3 * shaded(light))


def test_rays_that_meet_a_surface_bring_its_light() -> None:
    """A mirror below a roof shows what the roof sends, and not the sky."""
    mesh = together(sheet(6, 0.1, 0.0), sheet(2, 20.0, 0.5, up=False))
    model = ball_model(mesh=mesh)
    model.outgoing = torch.zeros(len(mesh.vertices), 3)
    model.outgoing[49:] = torch.tensor([0.7, 0.2, 0.1])
    rows = torch.arange(49)
    view = torch.tensor([0.0, 0.0, 1.0]).expand(49, 3)
    a, b = model.specular(rows, view, torch.full((49,), 0.1), torch.ones(2 * ROWS * ROWS, 3), 4)
    torch.testing.assert_close((a + b).mean(0), torch.tensor([0.7, 0.2, 0.1]), rtol=0.02, atol=0)


def numerical(function: Callable[[Tensor], Tensor], value: Tensor, step: float) -> Tensor:
    """Central differences along every number."""
    slopes = torch.zeros_like(value).reshape(-1)
    for k in range(value.numel()):
        moved = torch.zeros(value.numel())
        moved[k] = step
        moved = moved.reshape(value.shape)
        slopes[k] = (function(value + moved) - function(value - moved)) / (2 * step)
    return slopes.reshape(value.shape)


def test_the_gradient_in_the_roughness() -> None:
    model = ball_model(mesh=sheet(4, 0.5, 0.0))
    smooth = torch.linspace(0.5, 1.5, ROWS)[:, None, None].expand(ROWS, 2 * ROWS, 3).reshape(-1, 3)
    rows, view = upward(model, 5, 40.0)

    def total(roughness: Tensor) -> Tensor:
        model.random.manual_seed(7)
        a, b = model.specular(rows, view, roughness, smooth, 64)
        return (DIELECTRIC_F0 * a + b).sum() + a.sum()

    value = torch.tensor([0.3, 0.45, 0.6, 0.7, 0.8]).requires_grad_()
    (slope,) = torch.autograd.grad(total(value), value)
    assert torch.isfinite(slope).all()
    torch.testing.assert_close(slope, numerical(total, value.detach(), 2e-3), rtol=0.08, atol=0.02)


def test_the_gradient_in_the_light() -> None:
    light = some_light(4).requires_grad_()
    model = model_of(ball_mesh(4), around(3, 32), light.detach(), torch.full((26, 3), GREY))
    rows = model.rows[:6]
    view = model.transport.normals[rows]

    def total(radiance: Tensor) -> Tensor:
        model.random.manual_seed(3)
        a, b = model.specular(rows, view, torch.full((6,), 0.4), radiance, 8)
        return (a + 2 * b).sum() + model.irradiance(rows, radiance).square().sum()

    (slope,) = torch.autograd.grad(total(light), light)
    want = numerical(total, light.detach(), 1e-2)
    torch.testing.assert_close(slope, want, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("roughness", [0.05, 0.99])
@pytest.mark.parametrize("degrees", [0.0, 85.0])
def test_gradients_at_the_ends_are_finite(roughness: float, degrees: float) -> None:
    model, light = ball_model(), some_light().requires_grad_()
    rows, view = upward(model, 16, degrees)
    rough = torch.full((16,), roughness).requires_grad_()
    a, b = model.specular(rows, view, rough, light, 8)
    slopes = torch.autograd.grad((a + b).sum(), (rough, light))
    assert all(torch.isfinite(slope).all() for slope in slopes)
    assert torch.isfinite(a).all() and (a >= 0).all() and (b >= 0).all()


def test_the_model_starts_at_the_brightness_of_the_photos() -> None:
    """Below the first light, the first albedo has the mean colour of the photos."""
    model = ball_model(8, 6)
    colour = model.albedo[model.rows] * model.irradiance(model.rows, model.light) / math.pi
    assert float(colour.mean()) == pytest.approx(float(model.mean_rgb[model.rows].mean()), rel=0.1)
    assert float(model.light.std()) < 1e-5


def test_where_the_materials_start() -> None:
    model = ball_model()
    torch.testing.assert_close(model.albedo, torch.full_like(model.albedo, 0.4))
    torch.testing.assert_close(model.roughness, torch.full_like(model.roughness, 0.5))
    torch.testing.assert_close(model.metallic, torch.full_like(model.metallic, 0.08))
    assert len(model.log_gains.value) == 4
    assert model.log_gains.value.abs().max() == 0


def test_set_materials() -> None:
    model = ball_model()
    v, p = len(model.transport), int(model.patch.max()) + 1
    albedo = torch.linspace(0.1, 0.9, 3 * v).reshape(v, 3)
    rough, metal = torch.linspace(0.1, 0.9, p), torch.linspace(0.05, 0.95, p)
    model.set_materials(albedo, rough, metal)
    torch.testing.assert_close(model.albedo, albedo)
    torch.testing.assert_close(model.roughness, rough[model.patch])
    torch.testing.assert_close(model.metallic, metal[model.patch])
    model.set_materials(1 - albedo)
    torch.testing.assert_close(model.albedo, 1 - albedo)
    torch.testing.assert_close(model.roughness, rough[model.patch])


def test_values_outside_the_bounds_are_moved_inside() -> None:
    model = ball_model()
    model.set_materials(torch.linspace(-1, 3, 3 * len(model.transport)).reshape(-1, 3))
    assert ALBEDO[0] < float(model.albedo.min()) < 0.05
    assert 0.95 < float(model.albedo.max()) < ALBEDO[1]


@pytest.mark.parametrize("between", [ALBEDO, ROUGHNESS, (0.0, 1.0)])
def test_squash_is_the_inverse_of_unsquash(between: tuple[float, float]) -> None:
    low, high = between
    values = torch.linspace(low + 0.02, high - 0.02, 50)
    torch.testing.assert_close(squash(unsquash(values, between), between), values)
    ends = squash(torch.tensor([-1e3, 1e3]), between)
    torch.testing.assert_close(ends, torch.tensor(between))


def test_chromaticity_has_no_brightness() -> None:
    rgb = torch.tensor([[0.2, 0.3, 0.5], [0.02, 0.03, 0.05], [0.0, 0.0, 0.0]])
    got = chromaticity(rgb)
    torch.testing.assert_close(got[0], got[1])
    torch.testing.assert_close(got[0].sum(), torch.tensor(1.0))
    assert got[2].tolist() == [0, 0, 0]


def test_patches_are_small_and_of_one_colour() -> None:
    """Vertices of one patch lie within a cell and differ little in chromaticity; red and green never share one."""
    mesh = ball_mesh(14)
    red = mesh.vertices[:, 0] > 0
    albedo = torch.where(torch.from_numpy(red)[:, None], torch.tensor([0.7, 0.1, 0.1]), torch.tensor([0.1, 0.7, 0.1]))
    model = model_of(mesh, around(8, 48), some_light(low=0.8), albedo)
    seen = (model.observations.count > 0).numpy()
    for patch in np.unique(model.patch.numpy()):
        rows = (model.patch.numpy() == patch) & seen
        assert len(np.unique(red[rows])) <= 1
        if rows.any():
            assert np.ptp(mesh.vertices[rows], axis=0).max() <= 6 * model.transport.edge + 1e-5


def test_pairs_of_patches_touch() -> None:
    model = ball_model(12, 6)
    touching = {tuple(pair) for pair in model.patch[model.edges].T.tolist() if pair[0] < pair[1]}
    assert {tuple(pair) for pair in model.pairs.T.tolist()} == touching
    assert len(model.likeness) == len(touching) > 0
    assert ((model.likeness > 0) & (model.likeness <= 1)).all()


def test_edges_are_those_of_the_mesh() -> None:
    model = ball_model(4)
    faces = model.transport.mesh.faces
    want = {(a, b) for face in faces.tolist() for a in face for b in face if a != b}
    assert {tuple(pair) for pair in model.edges.T.tolist()} == want
    for vertex in (0, 7, len(model.transport) - 1):
        own = model.edges[:, model.first_edge[vertex] : model.first_edge[vertex + 1]]
        assert (own[0] == vertex).all()
        assert len(own[1]) == sum(a == vertex for a, _ in want)


def test_drawn_vertices_are_seen_and_different() -> None:
    model = ball_model(8, 2)
    drawn = model.draw(5000)
    assert len(drawn.unique()) == len(drawn)
    assert (model.observations.count[drawn] > 0).all()
    torch.testing.assert_close(drawn, model.rows)  # so many draws find all
    assert len(model.draw(3)) <= 3


def test_open_convex_surfaces_do_not_light_each_other() -> None:
    model = ball_model()
    model.refresh()
    assert model.indirect.abs().max() == 0
    m = float(model.metallic[0])
    reflected = (1 - m) * (0.4 + DIELECTRIC_F0) + m * 0.4
    direct = model.transport.irradiance_everywhere(model.light)
    torch.testing.assert_close(model.outgoing, reflected * direct / math.pi)


def test_light_between_surfaces_adds_up() -> None:
    """In a closed room whose walls are lit with e, e r + e r^2 + ... = e r / (1 - r) comes back."""
    mesh = room()
    model = model_of(mesh, from_above(32, 0.5), some_light(), torch.full((len(mesh.vertices), 3), GREY))
    inside = (model.transport.points.abs() > 0.99).sum(1) == 1
    model.transport.lit_by[~inside.numpy()] = 0  # rays from edges start in the next wall
    model.transport.irradiance_everywhere = lambda *_: torch.full((len(mesh.vertices), 3), math.pi)  # type: ignore[method-assign]
    for _ in range(6):
        model.refresh()
    r = (1 - 0.08) * (0.4 + DIELECTRIC_F0) + 0.08 * 0.4
    torch.testing.assert_close(
        model.indirect[inside], torch.full((int(inside.sum()), 3), math.pi * r / (1 - r)), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(model.outgoing[inside].mean(), torch.tensor(r / (1 - r)), rtol=1e-3, atol=0)


def test_the_same_seed_draws_the_same() -> None:
    one, two, other = ball_model(seed=3), ball_model(seed=3), ball_model(seed=4)
    rows = one.rows[:4]
    rough, light = torch.full((4,), 0.5), some_light()
    first, second, third = (m.specular(rows, m.transport.normals[rows], rough, light, 4)[0] for m in (one, two, other))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert (first != third).any()
