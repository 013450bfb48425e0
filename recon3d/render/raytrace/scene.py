"""What is rendered: meshes with materials, below one environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.render.mesh.types import Mesh
from recon3d.render.shading.bsdf import Bsdf
from recon3d.render.shading.environment import Environment


@dataclass(frozen=True, eq=False)
class RenderObject:
    """A mesh and what it is made of.

    Args:
        mesh: positions in the world; faces are counter-clockwise seen from outside.
        material: called as ``material(uv, position)`` with tensors ``[n,2]`` and ``[n,3]`` of the points to shade, and
            with a third one, ``[n,k]``, where there are ``attributes``; returns their BSDF. Rows must not depend on
            each other. Without ``uvs``, uv is zero.
        smooth: interpolate the normals of the vertices (those of the mesh, else means of the face normals weighted by
            angle); else every face is flat.
        uvs: texture coordinates of the corners of the faces, ``[f,3,2]``; None = those of the mesh, if it has any.
        attributes: anything that the material wants interpolated between vertices, such as colours, ``[v,k]``.
        two_sided: a surface looks the same from behind; else it is black there. Surfaces that transmit light are never
            turned over.

    Raises:
        ShapeError: the arrays do not agree.
        InputError: the mesh has no faces.
    """

    mesh: Mesh
    material: Callable[..., Bsdf]
    smooth: bool = True
    uvs: Float32[np.ndarray, "f 3 2"] | None = None
    attributes: Float32[np.ndarray, "v k"] | None = None
    two_sided: bool = True

    def __post_init__(self) -> None:
        if not len(self.mesh.faces):
            raise InputError("a mesh without faces cannot be rendered")
        n_faces, n_vertices = len(self.mesh.faces), len(self.mesh.vertices)
        if self.uvs is not None and self.uvs.shape != (n_faces, 3, 2):
            raise ShapeError("uvs belong to the corners of faces", got=self.uvs.shape, expected=(n_faces, 3, 2))
        if self.attributes is not None and len(self.attributes) != n_vertices:
            raise ShapeError("attributes belong to vertices", got=len(self.attributes), expected=n_vertices)

    def corner_uvs(self) -> Float32[np.ndarray, "f 3 2"] | None:
        """Return the texture coordinates that count, or None."""
        found = getattr(self.mesh, "uvs", None) if self.uvs is None else self.uvs
        return None if found is None else np.ascontiguousarray(found, np.float32)

    def corner_normals(self) -> Float32[np.ndarray, "f 3 3"]:
        """Return unit normals at the corners of the faces; those of faces without area are zero unless smooth."""
        corners = self.mesh.vertices.astype(np.float64)[self.mesh.faces]
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
        if not self.smooth:
            return np.repeat(flat[:, None], 3, axis=1).astype(np.float32)
        if self.mesh.normals is not None:
            return np.ascontiguousarray(self.mesh.normals[self.mesh.faces], np.float32)
        normals = _mean_normals(self.mesh.faces, corners, flat, len(self.mesh.vertices))
        return np.asarray(normals[self.mesh.faces])


def _mean_normals(
    faces: np.ndarray, corners: np.ndarray, flat: np.ndarray, n_vertices: int
) -> Float32[np.ndarray, "v 3"]:
    """Return the means of face normals at vertices, weighted by the angles of the faces there."""
    total = np.zeros((n_vertices, 3))
    for corner in range(3):
        a = corners[:, (corner + 1) % 3] - corners[:, corner]
        b = corners[:, (corner + 2) % 3] - corners[:, corner]
        size = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-300)
        angle = np.arccos(np.clip((a * b).sum(axis=1) / size, -1, 1))
        np.add.at(total, faces[:, corner], flat * angle[:, None])
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300), np.float32)


@dataclass(frozen=True, eq=False)
class RenderScene:
    """Objects and the light that falls on them.

    Args:
        objects: at least one.
        environment: the light; None = darkness, so that only the G-buffer is of use.

    Raises:
        UsageError: there are no objects.
    """

    objects: Sequence[RenderObject]
    environment: Environment | None = None

    def __post_init__(self) -> None:
        if not self.objects:
            raise UsageError("a scene needs at least one object")


def ground_plane(height: float, half_size: float, *, center: tuple[float, float] = (0.0, 0.0)) -> Mesh:
    """Return a horizontal square that faces up.

    Args:
        height: its z.
        half_size: half the length of its sides.
        center: x and y of its middle.
    """
    x, y = center
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    vertices = np.concatenate([signs * half_size + [x, y], np.full((4, 1), height)], axis=1).astype(np.float32)
    faces: Int32[np.ndarray, "2 3"] = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(vertices, faces)
