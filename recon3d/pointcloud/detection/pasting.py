"""Objects of other frames put into a frame, where there is room: more to learn from each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64

from recon3d.pointcloud.boxes.corners import points_in_boxes
from recon3d.pointcloud.boxes.overlap import intersection_bev
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.detection.frames import FrameSet, LabelledFrame

_MARGIN = 0.15  # metres around a box that must be free


@dataclass(frozen=True, kw_only=True)
class PasteOptions:
    """How many objects are added to a frame.

    Args:
        per_class: largest number of each class; ``()`` adds none.
        min_points: of an object that is worth keeping.
        frames: that objects are taken from.
        shared: share of the frames that get any.
    """

    per_class: tuple[int, ...] = (8, 12, 12)
    min_points: int = 8
    frames: int = 400
    shared: float = 0.85


@dataclass(frozen=True, eq=False, kw_only=True)
class CutObject:
    """An object cut out of a frame, where it stood.

    Args:
        points: those inside its box, z over the ground under the sensor.
        box: with z over the ground under the sensor.
    """

    points: Float32[np.ndarray, "n c"]
    box: Float64[np.ndarray, " 7"]


class ObjectBank:
    """Objects by class.

    Args:
        objects: of each class.
        options: how they are used.
    """

    def __init__(self, objects: Sequence[Sequence[CutObject]], options: PasteOptions) -> None:
        self.objects, self.options = objects, options

    @classmethod
    def of(cls, frames: FrameSet, n_classes: int, options: PasteOptions) -> ObjectBank:
        """Return the objects of some frames.

        Args:
            frames: the first of them are read.
            n_classes: of the boxes.
            options: how many frames, and which objects.
        """
        found: list[list[CutObject]] = [[] for _ in range(n_classes)]
        for index in range(min(options.frames, len(frames)) if options.per_class else 0):
            frame = frames.frame(index).raised(0.0)
            inside = points_in_boxes(frame.points, frame.boxes.boxes)
            for label, box, rows in zip(frame.boxes.labels, frame.boxes.boxes, inside, strict=True):
                if rows.sum() >= options.min_points:
                    found[int(label)].append(CutObject(points=frame.points[rows], box=box))
        return cls(found, options)

    def pasted(self, frame: LabelledFrame, rng: np.random.Generator) -> LabelledFrame:
        """Return a frame with more objects; each stands at the distance and side that it was seen from.

        Args:
            frame: points and boxes.
            rng: source of the choice.
        """
        chosen = self._chosen(rng)
        if not chosen:
            return frame
        boxes = np.array([one.box for _, one in chosen])
        boxes[:, 2] -= frame.mount_m
        rows = _free(boxes, frame.boxes.boxes)
        if not rows:
            return frame
        kept = frame.points[~points_in_boxes(frame.points, boxes[rows]).any(0)]
        added = [chosen[row][1].points - np.array([0, 0, frame.mount_m, 0], np.float32) for row in rows]
        labels = np.array([chosen[row][0] for row in rows], np.int64)
        truth = Boxes3D(
            boxes=np.concatenate([frame.boxes.boxes, boxes[rows]]),
            labels=np.concatenate([frame.boxes.labels, labels]),
            names=frame.boxes.names,
        )
        return replace(frame, points=np.concatenate([kept[:, :4], *added]), boxes=truth)

    def _chosen(self, rng: np.random.Generator) -> list[tuple[int, CutObject]]:
        if not self.options.per_class or rng.random() >= self.options.shared:
            return []
        return [
            (label, objects[int(rng.integers(len(objects)))])
            for label, (objects, most) in enumerate(zip(self.objects, self.options.per_class, strict=False))
            if objects
            for _ in range(int(rng.integers(most + 1)))
        ]


def _free(boxes: Float64[np.ndarray, "n 7"], there: Float64[np.ndarray, "m 7"]) -> list[int]:
    """Return the boxes that touch neither those that are there nor one another, in their order."""
    wide = boxes.copy()
    wide[:, 3:5] += 2 * _MARGIN
    blocked = np.any(intersection_bev(wide, there) > 0, axis=1)
    between: np.ndarray = intersection_bev(wide, wide) > 0
    kept: list[int] = []
    for row in range(len(boxes)):
        if not blocked[row] and not between[row, kept].any():
            kept.append(row)
    return kept
