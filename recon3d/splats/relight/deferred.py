"""Deferred shading of relightable splats: materials are blended into pictures first, and pixels are lit then."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import CameraTensors, rasterize
from recon3d.splats.relight.shade import SplatLight, shade_surfaces, shadowed_irradiance
from recon3d.splats.relight.types import RelightableGaussians, openness

_CHANNELS = [3, 3, 1, 1, 9]  # normals, albedo, roughness, metallic, transfer
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class SplatGBuffer:
    """What pixels show, without light: means over the splats of each, zero where there are none.

    Args:
        normal: unit vectors in the world, ``[n,h,w,3]``.
        albedo: linear, ``[n,h,w,3]``.
        roughness: perceptual, ``[n,h,w]``.
        metallic: 0 to 1, ``[n,h,w]``.
        transfer: diffuse transfer, ``[n,h,w,9]``.
        view: unit vectors from the surface towards the camera, ``[n,h,w,3]``.
        alpha: coverage, ``[n,h,w]``.
        depth: expected, along the cameras' z, ``[n,h,w]``.
    """

    normal: Float[Tensor, "n h w 3"]
    albedo: Float[Tensor, "n h w 3"]
    roughness: Float[Tensor, "n h w"]
    metallic: Float[Tensor, "n h w"]
    transfer: Float[Tensor, "n h w 9"]
    view: Float[Tensor, "n h w 3"]
    alpha: Float[Tensor, "n h w"]
    depth: Float[Tensor, "n h w"]


def rasterize_materials(
    splats: RelightableGaussians, cameras: Cameras | CameraTensors, *, antialiased: bool = False
) -> SplatGBuffer:
    """Blend normals, materials and transfer, and divide them by the coverage.

    Args:
        splats: what is rendered.
        cameras: pinhole cameras of one image size.
        antialiased: see :func:`recon3d.render.gaussians.rasterize`.

    Returns:
        The G-buffer; differentiable in the splats and the poses.
    """
    views = cameras if isinstance(cameras, CameraTensors) else CameraTensors.of(cameras, like=splats.gaussians.means)
    parts = [splats.normals, splats.albedo, splats.roughness[:, None], splats.metallic[:, None], splats.transfer]
    seen = rasterize(splats.gaussians, views, features=torch.cat(parts, 1), antialiased=antialiased)
    mean = seen.image / seen.alpha.clamp_min(_TINY)[..., None]
    normal, albedo, roughness, metallic, transfer = torch.split(mean, _CHANNELS, -1)
    length = (normal.square().sum(-1, keepdim=True) + _TINY**2).sqrt()
    return SplatGBuffer(
        normal / length,
        albedo,
        roughness[..., 0],
        metallic[..., 0],
        transfer,
        _towards_cameras(views),
        seen.alpha,
        seen.depth_expected,
    )


def shade_gbuffer(gbuffer: SplatGBuffer, light: SplatLight) -> Float[Tensor, "n h w 3"]:
    """Light a G-buffer; returns linear images before black, ``[n,h,w,3]``, differentiable in all tensors.

    Args:
        gbuffer: of :func:`rasterize_materials`.
        light: the light; it is not seen itself.
    """
    material = (gbuffer.albedo, gbuffer.roughness, gbuffer.metallic)
    irradiance = shadowed_irradiance(gbuffer.transfer, light.sh)
    shaded = shade_surfaces(
        gbuffer.normal, gbuffer.view, material, irradiance, openness(gbuffer.transfer), light.prefiltered
    )
    return shaded * gbuffer.alpha[..., None]


def render_deferred(
    splats: RelightableGaussians,
    cameras: Cameras | CameraTensors,
    light: SplatLight,
    *,
    antialiased: bool = False,
) -> Float[Tensor, "n h w 3"]:
    """Rasterise materials, then light the pixels; reflections are sharper than with forward shading.

    Args:
        splats: what is rendered.
        cameras: pinhole cameras of one image size.
        light: the light; it is not seen itself.
        antialiased: see :func:`recon3d.render.gaussians.rasterize`.

    Returns:
        Linear images before black, ``[n,h,w,3]``; differentiable in splats, poses and light.
    """
    return shade_gbuffer(rasterize_materials(splats, cameras, antialiased=antialiased), light)


def _towards_cameras(cameras: CameraTensors) -> Float[Tensor, "n h w 3"]:
    """Return the unit vectors from what pixels show to the cameras, in the world."""
    K = cameras.K
    x = torch.arange(cameras.width, dtype=K.dtype, device=K.device) + 0.5
    y = torch.arange(cameras.height, dtype=K.dtype, device=K.device) + 0.5
    rays_x = (x - K[:, 0, 2, None]) / K[:, 0, 0, None]
    rays_y = (y - K[:, 1, 2, None]) / K[:, 1, 1, None]
    shape = (len(K), len(y), len(x))
    rays = torch.stack(
        [rays_x[:, None, :].expand(shape), rays_y[:, :, None].expand(shape), torch.ones(shape).to(K)], -1
    )
    world = torch.einsum("nhwc,ncd->nhwd", rays, cameras.cam_from_world[:, :3, :3])
    lengths = world.square().sum(-1, keepdim=True).sqrt()
    return -world / lengths
