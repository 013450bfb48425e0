"""``Boxes3D``: oriented boxes with classes, the one convention of this library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.boxes.arrays import wrapped


@dataclass(frozen=True, eq=False, kw_only=True)
class Boxes3D:
    """Oriented boxes of one frame: of a label file, or what a detector found.

    Args:
        boxes: geometric centre x, y, z, then length along the heading, width, height (metres), and yaw, the angle of
            the heading counter-clockwise from +x (radians, stored in [-pi, pi)); z is up. A size of a detector that is
            not positive is kept; such a box overlaps nothing. ``[n,7]``.
        labels: class of each box, an index into ``names``, ``[n]``.
        names: the classes.
        scores: confidence of each box, larger is surer, ``[n]``; None for a truth.
        velocities: vx, vy in metres per second, NaN = unknown, ``[n,2]``.

    Raises:
        ShapeError: arrays of different lengths.
        InputError: a number of a box or a score is not finite.
        UsageError: a label has no name.
    """

    boxes: Float64[np.ndarray, "n 7"]
    labels: Int64[np.ndarray, " n"]
    names: tuple[str, ...]
    scores: Float64[np.ndarray, " n"] | None = None
    velocities: Float64[np.ndarray, "n 2"] | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        shapes = {"boxes": (n, 7), "labels": (n,), "scores": (n,), "velocities": (n, 2)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(f"Boxes3D.{name} has the wrong shape", got=value.shape, expected=shape)
        _check_finite(self.boxes, self.scores)
        if n and not (self.labels.min() >= 0 and self.labels.max() < len(self.names)):
            wrong = self.labels.min() if self.labels.min() < 0 else self.labels.max()
            raise UsageError("a label has no name", got=wrong, expected=f"0 to {len(self.names) - 1}: {self.names}")
        turned = np.concatenate([self.boxes[:, :6], wrapped(self.boxes[:, 6:])], 1)
        object.__setattr__(self, "boxes", turned)

    def __len__(self) -> int:
        return len(self.boxes)

    def selected(self, rows: Bool[np.ndarray, " n"] | Int64[np.ndarray, " m"]) -> Boxes3D:
        """Return some of the boxes.

        Args:
            rows: a mask ``[n]``, or indices ``[m]``, whose order is kept.
        """
        return replace(
            self,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            scores=None if self.scores is None else self.scores[rows],
            velocities=None if self.velocities is None else self.velocities[rows],
        )

    def of_class(self, name: str) -> Boxes3D:
        """Return the boxes of one class; none where the class is unknown.

        Args:
            name: of the class.
        """
        label = self.names.index(name) if name in self.names else -1
        return self.selected(self.labels == label)

    def transformed(self, target_from_source: Float64[np.ndarray, "4 4"]) -> Boxes3D:
        """Return the boxes in another frame; of a tilt, only what it does to the headings on the ground is kept.

        Args:
            target_from_source: rigid transform.
        """
        rotation, yaw = target_from_source[:3, :3], self.boxes[:, 6]
        heading = np.stack([np.cos(yaw), np.sin(yaw)], 1) @ rotation[:2, :2].T
        centre = self.boxes[:, :3] @ rotation.T + target_from_source[:3, 3]
        turned = np.arctan2(heading[:, 1:], heading[:, :1])
        moved = None if self.velocities is None else self.velocities @ rotation[:2, :2].T
        return replace(self, boxes=np.concatenate([centre, self.boxes[:, 3:6], turned], 1), velocities=moved)


def _check_finite(boxes: np.ndarray, scores: np.ndarray | None) -> None:
    finite = np.isfinite(boxes).all(1) & (True if scores is None else np.isfinite(scores))
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise InputError("a box or its score is not finite", got=f"row {bad}: {boxes[bad]}")


def joined_boxes(parts: Sequence[Boxes3D]) -> Boxes3D:
    """Return the boxes of several lists as one.

    Args:
        parts: with the same class names; scores and velocities survive where all have them.

    Raises:
        UsageError: no list, or different class names.
    """
    if not parts or any(one.names != parts[0].names for one in parts):
        raise UsageError("only boxes with the same class names can be joined", got=[one.names for one in parts])
    scores = [one.scores for one in parts if one.scores is not None]
    velocities = [one.velocities for one in parts if one.velocities is not None]
    return Boxes3D(
        boxes=np.concatenate([one.boxes for one in parts]),
        labels=np.concatenate([one.labels for one in parts]),
        names=parts[0].names,
        scores=np.concatenate(scores) if len(scores) == len(parts) else None,
        velocities=np.concatenate(velocities) if len(velocities) == len(parts) else None,
    )
