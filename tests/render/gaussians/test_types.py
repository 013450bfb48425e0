"""Gaussians, cameras as tensors and tile lists of both back ends: what they hold, keep and refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from random_scenes import unchecked
from small_gaussians import FIELDS, HEIGHT, WIDTH, as_dtype, camera, random_scene
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import (
    CameraTensors,
    Gaussians,
    Projection,
    RasterOptions,
    cpu_tiles,
    rasterize,
    rasterize_projected,
    reference,
    reference_raster,
)
from recon3d.render.gaussians.checks import check_alike, check_finite, check_intrinsics, check_shapes


@pytest.mark.parametrize(("degree", "k"), [(0, 1), (1, 4), (2, 9), (3, 16)])
def test_the_degree_follows_from_the_coefficients(degree: int, k: int) -> None:
    scene = random_scene(5, degree)
    assert scene.sh_degree == degree and scene.sh.shape == (5, k, 3) and len(scene) == 5


def test_scales_and_opacities_are_those_of_the_parameters() -> None:
    scene = random_scene(5)
    assert torch.equal(scene.scales.log(), scene.log_scales) or torch.allclose(scene.scales.log(), scene.log_scales)
    assert torch.allclose(scene.opacities.logit(), scene.opacity_logits)
    assert ((scene.opacities > 0) & (scene.opacities < 1)).all()


@pytest.mark.parametrize(
    "index", [slice(1, 4), torch.tensor([4, 0, 2]), torch.tensor([False, True, True, False, True])], ids=str
)
def test_a_selection_takes_every_field(index: Any) -> None:
    scene = replace(random_scene(5), colour_space="linear")
    part = scene[index]
    assert len(part) == 3 and part.colour_space == "linear"
    for name in FIELDS:
        assert torch.equal(getattr(part, name), getattr(scene, name)[index])


def test_detached_gaussians_share_their_numbers() -> None:
    scene = random_scene(5)
    scene.means.requires_grad_()
    still = scene.detach()
    assert not still.means.requires_grad and still.means.data_ptr() == scene.means.data_ptr()
    assert torch.equal(scene.to("cpu").sh, scene.sh) and scene.to("meta").quats.device.type == "meta"


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_other_lengths_are_named(name: str) -> None:
    scene = random_scene(5)
    if name == "means":
        match = r"Gaussians\.quats has the wrong shape; got: \(5, 4\); expected: \(4, 4\)"
    else:
        match = rf"Gaussians\.{name} has the wrong shape; got: \(4"
    with pytest.raises(ShapeError, match=match):
        unchecked(Gaussians, **{**vars(scene), name: getattr(scene, name)[:4]})


@pytest.mark.parametrize("k", [0, 2, 3, 5, 25])
def test_other_numbers_of_coefficients_are_refused(k: int) -> None:
    with pytest.raises(ShapeError, match=f"wrong number of coefficients; got: {k}; expected: 1, 4, 9 or 16"):
        unchecked(Gaussians, **{**vars(random_scene(5)), "sh": torch.zeros(5, k, 3)})
    with pytest.raises(ShapeError, match=r"Gaussians\.sh has the wrong shape"):
        unchecked(Gaussians, **{**vars(random_scene(5)), "sh": torch.zeros(5, 3)})


def cameras(n: int = 3, width: int = WIDTH) -> Cameras:
    view = camera(n)
    sizes = np.full(n, width), np.full(n, HEIGHT)
    return Cameras(view.cam_from_world.numpy(), view.K.numpy(), *sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_cameras_have_the_type_that_is_asked_for(dtype: torch.dtype) -> None:
    view = CameraTensors.of(cameras(), like=torch.zeros(1, dtype=dtype))
    assert (len(view), view.width, view.height) == (3, WIDTH, HEIGHT)
    assert view.cam_from_world.dtype == view.K.dtype == dtype
    assert torch.equal(view.cam_from_world, camera(3).cam_from_world.to(dtype))
    assert torch.equal(view.K, camera(3).K.to(dtype))


def test_lens_coefficients_of_zero_are_no_distortion() -> None:
    plain = replace(cameras(), distortion=np.zeros((3, 4)))
    assert len(CameraTensors.of(plain, like=torch.zeros(1))) == 3
    plain.distortion[1, 2] = 1e-9  # type: ignore[index]
    with pytest.raises(UsageError, match="lens distortion"):
        CameraTensors.of(plain, like=torch.zeros(1))


def test_sizes_that_differ_are_listed() -> None:
    width = np.array([24, 30, 40, 50, 60])
    mixed = replace(cameras(5), width=width)
    with pytest.raises(UsageError, match="got: 24 x 20, 30 x 20, 40 x 20, 50 x 20; expected: one size"):
        CameraTensors.of(mixed, like=torch.zeros(1))


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-3, 2)])
def test_cameras_without_pixels_are_refused(width: int, height: int) -> None:
    with pytest.raises(UsageError, match=f"must be positive; got: {width} x {height}; expected: at least 1 x 1"):
        CameraTensors(camera().cam_from_world, camera().K, width, height)


def test_poses_and_matrices_must_be_as_many() -> None:
    view = camera(3)
    with pytest.raises(ShapeError, match=r"CameraTensors\.K has the wrong shape; got: \(2, 3, 3\); expected: \(3,"):
        unchecked(CameraTensors, **{**vars(view), "K": view.K[:2]})
    with pytest.raises(ShapeError, match=r"CameraTensors\.cam_from_world has the wrong shape"):
        unchecked(CameraTensors, **{**vars(view), "cam_from_world": view.cam_from_world[:, :3]})


@pytest.mark.parametrize(
    ("shape", "wanted", "fits"),
    [
        ((3, 2), (3, 2), True),
        ((3, 2), (None, 2), True),
        ((0, 2), (None, None), True),
        ((3, 2), (3,), False),
        ((3,), (3, None), False),
        ((3, 2), (2, 3), False),
    ],
)
def test_shapes_are_compared_axis_by_axis(shape: tuple[int, ...], wanted: tuple[int | None, ...], fits: bool) -> None:
    values = {"thing": (torch.zeros(shape), wanted)}
    if fits:
        check_shapes(values)
    else:
        with pytest.raises(ShapeError, match=r"thing has the wrong shape; got: \["):
            check_shapes(values)


def test_whole_numbers_and_mixed_devices_are_refused() -> None:
    with pytest.raises(UsageError, match=r"means must be a floating-point tensor; got: torch.int64"):
        check_alike({"means": torch.zeros(2, dtype=torch.int64)})
    with pytest.raises(
        UsageError, match=r"b has another type or device; got: torch.float16 on cpu; expected: torch.fl"
    ):
        check_alike({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.float16)})
    check_finite({})
    check_finite({"a": torch.full((9,), 3e38), "b": torch.zeros(0)})


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_any_number_of_matrices_is_checked(shape: tuple[int, ...]) -> None:
    K = torch.diag(torch.tensor([5.0, 6.0, 1.0])).expand(*shape, 3, 3).clone()
    check_intrinsics(K)
    K[..., 1, 1] = 0
    with pytest.raises(UsageError, match="positive focal lengths"):
        check_intrinsics(K)


boxes = st.integers(0, 10_000)


@settings(max_examples=15)
@given(boxes, st.integers(0, 60), st.sampled_from([4, 7, 16]), st.integers(1, 4), st.integers(1, 4))
def test_both_back_ends_make_the_same_lists(seed: int, n: int, size: int, nx: int, ny: int) -> None:
    rng = np.random.default_rng(seed)
    means = (rng.integers(-20, 80, (n, 2)) + 0.3).astype(np.float32)  # no box ends where a tile does
    radii, depths = rng.integers(0, 20, (n, 2)).astype(np.int32), rng.integers(1, 6, n).astype(np.float32)
    ours = cpu_tiles.tile_lists(means, radii, depths, size, nx, ny)
    wide = (torch.from_numpy(means).double(), torch.from_numpy(radii), torch.from_numpy(depths))
    theirs = reference_raster.tile_lists(*wide, size, nx, ny)
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(got, want.numpy())


def seen(n: int, dtype: torch.dtype, depths: Tensor | None = None) -> Projection:
    return Projection(
        means2d=torch.full((n, 2), 4.5, dtype=dtype),
        depths=torch.ones(n, dtype=dtype) if depths is None else depths,
        conics=torch.tensor([[0.1, 0.0, 0.1]], dtype=dtype).repeat(n, 1),
        compensations=torch.ones(n, dtype=dtype),
        radii=torch.full((n, 2), 9, dtype=torch.int32),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 9, 17])
def test_blending_what_was_projected(dtype: torch.dtype, width: int) -> None:
    opacities = torch.tensor([0.5, 0.25], dtype=dtype)
    image, alpha, expected, median = rasterize_projected(
        seen(2, dtype, torch.tensor([1.0, 3.0], dtype=dtype)), opacities, torch.eye(2, dtype=dtype), width, 9
    )
    assert image.shape == (9, width, 2) and image.dtype == dtype
    assert alpha.shape == expected.shape == median.shape == (9, width)
    if width > 4:
        assert torch.allclose(image[4, 4], torch.tensor([0.5, 0.125], dtype=dtype), atol=1e-5)
        assert float(expected[4, 4]) == pytest.approx((0.5 + 3 * 0.125) / 0.625, rel=1e-5)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("name", ["means2d", "depths", "conics", "radii"])
def test_a_projection_of_another_length_is_refused(name: str) -> None:
    wrong = replace(seen(3, torch.float32), **{name: getattr(seen(2, torch.float32), name)})
    with pytest.raises(ShapeError, match=rf"projection\.{name} has the wrong shape; got: \[2"):
        rasterize_projected(wrong, torch.ones(3), torch.ones(3, 1), 9, 9)


def test_a_far_plane_may_be_infinite_and_means_may_be_anywhere() -> None:
    scene = as_dtype(random_scene(30), torch.float32)
    far = replace(scene, means=torch.cat([scene.means[:20], torch.full((10, 3), 3e38)]))
    one = rasterize(scene[:20], camera(1, torch.float32), options=RasterOptions(far=float("inf")))
    other = rasterize(far, camera(1, torch.float32), options=RasterOptions(far=float("inf")))
    assert torch.equal(one.image, other.image) and torch.equal(one.alpha, other.alpha)


@settings(max_examples=10)
@given(boxes)
def test_precisions_undo_covariances(seed: int) -> None:
    scene = random_scene(6, seed=seed)
    covariances = reference.covariances(scene.quats, scene.scales)
    product = covariances @ reference.precisions(scene.quats, scene.scales)
    assert torch.allclose(product, torch.eye(3, dtype=torch.float64).expand(6, 3, 3), atol=1e-8)
    found = torch.linalg.eigvalsh(covariances)
    assert torch.allclose(found, (2 * scene.log_scales).exp().sort(-1).values)
    rotation = reference.rotation_matrices(scene.quats)
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(6, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(6, dtype=torch.float64))
