"""Which query answers for which instance, and what its answer costs (SPFormer, as trained on Volt)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, softplus

from recon3d.pointcloud.volt.spformer import InstanceQueries


@dataclass(frozen=True, eq=False)
class InstanceTargets:
    """The true instances of a scene.

    Args:
        labels: class of each instance, ``[g]``.
        masks: whether each super-point belongs to it, ``[g,s]``.
    """

    labels: Int64[Tensor, " g"]
    masks: Bool[Tensor, "g s"]


@dataclass(frozen=True, kw_only=True)
class InstanceLossOptions:
    """Weights of the instance losses and of the matching.

    Args:
        cost: of a wrong class, of the mask's cross entropy and of its Dice distance, in the matching.
        weight: the same in the loss.
        label_smoothing: of the class.
        no_object: weight of the class "no object".
    """

    cost: tuple[float, float, float] = (0.5, 1.0, 1.0)
    weight: tuple[float, float, float] = (0.2, 1.0, 1.0)
    label_smoothing: float = 0.05
    no_object: float = 0.1


@dataclass(frozen=True, eq=False)
class InstanceLoss:
    """The loss over all layers, and the parts of the last layer without their weights.

    Args:
        total: what is trained.
        label: cross entropy of the classes.
        mask: cross entropy of the masks.
        dice: Dice distance of the masks.
    """

    total: Float[Tensor, ""]
    label: Float[Tensor, ""]
    mask: Float[Tensor, ""]
    dice: Float[Tensor, ""]


def super_point_targets(
    instance: Int64[np.ndarray, " n"],
    segment: Int64[np.ndarray, " n"],
    super_point: Int64[np.ndarray, " n"],
    count: int | None = None,
) -> InstanceTargets:
    """Return the instances of labelled points; a super-point belongs to one if more than half of its points do.

    Args:
        instance: of each point, -1 for none, ``[n]``.
        segment: class of each point, that of an instance is the class of its first point, ``[n]``.
        super_point: of each point, 0 to s-1, ``[n]``.
        count: number s of super-points; None for one more than the largest.
    """
    count = count if count is not None else int(super_point.max(initial=-1)) + 1
    sizes = np.bincount(super_point, minlength=count)
    ids, first = np.unique(instance, return_index=True)
    masks = [2 * np.bincount(super_point[instance == one], minlength=count) > sizes for one in ids if one >= 0]
    return InstanceTargets(
        torch.from_numpy(segment[first[ids >= 0]]), torch.from_numpy(np.array(masks, bool).reshape(-1, count))
    )


@torch.no_grad()
def matched_queries(
    queries: InstanceQueries, targets: InstanceTargets, options: InstanceLossOptions | None = None
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"]]:
    """Return the pairs of query and instance that together cost least (Hungarian matching), sorted by query.

    Args:
        queries: of one scene.
        targets: its instances.
        options: costs.
    """
    cost = matching_cost(queries, targets, options or InstanceLossOptions())
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    device = queries.labels.device
    return torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)


def matching_cost(
    queries: InstanceQueries, targets: InstanceTargets, options: InstanceLossOptions
) -> Float[Tensor, "q g"]:
    """Return what every pair of query and instance costs; the arguments are those of :func:`matched_queries`."""
    logits, truth = queries.masks.float(), targets.masks.float()
    wrong = -queries.labels.float().softmax(1)[:, targets.labels]
    entropy = (softplus(-logits) @ truth.mT + softplus(logits) @ (1 - truth.mT)) / max(logits.shape[1], 1)
    inside = logits.sigmoid()
    dice = 1 - (2 * inside @ truth.mT + 1) / (inside.sum(1)[:, None] + truth.sum(1) + 1)
    return options.cost[0] * wrong + options.cost[1] * entropy + options.cost[2] * dice


def instance_loss(
    scenes: Sequence[Sequence[InstanceQueries]],
    targets: Sequence[InstanceTargets],
    options: InstanceLossOptions | None = None,
) -> InstanceLoss:
    """Return the loss of the instance head; every layer is matched by itself.

    Args:
        scenes: per scene what the queries say at every layer, from :class:`InstanceHead`; differentiable.
        targets: instances of every scene; none is fine.
        options: weights.
    """
    options = options or InstanceLossOptions()
    layers = [_layer_loss(layer, targets, options) for layer in zip(*scenes, strict=True)]
    total = torch.stack([_weighted(part, options) for part in layers]).sum()
    return InstanceLoss(total, *layers[-1])


def _weighted(parts: tuple[Tensor, Tensor, Tensor], options: InstanceLossOptions) -> Tensor:
    label, mask, dice = (weight * part for weight, part in zip(options.weight, parts, strict=True))
    return label + mask + dice


def _layer_loss(
    layer: Sequence[InstanceQueries], targets: Sequence[InstanceTargets], options: InstanceLossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    parts = [_scene_loss(*pair, options) for pair in zip(layer, targets, strict=True)]
    label, mask, dice = (torch.stack(part).mean() for part in zip(*parts, strict=True))
    return label, mask, dice


def _scene_loss(
    queries: InstanceQueries, targets: InstanceTargets, options: InstanceLossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = matched_queries(queries, targets, options)
    n_classes = queries.labels.shape[1]
    wanted = torch.full((len(queries.labels),), n_classes - 1, device=rows.device)
    wanted[rows] = targets.labels[columns]
    weight = torch.ones(n_classes, device=rows.device)
    weight[-1] = options.no_object
    label = cross_entropy(queries.labels, wanted, weight, label_smoothing=options.label_smoothing)
    logits, truth = queries.masks[rows], targets.masks[columns].float()
    if len(rows) == 0:
        return label, logits.sum(), logits.sum()
    inside = logits.sigmoid()
    dice = 1 - (2 * (inside * truth).sum(1) + 1) / (inside.sum(1) + truth.sum(1) + 1)
    return label, binary_cross_entropy_with_logits(logits, truth), dice.mean()
