"""The Gaussian core against outputs of gsplat 1.5.3, on every back end of the CPU (shared/goldens/gsplat, group 1)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from golden_cases import ROOT, assert_close, cases, load, relative_l2
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians import (
    CameraTensors,
    Gaussians,
    ProjectionOptions,
    Rasterization,
    RasterOptions,
    cpu_tiles,
    project,
    rasterize,
    reference,
    reference_raster,
)
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.render.spherical_harmonics import spherical_harmonics

pytestmark = pytest.mark.golden
KINDS = (
    "quat_scale_covar*.npz",
    "world_to_cam*.npz",
    "proj_persp*.npz",
    "fused_pinhole_*.npz",
    "spherical_harmonics*.npz",
    "tile_intersections*.npz",
    "raster3d_*.npz",
)
MAX_DEGREE = 3


class Variant(NamedTuple):
    """One back end in one precision, with the tolerances that docs/architecture.md sets for it."""

    backend: GaussianBackend
    dtype: torch.dtype
    values: float
    gradients: float


ORACLE = Variant("torch", torch.float64, 1e-9, 1e-7)
VARIANTS = [
    pytest.param(ORACLE, id="torch-float64"),
    pytest.param(Variant("torch", torch.float32, 1e-4, 1e-3), id="torch-float32"),
    pytest.param(Variant("numba", torch.float32, 1e-4, 1e-3), id="numba-float32"),
]
every_variant = pytest.mark.parametrize("variant", VARIANTS)
torch_only = pytest.mark.parametrize("variant", VARIANTS[:2])


def of_kind(pattern: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", cases("gsplat", pattern))


def leaves(variant: Variant, **arrays: np.ndarray) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=variant.dtype, requires_grad=True) for name, value in arrays.items()}


def fixed(variant: Variant, array: np.ndarray) -> Tensor:
    return torch.tensor(array, dtype=variant.dtype)


def assert_gradient(leaf: Tensor, want: np.ndarray, tolerance: float) -> None:
    off = relative_l2(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad, want)
    assert off <= tolerance, f"relative L2 of the gradient is {off:.1e}, {tolerance} is allowed"


@pytest.mark.skipif("RECON3D_GOLDENS" in os.environ, reason="another set may hold fewer kinds")
@pytest.mark.parametrize("pattern", KINDS)
def test_the_default_set_holds_every_kind(pattern: str) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} is not there; RECON3D_GOLDENS names another folder")
    assert list((ROOT / "gsplat").glob(pattern))


@torch_only
@of_kind("quat_scale_covar*.npz")
def test_covariances_and_precisions(path: Path, variant: Variant) -> None:
    golden = load(path)
    functions = {
        "rotmats": lambda quats, scales: reference.rotation_matrices(quats),
        "covars": reference.covariances,
        "precis": reference.precisions,
    }
    upper = np.triu_indices(3)
    for name, function in functions.items():
        leaf = leaves(variant, quats=golden["quats_wxyz"], scales=golden["scales"])
        out = function(leaf["quats"], leaf["scales"])
        assert_close(out.detach(), golden[name], variant.values, item_axes=2)
        if f"{name}_triu" in golden:
            assert_close(out.detach()[:, upper[0], upper[1]], golden[f"{name}_triu"], variant.values)
        (out * fixed(variant, golden[f"v_{name}"])).sum().backward()
        for field in leaf:
            if (want := golden.get(f"grad_{field}_from_{name}")) is not None:
                assert_gradient(leaf[field], want, variant.gradients)


@torch_only
@of_kind("world_to_cam*.npz")
def test_world_to_camera(path: Path, variant: Variant) -> None:
    golden = load(path)
    leaf = leaves(variant, means=golden["means"], covars=golden["covars"], viewmats=golden["viewmats"])
    for view, pose in enumerate(leaf["viewmats"]):
        means, covars = reference.to_camera(leaf["means"], leaf["covars"], pose)
        assert_close(means.detach(), golden["means_c"][view], variant.values)
        assert_close(covars.detach(), golden["covars_c"][view], variant.values, item_axes=2)
        by_means, by_covars = (fixed(variant, golden[name][view]) for name in ("v_means_c", "v_covars_c"))
        ((means * by_means).sum() + (covars * by_covars).sum()).backward(retain_graph=True)
    for name, value in leaf.items():
        assert_gradient(value, golden[f"grad_{name}"], variant.gradients)


@torch_only
@of_kind("proj_persp*.npz")
def test_perspective_projection(path: Path, variant: Variant) -> None:
    golden = load(path)
    size = int(golden["width"]), int(golden["height"])
    leaf = leaves(variant, means_c=golden["means_c"], covars_c=golden["covars_c"])
    for view, K in enumerate(golden["Ks"]):
        means, covars = reference.project_pinhole(
            leaf["means_c"][view], leaf["covars_c"][view], fixed(variant, K), *size
        )
        assert_close(means.detach(), golden["means2d"][view], variant.values)
        assert_close(covars.detach(), golden["covars2d"][view], variant.values, item_axes=2)
        by_means, by_covars = (fixed(variant, golden[name][view]) for name in ("v_means2d", "v_covars2d"))
        ((means * by_means).sum() + (covars * by_covars).sum()).backward()
    for name, value in leaf.items():
        assert_gradient(value, golden[f"grad_{name}"], variant.gradients)


@every_variant
@of_kind("fused_pinhole_*.npz")
def test_projection(path: Path, variant: Variant) -> None:
    golden = load(path)
    options = ProjectionOptions(
        *(float(golden[name]) for name in ("eps2d", "near_plane", "far_plane")), bounds="gsplat"
    )
    size = int(golden["width"]), int(golden["height"])
    leaf = leaves(variant, **{name: golden[f"{name}{end}"] for name, end in PARAMETERS.items() if name in FUSED})
    for view, (pose, K) in enumerate(zip(leaf["viewmats"], golden["Ks"], strict=True)):
        fields = leaf["means"], leaf["quats"], leaf["scales"].log()
        seen = project(*fields, pose, fixed(variant, K), *size, options=options, backend=variant.backend)
        valid = golden["valid"][view]
        assert np.array_equal((seen.radii > 0).all(1).numpy(), valid)
        assert_same_radii(seen.radii.numpy(), golden["radii"][view] * valid[:, None], variant)
        loss = torch.zeros(())
        for name in ("means2d", "depths", "conics", "compensations"):
            value, want = getattr(seen, name), golden[name][view]
            assert_close(value.detach()[valid], want[valid], variant.values, item_axes=want.ndim - 1)
            assert not value.detach()[~valid].any()
            loss = (
                loss
                + (value * fixed(variant, golden[f"v_{name}"][view] * valid.reshape(-1, *[1] * (want.ndim - 1)))).sum()
            )
        loss.backward(retain_graph=True)
    for name, value in leaf.items():
        assert_gradient(value, golden[f"grad_{name}"], variant.gradients)


FUSED = ("means", "quats", "scales", "viewmats")
PARAMETERS = {
    "means": "",
    "quats": "_wxyz",
    "scales": "",
    "viewmats": "",
    "opacities": "",
    "colors": "",
    "backgrounds": "",
}


def assert_same_radii(got: np.ndarray, want: np.ndarray, variant: Variant) -> None:
    """Equal, or in float32 one pixel apart where 3.33 standard deviations are a whole number of pixels."""
    off = np.abs(got.astype(np.int64) - want)
    assert off.max(initial=0) <= (0 if variant.dtype == torch.float64 else 1)
    assert (off > 0).mean() <= 0.01


@every_variant
@of_kind("spherical_harmonics*.npz")
def test_spherical_harmonics(path: Path, variant: Variant) -> None:
    golden = load(path)
    degrees = [degree for degree in range(MAX_DEGREE + 1) if f"colors_deg{degree}" in golden]
    assert degrees
    for degree in degrees:
        leaf = leaves(variant, dirs=golden["dirs"], coeffs=golden["coeffs"])
        colours = spherical_harmonics(leaf["dirs"], leaf["coeffs"], degree, backend=variant.backend)
        assert_close(colours.detach(), golden[f"colors_deg{degree}"], variant.values)
        (colours * fixed(variant, golden[f"v_colors_deg{degree}"])).sum().backward()
        assert_gradient(leaf["coeffs"], golden[f"grad_coeffs_deg{degree}"], variant.gradients)
        assert_gradient(leaf["dirs"], golden[f"grad_dirs_deg{degree}"], variant.gradients)
    unit = torch.nn.functional.normalize(torch.tensor(golden["dirs"]), dim=-1)
    assert_close(reference.bases(unit, MAX_DEGREE), golden["bases25"][:, : (MAX_DEGREE + 1) ** 2], 1e-9)


@of_kind("spherical_harmonics*.npz")
def test_degree_four_is_refused(path: Path) -> None:
    golden = load(path)
    with pytest.raises(UsageError, match="no spherical harmonics of this degree; got: 4; expected: 0 to 3"):
        spherical_harmonics(torch.tensor(golden["dirs"]), torch.tensor(golden["coeffs"]), 4)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@of_kind("tile_intersections*.npz")
def test_tile_intersections(path: Path, backend: str) -> None:
    golden = load(path)
    grid = tuple(int(golden[name]) for name in ("tile_size", "tile_width", "tile_height"))
    n_images, n_gaussians = golden["depths"].shape
    tile_bits, n_tiles = (grid[1] * grid[2]).bit_length(), grid[1] * grid[2]
    ids, keys, starts, per_gaussian = [], [], [], []
    for image in range(n_images):
        where = tuple(golden[name][image] for name in ("means2d", "radii", "depths"))
        if backend == "numba":
            offsets, index = cpu_tiles.tile_lists(*where, *grid)
        else:
            lists = reference_raster.tile_lists(*(torch.tensor(value) for value in where), *grid)
            offsets, index = (value.numpy() for value in lists)
        tiles = np.repeat(np.arange(n_tiles), np.diff(offsets))
        bits = where[2].view(np.int32)[index].astype(np.int64)
        keys.append(((image << tile_bits | tiles) << 32) | bits)
        starts.append(offsets[:-1] + sum(len(one) for one in ids))
        per_gaussian.append(np.bincount(index, minlength=n_gaussians))
        ids.append(index + image * n_gaussians)
    assert np.array_equal(np.stack(per_gaussian), golden["tiles_per_gauss"])
    assert np.array_equal(np.concatenate(keys), golden["isect_ids"])
    assert np.array_equal(np.concatenate(ids), golden["flatten_ids"])
    assert np.array_equal(np.concatenate(starts), golden["isect_offsets"].ravel())


class Rendering(NamedTuple):
    seen: Rasterization
    leaf: dict[str, Tensor]


def is_antialiased(golden: dict[str, np.ndarray]) -> bool:
    valid = (golden["radii"] > 0).all(-1)
    return not np.array_equal(golden["opacities_eff"][valid], np.broadcast_to(golden["opacities"], valid.shape)[valid])


def render(golden: dict[str, np.ndarray], variant: Variant, **rules: Any) -> Rendering:
    leaf = leaves(variant, **{name: golden[f"{name}{end}"] for name, end in PARAMETERS.items()})
    sh = torch.zeros(len(leaf["means"]), 1, 3, dtype=variant.dtype)
    gaussians = Gaussians(leaf["means"], leaf["quats"], leaf["scales"].log(), leaf["opacities"].logit(), sh)
    K = fixed(variant, golden["Ks"])
    seen = rasterize(
        gaussians,
        CameraTensors(leaf["viewmats"], K, int(golden["width"]), int(golden["height"])),
        features=leaf["colors"],
        background=leaf["backgrounds"],
        antialiased=is_antialiased(golden),
        bounds="gsplat",
        backend=variant.backend,
        options=RasterOptions(tile_size=int(golden["tile_size"]), eps2d=float(golden["eps2d"]), **rules),
    )
    return Rendering(seen, leaf)


def settled(golden: dict[str, np.ndarray]) -> np.ndarray:
    """Pixels that no threshold decides: the picture is the same when the thresholds are moved a little."""
    pictures = []
    for factor in (1 - 1e-4, 1 + 1e-4):
        for name in ("min_alpha", "min_transmittance"):
            rules = {name: getattr(RasterOptions, name) * factor}
            pictures.append(render(golden, ORACLE, **rules).seen.image.detach().numpy())
    return np.asarray(np.ptp(np.stack(pictures), axis=0).max(-1) < 1e-7)


def backward(rendering: Rendering, golden: dict[str, np.ndarray], keep: np.ndarray, variant: Variant) -> None:
    by_image, by_alpha = golden["v_render"] * keep[..., None], golden["v_alphas"][..., 0] * keep
    seen = rendering.seen
    ((seen.image * fixed(variant, by_image)).sum() + (seen.alpha * fixed(variant, by_alpha)).sum()).backward()


@every_variant
@of_kind("raster3d_*.npz")
def test_rasterisation(path: Path, variant: Variant) -> None:
    golden = load(path)
    exact = variant.dtype == torch.float64
    keep = np.ones(golden["alphas"].shape[:3], bool) if exact else settled(golden)
    assert keep.mean() > 0.98
    rendering = render(golden, variant)
    image, alpha = rendering.seen.image.detach().numpy(), rendering.seen.alpha.detach().numpy()
    assert np.abs(image - golden["render"])[keep].max() <= variant.values
    assert np.abs(alpha - golden["alphas"][..., 0])[keep].max() <= variant.values
    backward(rendering, golden, keep, variant)
    wanted = {name: golden[f"grad_{name}"] for name in PARAMETERS}
    if not keep.all():
        oracle = render(golden, ORACLE)
        backward(oracle, golden, keep, ORACLE)
        wanted = {name: np.asarray(oracle.leaf[name].grad) for name in PARAMETERS}
    for name, want in wanted.items():
        assert_gradient(rendering.leaf[name], want, variant.gradients)


@every_variant
@of_kind("raster3d_*.npz")
def test_what_is_projected_before_rasterisation(path: Path, variant: Variant) -> None:
    golden = load(path)
    for view, seen in enumerate(render(golden, variant).seen.projections):
        valid = (golden["radii"][view] > 0).all(1)
        assert_same_radii(seen.radii.numpy(), golden["radii"][view], variant)
        for name in ("means2d", "depths", "conics"):
            want = golden[name][view][valid]
            assert_close(getattr(seen, name).detach()[valid], want, variant.values, item_axes=want.ndim - 1)
        factor = seen.compensations.detach().numpy() if is_antialiased(golden) else 1.0
        effective = golden["opacities"] * factor
        assert_close(effective[valid, None], golden["opacities_eff"][view][valid, None], variant.values)
