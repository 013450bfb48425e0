"""Facts of how light reaches the vertices of a mesh."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recon3d.render.mesh import Mesh
from recon3d.render.mesh.normals import vertex_normals
from recon3d.render.shading.irradiance import irradiance
from recon3d.splats.relight.light_transport import LightTransport
from tests.support.relight_scenes import ROWS, ball_mesh, room, sheet, some_light, together

ONES = torch.ones(2 * ROWS * ROWS, 3)


def transport_of(mesh: Mesh, rows: int = ROWS, n_bounces: int = 16, seed: int = 0) -> LightTransport:
    return LightTransport(mesh, rows, n_bounces, seed)


def roofed(height: float = 0.5) -> Mesh:
    """A small floor, first, below a roof that is so wide that only the horizon is left."""
    return together(sheet(4, 0.1, 0.0), sheet(2, 200.0 * height, height, up=False))


def test_constant_light_gives_pi_on_an_open_ball() -> None:
    got = transport_of(ball_mesh(8), rows=32).irradiance_everywhere(torch.ones(2048, 3))
    torch.testing.assert_close(got, torch.full_like(got, math.pi), rtol=0.01, atol=0)


def test_open_irradiance_is_that_of_the_environment() -> None:
    """Where nothing is in the way, the sum over pixels is the one of recon3d.render.shading."""
    transport, light = transport_of(ball_mesh(6), rows=32), some_light(32)
    want = irradiance(transport.environment(light), transport.normals)
    torch.testing.assert_close(transport.irradiance_everywhere(light), want, rtol=0.01, atol=0)


def test_irradiance_is_linear_in_the_light() -> None:
    transport, one, two = transport_of(ball_mesh(4)), some_light(seed=1), some_light(seed=2)
    rows = np.array([0, 3, 7])
    got = transport.irradiance(rows, one + 2 * two)
    parts = transport.irradiance(rows, one) + 2 * transport.irradiance(rows, two)
    torch.testing.assert_close(got, parts, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_the_irradiance_is_the_irradiance_of_a_pixel() -> None:
    transport, light = transport_of(ball_mesh(4)), some_light().requires_grad_()
    transport.irradiance(np.array([5]), light).sum().backward()
    assert light.grad is not None
    single = torch.zeros_like(ONES)
    single[17] = 1
    want = transport.irradiance(np.array([5]), single)[0, 0]
    torch.testing.assert_close(light.grad[17, 0], want)
    assert (light.grad >= 0).all()


def test_everywhere_is_every_vertex(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a batch changes nothing."""
    transport, light = transport_of(ball_mesh(5)), some_light()
    whole = transport.irradiance(np.arange(len(transport)), light)
    monkeypatch.setattr("recon3d.splats.relight.light_transport._RAYS_AT_ONCE", 3 * len(light))
    torch.testing.assert_close(transport.irradiance_everywhere(light), whole, rtol=1e-5, atol=1e-6)


def beside_a_wall() -> Mesh:
    """A small floor, first, and close to it a wide wall across the x axis, on its negative side."""
    wall = sheet(2, 100.0, 0.0)
    turned = np.stack([wall.vertices[:, 2] - 0.15, wall.vertices[:, 0], wall.vertices[:, 1]], 1)
    return together(sheet(4, 0.1, 0.0), Mesh(turned, wall.faces))


def test_below_a_roof_it_is_dark() -> None:
    got = transport_of(roofed(), rows=32).irradiance_everywhere(torch.ones(2048, 3))
    assert got[:25].max() < 0.05 * math.pi


def test_a_wall_beside_takes_half_of_the_sky() -> None:
    """A vertex at the foot of a wide wall sees half of what an open one does."""
    got = transport_of(beside_a_wall(), rows=32).irradiance_everywhere(torch.ones(2048, 3))
    torch.testing.assert_close(got[:25], torch.full((25, 3), math.pi / 2), rtol=0.03, atol=0)


def test_light_comes_from_the_free_side() -> None:
    """Only pixels on the side of the wall are dark."""
    transport = transport_of(beside_a_wall())
    free = np.unpackbits(transport.free[12])
    x, _, z = transport.directions.T.numpy()
    high = z > 0.3
    assert free[high & (x > 0.15)].all()
    assert not free[high & (x < -0.15)].any()


def test_what_is_far_below_the_horizon_is_never_free() -> None:
    transport = transport_of(ball_mesh(5))
    free = np.unpackbits(transport.free, axis=1)
    cosine = (transport.normals @ transport.directions.mT).numpy()
    assert not free[cosine < -0.6].any()
    assert free[cosine > 0.4].all()


def test_directions_and_solid_angles_are_those_of_the_environment() -> None:
    transport = transport_of(sheet(1, 1.0, 0.0))
    env = transport.environment(ONES)
    assert (env.height, env.width) == (ROWS, 2 * ROWS)
    torch.testing.assert_close(transport.directions, env.directions().reshape(-1, 3))
    torch.testing.assert_close(transport.solid_angles.sum(), torch.tensor(4 * math.pi))


def test_random_places_stay_in_their_pixels() -> None:
    transport = transport_of(sheet(1, 1.0, 0.0))
    ways = torch.from_numpy(transport._places(np.random.default_rng(0)))
    row, column = transport.environment(ONES).pixels(ways)
    want_row, want_column = np.divmod(np.arange(len(ways)), 2 * ROWS)
    assert np.abs(row.numpy() - want_row).max() < 0.5 + 1e-3
    assert np.abs(column.numpy() - want_column).max() < 0.5 + 1e-3
    torch.testing.assert_close(ways.norm(dim=1), torch.ones(len(ways)))


def test_in_a_closed_white_room_all_light_comes_from_walls() -> None:
    """Nothing of the sky arrives, and walls that send 1 everywhere light everything with pi."""
    transport = transport_of(room(), n_bounces=64)
    inside = (transport.points.abs() > 0.99).sum(1) == 1  # rays from edges start in the next wall
    assert int(inside.sum()) == 54
    assert transport.irradiance_everywhere(ONES)[inside].abs().max() == 0
    assert (transport.lit_by[inside.numpy()] >= 0).all()
    got = transport.irradiance_from_surfaces(torch.ones(len(transport), 3))[inside]
    torch.testing.assert_close(got, torch.full_like(got, math.pi))


def test_walls_light_with_their_colour() -> None:
    """A red ceiling and black walls: the middle of the floor gets the form factor of a square times pi, in red."""
    transport = transport_of(room(8), n_bounces=256)
    outgoing = torch.zeros(len(transport), 3)
    outgoing[transport.normals[:, 2] < -0.99, 0] = 1
    got = transport.irradiance_from_surfaces(outgoing)
    assert got[:, 1:].abs().max() == 0
    middle = int((transport.points - torch.tensor([0.0, 0.0, -1.0])).norm(dim=1).argmin())
    x = 1 / float(1 - transport.start[middle, 2])  # half the side, in distances
    root = math.sqrt(1 + x * x)
    assert float(got[middle, 0]) == pytest.approx(4 * x / root * math.atan(x / root), rel=0.08)


def test_an_open_ball_is_lit_by_no_surface() -> None:
    transport = transport_of(ball_mesh(6))
    assert (transport.lit_by == -1).all()
    got = transport.irradiance_from_surfaces(torch.ones(len(transport), 3))
    assert got.abs().max() == 0


def test_sky_and_surfaces_together_are_everything() -> None:
    """What is not seen of the sky is surface: below white light everywhere, a white scene is lit by pi everywhere."""
    mesh = together(sheet(8, 1.0, -1.0), ball_mesh(8, 0.6, (0.0, 0.0, -0.3)))
    transport = transport_of(mesh, rows=32, n_bounces=256)
    sky = transport.irradiance_everywhere(torch.ones(2048, 3))
    surfaces = transport.irradiance_from_surfaces(torch.ones(len(transport), 3))
    total = (sky + surfaces)[:, 0]
    assert float(surfaces.max()) > 0.5
    torch.testing.assert_close(total, torch.full_like(total, math.pi), rtol=0.06, atol=0)


def test_look_finds_the_vertex_that_faces() -> None:
    floor, roof = sheet(4, 1.0, 0.0), sheet(4, 1.0, 1.0, up=False)
    transport = transport_of(together(floor, roof))
    rows = np.array([12, 6, 25 + 8])
    way = np.float32([[0, 0, 1], [0, 0, 1], [0, 0, -1]])
    np.testing.assert_array_equal(transport.look(rows, way), [25 + 12, 25 + 6, 8])


def test_look_finds_the_nearest_corner_of_the_face() -> None:
    transport = transport_of(together(sheet(4, 1.0, 0.0), sheet(4, 1.0, 1.0, up=False)))
    aside = np.float32([[0.2, 0, 1], [0.35, 0, 1], [0.0, -0.4, 1]])  # of 0.5 between vertices
    np.testing.assert_array_equal(transport.look(np.array([12, 12, 12]), aside), [25 + 12, 25 + 13, 25 + 7])


def test_look_finds_nothing_in_the_open() -> None:
    transport = transport_of(sheet(2, 1.0, 0.0))
    assert transport.look(np.array([4, 0]), np.float32([[0, 0, 1], [1, 0, 0.1]])).tolist() == [-1, -1]


def test_the_pattern_of_rays_follows_the_normals() -> None:
    """Under a roof nearly every ray of the floor meets the roof, and hardly one of the roof meets the floor."""
    transport = transport_of(roofed(), n_bounces=64)
    assert ((transport.lit_by[:25] >= 25).mean(axis=1) > 0.98).all()
    assert (transport.lit_by[25:] == -1).mean() > 0.95


def test_the_same_seed_gives_the_same_bits() -> None:
    mesh = together(sheet(4, 1.0, -1.0), ball_mesh(5, 0.5))
    one, two, other = (transport_of(mesh, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.free, two.free)
    np.testing.assert_array_equal(one.lit_by, two.lit_by)
    assert (one.lit_by != other.lit_by).any()


def test_normals_are_those_of_the_mesh_or_of_its_faces() -> None:
    mesh = ball_mesh(4)
    torch.testing.assert_close(transport_of(mesh).normals, torch.from_numpy(mesh.normals))
    bare = Mesh(mesh.vertices, mesh.faces)
    torch.testing.assert_close(transport_of(bare).normals, torch.from_numpy(vertex_normals(mesh.vertices, mesh.faces)))


def test_rays_start_in_front_of_the_surface() -> None:
    transport = transport_of(sheet(4, 1.0, 0.0))
    np.testing.assert_allclose(transport.start[:, 2], 0.25, atol=1e-6)  # half of the edges of 0.5
    assert transport.edge == pytest.approx(0.5)
    assert len(transport) == 25


def test_bits_are_packed() -> None:
    transport = transport_of(sheet(2, 1.0, 0.0))
    assert transport.free.shape == (9, 2 * ROWS * ROWS // 8)
    assert transport.free.dtype == np.uint8
