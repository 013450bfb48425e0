"""Depth Anything 3 (Lin et al. 2025, arXiv 2511.10647): depth, rays and cameras of any number of photos in one pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon3d.core.errors import UsageError
from recon3d.feedforward.da3.backbone import Backbone, Taps
from recon3d.feedforward.da3.cameras import CameraDecoder, CameraEncoder
from recon3d.feedforward.da3.config import Da3Options
from recon3d.feedforward.da3.gaussians import GaussianHead, PixelGaussians, world_gaussians
from recon3d.feedforward.da3.heads import DualDpt, MetricHead
from recon3d.feedforward.da3.reference_view import Strategy
from recon3d.feedforward.layers.checks import check_images, dtype_of
from recon3d.feedforward.layers.dpt import Frame, in_chunks
from recon3d.feedforward.pose_encoding import decode_cameras, inverted
from recon3d.feedforward.predictions import Prediction


@dataclass(frozen=True, eq=False, kw_only=True)
class Da3Prediction(Prediction):
    """Answer of Depth Anything 3.

    Args:
        pose_encoding: the nine numbers of every ``world_from_cam``, ``[b,s,9]``.
        rays: direction and origin in the world at 8/14 of the image's size: a point is origin + depth * direction,
            ``[b,s,rows,cols,6]``.
        rays_confidence: of those, at least 1, ``[b,s,rows,cols]``.
        sky: 0.3 and more is sky; networks of single photos only, ``[b,s,h,w]``.
        gaussians: one per pixel, where they were asked for.
        reference: number of the view whose camera is the world, ``[b]``; None where none was chosen.
    """

    pose_encoding: Float[Tensor, "b s 9"] | None = None
    rays: Float[Tensor, "b s rows cols 6"] | None = None
    rays_confidence: Float[Tensor, "b s rows cols"] | None = None
    sky: Float[Tensor, "b s h w"] | None = None
    gaussians: PixelGaussians | None = None
    reference: Int64[Tensor, " b"] | None = None


class DepthAnything3(nn.Module):
    """The network, with the parameter names of the published checkpoints (without their prefix ``model.``).

    Args:
        options: sizes and flags; :data:`recon3d.feedforward.da3.config.CONFIGS` holds the published ones.
        chunk: photos whose dense maps are made at a time; memory only, not the result.
    """

    def __init__(self, options: Da3Options, *, chunk: int = 8) -> None:
        super().__init__()
        self.options, self.chunk = options, chunk
        self.backbone = Backbone(options)
        if options.any_view:
            self.head: nn.Module = DualDpt(options.dpt(output_dim=2, token_norm=True, uv=True))
            self.cam_dec = CameraDecoder(2 * options.vit.dim)
            self.cam_enc = CameraEncoder(options)
            if options.gaussians is not None:
                self.gs_head = GaussianHead(
                    options.dpt(output_dim=options.gaussians.output_dim, token_norm=False, uv=True)
                )
        else:
            self.head = MetricHead(options.dpt(output_dim=1, token_norm=False, uv=False))

    def forward(
        self,
        images: Float[Tensor, "b s 3 h w"],
        cam_from_world: Float[Tensor, "b s 3 4"] | None = None,
        K: Float[Tensor, "b s 3 3"] | None = None,
        *,
        strategy: Strategy = "saddle_balanced",
        gaussians: bool = False,
    ) -> Da3Prediction:
        """Reconstruct scenes.

        Args:
            images: RGB, ImageNet-normalised, sides multiples of 14; see :mod:`recon3d.feedforward.da3.preprocess`.
            cam_from_world: known poses, normalised by :func:`recon3d.feedforward.da3.known_cameras.normalised_poses`.
            K: known intrinsics of the images, in pixels.
            strategy: how the view whose camera becomes the world is chosen, among three or more.
            gaussians: make a Gaussian for every pixel, where the network has a head for them.

        Raises:
            ShapeError: the images are no batch, or cannot be cut into patches.
            UsageError: the network has no part for what is given or asked for.
        """
        return self.decoded(self.tapped(images, cam_from_world, K, strategy=strategy), images, gaussians=gaussians)

    def tapped(
        self,
        images: Float[Tensor, "b s 3 h w"],
        cam_from_world: Float[Tensor, "b s 3 4"] | None = None,
        K: Float[Tensor, "b s 3 3"] | None = None,
        *,
        strategy: Strategy = "saddle_balanced",
        export: Collection[int] = (),
    ) -> Taps:
        """Return what the heads read, and the tokens of further blocks; see :meth:`forward`.

        Args:
            images: RGB, ImageNet-normalised.
            cam_from_world: known poses.
            K: known intrinsics.
            strategy: how the reference view is chosen.
            export: numbers of the further blocks.
        """
        check_images(images, self.options.vit.patch_size)
        known = self._known(cam_from_world, K, Frame(*images.shape[-2:]))
        return self.backbone.pretrained.tapped(images, known, strategy=strategy, export=export)

    def decoded(self, taps: Taps, images: Float[Tensor, "b s 3 h w"], *, gaussians: bool = False) -> Da3Prediction:
        """Apply the heads; see :meth:`forward`.

        Args:
            taps: of the backbone.
            images: what it saw.
            gaussians: make a Gaussian for every pixel.
        """
        with torch.autocast(images.device.type, enabled=False):  # exponentials overflow in half precision
            flat = [tap.flatten(0, 1).to(dtype_of(self.head)) for tap in taps.patches]
            chunks = in_chunks(partial(self.head, frame=Frame(*images.shape[-2:])), flat, self.chunk)
            maps = [torch.unflatten(one, 0, images.shape[:2]) for one in chunks]
            if not self.options.any_view:
                return Da3Prediction(depth_z=maps[0], sky=maps[1])
            found = self._any_view(taps, maps, Frame(*images.shape[-2:]))
            return replace(found, gaussians=self._gaussians(found, flat, images)) if gaussians else found

    def _known(self, cam_from_world: Tensor | None, K: Tensor | None, frame: Frame) -> Tensor | None:
        """Return the tokens of known cameras."""
        if cam_from_world is None and K is None:
            return None
        if cam_from_world is None or K is None or not self.options.any_view:
            raise UsageError(
                "known cameras need both poses and intrinsics, and a network of several photos",
                got=f"poses: {cam_from_world is not None}, intrinsics: {K is not None}",
                fix="give both or none",
            )
        tokens: Tensor = self.cam_enc(cam_from_world, K, frame)
        return tokens

    def _any_view(self, taps: Taps, maps: Sequence[Tensor], frame: Frame) -> Da3Prediction:
        encoding = self.cam_dec(taps.camera[-1].to(dtype_of(self.cam_dec)))
        world_from_cam, K = decode_cameras(encoding, frame)
        depth, confidence, rays, rays_confidence = maps
        return Da3Prediction(
            cam_from_world=inverted(world_from_cam),
            K=K,
            depth_z=depth,
            confidence=confidence,
            pose_encoding=encoding,
            rays=rays,
            rays_confidence=rays_confidence,
            reference=taps.reference,
        )

    def _gaussians(self, found: Da3Prediction, flat: list[Tensor], images: Tensor) -> PixelGaussians:
        """Return a Gaussian for every pixel of every view."""
        options, depth, pose, K = self.options.gaussians, found.depth_z, found.cam_from_world, found.K
        if options is None or depth is None or pose is None or K is None:
            raise UsageError("this network has no Gaussian head", fix="take da3-giant")
        raw, opacities = in_chunks(self.gs_head, flat, self.chunk, images.flatten(0, 1))
        raw, opacities = (torch.unflatten(one, 0, images.shape[:2]) for one in (raw, opacities))
        return world_gaussians(raw, opacities, depth, pose, K, options)
