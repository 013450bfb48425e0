"""Numbers that describe a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from recon3d.render.mesh.types import Mesh


@dataclass(frozen=True)
class MeshStatistics:
    """What a mesh is like.

    Args:
        n_vertices: vertices.
        n_faces: triangles.
        area: of the surface, world units squared.
        extent: size along world x, y and z, world units.
        n_components: parts that share no vertex.
        is_watertight: every edge belongs to exactly two faces, which run along it in opposite directions.
        n_boundary_edges: edges of one face only.
        volume: enclosed volume in world units cubed; 0 where the mesh is not watertight.
    """

    n_vertices: int
    n_faces: int
    area: float
    extent: tuple[float, float, float]
    n_components: int
    is_watertight: bool
    n_boundary_edges: int
    volume: float


def mesh_statistics(mesh: Mesh) -> MeshStatistics:
    """Measure a mesh; vertices without a face do not count.

    Args:
        mesh: any triangle mesh.
    """
    faces = mesh.faces.astype(np.int64)
    corners = mesh.vertices.astype(np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    once, closed = _edges(faces, len(mesh.vertices))
    volume = float(np.einsum("ij,ij->i", corners[:, 0], normals).sum() / 6) if closed else 0.0
    used = corners.reshape(-1, 3)
    x, y, z = (float(value) for value in (np.ptp(used, axis=0) if len(used) else np.zeros(3)))
    return MeshStatistics(
        n_vertices=len(np.unique(faces)),
        n_faces=len(faces),
        area=float(np.linalg.norm(normals, axis=1).sum() / 2),
        extent=(x, y, z),
        n_components=_components(faces, len(mesh.vertices)),
        is_watertight=closed,
        n_boundary_edges=once,
        volume=volume,
    )


def _edges(faces: np.ndarray, n_vertices: int) -> tuple[int, bool]:
    """Return the number of edges of one face, and whether each edge has two faces that run along it both ways."""
    start, end = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    edge = np.minimum(start, end) * n_vertices + np.maximum(start, end)
    _, where, count = np.unique(edge, return_inverse=True, return_counts=True)
    direction = np.bincount(where.ravel(), weights=np.where(start < end, 1.0, -1.0), minlength=len(count))
    closed = len(count) > 0 and bool((count == 2).all() and (direction == 0).all())
    return int((count == 1).sum()), closed


def _components(faces: np.ndarray, n_vertices: int) -> int:
    if not len(faces):
        return 0
    rows, columns = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(n_vertices, n_vertices))
    labels = connected_components(graph, directed=False)[1]
    return len(np.unique(labels[faces[:, 0]]))
