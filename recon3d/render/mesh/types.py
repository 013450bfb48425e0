"""Triangle meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from recon3d.core.errors import ShapeError
from recon3d.formats.glb_materials import Material as Material


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh; faces are counter-clockwise seen from outside.

    Args:
        vertices: positions in the world, ``[v,3]``.
        faces: vertex indices, ``[f,3]``.
        normals: unit normals of the vertices, ``[v,3]``; None = not known.
        rgb: sRGB colours of the vertices, ``[v,3]``; None = not known.
        uvs: where in the textures the corners of each face are, ``[f,3,2]``; (0, 0) = outer top-left corner of the
            image; None = not known.
        material: what the surface is made of; None = not known.

    Raises:
        ShapeError: the arrays do not agree, a face names a vertex that is not there, or there are textures but no UVs.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "v 3"] | None = None
    rgb: UInt8[np.ndarray, "v 3"] | None = None
    uvs: Float32[np.ndarray, "f 3 2"] | None = None
    material: Material | None = None

    def __post_init__(self) -> None:
        v = len(self.vertices)
        for name, shape in {
            "vertices": (v, 3),
            "faces": (len(self.faces), 3),
            "normals": (v, 3),
            "rgb": (v, 3),
            "uvs": (len(self.faces), 3, 2),
        }.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(f"Mesh.{name} has the wrong shape", got=value.shape, expected=shape)
        wrong = self.faces[(self.faces < 0) | (self.faces >= v)]
        if wrong.size:
            raise ShapeError("Mesh.faces names a vertex that is not there", got=int(wrong[0]), expected=f"0..{v - 1}")
        if self.uvs is None and self.material is not None and self.material.textures:
            raise ShapeError("a mesh with textures needs UVs", got="uvs=None", expected="[f,3,2]")
