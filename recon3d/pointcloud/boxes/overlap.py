"""How much boxes overlap: axis-aligned in 3D, rotated from above, rotated in 3D, and snapped to the nearest axis.

All of them take numpy arrays or torch tensors ``[n,7]`` (centre x, y, z, length, width, height, yaw; more columns are
left out), compute in float64 on the CPU, and return what they were given: float64 arrays, or tensors of the first
argument's type on its device, without gradients. A box that is not longer than 1 cm in a direction that counts overlaps
nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.boxes.arrays import Array, as_given, as_rows
from recon3d.pointcloud.boxes.clipping import SMALLEST_SIZE, common_areas, common_areas_of_pairs

OverlapKind = Literal["bev", "3d", "axis_aligned", "nearest_bev"]


def box_iou(a: Float[Array, "n c"], b: Float[Array, "m c2"], kind: OverlapKind) -> Float[Array, "n m"]:
    """Return the intersection over union of all pairs.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[m,7]``.
        kind: ``bev``, rotated rectangles from above; ``3d``, those times the common height; ``axis_aligned``, in 3D
            with the yaw left out; ``nearest_bev``, from above with each yaw turned to the nearest right angle.

    Raises:
        ShapeError: fewer than seven columns.
        InputError: a number is not finite.
        UsageError: unknown kind.
    """
    first, second = as_rows(a, 7, "a"), as_rows(b, 7, "b")
    if kind in ("bev", "3d"):
        areas = common_areas(first, second)
    else:
        areas = _aligned_areas(_snapped(first, kind)[:, None], _snapped(second, kind)[None])
    return as_given(_ratio(areas, first[:, None], second[None], kind), a)


def box_iou_of_pairs(a: Float[Array, "n c"], b: Float[Array, "n c2"], kind: OverlapKind) -> Float[Array, " n"]:
    """Return the intersection over union of the boxes of the same row.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[n,7]``.
        kind: as in :func:`box_iou`.

    Raises:
        ShapeError: fewer than seven columns, or different numbers of boxes.
        InputError: a number is not finite.
        UsageError: unknown kind.
    """
    first, second = as_rows(a, 7, "a"), as_rows(b, 7, "b")
    if len(first) != len(second):
        raise ShapeError("pairs need as many boxes on both sides", got=(len(first), len(second)))
    if kind in ("bev", "3d"):
        areas = common_areas_of_pairs(first, second)
    else:
        areas = _aligned_areas(_snapped(first, kind), _snapped(second, kind))
    return as_given(_ratio(areas, first, second, kind), a)


def rotated_iou_bev(a: Float[Array, "n c"], b: Float[Array, "m c2"]) -> Float[Array, "n m"]:
    """Return the intersection over union of all pairs of rotated rectangles, seen from above.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[m,7]``.
    """
    return box_iou(a, b, "bev")


def rotated_iou_3d(a: Float[Array, "n c"], b: Float[Array, "m c2"]) -> Float[Array, "n m"]:
    """Return the intersection over union of all pairs of rotated boxes.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[m,7]``.
    """
    return box_iou(a, b, "3d")


def axis_aligned_iou_3d(a: Float[Array, "n c"], b: Float[Array, "m c2"]) -> Float[Array, "n m"]:
    """Return the intersection over union of all pairs of boxes whose yaw is left out.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[m,7]``.
    """
    return box_iou(a, b, "axis_aligned")


def nearest_iou_bev(a: Float[Array, "n c"], b: Float[Array, "m c2"]) -> Float[Array, "n m"]:
    """Return the intersection over union from above of all pairs, each box turned to its nearest axis.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[m,7]``.
    """
    return box_iou(a, b, "nearest_bev")


def intersection_bev(a: Float[Array, "n c"], b: Float[Array, "m c2"]) -> Float[Array, "n m"]:
    """Return the common area of all pairs of rotated rectangles, square metres.

    Args:
        a: boxes ``[n,7]``.
        b: boxes ``[m,7]``.
    """
    return as_given(common_areas(as_rows(a, 7, "a"), as_rows(b, 7, "b")), a)


def _snapped(boxes: Float64[np.ndarray, "n 7"], kind: str) -> Float64[np.ndarray, "n 7"]:
    """Exchange length and width of the boxes that lie nearer to the y axis, for the kind that asks for it."""
    if kind == "axis_aligned":
        return boxes
    if kind != "nearest_bev":
        raise UsageError("unknown kind of overlap", got=kind, expected="bev, 3d, axis_aligned or nearest_bev")
    across = np.abs(np.sin(boxes[:, 6:])) > np.abs(np.cos(boxes[:, 6:]))
    sizes = np.where(across, boxes[:, [4, 3]], boxes[:, 3:5])
    return np.concatenate([boxes[:, :3], sizes, boxes[:, 5:]], 1)


def _aligned_areas(a: Float64[np.ndarray, "*n 7"], b: Float64[np.ndarray, "*m 7"]) -> Float64[np.ndarray, "*nm"]:
    """Return the common area of rectangles along the axes; the two sides follow the rules of broadcasting."""
    sides = _common(a, b, 0) * _common(a, b, 1)
    thick = (a[..., 3:5].min(-1) > SMALLEST_SIZE) & (b[..., 3:5].min(-1) > SMALLEST_SIZE)
    return np.where(thick, sides, 0.0)


def _common(a: Float64[np.ndarray, "*n 7"], b: Float64[np.ndarray, "*m 7"], axis: int) -> Float64[np.ndarray, "*nm"]:
    """Return the length that two boxes have in common along an axis."""
    low = np.maximum(a[..., axis] - a[..., 3 + axis] / 2, b[..., axis] - b[..., 3 + axis] / 2)
    high = np.minimum(a[..., axis] + a[..., 3 + axis] / 2, b[..., axis] + b[..., 3 + axis] / 2)
    common: Float64[np.ndarray, "*nm"] = np.maximum(high - low, 0.0)
    return common


def _ratio(
    areas: Float64[np.ndarray, "*nm"], a: Float64[np.ndarray, "*n 7"], b: Float64[np.ndarray, "*m 7"], kind: str
) -> Float64[np.ndarray, "*nm"]:
    """Return intersection over union from the common areas, at most 1."""
    common, last = areas, 5
    if kind in ("3d", "axis_aligned"):
        thick = (a[..., 5] > SMALLEST_SIZE) & (b[..., 5] > SMALLEST_SIZE)
        common, last = np.where(thick, areas * _common(a, b, 2), 0.0), 6
    union = a[..., 3:last].prod(-1) + b[..., 3:last].prod(-1) - common
    ratio: Float64[np.ndarray, "*nm"] = np.zeros_like(common)
    np.divide(common, union, out=ratio, where=common > 0)
    np.minimum(ratio, 1.0, out=ratio)
    return ratio
