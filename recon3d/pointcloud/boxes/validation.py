"""Do boxes and points fit together? Boxes in the convention of another project are mostly empty."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from recon3d.pointcloud.boxes.arrays import Array, as_rows
from recon3d.pointcloud.boxes.corners import points_in_boxes
from recon3d.pointcloud.boxes.types import Boxes3D

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxReport:
    """What :func:`validate_boxes` found.

    Args:
        points_inside: points in each box, ``[n]``.
        n_empty: boxes without a point.
        problems: what is wrong, in words; none where all is well.
    """

    points_inside: Int64[np.ndarray, " n"]
    n_empty: int
    problems: tuple[str, ...]


class _Reading(NamedTuple):
    """What another convention means by the same seven numbers.

    Args:
        columns: where ours stand.
        signs: what they are multiplied with.
        turn: added to yaw, radians.
        lift: added to z, in heights.
    """

    columns: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    signs: tuple[int, ...] = (1, 1, 1, 1, 1, 1, 1)
    turn: float = 0.0
    lift: float = 0.0

    def __call__(self, boxes: Float64[np.ndarray, "n 7"]) -> Float64[np.ndarray, "n 7"]:
        read = boxes[:, self.columns] * np.array(self.signs)
        read[:, 2] += self.lift * boxes[:, 5]
        read[:, 6] += self.turn
        ours: Float64[np.ndarray, "n 7"] = read
        return ours


_EXCHANGED, _CLOCKWISE = (0, 1, 2, 4, 3, 5, 6), (1, 1, 1, 1, 1, 1, -1)
# Those that fill most boxes are named.
_READINGS = {
    "z were the bottom, not the centre": _Reading(lift=0.5),
    "length and width were exchanged": _Reading(_EXCHANGED),
    "yaw were clockwise": _Reading(signs=_CLOCKWISE),
    "yaw were measured from +y": _Reading(turn=math.pi / 2),
    "they were boxes of mmdetection3d before 1.0": _Reading(_EXCHANGED, _CLOCKWISE, -math.pi / 2, 0.5),
    "their x pointed to the right and y forward": _Reading((1, 0, 2, 3, 4, 5, 6), (1, -1, 1, 1, 1, 1, 1), -math.pi / 2),
    "their x pointed forward and y to the left": _Reading((1, 0, 2, 3, 4, 5, 6), (-1, 1, 1, 1, 1, 1, 1), math.pi / 2),
}


def validate_boxes(points: Float[Array, "p c"], boxes: Boxes3D, *, share_empty: float = 0.5) -> BoxReport:
    """Count the points inside boxes; warn when most boxes are empty, and name the convention that would fill them.

    Args:
        points: x, y, z and anything else in the frame of the boxes, ``[p,3]``.
        boxes: labels or detections.
        share_empty: a larger share of empty boxes is a problem.

    Raises:
        ShapeError: fewer than three columns of points.
    """
    xyz = as_rows(points, 3, "points", finite=False)
    counts = _counts(xyz, boxes.boxes)
    n_empty = int((counts == 0).sum())
    problems = []
    if n_empty > share_empty * len(boxes):
        problems += [f"{n_empty} of {len(boxes)} boxes hold no point", _explanation(xyz, boxes.boxes, counts)]
    thin = int((boxes.boxes[:, 3:6] <= 0).any(1).sum())
    if thin:
        problems.append(f"{thin} of {len(boxes)} boxes have a size that is not positive")
    for problem in problems:
        _log.warning(problem)
    return BoxReport(points_inside=counts, n_empty=n_empty, problems=tuple(problems))


def _counts(xyz: Float64[np.ndarray, "p 3"], boxes: Float64[np.ndarray, "n 7"]) -> Int64[np.ndarray, " n"]:
    counts: Int64[np.ndarray, " n"] = points_in_boxes(xyz, boxes).sum(1, dtype=np.int64)
    return counts


def _explanation(
    xyz: Float64[np.ndarray, "p 3"], boxes: Float64[np.ndarray, "n 7"], counts: Int64[np.ndarray, " n"]
) -> str:
    """Say which convention would fill most of the boxes; else, where the points are."""
    filled = {name: int((_counts(xyz, read(boxes)) > 0).sum()) for name, read in _READINGS.items()}
    most = max(filled.values())
    if most > max(2 * int((counts > 0).sum()), len(boxes) // 2):
        best = ", or ".join(name for name in filled if filled[name] == most)  # points cannot tell some of them apart
        return f"if {best}, {most} of {len(boxes)} would hold points"
    seen = xyz[np.isfinite(xyz).all(1)]
    if not len(seen):
        return "there are no points"
    low, high = seen.min(0).round(1).tolist(), seen.max(0).round(1).tolist()
    return f"are they in the frame of the points, which reach from {low} to {high}?"
