"""How good detections are: average precision from above and in 3D, by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recon3d.pointcloud.boxes.corners import points_in_boxes
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.detection.frames import FrameSet, LabelledFrame
from recon3d.pointcloud.metrics.waymo import WaymoFrame, WaymoOptions, waymo_metrics

_VEHICLES = ("car", "vehicle", "truck", "bus", "trailer", "construction_vehicle")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """Which detections count as right.

    Args:
        vehicle_iou: least overlap of vehicles.
        other_iou: least overlap of everything else.
        min_points: a truth with fewer points is neither right nor wrong.
    """

    vehicle_iou: float = 0.5
    other_iou: float = 0.3
    min_points: int = 5

    def overlap(self, name: str) -> float:
        """Return the least overlap of a class.

        Args:
            name: of the class.
        """
        return self.vehicle_iou if name in _VEHICLES else self.other_iou


@dataclass(frozen=True, kw_only=True)
class DetectionScores:
    """Average precisions of a set of frames, 0 to 1.

    Args:
        bev: by class, from above.
        box_3d: by class, in 3D.
        truths: how many of each class there were.
    """

    bev: Mapping[str, float] = field(default_factory=dict)
    box_3d: Mapping[str, float] = field(default_factory=dict)
    truths: Mapping[str, int] = field(default_factory=dict)

    @property
    def mean_bev(self) -> float:
        """Mean over the classes that occur, from above."""
        return _mean(self.bev, self.truths)

    @property
    def mean_3d(self) -> float:
        """Mean over the classes that occur, in 3D."""
        return _mean(self.box_3d, self.truths)

    def to_json(self) -> dict[str, Any]:
        """Return them with four digits."""
        rounded = {
            kind: {name: round(value, 4) for name, value in of.items()}
            for kind, of in (("bev", self.bev), ("3d", self.box_3d))
        }
        means = {"mean_bev": round(self.mean_bev, 4), "mean_3d": round(self.mean_3d, 4)}
        return {**means, **rounded, "truths": dict(self.truths)}


def _mean(values: Mapping[str, float], truths: Mapping[str, int]) -> float:
    known = [value for name, value in values.items() if truths.get(name)]
    return float(np.mean(known)) if known else 0.0


def evaluate_detections(
    detect: Callable[[LabelledFrame], Boxes3D], frames: FrameSet, options: ScoreOptions | None = None
) -> DetectionScores:
    """Return how good a detector is on some frames.

    Args:
        detect: returns boxes with scores and the class names of the truth.
        frames: with the truth.
        options: what counts as right.
    """
    options = options or ScoreOptions()
    found = [(detect(frame), frame) for frame in map(frames.frame, range(len(frames)))]
    return score_detections(found, options)


def score_detections(
    found: Sequence[tuple[Boxes3D, LabelledFrame]], options: ScoreOptions | None = None
) -> DetectionScores:
    """Return how good detections are; a truth with too few points may be found or not.

    The area below the curve of precision over recall is taken as Waymo's tool does, at 101 scores.

    Args:
        found: detections of each frame, and the frame.
        options: what counts as right.
    """
    options = options or ScoreOptions()
    if not found:
        return DetectionScores()
    names = found[0][1].boxes.names
    settings = WaymoOptions(iou={name: options.overlap(name) for name in names}, ranges=())
    sides = []
    for lift in (_flat, _kept):
        scores = waymo_metrics([_frame(*one, lift, options) for one in found], settings)
        sides.append({name: scores[f"{name.upper()}_LEVEL_1"].ap for name in names})
    counts = {name: sum(_n_counting(frame, name, options.min_points) for _, frame in found) for name in names}
    return DetectionScores(bev=sides[0], box_3d=sides[1], truths=counts)


def _kept(boxes: Boxes3D) -> Boxes3D:
    return boxes


def _flat(boxes: Boxes3D) -> Boxes3D:
    """Return boxes of one height on one plane: their overlap in 3D is the one from above."""
    rows = boxes.boxes.copy()
    rows[:, 2], rows[:, 5] = 0.0, 1.0
    return replace(boxes, boxes=rows)


def _levels(frame: LabelledFrame, least: int) -> np.ndarray:
    """Return 1 for a truth that counts, 2 for one with few points."""
    inside = points_in_boxes(frame.points, frame.boxes.boxes).sum(1)
    return np.where(inside >= least, 1, 2).astype(np.int64)


def _n_counting(frame: LabelledFrame, name: str, least: int) -> int:
    of_class = frame.boxes.labels == frame.boxes.names.index(name)
    return int((of_class & (_levels(frame, least) == 1)).sum())


def _frame(
    found: Boxes3D, frame: LabelledFrame, lift: Callable[[Boxes3D], Boxes3D], options: ScoreOptions
) -> WaymoFrame:
    return WaymoFrame(
        predictions=lift(found), truths=lift(frame.boxes), truth_levels=_levels(frame, options.min_points)
    )
