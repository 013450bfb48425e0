"""Losses of the detector: focal on the heat maps, L1 on the boxes, L1 on the expected overlap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.pointcloud.boxes.overlap import box_iou_of_pairs
from recon3d.pointcloud.flatformer.coding import decode_boxes, map_cells
from recon3d.pointcloud.flatformer.head import HeadMaps
from recon3d.pointcloud.flatformer.options import DetectorOptions
from recon3d.pointcloud.flatformer.targets import DetectionTargets

_EDGE = 1e-4
_TINY = 1e-12
_CODES = ("reg", "height", "dim", "rot", "vel")


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionLoss:
    """Losses of a batch, weighted.

    Args:
        heatmap: focal loss.
        boxes: L1 loss of the numbers of the boxes.
        iou: L1 loss of the expected overlap.
    """

    heatmap: Float[Tensor, ""]
    boxes: Float[Tensor, ""]
    iou: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Their sum, differentiable in the maps."""
        return self.heatmap + self.boxes + self.iou


def focal_loss(logits: Float[Tensor, "*n"], target: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Return the focal loss of heat maps (CornerNet), over the number of centres.

    Args:
        logits: of the heat; differentiable in them.
        target: 1 at centres, below 1 elsewhere.
    """
    p = logits.float().sigmoid().clamp(_EDGE, 1 - _EDGE)
    centre = target == 1
    hit = (p + _TINY).log() * (1 - p) ** 2 * centre
    miss = (1 - p + _TINY).log() * p**2 * (1 - target) ** 4
    return -(hit + miss).sum() / centre.sum().clamp(min=1)


def detection_loss(maps: HeadMaps, targets: DetectionTargets, options: DetectorOptions) -> DetectionLoss:
    """Return the losses of a batch, in float32; differentiable in the maps.

    Args:
        maps: of the head.
        targets: on the device of the maps.
        options: of the detector.
    """
    weights, mask = options.loss, targets.mask
    count = mask.sum()
    codes = torch.cat([maps[name].float() for name in _CODES if name in maps], 1)
    found = _at(codes, targets.index)[mask]  # [n, 10], or 8 without velocities
    wanted = targets.codes[mask][:, : found.shape[1]]
    share = found.new_tensor([1.0] * 8 + [weights.velocity_weight] * 2)[: found.shape[1]]
    known = wanted.isfinite()
    off = (found - torch.where(known, wanted, 0)).abs() * known * share
    overlap = _overlap(found.detach(), wanted, targets.index[mask], options)
    said = _at(maps["iou"].float(), targets.index)[mask][:, 0]
    return DetectionLoss(
        heatmap=focal_loss(maps["heatmap"], targets.heatmap),
        boxes=weights.box_weight * off.sum() / (count + _EDGE),
        iou=weights.iou_weight * (said - overlap).abs().sum() / (count + _EDGE),
    )


def _at(maps: Float[Tensor, "b c ny nx"], index: Int64[Tensor, "b m"]) -> Float[Tensor, "b m c"]:
    """Return the values of the maps at some cells."""
    picked = maps.flatten(2).gather(2, index[:, None].expand(-1, maps.shape[1], -1))
    return picked.transpose(1, 2)


@torch.no_grad()
def _overlap(
    found: Float[Tensor, "n c"], wanted: Float[Tensor, "n c"], index: Int64[Tensor, " n"], options: DetectorOptions
) -> Float[Tensor, " n"]:
    """Return the overlap in space of the predicted and the true box of each slot; 0 where the prediction is no box."""
    cells = map_cells(index, options.maps.bev[1])
    ours, theirs = (decode_boxes(one, cells, options)[0] for one in (found, wanted))
    if options.loss.legacy_iou_target:  # takes the z of the centre for that of the bottom
        ours, theirs = (torch.cat([b[:, :2], b[:, 2:3] + b[:, 5:6] / 2, b[:, 3:]], 1) for b in (ours, theirs))
    usable: Bool[Tensor, " n"] = ours.isfinite().all(1)
    return box_iou_of_pairs(torch.where(usable[:, None], ours, 0.0), theirs, "3d")
