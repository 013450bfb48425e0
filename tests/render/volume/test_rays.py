from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render import rays as rays_module
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import CameraTensors
from recon3d.render.rays import Rays, pixel_rays
from recon3d.render.trajectories import look_at

WIDTH, HEIGHT = 7, 5


def cameras(n: int = 2) -> CameraTensors:
    eyes = np.array([[2.0 + i, -1.0, 1.0] for i in range(n)])
    poses = look_at(eyes, np.array([0.1, 0.2, 0.0]), np.array([0.0, 0.0, 1.0]))
    K = torch.tensor([[9.0, 0.0, 3.2], [0.0, 8.0, 2.6], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return CameraTensors(torch.from_numpy(poses), K.expand(n, 3, 3), WIDTH, HEIGHT)


def test_points_on_a_ray_are_seen_in_its_pixel() -> None:
    """Projecting with the camera class that knows nothing of rays."""
    tensors = cameras()
    rays = pixel_rays(tensors)
    points = rays.at(torch.linspace(0.5, 4.0, 3, dtype=torch.float64).expand(len(rays), 3))
    size = np.full(2, WIDTH), np.full(2, HEIGHT)
    numpy_cameras = Cameras(tensors.cam_from_world.numpy(), tensors.K.numpy(), *size)
    camera = np.repeat(np.arange(2), WIDTH * HEIGHT * 3)
    pixels, _ = numpy_cameras.project(points.reshape(-1, 3).numpy(), camera)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centers = np.stack([columns, rows], -1).reshape(-1, 2) + 0.5
    assert np.allclose(pixels, np.tile(np.repeat(centers, 3, axis=0), (2, 1)), atol=1e-9)


@pytest.mark.parametrize("unit", [True, False])
def test_distances_or_depths(unit: bool) -> None:
    tensors = cameras(1)
    rays = pixel_rays(tensors, unit=unit)
    along_z = rays.directions @ tensors.cam_from_world[0, 2, :3]
    length = rays.directions.norm(dim=-1)
    assert torch.allclose(length if unit else along_z, torch.ones_like(length))
    assert (along_z > 0).all()


def test_some_pixels_are_rows_of_all() -> None:
    pixels = torch.tensor([0, 34, 35, 69, 40])
    some, every = pixel_rays(cameras(), pixels), pixel_rays(cameras())
    assert torch.equal(some.directions, every[pixels].directions)
    assert torch.equal(some.origins, every[pixels].origins)
    assert len(pixel_rays(cameras(), pixels[:0])) == 0


def test_gradients_reach_poses_and_intrinsics() -> None:
    start = cameras(1)
    K = start.K.clone()

    def directions(pose: Tensor, fx: Tensor) -> Tensor:
        moved = K.clone()
        moved[0, 0, 0] = fx
        rays = pixel_rays(CameraTensors(pose, moved, WIDTH, HEIGHT), torch.tensor([3, 17]))
        return torch.cat([rays.origins, rays.directions])

    leaves = start.cam_from_world.clone().requires_grad_(), K[0, 0, 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(directions, leaves)


@pytest.mark.parametrize("pixels", [[-1], [0, 70]])
def test_pixels_beyond_the_image_are_refused(pixels: list[int]) -> None:
    with pytest.raises(UsageError, match=r"there is no such pixel; got: .* expected: 0 to 69"):
        pixel_rays(cameras(), torch.tensor(pixels))


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ((torch.zeros(2, 2), torch.zeros(2, 2)), ShapeError),
        ((torch.zeros(2, 3), torch.zeros(3, 3)), ShapeError),
        ((torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.float64)), UsageError),
        ((torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)), UsageError),
    ],
)
def test_rays_that_do_not_agree_are_refused(arrays: tuple[Any, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="Rays"):
        Rays(*arrays)


def test_the_example() -> None:
    assert doctest.testmod(rays_module).attempted > 0
    assert doctest.testmod(rays_module).failed == 0
