"""Measurements against ground truth, with the definitions of docs/evaluation.md: camera poses, intrinsics, outliers.

`read_truth` and `read_subsets` read the reference files; `evaluate_cameras` compares an `Estimate` with them.
"""

from __future__ import annotations

from recon3d.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "cameras": ["CameraErrors", "evaluate_cameras"],
        "estimate": ["Estimate"],
        "table": ["camera_table"],
        "truth": ["Truth", "read_subsets", "read_truth"],
    },
)
