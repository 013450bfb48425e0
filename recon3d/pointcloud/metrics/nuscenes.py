"""The nuScenes detection score (NDS): precision by distance of the centres, and five errors of what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.boxes.corners import points_in_boxes
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.metrics.nuscenes_curves import ERRORS, Hits, average_precision, mean_error, sampled_curves

_BIKES = ("motorcycle", "bicycle")
_UNDEFINED = {"traffic_cone": ERRORS[2:], "barrier": ERRORS[3:]}


def nuscenes_ranges() -> dict[str, float]:
    """Return the ten classes of the benchmark, and how far from the vehicle their boxes count, metres."""
    far = dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), 50.0)
    middle = dict.fromkeys(("pedestrian", "motorcycle", "bicycle"), 40.0)
    return far | middle | dict.fromkeys(("traffic_cone", "barrier"), 30.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class NuscenesFrame:
    """What was found and what is there in one sample, in one frame of coordinates with z up.

    Args:
        predictions: with scores and, for AVE, velocities.
        truths: the labels, with velocities.
        predicted_attributes: one word per prediction, such as ``vehicle.parked``; None = unknown.
        true_attributes: one word per truth, empty where it has none; None = none has one.
        ego_xy: where the vehicle stands, metres.
        truth_points: LiDAR and radar points in each truth; those without are left out. None = all have some.
        bike_racks: boxes of racks ``[r,7]``; bicycles and motorcycles inside are left out.

    Raises:
        UsageError: predictions without scores.
        ShapeError: an array or list of another length than its boxes.
    """

    predictions: Boxes3D
    truths: Boxes3D
    predicted_attributes: Sequence[str] | None = None
    true_attributes: Sequence[str] | None = None
    ego_xy: tuple[float, float] = (0.0, 0.0)
    truth_points: Int64[np.ndarray, " t"] | None = None
    bike_racks: Float64[np.ndarray, "r 7"] | None = None

    def __post_init__(self) -> None:
        if self.predictions.scores is None:
            raise UsageError("the predictions have no scores")
        lengths = {
            "predicted_attributes": self.predictions,
            "true_attributes": self.truths,
            "truth_points": self.truths,
        }
        for name, owner in lengths.items():
            values = getattr(self, name)
            if values is not None and len(values) != len(owner):
                raise ShapeError(f"NuscenesFrame.{name} has the wrong length", got=len(values), expected=len(owner))


@dataclass(frozen=True, kw_only=True)
class NuscenesOptions:
    """What counts.

    Args:
        ranges: classes, and how far from the vehicle their boxes count, metres; ``inf`` = everywhere.
        distances: of the centres on the ground below which a prediction fits, metres.
        error_distance: the one of them at which the errors are measured.
        max_boxes: more predictions than these in a sample are an error, as in the benchmark.
    """

    ranges: Mapping[str, float] = field(default_factory=nuscenes_ranges)
    distances: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    error_distance: float = 2.0
    max_boxes: int = 500


@dataclass(frozen=True, kw_only=True)
class NuscenesScore:
    """The score and what it is made of.

    Args:
        nds: (5 mAP + sum of max(0, 1 - error)) / 10.
        mean_ap: over classes and distances.
        ap: by class and distance.
        errors: means over the classes of ATE (m), ASE, AOE (rad), AVE (m/s) and AAE, by these names.
        class_errors: the same by class; NaN where the class has no such error.
    """

    nds: float
    mean_ap: float
    ap: Mapping[str, Mapping[float, float]]
    errors: Mapping[str, float]
    class_errors: Mapping[str, Mapping[str, float]]


def nuscenes_metrics(frames: Sequence[NuscenesFrame], options: NuscenesOptions = NuscenesOptions()) -> NuscenesScore:
    """Return the nuScenes detection score of a split.

    Args:
        frames: all samples.
        options: classes, ranges and distances.

    Raises:
        UsageError: too many predictions in a sample, an error distance that is none of the distances, or no class of
            the options in any frame.
    """
    _check(frames, options)
    ap: dict[str, dict[float, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for name, reach in options.ranges.items():
        chosen = [_of_class(frame, name, reach) for frame in frames]
        curves = {distance: sampled_curves(_hits(chosen, name, distance)) for distance in options.distances}
        ap[name] = {distance: average_precision(one) for distance, one in curves.items()}
        undefined = _UNDEFINED.get(name, ())
        found = curves[options.error_distance]
        errors[name] = {key: math.nan if key in undefined else mean_error(found, key) for key in ERRORS}
    mean_ap = float(np.mean([value for of_class in ap.values() for value in of_class.values()]))
    means = {key: _mean([of_class[key] for of_class in errors.values()]) for key in ERRORS}
    nds = (5 * mean_ap + sum(max(0.0, 1 - value) for value in means.values())) / 10
    return NuscenesScore(nds=nds, mean_ap=mean_ap, ap=ap, errors=means, class_errors=errors)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else 1.0


def _check(frames: Sequence[NuscenesFrame], options: NuscenesOptions) -> None:
    most = max((len(frame.predictions) for frame in frames), default=0)
    if most > options.max_boxes:
        raise UsageError("a sample has too many predictions", got=most, expected=f"at most {options.max_boxes}")
    if options.error_distance not in options.distances:
        raise UsageError("errors need one of the distances", got=options.error_distance, expected=options.distances)
    known = {name for frame in frames for boxes in (frame.predictions, frame.truths) for name in boxes.names}
    if not known & set(options.ranges):
        raise UsageError("no class is known", got=sorted(known), expected=", ".join(options.ranges))


class _Chosen(NamedTuple):
    """The boxes of one class in one frame that count."""

    frame: NuscenesFrame
    predictions: Int64[np.ndarray, " p"]
    truths: Int64[np.ndarray, " t"]


def _of_class(frame: NuscenesFrame, name: str, reach: float) -> _Chosen:
    predictions, truths = (_counting(boxes, frame, name, reach) for boxes in (frame.predictions, frame.truths))
    if frame.truth_points is not None:
        truths &= frame.truth_points > 0
    return _Chosen(frame, np.flatnonzero(predictions), np.flatnonzero(truths))


def _counting(boxes: Boxes3D, frame: NuscenesFrame, name: str, reach: float) -> Bool[np.ndarray, " n"]:
    label = boxes.names.index(name) if name in boxes.names else -1
    away = np.linalg.norm(boxes.boxes[:, :2] - np.array(frame.ego_xy), axis=1)
    counting: Bool[np.ndarray, " n"] = (boxes.labels == label) & (away < reach)
    if name in _BIKES and frame.bike_racks is not None and len(boxes):
        counting &= ~points_in_boxes(boxes.boxes, frame.bike_racks).any(0)
    return counting


def _hits(chosen: Sequence[_Chosen], name: str, distance: float) -> Hits:
    """Match predictions to truths, the surest first (of equals the last), each to the nearest truth that is left."""
    order = [(float(_scores(one)[row]), number, row) for number, one in enumerate(chosen) for row in one.predictions]
    order.sort(reverse=True)
    gaps = [_gaps(one) for one in chosen]
    places = [{row: place for place, row in enumerate(one.predictions.tolist())} for one in chosen]
    found: list[tuple[float, ...]] = []
    hit = np.zeros(len(order), np.bool_)
    for rank, (_, number, row) in enumerate(order):
        gap = gaps[number][places[number][int(row)]]
        nearest = int(gap.argmin()) if len(gap) else -1
        if nearest >= 0 and gap[nearest] < distance:
            hit[rank] = True
            found.append(_errors(chosen[number].frame, int(row), int(chosen[number].truths[nearest]), name))
            gaps[number][:, nearest] = math.inf
    return Hits(
        n_truths=sum(len(one.truths) for one in chosen),
        scores=np.array([item[0] for item in order], np.float64),
        hit=hit,
        errors=np.array(found, np.float64).reshape(-1, len(ERRORS)),
    )


def _scores(one: _Chosen) -> Float64[np.ndarray, " n"]:
    scores = one.frame.predictions.scores
    return np.zeros(len(one.frame.predictions)) if scores is None else scores


def _gaps(one: _Chosen) -> Float64[np.ndarray, "p t"]:
    """Return the distances on the ground of predictions and truths."""
    found, there = one.frame.predictions.boxes[one.predictions, :2], one.frame.truths.boxes[one.truths, :2]
    gaps: Float64[np.ndarray, "p t"] = np.linalg.norm(found[:, None] - there[None], axis=-1)
    return gaps


def _errors(frame: NuscenesFrame, row: int, truth: int, name: str) -> tuple[float, ...]:
    """Return the five errors of one hit; NaN = unknown."""
    found, there = frame.predictions.boxes[row], frame.truths.boxes[truth]
    common = float(np.minimum(found[3:6], there[3:6]).prod())
    period = math.pi if name == "barrier" else 2 * math.pi
    turn = abs((there[6] - found[6] + period / 2) % period - period / 2)
    speeds = frame.predictions.velocities, frame.truths.velocities
    speed = math.nan
    if speeds[0] is not None and speeds[1] is not None:
        speed = float(np.linalg.norm(speeds[0][row] - speeds[1][truth]))
    wanted = "" if frame.true_attributes is None else frame.true_attributes[truth]
    given = "" if frame.predicted_attributes is None else frame.predicted_attributes[row]
    return (
        float(np.linalg.norm(found[:2] - there[:2])),
        1 - common / float(found[3:6].prod() + there[3:6].prod() - common),
        float(turn),
        speed,
        float(given != wanted) if wanted else math.nan,
    )
