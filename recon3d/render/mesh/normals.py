"""Normals of the vertices of a mesh."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int

from recon3d.render.mesh.types import Mesh

_SHORTEST = 1e-3


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float32[np.ndarray, "v 3"]:
    """Return the mean direction of the faces around each vertex, weighted by their area, ``[v,3]``.

    Args:
        vertices: positions, ``[v,3]``.
        faces: counter-clockwise seen from outside, ``[f,3]``.
    """
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros((len(vertices), 3))
    for axis in range(3):
        weights = np.repeat(across[:, axis], 3)
        total[:, axis] = np.bincount(faces.ravel(), weights=weights, minlength=len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1.0), (0.0, 0.0, 1.0)).astype(np.float32)


def normals_of(mesh: Mesh) -> Float32[np.ndarray, "v 3"]:
    """Return unit normals: those of a mesh where it has sound ones, else those of the faces around, ``[v,3]``.

    Args:
        mesh: the mesh.
    """
    found = vertex_normals(mesh.vertices, mesh.faces)
    if mesh.normals is None:
        return found
    given = mesh.normals.astype(np.float64)
    length = np.linalg.norm(given, axis=1, keepdims=True)
    good = np.isfinite(length) & (length > _SHORTEST)
    return np.where(good, given / np.where(good, length, 1.0), found).astype(np.float32)
