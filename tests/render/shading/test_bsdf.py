"""Every material: normalisation of its sampler, furnace, reciprocity, gradients, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError
from recon3d.render.shading import (
    Bsdf,
    Lambert,
    MetallicRoughness,
    Principled,
    RoughConductor,
    RoughDielectric,
)
from recon3d.render.shading.bsdf.base import Masking
from recon3d.render.shading.bsdf.microfacet import Ggx

GOLD = torch.tensor([0.2, 0.92, 1.1], dtype=torch.float64), torch.tensor([3.9, 2.45, 2.14], dtype=torch.float64)
BASE = torch.tensor([0.7, 0.4, 0.2], dtype=torch.float64)
WHITE, NONE = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)

MATERIALS: dict[str, Bsdf] = {
    "lambert": Lambert(BASE),
    "conductor": RoughConductor(*GOLD, 0.2, 0.5),
    "conductor correlated": RoughConductor(*GOLD, 0.4, 0.15, "correlated"),
    "dielectric": RoughDielectric(1.5, 0.3, 0.3),
    "dielectric correlated": RoughDielectric(1.33, 0.5, 0.25, "correlated"),
    "dielectric inside out": RoughDielectric(1 / 1.5, 0.35, 0.35),
    "plastic": MetallicRoughness(BASE, 0.5, 0.0),
    "metal": MetallicRoughness(BASE, 0.6, 1.0, anisotropy=0.6, masking="separable"),
    "coated": MetallicRoughness(BASE, 0.7, 0.3, clearcoat=0.8, clearcoat_roughness=0.45, fresnel_diffuse=True),
    "principled": Principled(BASE, roughness=0.5, metallic=0.2, anisotropic=0.5, flatness=0.4, sheen=0.3),
    "principled coat": Principled(BASE, roughness=0.6, clearcoat=1.0, clearcoat_gloss=0.1, spec_tint=0.5),
}
every_material = pytest.mark.parametrize("name", MATERIALS)
ANGLES = [(0.0, 0.0), (40.0, 25.0), (75.0, 200.0)]


def direction(theta: float, phi: float) -> Tensor:
    t, p = math.radians(theta), math.radians(phi)
    return torch.tensor([math.sin(t) * math.cos(p), math.sin(t) * math.sin(p), math.cos(t)], dtype=torch.float64)


def uniform(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Sphere:
    """Directions at the middles of a fine grid in theta and phi, which bins gather."""

    rows: int = 16
    columns: int = 24
    fine: int = 16

    def angles(self) -> tuple[Tensor, Tensor]:
        n = torch.tensor([self.rows, self.columns]) * self.fine
        theta, phi = ((torch.arange(int(k), dtype=torch.float64) + 0.5) / k for k in n)
        theta, phi = torch.meshgrid(math.pi * theta, 2 * math.pi * phi, indexing="ij")
        return theta, phi

    def directions(self) -> Tensor:
        theta, phi = self.angles()
        return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)

    def gathered(self, values: Tensor) -> Tensor:
        """Integrals over the bins."""
        area = self.angles()[0].sin() * (math.pi / (self.rows * self.fine)) * (2 * math.pi / (self.columns * self.fine))
        shape = (self.rows, self.fine, self.columns, self.fine)
        return (values * area).reshape(shape).sum((1, 3)).reshape(-1)

    def bins(self, directions: Tensor) -> Tensor:
        row = (directions[:, 2].clamp(-1, 1).arccos() * (self.rows / math.pi)).long().clamp(0, self.rows - 1)
        phi = torch.atan2(directions[:, 1], directions[:, 0]) % (2 * math.pi)
        return row * self.columns + (phi * (self.columns / (2 * math.pi))).long().clamp(0, self.columns - 1)


def assert_chi_square(counts: Tensor, expected: Tensor) -> None:
    """Pearson's statistic over bins of at least 5 lies within six standard deviations of its mean."""
    large = expected >= 5
    pooled_counts = torch.cat([counts[large], counts[~large].sum()[None]])
    pooled = torch.cat([expected[large], expected[~large].sum()[None]])
    used = pooled > 1e-3
    assert not pooled_counts[~used].any()
    statistic = float(((pooled_counts - pooled)[used] ** 2 / pooled[used]).sum())
    freedom = int(used.sum()) - 1
    assert statistic < freedom + 6 * math.sqrt(2 * freedom), f"chi square {statistic:.0f} for {freedom}"


@every_material
@pytest.mark.parametrize("angles", ANGLES, ids=str)
def test_samples_follow_the_density(name: str, angles: tuple[float, float]) -> None:
    """Chi-square; the samples without weight, which end below the surface, are the mass that the density lacks."""
    material, sphere, n = MATERIALS[name], Sphere(), 40_000
    sides = (1, -1) if material.transmits else (1,)
    for side in sides:
        wi = direction(*angles) * torch.tensor([1, 1, side])
        expected = n * sphere.gathered(material.pdf(wi, sphere.directions()))
        assert float(expected.sum()) < n * 1.01
        wo, _, density = material.sample(wi.expand(n, 3), uniform(n, 3))
        torch.testing.assert_close(density, material.pdf(wi.expand(n, 3), wo))
        drawn = density > 0
        counts = torch.bincount(sphere.bins(wo[drawn]), minlength=len(expected)).double()
        null = torch.tensor([max(n - float(expected.sum()), 0.0)], dtype=torch.float64)
        assert_chi_square(torch.cat([counts, (~drawn).sum()[None].double()]), torch.cat([expected, null]))


@every_material
def test_weights_are_values_over_densities(name: str) -> None:
    material = MATERIALS[name]
    wi = torch.nn.functional.normalize(uniform(200, 3) - torch.tensor([0.5, 0.5, 0.0]), dim=-1)
    wo, weight, density = material.sample(wi, uniform(200, 3, 1))
    torch.testing.assert_close(weight * density[:, None], material.eval(wi, wo), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(wo.norm(dim=-1), torch.ones(200, dtype=torch.float64))


@every_material
def test_reciprocity(name: str) -> None:
    """f(wi, wo) = f(wo, wi), and in transmission what passes per squared index of its side."""
    material = MATERIALS[name]
    wi, wo = (torch.nn.functional.normalize(uniform(500, 3, seed) - 0.5, dim=-1) for seed in (1, 2))
    there = material.eval(wi, wo) / wo[:, 2:].abs()
    back = material.eval(wo, wi) / wi[:, 2:].abs()
    if isinstance(material, RoughDielectric):
        inside = (wo[:, 2:] < 0).double() - (wi[:, 2:] < 0).double()
        there = there * torch.as_tensor(material.ior, dtype=torch.float64) ** (2 * inside)
    assert float(there.max()) > 0
    torch.testing.assert_close(there, back, rtol=1e-7, atol=1e-9)


FURNACE: dict[str, tuple[Bsdf, float]] = {  # with the least albedo at 40 degrees
    "lambert": (Lambert(WHITE), 1.0 - 1e-9),
    "smooth mirror": (RoughConductor(NONE, WHITE, 0.02, 0.02), 0.999),
    "rough mirror": (RoughConductor(NONE, WHITE, 0.5, 0.5), 0.65),
    "rough mirror correlated": (RoughConductor(NONE, WHITE, 0.5, 0.5, "correlated"), 0.65),
    "white plastic": (MetallicRoughness(WHITE, 0.5, 0.0, fresnel_diffuse=True), 0.9),
    "white coated": (MetallicRoughness(WHITE, 0.8, 0.5, clearcoat=1.0, fresnel_diffuse=True), 0.5),
}


@pytest.mark.parametrize("name", FURNACE)
def test_white_furnace(name: str) -> None:
    """Under light from everywhere a white surface reflects all, or what GGX loses to a second bounce less."""
    material, least = FURNACE[name]
    for angles in ANGLES:
        n = 20_000
        _, weight, _ = material.sample(direction(*angles).expand(n, 3), uniform(n, 3))
        albedo, error = weight.mean(0), weight.std(0) / n**0.5
        most = 1.08 if isinstance(material, MetallicRoughness) else 1.0 + 1e-9  # glTF at 75 degrees
        assert bool((albedo <= most + 4 * error).all())
        assert angles != ANGLES[1] or bool((albedo >= least - 4 * error).all())


def test_a_dielectric_loses_little_and_makes_nothing() -> None:
    """Reflection plus transmission, where radiance is counted without its compression by the index."""
    n = 20_000
    for material in (RoughDielectric(1.5, 0.1, 0.1), RoughDielectric(1.5, 0.1, 0.1, "correlated")):
        for side in (1.0, -1.0):
            wi = direction(30, 0) * torch.tensor([1, 1, side])
            wo, weight, _ = material.sample(wi.expand(n, 3), uniform(n, 3))
            crossed = (wo[:, 2] * side < 0).double()
            energy = weight[:, 0] * (1.5 ** (2 * side)) ** crossed
            assert 0.97 < float(energy.mean()) < 1.0 + 1e-6


@pytest.mark.parametrize("masking", ["separable", "correlated"])
def test_normals_project_to_the_area_of_the_surface(masking: Masking) -> None:
    """The integral of D cos is 1, and that of the visible part is the projected area, whatever the masking."""
    tensor = torch.tensor(0.3, dtype=torch.float64)
    ggx, sphere = Ggx(tensor, tensor * 2, masking), Sphere()
    m = sphere.directions()
    total = float(sphere.gathered(ggx.density(m) * m[..., 2].clamp_min(0)).sum())
    assert total == pytest.approx(1, abs=2e-3)
    for angles in ANGLES:
        wi = direction(*angles)
        seen = ggx.g1(wi, m) * ggx.density(m) * (m @ wi).clamp_min(0)
        assert float(sphere.gathered(seen).sum()) == pytest.approx(float(wi[2]), abs=2e-3)


def test_correlated_masking_lets_more_light_through() -> None:
    wi, wo = direction(60, 0), direction(60, 180)
    separable, correlated = (RoughConductor(*GOLD, 0.5, 0.5, m).eval(wi, wo) for m in ("separable", "correlated"))
    assert bool((correlated > separable).all())


def test_a_conductor_at_normal_incidence_has_the_closed_form() -> None:
    eta, k = GOLD
    f0 = ((eta - 1) ** 2 + k**2) / ((eta + 1) ** 2 + k**2)
    up = direction(0, 0)
    got = RoughConductor(eta, k, 0.3, 0.2).eval(up, up)
    torch.testing.assert_close(got, f0 / (4 * math.pi * 0.3 * 0.2))


def test_parameters_per_row_are_those_of_single_materials() -> None:
    base, rough, metallic, coat = uniform(6, 3), uniform(6, 1)[:, 0], uniform(6, 1, 1)[:, 0], uniform(6, 1, 2)[:, 0]
    wi, wo = (torch.nn.functional.normalize(uniform(6, 3, seed), dim=-1) for seed in (3, 4))
    together = MetallicRoughness(base, rough, metallic, clearcoat=coat, clearcoat_roughness=0.2)
    for row in range(6):
        single = MetallicRoughness(
            base[row], float(rough[row]), float(metallic[row]), clearcoat=float(coat[row]), clearcoat_roughness=0.2
        )
        torch.testing.assert_close(together.eval(wi, wo)[row], single.eval(wi[row], wo[row]))
        torch.testing.assert_close(together.pdf(wi, wo)[row], single.pdf(wi[row], wo[row]))


def test_leading_axes_broadcast() -> None:
    material = MetallicRoughness(uniform(5, 3), uniform(5, 1)[:, 0], 0.5)
    wo, weight, density = material.sample(direction(30, 0).expand(7, 5, 3), torch.rand(7, 5, 3).double())
    assert wo.shape == weight.shape == (7, 5, 3) and density.shape == (7, 5)


@every_material
def test_nothing_below_the_horizon_and_no_nan_anywhere(name: str) -> None:
    material = MATERIALS[name]
    edge = [0.0, 1e-9, 1e-4, 0.3, 1.0, -1e-4, -0.5, -1.0]
    towards = torch.tensor([[math.sqrt(1 - z * z), 0.0, z] for z in edge])
    wi, wo = towards.repeat_interleave(len(edge), 0), towards.repeat(len(edge), 1)
    value, density = material.eval(wi, wo), material.pdf(wi, wo)
    assert bool(value.isfinite().all() and (value >= 0).all() and density.isfinite().all() and (density >= 0).all())
    if not material.transmits:
        assert not value[(wi[:, 2] <= 0) | (wo[:, 2] <= 0)].any()
    drawn = material.sample(wi, torch.tensor([0.0, 1 - 2**-24, 0.5]).expand(len(wi), 3))
    assert all(bool(part.isfinite().all()) for part in drawn)


GRADED: dict[str, tuple[Callable[..., Bsdf], list[Tensor]]] = {
    "lambert": (Lambert, [BASE]),
    "conductor": (lambda e, k, x, y: RoughConductor(e, k, x, y, "correlated"), [*GOLD, BASE[0], BASE[1]]),
    "dielectric": (lambda i, x, y: RoughDielectric(i, x, y, "correlated"), [BASE[0] + 0.9, BASE[1], BASE[2]]),
    "metallic roughness": (
        lambda b, r, m, c, cr, a: MetallicRoughness(b, r, m, c, cr, a),
        [BASE, BASE[0], BASE[1], BASE[2], BASE[1], BASE[2]],
    ),
    "principled": (lambda b, r, m, a, c: Principled(b, r, m, 0.5, a, 0.3, c, 0.2), [BASE, *BASE, BASE[1]]),
}


@pytest.mark.parametrize("name", GRADED)
def test_gradients_in_parameters_and_directions(name: str) -> None:
    make, parameters = GRADED[name]
    wi = torch.stack([direction(20, 30), direction(60, 100)])
    wo = torch.stack([direction(35, 180), direction(130 if name == "dielectric" else 50, 300)])
    leaves = [value.clone().requires_grad_() for value in (*parameters, wi, wo)]
    assert torch.autograd.gradcheck(lambda *v: make(*v[:-2]).eval(v[-2], v[-1]), leaves)


def test_gradients_stay_finite_on_the_horizon_and_at_the_pole() -> None:
    base = BASE.clone().requires_grad_()
    rough = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    wi = torch.stack([direction(0, 0), direction(90, 0), direction(120, 0)])
    MetallicRoughness(base, rough, 0.5).eval(wi, direction(0, 0).expand(3, 3)).sum().backward()
    assert base.grad is not None and rough.grad is not None
    assert bool(base.grad.isfinite().all()) and bool(rough.grad.isfinite())


def test_samples_carry_gradients_of_the_material() -> None:
    albedo = BASE.clone().requires_grad_()
    _, weight, _ = Lambert(albedo).sample(direction(10, 0).expand(50, 3), uniform(50, 3))
    weight.mean(0).sum().backward()
    torch.testing.assert_close(albedo.grad, WHITE)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lambert(BASE * 2), "albedo is out of its range; got: 0.4 to 1.4"),
        (lambda: Lambert(BASE * math.nan), "albedo is out of its range"),
        (lambda: RoughConductor(*GOLD, -0.1, 0.1), "alpha_x is out of its range"),
        (lambda: RoughConductor(*GOLD, 0.1, torch.tensor([0.1, math.inf])), "alpha_y is out of its range"),
        (lambda: RoughConductor(-GOLD[0], GOLD[1], 0.1, 0.1), "eta is out of its range"),
        (lambda: RoughDielectric(1.0, 0.1, 0.1), "an index of 1 is no interface"),
        (lambda: MetallicRoughness(BASE, 1.5, 0.0), "roughness is out of its range"),
        (lambda: MetallicRoughness(BASE, 0.5, 0.0, clearcoat=torch.tensor([0.2, -0.2])), "clearcoat is out"),
        (lambda: Principled(BASE, sheen=2.0), "sheen is out of its range"),
    ],
)
def test_parameters_out_of_their_range(make: Callable[[], Bsdf], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.usefixtures("without_shape_checks")
def test_a_colour_has_three_channels() -> None:
    with pytest.raises(ShapeError, match="albedo is no colour"):
        Lambert(torch.ones(4))
