"""Measurements against ground truth, with the definitions of docs/evaluation.md: camera poses, intrinsics, outliers.

`read_truth` and `read_subsets` read the reference files; `evaluate_cameras` compares an `Estimate` with them.
"""

from __future__ import annotations

from recon3d.evaluation.cameras import CameraErrors, evaluate_cameras
from recon3d.evaluation.estimate import Estimate
from recon3d.evaluation.table import camera_table
from recon3d.evaluation.truth import Truth, read_subsets, read_truth

__all__ = ["CameraErrors", "Estimate", "Truth", "camera_table", "evaluate_cameras", "read_subsets", "read_truth"]
