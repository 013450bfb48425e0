"""Constructor values of VGGT, and those of the published checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d.feedforward.layers.block import BlockOptions
from recon3d.feedforward.layers.dpt import DptOptions
from recon3d.feedforward.layers.vit import VitOptions


@dataclass(frozen=True)
class TrackOptions:
    """Sizes of the track head.

    Args:
        features: channels of the feature maps and of a track's feature.
        stride: of the maps that the tracker searches, in pixels of the half-size maps.
        levels: of the correlation pyramid.
        radius: of the correlation window, in pixels of its level.
        hidden: channels of the update transformer.
        depth: pairs of time and space attention.
        n_heads: attention heads.
        n_virtual: tracks that stand for all others in the space attention.
        max_scale: displacements are divided by it, in pixels.
    """

    features: int = 128
    stride: int = 2
    levels: int = 7
    radius: int = 4
    hidden: int = 384
    depth: int = 6
    n_heads: int = 8
    n_virtual: int = 64
    max_scale: float = 518.0


@dataclass(frozen=True)
class VggtOptions:
    """Sizes and flags of VGGT; the defaults are those of VGGT-1B.

    Args:
        vit: the DINOv2 part that makes patch tokens.
        depth: pairs of frame and global attention.
        n_heads: attention heads of those.
        group: frame blocks before as many global blocks.
        taps: numbers of the pairs that the DPT heads read.
        features: channels of the fused maps of the depth and point heads.
        stage_channels: of all DPT heads.
        camera_depth: blocks of the camera head.
        camera_heads: attention heads of those.
        iterations: refinements of the cameras.
        track: sizes of the track head.
        heads: heads to build, out of camera, depth, point and track.
    """

    vit: VitOptions = VitOptions(n_registers=4, has_mask_token=True, antialias=True)  # noqa: RUF009
    depth: int = 24
    n_heads: int = 16
    group: int = 1
    taps: tuple[int, int, int, int] = (4, 11, 17, 23)
    features: int = 256
    stage_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    camera_depth: int = 4
    camera_heads: int = 16
    iterations: int = 4
    track: TrackOptions = TrackOptions()
    heads: tuple[str, ...] = ("camera", "depth", "point", "track")

    def dpt(self, *, features: int, output_dim: int, uv: bool = True) -> DptOptions:
        """Return the options of one DPT head."""
        return DptOptions(
            dim_in=2 * self.vit.dim,
            features=features,
            stage_channels=self.stage_channels,
            output_dim=output_dim,
            uv=uv,
            rectified_skip=True,
            patch_size=self.vit.patch_size,
        )

    def block(self, *, qk_norm: bool) -> BlockOptions:
        """Return the options of VGGT's own blocks."""
        return BlockOptions(norm_eps=1e-5, qk_norm=qk_norm, layer_scale=0.01)
