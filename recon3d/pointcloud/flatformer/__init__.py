"""FlatFormer: a detector of boxes in LiDAR points by attention in equal-size groups of pillars (arXiv 2301.08739).

Plain torch, the same code on the CPU and on CUDA; parameters have the names of the released code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.flatformer.decode import Detections as Detections, decode_maps as decode_maps
    from recon3d.pointcloud.flatformer.detector import PillarDetector as PillarDetector
    from recon3d.pointcloud.flatformer.encoder import FlatFormerEncoder as FlatFormerEncoder
    from recon3d.pointcloud.flatformer.losses import DetectionLoss as DetectionLoss, detection_loss as detection_loss
    from recon3d.pointcloud.flatformer.options import (
        DETECTOR_NAMES as DETECTOR_NAMES,
        DecodeOptions as DecodeOptions,
        DetectorOptions as DetectorOptions,
        EncoderOptions as EncoderOptions,
        LossOptions as LossOptions,
        PillarGrid as PillarGrid,
        TargetOptions as TargetOptions,
        detector_options as detector_options,
    )
    from recon3d.pointcloud.flatformer.points import prepare_points as prepare_points, stack_sweeps as stack_sweeps
    from recon3d.pointcloud.flatformer.targets import (
        DetectionTargets as DetectionTargets,
        TrueBoxes as TrueBoxes,
        detection_targets as detection_targets,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "decode": ["Detections", "decode_maps"],
        "detector": ["PillarDetector"],
        "encoder": ["FlatFormerEncoder"],
        "losses": ["DetectionLoss", "detection_loss"],
        "options": [
            "DETECTOR_NAMES",
            "DecodeOptions",
            "DetectorOptions",
            "EncoderOptions",
            "LossOptions",
            "PillarGrid",
            "TargetOptions",
            "detector_options",
        ],
        "points": ["prepare_points", "stack_sweeps"],
        "targets": ["DetectionTargets", "TrueBoxes", "detection_targets"],
    },
)
