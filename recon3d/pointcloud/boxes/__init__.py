"""Oriented boxes: their type and conventions, converters of other conventions, overlaps and suppression.

A box is x, y, z of its geometric centre, length along the heading, width, height in metres, and yaw in radians,
counter-clockwise about z from +x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.pointcloud.boxes.nms import nms_bev as nms_bev, nms_bev_by_class as nms_bev_by_class
    from recon3d.pointcloud.boxes.overlap import (
        OverlapKind as OverlapKind,
        axis_aligned_iou_3d as axis_aligned_iou_3d,
        box_iou as box_iou,
        box_iou_of_pairs as box_iou_of_pairs,
        intersection_bev as intersection_bev,
        nearest_iou_bev as nearest_iou_bev,
        rotated_iou_3d as rotated_iou_3d,
        rotated_iou_bev as rotated_iou_bev,
    )
    from recon3d.pointcloud.boxes.types import Boxes3D as Boxes3D, joined_boxes as joined_boxes

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "nms": ["nms_bev", "nms_bev_by_class"],
        "overlap": [
            "OverlapKind",
            "axis_aligned_iou_3d",
            "box_iou",
            "box_iou_of_pairs",
            "intersection_bev",
            "nearest_iou_bev",
            "rotated_iou_3d",
            "rotated_iou_bev",
        ],
        "types": ["Boxes3D", "joined_boxes"],
    },
)
