"""The loss of Depth Anything 3 (arXiv 2511.10647, section 3.3): depth, its gradient, rays, points and cameras by L1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.model import Da3Prediction
from recon3d.feedforward.losses import camera_loss
from recon3d.feedforward.smoothness import gradient_term
from recon3d.feedforward.training.matching import Look, matching_loss
from recon3d.feedforward.training.options import LossOptions
from recon3d.feedforward.training.targets import Targets, nearest_cells

_LARGEST = 20.0  # units of the scene: what is farther counts as if it were there
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms of the loss, each a mean over what is visible, without its weight.

    Args:
        depth: error times confidence minus the reward for confidence.
        relative: error of the logarithm of the depth.
        gradient: differences of the error of the logarithm between neighbours.
        rays: error times confidence minus the reward for confidence.
        points: error per coordinate.
        camera: error of translation, quaternion and field of view.
        matching: cross entropy of where patches look in other photos; 0 where nothing is watched.
        total: weighted sum.
    """

    depth: Float[Tensor, ""]
    relative: Float[Tensor, ""]
    gradient: Float[Tensor, ""]
    rays: Float[Tensor, ""]
    points: Float[Tensor, ""]
    camera: Float[Tensor, ""]
    matching: Float[Tensor, ""]
    total: Float[Tensor, ""]

    def values(self) -> dict[str, float]:
        """Return plain numbers by name."""
        return {field.name: float(getattr(self, field.name).detach()) for field in fields(self)}


def training_loss(
    found: Da3Prediction, truth: Targets, options: LossOptions | None = None, looks: Sequence[Look] = ()
) -> Terms:
    """Compare a prediction with the truth; differentiable in the prediction.

    Args:
        found: of a network that knows cameras and rays.
        truth: in the unit of each scene.
        options: weights.
        looks: attentions of the network that were watched while it made the prediction.

    Raises:
        UsageError: the network predicts no cameras or no rays.
    """
    options = options or LossOptions()
    depth, encoding, rays = found.depth_z, found.pose_encoding, found.rays
    if depth is None or encoding is None or rays is None or found.confidence is None or found.rays_confidence is None:
        raise UsageError("this network cannot be trained here", got="no cameras or no rays", fix="take recon3d-small")
    true_depth, true_rays = truth.depth_z.clamp(max=_LARGEST), truth.rays(*rays.shape[2:4])
    log_depth, log_true = depth.clamp(min=_LEAST).log(), true_depth.clamp(min=_LEAST).log()
    terms = {
        "depth": _confident((depth - true_depth).abs(), found.confidence, truth.mask, options.alpha),
        "relative": _mean((log_depth - log_true).abs(), truth.mask),
        "gradient": gradient_term(_flat(log_depth), _flat(log_true), truth.mask.flatten(0, 1)),
        "rays": _confident((rays - true_rays).abs().mean(-1), found.rays_confidence, None, options.alpha),
        "points": _points(depth, rays, true_depth, true_rays, truth.mask),
        "camera": camera_loss([encoding.flatten(0, 1)], truth.encoding().flatten(0, 1)).total,
        "matching": matching_loss(looks, truth),
    }
    total = torch.stack([getattr(options, name) * term for name, term in terms.items()]).sum()
    return Terms(**terms, total=total)


def _points(depth: Tensor, rays: Tensor, true_depth: Tensor, true_rays: Tensor, mask: Tensor) -> Tensor:
    """Return the mean error of a coordinate of the points at the ends of the rays."""
    rows, cols = rays.shape[2:4]
    there, at, true_at = (nearest_cells(one, rows, cols) for one in (mask, depth, true_depth))
    ends = rays[..., 3:] + at[..., None] * rays[..., :3]
    true_ends = true_rays[..., 3:] + true_at[..., None] * true_rays[..., :3]
    return _mean((ends - true_ends).abs().mean(-1).clamp(max=_LARGEST), there)


def _confident(error: Tensor, confidence: Tensor, mask: Tensor | None, alpha: float) -> Tensor:
    value = error.clamp(max=_LARGEST) * confidence - alpha * confidence.log()
    return value.mean() if mask is None else _mean(value, mask)


def _mean(values: Float[Tensor, "*n"], mask: Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def _flat(maps: Float[Tensor, "b s h w"]) -> Float[Tensor, "n h w 1"]:
    return maps.flatten(0, 1)[..., None]
