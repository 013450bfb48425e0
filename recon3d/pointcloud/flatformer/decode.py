"""Boxes out of the maps of the head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.pointcloud.boxes.nms import nms_bev_by_class
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.flatformer.coding import decode_boxes, map_cells
from recon3d.pointcloud.flatformer.head import HeadMaps
from recon3d.pointcloud.flatformer.options import DetectorOptions

_CODES = ("reg", "height", "dim", "rot", "vel")


@dataclass(frozen=True, eq=False, kw_only=True)
class Detections:
    """Boxes of one sample.

    Args:
        boxes: x, y, z of the geometric centre, length, width, height (metres), yaw counter-clockwise from +x.
        scores: 0 to 1.
        labels: numbers of the classes.
        velocities: metres per second along x and y; NaN where the head has none.
    """

    boxes: Float[Tensor, "n 7"]
    scores: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    velocities: Float[Tensor, "n 2"]

    def selected(self, rows: Int64[Tensor, " m"]) -> Detections:
        """Return some of the boxes.

        Args:
            rows: of them.
        """
        return Detections(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            labels=self.labels[rows],
            velocities=self.velocities[rows],
        )

    def to_boxes(self, names: tuple[str, ...]) -> Boxes3D:
        """Return them in numpy.

        Args:
            names: of the classes.
        """
        return Boxes3D(
            boxes=self.boxes.double().cpu().numpy(),
            labels=self.labels.cpu().numpy(),
            names=names,
            scores=self.scores.double().cpu().numpy(),
            velocities=self.velocities.double().cpu().numpy(),
        )


def score_maps(maps: HeadMaps, options: DetectorOptions) -> Float[Tensor, "b k ny nx"]:
    """Return the scores of all cells: the heat, times a power of the expected overlap.

    Args:
        maps: of the head.
        options: of the detector.
    """
    overlap = maps["iou"].float().clamp(0, 1)
    return maps["heatmap"].float().sigmoid() * overlap**options.decode.iou_power


@torch.no_grad()
def decode_candidates(maps: HeadMaps, options: DetectorOptions) -> list[Detections]:
    """Return the best boxes of each sample by falling score, before any suppression.

    Args:
        maps: of the head.
        options: of the detector.
    """
    scores = score_maps(maps, options)
    codes = torch.cat([maps[name].float() for name in _CODES if name in maps], 1)
    return [_candidates(*one, options) for one in zip(scores, codes, strict=True)]


def _candidates(scores: Tensor, codes: Tensor, options: DetectorOptions) -> Detections:
    limits, (ny, nx) = options.decode, scores.shape[1:]
    flat = scores.flatten()
    found = (flat > limits.score).nonzero()[:, 0]
    found = found[flat[found].argsort(descending=True, stable=True)[: limits.candidates]]
    label, index = found // (ny * nx), found % (ny * nx)
    boxes, velocities = decode_boxes(codes.flatten(1)[:, index].T, map_cells(index, nx), options)
    lower, upper = boxes.new_tensor(limits.centre_lower), boxes.new_tensor(limits.centre_upper)
    inside = ((boxes[:, :3] >= lower) & (boxes[:, :3] <= upper)).all(1) & boxes.isfinite().all(1)
    every = Detections(boxes=boxes, scores=flat[found], labels=label, velocities=velocities)
    return every.selected(inside.nonzero()[:, 0])


@torch.no_grad()
def decode_maps(maps: HeadMaps, options: DetectorOptions) -> list[Detections]:
    """Return the boxes of each sample: the best ones, without those that a better one of their class overlaps.

    Args:
        maps: of the head.
        options: of the detector.

    Returns:
        For each sample, class by class, by falling score in each.
    """
    limits = options.decode
    return [
        one.selected(
            nms_bev_by_class(
                one.boxes,
                one.scores,
                one.labels,
                limits.nms_overlap,
                max_before=limits.nms_before,
                max_kept=limits.nms_after,
            )
        )
        for one in decode_candidates(maps, options)
    ]
