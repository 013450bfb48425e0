"""How good labels are: mean IoU of a segmenter on unseen scenes, beside answers that need no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from recon3d.pointcloud.metrics.semantic import SemanticCounts, SemanticScore
from recon3d.pointcloud.segmentation.features import OnFloor, voxel_scene
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.volt.batch import collate_scenes
from recon3d.pointcloud.volt.grid import voxelised
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.volt.segmentor import VoltSegmentor


@dataclass(frozen=True, eq=False)
class SegmenterScore:
    """Score on held-out scenes.

    Args:
        score: counts turned into IoU; classes that never occur are left out of the mean.
        classes: names.
        scenes: how many.
        points: with a label.
    """

    score: SemanticScore
    classes: tuple[str, ...]
    scenes: int
    points: int

    def to_json(self) -> dict[str, Any]:
        """Return the numbers in per cent."""
        by_class = {name: round(100 * float(one), 1) for name, one in zip(self.classes, self.score.iou, strict=True)}
        return {
            "mean_iou": round(100 * self.score.mean_iou, 2),
            "accuracy": round(100 * self.score.accuracy, 2),
            "mean_accuracy": round(100 * self.score.mean_accuracy, 2),
            "scenes": self.scenes,
            "points": self.points,
            "iou": by_class,
        }


def score_labels(
    answer: Callable[[Sample], Int64[np.ndarray, " n"]], scenes: Iterable[Sample], classes: tuple[str, ...]
) -> SegmenterScore:
    """Return the score of anything that gives labels.

    Args:
        answer: label of each point of a scene.
        scenes: with true labels.
        classes: names.
    """
    counts, number = SemanticCounts(len(classes)), 0
    for sample in scenes:
        if sample.segment is not None:
            counts.add(answer(sample), sample.segment)
            number += 1
    return SegmenterScore(counts.score(skip_absent=True), classes, number, int(counts.counts.sum()))


@torch.inference_mode()
def network_labels(
    model: VoltSegmentor, spec: SegmenterSpec, sample: Sample, device: torch.device | str = "cpu"
) -> Int64[np.ndarray, " n"]:
    """Return the label of each point of a scene in one pass of the network.

    Args:
        model: the network, in evaluation mode.
        spec: of the segmenter.
        sample: the points.
        device: of the network.
    """
    placed = OnFloor()(sample) if spec.kind == "indoor" else sample
    voxels, order = voxelised(placed, spec.voxel_m)
    logits = model(collate_scenes([voxel_scene(voxels, spec)]).to(device))
    labels: np.ndarray = logits.argmax(1).cpu().numpy()[order.inverse]
    return labels


def majority(scenes: Iterable[Sample], n_classes: int) -> Callable[[Sample], Int64[np.ndarray, " n"]]:
    """Return the answer that names the most frequent class everywhere.

    Args:
        scenes: to count in.
        n_classes: how many classes there are.
    """
    counts = np.zeros(n_classes, np.int64)
    for sample in scenes:
        if sample.segment is not None:
            counts += np.bincount(sample.segment[sample.segment >= 0], minlength=n_classes)
    return lambda sample: np.full(len(sample), int(counts.argmax()), np.int64)


def height_rule(
    scenes: Iterable[Sample], n_classes: int, spec: SegmenterSpec
) -> Callable[[Sample], Int64[np.ndarray, " n"]]:
    """Return the answer that names the most frequent class of points of a height and, indoors, a steepness.

    Args:
        scenes: to count in.
        n_classes: how many classes there are.
        spec: of the segmenter.
    """
    table = np.zeros((_HEIGHTS * _SLOPES, n_classes), np.int64)
    for sample in scenes:
        if sample.segment is not None:
            known = sample.segment >= 0
            np.add.at(table, (_cells(sample, spec)[known], sample.segment[known]), 1)
    best = table.argmax(1)
    return lambda sample: best[_cells(sample, spec)].astype(np.int64)


_HEIGHTS, _SLOPES, _STEP_M = 60, 5, 0.1


def _cells(sample: Sample, spec: SegmenterSpec) -> Int64[np.ndarray, " n"]:
    placed = OnFloor()(sample) if spec.kind == "indoor" else sample
    up = placed.xyz[:, 2] + (spec.mount_m + 0.5 if spec.kind == "outdoor" else 0.3)
    height = np.clip(up / _STEP_M, 0, _HEIGHTS - 1).astype(np.int64)
    if placed.normal is None:
        return height
    slope = np.minimum(np.abs(placed.normal[:, 2]) * _SLOPES, _SLOPES - 1).astype(np.int64)
    cells: np.ndarray = height * _SLOPES + slope
    return cells
