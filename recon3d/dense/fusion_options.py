"""Options of the fusion of depth maps into a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recon3d.core.errors import UsageError

Closing = Literal["auto", "open", "closed"]


@dataclass(frozen=True)
class FusionOptions:
    """How depth maps become a mesh.

    Args:
        voxel_size: edge of a voxel in world units; 0 = from the width of a pixel at the depth of the surface.
        voxel_px: automatic voxel size in pixels of the depth maps; smaller is finer and noisier.
        truncation: distance from the surface, in voxels, that a depth map speaks about; widened for noisy depth.
        reach: ignore depth whose pixels are wider than this many voxels: far background.
        trim_px: how many pixels depth grows over the silhouettes of an object into a flat backdrop; there colours
            decide what is dropped before a solid is made; 0 = nothing. Not used where masks show the object.
        min_weight: a voxel counts when it was seen with this weight; 1 = one usual view straight on.
        min_views: photos that must agree on a piece of surface; 0 = 1 to 3, by the number of photos.
        min_component: drop pieces with a smaller share of the faces of the largest piece.
        min_faces: drop pieces with fewer faces, unless it is the only one.
        closing: closed = a watertight solid, open = only what was seen, auto = closed for an object seen from all
            sides. Masks of an object also shape its solid.
        max_faces: coarsen the voxels until the mesh has no more faces; 0 = no limit.
    """

    voxel_size: float = 0.0
    voxel_px: float = 1.5
    truncation: float = 4.0
    reach: float = 4.0
    trim_px: int = 8
    min_weight: float = 1.0
    min_views: int = 0
    min_component: float = 0.003
    min_faces: int = 100
    closing: Closing = "auto"
    max_faces: int = 2_000_000

    def __post_init__(self) -> None:
        for name in ("voxel_size", "trim_px", "min_weight", "min_views", "min_component", "min_faces", "max_faces"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"FusionOptions.{name} must not be negative", got=getattr(self, name))
        for name, least in (("voxel_px", 0.1), ("truncation", 1.5), ("reach", 0.5)):
            if not getattr(self, name) >= least:
                raise UsageError(f"FusionOptions.{name} is too small", got=getattr(self, name), expected=f">= {least}")
