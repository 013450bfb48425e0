"""Mesh clean-up against trimesh and brute force on random meshes, and what must not matter to it."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, strategies as st
from scipy.spatial.transform import Rotation

from recon3d.dense.mesh_cleanup import (
    boundary_edges,
    face_components,
    large_components,
    sound_faces,
    used_vertices,
)
from recon3d.render.mesh.normals import vertex_normals

seeds = st.integers(0, 10_000)
N = 24


def random_faces(seed: int, n: int = 18) -> np.ndarray:
    """Faces with three different corners."""
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(N)[:3] for _ in range(n)]).astype(np.int32)


@given(seeds)
def test_pieces_are_those_of_a_flood_over_shared_vertices(seed: int) -> None:
    faces = random_faces(seed, 9)
    labels = face_components(faces, N)
    group = list(range(len(faces)))
    for _ in faces:
        for i, one in enumerate(faces):
            for j, other in enumerate(faces):
                if set(one) & set(other):
                    group[i] = group[j] = min(group[i], group[j])
    assert ((labels[:, None] == labels) == (np.array(group)[:, None] == group)).all()


@pytest.mark.parametrize("shares", [(0.0, 0), (0.3, 0), (0.0, 10), (0.5, 50)])
def test_large_pieces_are_counted_in_faces(shares: tuple[float, int]) -> None:
    bodies = [trimesh.creation.icosphere(n) for n in (0, 1, 2)]  # 20, 80, 320 faces
    faces, start = [], 0
    for body in bodies:
        faces.append(body.faces + start)
        start += len(body.vertices)
    kept = large_components(np.concatenate(faces).astype(np.int32), start, *shares)
    wanted = [320 * shares[0] <= len(f) and len(f) >= shares[1] for f in faces]
    assert [kept[a : a + len(f)].all() for a, f in zip((0, 20, 100), faces, strict=True)] == wanted
    assert kept.sum() == sum(len(f) for f, keep in zip(faces, wanted, strict=True) if keep)


@given(seeds)
def test_sound_faces_keep_one_of_each_set_of_corners(seed: int) -> None:
    random = np.random.default_rng(seed)
    faces = random.integers(0, 5, (30, 3)).astype(np.int32)
    seen: set[frozenset[int]] = set()
    wanted = []
    for face in faces.tolist():
        corners = frozenset(face)
        wanted.append(len(corners) == 3 and corners not in seen)
        seen.add(corners)
    assert sound_faces(faces).tolist() == wanted


@given(seeds)
def test_renumbered_faces_name_the_same_points(seed: int) -> None:
    faces = random_faces(seed, 5)
    xyz = np.random.default_rng(seed).normal(size=(N, 3))
    rows, renumbered = used_vertices(faces, N)
    assert (xyz[rows][renumbered] == xyz[faces]).all()
    assert sorted(set(faces.ravel().tolist())) == rows.tolist()
    again, same = used_vertices(renumbered, len(rows))
    assert again.tolist() == list(range(len(rows))) and (same == renumbered).all()


@given(seeds)
def test_open_edges_are_counted_like_in_a_table(seed: int) -> None:
    faces = random_faces(seed)
    count: dict[tuple[int, int], int] = {}
    for a, b, c in faces.tolist():
        for edge in ((a, b), (b, c), (c, a)):
            key = (min(edge), max(edge))
            count[key] = count.get(key, 0) + 1
    assert sorted(map(tuple, boundary_edges(faces).tolist())) == sorted(k for k, n in count.items() if n != 2)


@pytest.mark.parametrize(
    "body", [trimesh.creation.icosphere(2), trimesh.creation.box(), trimesh.creation.torus(2, 0.5)]
)
def test_bodies_are_watertight_until_a_face_is_gone(body: trimesh.Trimesh) -> None:
    faces = np.asarray(body.faces, np.int32)
    assert len(boundary_edges(faces)) == 0 and len(set(face_components(faces, len(body.vertices)))) == 1
    assert len(boundary_edges(faces[1:])) == 3


@given(seeds)
def test_normals_are_the_sum_of_the_cross_products_around_a_vertex(seed: int) -> None:
    random = np.random.default_rng(seed)
    vertices, faces = random.normal(size=(N, 3)), random_faces(seed)
    total = np.zeros((N, 3))
    for a, b, c in faces:
        total[[a, b, c]] += np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
    length = np.linalg.norm(total, axis=1)
    touched = length > 1e-3
    found = vertex_normals(vertices, faces)
    np.testing.assert_allclose(found[touched], total[touched] / length[touched, None], atol=1e-5)
    assert (found[length == 0] == (0, 0, 1)).all()


@given(seeds)
def test_normals_turn_with_the_mesh_and_flip_with_its_faces(seed: int) -> None:
    vertices, faces = np.random.default_rng(seed).normal(size=(N, 3)), random_faces(seed)
    faces = faces[sound_faces(faces)]
    turn = Rotation.random(random_state=seed).as_matrix()
    used = np.unique(faces)
    plain = vertex_normals(vertices, faces)[used]
    np.testing.assert_allclose(vertex_normals(3 * vertices @ turn.T + 5, faces)[used], plain @ turn.T, atol=1e-4)
    np.testing.assert_allclose(vertex_normals(vertices, faces[:, ::-1])[used], -plain, atol=1e-5)


@pytest.mark.parametrize("radius", [1e-3, 1.0, 1e3])
def test_normals_of_a_sphere_are_radial(radius: float) -> None:
    body = trimesh.creation.icosphere(3, radius)
    found = vertex_normals(np.asarray(body.vertices), np.asarray(body.faces, np.int32))
    np.testing.assert_allclose(found, body.vertices / radius, atol=0.02)


def test_nothing_is_cleaned_to_nothing() -> None:
    none = np.zeros((0, 3), np.int32)
    assert len(face_components(none, 0)) == len(sound_faces(none)) == len(boundary_edges(none)) == 0
    assert vertex_normals(np.zeros((0, 3)), none).shape == (0, 3)
