"""Meshes with fewer vertices, and values spread over a mesh."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float32, Float64, Int32

from recon3d.core.errors import InputError
from recon3d.render.mesh.normals import normals_of
from recon3d.render.mesh.types import Mesh

_TRIES = 8
_SPREAD = 400
_SMOOTHINGS, _SAME_WAY = 12, 0.15  # times, and 1 - cosine up to which normals count as alike
_CLEAN_DEG, _ROUGH_DEG = 0.75, 1.5  # off the mean of the neighbours: nothing, or everything, is done


def simplified(mesh: Mesh, max_vertices: int) -> Mesh:
    """Return a mesh of at most about so many vertices: those of one cell of a grid become their mean; with normals.

    Args:
        mesh: the mesh; its material is left out.
        max_vertices: how many; a mesh with fewer keeps all that its faces use.

    Raises:
        InputError: no face is left.

    Source: Rossignac and Borrel, "Multi-resolution 3D approximations for rendering complex scenes", 1993.
    """
    used = np.unique(mesh.faces)
    if len(used) <= max_vertices:
        number = np.zeros(len(mesh.vertices), np.int32)
        number[used] = np.arange(len(used), dtype=np.int32)
        normals = None if mesh.normals is None else mesh.normals[used]
        return _with_normals(mesh.vertices[used], number[mesh.faces], normals)
    cell = float(np.sqrt(area_of(mesh) / max_vertices))
    for _ in range(_TRIES):
        vertices, faces = _clustered(mesh, cell)
        if len(vertices) <= max_vertices:
            break
        cell *= 1.05 * float(np.sqrt(len(vertices) / max_vertices))
    if not len(faces):
        raise InputError(
            "the mesh has too many small parts to be simplified", fix="remove them, or allow more vertices"
        )
    return _with_normals(vertices, faces, None)


def area_of(mesh: Mesh) -> float:
    """Return the area of the faces."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(across, axis=1).sum() / 2)


def _clustered(mesh: Mesh, cell: float) -> tuple[Float32[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]:
    keys = np.floor(mesh.vertices / cell).astype(np.int64)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    count = np.bincount(group)
    mean = np.stack([np.bincount(group, mesh.vertices[:, axis]) for axis in range(3)], 1) / count[:, None]
    faces = group[mesh.faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[whole]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    faces = faces[np.sort(first)]
    used, number = np.unique(faces, return_inverse=True)
    return mean[used].astype(np.float32), number.reshape(-1, 3).astype(np.int32)


def _with_normals(
    vertices: Float32[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"], normals: Float32[np.ndarray, "v 3"] | None
) -> Mesh:
    return Mesh(vertices, faces, normals_of(Mesh(vertices, faces, normals)))


def smoothed_normals(mesh: Mesh) -> Mesh:
    """Return the mesh with normals that are means over their surroundings, as far as these face the same way.

    Depth maps leave a surface rough at the scale of their pixels, which light shows mercilessly. How often means are
    taken depends on how far normals are off the mean of their neighbours: a clean mesh stays as it is, and so do edges.

    Args:
        mesh: with normals.

    Source: Jones, Durand and Desbrun, "Non-iterative, feature-preserving mesh smoothing", 2003, for the weights.
    """
    normals = normals_of(mesh).astype(np.float64)
    near = _adjacency(mesh.faces, len(mesh.vertices)).tocoo()
    first, second = near.row, near.col
    n_smoothings = 0
    for done in range(_SMOOTHINGS):
        alike = np.exp(-(1 - (normals[first] * normals[second]).sum(axis=1)) / _SAME_WAY)
        around = np.stack([np.bincount(first, alike * normals[second, k], len(normals)) for k in range(3)], 1)
        if done == 0:
            n_smoothings = _wanted_smoothings(normals, around)
        if done >= n_smoothings:
            break
        normals = _unit(normals + around)
    return Mesh(mesh.vertices, mesh.faces, normals.astype(np.float32))


def _wanted_smoothings(normals: Float64[np.ndarray, "v 3"], around: Float64[np.ndarray, "v 3"]) -> int:
    """Return how often to take means: curvature alone turns a normal hardly off the mean of those around."""
    off = np.degrees(np.arccos(np.clip(np.median((normals * _unit(around)).sum(axis=1)), -1, 1)))
    return int(np.clip((off - _CLEAN_DEG) / (_ROUGH_DEG - _CLEAN_DEG), 0, 1) * _SMOOTHINGS)


def _unit(vectors: Float64[np.ndarray, "v 3"]) -> Float64[np.ndarray, "v 3"]:
    unit: Float64[np.ndarray, "v 3"] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def _adjacency(faces: Int32[np.ndarray, "f 3"], n_vertices: int) -> scipy.sparse.csr_matrix:
    """Return which vertices share an edge: 1, else 0."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([ends, ends[:, ::-1]])
    near = scipy.sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (n_vertices, n_vertices))
    near.data[:] = 1.0
    return near


def spread(
    values: Float32[np.ndarray, "v c"], known: Bool[np.ndarray, " v"], faces: Int32[np.ndarray, "f 3"]
) -> Float32[np.ndarray, "v c"]:
    """Return the values with those that are not known replaced by means over their neighbours, again and again.

    Parts of the mesh where nothing is known get the mean of all that is.

    Args:
        values: of the vertices, ``[v,c]``.
        known: which of them count, ``[v]``.
        faces: of the mesh, ``[f,3]``.
    """
    if known.all() or not known.any():
        return values
    near = _adjacency(faces, len(values))
    out = np.where(known[:, None], values, values[known].mean(axis=0)).astype(np.float64)
    reached = known.astype(np.float64)
    for _ in range(_SPREAD):
        weight = np.asarray(near @ reached)
        mean = np.asarray(near @ (out * reached[:, None])) / np.maximum(weight, 1e-300)[:, None]
        change = ~known & (weight > 0)
        out[change] = mean[change]
        reached = np.maximum(reached, weight > 0)
    return out.astype(np.float32)
