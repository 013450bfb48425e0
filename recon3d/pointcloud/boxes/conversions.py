"""Boxes of other projects from and to ours (geometric centre, length, width, height, yaw counter-clockwise from +x)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from recon3d.core.errors import ShapeError
from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.pointcloud.boxes.arrays import Array, as_rows, wrapped


def boxes_from_mmdet3d_v0(legacy: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return boxes from those of mmdetection3d before 1.0, which the FlatFormer code uses.

    Args:
        legacy: x, y, z of the bottom, width, length, height, and r clockwise with 0 along -y (r = -yaw - pi/2); further
            columns, such as velocities, are kept. ``[n,7]`` or wider.

    Raises:
        ShapeError: fewer than seven columns.
    """
    boxes = _exchanged(legacy)
    boxes[:, 2] += boxes[:, 5] / 2
    return boxes


def mmdet3d_v0_from_boxes(boxes: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return boxes as mmdetection3d stored them before 1.0; the inverse of :func:`boxes_from_mmdet3d_v0`.

    Args:
        boxes: oriented boxes ``[n,7]`` or wider; further columns are kept.

    Raises:
        ShapeError: fewer than seven columns.
    """
    legacy = _exchanged(boxes)
    legacy[:, 2] -= legacy[:, 5] / 2
    return legacy


def boxes_from_mmdet3d_v1(modern: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return boxes from those of mmdetection3d 1.0 and later, which differ from ours in z alone.

    Args:
        modern: x, y, z of the bottom, length, width, height, yaw; further columns are kept. ``[n,7]`` or wider.

    Raises:
        ShapeError: fewer than seven columns.
    """
    boxes = _copied(modern)
    boxes[:, 2] += boxes[:, 5] / 2
    boxes[:, 6] = wrapped(boxes[:, 6])
    return boxes


def mmdet3d_v1_from_boxes(boxes: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return boxes as mmdetection3d 1.0 and later store them.

    Args:
        boxes: oriented boxes ``[n,7]`` or wider; further columns are kept.

    Raises:
        ShapeError: fewer than seven columns.
    """
    modern = _copied(boxes)
    modern[:, 2] -= modern[:, 5] / 2
    return modern


def boxes_from_waymo(labels: Float[Array, "n 7"]) -> Float[Array, "n 7"]:
    """Return boxes from Waymo's ``Label.Box``, whose convention is ours but for whole turns of the heading.

    Args:
        labels: center_x, center_y, center_z, length, width, height, heading, ``[n,7]``.
    """
    boxes = _copied(labels)
    boxes[:, 6] = wrapped(boxes[:, 6])
    return boxes


class NuscenesBoxes(NamedTuple):
    """Boxes as nuScenes stores them.

    Args:
        translation: geometric centre, metres, ``[n,3]``.
        size: width, length, height, ``[n,3]``.
        rotation: unit quaternion w, x, y, z, ``[n,4]``.
    """

    translation: Float64[np.ndarray, "n 3"]
    size: Float64[np.ndarray, "n 3"]
    rotation: Float64[np.ndarray, "n 4"]


def boxes_from_nuscenes(stored: NuscenesBoxes) -> Float64[np.ndarray, "n 7"]:
    """Return boxes in the same frame; yaw is the direction of the turned x axis on the ground.

    Args:
        stored: as in the tables and result files of nuScenes.
    """
    heading = rotation_from_quaternion(stored.rotation)[:, :, 0]
    yaw = wrapped(np.arctan2(heading[:, 1], heading[:, 0]))
    return np.column_stack([stored.translation, stored.size[:, [1, 0, 2]], yaw])


def nuscenes_from_boxes(boxes: Float[Array, "n c"]) -> NuscenesBoxes:
    """Return boxes as nuScenes stores them, in the same frame; the inverse of :func:`boxes_from_nuscenes`.

    Args:
        boxes: oriented boxes ``[n,7]``.

    Raises:
        ShapeError: fewer than seven columns.
        InputError: a number is not finite.
    """
    rows = as_rows(boxes, 7, "boxes")
    half = rows[:, 6] / 2
    rotation = np.column_stack([np.cos(half), np.zeros_like(half), np.zeros_like(half), np.sin(half)])
    return NuscenesBoxes(rows[:, :3], rows[:, [4, 3, 5]], rotation)


def _copied(boxes: Float[Array, "n c"]) -> Float[Array, "n c"]:
    if boxes.shape[1] < 7:
        raise ShapeError("boxes have the wrong shape", got=tuple(boxes.shape), expected="[n, 7] or more columns")
    return boxes.clone() if isinstance(boxes, Tensor) else boxes.copy()


def _exchanged(boxes: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Exchange length and width, and turn the angle; which is the same both ways."""
    other = _copied(boxes)
    other[:, 3], other[:, 4] = boxes[:, 4], boxes[:, 3]
    other[:, 6] = wrapped(-boxes[:, 6] - math.pi / 2)
    return other
