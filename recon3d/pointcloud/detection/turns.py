"""A detector that looks to the front sees all around by turning the points."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.pointcloud.boxes.nms import nms_bev_by_class
from recon3d.pointcloud.boxes.types import Boxes3D, joined_boxes

_MARGIN = math.radians(4.0)
_FEW = 0.01


def needed_turns(azimuths: Float64[np.ndarray, " n"], sector_deg: float, facing: float = 0.0) -> tuple[float, ...]:
    """Return by how much to turn the points, counter-clockwise in radians, so that every look has something to see.

    Args:
        azimuths: of the points, radians.
        sector_deg: width of a look.
        facing: azimuth that the middle of a look is turned to, radians.
    """
    looks = math.ceil(360 / sector_deg - 1e-9)
    turns = [2 * math.pi * look / looks for look in range(looks)]
    shares = [float((np.abs(_wrapped(azimuths + turn)) <= math.pi / looks).mean()) for turn in turns if len(azimuths)]
    return tuple(turn + facing for turn, share in zip(turns, shares, strict=False) if share > _FEW)


def turned_points(points: np.ndarray, turn: float) -> np.ndarray:
    """Return points turned about the vertical.

    Args:
        points: x, y and other columns.
        turn: counter-clockwise, radians.
    """
    if turn == 0:
        return points
    out = points.copy()
    c, s = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    out[:, 0], out[:, 1] = c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]
    return out


def turned_boxes(boxes: Boxes3D, turn: float) -> Boxes3D:
    """Return boxes turned about the vertical.

    Args:
        boxes: any.
        turn: counter-clockwise, radians.
    """
    if turn == 0:
        return boxes
    target = np.eye(4)
    target[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    return boxes.transformed(target)


def joined_looks(
    found: list[Boxes3D],
    turns: tuple[float, ...],
    sector_deg: float,
    overlaps: tuple[float, ...],
    facing: float = 0.0,
) -> Boxes3D:
    """Return the boxes of all looks in the frame of the points; of two at a border, the better one.

    Args:
        found: boxes of each look, in its turned frame.
        turns: of each look.
        sector_deg: width of a look.
        overlaps: from above, of boxes of each class, beyond which the weaker falls.
        facing: azimuth of the middle of each look, radians.
    """
    if sector_deg >= 360 or (len(turns) == 1 and turns[0] == facing):
        return turned_boxes(found[0], -turns[0])
    half = math.radians(sector_deg) / 2 + _MARGIN
    parts = []
    for boxes, turn in zip(found, turns, strict=True):
        azimuths = np.arctan2(boxes.boxes[:, 1], boxes.boxes[:, 0]) - facing
        parts.append(turned_boxes(boxes.selected(np.abs(_wrapped(azimuths)) <= half), -turn))
    boxes = joined_boxes(parts)
    if boxes.scores is None or not len(boxes):
        return boxes
    return boxes.selected(nms_bev_by_class(boxes.boxes, boxes.scores, boxes.labels, overlaps))


def around_sensor(boxes: Boxes3D) -> Bool[np.ndarray, " n"]:
    """Return which boxes stand around the origin, seen from above.

    Args:
        boxes: in the frame of the sensor.
    """
    rows = boxes.boxes
    c, s = np.cos(rows[:, 6]), np.sin(rows[:, 6])
    along, across = np.abs(c * rows[:, 0] + s * rows[:, 1]), np.abs(c * rows[:, 1] - s * rows[:, 0])
    inside: np.ndarray = (along < rows[:, 3] / 2) & (across < rows[:, 4] / 2)
    return inside


def _wrapped(angle: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    out: Float64[np.ndarray, " n"] = (angle + math.pi) % (2 * math.pi) - math.pi
    return out
