"""How good detections and labels of point clouds are, by the definitions of Waymo, KITTI, nuScenes and ScanNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.metrics.instances import (
        InstanceOptions as InstanceOptions,
        InstanceScene as InstanceScene,
        InstanceScore as InstanceScore,
        instance_metrics as instance_metrics,
    )
    from recon3d.pointcloud.metrics.kitti import (
        KITTI_RELAXED as KITTI_RELAXED,
        KITTI_STRICT as KITTI_STRICT,
        KittiOverlaps as KittiOverlaps,
        kitti_metrics as kitti_metrics,
    )
    from recon3d.pointcloud.metrics.nuscenes import (
        NuscenesFrame as NuscenesFrame,
        NuscenesOptions as NuscenesOptions,
        NuscenesScore as NuscenesScore,
        nuscenes_metrics as nuscenes_metrics,
        nuscenes_ranges as nuscenes_ranges,
    )
    from recon3d.pointcloud.metrics.semantic import SemanticCounts as SemanticCounts, SemanticScore as SemanticScore
    from recon3d.pointcloud.metrics.waymo import (
        WaymoFrame as WaymoFrame,
        WaymoOptions as WaymoOptions,
        WaymoScore as WaymoScore,
        mean_waymo_score as mean_waymo_score,
        waymo_metrics as waymo_metrics,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "instances": ["InstanceOptions", "InstanceScene", "InstanceScore", "instance_metrics"],
        "kitti": ["KITTI_RELAXED", "KITTI_STRICT", "KittiOverlaps", "kitti_metrics"],
        "nuscenes": ["NuscenesFrame", "NuscenesOptions", "NuscenesScore", "nuscenes_metrics", "nuscenes_ranges"],
        "semantic": ["SemanticCounts", "SemanticScore"],
        "waymo": ["WaymoFrame", "WaymoOptions", "WaymoScore", "mean_waymo_score", "waymo_metrics"],
    },
)
