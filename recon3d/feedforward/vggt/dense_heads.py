"""VGGT's depth and point heads: values and a confidence per pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.feedforward.layers.dpt import Dpt, DptOptions, Frame, output_layers


class DenseHead(Dpt):
    """DPT whose last channel is a confidence of at least 1.

    Args:
        options: sizes; ``output_dim`` is 2 for depth and 4 for points.
    """

    def __init__(self, options: DptOptions) -> None:
        super().__init__(options)
        self.scratch["output_conv2"] = output_layers(options.features, options.output_dim)

    def forward(
        self, taps: Sequence[Float[Tensor, "b p c"]], frame: Frame
    ) -> tuple[Float[Tensor, "b h w k"], Float[Tensor, "b h w"]]:
        """Return raw values, ``[b,h,w,k]``, and confidences, ``[b,h,w]``.

        Args:
            taps: patch tokens of four depths.
            frame: size of the images.
        """
        x = self.full_size(self.fused(self.laterals(taps, frame)), frame)  # [b,f/2,h,w]
        x = self.scratch["output_conv2"](x).permute(0, 2, 3, 1)  # [b,h,w,k+1]
        return x[..., :-1], 1.0 + x[..., -1].exp()


def inverse_log(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return sign(x) (exp(|x|) - 1): points far away come from small numbers."""
    return torch.sign(x) * torch.expm1(x.abs())
