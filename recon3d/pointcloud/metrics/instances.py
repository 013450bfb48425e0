"""Average precision of instance masks by the protocol of ScanNet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.metrics.instance_matching import ClassScene, Ranking, rank


@dataclass(frozen=True, eq=False, kw_only=True)
class InstanceScene:
    """Predicted masks and true instances of one scene.

    Args:
        masks: which points belong to each predicted instance, ``[m,n]``.
        labels: class of each, ``[m]``.
        scores: confidence of each, ``[m]``.
        true_labels: class of each point; what is no class of the options is void, ``[n]``.
        true_instances: instance of each point, -1 = none, ``[n]``.

    Raises:
        ShapeError: different numbers of masks or points.
        InputError: a score is not finite.
    """

    masks: Bool[np.ndarray, "m n"]
    labels: Int64[np.ndarray, " m"]
    scores: Float64[np.ndarray, " m"]
    true_labels: Int[np.ndarray, " n"]
    true_instances: Int[np.ndarray, " n"]

    def __post_init__(self) -> None:
        shapes = {"labels": self.masks.shape[:1], "scores": self.masks.shape[:1]}
        shapes |= {"true_labels": self.masks.shape[1:], "true_instances": self.masks.shape[1:]}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ShapeError(
                    f"InstanceScene.{name} has the wrong shape", got=getattr(self, name).shape, expected=shape
                )
        if not np.isfinite(self.scores).all():
            raise InputError("a score of a mask is not finite", got=f"mask {int(np.argmin(np.isfinite(self.scores)))}")


@dataclass(frozen=True, kw_only=True)
class InstanceOptions:
    """What counts.

    Args:
        classes: names by label.
        thresholds: overlaps that a match must exceed, whose precisions are averaged.
        smallest: instances of fewer points do not count.
    """

    classes: Mapping[int, str]
    thresholds: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
    smallest: int = 100


@dataclass(frozen=True, kw_only=True)
class InstanceScore:
    """Average precisions, 0..1; NaN where no class occurs.

    Args:
        ap: mean over the thresholds and classes.
        ap50: at overlap 0.5.
        ap25: at overlap 0.25.
        class_ap: the mean over the thresholds by class; NaN where the class never occurs.
        class_ap50: at 0.5.
        class_ap25: at 0.25.
    """

    ap: float
    ap50: float
    ap25: float
    class_ap: Mapping[str, float]
    class_ap50: Mapping[str, float]
    class_ap25: Mapping[str, float]


def instance_metrics(scenes: Sequence[InstanceScene], options: InstanceOptions) -> InstanceScore:
    """Return the average precisions of a split.

    A prediction that is mostly void, or mostly on instances that are too small, is left out rather than wrong.

    Args:
        scenes: all of them.
        options: classes, thresholds and the smallest instance.
    """
    curves: dict[str, dict[float, float]] = {}
    for label, name in options.classes.items():
        counted = [_of_class(scene, label, options) for scene in scenes]
        every = sorted({*options.thresholds, 0.5, 0.25})
        curves[name] = {least: _average_precision([rank(one, least) for one in counted]) for least in every}
    ap = {name: float(np.mean([of[least] for least in options.thresholds])) for name, of in curves.items()}
    ap50, ap25 = ({name: of[least] for name, of in curves.items()} for least in (0.5, 0.25))
    means = (_mean(of) for of in (ap, ap50, ap25))
    return InstanceScore(
        **dict(zip(("ap", "ap50", "ap25"), means, strict=True)), class_ap=ap, class_ap50=ap50, class_ap25=ap25
    )


def _mean(of_class: Mapping[str, float]) -> float:
    known = [value for value in of_class.values() if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _of_class(scene: InstanceScene, label: int, options: InstanceOptions) -> ClassScene:
    """Return masks and instances of one class, the surest mask first, and what the masks share."""
    sizes = scene.masks.sum(1)
    chosen = np.flatnonzero((scene.labels == label) & (sizes >= options.smallest))
    chosen = chosen[np.argsort(-scene.scores[chosen], kind="stable")]
    masks = scene.masks[chosen]
    members = (scene.true_labels == label) & (scene.true_instances >= 0)
    identities, of_point = np.unique(scene.true_instances[members], return_inverse=True)
    common = np.array([np.bincount(of_point[mask[members]], minlength=len(identities)) for mask in masks])
    true_sizes = np.bincount(of_point, minlength=len(identities))
    void = ~np.isin(scene.true_labels, list(options.classes)) | (scene.true_instances < 0)
    large = true_sizes >= options.smallest
    shared = common.reshape(len(masks), len(identities)).astype(np.float64)
    return ClassScene(
        scores=scene.scores[chosen],
        sizes=sizes[chosen].astype(np.float64),
        true_sizes=true_sizes[large].astype(np.float64),
        common=shared[:, large],
        ignorable=masks[:, void].sum(1) + shared[:, ~large].sum(1),
    )


def _average_precision(rankings: Sequence[Ranking]) -> float:
    """Return the area below precision over recall; 0 without a prediction, NaN without a truth."""
    n_truths, n_missed = sum(one.n_truths for one in rankings), sum(one.n_missed for one in rankings)
    if n_truths == 0:
        return math.nan
    scores = np.concatenate([one.scores for one in rankings])
    right = np.concatenate([one.right for one in rankings])
    if not len(scores):
        return 0.0
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)  # equal scores are one point of the curve
    below = np.append(0, right[order].cumsum())[starts]
    hits = right.sum() - below
    precision = np.append(hits / (len(scores) - starts), 1.0)
    recall = np.append(hits / (right.sum() + n_missed), 0.0)
    steps = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0, 0.5], "valid")
    return float(precision @ steps)
