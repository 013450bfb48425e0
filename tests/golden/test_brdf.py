"""Materials against Mitsuba 3 and closed forms (shared/goldens/brdf): tables, microfacets, re-shaded images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load
from torch import Tensor

from recon3d.render.shading import (
    Bsdf,
    Environment,
    Lambert,
    Principled,
    RoughConductor,
    RoughDielectric,
    environment_from_mitsuba,
)
from recon3d.render.shading.bsdf.fresnel import fresnel_conductor, fresnel_dielectric
from recon3d.render.shading.bsdf.microfacet import Ggx

pytestmark = pytest.mark.golden
KINDS = ("bsdf_tables*.npz", "microfacet_tables*.npz", "env_latlong_*.npz", "render_sphere*.npz", "render_mesh*.npz")
NOT_OURS = ("roughplastic",)
N_SAMPLES = 4096


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", KINDS)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list((ROOT / "brdf").glob(pattern))


def described(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return found


def number(value: Any) -> Any:
    """A parameter of a Mitsuba dictionary: a number, or a colour."""
    return torch.tensor(value["value"], dtype=torch.float64) if isinstance(value, dict) else float(value)


def material_of(table: dict[str, Any]) -> Bsdf | None:
    """The material of a Mitsuba dictionary; None = of a kind that is not asked for."""
    kind = table["type"]
    values = {
        name: number(v) for name, v in table.items() if name not in ("type", "distribution", "material", "nonlinear")
    }
    if kind == "diffuse":
        return Lambert(values["reflectance"])
    if kind == "principled":
        known = set(Principled.__dataclass_fields__)
        return Principled(**values) if values.keys() <= known else None
    if kind not in ("roughconductor", "roughdielectric"):
        assert kind in NOT_OURS, f"a new kind of material: {kind}"
        return None
    alphas = [values.get(name, values.get("alpha")) for name in ("alpha_u", "alpha_v")]
    if kind == "roughdielectric":
        return RoughDielectric(values["int_ior"] / values["ext_ior"], *alphas)
    if table.get("material") == "none":
        values |= {"eta": torch.zeros(3, dtype=torch.float64), "k": torch.ones(3, dtype=torch.float64)}
    return RoughConductor(values["eta"], values["k"], *alphas)


def materials(pattern: str) -> list[Any]:
    found = []
    for case in cases("brdf", pattern):
        path = case.values[0]
        if path is None:
            return [pytest.param(None, None, id="none", marks=case.marks)]
        for name in described(path)["materials"]:
            found.append(pytest.param(path, name, id=f"{path.stem}-{name}"))
    return found


def unit(array: np.ndarray) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(array).double(), dim=-1)


def table_of(path: Path, name: str) -> tuple[Bsdf, dict[str, np.ndarray], Tensor, Tensor]:
    entry, golden = described(path)["materials"][name], load(path)
    material = material_of(entry["mitsuba_dict"])
    if material is None:
        pytest.skip(f"{entry['mitsuba_dict']['type']} is not asked for")
    wo = unit(golden[entry["wo"]])
    return material, golden, unit(golden["wi"])[:, None].expand_as(wo), wo


def assert_close(got: Tensor, want: np.ndarray, relative: float = 1e-4) -> None:
    """Float32 of the reference: narrow lobes make more of its rounding where they are high."""
    excess = np.abs(got.numpy() - want) - relative * np.abs(want) - 1e-5 - 1e-5 * np.abs(want).max()
    assert excess.max() <= 0, f"off by {excess.max()} more than allowed"


@pytest.mark.parametrize(("path", "name"), materials("bsdf_tables*.npz"))
def test_values(path: Path, name: str) -> None:
    material, golden, wi, wo = table_of(path, name)
    sharp = isinstance(material, Principled)  # a coat of width 0.02, whose peak float32 places up to 0.05 % wrong
    assert_close(material.eval(wi, wo), golden[f"{name}/fcos"], 1e-3 if sharp else 1e-4)
    single = material_of(described(path)["materials"][name]["mitsuba_dict"])
    assert single is not None
    off = single.eval(wi.float(), wo.float()).double().numpy() - golden[f"{name}/fcos"]
    assert np.median(np.abs(off)) < 1e-5 and np.abs(off).max() < 1e-2 * max(1.0, np.abs(golden[f"{name}/fcos"]).max())


@pytest.mark.parametrize(("path", "name"), materials("bsdf_tables*.npz"))
def test_densities(path: Path, name: str) -> None:
    material, golden, wi, wo = table_of(path, name)
    if isinstance(material, Principled):
        pytest.skip("the density of Mitsuba's principled sampler is not asked for")
    assert_close(material.pdf(wi, wo), golden[f"{name}/pdf"])


@pytest.mark.parametrize(("path", "name"), materials("bsdf_tables*.npz"))
def test_albedos_by_our_own_sampling(path: Path, name: str) -> None:
    """The mean weight of samples is the albedo of 2^20 of Mitsuba's, within five standard errors."""
    material, golden, wi, _ = table_of(path, name)
    wi = wi[:, :1].expand(-1, N_SAMPLES, -1)
    u = torch.rand(*wi.shape[:2], 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wo, weight, _ = material.sample(wi, u)
    up = (wo[..., 2] * wi[..., 2] > 0)[..., None]
    for key, part in (("albedo", weight * up), ("transmit_albedo", weight * ~up)):
        if f"{name}/{key}" in golden:
            error = part.std(1).numpy() / N_SAMPLES**0.5 + golden[f"{name}/albedo_se"]
            assert (np.abs(part.mean(1).numpy() - golden[f"{name}/{key}"]) <= 5 * error + 1e-4).all(), key


@pytest.mark.parametrize("path", cases("brdf", "microfacet_tables*.npz"))
def test_microfacets(path: Path) -> None:
    golden = load(path)
    wi, wo = unit(golden["wi"]), unit(golden["wo"])
    lobes = sorted({name.split("/")[0] for name in golden if name.startswith("ggx")})
    assert lobes
    for lobe in lobes:
        alpha = torch.from_numpy(golden[f"{lobe}/alpha"]).double()
        ggx, m = Ggx(alpha[0], alpha[1]), unit(golden[f"{lobe}/m"])
        assert_close(ggx.density(m), golden[f"{lobe}/D"])
        assert_close(ggx.g1(wi, m), golden[f"{lobe}/G1_wi"])
        assert_close(ggx.g2(wi, wo, m), golden[f"{lobe}/G"])
        assert_close(ggx.visible_density(wi, m), golden[f"{lobe}/pdf_vndf"])


@pytest.mark.parametrize("path", cases("brdf", "microfacet_tables*.npz"))
def test_fresnel(path: Path) -> None:
    golden = load(path)
    cosines = torch.from_numpy(golden["cos_dielectric"]).double()
    plain = cosines.abs() > 1e-6  # on the horizon the side of the refracted ray is a matter of taste
    for name in golden:
        if name.startswith("fresnel_dielectric_eta") and name.endswith("/F"):
            key = name.split("/")[0]
            ior = torch.tensor(float(key.removeprefix("fresnel_dielectric_eta")), dtype=torch.float64)
            reflectance, cos_t = fresnel_dielectric(cosines, ior)
            assert np.abs(reflectance.numpy() - golden[name]).max() < 1e-5
            assert np.abs((cos_t.numpy() - golden[f"{key}/cos_t"])[plain.numpy()]).max() < 1e-3
    eta, k = (torch.from_numpy(golden[f"fresnel_conductor/{part}"]).double() for part in ("eta", "k"))
    cosines = torch.from_numpy(golden["cos_conductor"]).double()
    for channel in range(3):
        got = fresnel_conductor(cosines, eta[channel], k[channel])
        assert np.abs(got.numpy() - golden[f"fresnel_conductor/ch{channel}"]).max() < 1e-5


def analytic(env: dict[str, Any], directions: np.ndarray) -> np.ndarray:
    """The environment of the renderings in their own y-up axes."""
    light = np.broadcast_to(np.array(env["c0"]), directions.shape).copy()
    for mu, kappa, amplitude in env["lobes"]:
        axis = np.array(mu) / np.linalg.norm(mu)
        light += np.exp(kappa * (directions @ axis - 1))[..., None] * np.array(amplitude)
    return light


def z_up(directions: np.ndarray) -> Tensor:
    x, y, z = np.moveaxis(directions, -1, 0)
    return torch.from_numpy(np.stack([x, -z, y], -1))


@pytest.mark.parametrize("path", cases("brdf", "env_latlong_*.npz"))
def test_the_environment_of_mitsuba_stands_where_it_should(path: Path) -> None:
    """Its texels hold the analytic light of the sphere's renderings, which our converter must find again."""
    lights = sorted((ROOT / "brdf").glob("render_sphere*.json"))
    if not lights:
        pytest.skip("no render_sphere*.json tells the analytic light")
    env_of = json.loads(lights[0].read_text())["env"]
    rgb = load(path)["rgb"]
    height, width = rgb.shape[:2]
    v, u = np.meshgrid(np.arange(height) / (height - 1), (np.arange(width) + 0.5) / width, indexing="ij")
    phi, theta = 2 * np.pi * u, np.pi * v
    directions = np.stack([np.sin(phi) * np.sin(theta), np.cos(theta), -np.cos(phi) * np.sin(theta)], -1)
    want = analytic(env_of, directions)
    np.testing.assert_allclose(rgb, want, rtol=2e-3, atol=2e-3)
    env = environment_from_mitsuba(torch.from_numpy(rgb).double())
    got = env.lookup(z_up(directions)).numpy()
    turned = Environment(env.radiance).rotated_z(90).lookup(z_up(directions)).numpy()
    assert np.abs(got - want).mean() < 0.01 < 0.1 < np.abs(turned - want).mean()


def render_cases() -> list[Any]:
    return [case for pattern in ("render_sphere*.npz", "render_mesh*.npz") for case in materials(pattern)]


@pytest.mark.parametrize(("path", "name"), render_cases())
def test_images_under_a_point_light_from_the_g_buffer(path: Path, name: str) -> None:
    description, golden = described(path), load(path)
    material = material_of(description["materials"][name])
    if material is None:
        pytest.skip("not asked for")
    if f"point/{name}" not in golden:
        pytest.skip("no image under the point light")
    hit = golden["object_id"] == 1
    position = golden["position"][hit].astype(np.float64)
    frame = np.stack([golden[f"{axis}_shading"][hit] for axis in "stn"], -2).astype(np.float64)
    to_light = np.array(description["point"]["position"]) - position
    distance = np.linalg.norm(to_light, axis=-1, keepdims=True)
    to_eye = golden["c2w"][:3, 3] - position
    to_eye /= np.linalg.norm(to_eye, axis=-1, keepdims=True)
    wi, wo = (torch.from_numpy(np.einsum("nij,nj->ni", frame, d)) for d in (to_eye, to_light / distance))
    shaded = material.eval(wi, wo).numpy() * np.array(description["point"]["intensity"]) / distance**2
    want = golden[f"point/{name}"][hit]
    seen = (want > 0).any(-1)  # the rest lies in shadow, which needs rays
    off = np.abs(shaded - want)[seen] / (np.abs(want[seen]) + 1e-3)
    assert seen.mean() > 0.3 and np.median(off) < 1e-5 and np.quantile(off, 0.999) < 1e-2
