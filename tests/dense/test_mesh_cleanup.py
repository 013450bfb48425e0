"""Cleaning of meshes on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from recon3d.dense.mesh_cleanup import (
    boundary_edges,
    face_components,
    into_hull,
    large_components,
    sound_faces,
    used_vertices,
)
from recon3d.render.mesh.normals import vertex_normals

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32)
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)


def test_pieces_are_told_apart() -> None:
    faces = np.concatenate([TETRAHEDRON, TETRAHEDRON[:2] + 4])
    labels = face_components(faces, 8)
    assert len(set(labels[:4])) == len(set(labels[4:])) == 1
    assert labels[0] != labels[4]
    assert len(face_components(faces[:0], 8)) == 0


def test_small_pieces_go_and_the_largest_stays() -> None:
    faces = np.concatenate([TETRAHEDRON, TETRAHEDRON[:2] + 4, TETRAHEDRON[:1] + 8])
    assert large_components(faces, 12, 0.5, 0).tolist() == [True] * 6 + [False]
    assert large_components(faces, 12, 0.0, 3).tolist() == [True] * 4 + [False] * 3
    assert large_components(faces, 12, 0.0, 100).tolist() == [True] * 4 + [False] * 3
    assert len(large_components(faces[:0], 12, 0.5, 0)) == 0


def test_degenerate_and_doubled_faces() -> None:
    faces = np.array([[0, 1, 2], [2, 0, 1], [1, 0, 2], [3, 3, 1], [1, 2, 3]], np.int32)
    assert sound_faces(faces).tolist() == [True, False, False, False, True]


def test_vertices_are_renumbered() -> None:
    rows, faces = used_vertices(np.array([[5, 2, 9], [9, 2, 7]], np.int32), 12)
    assert rows.tolist() == [2, 5, 7, 9]
    assert rows[faces].tolist() == [[5, 2, 9], [9, 2, 7]]
    rows, faces = used_vertices(np.zeros((0, 3), np.int32), 5)
    assert (len(rows), faces.shape) == (0, (0, 3))


def test_open_edges() -> None:
    assert len(boundary_edges(TETRAHEDRON)) == 0
    assert sorted(map(tuple, boundary_edges(TETRAHEDRON[1:]).tolist())) == [(0, 1), (0, 2), (1, 2)]


def test_normals_point_outwards_and_ignore_how_faces_are_cut() -> None:
    normals = vertex_normals(CORNERS, TETRAHEDRON)
    inside = CORNERS.mean(axis=0)
    assert ((CORNERS - inside) * normals).sum(1).min() > 0
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64)
    for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]]):
        assert np.allclose(vertex_normals(square, np.array(faces, np.int32)), (0, 0, 1))
    assert np.isfinite(vertex_normals(square, np.zeros((0, 3), np.int32))).all()


@given(st.integers(0, 1000))
def test_normals_are_unit_whatever_the_mesh(seed: int) -> None:
    generator = np.random.default_rng(seed)
    vertices, faces = generator.normal(size=(20, 3)), generator.integers(0, 20, (30, 3)).astype(np.int32)
    assert np.allclose(np.linalg.norm(vertex_normals(vertices, faces), axis=1), 1, atol=1e-5)


@given(st.integers(0, 10_000))
def test_what_was_made_up_ends_on_the_hull_of_what_was_seen(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    vertices = random.normal(size=(60, 3)) * 1.5
    found = into_hull(vertices, np.concatenate([corners, random.uniform(-1, 1, (40, 3))]))
    np.testing.assert_allclose(found, np.clip(vertices, -1, 1), atol=1e-8)
    inside = (np.abs(vertices) <= 1).all(axis=1)
    assert (found[inside] == vertices[inside]).all()


def test_points_without_a_volume_move_nothing() -> None:
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.5, 0.2, 0]], np.float64)
    for seen in (flat, flat[:2], np.zeros((0, 3))):
        assert (into_hull(CORNERS, seen) == CORNERS).all()
    assert into_hull(np.zeros((0, 3)), CORNERS).shape == (0, 3)
