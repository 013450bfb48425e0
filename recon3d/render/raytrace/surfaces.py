"""All objects of a scene as one set of triangles, and what a hit says about the surface there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from recon3d.core.kernels import kernel
from recon3d.render.raytrace.scene import RenderObject
from recon3d.render.raytrace.vectors import cross, dot, minus, scaled, unit

_OFFSET = 4e-6  # how far rays start off a surface, relative to the largest coordinate of a triangle


class Triangles(NamedTuple):
    """The triangles of all objects.

    Args:
        corners: positions, ``[f,3,3]``.
        normals: unit normals at the corners, ``[f,3,3]``.
        uvs: texture coordinates at the corners, zero where there are none, ``[f,3,2]``.
        owner: index of the object, ``[f]``.
        turns: of objects: whether the surface is turned towards the viewer, ``[o]``.
        first: of objects: index of the first face, ``[o+1]``.
    """

    corners: Float32[np.ndarray, "f 3 3"]
    normals: Float32[np.ndarray, "f 3 3"]
    uvs: Float32[np.ndarray, "f 3 2"]
    owner: Int32[np.ndarray, " f"]
    turns: Bool[np.ndarray, " o"]
    first: Int32[np.ndarray, " p"]


class Surface(NamedTuple):
    """The surface at hits.

    Args:
        position: in the world, ``[n,3]``.
        flat: unit normals of the triangles, on the side that the shading normal says is outside, ``[n,3]``.
        frame: shading frames, rows are tangent, bitangent and normal, ``[n,3,3]``.
        wi: unit directions to where the rays came from, in the frames, ``[n,3]``.
        uv: texture coordinates, ``[n,2]``.
        owner: index of the object, ``[n]``.
        reach: the largest coordinate of the triangle, which its rounding errors are relative to, ``[n]``.
    """

    position: Float32[np.ndarray, "n 3"]
    flat: Float32[np.ndarray, "n 3"]
    frame: Float32[np.ndarray, "n 3 3"]
    wi: Float32[np.ndarray, "n 3"]
    uv: Float32[np.ndarray, "n 2"]
    owner: Int32[np.ndarray, " n"]
    reach: Float32[np.ndarray, " n"]

    def take(self, rows: Int64[np.ndarray, " m"]) -> Surface:
        """Return some of the rows, ``[m]``."""
        return Surface._make(field[rows] for field in self)


def merge(objects: Sequence[RenderObject], turns: Sequence[bool]) -> Triangles:
    """Return the triangles of all objects.

    Args:
        objects: what is in the scene.
        turns: which of them are turned towards the viewer.
    """
    uvs = [one.corner_uvs() for one in objects]
    empty = [np.zeros((len(one.mesh.faces), 3, 2), np.float32) for one in objects]
    sizes = [len(one.mesh.faces) for one in objects]
    return Triangles(
        np.concatenate([np.asarray(one.mesh.vertices, np.float32)[one.mesh.faces] for one in objects]),
        np.concatenate([one.corner_normals() for one in objects]),
        np.concatenate([none if uv is None else uv for uv, none in zip(uvs, empty, strict=True)]),
        np.repeat(np.arange(len(objects), dtype=np.int32), sizes),
        np.array(turns, np.bool_),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
    )


def surface_at(
    triangles: Triangles,
    face: Int32[np.ndarray, " n"],
    weights: Float32[np.ndarray, "n 2"],
    directions: Float32[np.ndarray, "n 3"],
) -> Surface:
    """Return the surface where rays hit it.

    The tangent of a frame follows u of the texture coordinates; where there are none, it is anywhere.

    Args:
        triangles: of the scene.
        face: what was hit, ``[n]``.
        weights: of the second and third corner, ``[n,2]``.
        directions: of the rays, of any length, ``[n,3]``.
    """
    n = len(face)
    shapes = [(n, 3), (n, 3), (n, 3, 3), (n, 3), (n, 2)]
    places = [np.empty(shape, np.float32) for shape in shapes]
    out = Surface._make([*places, np.empty(n, np.int32), np.empty(n, np.float32)])
    _fill(triangles[:5], face, weights, directions, tuple(out))
    return out


@kernel(order="written", inline=True)
@no_type_check
def _row(array, i, j):
    return array[i, j, 0], array[i, j, 1], array[i, j, 2]


@kernel(order="written", inline=True)
@no_type_check
def _mixed(array, i, u, v):
    """Return the weighted mean of three corners."""
    a, b, c = _row(array, i, 0), _row(array, i, 1), _row(array, i, 2)
    w = np.float32(1.0) - u - v
    return w * a[0] + u * b[0] + v * c[0], w * a[1] + u * b[1] + v * c[1], w * a[2] + u * b[2] + v * c[2]


@kernel(order="written", inline=True)
@no_type_check
def _any_tangent(n):
    """Return a unit vector across a normal (Duff et al., "Building an Orthonormal Basis, Revisited", 2017)."""
    sign = np.float32(-1.0) if n[2] < 0 else np.float32(1.0)
    a = np.float32(-1.0) / (sign + n[2])
    return np.float32(1.0) + sign * n[0] * n[0] * a, sign * n[0] * n[1] * a, -sign * n[0]


@kernel(order="written", inline=True)
@no_type_check
def _tangent(uvs, f, first, second, n):
    """Return the unit direction in which u grows, across the normal."""
    du1, dv1 = uvs[f, 1, 0] - uvs[f, 0, 0], uvs[f, 1, 1] - uvs[f, 0, 1]
    du2, dv2 = uvs[f, 2, 0] - uvs[f, 0, 0], uvs[f, 2, 1] - uvs[f, 0, 1]
    area = du1 * dv2 - dv1 * du2
    if area == 0:
        return _any_tangent(n)
    sign = np.float32(1.0) if area > 0 else np.float32(-1.0)
    along = unit(scaled(minus(scaled(first, dv2), scaled(second, dv1)), sign))
    across = minus(along, scaled(n, dot(n, along)))
    return unit(across) if dot(across, across) > 1e-8 else _any_tangent(n)


@kernel(order="written")
@no_type_check
def _fill(triangles, face, weights, directions, out):
    corners, normals, uvs, owner, turns = triangles
    position, flats, frame, wi, uv, owners, reach = out
    for i in range(len(face)):
        f, u, v = face[i], weights[i, 0], weights[i, 1]
        owners[i], reach[i] = owner[f], np.abs(corners[f]).max()
        first = minus(_row(corners, f, 1), _row(corners, f, 0))
        second = minus(_row(corners, f, 2), _row(corners, f, 0))
        flat = unit(cross(first, second))
        normal = unit(_mixed(normals, f, u, v))
        back = unit((-directions[i, 0], -directions[i, 1], -directions[i, 2]))
        if dot(normal, flat) < 0:
            flat = scaled(flat, np.float32(-1.0))
        if turns[owner[f]] and dot(flat, back) < 0:
            flat, normal = scaled(flat, np.float32(-1.0)), scaled(normal, np.float32(-1.0))
        tangent = _tangent(uvs, f, first, second, normal)
        bitangent = cross(normal, tangent)
        place = _mixed(corners, f, u, v)
        w = np.float32(1.0) - u - v
        for axis in range(2):
            uv[i, axis] = w * uvs[f, 0, axis] + u * uvs[f, 1, axis] + v * uvs[f, 2, axis]
        for axis in range(3):
            position[i, axis], flats[i, axis] = place[axis], flat[axis]
            frame[i, 0, axis], frame[i, 1, axis], frame[i, 2, axis] = tangent[axis], bitangent[axis], normal[axis]
        wi[i, 0], wi[i, 1], wi[i, 2] = dot(tangent, back), dot(bitangent, back), dot(normal, back)


@kernel(order="written")
@no_type_check
def leave(position, flat, reach, directions, origins):
    """Write where rays start that leave a surface: a little off it, on the side that they go to."""
    for i in range(len(position)):
        way = directions[i, 0] * flat[i, 0] + directions[i, 1] * flat[i, 1] + directions[i, 2] * flat[i, 2]
        step = np.float32(_OFFSET) * reach[i]
        if way < 0:
            step = -step
        for axis in range(3):
            origins[i, axis] = position[i, axis] + step * flat[i, axis]
