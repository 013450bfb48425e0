"""Heads of Depth Anything 3: depth with rays, and metric depth with sky."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.layers.dpt import Dpt, DptOptions, Frame, output_layers

_AUX_CONVOLUTIONS = 5
_LEVELS = 4
_RAY = 6


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise every pixel."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class DualDpt(Dpt):
    """Two DPT decoders over the same four maps: depth in full size, rays at 8/14 of it.

    Args:
        options: sizes of the depth decoder; the ray decoder has 6 + 1 channels.
    """

    def __init__(self, options: DptOptions) -> None:
        super().__init__(options)
        self.scratch["output_conv2"] = output_layers(options.features, options.output_dim)
        self._add_fusion("_aux")
        # Rays of all four levels were trained; those of the finest are used.
        self.scratch["output_conv1_aux"] = nn.ModuleList(_stack(options.features) for _ in range(_LEVELS))
        self.scratch["output_conv2_aux"] = nn.ModuleList(_ray_layers(options.features) for _ in range(_LEVELS))

    def forward(
        self, taps: Sequence[Float[Tensor, "b p c"]], frame: Frame
    ) -> tuple[
        Float[Tensor, "b h w"], Float[Tensor, "b h w"], Float[Tensor, "b rows cols 6"], Float[Tensor, "b rows cols"]
    ]:
        """Return depth, its confidence, rays (direction, then origin) and their confidence.

        Args:
            taps: patch tokens of four depths.
            frame: size of the images.
        """
        maps = self.laterals(taps, frame)
        dense = self.scratch["output_conv2"](self.full_size(self.fused(maps), frame))  # [b,2,h,w]
        stack, last = (list(self.scratch[f"output_conv{part}_aux"].children())[-1] for part in (1, 2))
        rays = last(self.placed(stack(self.fused(maps, "_aux")), frame)).permute(0, 2, 3, 1)  # [b,8p,8p,7]
        return dense[:, 0].exp(), 1.0 + dense[:, 1].exp(), rays[..., :_RAY], 1.0 + rays[..., _RAY].exp()


def _stack(features: int) -> nn.Sequential:
    """Return 3x3 convolutions that halve and double the channels by turns, with nothing between them."""
    widths = [features, features // 2] * _AUX_CONVOLUTIONS
    return nn.Sequential(*(nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(_AUX_CONVOLUTIONS)))


def _ray_layers(features: int) -> nn.Sequential:
    """Return the last layers of the ray decoder; the empty places keep the numbers of the checkpoint."""
    convolution = nn.Conv2d(features // 2, 32, 3, padding=1)
    return nn.Sequential(
        convolution, nn.Identity(), ChannelNorm(32), nn.Identity(), nn.ReLU(), nn.Conv2d(32, _RAY + 1, 1)
    )


class MetricHead(Dpt):
    """Depth without confidence, and the sky.

    Args:
        options: sizes.
    """

    def __init__(self, options: DptOptions) -> None:
        super().__init__(options)
        self.scratch["output_conv2"] = output_layers(options.features, options.output_dim)
        self.scratch["sky_output_conv2"] = output_layers(options.features, 1)

    def forward(
        self, taps: Sequence[Float[Tensor, "b p c"]], frame: Frame
    ) -> tuple[Float[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """Return depth for a focal length of 300 pixels, and how much a pixel looks like sky (0.3 and more: sky).

        Args:
            taps: patch tokens of four depths.
            frame: size of the images.
        """
        x = self.full_size(self.fused(self.laterals(taps, frame)), frame)
        depth, sky = self.scratch["output_conv2"](x), self.scratch["sky_output_conv2"](x)
        return depth[:, 0].exp(), torch.relu(sky[:, 0])
