"""Volt with linear heads, one per data set, and the loss that trains them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon3d.core.errors import InputError, UsageError
from recon3d.pointcloud.volt.backbone import Volt, initialise_linear
from recon3d.pointcloud.volt.batch import VoxelBatch
from recon3d.pointcloud.volt.losses import SegmentationLossOptions, mean_over_points, segmentation_loss
from recon3d.pointcloud.volt.options import SegmentorOptions


class VoltSegmentor(nn.Module):
    """Classes of voxels: the backbone, a linear head per data set, and one more per data set for a teacher's labels.

    Args:
        options: sizes and classes.
    """

    def __init__(self, options: SegmentorOptions) -> None:
        super().__init__()
        self.options = options
        self.backbone = Volt(options.backbone)
        self.seg_heads = _heads(options)
        if options.distillation:
            self.distill_heads = _heads(options)

    def initialise(self, seed: int) -> None:
        """Draw the weights of every linear layer, and the tokens that drop path drops, from a seed."""
        initialise_linear(self, seed)
        self.backbone.seed_drop_path(seed)

    def forward(self, batch: VoxelBatch, condition: str | None = None) -> Float[Tensor, "m classes"]:
        """Return the logits of every voxel; differentiable in the batch's features.

        Args:
            batch: voxels of one or more scenes.
            condition: the head; None for that of the batch's own data set, or for the only head.

        Raises:
            UsageError: the head is not there, or the batch names several data sets.
        """
        return self.logits(self.backbone(batch), condition or self._only(batch))

    def logits(
        self, features: Float[Tensor, "m u"], condition: str, *, distillation: bool = False
    ) -> Float[Tensor, "m classes"]:
        """Return the logits of one head from the features of the backbone."""
        if condition not in self.seg_heads:
            raise UsageError("no head for this data set", got=condition, expected=", ".join(self.options.classes))
        if distillation and not self.options.distillation:
            raise UsageError("the model has no distillation heads", fix="build it with distillation=True")
        out: Tensor = (self.distill_heads if distillation else self.seg_heads)[condition](features)
        return out

    def _only(self, batch: VoxelBatch) -> str:
        if len(self.options.classes) == 1:
            return next(iter(self.options.classes))
        if len(set(batch.conditions)) != 1:
            raise UsageError("one head for scenes of several data sets", got=set(batch.conditions), fix="name one")
        return batch.conditions[0]


def _heads(options: SegmentorOptions) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(options.backbone.up_dim, n) for name, n in options.classes.items()})


def segmentor_loss(
    model: VoltSegmentor,
    batch: VoxelBatch,
    teacher_labels: Int64[Tensor, " m"] | None = None,
    options: SegmentationLossOptions | None = None,
    class_weights: Mapping[str, Float[Tensor, " classes"]] | None = None,
) -> Float[Tensor, ""]:
    """Return the training loss of a batch: per data set, then averaged with their numbers of points as weights.

    Args:
        model: the network.
        batch: labelled scenes, mixed or not.
        teacher_labels: argmax of a teacher on the same voxels, ``[m]``; a model with distillation heads needs them.
        options: weights.
        class_weights: of the cross entropy, by data set.

    Raises:
        InputError: labels are missing, or a label is no class of its data set.
    """
    if batch.segment is None or (teacher_labels is None) == model.options.distillation:
        raise InputError(
            "the loss lacks labels, or has a teacher's too many",
            got=f"labels: {batch.segment is not None}, teacher's labels: {teacher_labels is not None}",
            expected=f"labels, and a teacher's: {model.options.distillation}",
        )
    options, features, losses = options or SegmentationLossOptions(), model.backbone(batch), {}
    for condition in dict.fromkeys(batch.conditions):
        rows, weights = batch.rows(condition), (class_weights or {}).get(condition)
        logits = model.logits(features[rows], condition)
        loss = segmentation_loss(logits, _classes(batch.segment[rows], logits), options, weights)
        if teacher_labels is not None:
            taught = model.logits(features[rows], condition, distillation=True)
            follow = segmentation_loss(taught, _classes(teacher_labels[rows], taught), options, weights)
            loss = (1 - options.distillation) * loss + options.distillation * follow
        losses[condition] = loss, len(rows)
    return mean_over_points(losses)


def _classes(labels: Tensor, logits: Tensor) -> Tensor:
    if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise InputError("labels are no classes of their data set", got=got, expected=f"-1 to {logits.shape[1] - 1}")
    return labels


def teacher_labels_of(teacher_logits: Float[Tensor, "m classes"]) -> Int64[Tensor, " m"]:
    """Return the hard labels that a teacher gives, also where the truth is unknown."""
    return torch.argmax(teacher_logits.detach(), dim=1)
