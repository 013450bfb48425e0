"""What rasterisation of triangles returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int32
from torch import Tensor

from recon3d.core.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nearest face at the centre of each pixel of each camera.

    Args:
        face: face indices, ``[n,h,w]``; -1 = none. No gradient.
        barycentrics: perspective-correct weights of the three corners, not negative, sum 1, ``[n,h,w,3]``; 0 where
            there is no face.
        depth: depth along camera z in world units, ``[n,h,w]``; 0 where there is no face.
    """

    face: Int32[Tensor, "n h w"]
    barycentrics: Float[Tensor, "n h w 3"]
    depth: Float[Tensor, "n h w"]

    @property
    def mask(self) -> Bool[Tensor, "n h w"]:
        """Where there is a face."""
        return self.face >= 0


def check_fragments(fragments: Fragments, n_faces: int) -> None:
    """Raise ShapeError where fragments name a face that a mesh of so many does not have."""
    most = int(fragments.face.max()) if fragments.face.numel() else -1
    if most >= n_faces:
        raise ShapeError("the fragments name a face that is not there", got=most, expected=f"0..{n_faces - 1}")
