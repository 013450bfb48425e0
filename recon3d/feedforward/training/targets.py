"""What a network should answer for generated scenes: relative to the first camera, in a unit of the scene."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from recon3d.feedforward.pose_encoding import encode_cameras, homogeneous, inverted, unproject
from recon3d.feedforward.scenes import TrueViews

_LEAST = 1e-3
_FAR = 4.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Targets:
    """Truth in the unit of each scene: the mean distance of its visible points from the first camera.

    Args:
        cam_from_world: the world is the first camera, ``[b,s,3,4]``.
        K: in pixels, ``[b,s,3,3]``.
        depth_z: 0 where there is no surface, ``[b,s,h,w]``.
        mask: where there is one.
        unit: metres, ``[b]``.
    """

    cam_from_world: Float[Tensor, "b s 3 4"]
    K: Float[Tensor, "b s 3 3"]
    depth_z: Float[Tensor, "b s h w"]
    mask: Bool[Tensor, "b s h w"]
    unit: Float[Tensor, " b"]

    def encoding(self) -> Float[Tensor, "b s 9"]:
        """Return the nine numbers of every ``world_from_cam``."""
        height, width = self.depth_z.shape[-2:]
        return encode_cameras(inverted(self.cam_from_world), self.K, (height, width))

    def rays(self, rows: int, cols: int) -> Float[Tensor, "b s rows cols 6"]:
        """Return direction and origin of the rays at the centres of a grid of cells that fills the image."""
        height, width = self.depth_z.shape[-2:]
        scale = self.K.new_tensor([cols / width, rows / height, 1.0])
        ones = self.depth_z.new_ones(*self.depth_z.shape[:2], rows, cols)
        reached = unproject(ones, self.K * scale[:, None], self.cam_from_world)
        origin = inverted(self.cam_from_world)[..., None, None, :, 3].expand_as(reached)
        return torch.cat([reached - origin, origin], -1)


def targets_of(views: TrueViews) -> Targets:
    """Return what should be answered for the photos of scenes.

    Args:
        views: photos with their truth in metres.
    """
    pose = views.cam_from_world @ homogeneous(inverted(views.cam_from_world[:, :1, :3]))
    mask = views.depth_z > 0
    points = unproject(views.depth_z, views.K, pose[:, :, :3])
    unit = _units(points.norm(dim=-1).flatten(1), mask.flatten(1))
    scale = unit[:, None, None, None]
    relative = torch.cat([pose[:, :, :3, :3], pose[:, :, :3, 3:] / scale], -1)
    return Targets(cam_from_world=relative, K=views.K, depth_z=views.depth_z / scale, mask=mask, unit=unit)


def _units(distances: Float[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Return the mean distance of each scene; what lies far behind the rest, at a horizon, counts as four medians."""
    medians = torch.where(mask, distances, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num(1.0)
    near = torch.where(mask, distances.minimum(_FAR * medians), 0.0)
    return (near.sum(1) / mask.sum(1).clamp(min=1)).clamp(min=_LEAST)


def nearest_cells(maps: Shaped[Tensor, "b s h w"], rows: int, cols: int) -> Shaped[Tensor, "b s rows cols"]:
    """Return the pixels in which the centres of a grid of cells lie.

    Args:
        maps: of any type.
        rows: of the grid.
        cols: of the grid.
    """
    height, width = maps.shape[-2:]
    y, x = (
        ((torch.arange(n, device=maps.device) + 0.5) * size / n).long() for n, size in ((rows, height), (cols, width))
    )
    return maps[..., y[:, None], x]
