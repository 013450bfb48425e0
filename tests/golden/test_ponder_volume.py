"""Volume rendering against PonderV2's modules and a float64 reference of packed rays (shared/goldens/ponder)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from golden_cases import ROOT, cases, load
from torch import Tensor

from recon3d.render.rays import Rays
from recon3d.render.volume import (
    MarchOptions,
    OccupancyGrid,
    Packing,
    Spacing,
    accumulate,
    box_interval,
    composite_depths,
    even_edges,
    importance_edges,
    laplace_density,
    march,
    merge_edges,
    neus_alpha,
    neus_edges,
    opacity,
    over_background,
    ray_box,
    section_alphas,
    trilinear,
    visible,
    weights_from_alpha,
    weights_from_density,
)

pytestmark = pytest.mark.golden
KINDS = ("ray_aabb*.npz", "samplers*.npz", "neus_alpha_render*.npz", "volrend_packed*.npz", "trilinear*.npz")
SAMPLERS = {
    "UniformSampler": "uniform",
    "LinearDisparitySampler": "disparity",
    "SqrtSampler": "sqrt",
    "LogSampler": "log",
    "UniformLinDispPiecewiseSampler": "piecewise",
}


class Precision(NamedTuple):
    """A type with the tolerances that the README of the set states for it."""

    dtype: torch.dtype
    geometry: float
    values: float  # samplers, alphas, packed compositing
    renders: float
    gradients: float


WIDE = Precision(torch.float64, 1e-6, 1e-10, 1e-8, 1e-6)
NARROW = Precision(torch.float32, 2e-5, 1e-5, 1e-3, 1e-2)
both = pytest.mark.parametrize("precision", [pytest.param(WIDE, id="float64"), pytest.param(NARROW, id="float32")])


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("ponder", pattern))


class Golden:
    """The arrays of one file as tensors of one type; a trailing axis of one is dropped where asked."""

    def __init__(self, path: Path, precision: Precision) -> None:
        self.arrays, self.precision = load(path), precision

    def __getitem__(self, name: str) -> Tensor:
        value = torch.from_numpy(self.arrays[name].copy())
        return value.to(self.precision.dtype) if value.is_floating_point() else value

    def flat(self, name: str) -> Tensor:
        return self[name].squeeze(-1)

    def leaf(self, name: str) -> Tensor:
        return self[name].requires_grad_()

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.arrays if name.startswith(prefix)]


def assert_same(got: Tensor | None, want: np.ndarray, tolerance: float) -> None:
    """Equal relative to the larger of one and the largest value, as the README of the set says."""
    assert got is not None
    values = np.asarray(got.detach(), np.float64).reshape(want.shape)
    assert np.isfinite(values).all()
    off = np.abs(values - want).max(initial=0.0) / max(1.0, np.abs(want).max(initial=0.0))
    assert off <= tolerance, f"off by {off:.1e}, {tolerance} is allowed"


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", KINDS)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list((ROOT / "ponder").glob(pattern))


@both
@of_kind("ray_aabb*.npz")
def test_ray_box(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    rays, (lower, upper) = Rays(golden["origins"], golden["directions"]), golden["bbox"].reshape(2, 3)
    enter, leave = box_interval(rays, lower, upper)
    hit = golden.arrays["exact_hit"]
    beside = np.isinf(golden.arrays["exact_tmin"])
    assert np.array_equal(np.isposinf(enter.numpy()), beside)
    assert np.array_equal(np.isneginf(leave.numpy()), beside)
    near_plane = float(golden.arrays["near_plane"])
    hits = ray_box(rays, lower, upper, near=near_plane)
    for got, clamped, name in ((enter, hits.near, "exact_tmin"), (leave, hits.far, "exact_tmax")):
        want = golden.arrays[name]
        assert_same(got[~beside], want[~beside], precision.geometry)
        assert_same(clamped, np.where(hit, want.clip(min=near_plane), 0.0), precision.geometry)
    assert np.array_equal(hits.hit.numpy(), hit)


@both
@of_kind("ray_aabb*.npz")
def test_ray_box_is_close_to_the_collider_of_the_paper(path: Path, precision: Precision) -> None:
    """The reference adds 1e-6 to every component of a direction."""
    golden = Golden(path, precision)
    rays, (lower, upper) = Rays(golden["origins"], golden["directions"] + 1e-6), golden["bbox"].reshape(2, 3)
    hits = ray_box(rays, lower, upper, near=float(golden.arrays["near_plane"]))
    assert_same(hits.near, golden.arrays["collider_nears"], precision.geometry * 10)
    assert_same(hits.far, golden.arrays["collider_fars"], precision.geometry * 10)


@both
@of_kind("samplers*.npz")
def test_spaced_samplers(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    near, far = golden.flat("nears"), golden.flat("fars")
    for name in golden.names(""):
        sampler, _, field = name.partition("/")
        if sampler in SAMPLERS and field == "starts":
            n = golden.arrays[name].shape[1]
            t = Spacing(near, far, SAMPLERS[sampler]).distances(even_edges(len(near), n, like=near))  # type: ignore[arg-type]
            assert_same(t[:, :-1], golden.arrays[name], precision.values)
            assert_same(t[:, 1:], golden.arrays[f"{sampler}/ends"], precision.values)


@both
@of_kind("samplers*.npz")
def test_jittered_samples(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    near, far = golden.flat("nears"), golden.flat("fars")
    for kind in ("uniform_train", "uniform_train_single"):
        n = golden.arrays[f"{kind}/spacing_starts"].shape[1]
        edges = even_edges(len(near), n, like=near, jitter=golden[f"{kind}/t_rand"])
        assert_same(edges[:, :-1], golden.arrays[f"{kind}/spacing_starts"], precision.values)
        if f"{kind}/spacing_ends" in golden.arrays:
            assert_same(edges[:, 1:], golden.arrays[f"{kind}/spacing_ends"], precision.values)
    t = Spacing(near, far).distances(even_edges(len(near), n, like=near, jitter=golden["uniform_train/t_rand"]))
    assert_same(t[:, :-1], golden.arrays["uniform_train/starts"], precision.values)
    assert_same(t.diff(dim=1), golden.arrays["uniform_train/deltas"], precision.values)


def old_edges(golden: Golden) -> Tensor:
    starts, ends = golden.flat("pdf/in_spacing_starts"), golden.flat("pdf/in_spacing_ends")
    return torch.cat([starts, ends[:, -1:]], 1)


@both
@of_kind("samplers*.npz")
def test_importance_samples(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    for kind, jitter in (("pdf_eval", None), ("pdf_train", golden["pdf_train/rand_over_numbins"])):
        n = golden.arrays[f"{kind}/spacing_starts"].shape[1]
        edges = importance_edges(old_edges(golden), golden.flat("pdf/weights"), n, jitter=jitter)
        assert_same(edges[:, :-1], golden.arrays[f"{kind}/spacing_starts"], precision.values)
        assert_same(edges[:, 1:], golden.arrays[f"{kind}/spacing_ends"], precision.values)
    t = Spacing(golden.flat("nears"), golden.flat("fars")).distances(
        importance_edges(old_edges(golden), golden.flat("pdf/weights"), golden.arrays["pdf_eval/starts"].shape[1])
    )
    assert_same(t[:, :-1], golden.arrays["pdf_eval/starts"], precision.values)


@both
@of_kind("samplers*.npz")
def test_merged_samples(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    starts, ends = golden.flat("pdf_eval/spacing_starts"), golden.flat("pdf_eval/spacing_ends")
    merged = merge_edges(old_edges(golden), torch.cat([starts, ends[:, -1:]], 1))
    assert_same(merged[:, :-1], golden.arrays["merge/spacing_starts"], precision.values)
    assert_same(merged[:, 1:], golden.arrays["merge/spacing_ends"], precision.values)
    t = Spacing(golden.flat("nears"), golden.flat("fars")).distances(merged)
    assert_same(t.diff(dim=1), golden.arrays["merge/deltas"], precision.values)


@both
@of_kind("samplers*.npz")
def test_neus_samples(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    rays = Rays(golden["neus/origins"], golden["neus/directions"])
    spacing = Spacing(golden.flat("neus/nears"), golden.flat("neus/fars"))
    first = even_edges(len(rays), int(golden.arrays["neus/num_samples"]), like=rays.origins)

    def sdf(t: Tensor) -> Tensor:
        return (rays.at(t) - golden["neus/center"]).norm(dim=-1) - golden["neus/radius"]

    for name in golden.names("neus_"):
        kind, _, field = name.partition("/")
        if field == "starts":
            n_new = golden.arrays[name].shape[1] - first.shape[1] + 1
            n_steps = int(kind.removeprefix("neus_").removesuffix("step"))
            t = spacing.distances(neus_edges(sdf, spacing, first, [n_new // n_steps] * n_steps))
            assert_same(t[:, :-1], golden.arrays[name], precision.values)
            assert_same(t[:, 1:], golden.arrays[f"{kind}/ends"], precision.values)
            assert_same(t.diff(dim=1), golden.arrays[f"{kind}/deltas"], precision.values)


def along(golden: Golden) -> Tensor:
    """The direction of the ray of every sample."""
    return golden["directions"][:, None].expand(-1, golden.arrays["sdf"].shape[1], -1)


@both
@of_kind("neus_alpha_render*.npz")
def test_neus_opacities(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    geometry = golden.flat("sdf"), golden["gradients"], along(golden), golden.flat("deltas")
    for name in golden.names("alpha_anneal_"):
        alphas = neus_alpha(*geometry, golden["inv_s"][0], cos_anneal=float(name.removeprefix("alpha_anneal_")))
        assert_same(alphas, golden.arrays[name], precision.values)
    for name in golden.names("fixed_inv_s_"):
        sharpness = float(name.removeprefix("fixed_inv_s_"))
        alphas = section_alphas(golden.flat("sdf"), golden.flat("deltas"), sharpness)
        assert_same(alphas, golden.arrays[name], precision.values)


@both
@of_kind("neus_alpha_render*.npz")
def test_neus_rendering_and_its_gradients(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    leaf = {name: golden.leaf(name) for name in ("sdf", "gradients", "rgb", "variance")}
    inv_s = torch.exp(10.0 * leaf["variance"])
    alphas = neus_alpha(leaf["sdf"].squeeze(-1), leaf["gradients"], along(golden), golden.flat("deltas"), inv_s)
    found = weights_from_alpha(alphas, leak=1e-7)
    assert_same(found.weights, golden.arrays["weights"], precision.values)
    n = alphas.shape[1]
    assert_same(found.transmittance, golden.arrays["transmittance"][:, :n], precision.values)
    rgb, depths = accumulate(found.weights, leaf["rgb"]), composite_depths(found.weights, golden.flat("starts"))
    normals = torch.nn.functional.normalize(leaf["gradients"], dim=-1)
    starts = golden.arrays["starts"]
    assert_same(rgb, golden.arrays["out_rgb"], precision.renders)
    assert_same(depths.expected.clamp(starts.min(), starts.max()), golden.arrays["out_depth"], precision.renders)
    assert_same(accumulate(found.weights, normals), golden.arrays["out_normal"], precision.renders)
    assert_same(accumulate(found.weights, golden["semantic"]), golden.arrays["out_semantic"], precision.renders)
    over = over_background(rgb, opacity(found.weights), golden["bg"])
    assert_same(over, golden.arrays["out_rgb_bg"], precision.renders)
    loss = (rgb * golden["grad_rgb_out"]).sum() + (depths.expected * golden.flat("grad_depth_out")).sum()
    loss.backward()
    for name, value in leaf.items():
        assert_same(value.grad, golden.arrays[f"g_{name}"].reshape(value.shape), precision.gradients)


@both
@of_kind("neus_alpha_render*.npz")
def test_densities(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    found = weights_from_density(golden.flat("density"), golden.flat("deltas"))
    assert_same(found.weights, golden.arrays["density_weights"], precision.values)
    assert_same(found.transmittance, golden.arrays["density_transmittance"], precision.values)
    beta, least = (float(golden.arrays[f"laplace_{name}"]) for name in ("beta", "beta_min"))
    density = laplace_density(golden.flat("sdf"), beta, beta_min=least)
    assert_same(density, golden.arrays["laplace_density"], precision.values)


def packing_of(golden: Golden) -> Packing:
    return Packing(golden["ray_indices"], int(golden.arrays["n_rays"]))


@both
@of_kind("volrend_packed*.npz")
def test_packed_densities_and_their_gradients(path: Path, precision: Precision) -> None:
    golden, packing = Golden(path, precision), packing_of(Golden(path, precision))
    sigmas, rgbs = golden.leaf("sigmas"), golden.leaf("rgbs")
    starts, ends = golden["t_starts"], golden["t_ends"]
    found = weights_from_density(sigmas, ends - starts, packing)
    for name, value in (("weights", found.weights), ("trans", found.transmittance), ("alphas", found.alphas)):
        assert_same(value, golden.arrays[name], precision.values)
    light, stops = accumulate(found.weights, rgbs, packing), opacity(found.weights, packing)
    depths = composite_depths(found.weights, 0.5 * (starts + ends), packing)
    colours = over_background(light, stops, golden["bkgd"])
    results = {"colors_nobg": light, "opacities": stops, "depth_sum": depths.total, "depth_expected": depths.expected}
    for name, value in (results | {"colors": colours}).items():
        assert_same(value, golden.arrays[name], precision.values)
    ((colours * golden["grad_colors"]).sum() + (depths.total * golden.flat("grad_depth_sum")).sum()).backward()
    assert_same(sigmas.grad, golden.arrays["g_sigmas"], precision.values)
    assert_same(rgbs.grad, golden.arrays["g_rgbs"], precision.values)


@both
@of_kind("volrend_packed*.npz")
def test_packed_opacities_and_what_is_visible(path: Path, precision: Precision) -> None:
    golden, packing = Golden(path, precision), packing_of(Golden(path, precision))
    found = weights_from_alpha(golden["alpha_in"], packing)
    assert_same(found.weights, golden.arrays["alpha_weights"], precision.values)
    assert_same(found.transmittance, golden.arrays["alpha_trans"], precision.values)
    limits = {"early_stop": float(golden.arrays["vis_eps"]), "alpha_threshold": float(golden.arrays["vis_alpha_thre"])}
    assert np.array_equal(visible(found, **limits).numpy(), golden.arrays["visible"])


@both
@of_kind("volrend_packed*.npz")
def test_marching(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    lower, upper = golden["occ/aabb"].reshape(2, 3)
    occupied = golden["occ/binaries"][None]
    grid = OccupancyGrid(lower, upper, occupied.to(precision.dtype), occupied)
    rays = Rays(golden["occ/origins"], golden["occ/directions"])
    found = march(rays, grid, MarchOptions(step=float(golden.arrays["occ/step_size"])), near=golden["occ/near"])
    assert np.array_equal(found.packing.ray_indices.numpy(), golden.arrays["occ/ray_indices"])
    tolerance = max(precision.values, 1e-9)
    assert_same(found.starts, golden.arrays["occ/t_starts"], tolerance)
    assert_same(found.ends, golden.arrays["occ/t_ends"], tolerance)


@both
@of_kind("volrend_packed*.npz")
def test_an_update_of_the_occupancy(path: Path, precision: Precision) -> None:
    golden = Golden(path, precision)
    before = golden["ema/before"][None]
    lower, upper = golden["occ/aabb"].reshape(2, 3)
    grid = OccupancyGrid(lower, upper, before, before > 0)
    settings = {"decay": float(golden.arrays["ema/decay"]), "threshold": float(golden.arrays["ema/occ_thre"])}
    after = grid.updated(torch.arange(before.numel()), golden["ema/eval"].flatten(), **settings)
    assert_same(after.values[0], golden.arrays["ema/after"], precision.values)
    assert np.array_equal(after.occupied[0].numpy(), golden.arrays["ema/binary"])


def twice(golden: Golden, points: np.ndarray) -> dict[str, Tensor]:
    """Values at some of the points, and first and second gradients."""
    keep = torch.from_numpy(points)
    volume, places = golden.leaf("volume"), golden["points"][keep].requires_grad_()
    out = trilinear(volume, places[None])[0]
    by_volume, by_points = torch.autograd.grad(
        (out * golden["grad_out"].mT[keep]).sum(), (volume, places), create_graph=True
    )
    again = torch.autograd.grad((by_points * golden["second_vec"][keep]).sum(), (volume, places))
    return {
        "out": out,
        "grad_volume": by_volume,
        "grad_points": by_points,
        "second_grad_volume": again[0],
        "second_grad_points": again[1],
    }


@of_kind("trilinear*.npz")
def test_trilinear_twice(path: Path) -> None:
    golden = Golden(path, WIDE)
    smooth = slice(1, None)  # point 0 lies on a corner
    every = np.ones(len(golden.arrays["points"]), bool)
    for name, got in twice(golden, every).items():
        want = golden.arrays[name].T if name == "out" else golden.arrays[name]
        here = smooth if name.endswith("points") else slice(None)
        assert_same(got[here], want[here], WIDE.values)


@of_kind("trilinear*.npz")
def test_trilinear_twice_in_float32(path: Path) -> None:
    """Against the float64 result, which the test above holds, without points that float32 moves across a node plane."""
    golden = load(path)
    nodes = 0.5 * (golden["points"] + 1.0) * (np.array(golden["volume"].shape[:1:-1]) - 1)
    inside_a_cell = (np.abs(nodes - np.rint(nodes)) > 1e-5).all(1)
    assert inside_a_cell.mean() > 0.9
    exact = twice(Golden(path, WIDE), inside_a_cell)
    for name, got in twice(Golden(path, NARROW), inside_a_cell).items():
        assert_same(got, exact[name].detach().numpy(), NARROW.values)
