"""Detection of objects in LiDAR clouds: ``Detector``, its training on folders and generated streets, result files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.detection.augmentation import AugmentOptions as AugmentOptions
    from recon3d.pointcloud.detection.batches import BatchOptions as BatchOptions
    from recon3d.pointcloud.detection.clouds import SensorCloud as SensorCloud
    from recon3d.pointcloud.detection.detector import AUTO as AUTO, Detector as Detector
    from recon3d.pointcloud.detection.frames import (
        FrameSet as FrameSet,
        KeptFrames as KeptFrames,
        LabelledFrame as LabelledFrame,
        Subset as Subset,
        split_frames as split_frames,
    )
    from recon3d.pointcloud.detection.ground import sensor_height as sensor_height
    from recon3d.pointcloud.detection.kitti_folder import KittiFrames as KittiFrames
    from recon3d.pointcloud.detection.labelled_folder import (
        FolderFrames as FolderFrames,
        boxes_from_json as boxes_from_json,
        boxes_to_json as boxes_to_json,
        write_labelled_frame as write_labelled_frame,
    )
    from recon3d.pointcloud.detection.network import (
        NETWORKS as NETWORKS,
        SensorOptions as SensorOptions,
        network_options as network_options,
        sensor_options as sensor_options,
    )
    from recon3d.pointcloud.detection.nuscenes_folder import NuscenesFrames as NuscenesFrames
    from recon3d.pointcloud.detection.options import (
        DetectorDataOptions as DetectorDataOptions,
        TrainDetectorOptions as TrainDetectorOptions,
    )
    from recon3d.pointcloud.detection.pasting import ObjectBank as ObjectBank, PasteOptions as PasteOptions
    from recon3d.pointcloud.detection.results import (
        nuscenes_results as nuscenes_results,
        write_boxed_ply as write_boxed_ply,
        write_kitti_results as write_kitti_results,
        write_nuscenes_results as write_nuscenes_results,
        write_rerun as write_rerun,
    )
    from recon3d.pointcloud.detection.scoring import (
        DetectionScores as DetectionScores,
        ScoreOptions as ScoreOptions,
        evaluate_detections as evaluate_detections,
        score_detections as score_detections,
    )
    from recon3d.pointcloud.detection.streets import StreetFrames as StreetFrames
    from recon3d.pointcloud.detection.training import (
        DetectorTraining as DetectorTraining,
        train_detector as train_detector,
    )
    from recon3d.pointcloud.detection.weights import (
        StoredDetector as StoredDetector,
        read_detector as read_detector,
        write_detector as write_detector,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "augmentation": ["AugmentOptions"],
        "batches": ["BatchOptions"],
        "clouds": ["SensorCloud"],
        "detector": ["AUTO", "Detector"],
        "frames": ["FrameSet", "KeptFrames", "LabelledFrame", "Subset", "split_frames"],
        "ground": ["sensor_height"],
        "kitti_folder": ["KittiFrames"],
        "labelled_folder": ["FolderFrames", "boxes_from_json", "boxes_to_json", "write_labelled_frame"],
        "network": ["NETWORKS", "SensorOptions", "network_options", "sensor_options"],
        "nuscenes_folder": ["NuscenesFrames"],
        "options": ["DetectorDataOptions", "TrainDetectorOptions"],
        "pasting": ["ObjectBank", "PasteOptions"],
        "results": [
            "nuscenes_results",
            "write_boxed_ply",
            "write_kitti_results",
            "write_nuscenes_results",
            "write_rerun",
        ],
        "scoring": ["DetectionScores", "ScoreOptions", "evaluate_detections", "score_detections"],
        "streets": ["StreetFrames"],
        "training": ["DetectorTraining", "train_detector"],
        "weights": ["StoredDetector", "read_detector", "write_detector"],
    },
)
