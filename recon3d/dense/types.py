"""What the dense rooms exchange: depth maps with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import ShapeError


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth of every pixel of one undistorted photo.

    Args:
        depth_z: depth along camera z in world units, ``[h,w]``; 0 = none.
        sigma: one standard deviation of the depth in world units, ``[h,w]``; 0 where there is no depth.
        normal_cam: unit normals of the surface in camera axes, towards the camera (z < 0), ``[h,w,3]``; zeros where
            there is no depth; None = not estimated.
    """

    depth_z: Float32[np.ndarray, "h w"]
    sigma: Float32[np.ndarray, "h w"]
    normal_cam: Float32[np.ndarray, "h w 3"] | None = None

    def __post_init__(self) -> None:
        size = self.depth_z.shape
        for name, shape in {"depth_z": size, "sigma": size, "normal_cam": (*size, 3)}.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(f"DepthMap.{name} has the wrong shape", got=value.shape, expected=shape)

    @property
    def coverage(self) -> float:
        """Share of pixels that have a depth."""
        return float((self.depth_z > 0).mean()) if self.depth_z.size else 0.0
