"""Forward shading of relightable splats: each at its centre, then blended."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import CameraTensors, Rasterization, rasterize
from recon3d.render.shading import (
    Environment,
    PrefilteredEnvironment,
    brdf_lut,
    lookup_brdf,
    sh_from_environment,
    srgb_from_linear,
)
from recon3d.render.shading.bsdf.metallic_roughness import DIELECTRIC_F0
from recon3d.render.shading.frames import reflect
from recon3d.splats.relight.types import TRANSFER_DEGREE, RelightableGaussians

_Y00 = 0.28209479177387814
_SMALLEST_COSINE = 1e-4


@dataclass(frozen=True, eq=False)
class SplatLight:
    """An environment in the two forms that splats are shaded with.

    Args:
        sh: its spherical harmonics in the world to degree 2, ``[9,3]``.
        prefiltered: its blurred maps, for specular light.
    """

    sh: Float[Tensor, "9 3"]
    prefiltered: PrefilteredEnvironment

    @classmethod
    def of(cls, environment: Environment, max_rows: int = 128) -> SplatLight:
        """Prepare an environment; differentiable in its radiance and rotation.

        Args:
            environment: the light.
            max_rows: of the maps of specular light; 64 is quick enough for a light that is optimised.
        """
        return cls(
            sh_from_environment(environment, TRANSFER_DEGREE), PrefilteredEnvironment(environment, max_rows=max_rows)
        )


def shadowed_irradiance(transfer: Float[Tensor, "... 9"], sh: Float[Tensor, "9 3"]) -> Float[Tensor, "... 3"]:
    """Return the irradiance that arrives past the surroundings (without ``1 / pi``), not negative, ``[...,3]``.

    Args:
        transfer: diffuse transfer vectors, ``[...,9]``.
        sh: of the light, ``[9,3]``.

    Source: Sloan, Kautz and Snyder, "Precomputed Radiance Transfer", 2002.
    """
    return (transfer @ sh).clamp_min(0)


def specular_occlusion(
    nv: Float[Tensor, "..."], openness: Float[Tensor, "..."], roughness: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Return which share of the specular light passes the surroundings, 0 to 1, ``[...]``; 1 where all is open.

    Args:
        nv: cosines between normal and view, positive, ``[...]``.
        openness: 0 to 1, ``[...]``.
        roughness: perceptual, 0 to 1, ``[...]``.

    Source: Lagarde and de Rousiers, "Moving Frostbite to Physically Based Rendering", 2014, listing 26, with roughness
    in place of alpha.
    """
    return ((nv + openness) ** torch.exp2(-16 * roughness - 1) - 1 + openness).clamp(0, 1)


def shade_surfaces(
    normals: Float[Tensor, "... 3"],
    views: Float[Tensor, "... 3"],
    material: tuple[Float[Tensor, "... 3"], Float[Tensor, "..."], Float[Tensor, "..."]],
    irradiance: Float[Tensor, "... 3"],
    openness: Float[Tensor, "..."],
    prefiltered: PrefilteredEnvironment,
) -> Float[Tensor, "... 3"]:
    """Return the light towards the viewer: shadowed diffuse light and occluded split-sum specular light, ``[...,3]``.

    ``(1 - m) albedo E / pi + P(r, roughness) (F0 A + B) SO`` with ``F0 = 0.04 (1 - m) + albedo m``, the formula of the
    page of :mod:`recon3d.apps.viewer`. Differentiable in all tensors.

    Args:
        normals: unit vectors in the world, ``[...,3]``.
        views: unit vectors towards the viewer, ``[...,3]``.
        material: linear albedo ``[...,3]``, perceptual roughness ``[...]``, metallic ``[...]``.
        irradiance: shadowed, without ``1 / pi``, ``[...,3]``.
        openness: 0 to 1, ``[...]``.
        prefiltered: the light.
    """
    albedo, roughness, metallic = material
    m = metallic[..., None]
    diffuse = (1 - m) * albedo * irradiance / math.pi
    nv = (normals * views).sum(-1).clamp(_SMALLEST_COSINE, 1)
    a, b = lookup_brdf(brdf_lut().to(normals), nv, roughness).unbind(-1)
    f0 = DIELECTRIC_F0 * (1 - m) + albedo * m
    light = prefiltered.specular(reflect(views, normals), roughness)
    return diffuse + light * (f0 * a[..., None] + b[..., None]) * specular_occlusion(nv, openness, roughness)[..., None]


def shade_splats(splats: RelightableGaussians, center: Float[Tensor, "3"], light: SplatLight) -> Float[Tensor, "g 3"]:
    """Return the linear light that each splat sends to a camera, ``[g,3]``; differentiable in all tensors.

    Args:
        splats: what is lit.
        center: the camera's centre in the world, ``[3]``.
        light: the light.
    """
    return _shaded(splats, _unit(center - splats.gaussians.means), light)


def render_forward(
    splats: RelightableGaussians,
    cameras: Cameras | CameraTensors,
    light: SplatLight,
    *,
    antialiased: bool = False,
) -> Rasterization:
    """Light splats at their centres and blend what they send to cameras.

    Args:
        splats: what is rendered.
        cameras: pinhole cameras of one image size.
        light: the light; it is not seen itself.
        antialiased: see :func:`recon3d.render.gaussians.rasterize`.

    Returns:
        Linear images before black, ``[n,h,w,3]``, and their alpha and depths; differentiable as ``rasterize`` is, and
        in the materials and the light.

    Raises:
        UsageError: there is no camera.
    """
    views = cameras if isinstance(cameras, CameraTensors) else CameraTensors.of(cameras, like=splats.gaussians.means)
    seen = []
    for view in range(len(views)):
        one = CameraTensors(views.cam_from_world[view : view + 1], views.K[view : view + 1], views.width, views.height)
        colours = shade_splats(splats, camera_centers(one)[0], light)
        seen.append(rasterize(splats.gaussians, one, features=colours, antialiased=antialiased))
    image, alpha, depth, median = (
        torch.cat([getattr(each, name) for each in seen])
        for name in ("image", "alpha", "depth_expected", "depth_median")
    )
    return Rasterization(image, alpha, depth, median, tuple(each.projections[0] for each in seen))


def bake_colours(
    splats: RelightableGaussians, light: SplatLight, name: str, exposure: float = 1.0
) -> RelightableGaussians:
    """Return the splats with the sRGB colour that they show under a light, each seen along its normal.

    Args:
        splats: what is lit.
        light: the default light of viewers that know no materials.
        name: of the light, for the header of the file.
        exposure: factor on the radiance.
    """
    linear = _shaded(splats, splats.normals, light) * exposure
    sh = ((srgb_from_linear(linear.detach()) - 0.5) / _Y00)[:, None]
    return replace(splats, gaussians=replace(splats.gaussians, sh=sh, colour_space="srgb"), light=name)


def camera_centers(cameras: CameraTensors) -> Float[Tensor, "n 3"]:
    """Return the centres of cameras in the world, ``[n,3]``; differentiable in the poses."""
    poses = cameras.cam_from_world
    return -(poses[:, :3, :3].mT @ poses[:, :3, 3:])[..., 0]


def _shaded(splats: RelightableGaussians, views: Float[Tensor, "g 3"], light: SplatLight) -> Float[Tensor, "g 3"]:
    return shade_surfaces(
        splats.normals,
        views,
        (splats.albedo, splats.roughness, splats.metallic),
        shadowed_irradiance(splats.transfer, light.sh),
        splats.openness,
        light.prefiltered,
    )


def _unit(vectors: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    return vectors / vectors.square().sum(-1, keepdim=True).clamp_min(1e-24).sqrt()
