"""Facts of what photos show of the vertices of a mesh."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recon3d.render.cameras import Cameras
from recon3d.render.mesh import Mesh
from recon3d.render.shading import linear_from_srgb
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.observations import Observations, observe
from tests.support.relight_scenes import around, ball_mesh, flat_photos, from_above, one_size, sheet, together

SIZE = 32


def transport_of(mesh: Mesh) -> LightTransport:
    return LightTransport(mesh, rows=4, n_bounces=4)


def seen_by(mesh: Mesh, cameras: Cameras, images: list[np.ndarray], masks: list | None = None) -> Observations:
    return observe(transport_of(mesh), cameras, images, [None] * len(images) if masks is None else masks)


def pixels_of(mesh: Mesh, camera: Cameras) -> np.ndarray:
    return camera.project(mesh.vertices.astype(np.float64), np.zeros(len(mesh.vertices), np.int64))[0]


def test_a_flat_photo_has_its_exact_linear_colour() -> None:
    image = np.empty((SIZE, SIZE, 3), np.uint8)
    image[:] = (40, 128, 250)
    seen = seen_by(sheet(4, 0.8, 0.0), from_above(SIZE), [image])
    want = linear_from_srgb(torch.tensor([40.0, 128, 250]) / 255).expand(25, 3)
    torch.testing.assert_close(seen.rgb, want)
    assert seen.count.tolist() == [1] * 25


def test_a_ramp_is_read_between_pixels() -> None:
    """Linear colours are interpolated between pixel centres, which lie half a pixel inside."""
    ramp = np.tile((np.arange(SIZE) * 8).astype(np.uint8)[None, :, None], (SIZE, 1, 3))
    mesh, camera = sheet(6, 0.9, 0.0), from_above(SIZE)
    seen = seen_by(mesh, camera, [ramp])
    table = linear_from_srgb(torch.arange(SIZE) * 8 / 255).double().numpy()
    want = np.interp(pixels_of(mesh, camera)[:, 0], np.arange(SIZE) + 0.5, table)
    np.testing.assert_allclose(seen.rgb.numpy(), np.repeat(want[:, None], 3, 1), atol=1e-6)


def test_rows_of_the_photo_are_y() -> None:
    """The upper half is white: vertices at positive y, which a camera that looks down has above."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[: SIZE // 2 - 1] = 255
    mesh = sheet(4, 0.8, 0.0)
    seen = seen_by(mesh, from_above(SIZE), [image])
    high = torch.from_numpy(mesh.vertices[:, 1] > 0.1)
    assert (seen.rgb[high] == 1).all()
    assert (seen.rgb[~high] == 0).all()


def test_views_point_at_the_cameras() -> None:
    mesh, cameras = ball_mesh(6), around(4, SIZE)
    seen = seen_by(mesh, cameras, flat_photos(4, SIZE))
    torch.testing.assert_close(seen.view.norm(dim=1), torch.ones(len(seen.view)))
    away = cameras.centers[seen.photo.numpy()] - mesh.vertices[seen.owner.numpy()]
    cosine = (away / np.linalg.norm(away, axis=1, keepdims=True) * seen.view.numpy()).sum(1)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)


def test_a_wall_hides_what_is_behind() -> None:
    floor, plate = sheet(8, 0.8, 0.0), sheet(2, 0.45, 1.0)
    camera = from_above(SIZE)
    mesh = together(floor, plate)
    shown = seen_by(mesh, camera, flat_photos(1, SIZE)).count[:81].reshape(9, 9) > 0
    hidden = np.abs(floor.vertices[:, :2]).max(1).reshape(9, 9) < 0.45 * 4 / 3  # its shadow, from height 4
    np.testing.assert_array_equal(shown.numpy(), ~hidden)
    alone = seen_by(floor, camera, flat_photos(1, SIZE))
    assert (alone.count == 1).all()


def test_what_is_behind_the_camera_is_not_in_the_way() -> None:
    mesh = together(sheet(4, 0.8, 0.0), sheet(2, 3.0, 6.0, up=False))
    assert seen_by(mesh, from_above(SIZE), flat_photos(1, SIZE)).count.tolist() == [1] * 25 + [0] * 9


def test_masks_count() -> None:
    """All four pixels around a vertex must count."""
    mesh, camera = sheet(6, 0.9, 0.0), from_above(SIZE)
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[:, : SIZE // 2] = True
    seen = seen_by(mesh, camera, flat_photos(1, SIZE), [mask])
    x = pixels_of(mesh, camera)[:, 0]
    np.testing.assert_array_equal(seen.count.numpy() > 0, np.floor(x - 0.5) + 1 < SIZE // 2)
    nothing = seen_by(mesh, camera, flat_photos(1, SIZE), [np.zeros_like(mask)])
    assert len(nothing.rgb) == 0
    assert nothing.rgb.shape == nothing.view.shape == (0, 3)


def test_vertices_at_the_border_are_left_out() -> None:
    mesh, camera = sheet(40, 2.0, 0.0), from_above(SIZE)
    seen = seen_by(mesh, camera, flat_photos(1, SIZE)).count.numpy() > 0
    xy = pixels_of(mesh, camera)
    inside = (xy > 1).all(1) & (xy < SIZE - 1).all(1)
    np.testing.assert_array_equal(seen, inside)
    assert 0 < inside.sum() < len(inside)


@pytest.mark.parametrize(("degrees", "count"), [(75.0, 1), (85.0, 0)])
def test_slanted_views_are_left_out(degrees: float, count: int) -> None:
    angle = math.radians(degrees)
    cameras = from_above(SIZE)
    turned = Mesh(sheet(1, 0.1, 0.0).vertices, sheet(1, 0.1, 0.0).faces)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    turned.vertices[:] = turned.vertices @ np.float32([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    assert seen_by(turned, cameras, flat_photos(1, SIZE)).count.tolist() == [count] * 4


def test_the_back_is_not_seen() -> None:
    assert len(seen_by(sheet(2, 0.5, 0.0, up=False), from_above(SIZE), flat_photos(1, SIZE)).rgb) == 0


def test_a_convex_surface_is_seen_where_it_faces() -> None:
    mesh, cameras = ball_mesh(8), around(5, SIZE)
    seen = seen_by(mesh, cameras, flat_photos(5, SIZE))
    away = cameras.centers[:, None] - mesh.vertices
    cosine = (away * mesh.normals).sum(-1) / np.linalg.norm(away, axis=-1)
    count = seen.count.numpy()
    assert (count >= (cosine > 0.25).sum(0)).all()  # the ends of faces hide a little of what is slanted
    assert (count <= (cosine > 0.15).sum(0)).all()


def test_observations_are_sorted_by_vertex_then_photo() -> None:
    seen = seen_by(ball_mesh(6), around(6, SIZE), flat_photos(6, SIZE))
    key = seen.owner * 6 + seen.photo
    assert (key.diff() > 0).all()
    assert int(seen.first[-1]) == len(seen.rgb) == len(seen.view) == len(seen.photo)
    torch.testing.assert_close(seen.count, torch.bincount(seen.owner, minlength=len(seen.first) - 1))


def test_photos_keep_their_own_colours() -> None:
    images = [np.full((SIZE, SIZE, 3), 20 + 30 * k, np.uint8) for k in range(4)]
    seen = seen_by(ball_mesh(6), around(4, SIZE), images)
    want = linear_from_srgb((20 + 30 * seen.photo) / 255)
    torch.testing.assert_close(seen.rgb[:, 0], want)


def test_photos_may_differ_in_size() -> None:
    small, large = from_above(16), from_above(40)
    both = Cameras(
        np.concatenate([small.cam_from_world, large.cam_from_world]),
        np.concatenate([small.K, large.K]),
        np.array([16, 40]),
        np.array([16, 40]),
    )
    seen = seen_by(sheet(2, 0.5, 0.0), both, [*flat_photos(1, 16), *flat_photos(1, 40)])
    assert seen.count.tolist() == [2] * 9


def small_table() -> Observations:
    """Vertices with 2, 0, 3 and 1 observations."""
    rgb = torch.arange(18.0).reshape(6, 3)
    view = torch.nn.functional.normalize(rgb + 1, dim=1)
    return Observations(torch.tensor([0, 2, 2, 5, 6]), rgb, view, torch.tensor([0, 1, 0, 1, 2, 1]))


def test_count_and_owner() -> None:
    table = small_table()
    assert table.count.tolist() == [2, 0, 3, 1]
    assert table.owner.tolist() == [0, 0, 2, 2, 2, 3]


def test_of_some_vertices() -> None:
    which, rows = small_table().of(torch.tensor([2, 1, 0, 2]))
    assert which.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    assert rows.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]


def test_of_no_vertices() -> None:
    which, rows = small_table().of(torch.zeros(0, dtype=torch.int64))
    assert len(which) == len(rows) == 0


def test_of_all_vertices_is_everything() -> None:
    table = seen_by(ball_mesh(5), around(5, SIZE), flat_photos(5, SIZE))
    which, rows = table.of(torch.arange(len(table.first) - 1))
    torch.testing.assert_close(which, table.owner)
    torch.testing.assert_close(rows, torch.arange(len(table.rgb)))


def test_mean_over_photos() -> None:
    table = small_table()
    got = table.mean(table.rgb)
    want = [[1.5, 2.5, 3.5], [0, 0, 0], [9, 10, 11], [15, 16, 17]]
    torch.testing.assert_close(got, torch.tensor(want))


def test_a_camera_that_sees_nothing() -> None:
    away = one_size(from_above(SIZE).cam_from_world @ np.diag([1.0, -1, -1, 1]), SIZE)
    away.cam_from_world[0, 2, 3] = -4.0
    seen = seen_by(sheet(2, 0.5, 0.0), away, flat_photos(1, SIZE))
    assert seen.count.tolist() == [0] * 9
    assert seen.mean(seen.rgb).abs().max() == 0
