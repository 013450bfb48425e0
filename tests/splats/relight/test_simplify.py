"""Facts of meshes with fewer vertices, and of values spread over a mesh."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recon3d.core.errors import InputError
from recon3d.render.mesh import Mesh
from recon3d.render.mesh.normals import vertex_normals
from recon3d.splats.relight.simplify import area_of, simplified, smoothed_normals, spread
from tests.support.relight_scenes import ball_mesh, sheet, together


@pytest.mark.parametrize("most", [100, 400, 1500])
def test_a_ball_keeps_its_shape(most: int) -> None:
    mesh = ball_mesh(40)
    small = simplified(mesh, most)
    assert most / 4 < len(small.vertices) <= most
    assert area_of(small) == pytest.approx(4 * math.pi, rel=0.15)
    radius = np.linalg.norm(small.vertices, axis=1)
    assert radius.min() > 0.8 and radius.max() < 1.0 + 1e-5
    outward = (small.vertices / radius[:, None] * small.normals).sum(1)
    assert outward.min() > 0.7


def test_bounds_stay_within_a_cell() -> None:
    mesh = ball_mesh(40)
    small = simplified(mesh, 1000)
    cell = 2 * math.sqrt(4 * math.pi / 1000)
    np.testing.assert_allclose(small.vertices.min(0), mesh.vertices.min(0), atol=cell)
    np.testing.assert_allclose(small.vertices.max(0), mesh.vertices.max(0), atol=cell)


def test_a_plane_stays_a_plane() -> None:
    small = simplified(sheet(40, 1.0, 0.3), 200)
    np.testing.assert_allclose(small.vertices[:, 2], 0.3, atol=1e-6)
    np.testing.assert_allclose(small.normals, np.tile([0, 0, 1.0], (len(small.vertices), 1)), atol=1e-6)
    assert area_of(small) == pytest.approx(4.0, rel=0.3)


def test_every_vertex_is_the_mean_of_some_and_every_one_is_used() -> None:
    small = simplified(ball_mesh(30), 300)
    assert set(small.faces.reshape(-1).tolist()) == set(range(len(small.vertices)))
    corners = np.sort(small.faces, axis=1)
    assert (corners[:, 0] < corners[:, 1]).all() and (corners[:, 1] < corners[:, 2]).all()
    assert len(np.unique(corners, axis=0)) == len(corners)


def test_faces_keep_their_sides() -> None:
    small = simplified(ball_mesh(30), 300)
    a, b, c = (small.vertices[small.faces[:, k]] for k in range(3))
    assert ((np.cross(b - a, c - a) * (a + b + c)).sum(1) > 0).mean() > 0.99


def test_what_would_vanish_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Specks that do not hang together have no face left when each of them becomes one vertex."""
    places = np.stack(np.meshgrid(*[np.arange(5) + 0.3] * 3), -1).reshape(-1, 1, 3)
    corners = places + 1e-3 * np.eye(3)
    specks = Mesh(corners.reshape(-1, 3).astype(np.float32), np.arange(375, dtype=np.int32).reshape(-1, 3))
    monkeypatch.setattr("recon3d.splats.relight.simplify.area_of", lambda mesh: 100.0)  # cells of 1
    with pytest.raises(InputError, match="too many small parts"):
        simplified(specks, 100)


def test_distant_parts_stay_apart() -> None:
    small = simplified(together(ball_mesh(20, 0.5, (-3.0, 0, 0)), ball_mesh(20, 0.5, (3.0, 0, 0))), 300)
    side = np.sign(small.vertices[:, 0])[small.faces]
    assert (np.abs(side.sum(1)) == 3).all()
    assert set(side[:, 0]) == {-1.0, 1.0}


def test_a_small_mesh_stays_as_it_is() -> None:
    mesh = ball_mesh(6)
    same = simplified(mesh, len(mesh.vertices))
    np.testing.assert_array_equal(same.vertices, mesh.vertices)
    np.testing.assert_array_equal(same.faces, mesh.faces)
    np.testing.assert_array_equal(same.normals, mesh.normals)


def test_what_no_face_uses_is_left_out() -> None:
    mesh = sheet(2, 1.0, 0.0)
    more = Mesh(np.concatenate([np.float32([[9, 9, 9]]), mesh.vertices]), mesh.faces + np.int32(1))
    for most in (9, 100):
        small = simplified(more, most)
        np.testing.assert_array_equal(small.vertices, mesh.vertices)
        np.testing.assert_array_equal(small.faces, mesh.faces)


def test_normals_are_made_where_there_are_none() -> None:
    mesh = Mesh(ball_mesh(6).vertices, ball_mesh(6).faces)
    small = simplified(mesh, 1000)
    np.testing.assert_array_equal(small.normals, vertex_normals(mesh.vertices, mesh.faces))


def test_materials_are_left_out() -> None:
    mesh = ball_mesh(6)
    coloured = Mesh(mesh.vertices, mesh.faces, mesh.normals, np.zeros((len(mesh.vertices), 3), np.uint8))
    assert simplified(coloured, 1000).rgb is None


def test_the_same_mesh_gives_the_same_bits() -> None:
    one, two = simplified(ball_mesh(30), 250), simplified(ball_mesh(30), 250)
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.faces, two.faces)


def tilted(mesh: Mesh, by: float, seed: int = 0) -> Mesh:
    """The mesh with normals that are off at random."""
    noise = np.random.default_rng(seed).normal(0, by, mesh.vertices.shape)
    off = mesh.normals + noise
    return Mesh(mesh.vertices, mesh.faces, (off / np.linalg.norm(off, axis=1, keepdims=True)).astype(np.float32))


def degrees_off(mesh: Mesh, truth: Mesh) -> float:
    return math.degrees(np.arccos(np.clip((mesh.normals * truth.normals).sum(1), -1, 1)).mean())


def test_noise_of_normals_is_smoothed_away() -> None:
    truth = ball_mesh(24)
    rough = tilted(truth, 0.1)
    smooth = smoothed_normals(rough)
    assert degrees_off(smooth, truth) < 0.35 * degrees_off(rough, truth)
    np.testing.assert_allclose(np.linalg.norm(smooth.normals, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(smooth.vertices, truth.vertices)
    np.testing.assert_array_equal(smooth.faces, truth.faces)


def test_right_normals_stay() -> None:
    """The curvature of a fine ball is not taken for noise."""
    np.testing.assert_array_equal(smoothed_normals(ball_mesh(24)).normals, ball_mesh(24).normals)
    flat = simplified(sheet(5, 1.0, 0.0), 100)
    np.testing.assert_allclose(smoothed_normals(flat).normals, flat.normals, atol=1e-7)


def test_an_edge_stays_an_edge() -> None:
    """Two sheets at a right angle that share vertices: rows beside the fold face as they did, within degrees."""
    bent = sheet(12, 1.0, 0.0)
    up = np.maximum(bent.vertices[:, 0], 0)
    fold = Mesh(np.stack([np.minimum(bent.vertices[:, 0], 0), bent.vertices[:, 1], up], 1), bent.faces)
    got = smoothed_normals(fold).normals
    beside = np.abs(bent.vertices[:, 0]) > 0.3
    want = np.where(bent.vertices[:, :1] < 0, np.float32([0, 0, 1]), np.float32([-1, 0, 0]))
    assert (got * want).sum(1)[beside].min() > math.cos(math.radians(12))


def test_smoothing_makes_normals_where_there_are_none() -> None:
    bare = Mesh(ball_mesh(24).vertices, ball_mesh(24).faces)
    assert degrees_off(smoothed_normals(bare), ball_mesh(24)) < 3.0


def strip(n: int) -> np.ndarray:
    """Faces of a strip of triangles."""
    first = np.arange(n - 2)
    return np.stack([first, first + 1, first + 2], 1).astype(np.int32)


def test_gaps_are_filled_between_their_ends() -> None:
    """Without a source in between, values are means of what is around: they rise from one end to the other."""
    known = np.zeros(12, np.bool_)
    known[[0, 1, 10, 11]] = True
    values = np.zeros((12, 2), np.float32)
    values[[10, 11]] = [[1.0, 3.0]]
    got = spread(values, known, strip(12))
    assert (np.diff(got[:, 0])[1:-1] > 0).all()
    np.testing.assert_allclose(got[:, 1], 3 * got[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(got[known], values[known])
    np.testing.assert_allclose(got[:, 0] + got[::-1, 0], 1, atol=1e-4)


def test_what_is_filled_is_the_mean_of_its_neighbours() -> None:
    mesh = sheet(6, 1.0, 0.0)
    rng = np.random.default_rng(0)
    values = rng.random((49, 1)).astype(np.float32)
    known = rng.random(49) < 0.5
    got = spread(values, known, mesh.faces)
    ends = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    ends = np.concatenate([ends, ends[:, ::-1]])
    ends = np.unique(ends, axis=0)
    total, count = np.zeros(49), np.bincount(ends[:, 0], minlength=49)
    np.add.at(total, ends[:, 0], got[ends[:, 1], 0])
    np.testing.assert_allclose(got[~known, 0], (total / count)[~known], atol=1e-5)


def test_parts_where_nothing_is_known_get_the_mean() -> None:
    faces = np.concatenate([strip(4), strip(4) + np.int32(4)])
    known = np.array([1, 1, 0, 0, 0, 0, 0, 0], np.bool_)
    values = np.float32([[1], [3], [9], [9], [9], [9], [9], [9]])
    got = spread(values, known, faces)
    np.testing.assert_allclose(got[4:], 2.0)
    assert ((got[2:4] >= 1) & (got[2:4] <= 3)).all()


def test_nothing_to_do() -> None:
    values = np.float32([[1], [2], [3]])
    for known in (np.ones(3, np.bool_), np.zeros(3, np.bool_)):
        np.testing.assert_array_equal(spread(values, known, strip(3)), values)


def test_unknown_values_do_not_matter() -> None:
    known = np.array([1, 0, 0, 1, 0, 1], np.bool_)
    one = np.arange(6, dtype=np.float32)[:, None]
    two = np.where(known[:, None], one, 1e6).astype(np.float32)
    np.testing.assert_array_equal(spread(one, known, strip(6)), spread(two, known, strip(6)))
