"""Cameras as tensors: what rasterisation takes where poses are optimised, or live on another device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.cameras import Cameras


@dataclass(frozen=True, eq=False)
class CameraTensors:
    """Pinhole cameras of one image size, as tensors.

    Args:
        cam_from_world: rigid transforms that map world points to camera points, ``[n,4,4]``; may require gradients.
        K: intrinsic matrices in pixels, ``[n,3,3]``; zero skew.
        width: image width in pixels.
        height: image height in pixels.

    Raises:
        ShapeError: the tensors do not agree.
        UsageError: there is no camera, or the size is not positive.
    """

    cam_from_world: Float[Tensor, "n 4 4"]
    K: Float[Tensor, "n 3 3"]
    width: int
    height: int

    def __post_init__(self) -> None:
        n = len(self.cam_from_world)
        for name, shape in {"cam_from_world": (n, 4, 4), "K": (n, 3, 3)}.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ShapeError(f"CameraTensors.{name} has the wrong shape", got=got, expected=shape)
        if n == 0:
            raise UsageError("there is no camera to render for", got="0 cameras", expected="at least one")
        if self.width < 1 or self.height < 1:
            size = f"{self.width} x {self.height}"
            raise UsageError("the image size must be positive", got=size, expected="at least 1 x 1")

    def __len__(self) -> int:
        return len(self.cam_from_world)

    @classmethod
    def of(cls, cameras: Cameras, *, like: Tensor) -> CameraTensors:
        """Return cameras with the device and dtype of ``like``.

        Args:
            cameras: pinhole cameras of one image size.
            like: any floating-point tensor.

        Raises:
            UsageError: there is none, their sizes differ, or they have lens distortion.
        """
        sizes = np.unique(np.stack([cameras.width, cameras.height], axis=1), axis=0)
        if len(sizes) > 1:
            got = ", ".join(f"{width} x {height}" for width, height in sizes[:4])
            fix = "render the cameras of each size with a call of its own"
            raise UsageError("the cameras of one call must share an image size", got=got, expected="one size", fix=fix)
        if cameras.distortion is not None and cameras.distortion.any():
            fix = "undistort the photos, or render for cameras.pinhole()"
            raise UsageError("the renderers take pinhole cameras", got="lens distortion", fix=fix)
        width, height = (int(value) for value in sizes[0]) if len(sizes) else (1, 1)
        poses, K = (
            torch.as_tensor(value, dtype=like.dtype, device=like.device)
            for value in (cameras.cam_from_world, cameras.K)
        )
        return cls(poses, K, width, height)
