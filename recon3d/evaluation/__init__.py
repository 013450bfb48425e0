"""Measurements against ground truth, with the definitions of docs/evaluation.md: camera poses, intrinsics, outliers.

`read_truth` and `read_subsets` read the reference files; `evaluate_cameras` compares an `Estimate` with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.evaluation.cameras import CameraErrors as CameraErrors, evaluate_cameras as evaluate_cameras
    from recon3d.evaluation.estimate import Estimate as Estimate
    from recon3d.evaluation.table import camera_table as camera_table
    from recon3d.evaluation.truth import Truth as Truth, read_subsets as read_subsets, read_truth as read_truth

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cameras": ["CameraErrors", "evaluate_cameras"],
        "estimate": ["Estimate"],
        "table": ["camera_table"],
        "truth": ["Truth", "read_subsets", "read_truth"],
    },
)
