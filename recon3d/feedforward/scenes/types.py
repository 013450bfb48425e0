"""What a generated scene gives: photos, cameras, depth and normals."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float32
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class TrueViews:
    """Photos of ``b`` scenes, ``s`` of each, with their truth.

    Args:
        images: sRGB, 0 to 1.
        cam_from_world: world points to camera points, OpenCV axes, metres.
        K: pinhole matrices in pixels; the outer corner of the image is (0, 0).
        depth_z: depth along the camera's z axis at the centres of the pixels, in metres; 0 where there is no surface.
        normals: unit, in the world, towards the camera; zero where there is no surface.
    """

    images: Float32[Tensor, "b s 3 h w"]
    cam_from_world: Float32[Tensor, "b s 4 4"]
    K: Float32[Tensor, "b s 3 3"]
    depth_z: Float32[Tensor, "b s h w"]
    normals: Float32[Tensor, "b s h w 3"]

    def to(self, device: torch.device | str) -> TrueViews:
        """Return the same on another device."""
        return TrueViews(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})
