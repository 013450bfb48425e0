"""Metres: the rules around the metric network, and the nested model that gives its scale to the any-view network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.model import Da3Prediction, DepthAnything3
from recon3d.feedforward.da3.reference_view import Strategy

_FOCAL = 300.0
_SKY = 0.3
_FEW = 10
_MANY = 100_000
_QUANTILE = 0.99
_FARTHEST = 200.0


def metric_depth(depth: Float[Tensor, "b s h w"], K: Float[Tensor, "b s 3 3"]) -> Float[Tensor, "b s h w"]:
    """Return metres from the output of the metric network, which is for a focal length of 300 pixels.

    Args:
        depth: output of the network.
        K: intrinsics of the network's images, in pixels.
    """
    focal = 0.5 * (K[..., 0, 0] + K[..., 1, 1])
    return depth * (focal / _FOCAL)[..., None, None]


def far_sky(depth: Float[Tensor, "b s h w"], sky: Float[Tensor, "b s h w"]) -> Float[Tensor, "b s h w"]:
    """Put the sky at the 0.99 quantile of the depth of everything else, where there are both.

    Args:
        depth: of the metric or mono network.
        sky: its other output.
    """
    land = is_land(sky)
    if land.sum() <= _FEW or (~land).sum() <= _FEW:
        return depth
    return torch.where(land, depth, upper_quantile(depth[land]))


def is_land(sky: Float[Tensor, "*n"]) -> Bool[Tensor, "*n"]:
    """Return where there is no sky."""
    return sky < _SKY


def upper_quantile(values: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the 0.99 quantile; of 100,000 of the values, evenly chosen, where there are more."""
    if len(values) > _MANY:
        values = values[torch.linspace(0, len(values) - 1, _MANY, device=values.device).long()]
    return torch.quantile(values, _QUANTILE)


def least_squares_scale(values: Float[Tensor, " n"], target: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return the factor that brings values closest to a target."""
    return (target * values).sum() / (values * values).sum()


@dataclass(frozen=True, eq=False, kw_only=True)
class NestedPrediction(Da3Prediction):
    """Answer of the nested model: depth and translations are in metres.

    Args:
        scale: metres per unit of the any-view network; already applied.
        is_metric: False where nothing but sky was seen, so that there was nothing to compare; the scale is then 1.
    """

    scale: Float[Tensor, ""]
    is_metric: bool


class NestedDepthAnything3(nn.Module):
    """An any-view network whose scale comes from a metric network on the same photos.

    Args:
        da3: the any-view network.
        da3_metric: the metric network.
    """

    def __init__(self, da3: DepthAnything3, da3_metric: DepthAnything3) -> None:
        super().__init__()
        self.da3, self.da3_metric = da3, da3_metric

    def forward(
        self,
        images: Float[Tensor, "b s 3 h w"],
        cam_from_world: Float[Tensor, "b s 3 4"] | None = None,
        K: Float[Tensor, "b s 3 3"] | None = None,
        *,
        strategy: Strategy = "saddle_balanced",
    ) -> NestedPrediction:
        """Reconstruct scenes in metres; see :meth:`recon3d.feedforward.da3.model.DepthAnything3.forward`."""
        return nested(self.da3(images, cam_from_world, K, strategy=strategy), self.da3_metric(images))


def nested(relative: Da3Prediction, metric: Da3Prediction) -> NestedPrediction:
    """Give the scale of a metric prediction to a relative one, and push the sky away.

    Args:
        relative: of the any-view network.
        metric: of the metric network, on the same photos.

    Raises:
        UsageError: one of them comes from another kind of network.
    """
    depth, confidence, pose, K = relative.depth_z, relative.confidence, relative.cam_from_world, relative.K
    if depth is None or confidence is None or pose is None or K is None or metric.sky is None or metric.depth_z is None:
        raise UsageError("the nested model needs an any-view and a metric network")
    land, metres = is_land(metric.sky), metric_depth(metric.depth_z, K)
    trusted = land & (metres > 1e-2) & (depth > 1e-3)
    if known := bool(land.sum() > _FEW):
        trusted &= confidence >= confidence[land].median()
    known = known and bool(trusted.any())
    scale = least_squares_scale(depth[trusted], metres[trusted]) if known else depth.new_ones(())
    depth = depth * scale
    if known and (~land).sum() > _FEW:
        depth = torch.where(land, depth, upper_quantile(depth[land]).clamp(max=_FARTHEST))
        confidence = torch.where(land, confidence, 1.0)
    pose = torch.cat([pose[..., :3], pose[..., 3:] * scale], -1)
    fields = {**vars(relative), "depth_z": depth, "confidence": confidence, "cam_from_world": pose, "sky": metric.sky}
    return NestedPrediction(**fields, scale=scale, is_metric=known)
