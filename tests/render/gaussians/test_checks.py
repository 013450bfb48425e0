"""What the public functions refuse, and what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_gaussians import FIELDS, HEIGHT, WIDTH, as_dtype, camera, random_scene
from torch import Tensor

from recon3d.core.errors import InputError, Recon3DError, ShapeError, UsageError
from recon3d.render import Cameras
from recon3d.render.gaussians import (
    CameraTensors,
    Gaussians,
    Projection,
    ProjectionOptions,
    RasterOptions,
    project,
    rasterize,
    rasterize_projected,
)
from recon3d.render.spherical_harmonics import spherical_harmonics

NAN, INF = float("nan"), float("inf")


def spoilt(value: Tensor, *bad: float) -> Tensor:
    value = value.clone()
    value.view(-1)[: len(bad)] = torch.tensor(bad, dtype=value.dtype)
    return value


def projected(gaussians: Gaussians) -> Projection:
    view = camera()
    where = (gaussians.means, gaussians.quats, gaussians.log_scales, view.cam_from_world[0], view.K[0], WIDTH, HEIGHT)
    return project(*where)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FIELDS)
def test_rasterize_names_the_field_that_is_not_finite(name: str, dtype: torch.dtype) -> None:
    scene = as_dtype(random_scene(5), dtype)
    value = getattr(scene, name)
    bad = replace(scene, **{name: spoilt(value, NAN, -INF)})
    match = f"gaussians.{name} holds NaN or infinite values; got: 2 of {value.numel()}; expected: finite values"
    with pytest.raises(InputError, match=match):
        rasterize(bad, camera(1, dtype))


def test_features_background_and_poses_must_be_finite_too() -> None:
    scene = random_scene(5)
    with pytest.raises(InputError, match="features holds NaN or infinite values; got: 1 of 10"):
        rasterize(scene, camera(), features=spoilt(torch.zeros(5, 2, dtype=torch.float64), INF))
    with pytest.raises(InputError, match="background holds NaN"):
        rasterize(scene, camera(), background=spoilt(torch.zeros(3, dtype=torch.float64), NAN))
    view = camera()
    with pytest.raises(InputError, match="cam_from_world holds NaN or infinite values; got: 1 of 16"):
        rasterize(scene, CameraTensors(spoilt(view.cam_from_world, NAN), view.K, WIDTH, HEIGHT))


def test_finite_values_whose_sum_overflows_are_fine() -> None:
    scene = as_dtype(random_scene(5), torch.float32)
    far = replace(scene, means=torch.full_like(scene.means, 3e38))
    assert not rasterize(far, camera(1, torch.float32), backend="torch").alpha.any()


def test_the_other_functions_check_as_well() -> None:
    scene, seen = random_scene(5), projected(random_scene(5))
    with pytest.raises(InputError, match="log_scales holds NaN"):
        projected(replace(scene, log_scales=spoilt(scene.log_scales, NAN)))
    with pytest.raises(InputError, match="coefficients holds NaN"):
        spherical_harmonics(scene.means, spoilt(scene.sh, NAN), 1)
    with pytest.raises(InputError, match="opacities holds NaN"):
        rasterize_projected(seen, spoilt(scene.opacities, NAN), scene.means, WIDTH, HEIGHT)


def test_mixed_types_are_refused() -> None:
    scene = random_scene(5)
    with pytest.raises(UsageError, match=r"gaussians.quats has another type or device; got: torch.float32 on cpu"):
        rasterize(replace(scene, quats=scene.quats.float()), camera())
    with pytest.raises(UsageError, match=r"K has another type or device; got: torch.float32.*float64 on cpu, as gauss"):
        rasterize(scene, replace(camera(), K=camera().K.float()))
    with pytest.raises(UsageError, match=r"features has another type or device; got: torch.float64 on meta"):
        rasterize(scene, camera(), features=torch.zeros(5, 1, dtype=torch.float64, device="meta"))


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_shapes_are_refused_with_both_shapes() -> None:
    scene = random_scene(5)
    with pytest.raises(ShapeError, match=r"features has the wrong shape; got: \[4, 3\]; expected: \[5, any\]"):
        rasterize(scene, camera(), features=torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"background has the wrong shape; got: \[1, 2\]; expected: \[1, 3\]"):
        rasterize(scene, camera(), background=torch.zeros(2, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"background has the wrong shape; got: \[3, 3\]; expected: \[2, 3\]"):
        rasterize(scene, camera(2), background=torch.zeros(3, 3, dtype=torch.float64))
    view = camera()
    with pytest.raises(ShapeError, match=r"quats has the wrong shape; got: \[5, 3\]; expected: \[5, 4\]"):
        project(scene.means, scene.means, scene.log_scales, view.cam_from_world[0], view.K[0], WIDTH, HEIGHT)
    with pytest.raises(ShapeError, match=r"coefficients has the wrong shape; got: \[5, 4, 3\]; expected: \[5, 9, 3\]"):
        spherical_harmonics(scene.means, scene.sh, 2)
    with pytest.raises(ShapeError, match=r"opacities has the wrong shape"):
        rasterize_projected(projected(scene), scene.means, scene.means, WIDTH, HEIGHT)
    with pytest.raises(ShapeError, match=r"CameraTensors.K has the wrong shape"):
        CameraTensors(view.cam_from_world, view.K[0], WIDTH, HEIGHT)


def test_images_need_pixels_and_cameras() -> None:
    scene, view = random_scene(5), camera()
    with pytest.raises(UsageError, match="the image size must be positive; got: 0 x 20"):
        replace(view, width=0)
    with pytest.raises(UsageError, match="there is no camera to render for"):
        CameraTensors(view.cam_from_world[:0], view.K[:0], WIDTH, HEIGHT)
    with pytest.raises(UsageError, match="the image size must be positive; got: 24 x -1"):
        rasterize_projected(projected(scene), scene.opacities, scene.means, WIDTH, -1)


@pytest.mark.parametrize(("row", "column", "value"), [(0, 1, 0.1), (1, 0, 0.1), (2, 2, 2.0), (2, 0, 0.1), (1, 1, -5.0)])
def test_matrices_of_other_cameras_are_refused(row: int, column: int, value: float) -> None:
    scene, view = random_scene(5), camera(2)
    view.K[1, row, column] = value
    with pytest.raises(UsageError, match="K is not that of a pinhole camera without skew"):
        rasterize(scene, view)
    where = (scene.means, scene.quats, scene.log_scales, view.cam_from_world[1], view.K[1], WIDTH, HEIGHT)
    with pytest.raises(UsageError, match="K is not that of a pinhole camera without skew"):
        project(*where)


def numpy_cameras(sizes: list[tuple[int, int]], distortion: float = 0.0) -> Cameras:
    n, view = len(sizes), camera()
    width, height = np.array(sizes, np.int64).reshape(n, 2).T
    coefficients = np.full((n, 4), distortion)
    pose, K = view.cam_from_world.numpy().repeat(n, 0), view.K.numpy().repeat(n, 0)
    return Cameras(pose, K, np.ascontiguousarray(width), np.ascontiguousarray(height), coefficients)


def test_cameras_of_numpy_render_as_those_of_torch() -> None:
    scene = as_dtype(random_scene(20), torch.float32)
    one = rasterize(scene, numpy_cameras([(WIDTH, HEIGHT)] * 2), backend="torch")
    other = rasterize(scene, camera(1, torch.float32), backend="torch")
    assert torch.equal(one.image[0], other.image[0])
    assert torch.equal(one.image[1], other.image[0])


def test_cameras_of_numpy_that_cannot_be_rendered() -> None:
    scene = random_scene(5)
    with pytest.raises(UsageError, match="must share an image size; got: 24 x 20, 30 x 20; expected: one size"):
        rasterize(scene, numpy_cameras([(WIDTH, HEIGHT), (30, 20)]))
    with pytest.raises(UsageError, match="pinhole cameras; got: lens distortion; to fix: undistort the photos"):
        rasterize(scene, numpy_cameras([(WIDTH, HEIGHT)], distortion=0.1))
    with pytest.raises(UsageError, match="there is no camera to render for"):
        rasterize(scene, numpy_cameras([]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_alpha", 0.0),
        ("max_alpha", 1.1),
        ("min_alpha", 0.0),
        ("min_transmittance", 1.0),
        ("tile_size", 0),
        ("eps2d", -0.1),
        ("near", 0.0),
        ("near", NAN),
        ("far", 0.001),
    ],
)
def test_options_out_of_range(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="is out of range; got: "):
        RasterOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_shape_checks")
def test_options_of_the_projection() -> None:
    assert RasterOptions(eps2d=0.1, near=0.5).projection("gsplat", antialiased=True) == ProjectionOptions(
        eps2d=0.1, near=0.5, bounds="gsplat", antialiased=True
    )
    with pytest.raises(Recon3DError, match="bounds is out of range; got: loose; expected: tight or gsplat"):
        ProjectionOptions(bounds="loose")  # type: ignore[arg-type]
