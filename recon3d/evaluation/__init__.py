"""Measurements against ground truth, with the definitions of docs/evaluation.md.

`read_truth` and `read_subsets` read the reference files. `evaluate_cameras` compares an `Estimate` with them,
`evaluate_depth` depth maps, `evaluate_points` points and surfaces, `evaluate_view` rendered photos (`psnr`, `ssim`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.evaluation.cameras import CameraErrors as CameraErrors, evaluate_cameras as evaluate_cameras
    from recon3d.evaluation.depth import DepthErrors as DepthErrors, evaluate_depth as evaluate_depth
    from recon3d.evaluation.estimate import Estimate as Estimate
    from recon3d.evaluation.novel_views import (
        NovelViewErrors as NovelViewErrors,
        ViewErrors as ViewErrors,
        evaluate_view as evaluate_view,
        fit_colours as fit_colours,
        psnr as psnr,
        ssim as ssim,
    )
    from recon3d.evaluation.points import (
        PointErrors as PointErrors,
        SeenSpace as SeenSpace,
        evaluate_points as evaluate_points,
    )
    from recon3d.evaluation.surface import opaque_centres as opaque_centres, sample_mesh as sample_mesh
    from recon3d.evaluation.table import camera_table as camera_table
    from recon3d.evaluation.truth import Truth as Truth, read_subsets as read_subsets, read_truth as read_truth

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cameras": ["CameraErrors", "evaluate_cameras"],
        "depth": ["DepthErrors", "evaluate_depth"],
        "estimate": ["Estimate"],
        "novel_views": ["NovelViewErrors", "ViewErrors", "evaluate_view", "fit_colours", "psnr", "ssim"],
        "points": ["PointErrors", "SeenSpace", "evaluate_points"],
        "surface": ["opaque_centres", "sample_mesh"],
        "table": ["camera_table"],
        "truth": ["Truth", "read_subsets", "read_truth"],
    },
)
