"""Semantic segmentation of clouds: a segmenter that labels points, its training, and the data sets to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.segmentation.options import (
        SegmenterOptions as SegmenterOptions,
        TrainSegmenterOptions as TrainSegmenterOptions,
    )
    from recon3d.pointcloud.segmentation.results import Segmentation as Segmentation
    from recon3d.pointcloud.segmentation.segmenter import Segmenter as Segmenter
    from recon3d.pointcloud.segmentation.spec import SegmenterSpec as SegmenterSpec
    from recon3d.pointcloud.segmentation.training import train_segmenter as train_segmenter

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "options": ["SegmenterOptions", "TrainSegmenterOptions"],
        "results": ["Segmentation"],
        "segmenter": ["Segmenter"],
        "spec": ["SegmenterSpec"],
        "training": ["train_segmenter"],
    },
)
