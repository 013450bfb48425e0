"""Training losses of VGGT and of Lite3R: cameras by L1, maps by L1 with a learned confidence, and their smoothness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon3d.feedforward.smoothness import gradient_term, normal_term

_MANY = 1000
_LARGEST = 100.0
_SCALES = (0.1, 10.0)


class CameraLoss(NamedTuple):
    """Mean absolute errors of the pose encodings, weighted over the refinements.

    Args:
        translation: in the unit of the translations.
        rotation: of quaternions.
        fov: of fields of view, in radians.
        total: their weighted sum.
    """

    translation: Float[Tensor, ""]
    rotation: Float[Tensor, ""]
    fov: Float[Tensor, ""]
    total: Float[Tensor, ""]


class DenseLoss(NamedTuple):
    """Errors of a map.

    Args:
        confident: error times confidence, minus the reward for confidence (Kendall and Gal 2017).
        plain: error alone.
        smooth: differences between neighbours.
    """

    confident: Float[Tensor, ""]
    plain: Float[Tensor, ""]
    smooth: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Sum of the terms."""
        return self.confident + self.plain + self.smooth


@dataclass(frozen=True)
class DenseLossOptions:
    """Weights of the loss of a map.

    Args:
        alpha: reward for confidence.
        valid_range: share of the pixels that counts; the largest errors above it are taken for wrong labels.
        smooth: no smoothness, that of the error, or that of the surface normals.
    """

    alpha: float = 0.2
    valid_range: float = 0.98
    smooth: Literal["none", "gradient", "normal"] = "none"


def camera_loss(
    stages: Sequence[Float[Tensor, "n 9"]],
    target: Float[Tensor, "n 9"],
    *,
    decay: float = 0.6,
    fov_weight: float = 0.5,
    align: bool = False,
) -> CameraLoss:
    """Compare all refinements with the true cameras, the last one with weight 1.

    Args:
        stages: pose encodings after each refinement.
        target: true encodings, relative to the first view, in the scale of the training.
        decay: factor per refinement before the last.
        fov_weight: of the fields of view in the total.
        align: scale the predicted translations first, as Lite3R does.
    """
    sums = [target.new_zeros(()) for _ in range(3)]
    for number, stage in enumerate(stages):
        factor = _scale(stage[:, :3], target[:, :3], signed=True) if align else 1.0
        moved = (factor * stage[:, :3] - target[:, :3]).abs().clamp(max=_LARGEST)
        errors = moved, (stage[:, 3:7] - target[:, 3:7]).abs(), (stage[:, 7:] - target[:, 7:]).abs()
        weight = decay ** (len(stages) - 1 - number) / len(stages)
        sums = [total + weight * error.mean() for total, error in zip(sums, errors, strict=True)]
    translation, rotation, fov = sums
    return CameraLoss(translation, rotation, fov, translation + rotation + fov_weight * fov)


def dense_loss(
    prediction: Float[Tensor, "n h w k"],
    confidence: Float[Tensor, "n h w"],
    target: Float[Tensor, "n h w k"],
    mask: Bool[Tensor, "n h w"],
    options: DenseLossOptions,
    *,
    align: bool = False,
) -> DenseLoss:
    """Compare depth (k = 1) or points (k = 3) with the truth; zero where nothing is valid.

    Args:
        prediction: values.
        confidence: positive.
        target: true values.
        mask: pixels with a true value.
        options: weights.
        align: scale the prediction first, as Lite3R does.
    """
    if not mask.any():
        nothing = (prediction.sum() + confidence.sum()) * 0.0
        return DenseLoss(nothing, nothing, nothing)
    if align:
        prediction = prediction * _scale(prediction[mask], target[mask])
        confidence = confidence.clamp(min=1e-3)
    error, trust = (prediction[mask] - target[mask]).norm(dim=-1), confidence[mask]
    confident = error * trust - options.alpha * trust.log()
    confident, plain = (_without_largest(values, options.valid_range).mean() for values in (confident, error))
    return DenseLoss(confident, plain, _SMOOTH[options.smooth](prediction, target, mask))


def _none(prediction: Tensor, _target: Tensor, _mask: Tensor) -> Tensor:
    return prediction.new_zeros(())


_SMOOTH: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "none": _none,
    "gradient": gradient_term,
    "normal": normal_term,
}


@torch.no_grad()
def _scale(prediction: Tensor, target: Tensor, *, signed: bool = False) -> Tensor:
    """Return the factor of least squares, its size between 0.1 and 10."""
    factor = (prediction * target).sum() / (prediction * prediction).sum().clamp(min=1e-8)
    if not signed:
        return factor.clamp(*_SCALES)
    sign = torch.where(factor < 0, -1.0, 1.0)
    return sign * factor.abs().clamp(*_SCALES)


def _without_largest(values: Tensor, share: float) -> Tensor:
    """Drop what is not below a quantile, where more than 1000 values are left."""
    if values.numel() <= _MANY:
        return values
    values = values.clamp(max=_LARGEST)
    rank = round(share * (values.numel() - 1)) + 1
    limit = values.detach().kthvalue(rank).values.clamp(max=_LARGEST)
    kept = values[values < limit]
    return kept if kept.numel() > _MANY else values
