"""Boxes of KITTI labels, which stand in the rectified camera frame (x right, y down, z forward), from and to ours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.formats.kitti_text import KittiCalibration, KittiObject
from recon3d.pointcloud.boxes.arrays import wrapped
from recon3d.pointcloud.boxes.corners import box_corners
from recon3d.pointcloud.boxes.types import Boxes3D

# Camera axes in those of a LiDAR that looks the same way (x forward, y left, z up).
CAM_FROM_VELO_AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def rows_from_kitti(
    objects: Sequence[KittiObject], cam_from_velo: Float64[np.ndarray, "4 4"] = CAM_FROM_VELO_AXES
) -> Float64[np.ndarray, "n 7"]:
    """Return the box of each object in the LiDAR frame, with yaw = -rotation_y - pi/2 as all KITTI tools take it.

    Args:
        objects: lines of a label or result file; ``DontCare`` ones give boxes without meaning.
        cam_from_velo: of the frame's calibration; left out, a camera with the axes of the LiDAR.
    """
    location = np.array([one.location for one in objects], np.float64).reshape(-1, 3)
    sizes = np.array([one.size_hwl for one in objects], np.float64).reshape(-1, 3)
    rotation_y = np.array([one.rotation_y for one in objects], np.float64)
    location[:, 1] -= sizes[:, 0] / 2  # from the bottom, y is down
    velo_from_cam = np.linalg.inv(cam_from_velo)
    centre = location @ velo_from_cam[:3, :3].T + velo_from_cam[:3, 3]
    return np.column_stack([centre, sizes[:, ::-1], wrapped(-rotation_y - math.pi / 2)])


def boxes_from_kitti(
    objects: Sequence[KittiObject], calibration: KittiCalibration, names: tuple[str, ...] | None = None
) -> Boxes3D:
    """Return the labelled or detected objects of a frame as boxes in the velodyne frame.

    Args:
        objects: lines of a label or result file.
        calibration: of the same frame.
        names: classes; objects of others are left out. None = those that occur, ``DontCare`` left out.
    """
    if names is None:
        names = tuple(dict.fromkeys(one.kind for one in objects if one.kind != "DontCare"))
    chosen = [one for one in objects if one.kind in names]
    scores = [one.score for one in chosen if one.score is not None]
    return Boxes3D(
        boxes=rows_from_kitti(chosen, calibration.cam_from_velo),
        labels=np.array([names.index(one.kind) for one in chosen], np.int64),
        names=names,
        scores=np.array(scores) if chosen and len(scores) == len(chosen) else None,
    )


def kitti_from_boxes(boxes: Boxes3D, calibration: KittiCalibration, size: tuple[int, int]) -> list[KittiObject]:
    """Return boxes as lines of a label or result file; those that the left colour camera does not see are left out.

    Args:
        boxes: in the velodyne frame.
        calibration: of the same frame.
        size: width and height of the image, pixels.
    """
    cam_from_velo = calibration.cam_from_velo
    centre = boxes.boxes[:, :3] @ cam_from_velo[:3, :3].T + cam_from_velo[:3, 3]
    rotation_y = wrapped(-boxes.boxes[:, 6] - math.pi / 2)
    alpha = wrapped(rotation_y - np.arctan2(centre[:, 0], centre[:, 2]))
    rectangles, in_view = image_boxes(boxes, calibration, size)

    def line(row: int) -> KittiObject:
        left, top, right, bottom = rectangles[row].tolist()
        length, width, height = boxes.boxes[row, 3:6].tolist()
        x, y, z = centre[row].tolist()
        return KittiObject(
            kind=boxes.names[boxes.labels[row]],
            truncated=-1.0,
            occluded=-1,
            alpha=float(alpha[row]),
            box_2d=(left, top, right, bottom),
            size_hwl=(height, width, length),
            location=(x, y + height / 2, z),
            rotation_y=float(rotation_y[row]),
            score=None if boxes.scores is None else float(boxes.scores[row]),
        )

    rows: Int64[np.ndarray, " k"] = np.flatnonzero(in_view)
    return [line(int(row)) for row in rows]


def image_boxes(
    boxes: Boxes3D, calibration: KittiCalibration, size: tuple[int, int]
) -> tuple[Float64[np.ndarray, "n 4"], Bool[np.ndarray, " n"]]:
    """Return the rectangles around the corners of boxes in the left colour image, and which of the boxes are in view.

    A box that reaches behind the camera is not in view.

    Args:
        boxes: in the velodyne frame.
        calibration: of the same frame.
        size: width and height of the image, pixels; rectangles are cut at its borders.

    Returns:
        left, top, right, bottom ``[n,4]``, zeros where out of view; and a mask ``[n]``.
    """
    pixels, depth = calibration.project(box_corners(boxes.boxes).reshape(-1, 3))
    in_front: Bool[np.ndarray, " n"] = depth.reshape(-1, 8).min(1) > 1e-3
    pixels = np.where(in_front[:, None, None], pixels.reshape(-1, 8, 2), 0.0)
    low, high = np.clip(pixels.min(1), 0, size), np.clip(pixels.max(1), 0, size)
    in_view: Bool[np.ndarray, " n"] = in_front & (high > low).all(1)
    return np.where(in_view[:, None], np.concatenate([low, high], 1), 0.0), in_view
