"""Clouds with true boxes, from wherever they come: what training and evaluation read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.detection.turns import turned_points


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledFrame:
    """One cloud and what stands in it.

    Args:
        points: x forward, y left, z up (metres), intensity as a share of the brightest; other columns may follow.
        boxes: the truth, in the same frame.
        mount_m: height of the frame's origin over the ground, metres.
        name: of the frame, for messages.
    """

    points: Float32[np.ndarray, "n c"]
    boxes: Boxes3D
    mount_m: float
    name: str = ""

    def raised(self, mount_m: float) -> LabelledFrame:
        """Return the frame as if its sensor stood at another height.

        Args:
            mount_m: of the origin over the ground.
        """
        lift = self.mount_m - mount_m
        points, boxes = self.points.copy(), self.boxes.boxes.copy()
        points[:, 2] += lift
        boxes[:, 2] += lift
        return replace(self, points=points, boxes=replace(self.boxes, boxes=boxes), mount_m=mount_m)

    def turned(self, turn: float) -> LabelledFrame:
        """Return the frame turned about the vertical axis of its sensor.

        Args:
            turn: counter-clockwise, radians.
        """
        points, boxes = turned_points(self.points, turn), turned_points(self.boxes.boxes, turn).copy()
        boxes[:, 6] += turn
        return replace(self, points=points, boxes=replace(self.boxes, boxes=boxes))


@runtime_checkable
class FrameSet(Protocol):
    """Frames that can be read in any order, again and again."""

    def __len__(self) -> int:
        """Return how many there are."""

    def frame(self, index: int) -> LabelledFrame:
        """Return one of them.

        Args:
            index: from 0.
        """


def renamed(boxes: Boxes3D, names: tuple[str, ...], classes: dict[str, str] | None = None) -> Boxes3D:
    """Return the boxes whose class has a place among other classes, with their numbers there.

    Args:
        boxes: with names of their own.
        names: the classes wanted.
        classes: what a name there is called here; one that is missing keeps its name in lower case.
    """
    known = [(classes or {}).get(name, name.lower()) for name in boxes.names]
    numbers = np.array([names.index(one) if one in names else -1 for one in known], np.int64)
    labels = numbers[boxes.labels] if len(boxes) else boxes.labels
    kept = boxes.selected(labels >= 0)
    return replace(kept, labels=labels[labels >= 0], names=names)


def listed_names(folder: Path, split: str) -> list[str]:
    """Return the names in a list of frames.

    Args:
        folder: of the frames.
        split: the file, by itself or in the folder; names stand one a line.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    path = next((one for one in (Path(split), folder / split) if one.is_file()), None)
    if path is None:
        raise InputError("cannot read the list of frames", got=split, expected="a file with a name on each line")
    try:
        return path.read_text().split()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the list of frames {path}", got=error) from error


@dataclass(frozen=True)
class Subset:
    """Some frames of a set.

    Args:
        source: the set.
        rows: which of its frames.
    """

    source: FrameSet
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self, index: int) -> LabelledFrame:
        """Return one of them.

        Args:
            index: from 0.
        """
        return self.source.frame(self.rows[index])


def split_frames(frames: FrameSet, every: int) -> tuple[Subset, Subset]:
    """Return what to train with, and what to hold out: every so many-th frame.

    Args:
        frames: the set.
        every: 2 or more.

    Raises:
        UsageError: there are too few frames for it.
    """
    if every < 2 or len(frames) < every:
        raise UsageError("too few frames to hold some out", got=len(frames), expected=f"{max(every, 2)} or more")
    held = tuple(range(every - 1, len(frames), every))
    return Subset(frames, tuple(n for n in range(len(frames)) if n not in set(held))), Subset(frames, held)


class KeptFrames:
    """Frames that stay in memory once they have been read.

    Args:
        source: where they come from.
        most: how many of them stay, the first that are read.
    """

    def __init__(self, source: FrameSet, most: int = 2000) -> None:
        self.source, self.most = source, most
        self._kept: dict[int, LabelledFrame] = {}

    def __len__(self) -> int:
        return len(self.source)

    def frame(self, index: int) -> LabelledFrame:
        """Return one of them.

        Args:
            index: from 0.
        """
        if index in self._kept:
            return self._kept[index]
        frame = self.source.frame(index)
        if len(self._kept) < self.most:
            self._kept[index] = frame
        return frame
