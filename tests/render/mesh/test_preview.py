"""The mesh preview: what is where, what hides what, and which colour it has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import UsageError
from recon3d.core.kernels import threads
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.preview import mesh_preview, mesh_previews, rasterize_faces
from recon3d.render.mesh.types import Mesh

K = np.array([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]])
CAMERA = Cameras(np.eye(4)[None], K[None], np.array([40]), np.array([30]))


def quad(z: float, half: float, rgb: tuple[int, int, int]) -> Mesh:
    corners = [[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]]
    colours = np.tile(np.array(rgb, np.uint8), (4, 1))
    return Mesh(np.array(corners, np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32), None, colours)


def joined(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    rgb = np.concatenate([mesh.rgb for mesh in meshes if mesh.rgb is not None])
    return Mesh(np.concatenate([m.vertices for m in meshes]), np.concatenate(faces).astype(np.int32), None, rgb)


def test_the_nearer_face_hides_the_farther_one_in_any_order() -> None:
    near, far = quad(2.0, 0.2, (255, 0, 0)), quad(4.0, 1.0, (0, 255, 0))
    for mesh in (joined(near, far), joined(far, near)):
        image = mesh_preview(mesh, CAMERA, (0, 0, 255), shaded=False)
        assert image[15, 20].tolist() == [255, 0, 0]
        assert image[15, 12].tolist() == [0, 255, 0]
        assert image[0, 0].tolist() == [0, 0, 255]


def test_a_face_covers_the_pixels_whose_centres_it_holds() -> None:
    points = np.array([[-0.25, -0.25, 1.0], [0.25, -0.25, 1.0], [0.25, 0.25, 1.0], [-0.25, 0.25, 1.0]])
    face, weights = rasterize_faces(points, np.array([[0, 1, 2], [0, 2, 3]], np.int32), K, (40, 30))
    covered = np.argwhere(face >= 0)
    assert (covered.min(axis=0).tolist(), covered.max(axis=0).tolist()) == ([5, 10], [24, 29])
    assert len(covered) == 400
    assert np.allclose(weights[face >= 0].sum(axis=1), 1, atol=1e-6)


def test_weights_are_those_on_the_surface() -> None:
    """A slanted face: the point that the weights name must project to the pixel."""
    points = np.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 6.0], [0.0, 1.5, 3.0]])
    face, weights = rasterize_faces(points, np.array([[0, 1, 2]], np.int32), K, (40, 30))
    rows, columns = np.nonzero(face >= 0)
    on_surface = weights[rows, columns] @ points
    pixels = on_surface[:, :2] / on_surface[:, 2:] * 40 + [20, 15]
    assert len(rows) > 50
    assert np.allclose(pixels, np.stack([columns, rows], axis=1) + 0.5, atol=1e-3)


def test_faces_behind_the_camera_are_left_out_and_others_cut_off_there() -> None:
    points = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, -1], [0, -1, 0], [1, 1, -1], [0, 1, -2]])
    face, _ = rasterize_faces(points, np.array([[2, 4, 5], [0, 1, 2]], np.int32), K, (40, 30))
    assert (face[:15] == -1).all() and (face[16:, 21:] == 1).any() and not (face == 0).any()


def test_both_sides_are_drawn_and_light_falls_on_both() -> None:
    mesh = quad(2.0, 0.5, (200, 200, 200))
    turned = Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[:, ::-1]), None, mesh.rgb)
    assert (mesh_preview(mesh, CAMERA) == mesh_preview(turned, CAMERA)).all()


def test_what_faces_the_light_is_brighter() -> None:
    flat = quad(2.0, 0.5, (200, 200, 200))
    slanted = Mesh(
        flat.vertices + np.array([0, 0, 1], np.float32) * flat.vertices[:, :1] * 2, flat.faces, None, flat.rgb
    )
    assert int(mesh_preview(flat, CAMERA)[15, 20, 0]) > int(mesh_preview(slanted, CAMERA)[15, 20, 0]) + 20


def test_no_colours_no_faces_and_no_vertices() -> None:
    mesh = quad(2.0, 0.5, (0, 0, 0))
    grey = mesh_preview(Mesh(mesh.vertices, mesh.faces), CAMERA)
    assert grey[15, 20, 0] > 100
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    assert (mesh_preview(empty, CAMERA, (1, 2, 3)) == [1, 2, 3]).all()


def test_edges_are_smoothed_by_supersampling() -> None:
    mesh = quad(2.03, 0.5, (255, 255, 255))
    values = np.unique(mesh_preview(mesh, CAMERA, (0, 0, 0), 4, shaded=False))
    assert len(values) > 2


@given(st.integers(0, 10_000), st.integers(1, 60))
@settings(max_examples=15)
def test_the_same_bits_for_any_number_of_threads(seed: int, n_faces: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(20, 3)) + np.array([0, 0, 3])
    faces = rng.integers(0, 20, (n_faces, 3)).astype(np.int32)
    found = []
    for count in (1, 3):
        with threads(count):
            found.append(rasterize_faces(points, faces, K * np.array([[4], [4], [1]]), (160, 120)))
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_the_nearest_face_wins_at_every_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(12, 3)) + np.array([0, 0, 4])
    points[:, 2] = np.maximum(points[:, 2], 0.5)
    faces = rng.permuted(np.tile(np.arange(12), (6, 1)), axis=1)[:, :3].astype(np.int32)
    face, weights = rasterize_faces(points, faces, K, (40, 30))
    depth = np.full((30, 40), np.inf)
    for index in range(len(faces)):
        alone, w = rasterize_faces(points, faces[index : index + 1], K, (40, 30))
        z = np.where(alone == 0, w @ points[faces[index], 2], np.inf)
        depth = np.minimum(depth, z)
    hit = face >= 0
    assert (hit == np.isfinite(depth)).all()
    together = np.einsum("mk,mk->m", weights[hit], points[faces[face[hit]], 2])
    assert np.allclose(together, depth[hit], rtol=1e-4)


def test_many_cameras_give_the_pictures_of_each() -> None:
    mesh = joined(quad(2.0, 0.2, (255, 0, 0)), quad(4.0, 1.0, (0, 255, 0)))
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [-0.3, 0.0, 0.3]
    cameras = Cameras(poses, np.tile(K, (3, 1, 1)), np.full(3, 40), np.full(3, 30))
    for index, image in enumerate(mesh_previews(mesh, cameras)):
        assert (image == mesh_preview(mesh, cameras[index : index + 1])).all()
    assert list(mesh_previews(mesh, cameras[:0])) == []


def test_normals_of_the_mesh_are_used_where_it_has_some() -> None:
    flat = quad(2.0, 0.5, (200, 200, 200))
    away = np.tile(np.array([0.0, 1.0, 0.0], np.float32), (4, 1))
    bent = Mesh(flat.vertices, flat.faces, away, flat.rgb)
    assert int(mesh_preview(bent, CAMERA)[15, 20, 0]) < int(mesh_preview(flat, CAMERA)[15, 20, 0]) - 20


def test_more_than_one_camera_is_refused() -> None:
    with pytest.raises(UsageError, match="one camera"):
        mesh_preview(quad(2.0, 0.5, (0, 0, 0)), CAMERA[:0])
    with pytest.raises(UsageError, match="supersampling"):
        mesh_preview(quad(2.0, 0.5, (0, 0, 0)), CAMERA, supersampling=0)
