"""The oracle: analytic cases, gradients against finite differences, what is not visible."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from small_gaussians import FIELDS, HEIGHT, WIDTH, camera, layers, random_scene
from torch import Tensor
from torch.autograd import gradcheck

from recon3d.core.errors import ResourceError
from recon3d.render.gaussians import (
    CameraTensors,
    Gaussians,
    Projection,
    ProjectionOptions,
    RasterOptions,
    rasterize,
    reference,
    reference_raster,
)

CAMERA = camera()
SMALL = (9, 7)


def seen_by(
    gaussians: Gaussians, options: ProjectionOptions | None = None, opacities: Tensor | None = None
) -> Projection:
    return reference.project(
        *(gaussians.means, gaussians.quats, gaussians.log_scales, CAMERA.cam_from_world[0], CAMERA.K[0], WIDTH, HEIGHT),
        opacities=opacities,
        options=options or ProjectionOptions(),
    )


def test_a_sphere_on_the_axis_projects_to_a_circle() -> None:
    scale, depth, focal = 0.1, 2.0, float(CAMERA.K[0, 0, 0])
    seen = seen_by(layers(depths=[depth], opacities=[0.5], scale=scale), ProjectionOptions(bounds="gsplat"))
    variance = (focal * scale / depth) ** 2
    assert torch.allclose(seen.means2d[0], CAMERA.K[0, :2, 2])
    assert seen.depths.tolist() == [depth]
    wide = variance + 0.3
    assert torch.allclose(seen.conics[0], torch.tensor([1 / wide, 0, 1 / wide], dtype=torch.float64))
    assert math.isclose(float(seen.compensations), variance / wide, rel_tol=1e-12)
    assert seen.radii[0].tolist() == [math.ceil(3.33 * math.sqrt(wide))] * 2


@given(st.floats(0.005, 0.999), st.floats(-3, 0), st.booleans())
def test_tight_bounds_end_where_the_opacity_does(opacity: float, log_scale: float, antialiased: bool) -> None:
    """Along an axis through the centre: visible at the last pixel of the box at most, and nowhere behind it."""
    gaussians = layers(depths=[1.0], opacities=[opacity], scale=math.exp(log_scale))
    options = ProjectionOptions(antialiased=antialiased)
    seen = seen_by(gaussians, options, gaussians.opacities)
    strength = opacity * (float(seen.compensations) if antialiased else 1.0)
    radius = int(seen.radii[0, 0])

    def alpha(distance: int) -> float:
        return strength * math.exp(-0.5 * float(seen.conics[0, 0]) * distance**2)

    if radius:
        assert alpha(radius + 1) < 1 / 255 * (1 + 1e-9)
        assert alpha(radius - 1) > 1 / 255 * (1 - 1e-9)
    elif not antialiased:
        assert strength < 1 / 255 * (1 + 1e-9)


def test_tight_boxes_are_never_larger_than_those_of_gsplat() -> None:
    gaussians = random_scene(200)
    tight = seen_by(gaussians, ProjectionOptions(), gaussians.opacities).radii
    loose = seen_by(gaussians, ProjectionOptions(bounds="gsplat")).radii
    assert (tight <= loose).all() and (tight < loose).any()


def test_what_lies_beside_behind_or_on_the_camera_plane_is_not_seen() -> None:
    gaussians = layers(depths=[-1.0, 0.0, 0.01, 1e10, 1.0, 1.0], opacities=[0.9] * 6, scale=0.01)
    gaussians.means[5, 0] = 5.0
    seen = seen_by(gaussians)
    assert (seen.radii > 0).all(1).tolist() == [False, False, False, False, True, False]
    for name in ("means2d", "depths", "conics", "compensations", "radii"):
        assert not getattr(seen, name)[[0, 1, 2, 3, 5]].any()


def test_what_is_not_seen_has_gradients_of_zero() -> None:
    gaussians = layers(depths=[-1.0, 0.0, 1.0], opacities=[0.9] * 3, scale=0.05)
    leaves = [value.requires_grad_() for value in (gaussians.means, gaussians.quats, gaussians.log_scales)]
    seen = seen_by(gaussians)
    sum(getattr(seen, name).sum() for name in ("means2d", "depths", "conics", "compensations")).backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all() and not leaf.grad[:2].any()


def test_the_jacobian_is_cut_outside_the_image() -> None:
    """Twice as far outside, the covariance stays as it is, while the centre moves on."""
    means = torch.tensor([[3.0, 0.0, 1.0], [6.0, 0.0, 1.0]], dtype=torch.float64)
    covars = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    centres, shapes = reference.project_pinhole(means, covars, CAMERA.K[0], WIDTH, HEIGHT)
    assert torch.equal(shapes[0], shapes[1])
    assert float(centres[1, 0] - centres[0, 0]) == pytest.approx(60.0)


def test_overflowing_gaussians_are_left_out() -> None:
    gaussians = layers(depths=[1.0, 2.0], opacities=[0.5, 0.5], scale=0.1, dtype=torch.float32)
    gaussians.log_scales[0] = 80.0
    single = CameraTensors(CAMERA.cam_from_world.float(), CAMERA.K.float(), WIDTH, HEIGHT)
    seen = rasterize(gaussians, single, backend="torch")
    assert seen.image.isfinite().all() and seen.alpha.isfinite().all()
    assert seen.projections[0].radii[:, 0].tolist()[0] == 0


@pytest.mark.parametrize("degree", range(4))
def test_bases_are_orthonormal_on_the_sphere(degree: int) -> None:
    """Gauss-Legendre in z times equal steps around it integrates products of degree six exactly."""
    nodes, weights = (torch.from_numpy(value) for value in np.polynomial.legendre.leggauss(8))
    angle = torch.arange(16, dtype=torch.float64) * (math.pi / 8)
    ring = (1 - nodes**2).sqrt()
    unit = torch.stack(
        [
            (ring[:, None] * angle.cos()).ravel(),
            (ring[:, None] * angle.sin()).ravel(),
            nodes[:, None].expand(8, 16).ravel(),
        ],
        -1,
    )
    area = (weights[:, None] * (math.pi / 8)).expand(8, 16).ravel()
    bases = reference.bases(unit, degree)
    product = torch.einsum("p,pa,pb->ab", area, bases, bases)
    assert torch.allclose(product, torch.eye((degree + 1) ** 2, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("degree", range(4))
def test_gradients_of_spherical_harmonics(degree: int) -> None:
    source = torch.Generator().manual_seed(degree)
    directions = torch.randn(3, 3, generator=source, dtype=torch.float64, requires_grad=True)
    coefficients = torch.randn(3, (degree + 1) ** 2, 3, generator=source, dtype=torch.float64, requires_grad=True)
    assert gradcheck(
        lambda d, c: reference.spherical_harmonics(d, c, degree), (directions, coefficients), fast_mode=True
    )


def test_gradients_of_projection() -> None:
    gaussians = random_scene(4)
    pose = CAMERA.cam_from_world[0].clone()
    leaves = tuple(v.clone().requires_grad_() for v in (gaussians.means, gaussians.quats, gaussians.log_scales, pose))

    def fields(means: Tensor, quats: Tensor, log_scales: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        seen = reference.project(
            means, quats, log_scales, pose, CAMERA.K[0], WIDTH, HEIGHT, options=ProjectionOptions()
        )
        return seen.means2d, seen.depths, seen.conics, seen.compensations

    assert gradcheck(fields, leaves, fast_mode=True)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_gradients_of_the_whole_picture(seed: int, antialiased: bool) -> None:
    """Finite differences in every field, the features, the background and the pose, through all outputs."""
    scene, view = random_scene(4, seed=seed), camera(size=SMALL)
    rules = RasterOptions(min_alpha=1e-7, min_transmittance=0.0, tile_size=4)  # no threshold inside a difference
    background = torch.rand(3, dtype=torch.float64)
    tensors = (*(getattr(scene, name) for name in FIELDS), background, view.cam_from_world)
    leaves = tuple(value.clone().requires_grad_() for value in tensors)

    def picture(*values: Tensor) -> tuple[Tensor, ...]:
        *fields, behind, pose = values
        seen = rasterize(
            Gaussians(*fields),
            CameraTensors(pose, view.K, *SMALL),
            background=behind,
            antialiased=antialiased,
            backend="torch",
            options=rules,
        )
        return seen.image, seen.alpha, seen.depth_expected

    assert gradcheck(picture, leaves, eps=1e-6, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("tile_size", [1, 5, 16, 64])
def test_tiles_do_not_show(tile_size: int) -> None:
    gaussians = random_scene(60, seed=3)
    whole = rasterize(gaussians, CAMERA, backend="torch", options=RasterOptions(tile_size=256))
    tiled = rasterize(gaussians, CAMERA, backend="torch", options=RasterOptions(tile_size=tile_size))
    for name in ("image", "alpha", "depth_expected", "depth_median"):
        assert torch.allclose(getattr(whole, name), getattr(tiled, name), rtol=0, atol=1e-12), name


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the picture nor in its gradients: transmittance is handed from one chunk to the next."""
    gaussians = random_scene(80, seed=5)
    results = []
    for pairs in (1 << 19, 512):
        monkeypatch.setattr(reference_raster, "_PAIRS_AT_ONCE", pairs)
        means = gaussians.means.clone().requires_grad_()
        moved = Gaussians(means, *(getattr(gaussians, name) for name in FIELDS[1:]))
        seen = rasterize(moved, CAMERA, backend="torch")
        (seen.image.sum() + seen.depth_expected.sum()).backward()
        results.append((seen.image.detach(), seen.depth_median, means.grad))
    for one, other in zip(*results, strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_too_many_pairs_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_raster, "MAX_PAIRS", 100)
    with pytest.raises(ResourceError, match="too many Gaussians overlap the image; got: 400 pairs; expected: 100"):
        rasterize(layers(depths=[1.0] * 100, opacities=[0.5] * 100), CAMERA, backend="torch")


def test_tile_lists_are_sorted_by_depth_and_then_by_index() -> None:
    means2d = torch.tensor([[3.0, 3.0], [5.0, 3.0], [3.0, 3.0], [3.0, 3.0]])
    radii = torch.tensor([[1, 1], [2, 2], [1, 1], [0, 3]], dtype=torch.int32)
    offsets, ids = reference_raster.tile_lists(means2d, radii, torch.tensor([2.0, 1.0, 2.0, 0.5]), 4, 2, 1)
    assert offsets.tolist() == [0, 3, 4]
    assert ids.tolist() == [1, 0, 2, 1]
