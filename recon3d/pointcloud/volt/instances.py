"""From queries to instances: scores, matrix NMS and masks on points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.pointcloud.volt.spformer import InstanceQueries


@dataclass(frozen=True, kw_only=True)
class InstanceOptions:
    """How queries become instances.

    Args:
        top: most pairs of query and class that are kept: 100, and 400 for ScanNet++.
        mask_threshold: probability from which a super-point belongs to a mask.
        min_score: least score of an instance.
        min_points: least points of an instance.
        kernel: of the matrix NMS; None for no NMS.
        sigma: of the Gaussian kernel.
    """

    top: int = 100
    mask_threshold: float = 0.55
    min_score: float = 0.0
    min_points: int = 100
    kernel: Literal["linear", "gaussian"] | None = "linear"
    sigma: float = 2.0


@dataclass(frozen=True, eq=False)
class FoundInstances:
    """Instances of one scene, the surest first.

    Args:
        masks: whether each point belongs to it, ``[k,n]``.
        labels: class of each instance, ``[k]``.
        scores: ``[k]``.
    """

    masks: Bool[Tensor, "k n"]
    labels: Int64[Tensor, " k"]
    scores: Float[Tensor, " k"]


@torch.no_grad()
def found_instances(
    queries: InstanceQueries, super_point: Int64[Tensor, " n"], options: InstanceOptions | None = None
) -> FoundInstances:
    """Return the instances of a scene.

    Args:
        queries: of the last layer.
        super_point: of each point, ``[n]``.
        options: thresholds.
    """
    options = options or InstanceOptions()
    probabilities = queries.labels.softmax(1)[:, :-1]  # [q,classes], without "no object"
    scores, place = probabilities.flatten().topk(min(options.top, probabilities.numel()))
    labels, logits = place % probabilities.shape[1], queries.masks[place // probabilities.shape[1]]
    inside = logits.sigmoid()
    positive = (logits > 0).to(inside.dtype)
    scores = scores * (inside * positive).sum(1) / (positive.sum(1) + 1e-6)
    if options.kernel is not None:
        scores, kept = matrix_nms(inside, labels, scores, kernel=options.kernel, sigma=options.sigma)
        labels, inside = labels[kept], inside[kept]
    masks = (inside > options.mask_threshold)[:, super_point]
    good = (scores > options.min_score) & (masks.sum(1) > options.min_points)
    return FoundInstances(masks[good], labels[good], scores[good])


def matrix_nms(
    masks: Float[Tensor, "k s"],
    labels: Int64[Tensor, " k"],
    scores: Float[Tensor, " k"],
    *,
    kernel: Literal["linear", "gaussian"] = "linear",
    sigma: float = 2.0,
) -> tuple[Float[Tensor, " k"], Int64[Tensor, " k"]]:
    """Lower the scores of masks that overlap a better one of their class (SOLOv2, Wang et al. 2020).

    Args:
        masks: 0 or 1, or probabilities, ``[k,s]``.
        labels: class of each, ``[k]``.
        scores: ``[k]``.
        kernel: how the overlap counts.
        sigma: of the Gaussian kernel.

    Returns:
        The new scores, falling, and the mask that each belongs to.
    """
    order = scores.argsort(descending=True, stable=True)
    masks, labels, scores = masks[order], labels[order], scores[order]
    shared, size = masks @ masks.mT, masks.sum(1)
    overlap = shared / (size[:, None] + size - shared).clamp(min=1e-6)
    overlap = (overlap * (labels[:, None] == labels)).triu(diagonal=1)  # row: the better mask
    worst = overlap.amax(0)[:, None] if len(overlap) else overlap
    if kernel == "linear":
        decay = (1 - overlap) / (1 - worst).clamp(min=1e-6)
    else:
        decay = torch.exp(-sigma * overlap**2) / torch.exp(-sigma * worst**2)
    lowered = scores * (decay.amin(0) if len(decay) else scores)
    final = lowered.argsort(descending=True, stable=True)
    return lowered[final], order[final]
