"""What every network here answers for a batch of photos."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Cameras and depth of ``b`` scenes of ``s`` photos; None where the network has no head for it.

    Args:
        cam_from_world: poses in OpenCV axes, ``[b,s,3,4]``; the world is close to the camera of the reference view.
        K: intrinsics in pixels of the network's images; the principal point is their middle, ``[b,s,3,3]``.
        depth_z: along the camera's z axis, in the unit of the translations, ``[b,s,h,w]``.
        confidence: of the depth, at least 1, and no sigma, ``[b,s,h,w]``.
    """

    cam_from_world: Float[Tensor, "b s 3 4"] | None = None
    K: Float[Tensor, "b s 3 3"] | None = None
    depth_z: Float[Tensor, "b s h w"] | None = None
    confidence: Float[Tensor, "b s h w"] | None = None
