"""Gaussians per pixel from Depth Anything 3's giant network: the head, and what its numbers mean in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from recon3d.feedforward.da3.config import GaussianOptions
from recon3d.feedforward.layers.dpt import Dpt, DptOptions, Frame, output_layers
from recon3d.feedforward.pose_encoding import inverted, matrix_from_quaternion, quaternion_from_matrix
from recon3d.render.gaussians.reference import bases

_FOOTPRINT = 0.1
_OFFSETS, _SCALES, _QUATERNION = 2, 3, 4


@dataclass(frozen=True, eq=False)
class PixelGaussians:
    """One Gaussian per pixel of every view, in the world, view after view and row after row.

    Args:
        means: centres, ``[b,n,3]``.
        scales: standard deviations along the axes, ``[b,n,3]``.
        quats: as the public code hands them to a rasteriser that reads (w, x, y, z), though w stands last,
            ``[b,n,4]``.
        sh: coefficients per colour channel, ``[b,n,3,k]``.
        opacities: 0..1, ``[b,n]``.
    """

    means: Float[Tensor, "b n 3"]
    scales: Float[Tensor, "b n 3"]
    quats: Float[Tensor, "b n 4"]
    sh: Float[Tensor, "b n 3 k"]
    opacities: Float[Tensor, "b n"]


class GaussianHead(Dpt):
    """DPT that also sees the photo: raw numbers of a Gaussian per pixel, and its opacity.

    Args:
        options: sizes.
    """

    def __init__(self, options: DptOptions) -> None:
        super().__init__(options)
        self.scratch["output_conv2"] = output_layers(options.features, options.output_dim)
        layers: list[nn.Module] = []
        widths = (3, options.features // 8, options.features // 4, options.features // 2)
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GELU()]
        self.images_merger = nn.Sequential(*layers)

    def forward(
        self, taps: Sequence[Float[Tensor, "b p c"]], images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b h w k"], Float[Tensor, "b h w"]]:
        """Return raw numbers and opacities.

        Args:
            taps: patch tokens of four depths.
            images: what the backbone saw.
        """
        frame = Frame(*images.shape[-2:])
        x = self.full_size(self.fused(self.laterals(taps, frame)), frame) + self.images_merger(images)
        x = self.scratch["output_conv2"](x).permute(0, 2, 3, 1)
        return x[..., :-1], torch.sigmoid(x[..., -1])


def world_gaussians(
    raw: Float[Tensor, "b s h w k"],
    opacities: Float[Tensor, "b s h w"],
    depth_z: Float[Tensor, "b s h w"],
    cam_from_world: Float[Tensor, "b s 3 4"],
    K: Float[Tensor, "b s 3 3"],
    options: GaussianOptions,
) -> PixelGaussians:
    """Place the Gaussians of all pixels in the world, exactly as the published weights were trained.

    The depth is taken along the ray although it was predicted along z; the network has learned the difference.

    Args:
        raw: pixel offset (2), scales (3), quaternion (4), harmonics (3 times (degree + 1)^2), depth offset (1).
        opacities: 0..1.
        depth_z: depth of the dense head.
        cam_from_world: poses.
        K: intrinsics, in pixels.
        options: ranges.
    """
    world_from_cam = inverted(cam_from_world)
    sizes = [_OFFSETS, _SCALES, _QUATERNION, 3 * (options.sh_degree + 1) ** 2, 1]
    offset, scales, quaternions, sh, depth_offset = torch.split(raw, sizes, dim=-1)
    distance = depth_z[..., None] + depth_offset
    directions = _ray_directions(offset, K) @ world_from_cam[..., None, :, :3].mT
    means = world_from_cam[..., None, None, :, 3] + directions * distance
    pixel = _FOOTPRINT * (1.0 / K[..., 0, 0] + 1.0 / K[..., 1, 1])[..., None, None, None]
    span = options.scale_max - options.scale_min
    return PixelGaussians(
        means.flatten(1, 3),
        ((options.scale_min + span * torch.sigmoid(scales)) * distance * pixel).flatten(1, 3),
        world_quaternions(quaternions, world_from_cam[..., None, None, :, :3]).flatten(1, 3),
        _world_sh(torch.unflatten(sh, -1, (3, -1)), world_from_cam[..., :3], options.sh_degree).flatten(1, 3),
        opacities.flatten(1),
    )


def _ray_directions(offset: Float[Tensor, "b s h w 2"], K: Float[Tensor, "b s 3 3"]) -> Float[Tensor, "b s h w 3"]:
    """Return unit rays in the camera through the centres of the pixels (0.5, 0.5), moved by offsets in pixels."""
    rows, cols = (torch.arange(n, device=K.device, dtype=K.dtype) + 0.5 for n in offset.shape[2:4])
    xy = torch.stack([cols.expand(len(rows), -1), rows[:, None].expand(-1, len(cols))], -1) + offset
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], -1) @ torch.linalg.inv(K)[..., None, :, :].mT
    return normalize(rays, dim=-1)


def world_quaternions(
    quaternions: Float[Tensor, "*batch 4"], world_from_cam: Float[Tensor, "*turns 3 3"]
) -> Float[Tensor, "*batch 4"]:
    """Return the rotations of Gaussians in the world as (x, y, z, w), w >= 0.

    Args:
        quaternions: the network's four numbers: y, z, w, x in effect, of any length but zero.
        world_from_cam: rotations of the cameras.
    """
    in_camera = matrix_from_quaternion(normalize(quaternions, dim=-1).roll(1, dims=-1))
    return quaternion_from_matrix(world_from_cam @ in_camera)


def sh_rotation(rotation: Float[Tensor, "*batch 3 3"], degree: int) -> Float[Tensor, "*batch k k"]:
    """Return the matrices that rotate spherical-harmonic coefficients: f'(R d) = f(d) for every direction d.

    Args:
        rotation: R.
        degree: highest degree; k = (degree + 1)^2.
    """
    probes = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probes = normalize(probes, dim=-1).to(rotation.device)
    before = probes @ rotation.double()  # R^T d, row by row
    there = torch.linalg.pinv(bases(probes, degree))
    matrices: Tensor = there @ bases(before.flatten(0, -2), degree).reshape(*before.shape[:-1], -1)
    return matrices.to(rotation.dtype)


def _world_sh(
    sh: Float[Tensor, "b s h w 3 k"], world_from_cam: Float[Tensor, "b s 3 3"], degree: int
) -> Float[Tensor, "b s h w 3 k"]:
    """Damp the higher bands and rotate them to the world."""
    damping = torch.cat([sh.new_full((2 * band + 1,), 0.1 * 0.25**band if band else 1.0) for band in range(degree + 1)])
    turn = sh_rotation(world_from_cam, degree)[:, :, None, None]  # [b,s,1,1,k,k]
    return (sh * damping) @ turn.mT
