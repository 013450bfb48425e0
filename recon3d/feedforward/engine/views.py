"""One pass of a network over the photos of a scene: cameras, depth, sigma, and which pixels can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from recon3d.core.errors import ResultError, UsageError
from recon3d.feedforward.da3.metric import NestedDepthAnything3, NestedPrediction, is_land
from recon3d.feedforward.da3.model import Da3Prediction
from recon3d.feedforward.engine.agreement import Maps
from recon3d.feedforward.engine.sigma import UNKNOWN, SigmaTable, table_of_views
from recon3d.feedforward.inference import predict, prepare
from recon3d.feedforward.models import Network
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.preparation import Placement
from recon3d.feedforward.vggt.model import Vggt
from recon3d.feedforward.vggt.preprocess import SIZE as VGGT_SIZE

MAX_JUMP = 0.1  # relative step from pixel to pixel: a larger one is an edge between two surfaces
LEAST_CONFIDENT = 0.1  # of the pixels of a scene count as unknown
CPU_SIZE = 336  # larger images cost more than they give on a processor


@dataclass(frozen=True, eq=False, kw_only=True)
class ViewEstimates:
    """What a network says about the photos of one scene, one row per photo.

    Args:
        cam_from_world: poses in OpenCV axes, ``[s,4,4]``.
        K: intrinsics in pixels of the network's images, ``[s,3,3]``.
        depth_z: along the camera's z axis, 0 = none, ``[s,h,w]``.
        sigma: one standard deviation of the depth, 0 where there is none, ``[s,h,w]``.
        confidence: as the network gives it; no sigma, ``[s,h,w]``.
        valid: pixels that show a surface which can be used: not at a jump of the depth, not among the least confident
            of the scene, no sky and no padding, ``[s,h,w]``.
        metric: whether lengths are in metres; else their unit is arbitrary.
        placements: where the photos lie in the network's images.
        sigma_source: where the sigmas were learned, in plain words.
    """

    cam_from_world: Float64[np.ndarray, "s 4 4"]
    K: Float64[np.ndarray, "s 3 3"]
    depth_z: Float32[np.ndarray, "s h w"]
    sigma: Float32[np.ndarray, "s h w"]
    confidence: Float32[np.ndarray, "s h w"]
    valid: Bool[np.ndarray, "s h w"]
    metric: bool
    placements: tuple[Placement, ...] = ()
    sigma_source: str = ""

    def __len__(self) -> int:
        return len(self.K)

    @property
    def maps(self) -> Maps:
        """The usable depth with its cameras."""
        return Maps(self.cam_from_world, self.K, np.where(self.valid, self.depth_z, np.float32(0)))


def estimate_views(
    network: Network,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    *,
    size: int | None = None,
    table: SigmaTable | None = None,
) -> ViewEstimates:
    """Return cameras and depth of the photos of one scene from one pass of a network.

    Args:
        network: in evaluation mode; it must know cameras, so no network of single photos.
        images: upright sRGB photos, at least one; their sizes may differ.
        size: longer side (VGGT: width) of the network's images, in pixels; see :func:`working_size`.
        table: sigma by confidence, learned from truth; None = how the photos of this scene agree with each other.

    Raises:
        InputError: there is no photo, or one is no image.
        UsageError: the network predicts no cameras.
        ResultError: the network's answer is not finite.
    """
    prepared = prepare(network, images, size=size or working_size(network))
    found = predict(network, prepared.images)
    pose, K, depth = _cameras_and_depth(found)
    confidence = _array(found.confidence) if found.confidence is not None else np.ones_like(depth)
    inside = _inside(prepared.placements, images, depth.shape[1:])
    usable = inside & np.isfinite(depth) & (depth > 0) & np.isfinite(confidence) & _land(found, depth.shape)
    valid = usable & ~_at_jump(depth) & _confident(confidence, usable)
    depth, confidence = np.where(usable, depth, np.float32(0)), np.where(usable, confidence, np.float32(0))
    known = table or table_of_views(Maps(pose, K, np.where(valid, depth, np.float32(0))), confidence)
    known = known or SigmaTable((1.0,), (UNKNOWN,), "a guess: too little of the photos overlaps")
    return ViewEstimates(
        cam_from_world=pose,
        K=K,
        depth_z=depth,
        sigma=known.sigma(depth, confidence),
        confidence=confidence,
        valid=valid,
        metric=isinstance(found, NestedPrediction) and found.is_metric,
        placements=prepared.placements,
        sigma_source=known.source,
    )


def working_size(network: Network) -> int:
    """Return the longer side of the network's images in pixels: that of the training, less on a processor."""
    part = network.da3 if isinstance(network, NestedDepthAnything3) else network
    trained = part.options.vit.native_size
    on_cpu = next(part.parameters()).device.type == "cpu"
    if isinstance(part, Vggt):
        return min(trained, CPU_SIZE if on_cpu else VGGT_SIZE)
    return min(trained // 14 * 14, CPU_SIZE if on_cpu else trained)


def _cameras_and_depth(
    found: Prediction,
) -> tuple[Float64[np.ndarray, "s 4 4"], Float64[np.ndarray, "s 3 3"], Float32[np.ndarray, "s h w"]]:
    if found.cam_from_world is None or found.K is None or found.depth_z is None:
        raise UsageError(
            "this network finds no cameras", got=type(found).__name__, fix="take da3-small, vggt-1b or another"
        )
    top, K = (_array(one).astype(np.float64) for one in (found.cam_from_world, found.K))
    if not (np.isfinite(top).all() and np.isfinite(K).all() and (K[:, (0, 1), (0, 1)] > 0).all()):
        raise ResultError("the network's cameras are not finite", fix="use other weights (recon3d weights list)")
    pose = np.tile(np.eye(4), (len(top), 1, 1))
    pose[:, :3] = top
    return pose, K, _array(found.depth_z)


def _array(tensor: Tensor) -> Float32[np.ndarray, "..."]:
    """Return the first scene of a batch."""
    out: Float32[np.ndarray, "..."] = tensor[0].float().cpu().numpy()
    return out


def _land(found: Prediction, shape: tuple[int, ...]) -> Bool[np.ndarray, "s h w"]:
    """Return where there is no sky, as far as the network tells."""
    if not isinstance(found, Da3Prediction) or found.sky is None:
        return np.ones(shape, np.bool_)
    return np.asarray(is_land(found.sky)[0].cpu().numpy())


def _inside(
    placements: Sequence[Placement], images: Sequence[UInt8[np.ndarray, "_ _ 3"]], size: tuple[int, ...]
) -> Bool[np.ndarray, "s h w"]:
    """Return the pixels of the network's images that show a photo, and no padding."""
    v, u = (np.arange(n) + 0.5 for n in size)
    inside = np.zeros((len(images), *size), np.bool_)
    for row, (place, image) in enumerate(zip(placements, images, strict=True)):
        x, y = (u - place.offset_x) / place.scale_x, (v - place.offset_y) / place.scale_y
        inside[row] = np.outer((y > 0) & (y < image.shape[0]), (x > 0) & (x < image.shape[1]))
    return inside


def _at_jump(depth: Float32[np.ndarray, "s h w"]) -> Bool[np.ndarray, "s h w"]:
    """Return the pixels with a neighbour that is much nearer or farther: there the network blends two surfaces."""
    safe = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
    high, low = (each(safe, size=(1, 3, 3), mode="nearest") for each in (maximum_filter, minimum_filter))
    return np.asarray(high - low > MAX_JUMP * 2 * np.maximum(safe, np.float32(1e-12)))


def _confident(
    confidence: Float32[np.ndarray, "s h w"], usable: Bool[np.ndarray, "s h w"]
) -> Bool[np.ndarray, "s h w"]:
    """Return the pixels above a quantile of the scene; all where the confidence says nothing."""
    if not usable.any():
        return usable
    limit = np.quantile(confidence[usable], LEAST_CONFIDENT)
    return np.asarray(confidence >= limit)
