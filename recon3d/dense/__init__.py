"""Depth maps from calibrated photos or from splats, their fusion into points and meshes.

:func:`recon3d.dense.splat_depth.splat_depth` has the name of its module and is imported from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.dense.fuse import fuse_depth as fuse_depth
    from recon3d.dense.fusion_options import FusionOptions as FusionOptions
    from recon3d.dense.points_fusion import (
        DensePoints as DensePoints,
        PointOptions as PointOptions,
        fuse_points as fuse_points,
    )
    from recon3d.dense.stereo import estimate_depth as estimate_depth
    from recon3d.dense.stereo_options import StereoOptions as StereoOptions
    from recon3d.dense.types import DepthMap as DepthMap

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "fuse": ["fuse_depth"],
        "fusion_options": ["FusionOptions"],
        "points_fusion": ["DensePoints", "PointOptions", "fuse_points"],
        "stereo": ["estimate_depth"],
        "stereo_options": ["StereoOptions"],
        "types": ["DepthMap"],
    },
)
