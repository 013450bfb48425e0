"""Constructor values of Depth Anything 3, and those of the published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from recon3d.feedforward.layers.block import BlockOptions
from recon3d.feedforward.layers.dpt import DptOptions
from recon3d.feedforward.layers.vit import VitOptions


@dataclass(frozen=True)
class GaussianOptions:
    """Sizes of the Gaussian head and ranges of its Gaussians.

    Args:
        output_dim: channels of the head.
        sh_degree: of the spherical harmonics.
        scale_min: smallest scale, at depth 1 in a camera of the pixel size of the photo.
        scale_max: largest of it.
    """

    output_dim: int = 38
    sh_degree: int = 2
    scale_min: float = 1e-5
    scale_max: float = 30.0


@dataclass(frozen=True)
class Da3Options:
    """Sizes and flags of one Depth Anything 3 network.

    Args:
        vit: the backbone.
        alternation_start: first block from which odd blocks see all views; None for a network of single photos.
        taps: numbers of the blocks that the heads read.
        features: channels of the fused maps.
        stage_channels: of the DPT heads.
        encoder_heads: attention heads of the camera encoder.
        encoder_depth: blocks of the camera encoder.
        gaussians: options of the Gaussian head; None for no such head.
    """

    vit: VitOptions
    alternation_start: int | None
    taps: tuple[int, int, int, int]
    features: int = 256
    stage_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    encoder_heads: int = 16
    encoder_depth: int = 4
    gaussians: GaussianOptions | None = None

    @property
    def any_view(self) -> bool:
        """Whether the network sees several photos together, and predicts cameras and rays."""
        return self.alternation_start is not None

    def dpt(self, *, output_dim: int, token_norm: bool, uv: bool) -> DptOptions:
        """Return the options of one DPT head."""
        return DptOptions(
            dim_in=self.vit.dim * (2 if self.any_view else 1),
            features=self.features,
            stage_channels=self.stage_channels,
            output_dim=output_dim,
            token_norm=token_norm,
            uv=uv,
            patch_size=self.vit.patch_size,
        )


def vit_options(dim: int, depth: int, n_heads: int, start: int | None, *, native_size: int = 518) -> VitOptions:
    """Return the backbone's options: DINOv2 without registers, q/k norm from the alternation on.

    Args:
        dim: channels of a token.
        depth: blocks.
        n_heads: attention heads.
        start: first alternating block.
        native_size: side of the image that the position table was made for, in pixels.
    """
    return VitOptions(
        dim=dim,
        depth=depth,
        n_heads=n_heads,
        native_size=native_size,
        grid_offset=0.1,
        qk_norm_start=start,
        final_norm_eps=1e-5,
        block=BlockOptions(ffn="swiglu" if dim >= _GIANT else "gelu"),
    )


_GIANT = 1536
_MONO = Da3Options(vit_options(1024, 24, 16, None), None, (4, 11, 17, 23))
CONFIGS = {
    "da3-small": Da3Options(vit_options(384, 12, 6, 4), 4, (5, 7, 9, 11), 64, (48, 96, 192, 384)),
    "da3-base": Da3Options(vit_options(768, 12, 12, 4), 4, (5, 7, 9, 11), 128, (96, 192, 384, 768)),
    "da3-large": Da3Options(vit_options(1024, 24, 16, 8), 8, (11, 15, 19, 23)),
    "da3-giant": Da3Options(vit_options(1536, 40, 24, 13), 13, (19, 27, 33, 39), gaussians=GaussianOptions()),
    "da3metric-large": _MONO,
    "da3mono-large": _MONO,
}
