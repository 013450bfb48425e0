"""VGGT's track head: points of the first photo are found in all others by local correlation, refined step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.layers.block import Mlp
from recon3d.feedforward.layers.checks import dtype_of
from recon3d.feedforward.layers.dpt import Dpt, DptOptions, Frame, in_chunks, resized
from recon3d.feedforward.vggt.config import TrackOptions, VggtOptions
from recon3d.feedforward.vggt.correlation import Pyramid, sample
from recon3d.feedforward.vggt.track_embedding import displacement_embedding, place_embedding
from recon3d.feedforward.vggt.update_transformer import UpdateTransformer

_DOWN = 2  # the feature maps have half the size of the images


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where points of the first photo are in every photo.

    Args:
        xy: after each refinement, in pixels, ``[b,s,n,2]`` each, the best last; those of the first photo
            are the queries.
        visibility: probability that the point is seen, ``[b,s,n]``.
        confidence: probability that the place is right, ``[b,s,n]``.
    """

    xy: tuple[Float[Tensor, "b s n 2"], ...]
    visibility: Float[Tensor, "b s n"]
    confidence: Float[Tensor, "b s n"]


class FeatureExtractor(Dpt):
    """DPT that stops at F channels in half the size of the images.

    Args:
        options: sizes.
    """

    def __init__(self, options: DptOptions) -> None:
        super().__init__(options)
        self.scratch["output_conv1"] = nn.Conv2d(options.features, options.features, 3, padding=1)

    def forward(self, taps: Sequence[Float[Tensor, "b p c"]], frame: Frame) -> tuple[Float[Tensor, "b f rows cols"]]:
        """Return the features of a few images."""
        x = self.scratch["output_conv1"](self.fused(self.laterals(taps, frame)))
        return (resized(x, (frame.height // _DOWN, frame.width // _DOWN)),)


class TrackHead(nn.Module):
    """Feature maps and the tracker that searches them.

    Args:
        options: sizes and flags of the whole network.
    """

    def __init__(self, options: VggtOptions) -> None:
        super().__init__()
        dpt = options.dpt(features=options.track.features, output_dim=options.track.features, uv=False)
        self.feature_extractor = FeatureExtractor(dpt)
        self.tracker = Tracker(options.track)
        self.iterations = options.iterations

    def features(
        self, taps: Sequence[Float[Tensor, "b s p c"]], frame: Frame, chunk: int = 8
    ) -> Float[Tensor, "b s f rows cols"]:
        """Return the maps to be searched, in half the size of the images.

        Args:
            taps: patch tokens of four depths.
            frame: size of the images.
            chunk: images at a time.
        """
        flat = [tap.flatten(0, 1).to(dtype_of(self)) for tap in taps]
        (maps,) = in_chunks(partial(self.feature_extractor, frame=frame), flat, chunk)
        return torch.unflatten(maps, 0, taps[0].shape[:2])

    def forward(
        self,
        taps: Sequence[Float[Tensor, "b s p c"]],
        query_points: Float[Tensor, "b n 2"],
        frame: Frame,
        *,
        chunk: int = 8,
        iterations: int | None = None,
    ) -> Tracks:
        """Track points.

        Args:
            taps: patch tokens of four depths.
            query_points: x, y in the first image, in pixels.
            frame: size of the images.
            chunk: images at a time for the feature maps.
            iterations: refinements, if other than the network's own number.
        """
        tracks: Tracks = self.tracker(self.features(taps, frame, chunk), query_points, iterations or self.iterations)
        return tracks


class Tracker(nn.Module):
    """Refines coordinates and features of tracks together (CoTracker, Karaev et al. 2023).

    Args:
        options: sizes.
    """

    def __init__(self, options: TrackOptions) -> None:
        super().__init__()
        self.options, latent = options, options.features
        self.dim = 3 * latent + 4  # displacement and its four copies, correlation, feature
        window = (2 * options.radius + 1) ** 2
        self.corr_mlp = Mlp(options.levels * window, options.hidden, latent)
        self.query_ref_token = nn.Parameter(torch.zeros(1, 2, self.dim))
        self.updateformer = UpdateTransformer(options, self.dim)
        self.fmap_norm = nn.LayerNorm(latent)
        self.ffeat_norm = nn.GroupNorm(1, latent)
        self.ffeat_updater = nn.Sequential(nn.Linear(latent, latent), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(latent, 1))
        self.conf_predictor = nn.Sequential(nn.Linear(latent, 1))

    def forward(
        self, maps: Float[Tensor, "b s f rows cols"], query_points: Float[Tensor, "b n 2"], iterations: int
    ) -> Tracks:
        """Search feature maps for the points of the first of them.

        Args:
            maps: feature maps of every photo.
            query_points: x, y in the first photo, in pixels of the maps times the stride.
            iterations: refinements.
        """
        maps = self.fmap_norm(maps.movedim(2, -1)).movedim(-1, 2)
        n_views, stride = maps.shape[1], self.options.stride
        queries = (query_points / stride)[:, None]  # [b,1,n,2]
        xy = queries.repeat(1, n_views, 1, 1)
        features = sample(maps[:, :1], queries, padding="border").repeat(1, n_views, 1, 1)  # [b,s,n,f]
        context = place_embedding(self.dim, queries[:, 0], (maps.shape[-2], maps.shape[-1]))[:, None] + self._slots(
            n_views
        )
        pyramid = Pyramid(maps, self.options.levels, self.options.radius)
        found = []
        for _ in range(iterations):
            delta_xy, delta_features = self._update(pyramid, xy.detach(), features, context)
            xy = torch.cat([queries, (xy.detach() + delta_xy)[:, 1:]], 1)
            flat = self.ffeat_norm(delta_features.flatten(0, 2)).view_as(features)
            features = features + self.ffeat_updater(flat)
            found.append(xy * stride)
        visibility, confidence = (
            torch.sigmoid(head(features)[..., 0]) for head in (self.vis_predictor, self.conf_predictor)
        )
        return Tracks(tuple(found), visibility, confidence)

    def _slots(self, n_views: int) -> Tensor:
        """Return the token of the first photo and that of all others, ``[1,s,1,dim]``."""
        first, other = self.query_ref_token.chunk(2, dim=1)
        return torch.cat([first, other.expand(-1, n_views - 1, -1)], 1)[:, :, None]

    def _update(self, pyramid: Pyramid, xy: Tensor, features: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return what one refinement adds to coordinates and features, ``[b,s,n,2]`` and ``[b,s,n,f]``."""
        correlation = self.corr_mlp(pyramid.correlate(features, xy))
        moved = xy - xy[:, :1]
        small = moved / self.options.max_scale
        displacement = displacement_embedding(moved, self.options.features // 2)
        x = torch.cat([displacement, small, small, correlation, features], -1) + context
        delta = self.updateformer(x.transpose(1, 2)).transpose(1, 2)
        return delta[..., :2], delta[..., 2:]
