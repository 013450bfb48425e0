"""Facts of baked transfer vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.mesh.types import Mesh
from recon3d.render.raytrace import ground_plane
from recon3d.render.shading import Environment, irradiance_from_sh, sh_from_environment
from recon3d.splats.relight import TransferOptions, bake_transfer, open_transfer, openness
from recon3d.splats.relight.transfer import cosine_directions

ORIGIN, UP = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])


def wall(distance: float = 0.0, size: float = 1000.0) -> Mesh:
    """A square across the x axis, on its negative side."""
    corners = np.array([[0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]], np.float32) * size
    corners[:, 0] = -distance
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def directions(n: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=source), dim=-1)


def test_open_points_are_exact() -> None:
    normals = directions(20)
    far = bake_transfer(100 * normals, normals, ground_plane(0.0, 1.0), TransferOptions(reach=0.1))
    torch.testing.assert_close(far, open_transfer(normals), rtol=0, atol=1e-6)
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    torch.testing.assert_close(bake_transfer(normals, normals, empty), open_transfer(normals), rtol=0, atol=1e-6)


def test_open_transfer_is_the_irradiance_of_the_light() -> None:
    source = torch.Generator().manual_seed(1)
    env = Environment(torch.rand(8, 16, 3, generator=source, dtype=torch.float64))
    sh, normals = sh_from_environment(env, 2), directions(30).double()
    torch.testing.assert_close(open_transfer(normals) @ sh, irradiance_from_sh(sh, normals))


def test_a_wall_takes_half_of_the_sky() -> None:
    got = bake_transfer(ORIGIN, UP, wall(1e-4), TransferOptions(directions=4096, offset=1e-7))[0]
    half = torch.tensor([math.pi / 2, 0, math.pi / 3, 2 / 3, 0, 0, math.pi / 4, math.pi / 8, 0])
    scale = torch.tensor(
        [0.28209479, -0.48860251, 0.48860251, -0.48860251, 1.0925484, -1.0925484, 0.31539157, -1.0925484, 0.54627422]
    )
    torch.testing.assert_close(got, half * scale, rtol=0, atol=4e-3)


def test_a_roof_takes_everything() -> None:
    got = bake_transfer(ORIGIN, UP, ground_plane(0.01, 1000.0), TransferOptions(offset=1e-7))
    assert got.abs().max() < 0.02
    assert openness(got).max() < 1e-3


def test_constant_light_gives_pi_times_openness() -> None:
    options = TransferOptions(directions=1024, offset=1e-6)
    got = bake_transfer(ORIGIN.expand(5, 3), directions(5), wall(0.5, 2.0), options)
    sh = sh_from_environment(Environment(torch.ones(128, 256, 3)), 2)
    torch.testing.assert_close((got @ sh)[:, 0], math.pi * openness(got), rtol=1e-4, atol=1e-4)
    assert openness(got).min() < 0.9


def test_points_on_a_mesh_do_not_hide_behind_themselves() -> None:
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 1.0, 0.0])
    got = bake_transfer(points, UP.expand(50, 3), ground_plane(0.0, 2.0))
    torch.testing.assert_close(openness(got), torch.ones(50))
    below = bake_transfer(points, UP.expand(50, 3), ground_plane(1e-3, 2.0))  # splats lie a little below the surface
    torch.testing.assert_close(openness(below), torch.ones(50))


def test_the_sky_turns_with_the_scene() -> None:
    """A wall on the other side is the same in a frame that is turned by half a circle: x and y change their signs."""
    options = TransferOptions(directions=4096, offset=1e-6)
    one = bake_transfer(ORIGIN, UP, wall(1.0, 1.5), options)[0]
    other = wall(1.0, 1.5)
    turned = Mesh(other.vertices * np.array([-1, -1, 1], np.float32), other.faces)
    two = bake_transfer(ORIGIN, UP, turned, options)[0]
    signs = torch.tensor([1, -1, 1, -1, 1, -1, 1, -1, 1.0])
    torch.testing.assert_close(one, two * signs, rtol=0, atol=5e-3)


def test_a_point_depends_on_no_other() -> None:
    points, normals = directions(9, 3), directions(9, 4)
    mesh, options = wall(0.2, 1.0), TransferOptions(directions=64)
    whole = bake_transfer(points, normals, mesh, options)
    torch.testing.assert_close(bake_transfer(points[4:6], normals[4:6], mesh, options), whole[4:6], rtol=0, atol=0)
    torch.testing.assert_close(bake_transfer(points, normals, mesh, options), whole, rtol=0, atol=0)
    assert bake_transfer(points[:0], normals[:0], mesh, options).shape == (0, 9)


def test_directions_have_the_density_of_the_cosine() -> None:
    got = cosine_directions(1000)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(got.mean(0), [0, 0, 2 / 3], atol=2e-3)
    np.testing.assert_allclose((got[:, 2] ** 2).mean(), 0.5, atol=1e-3)


@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_arguments() -> None:
    with pytest.raises(ShapeError, match="normal"):
        bake_transfer(ORIGIN, UP.expand(2, 3), wall())
    for wrong in ({"directions": 0}, {"offset": -1.0}, {"reach": 0.0}):
        with pytest.raises(UsageError, match="must be"):
            TransferOptions(**wrong)
