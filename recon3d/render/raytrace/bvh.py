"""A bounding volume hierarchy over triangles: nearest hits and visibility of batches of rays, on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Integer

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.core.kernels import run_chunks
from recon3d.render.raytrace.bvh_nodes import Nodes, fill, pack
from recon3d.render.raytrace.bvh_tree import build_tree
from recon3d.render.raytrace.traversal import any_hits, closest_hits

_CHUNK = 4096  # rays of one call of a kernel


class Hits(NamedTuple):
    """What rays hit first.

    Args:
        face: index of the face, -1 = none, ``[n]``.
        t: distance in lengths of the direction, infinity = no hit, ``[n]``.
        uv: weights of the face's second and third vertex at the hit; the first one weighs ``1 - u - v``, ``[n,2]``.
    """

    face: Int32[np.ndarray, " n"]
    t: Float32[np.ndarray, " n"]
    uv: Float32[np.ndarray, "n 2"]


class Bvh:
    """Triangles, arranged for rays.

    A ray hits a triangle from either side, at distances in the open interval (t_min, t_max). Triangles with two equal
    corners are never hit. A ray with a NaN, an infinite origin or direction, or no direction hits nothing, and so does
    one that starts farther than 10^12 sizes of the mesh from it. No ray slips between triangles that share an edge or
    a corner.
    All results are the same for any number of threads.

    Args:
        vertices: positions, ``[v,3]``; they are rounded to float32.
        faces: vertex indices, ``[f,3]``; there may be none.

    Raises:
        ShapeError: the arrays have other shapes, or a face names a vertex that is not there.
        InputError: a vertex of a face is not finite in float32.
    """

    def __init__(self, vertices: Float[np.ndarray, "v 3"], faces: Integer[np.ndarray, "f 3"]) -> None:
        self._faces = _checked_faces(faces, len(vertices))
        self._n_vertices = len(vertices)
        corners, self._size = _scaled(_corners(vertices, self._faces))
        self._nodes = pack(build_tree(corners.min(axis=1), corners.max(axis=1)))
        fill(self._nodes, corners)

    @property
    def nodes(self) -> Nodes:
        """The packed hierarchy, in sizes of the mesh."""
        return self._nodes

    def refit(self, vertices: Float[np.ndarray, "v 3"]) -> None:
        """Move the vertices; the arrangement of the triangles stays, so that this is fast, and slower rays the price.

        Args:
            vertices: new positions of all vertices, ``[v,3]``.

        Raises:
            ShapeError: another number of vertices.
            InputError: a vertex of a face is not finite in float32.
        """
        if vertices.shape != (self._n_vertices, 3):
            raise ShapeError("a refit takes the same vertices", got=vertices.shape, expected=(self._n_vertices, 3))
        corners, self._size = _scaled(_corners(vertices, self._faces))
        fill(self._nodes, corners)

    def closest_hit(
        self,
        origins: Float[np.ndarray, "n 3"],
        directions: Float[np.ndarray, "n 3"],
        t_min: float | Float[np.ndarray, " n"] = 0.0,
        t_max: float | Float[np.ndarray, " n"] = np.inf,
    ) -> Hits:
        """Return the first triangle along every ray; where several are equally near, the one with the least index.

        Args:
            origins: where rays start, ``[n,3]``; rounded to float32 like everything here.
            directions: of any length, ``[n,3]``.
            t_min: hits must be farther, for all rays or ``[n]``; not negative.
            t_max: hits must be nearer, for all rays or ``[n]``.

        Raises:
            ShapeError: the arrays do not agree.
            UsageError: a negative or NaN bound.
        """
        origins, directions, near, far = _checked_rays(origins, directions, t_min, t_max)
        n = len(origins)
        hits = Hits(np.empty(n, np.int32), np.empty(n, np.float32), np.empty((n, 2), np.float32))
        nodes, links = self._nodes, self._nodes.boxes.view(np.int32)

        def work(chunk: int) -> None:
            start, stop = chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)
            tree = (nodes.boxes, links, nodes.blocks, nodes.faces, self._size)
            closest_hits(*tree, origins, directions, near, far, *hits, start, stop)

        run_chunks(work, -(-n // _CHUNK))
        return hits

    def any_hit(
        self,
        origins: Float[np.ndarray, "n 3"],
        directions: Float[np.ndarray, "n 3"],
        t_min: float | Float[np.ndarray, " n"] = 0.0,
        t_max: float | Float[np.ndarray, " n"] = np.inf,
    ) -> Bool[np.ndarray, " n"]:
        """Return whether every ray hits something; faster than :meth:`closest_hit`, with the same arguments."""
        origins, directions, near, far = _checked_rays(origins, directions, t_min, t_max)
        n = len(origins)
        found = np.empty(n, np.bool_)
        nodes, links = self._nodes, self._nodes.boxes.view(np.int32)

        def work(chunk: int) -> None:
            start, stop = chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)
            tree = (nodes.boxes, links, nodes.blocks, self._size)
            any_hits(*tree, origins, directions, near, far, found, start, stop)

        run_chunks(work, -(-n // _CHUNK))
        return found


def _checked_faces(faces: Integer[np.ndarray, "f 3"], n_vertices: int) -> Int32[np.ndarray, "f 3"]:
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ShapeError("faces have three vertices", got=faces.shape, expected="[f,3]")
    wrong = faces[(faces < 0) | (faces >= n_vertices)]
    if wrong.size:
        raise ShapeError("a face names a vertex that is not there", got=int(wrong[0]), expected=f"0..{n_vertices - 1}")
    return faces.astype(np.int32)


def _corners(vertices: Float[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> Float32[np.ndarray, "f 3 3"]:
    """Return the vertices of all faces in float32."""
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ShapeError("vertices have three coordinates", got=vertices.shape, expected="[v,3]")
    with np.errstate(over="ignore"):
        corners = vertices.astype(np.float32)[faces]
    if not np.isfinite(corners).all():
        face, corner, _ = np.argwhere(~np.isfinite(corners))[0]
        vertex = int(faces[face, corner])
        raise InputError(
            f"vertex {vertex} of face {face} is not finite in float32",
            got=vertices[vertex].tolist(),
            fix="remove the faces of such vertices",
        )
    return np.asarray(corners)


def _scaled(corners: Float32[np.ndarray, "f 3 3"]) -> tuple[Float32[np.ndarray, "f 3 3"], int]:
    """Return the corners divided by a power of two so that the largest magnitude is in [1/2,1), and its exponent."""
    largest = float(np.abs(corners).max(initial=0.0))
    size = int(np.frexp(largest)[1])
    return np.ldexp(corners.astype(np.float64), -size).astype(np.float32), size


def _checked_rays(
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    t_min: float | Float[np.ndarray, " n"],
    t_max: float | Float[np.ndarray, " n"],
) -> tuple[
    Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"], Float32[np.ndarray, " n"], Float32[np.ndarray, " n"]
]:
    """Return the rays as contiguous float32."""
    n = len(origins)
    if origins.shape != (n, 3) or directions.shape != (n, 3):
        raise ShapeError("rays do not agree", got=f"{origins.shape}, {directions.shape}", expected="[n,3] twice")
    bounds = []
    for name, value in (("t_min", t_min), ("t_max", t_max)):
        if np.shape(value) not in ((), (n,)):
            raise ShapeError(f"{name} is one number or one for every ray", got=np.shape(value), expected=f"[{n}]")
        with np.errstate(over="ignore"):
            bound = np.broadcast_to(np.asarray(value, np.float32), (n,))
        if not (bound >= 0).all():
            raise UsageError(f"{name} must not be negative or NaN", got=float(bound[~(bound >= 0)][0]))
        bounds.append(np.ascontiguousarray(bound))
    with np.errstate(over="ignore", invalid="ignore"):
        starts, ways = (np.ascontiguousarray(array, dtype=np.float32) for array in (origins, directions))
    return starts, ways, bounds[0], bounds[1]
