"""Meshes: what their type refuses, what files refuse, and what their numbers follow when they move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from random_scenes import unchecked
from scipy.spatial.transform import Rotation

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.formats.ply import write_ply
from recon3d.render.mesh import Mesh, load_mesh, mesh_statistics, save_mesh
from recon3d.render.mesh.normals import normals_of
from recon3d.render.mesh.preview import rasterize_faces

CORNERS = np.eye(3, dtype=np.float32)
FACE = np.array([[0, 1, 2]], np.int32)
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
)
PLAIN = np.eye(3)  # a pixel per unit at a depth of one


@pytest.mark.parametrize(("index", "got"), [(3, 3), (-1, -1), (2**31 - 1, 2**31 - 1)])
def test_a_face_must_name_vertices_that_are_there(index: int, got: int) -> None:
    faces = np.array([[0, 1, 2], [0, index, 1]], np.int32)
    with pytest.raises(ShapeError, match=rf"names a vertex that is not there; got: {got}; expected: 0\.\.2"):
        Mesh(CORNERS, faces)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vertices", np.zeros((3, 2), np.float32)),
        ("faces", np.zeros((1, 4), np.int32)),
        ("normals", np.zeros((2, 3), np.float32)),
        ("rgb", np.zeros((3, 4), np.uint8)),
    ],
)
def test_arrays_must_agree(name: str, value: np.ndarray[Any, Any]) -> None:
    whole = {"vertices": CORNERS, "faces": FACE, "normals": None, "rgb": None}
    with pytest.raises(ShapeError, match=rf"Mesh\.{name} has the wrong shape"):
        unchecked(Mesh, **{**whole, name: value})


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
@pytest.mark.parametrize("field", ["vertices", "normals"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_file_is_written_that_could_not_be_read(tmp_path: Path, suffix: str, field: str, value: float) -> None:
    arrays = {"vertices": CORNERS.copy(), "normals": CORNERS.copy()}
    arrays[field][1, 1] = value
    with pytest.raises(UsageError, match=r"cannot write .*; got: numbers that are not finite"):
        save_mesh(tmp_path / f"a{suffix}", Mesh(faces=FACE, **arrays))
    assert not list(tmp_path.iterdir())


def test_vertices_without_a_face_survive_in_ply_only(tmp_path: Path) -> None:
    cloud = Mesh(CORNERS, np.zeros((0, 3), np.int32))
    save_mesh(tmp_path / "a.ply", cloud)
    assert np.array_equal(load_mesh(tmp_path / "a.ply").vertices, CORNERS)
    with pytest.raises(UsageError, match="0 faces"):
        save_mesh(tmp_path / "a.glb", cloud)


@pytest.mark.parametrize("index", [3, -1])
def test_faces_past_the_end_of_a_file_are_refused(tmp_path: Path, index: int) -> None:
    columns = {name: np.arange(3.0) for name in "xyz"}
    write_ply(tmp_path / "a.ply", columns, np.array([[0, 1, index]], np.int32))
    with pytest.raises(FormatError, match="points past its vertices"):
        load_mesh(tmp_path / "a.ply")


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_numbers_of_a_mesh_follow_its_motion(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=rng).as_matrix() * scale
    moved = Mesh((TETRAHEDRON.vertices @ turn.T + rng.normal(size=3)).astype(np.float32), TETRAHEDRON.faces)
    one, other = mesh_statistics(TETRAHEDRON), mesh_statistics(moved)
    assert one.volume == pytest.approx(1 / 6) and one.area == pytest.approx(1.5 + np.sqrt(0.75))
    assert other.volume == pytest.approx(one.volume * scale**3, rel=1e-3)
    assert other.area == pytest.approx(one.area * scale**2, rel=1e-4)
    assert (other.n_faces, other.n_components, other.is_watertight) == (4, 1, True)


def test_a_mesh_inside_out_has_a_negative_volume() -> None:
    turned = Mesh(TETRAHEDRON.vertices, np.ascontiguousarray(TETRAHEDRON.faces[:, ::-1]))
    assert mesh_statistics(turned).volume == pytest.approx(-1 / 6)


def test_three_faces_at_one_edge_are_not_watertight() -> None:
    doubled = Mesh(TETRAHEDRON.vertices, np.concatenate([TETRAHEDRON.faces, TETRAHEDRON.faces[:1]]))
    found = mesh_statistics(doubled)
    assert not found.is_watertight and found.n_boundary_edges == 0 and found.volume == 0


@settings(max_examples=40)
@given(st.integers(0, 100_000))
def test_no_pixel_falls_between_two_faces(seed: int) -> None:
    """Corners on pixel centres, so that the common edge runs through some; both faces in all orders of corners."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 30, (2, 2)) + 0.5
    along = b - a
    across = np.array([-along[1], along[0]])
    points = np.ones((4, 3))
    points[:, :2] = a, b, (a + b) / 2 + across * rng.uniform(0.3, 1), (a + b) / 2 - across * rng.uniform(0.3, 1)
    pixels = np.stack(np.meshgrid(np.arange(31) + 0.5, np.arange(31) + 0.5), -1) - a
    share = pixels @ along / max(float(along @ along), 1e-9)
    on_edge = (np.abs(pixels @ across) < 1e-9) & (share > 0.01) & (share < 0.99)
    for first in range(3):
        for second in range(3):
            faces = np.array([np.roll([0, 1, 2], first), np.roll([1, 0, 3], second)], np.int32)
            face, _ = rasterize_faces(points, faces, PLAIN, (31, 31))
            assert not (on_edge & (face < 0)).any()


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_faces_are_where_a_plain_test_puts_them(seed: int) -> None:
    """Barycentric weights by solving for them, pixel by pixel, in float64."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-5, -5, 1], [30, 25, 3], (3, 3))
    points[:, :2] *= points[:, 2:]
    face, weights = rasterize_faces(points, FACE, PLAIN, (26, 20))
    image = points[:, :2] / points[:, 2:]
    x, y = np.meshgrid(np.arange(26) + 0.5, np.arange(20) + 0.5)
    system = np.vstack([image.T, np.ones(3)])
    flat = np.linalg.solve(system, np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).T
    inside = (flat > 1e-9).all(1)
    assert ((face.ravel() == 0) == inside)[np.abs(flat).min(1) > 1e-9].all()
    solid = flat / points[:, 2]
    solid /= solid.sum(1, keepdims=True)
    np.testing.assert_allclose(weights.reshape(-1, 3)[inside], solid[inside], atol=1e-5)


def test_corners_far_away_and_faces_without_area_do_no_harm() -> None:
    far = np.array([[-1e12, -1e12, 1.0], [1e12, -1e12, 1.0], [0.0, 1e12, 1.0], [np.nan, 0, 1]])
    face, _ = rasterize_faces(far, np.array([[0, 1, 2], [0, 0, 1], [0, 1, 3]], np.int32), PLAIN, (5, 4))
    assert (face == 0).all()
    assert (rasterize_faces(far, np.array([[1, 1, 1]], np.int32), PLAIN, (5, 4))[0] == -1).all()


def test_of_faces_equally_near_the_first_one_counts() -> None:
    points = np.array([[-9.0, -9, 1], [40, -9, 1], [-9, 40, 1]])
    face, _ = rasterize_faces(points, np.repeat(FACE, 3, axis=0), PLAIN, (5, 4))
    assert (face == 0).all()


def test_sound_normals_of_a_mesh_are_kept_and_others_computed() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    given = np.array([[0, 0, 0], [np.nan, 0, 0], [0, 3, 4]], np.float32)
    np.testing.assert_allclose(
        normals_of(Mesh(vertices, faces, given)), [[0, 0, 1], [0, 0, 1], [0, 0.6, 0.8]], atol=1e-7
    )
    np.testing.assert_array_equal(normals_of(Mesh(vertices, faces)), [[0, 0, 1]] * 3)
