"""A detector of boxes in the points of a LiDAR: pillars, FlatFormer encoder, 2D network, CenterPoint head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.pointcloud.flatformer.bev import BevBackbone, BevNeck, scatter_bev
from recon3d.pointcloud.flatformer.decode import Detections, decode_maps
from recon3d.pointcloud.flatformer.encoder import FlatFormerEncoder
from recon3d.pointcloud.flatformer.head import CenterHead, HeadMaps
from recon3d.pointcloud.flatformer.options import DetectorOptions, detector_options
from recon3d.pointcloud.flatformer.pillars import pillarize
from recon3d.pointcloud.flatformer.points import prepare_points
from recon3d.pointcloud.flatformer.vfe import DynamicVFE


class PillarDetector(nn.Module):
    """The whole network; its parameters have the names of the released code.

    Args:
        options: sizes and conventions.
    """

    def __init__(self, options: DetectorOptions) -> None:
        super().__init__()
        self.options = options
        self.voxel_encoder = DynamicVFE(options.columns, options.vfe_channels, options.grid)
        self.middle_encoder = FlatFormerEncoder(options.encoder)
        self.backbone = BevBackbone(options)
        self.neck = BevNeck(options)
        self.bbox_head = CenterHead(options)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @classmethod
    def from_config(cls, name: str, *, box_convention: str = "recon3d") -> PillarDetector:
        """Return an untrained detector of a named configuration.

        Args:
            name: one of ``DETECTOR_NAMES``, such as "flatformer-waymo-1f".
            box_convention: of the weights that will be loaded: "recon3d", or "mmdet3d_v0" for those of the released
                code.

        Raises:
            UsageError: there is none of this name.
        """
        return cls(detector_options(name, box_convention=box_convention))

    def forward(self, samples: Sequence[Float[Tensor, "_ c"]]) -> HeadMaps:
        """Return the maps of the head.

        Args:
            samples: prepared points of each sample (``prepare_points``); a sample may be empty.
        """
        pillars = pillarize(samples, self.options.grid)
        features = self.voxel_encoder(pillars)  # [n, c]
        features = self.middle_encoder(pillars.coords, features, pillars.batch_size)  # [n, c]
        bev = scatter_bev(pillars.coords, features, pillars.batch_size, self.options.grid.bev)  # [b, c, ny, nx]
        maps: HeadMaps = self.bbox_head(self.neck(self.backbone(bev)))
        return maps

    def decode(self, maps: HeadMaps) -> list[Detections]:
        """Return the boxes of each sample, class by class, by falling score in each.

        Args:
            maps: of the head.
        """
        return decode_maps(maps, self.options)

    @torch.inference_mode()
    def detect(self, samples: Sequence[Float[Tensor, "_ c"]]) -> list[Detections]:
        """Return the boxes in raw points, each cloud by itself; the network must be in evaluation mode.

        Args:
            samples: points of each sample, metres: x, y, z, intensity and what else the configuration asks for, on
                the device of the network.

        Raises:
            InputError: a cloud has other columns.
        """
        prepared = [prepare_points(one, self.options) for one in samples]
        return [found for one in prepared for found in self.decode(self([one]))]
