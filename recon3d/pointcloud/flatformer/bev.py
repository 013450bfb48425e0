"""The map seen from above: scattered pillars, the two-stage 2D network and its neck, with the official names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from recon3d.pointcloud.flatformer.normed import NormedSequence
from recon3d.pointcloud.flatformer.options import DetectorOptions
from recon3d.pointcloud.flatformer.vfe import NORM_EPS, NORM_MOMENTUM


def scatter_bev(
    coords: Integer[Tensor, "n 4"], features: Float[Tensor, "n c"], batch_size: int, shape: tuple[int, int]
) -> Float[Tensor, "b c ny nx"]:
    """Return the map that holds the features of pillars and is 0 elsewhere; channels last in memory.

    Args:
        coords: sample, z, y and x cell.
        features: of the pillars; differentiable in them.
        batch_size: samples, the empty ones included.
        shape: rows (y) and columns (x).
    """
    ny, nx = shape
    sample, _, y, x = coords.long().unbind(1)
    canvas = features.new_zeros(batch_size * ny * nx, features.shape[1])
    canvas = canvas.index_copy(0, (sample * ny + y) * nx + x, features)
    return canvas.view(batch_size, ny, nx, -1).permute(0, 3, 1, 2)


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d, channels: int) -> nn.Sequential:
    return NormedSequence(convolution, nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM))


def _convolution(dim_in: int, dim_out: int, stride: int = 1) -> nn.Sequential:
    return _normalised(nn.Conv2d(dim_in, dim_out, 3, stride, 1, bias=False), dim_out)


class BevBackbone(nn.Module):
    """Two stages of convolutions, the first at the resolution of the maps, the second at half of it.

    Args:
        options: of the detector.
    """

    def __init__(self, options: DetectorOptions) -> None:
        super().__init__()
        before, stages = options.encoder.channels, []
        for number, (channels, layers) in enumerate(
            zip(options.backbone_channels, options.backbone_layers, strict=True)
        ):
            first = _convolution(before, channels, 2 if number else options.stride)
            stages.append(nn.Sequential(first, *(_convolution(channels, channels) for _ in range(layers))))
            before = channels
        self.blocks = nn.ModuleList(stages)

    def forward(self, x: Float[Tensor, "b c ny nx"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the maps of both stages: at the resolution of the head's maps and at half of it.

        Args:
            x: the map of the pillars.
        """
        maps = []
        for stage in self.blocks:
            for layer in stage:  # type: ignore[attr-defined]
                y = layer(x)
                if y.shape == x.shape:  # the sum comes after the ReLU
                    y = y + x if torch.is_grad_enabled() else y.add_(x)
                x = y
            maps.append(x)
        return maps


class BevNeck(nn.Module):
    """Brings both stages to the resolution of the first, side by side.

    Args:
        options: of the detector.
    """

    def __init__(self, options: DetectorOptions) -> None:
        super().__init__()
        out = options.neck_channels
        self.deblocks = nn.ModuleList(
            _normalised(nn.ConvTranspose2d(channels, out, scale, scale, bias=False), out)
            for channels, scale in zip(options.backbone_channels, (1, 2), strict=True)
        )

    def forward(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c ny nx"]:
        """Return the common map.

        Args:
            maps: of both stages.
        """
        return torch.cat([layer(one) for layer, one in zip(self.deblocks, maps, strict=True)], 1)
