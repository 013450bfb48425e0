"""Average precision of the Waymo Open Dataset, with and without the weight of the heading (AP and APH)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.boxes.arrays import wrapped
from recon3d.pointcloud.boxes.overlap import rotated_iou_3d
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.metrics.waymo_matching import Candidates, matched_counts

CUTOFFS = np.arange(101, dtype=np.float32) / np.float32(100)
_FEW_POINTS = 5  # a truth with as many or fewer is of level 2
_RECALL_STEP = 0.05
_NEAR, _MIDDLE, _FAR = (0.0, 30.0), (30.0, 50.0), (50.0, math.inf)


@dataclass(frozen=True, eq=False, kw_only=True)
class WaymoFrame:
    """What was found and what is there in one frame, in the vehicle frame.

    Args:
        predictions: with scores in 0..1.
        truths: the labels.
        truth_points: LiDAR points in each truth, ``[t]``; those without are left out. None = all have many.
        truth_levels: labelled difficulty, 1 or 2, 0 = by the number of points, ``[t]``; None = all 0.
        in_no_label_zone: predictions that do no harm when they match nothing, ``[p]``; None = none of them.

    Raises:
        UsageError: predictions without scores.
        ShapeError: an array of another length than its boxes.
    """

    predictions: Boxes3D
    truths: Boxes3D
    truth_points: Int64[np.ndarray, " t"] | None = None
    truth_levels: Int64[np.ndarray, " t"] | None = None
    in_no_label_zone: Bool[np.ndarray, " p"] | None = None

    def __post_init__(self) -> None:
        if self.predictions.scores is None:
            raise UsageError("the predictions have no scores")
        owners = {"truth_points": self.truths, "truth_levels": self.truths, "in_no_label_zone": self.predictions}
        for name, owner in owners.items():
            values = getattr(self, name)
            if values is not None and values.shape != (len(owner),):
                raise ShapeError(f"WaymoFrame.{name} has the wrong shape", got=values.shape, expected=(len(owner),))

    def levels(self) -> Int64[np.ndarray, " t"]:
        """Return the difficulty of each truth; 0 = left out, since no point lies in it."""
        n = len(self.truths)
        points = np.full(n, _FEW_POINTS + 1) if self.truth_points is None else self.truth_points
        labelled = np.zeros(n, np.int64) if self.truth_levels is None else self.truth_levels
        levels = np.where(labelled > 0, labelled, np.where(points <= _FEW_POINTS, 2, 1))
        return np.where(points > 0, levels, 0)


def _thresholds() -> Mapping[str, float]:
    return {"vehicle": 0.7, "pedestrian": 0.5, "sign": 0.5, "cyclist": 0.5}


@dataclass(frozen=True, kw_only=True)
class WaymoOptions:
    """What counts as found.

    Args:
        iou: least overlap in 3D by class name.
        ranges: from and below which distance of the centre, metres; each is also evaluated by itself.
    """

    iou: Mapping[str, float] = field(default_factory=_thresholds)
    ranges: tuple[tuple[float, float], ...] = (_NEAR, _MIDDLE, _FAR)


class WaymoScore(NamedTuple):
    """Average precision of one class, range and level.

    Args:
        ap: area below the curve of precision over recall, 0..1.
        aph: the same, each hit weighted with 1 - |heading difference| / pi.
    """

    ap: float
    aph: float


def waymo_metrics(frames: Sequence[WaymoFrame], options: WaymoOptions = WaymoOptions()) -> dict[str, WaymoScore]:
    """Return the scores by class, range and level, as the official tool names them: ``VEHICLE_[0,30)_LEVEL_1``.

    Predictions of a class are matched to truths of any level, frame by frame, at 101 score cutoffs, so that the sum of
    their overlaps in 3D is largest. Level 2 includes level 1.

    Args:
        frames: of the whole split.
        options: classes, overlaps and ranges.

    Raises:
        UsageError: no frame has boxes of these classes by name.
    """
    known = {name for frame in frames for boxes in (frame.predictions, frame.truths) for name in boxes.names}
    if not known & set(options.iou):
        raise UsageError("no class is known", got=sorted(known), expected=", ".join(options.iou))
    scores = {}
    for name, least in options.iou.items():
        for shard in (None, *options.ranges):
            sums = np.zeros((len(CUTOFFS), 5))
            for frame in frames:
                sums += matched_counts(_candidates(frame, name, shard, least), CUTOFFS)
            for level in (1, 2):
                scores[f"{name.upper()}{_title(shard)}_LEVEL_{level}"] = _score(sums, level)
    return scores


def mean_waymo_score(scores: Mapping[str, WaymoScore], level: int, names: Sequence[str]) -> WaymoScore:
    """Return the mean over classes at all ranges.

    Args:
        scores: of :func:`waymo_metrics`.
        level: 1 or 2.
        names: the classes, such as vehicle, pedestrian and cyclist.
    """
    rows = [scores[f"{name.upper()}_LEVEL_{level}"] for name in names]
    return WaymoScore(*np.mean(rows, 0).tolist())


def _title(shard: tuple[float, float] | None) -> str:
    return "" if shard is None else f"_[{shard[0]:g},{shard[1]:g})"


def _candidates(frame: WaymoFrame, name: str, shard: tuple[float, float] | None, least: float) -> Candidates:
    """Return the boxes of a class and range, and how well they fit together."""
    predictions, truths, levels = frame.predictions, frame.truths, frame.levels()
    chosen = np.flatnonzero(_in_class(predictions, name) & _in_shard(predictions, shard))
    wanted = np.flatnonzero(_in_class(truths, name) & _in_shard(truths, shard) & (levels > 0))
    found, there = predictions.boxes[chosen], truths.boxes[wanted]
    turn = np.abs(wrapped(found[:, None, 6] - there[None, :, 6]))
    zone = frame.in_no_label_zone
    return Candidates(
        overlaps=rotated_iou_3d(found, there),
        least=least,
        heading_accuracy=1 - turn / math.pi,
        scores=np.zeros(0) if predictions.scores is None else predictions.scores[chosen],
        harmless=np.zeros(len(chosen), np.bool_) if zone is None else zone[chosen],
        levels=levels[wanted],
    )


def _in_class(boxes: Boxes3D, name: str) -> Bool[np.ndarray, " n"]:
    chosen: Bool[np.ndarray, " n"] = boxes.labels == (boxes.names.index(name) if name in boxes.names else -1)
    return chosen


def _in_shard(boxes: Boxes3D, shard: tuple[float, float] | None) -> Bool[np.ndarray, " n"]:
    low, high = shard or (0.0, math.inf)
    distance = np.linalg.norm(boxes.boxes[:, :3], axis=1)
    inside: Bool[np.ndarray, " n"] = (distance >= low) & (distance < high)
    return inside


def _score(sums: Float64[np.ndarray, "cutoffs 5"], level: int) -> WaymoScore:
    """Return the score from sums of true positives, their heading accuracies, false positives and misses per level."""
    hits, headings, wrong, missed = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 2 + level]

    def share(part: Float64[np.ndarray, " n"], rest: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        ratio: Float64[np.ndarray, " n"] = np.zeros_like(part)
        np.divide(part, hits + rest, out=ratio, where=hits + rest > 0)
        return ratio

    recall = share(hits, missed)
    return WaymoScore(*(_area(recall, share(part, wrong)) for part in (hits, headings)))


def _area(recall: Float64[np.ndarray, " n"], precision: Float64[np.ndarray, " n"]) -> float:
    """Return the area below the curve: from high to low recall the precision never falls, and no step is above 0.05."""
    best: dict[float, float] = {}
    for r, p in zip(recall.tolist(), precision.tolist(), strict=True):
        best[r] = max(best.get(r, 0.0), p)
    best[0.0] = 0.0  # takes what comes before it
    curve: list[tuple[float, float]] = []
    for r in sorted(best, reverse=True):
        while curve and curve[-1][0] - r > _RECALL_STEP + 1e-9:
            curve.append((curve[-1][0] - _RECALL_STEP, curve[-1][1]))
        curve.append((r, max(best[r], curve[-1][1] if curve else 0.0)))
    x, y = np.array(curve).T
    return float(np.trapezoid(y[::-1], x[::-1]))
