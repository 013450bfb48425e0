"""What goes into the optimisation of splats and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from recon3d.core.errors import ShapeError, UsageError
from recon3d.evaluation.novel_views import ViewErrors
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians.types import Gaussians


@dataclass(frozen=True, eq=False)
class SplatInputs:
    """Posed photos and points.

    Args:
        keys: one per photo, unique.
        images: undistorted, upright photos, sRGB, one ``[h,w,3]`` each.
        cameras: their pinhole cameras.
        points_xyz: points in the world, ``[p,3]``.
        points_rgb: their colours, sRGB, ``[p,3]``.
        normals: their unit normals in the world, ``[p,3]``, as multi-view stereo gives them; None = unknown.
        masks: one ``[h,w]`` per photo, non-zero where a pixel counts; None for a photo without one.
        max_memory_bytes: memory to plan for; None = no limit.

    Raises:
        ShapeError: the fields do not agree.
        UsageError: a key is repeated, or a number is not finite.
    """

    keys: tuple[str, ...]
    images: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    cameras: Cameras
    points_xyz: Float64[np.ndarray, "p 3"]
    points_rgb: UInt8[np.ndarray, "p 3"]
    normals: Float64[np.ndarray, "p 3"] | None = None
    masks: tuple[UInt8[np.ndarray, "_ _"] | None, ...] | None = None
    max_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        n, p = len(self.keys), len(self.points_xyz)
        counts = (len(self.images), len(self.cameras), n if self.masks is None else len(self.masks))
        if counts != (n, n, n):
            raise ShapeError("keys, images, cameras and masks disagree", got=(n, *counts), expected="equal numbers")
        if len(self.points_rgb) != p or (self.normals is not None and len(self.normals) != p):
            raise ShapeError("points, colours and normals disagree", got=len(self.points_rgb), expected=p)
        if len(set(self.keys)) != n:
            raise UsageError("two photos share a key", got=sorted(self.keys)[:10])
        self._check_sizes()
        cameras = self.cameras
        for name, value in (("points", self.points_xyz), ("poses", cameras.cam_from_world), ("intrinsics", cameras.K)):
            if not np.isfinite(value).all():
                raise UsageError(f"the {name} of a scene must be finite", got="NaN or infinity")

    def _check_sizes(self) -> None:
        masks = self.masks or (None,) * len(self.keys)
        for i, (image, mask) in enumerate(zip(self.images, masks, strict=True)):
            size = (int(self.cameras.height[i]), int(self.cameras.width[i]))
            for name, value in (("photo", image), ("mask", mask)):
                if value is not None and value.shape[:2] != size:
                    what = f"the {name} of {self.keys[i]} has another size than its camera"
                    raise ShapeError(what, got=value.shape[:2], expected=size)


@dataclass(frozen=True, eq=False)
class SplatResult:
    """The optimised scene and what was measured on the way.

    Args:
        gaussians: in the world of the input.
        cameras: of all photos, refined where that was asked for.
        held_out: keys of the photos that were kept out.
        errors: how well each of them was predicted.
        colours: affine colour transform ``[A | b]`` of each photo, from the colours of the scene to those of the
            photo, ``[n,3,4]``; the identity for those that were kept out.
        history: one record every few iterations: iteration, loss, psnr, gaussians, size.
        notes: what the user should know, in plain words.
    """

    gaussians: Gaussians
    cameras: Cameras
    held_out: tuple[str, ...]
    errors: tuple[ViewErrors, ...]
    colours: Float64[np.ndarray, "n 3 4"]
    history: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
