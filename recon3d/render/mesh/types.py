"""Triangle meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from recon3d.core.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh; faces are counter-clockwise seen from outside.

    Args:
        vertices: positions in the world, ``[v,3]``.
        faces: vertex indices, ``[f,3]``.
        normals: unit normals of the vertices, ``[v,3]``; None = not known.
        rgb: sRGB colours of the vertices, ``[v,3]``; None = not known.

    Raises:
        ShapeError: the arrays do not agree, or a face names a vertex that is not there.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "v 3"] | None = None
    rgb: UInt8[np.ndarray, "v 3"] | None = None

    def __post_init__(self) -> None:
        v = len(self.vertices)
        for name, shape in {
            "vertices": (v, 3),
            "faces": (len(self.faces), 3),
            "normals": (v, 3),
            "rgb": (v, 3),
        }.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(f"Mesh.{name} has the wrong shape", got=value.shape, expected=shape)
        wrong = self.faces[(self.faces < 0) | (self.faces >= v)]
        if wrong.size:
            raise ShapeError("Mesh.faces names a vertex that is not there", got=int(wrong[0]), expected=f"0..{v - 1}")
