"""Average precision of the KITTI object benchmark: in the image, from above, in 3D, and weighted by orientation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import InputError, UsageError
from recon3d.formats.kitti_text import KittiObject
from recon3d.pointcloud.boxes.kitti_camera import rows_from_kitti
from recon3d.pointcloud.boxes.overlap import rotated_iou_3d, rotated_iou_bev
from recon3d.pointcloud.metrics.kitti_matching import count_at_thresholds, hit_scores

N_SAMPLES = 41  # positions of the recall
_NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}  # finding one of these is neither right nor wrong


class KittiOverlaps(NamedTuple):
    """Overlap of a match, which must be larger than this.

    Args:
        image: of the rectangles in the image.
        bev: from above.
        box_3d: in 3D.
    """

    image: float
    bev: float
    box_3d: float


KITTI_STRICT: Mapping[str, KittiOverlaps] = {
    "Car": KittiOverlaps(0.7, 0.7, 0.7),
    "Pedestrian": KittiOverlaps(0.5, 0.5, 0.5),
    "Cyclist": KittiOverlaps(0.5, 0.5, 0.5),
}
KITTI_RELAXED: Mapping[str, KittiOverlaps] = {
    "Car": KittiOverlaps(0.7, 0.5, 0.5),
    "Pedestrian": KittiOverlaps(0.5, 0.25, 0.25),
    "Cyclist": KittiOverlaps(0.5, 0.25, 0.25),
}


class _Difficulty(NamedTuple):
    name: str
    height: float  # of the rectangle, pixels
    occluded: int
    truncated: float


_DIFFICULTIES = (
    _Difficulty("easy", 40, 0, 0.15),
    _Difficulty("moderate", 25, 1, 0.3),
    _Difficulty("hard", 25, 2, 0.5),
)


@dataclass(frozen=True, eq=False)
class _Objects:
    """The lines of one file as arrays."""

    kinds: list[str]
    rectangles: Float64[np.ndarray, "n 4"]
    alpha: Float64[np.ndarray, " n"]
    boxes: Float64[np.ndarray, "n 7"]
    scores: Float64[np.ndarray, " n"]
    occluded: Int64[np.ndarray, " n"]
    truncated: Float64[np.ndarray, " n"]

    @classmethod
    def of(cls, lines: Sequence[KittiObject]) -> _Objects:
        return cls(
            kinds=[one.kind.lower() for one in lines],
            rectangles=np.array([one.box_2d for one in lines], np.float64).reshape(-1, 4),
            alpha=np.array([one.alpha for one in lines], np.float64),
            boxes=rows_from_kitti(lines),
            scores=np.array([0.0 if one.score is None else one.score for one in lines], np.float64),
            occluded=np.array([one.occluded for one in lines], np.int64),
            truncated=np.array([one.truncated for one in lines], np.float64),
        )


class _Frame(NamedTuple):
    truths: _Objects
    found: _Objects
    overlaps: tuple[Float64[np.ndarray, "d t"], ...]  # image, bev, 3d
    in_dont_care: Float64[np.ndarray, "d c"]  # share of each rectangle


def kitti_metrics(
    truths: Sequence[Sequence[KittiObject]],
    detections: Sequence[Sequence[KittiObject]],
    least_overlaps: Mapping[str, KittiOverlaps] = KITTI_STRICT,
) -> dict[str, float]:
    """Return average precisions in percent, as ``Car_3d/moderate_R40``.

    Names are made of the class, of what is compared (``image``, ``bev``, ``3d``, ``aos``), of the difficulty, and of
    the recall positions: R40 takes 1/40 to 1, R11 takes 0, 0.1 to 1. A detection must carry its rectangle in the
    image, since the difficulty is a matter of its height; ``kitti_from_boxes`` makes it.

    Args:
        truths: lines of the label file of each frame.
        detections: lines with scores of each frame, in the same order.
        least_overlaps: of a match by class; ``KITTI_STRICT`` or ``KITTI_RELAXED``.

    Raises:
        UsageError: other numbers of frames, or a detection without score.
        InputError: a score or a box is not finite.
    """
    if len(truths) != len(detections):
        raise UsageError("there must be detections for each frame", got=len(detections), expected=len(truths))
    if any(one.score is None for lines in detections for one in lines):
        raise UsageError("a detection has no score", expected="16 words in each line of a result file")
    if not all(math.isfinite(one.score or 0.0) for lines in detections for one in lines):
        raise InputError("the score of a detection is not finite", expected="numbers in the 16th word of each line")
    frames = [_frame(_Objects.of(there), _Objects.of(found)) for there, found in zip(truths, detections, strict=True)]
    scores: dict[str, float] = {}
    for name, least in least_overlaps.items():
        for number, kind in enumerate(("image", "bev", "3d")):
            for difficulty in _DIFFICULTIES:
                precision, similarity = _curves(frames, name.lower(), difficulty, number, least[number])
                scores |= _named(f"{name}_{kind}/{difficulty.name}", precision)
                scores |= _named(f"{name}_aos/{difficulty.name}", similarity) if kind == "image" else {}
    return scores


def _named(title: str, curve: Float64[np.ndarray, " 41"]) -> dict[str, float]:
    return {f"{title}_R40": 100 * float(curve[1:].mean()), f"{title}_R11": 100 * float(curve[::4].mean())}


def _frame(truths: _Objects, found: _Objects) -> _Frame:
    dont_care = np.array([kind == "dontcare" for kind in truths.kinds], np.bool_)
    common = _common(found.rectangles, truths.rectangles)
    area, other = _area(found.rectangles)[:, None], _area(truths.rectangles)[None]
    union, covered = area + other - common, np.zeros_like(common)
    in_image = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    np.divide(common, area, out=covered, where=common > 0)
    boxes = found.boxes, truths.boxes
    overlaps = in_image, rotated_iou_bev(*boxes), rotated_iou_3d(*boxes)
    return _Frame(truths, found, overlaps, np.ascontiguousarray(covered[:, dont_care]))


def _area(rectangles: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
    sides: Float64[np.ndarray, "n 2"] = rectangles[:, 2:] - rectangles[:, :2]
    area: Float64[np.ndarray, " n"] = sides[:, 0] * sides[:, 1]
    return area


def _common(a: Float64[np.ndarray, "n 4"], b: Float64[np.ndarray, "m 4"]) -> Float64[np.ndarray, "n m"]:
    """Return the area that rectangles have in common."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common: Float64[np.ndarray, "n m"] = np.maximum(sides, 0).prod(-1)
    return common


def _roles(
    frame: _Frame, name: str, difficulty: _Difficulty
) -> tuple[Int64[np.ndarray, " t"], Int64[np.ndarray, " d"]]:
    """Return for truths and detections: 0 counts, 1 may be matched but does not count, -1 has no part."""
    truths, found = frame.truths, frame.found
    same = np.array([kind == name for kind in truths.kinds], np.bool_)
    near = np.array([kind == _NEIGHBOURS.get(name) for kind in truths.kinds], np.bool_)
    hard = (truths.occluded > difficulty.occluded) | (truths.truncated > difficulty.truncated)
    hard |= truths.rectangles[:, 3] - truths.rectangles[:, 1] <= difficulty.height
    roles = np.where(same & ~hard, 0, np.where(near | same, 1, -1))
    # Small detections of any class may be matched: so does KITTI's own program.
    small = np.abs(found.rectangles[:, 3] - found.rectangles[:, 1]) < difficulty.height
    of_class = np.array([kind == name for kind in found.kinds], np.bool_)
    return roles, np.where(small, 1, np.where(of_class, 0, -1))


def _curves(
    frames: Sequence[_Frame], name: str, difficulty: _Difficulty, number: int, least: float
) -> tuple[Float64[np.ndarray, " 41"], Float64[np.ndarray, " 41"]]:
    """Return precision and orientation similarity at 41 recalls, each the best of its own and higher recalls."""
    roles = [_roles(frame, name, difficulty) for frame in frames]
    hits = [
        hit_scores(frame.overlaps[number], frame.found.scores, *role, least)
        for frame, role in zip(frames, roles, strict=True)
    ]
    n_truths = sum(int((of_truths == 0).sum()) for of_truths, _ in roles)
    thresholds = _thresholds(np.concatenate([np.zeros(0), *hits]), n_truths)
    sums = np.zeros((len(thresholds), 3))
    for frame, role in zip(frames, roles, strict=True):
        dont_care = frame.in_dont_care if number == 0 else frame.in_dont_care[:, :0]
        turns = (1 + np.cos(frame.truths.alpha[None] - frame.found.alpha[:, None])) / 2
        count_at_thresholds(
            frame.overlaps[number], dont_care, frame.found.scores, *role, turns, least, thresholds, sums
        )
    curves = np.zeros((2, N_SAMPLES))
    shown = np.divide(
        sums[:, [0, 2]], (sums[:, :1] + sums[:, 1:2]), out=np.zeros((len(sums), 2)), where=sums[:, :1] > 0
    )
    curves[:, : len(thresholds)] = np.maximum.accumulate(shown[::-1])[::-1].T
    return curves[0], curves[1]


def _thresholds(hits: Float64[np.ndarray, " n"], n_truths: int) -> Float64[np.ndarray, " k"]:
    """Return the scores at which the recall comes nearest to multiples of 1/40."""
    ordered = np.sort(hits)[::-1]
    chosen: list[float] = []
    wanted = 0.0
    for place, score in enumerate(ordered.tolist()):
        here, after = (place + 1) / n_truths, (place + 2) / n_truths
        if place < len(ordered) - 1 and after - wanted < wanted - here:
            continue
        chosen.append(score)
        wanted += 1 / (N_SAMPLES - 1.0)
    return np.array(chosen[:N_SAMPLES], np.float64)
