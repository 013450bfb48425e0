"""Oriented boxes: their type and conventions, converters of other conventions, overlaps and suppression.

A box is x, y, z of its geometric centre, length along the heading, width, height in metres, and yaw in radians,
counter-clockwise about z from +x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.boxes.conversions import (
        NuscenesBoxes as NuscenesBoxes,
        boxes_from_mmdet3d_v0 as boxes_from_mmdet3d_v0,
        boxes_from_mmdet3d_v1 as boxes_from_mmdet3d_v1,
        boxes_from_nuscenes as boxes_from_nuscenes,
        boxes_from_waymo as boxes_from_waymo,
        mmdet3d_v0_from_boxes as mmdet3d_v0_from_boxes,
        mmdet3d_v1_from_boxes as mmdet3d_v1_from_boxes,
        nuscenes_from_boxes as nuscenes_from_boxes,
    )
    from recon3d.pointcloud.boxes.corners import box_corners as box_corners, points_in_boxes as points_in_boxes
    from recon3d.pointcloud.boxes.kitti_camera import (
        boxes_from_kitti as boxes_from_kitti,
        image_boxes as image_boxes,
        kitti_from_boxes as kitti_from_boxes,
        rows_from_kitti as rows_from_kitti,
    )
    from recon3d.pointcloud.boxes.nms import nms_bev as nms_bev, nms_bev_by_class as nms_bev_by_class
    from recon3d.pointcloud.boxes.overlap import (
        axis_aligned_iou_3d as axis_aligned_iou_3d,
        box_iou as box_iou,
        box_iou_of_pairs as box_iou_of_pairs,
        intersection_bev as intersection_bev,
        nearest_iou_bev as nearest_iou_bev,
        rotated_iou_3d as rotated_iou_3d,
        rotated_iou_bev as rotated_iou_bev,
    )
    from recon3d.pointcloud.boxes.types import Boxes3D as Boxes3D, joined_boxes as joined_boxes
    from recon3d.pointcloud.boxes.validation import BoxReport as BoxReport, validate_boxes as validate_boxes

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "conversions": [
            "NuscenesBoxes",
            "boxes_from_mmdet3d_v0",
            "boxes_from_mmdet3d_v1",
            "boxes_from_nuscenes",
            "boxes_from_waymo",
            "mmdet3d_v0_from_boxes",
            "mmdet3d_v1_from_boxes",
            "nuscenes_from_boxes",
        ],
        "corners": ["box_corners", "points_in_boxes"],
        "kitti_camera": ["boxes_from_kitti", "image_boxes", "kitti_from_boxes", "rows_from_kitti"],
        "nms": ["nms_bev", "nms_bev_by_class"],
        "overlap": [
            "axis_aligned_iou_3d",
            "box_iou",
            "box_iou_of_pairs",
            "intersection_bev",
            "nearest_iou_bev",
            "rotated_iou_3d",
            "rotated_iou_bev",
        ],
        "types": ["Boxes3D", "joined_boxes"],
        "validation": ["BoxReport", "validate_boxes"],
    },
)
