"""Light against sums over all pixels in float64 (shared/goldens/ibl): probes, prefiltering, split sum, tone curves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_cases import ROOT, load
from torch import Tensor

from recon3d.formats.exr import read_exr
from recon3d.formats.hdr import encode_rgbe, read_hdr
from recon3d.render.shading import (
    Environment,
    EnvironmentSampler,
    MetallicRoughness,
    PrefilteredEnvironment,
    brdf_lut,
    irradiance_from_sh,
    light_maps,
    lookup_brdf,
    sh_from_environment,
    shade_monte_carlo,
    shade_split_sum,
    srgb_from_linear,
    tone_curve,
)
from recon3d.render.shading.frames import reflect
from recon3d.render.shading.irradiance import irradiance

pytestmark = pytest.mark.golden
DATASETS = Path(os.environ.get("RECON3D_DATASETS", ROOT.parent / "datasets"))
KINDS = {  # told apart by their arrays
    "probe": {"sample_rgbe", "sh_coeffs"},
    "lighting": {"sh_coeffs", "pt_albedo"},
    "exr": {"row0", "row_mid"},
    "lut": {"NoV", "AB_smith_correlated"},
    "tone": {"linear", "srgb_oetf_clamped"},
}


def names(path: Path) -> set[str]:
    with np.load(path) as arrays:
        return set(arrays.files)


def of_kind(kind: str) -> pytest.MarkDecorator:
    paths = [path for path in sorted((ROOT / "ibl").glob("*.npz")) if KINDS[kind] <= names(path)]
    found = [pytest.param(path, id=path.stem) for path in paths]
    none = pytest.param(None, id="none", marks=pytest.mark.skip(reason=f"no {kind} in {ROOT / 'ibl'}"))
    return pytest.mark.parametrize("path", found or [none])


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("kind", KINDS)
def test_the_default_set_holds_every_kind(kind: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert any(KINDS[kind] <= names(path) for path in (ROOT / "ibl").glob("*.npz"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other at every small operation take many times longer on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def source_of(path: Path, suffix: str) -> Path:
    found = DATASETS / "relight" / "hdri" / (path.stem.removesuffix("_exr") + suffix)
    if not found.is_file():
        pytest.skip(f"{found} is not there; RECON3D_DATASETS names another folder")
    return found


@lru_cache(maxsize=4)
def probe(path: Path) -> Environment:
    return Environment(torch.from_numpy(read_hdr(source_of(path, ".hdr"))).double())


@lru_cache(maxsize=4)
def prefiltered(path: Path) -> PrefilteredEnvironment:
    return PrefilteredEnvironment(probe(path).to(torch.float32))


def tensor(golden: dict[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(golden[name])


def assert_within(got: Tensor, want: np.ndarray, relative: float, of_peak: float = 1e-9) -> None:
    """Each value within a share of itself, or a much smaller share of the largest one of its channel."""
    allowed = relative * np.abs(want) + of_peak * np.abs(want).reshape(-1, want.shape[-1]).max(0)
    excess = np.abs(got.detach().double().numpy() - want) / allowed
    assert excess.max() <= 1, f"{excess.max():.2f} times what is allowed"


@of_kind("probe")
def test_pixels_of_hdr_files(path: Path) -> None:
    golden, rgb = load(path), read_hdr(source_of(path, ".hdr"))
    assert list(rgb.shape[:2]) == golden["shape"].tolist()
    y, x = golden["sample_yx"].T
    np.testing.assert_array_equal(rgb[y, x], golden["sample_rgb"].astype(np.float32))
    again = encode_rgbe(rgb[y, x][None])[0]
    shift = golden["sample_rgbe"][:, 3] - again[:, 3].astype(int)  # some writers leave the top bit of a mantissa free
    same = (again >> np.maximum(-shift, 0)[:, None])[:, :3] if (shift < 0).any() else again[:, :3]
    np.testing.assert_array_equal(same[shift == 0], golden["sample_rgbe"][shift == 0, :3])
    np.testing.assert_allclose(rgb.mean((0, 1), dtype=np.float64), golden["mean_rgb"], rtol=1e-6)
    np.testing.assert_allclose(rgb.max((0, 1)), golden["max_rgb"])


@of_kind("exr")
def test_pixels_of_exr_files(path: Path) -> None:
    golden = load(path)
    channels = read_exr(source_of(path, ".exr"))
    rgb = np.stack([channels[name] for name in "RGB"], -1)
    assert list(rgb.shape[:2]) == golden["shape"].tolist()
    y, x = golden["sample_yx"].T
    np.testing.assert_array_equal(rgb[y, x], golden["sample_rgb"])
    np.testing.assert_array_equal(rgb[0], golden["row0"])
    np.testing.assert_array_equal(rgb[len(rgb) // 2], golden["row_mid"])
    np.testing.assert_allclose(rgb.mean((0, 1), dtype=np.float64), golden["mean_rgb"], rtol=1e-6)
    np.testing.assert_allclose(rgb.max((0, 1)), golden["max_rgb"])


@of_kind("lighting")
def test_directions_solid_angles_and_lookup(path: Path) -> None:
    golden, env = load(path), probe(path)
    y, x = golden["corner_yx"].T
    np.testing.assert_allclose(env.directions()[y, x], golden["corner_dirs"], atol=1e-12)
    mean = (env.radiance * env.solid_angles()[..., None]).sum((0, 1)) / (4 * np.pi)
    np.testing.assert_allclose(mean, golden["solid_angle_mean_radiance"], rtol=1e-6)
    np.testing.assert_allclose(env.lookup(tensor(golden, "corner_dirs")), env.radiance[y, x], rtol=1e-9)


@of_kind("lighting")
def test_spherical_harmonics_and_irradiance(path: Path) -> None:
    golden, env = load(path), probe(path)
    sh = sh_from_environment(env)
    assert np.abs(sh.numpy() - golden["sh_coeffs"]).max() <= 1e-6 * np.abs(golden["sh_coeffs"]).max()
    normals = tensor(golden, "normals")
    assert_within(irradiance(env, normals), golden["irradiance"], 1e-6)
    unclamped = np.maximum(golden["irradiance_sh2"], 0)  # ringing below a sun, where ours stops at zero
    assert_within(irradiance_from_sh(sh[:9], normals), unclamped, 1e-6)


@of_kind("lighting")
def test_prefiltered_maps(path: Path) -> None:
    golden, pre = load(path), prefiltered(path)
    assert_within(pre.irradiance(tensor(golden, "normals").float()), golden["irradiance"], 0.01, 0.003)
    directions = tensor(golden, "spec_dirs").float()
    for roughness, want in zip(golden["spec_roughness"], golden["spec_prefiltered"], strict=True):
        if roughness >= 0.2 - 1e-6:
            assert_within(pre.specular(directions, float(roughness)), want, 0.03 if roughness > 0.29 else 0.1)


@of_kind("lighting")
def test_split_sum_at_shading_points(path: Path) -> None:
    golden, pre = load(path), prefiltered(path)
    p = {name: tensor(golden, name).float() for name in golden if name.startswith("pt_")}
    seen = pre.specular(reflect(p["pt_view"], p["pt_normal"]), p["pt_roughness"])
    assert_within(seen, golden["pt_prefiltered"], 0.03)
    shaded = shade_split_sum(
        p["pt_normal"], p["pt_view"], p["pt_albedo"], p["pt_roughness"], p["pt_metallic"], pre, brdf_lut(128)
    )
    assert_within(shaded, golden["pt_diffuse"] + golden["pt_specular_splitsum"], 0.03)
    nv = (p["pt_normal"] * p["pt_view"]).sum(-1)
    assert np.abs(lookup_brdf(brdf_lut(128), nv, p["pt_roughness"]).numpy() - golden["pt_AB"]).max() <= 2e-3


@of_kind("lighting")
def test_monte_carlo_reaches_the_full_integral(path: Path) -> None:
    """Mean over the points: the noise of 1024 pairs of directions is well below the bias of the split sum."""
    golden = load(path)
    p = {name: tensor(golden, name).float() for name in golden if name.startswith("pt_")}
    material = MetallicRoughness(p["pt_albedo"], p["pt_roughness"], p["pt_metallic"])
    sampler = EnvironmentSampler(probe(path).to(torch.float32))
    shaded = shade_monte_carlo(p["pt_normal"], p["pt_view"], material, sampler, 1024).numpy()
    want = golden["pt_diffuse"] + golden["pt_specular_full"]
    off = np.abs(shaded - want) / want
    assert np.median(off) < 0.02 and off.max() < 0.15
    assert abs((shaded - want).sum() / want.sum()) < 0.01


@of_kind("lut")
@pytest.mark.parametrize("visibility", ["correlated", "schlick"])
def test_brdf_tables(path: Path, visibility: str) -> None:
    """At grazing angles the stored tables miss the end of the tail of D: refined, their sum moves towards ours."""
    golden = load(path)
    nv, roughness = np.meshgrid(golden["NoV"], golden["roughness"], indexing="ij")
    lut = brdf_lut(128, visibility)  # type: ignore[arg-type]
    got = lookup_brdf(lut.double(), torch.from_numpy(nv), torch.from_numpy(roughness)).numpy()
    want = golden["AB_smith_correlated" if visibility == "correlated" else "AB_schlick_ibl"]
    off = np.abs(got - want)
    plain = nv >= 0.15
    assert off[plain].max() <= 2e-3 and off.max() <= 0.01


@of_kind("tone")
def test_tone_curves(path: Path) -> None:
    golden = load(path)
    linear = tensor(golden, "linear")
    curves = {
        "reinhard": tone_curve(linear, "reinhard"),
        "khronos_pbr_neutral_linear": tone_curve(linear, "neutral"),
        "aces_filmic_three_linear": tone_curve(linear, "aces"),
        "agx_three_linear": tone_curve(linear, "agx"),
        "srgb_oetf_clamped": srgb_from_linear(tone_curve(linear, "srgb")),
    }
    curves["near_env_ldr"], curves["near_env_log"] = light_maps(linear)
    for name in curves.keys() & golden.keys():
        np.testing.assert_allclose(curves[name], golden[name], atol=1e-9, err_msg=name)
