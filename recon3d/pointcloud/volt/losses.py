"""Losses of semantic segmentation: cross entropy, Lovasz-softmax, hard-label distillation and means over data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORE = -1


@dataclass(frozen=True, kw_only=True)
class SegmentationLossOptions:
    """What the losses of segmentation weigh.

    Args:
        label_smoothing: share of a label that is spread over all classes.
        lovasz: weight of the Lovasz-softmax.
        lovasz_points: most points whose errors are sorted; evenly spaced ones are taken from more. None for all.
        distillation: weight of the teacher's labels against the true ones.
    """

    label_smoothing: float = 0.1
    lovasz: float = 1.0
    lovasz_points: int | None = None
    distillation: float = 0.5


def segmentation_loss(
    logits: Float[Tensor, "m classes"],
    labels: Int64[Tensor, " m"],
    options: SegmentationLossOptions | None = None,
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Return cross entropy plus Lovasz-softmax; zero, with zero gradients, where no point has a label.

    Args:
        logits: of each point, ``[m,classes]``; differentiable.
        labels: class of each point, -1 where unknown, ``[m]``.
        options: weights.
        class_weights: of the cross entropy, ``[classes]``.
    """
    options = options or SegmentationLossOptions()
    known = labels != IGNORE
    if not bool(known.any()):
        return logits.sum() * 0
    entropy = cross_entropy(logits, labels, class_weights, ignore_index=IGNORE, label_smoothing=options.label_smoothing)
    rows = known.nonzero()[:, 0]
    if options.lovasz_points is not None:
        rows = rows[:: -(-len(rows) // options.lovasz_points)]
    loss = entropy + options.lovasz * lovasz_softmax(logits[rows].softmax(1), labels[rows])
    return torch.where(loss.isfinite(), loss, torch.zeros_like(loss))


def lovasz_softmax(probabilities: Float[Tensor, "m classes"], labels: Int64[Tensor, " m"]) -> Float[Tensor, ""]:
    """Return the convex surrogate of 1 - IoU, averaged over the classes that have a label (Berman et al. 2018).

    Args:
        probabilities: of each point, ``[m,classes]``; differentiable.
        labels: class of each point, none unknown, ``[m]``.
    """
    present = torch.unique(labels)
    truth = labels[:, None] == present
    errors = (truth.to(probabilities.dtype) - probabilities[:, present]).abs()
    ordered, order = errors.sort(dim=0, descending=True, stable=True)
    out: Tensor = (ordered * _jaccard_gradient(truth.gather(0, order))).sum(0).mean()
    return out


def _jaccard_gradient(truth: Bool[Tensor, "m classes"]) -> Float[Tensor, "m classes"]:
    """How much each point, in the order of errors, adds to 1 - IoU."""
    positives = truth.sum(0)
    jaccard = 1 - (positives - truth.cumsum(0)).double() / (positives + (~truth).cumsum(0))
    return jaccard.diff(dim=0, prepend=jaccard.new_zeros(1, jaccard.shape[1])).float()


def mean_over_points(losses: Mapping[str, tuple[Float[Tensor, ""], int]]) -> Float[Tensor, ""]:
    """Return the mean of the losses of several data sets, weighted with their numbers of points.

    Args:
        losses: loss and number of points by data set, one or more.
    """
    total = sum(count for _, count in losses.values())
    parts = [loss * (count / max(total, 1)) for loss, count in losses.values()]
    return torch.stack(parts).sum()
