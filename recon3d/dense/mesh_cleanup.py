"""Cleaning of triangle meshes: small pieces, degenerate and doubled faces, vertex normals."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

_HULL_STEPS = 20  # a vertex outside several planes is moved onto one after the other
_HULL_CHUNK = 4096


def face_components(faces: Int[np.ndarray, "f 3"], n_vertices: int) -> Int64[np.ndarray, " f"]:
    """Return the number of the connected piece that each face belongs to, ``[f]``.

    Args:
        faces: vertex indices, ``[f,3]``.
        n_vertices: number of vertices.
    """
    if len(faces) == 0:
        return np.zeros(0, np.int64)
    ends = np.concatenate([faces[:, :2], faces[:, 1:]]).astype(np.int64)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(n_vertices, n_vertices))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels[faces[:, 0]], np.int64)


def large_components(
    faces: Int[np.ndarray, "f 3"], n_vertices: int, min_share: float, min_faces: int
) -> Bool[np.ndarray, " f"]:
    """Return which faces belong to a piece that is worth keeping, ``[f]``; the largest piece always is.

    Args:
        faces: vertex indices, ``[f,3]``.
        n_vertices: number of vertices.
        min_share: least number of faces as a share of the largest piece.
        min_faces: least number of faces.
    """
    labels = face_components(faces, n_vertices)
    if len(labels) == 0:
        return np.zeros(0, bool)
    sizes = np.bincount(labels)
    keep = (sizes >= min_share * sizes.max()) & (sizes >= min_faces)
    keep[sizes.argmax()] = True
    return np.asarray(keep[labels])


def sound_faces(faces: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, " f"]:
    """Return which faces have three different corners and are the first of their corners, in any order, ``[f]``."""
    sound = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    new = np.zeros(len(faces), bool)
    new[first] = True
    return np.asarray(sound & new)


def used_vertices(
    faces: Int[np.ndarray, "f 3"], n_vertices: int
) -> tuple[Int64[np.ndarray, " v"], Int32[np.ndarray, "f 3"]]:
    """Return the rows of the vertices that faces use, in their order, and the faces renumbered to them."""
    used = np.zeros(n_vertices, bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    return np.flatnonzero(used), number[faces].astype(np.int32).reshape(-1, 3)


def boundary_edges(faces: Int[np.ndarray, "f 3"]) -> Int64[np.ndarray, "e 2"]:
    """Return the edges that do not lie between exactly two faces, ``[e,2]``; none = the mesh is watertight."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64), axis=1)
    distinct, counts = np.unique(edges, axis=0, return_counts=True)
    return np.asarray(distinct[counts != 2], np.int64)


def into_hull(vertices: Float64[np.ndarray, "v 3"], seen: Float64[np.ndarray, "s 3"]) -> Float64[np.ndarray, "v 3"]:
    """Return vertices with those outside the convex hull of other points moved onto it, ``[v,3]``.

    Args:
        vertices: of a surface that was made up in part, ``[v,3]``.
        seen: points that were measured, ``[s,3]``; where they lie in a plane nothing moves.
    """
    try:
        planes = ConvexHull(seen).equations
    except (QhullError, ValueError):  # fewer than four points, or flat
        return vertices
    moved = vertices.copy()
    outside = np.arange(len(vertices))
    for _ in range(_HULL_STEPS):
        kept = []
        for rows in np.array_split(outside, max(1, len(outside) // _HULL_CHUNK)):
            beyond = moved[rows] @ planes[:, :3].T + planes[:, 3]
            worst = beyond.argmax(axis=1)
            distance = beyond[np.arange(len(rows)), worst]
            out = distance > 1e-9
            moved[rows[out]] -= distance[out, None] * planes[worst[out], :3]
            kept.append(rows[out])
        outside = np.concatenate(kept)
        if not len(outside):
            break
    return moved
