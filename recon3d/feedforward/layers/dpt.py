"""Dense prediction transformer (DPT, Ranftl et al. 2021): tokens of four depths become one map of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from recon3d.feedforward.layers.uv_embedding import uv_embedding


@dataclass(frozen=True)
class DptOptions:
    """Sizes and flags of a DPT head.

    Args:
        dim_in: channels of the tapped tokens.
        features: channels F of the fused maps.
        stage_channels: channels of the four stages before fusion, finest first.
        output_dim: channels of the prediction.
        token_norm: one shared LayerNorm over the channels of the tokens.
        uv: add the embedding of the pixel's place.
        rectified_skip: a residual unit adds relu(x), as VGGT does, instead of x, as DA3 does.
        patch_size: side of a patch, in pixels.
    """

    dim_in: int = 2048
    features: int = 256
    stage_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    output_dim: int = 2
    token_norm: bool = True
    uv: bool = True
    rectified_skip: bool = False
    patch_size: int = 14


class Frame(NamedTuple):
    """Size of the images of a batch, in pixels."""

    height: int
    width: int


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions with ReLU in front of each, and a skip.

    Args:
        features: channels.
        rectified_skip: the skip is rectified as well.
    """

    def __init__(self, features: int, rectified_skip: bool) -> None:
        super().__init__()
        self.rectified_skip = rectified_skip
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Float[Tensor, "b f h w"]) -> Float[Tensor, "b f h w"]:
        """Refine a map."""
        rectified = relu(x)
        out: Tensor = self.conv2(relu(self.conv1(rectified)))
        return out + (rectified if self.rectified_skip else x)


class FusionBlock(nn.Module):
    """Adds a finer map to a coarser one, refines, and resizes to the next finer size.

    Args:
        options: features and the kind of skip.
        lateral: whether there is a coarser map to be added to; the coarsest block has none.
    """

    def __init__(self, options: DptOptions, *, lateral: bool = True) -> None:
        super().__init__()
        if lateral:
            self.resConfUnit1 = ResidualUnit(options.features, options.rectified_skip)
        self.resConfUnit2 = ResidualUnit(options.features, options.rectified_skip)
        self.out_conv = nn.Conv2d(options.features, options.features, 1)

    def forward(
        self, x: Float[Tensor, "b f h w"], finer: Float[Tensor, "b f h w"] | None, size: tuple[int, int]
    ) -> Float[Tensor, "b f rows cols"]:
        """Return the fused map at ``size`` (rows, columns)."""
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        out: Tensor = self.out_conv(resized(self.resConfUnit2(x), size))
        return out


class Dpt(nn.Module):
    """The skeleton that all heads share; a head adds its last layers to ``scratch``.

    Args:
        options: sizes and flags.
    """

    def __init__(self, options: DptOptions) -> None:
        super().__init__()
        self.options = options
        stages, features = options.stage_channels, options.features
        self.norm: nn.Module = nn.LayerNorm(options.dim_in) if options.token_norm else nn.Identity()
        self.projects = nn.ModuleList(nn.Conv2d(options.dim_in, channels, 1) for channels in stages)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(stages[0], stages[0], 4, stride=4),
                nn.ConvTranspose2d(stages[1], stages[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(stages[3], stages[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = nn.ModuleDict()
        for level, channels in enumerate(stages, 1):
            self.scratch[f"layer{level}_rn"] = nn.Conv2d(channels, features, 3, padding=1, bias=False)
        self._add_fusion()
        self.scratch["output_conv1"] = nn.Conv2d(features, features // 2, 3, padding=1)

    def _add_fusion(self, suffix: str = "") -> None:
        for level in (1, 2, 3, 4):
            self.scratch[f"refinenet{level}{suffix}"] = FusionBlock(self.options, lateral=level < 4)

    def laterals(self, taps: Sequence[Float[Tensor, "b p c"]], frame: Frame) -> list[Float[Tensor, "b f _ _"]]:
        """Return the four maps of F channels at 4, 2, 1 and 1/2 times the patch grid.

        Args:
            taps: patch tokens of four depths, ``[b,p,c]`` each.
            frame: size of the images.
        """
        rows, cols = frame.height // self.options.patch_size, frame.width // self.options.patch_size
        maps = []
        for stage, tap in enumerate(taps):
            x = self.norm(tap).transpose(1, 2).unflatten(2, (rows, cols))  # [b,c,rows,cols]
            x = self.placed(self.projects[stage](x), frame)
            maps.append(self.scratch[f"layer{stage + 1}_rn"](self.resize_layers[stage](x)))
        return maps

    def fused(self, maps: Sequence[Float[Tensor, "b f _ _"]], suffix: str = "") -> Float[Tensor, "b f rows cols"]:
        """Return the map of F channels at eight times the patch grid."""
        finest = (2 * maps[0].shape[-2], 2 * maps[0].shape[-1])
        sizes = [finest, *(tuple(one.shape[-2:]) for one in maps[:3])]
        x = self.scratch[f"refinenet4{suffix}"](maps[3], None, sizes[3])
        for level in (2, 1, 0):
            x = self.scratch[f"refinenet{level + 1}{suffix}"](x, maps[level], sizes[level])
        out: Tensor = x
        return out

    def placed(self, x: Float[Tensor, "b f rows cols"], frame: Frame) -> Float[Tensor, "b f rows cols"]:
        """Add the embedding of the place in the image, where the head has one."""
        if not self.options.uv:
            return x
        return x + uv_embedding(x.shape[1], (x.shape[2], x.shape[3]), frame.width / frame.height, like=x)

    def full_size(self, fused: Float[Tensor, "b f _ _"], frame: Frame) -> Float[Tensor, "b half h w"]:
        """Return F/2 channels at the size of the images, placed."""
        return self.placed(resized(self.scratch["output_conv1"](fused), (frame.height, frame.width)), frame)


def resized(x: Float[Tensor, "b f _ _"], size: tuple[int, int]) -> Float[Tensor, "b f rows cols"]:
    """Resize bilinearly, outer pixel centres on outer pixel centres."""
    return interpolate(x, size, mode="bilinear", align_corners=True)


def output_layers(features: int, output_dim: int) -> nn.Sequential:
    """Return the last layers of a DPT head: 3x3 to 32 channels, ReLU, 1x1."""
    return nn.Sequential(nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, output_dim, 1))


def in_chunks(
    head: Callable[..., tuple[Tensor, ...]], taps: Sequence[Float[Tensor, "b p c"]], chunk: int, *extra: Tensor
) -> tuple[Tensor, ...]:
    """Apply a head to a few images at a time, so that its large maps exist for those only.

    Args:
        head: takes taps and the rows of ``extra``, returns tensors with one row per image.
        taps: tokens of all images, ``[b,p,c]`` each.
        chunk: images at a time.
        extra: further arguments with one row per image.

    Returns:
        The results of all chunks, joined.
    """
    starts = range(0, len(taps[0]), chunk)
    parts = [head([t[at : at + chunk] for t in taps], *(e[at : at + chunk] for e in extra)) for at in starts]
    return tuple(torch.cat(rows) for rows in zip(*parts, strict=True))
