from __future__ import annotations

import numpy as np
import pytest

from recon3d.render.mesh.statistics import mesh_statistics
from recon3d.render.mesh.types import Mesh

CORNERS = np.array([[x, y, z] for x in (0, 2) for y in (0, 3) for z in (0, 4)], np.float32)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
FACES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))], np.int32)


def test_a_box_is_measured_exactly() -> None:
    found = mesh_statistics(Mesh(CORNERS, FACES))
    assert (found.n_vertices, found.n_faces, found.n_components) == (8, 12, 1)
    assert found.extent == (2.0, 3.0, 4.0)
    assert found.area == pytest.approx(2 * (6 + 8 + 12))
    assert abs(found.volume) == pytest.approx(24.0)
    assert found.is_watertight and found.n_boundary_edges == 0


def test_a_missing_face_opens_it() -> None:
    found = mesh_statistics(Mesh(CORNERS, FACES[1:]))
    assert not found.is_watertight
    assert (found.n_boundary_edges, found.volume) == (3, 0.0)


def test_a_face_turned_over_is_not_watertight() -> None:
    faces = FACES.copy()
    faces[0] = faces[0, ::-1]
    assert not mesh_statistics(Mesh(CORNERS, faces)).is_watertight


def test_parts_and_unused_vertices() -> None:
    both = Mesh(
        np.concatenate([CORNERS, CORNERS + 10, [[99, 99, 99]]]).astype(np.float32), np.concatenate([FACES, FACES + 8])
    )
    found = mesh_statistics(both)
    assert (found.n_vertices, found.n_components) == (16, 2)
    assert found.extent == (12.0, 13.0, 14.0)


def test_no_faces_are_no_surface() -> None:
    found = mesh_statistics(Mesh(CORNERS, np.zeros((0, 3), np.int32)))
    assert (found.n_faces, found.n_components, found.area, found.is_watertight) == (0, 0, 0.0, False)
