"""VGGT (Wang et al. 2025, arXiv 2503.11651): cameras, depth, points and tracks of a few photos in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.layers.checks import check_images, dtype_of
from recon3d.feedforward.layers.dpt import Frame, in_chunks
from recon3d.feedforward.pose_encoding import decode_cameras
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.vggt.aggregator import Aggregator
from recon3d.feedforward.vggt.camera_head import CameraHead
from recon3d.feedforward.vggt.config import VggtOptions
from recon3d.feedforward.vggt.dense_heads import DenseHead, inverse_log
from recon3d.feedforward.vggt.track_head import TrackHead, Tracks


@dataclass(frozen=True, eq=False, kw_only=True)
class VggtPrediction(Prediction):
    """Answer of VGGT; the first photo's camera is close to the world, and the scale is arbitrary.

    Args:
        pose_encodings: the nine numbers of every camera after each refinement, ``[b,s,9]`` each.
        points_world: points of the point head, ``[b,s,h,w,3]``.
        points_confidence: of those, at least 1, ``[b,s,h,w]``.
        tracks: of the query points, where some were asked for.
    """

    pose_encodings: tuple[Float[Tensor, "b s 9"], ...] = ()
    points_world: Float[Tensor, "b s h w 3"] | None = None
    points_confidence: Float[Tensor, "b s h w"] | None = None
    tracks: Tracks | None = None


class Vggt(nn.Module):
    """The network, with the parameter names of the published checkpoint.

    Args:
        options: sizes and flags; those of VGGT-1B by default.
        chunk: photos whose dense maps are made at a time; memory only, not the result.
    """

    def __init__(self, options: VggtOptions | None = None, *, chunk: int = 8) -> None:
        super().__init__()
        self.options, self.chunk = options or VggtOptions(), chunk
        options, heads = self.options, self.options.heads
        self.aggregator = Aggregator(options)
        if "camera" in heads:
            self.camera_head = CameraHead(options)
        if "depth" in heads:
            self.depth_head = DenseHead(options.dpt(features=options.features, output_dim=2))
        if "point" in heads:
            self.point_head = DenseHead(options.dpt(features=options.features, output_dim=4))
        if "track" in heads:
            self.track_head = TrackHead(options)

    def forward(
        self, images: Float[Tensor, "b s 3 h w"], query_points: Float[Tensor, "b n 2"] | None = None
    ) -> VggtPrediction:
        """Reconstruct scenes.

        Args:
            images: RGB in 0..1, sides multiples of 14, ``[b,s,3,h,w]``.
            query_points: x, y of points of the first photo to be tracked, in pixels, ``[b,n,2]``.

        Raises:
            ShapeError: the images are no batch, or cannot be cut into patches.
        """
        check_images(images, self.options.vit.patch_size)
        last = self.options.depth - 1
        kept = self.aggregator(images, keep={*self.options.taps, last})
        with torch.autocast(images.device.type, enabled=False):  # exponentials overflow in half precision
            taps = [kept[i][:, :, self.aggregator.n_special :] for i in self.options.taps]  # [b,s,p,2c]
            return self._answer(kept[last], taps, images, query_points)

    def _answer(
        self, tokens: Tensor, taps: list[Tensor], images: Tensor, query_points: Tensor | None
    ) -> VggtPrediction:
        """Apply the heads to the last tokens and to the tapped patches."""
        frame, has = Frame(*images.shape[-2:]), self.options.heads
        encodings = self.camera_head(tokens.to(dtype_of(self.camera_head))) if "camera" in has else ()
        cam_from_world, K = decode_cameras(encodings[-1], frame) if encodings else (None, None)
        depth, confidence = self._maps(self.depth_head, taps, frame) if "depth" in has else (None, None)
        points, points_confidence = self._maps(self.point_head, taps, frame) if "point" in has else (None, None)
        wants_tracks = query_points is not None and "track" in has
        return VggtPrediction(
            cam_from_world=cam_from_world,
            K=K,
            depth_z=None if depth is None else depth[..., 0].exp(),
            confidence=confidence,
            pose_encodings=tuple(encodings),
            points_world=None if points is None else inverse_log(points),
            points_confidence=points_confidence,
            tracks=self.track_head(taps, query_points, frame, chunk=self.chunk) if wants_tracks else None,
        )

    def _maps(self, head: DenseHead, taps: list[Tensor], frame: Frame) -> list[Tensor]:
        """Return the head's maps, ``[b,s,h,w,...]``."""
        flat = in_chunks(partial(head, frame=frame), [tap.flatten(0, 1).to(dtype_of(head)) for tap in taps], self.chunk)
        return [torch.unflatten(one, 0, taps[0].shape[:2]) for one in flat]
