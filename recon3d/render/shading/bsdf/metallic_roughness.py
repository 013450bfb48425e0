"""The material of glTF: base colour, roughness and metallic, with a clear coat and anisotropy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import (
    Bsdf,
    Masking,
    Scalar,
    channels,
    check_colour,
    check_scalar,
    dot,
    like,
    luminance,
)
from recon3d.render.shading.bsdf.fresnel import schlick
from recon3d.render.shading.bsdf.lobes import Lobes, shares
from recon3d.render.shading.bsdf.microfacet import Ggx, half_vector

DIELECTRIC_F0 = 0.04
_MIN_ALPHA = 1e-3


@dataclass(frozen=True, eq=False)
class MetallicRoughness(Bsdf):
    """A diffuse lobe below a GGX lobe with Schlick's reflectance, and a clear coat above both.

    ``(1 - metallic) base / pi + F D G / (4 cos_i cos_o)`` with ``F0 = 0.04 (1 - metallic) + base metallic`` and
    ``alpha = roughness^2``. A coat of strength c takes ``1 - c F`` off what is below it and adds ``c F D G`` of index
    1.5; its F is that of the half vector, so that the whole is reciprocal.

    Args:
        base_color: linear RGB, 0 to 1, ``[...,3]``.
        roughness: perceptual, 0 to 1, ``[...]``; an alpha below 0.001 is taken as 0.001.
        metallic: 0 to 1, ``[...]``.
        clearcoat: strength of the coat, 0 to 1, ``[...]``.
        clearcoat_roughness: as ``roughness``.
        anisotropy: 0 to 1, ``[...]``: alpha along x grows from alpha to 1 with its square (KHR_materials_anisotropy).
        masking: ``correlated`` (as glTF) or ``separable``.
        fresnel_diffuse: multiply the diffuse lobe by ``1 - F``, as in glTF's specification, which makes a few per
            cent of energy at grazing angles only. Without it the material is that of most real-time renderers, which
            split sums and irradiance shade, and which may reflect up to 20 % more than arrives.

    Raises:
        ShapeError: the base colour is no colour.
        InputError: a parameter is out of its range.
    """

    base_color: Float[Tensor, "... 3"]
    roughness: Scalar
    metallic: Scalar
    clearcoat: Scalar = 0.0
    clearcoat_roughness: Scalar = 0.0
    anisotropy: Scalar = 0.0
    masking: Masking = "correlated"
    fresnel_diffuse: bool = False

    def __post_init__(self) -> None:
        check_colour("base_color", self.base_color, 1.0)
        for name in ("roughness", "metallic", "clearcoat", "clearcoat_roughness", "anisotropy"):
            check_scalar(name, getattr(self, name), 0.0, 1.0)

    def _f0(self, wi: Tensor) -> Tensor:
        metallic = channels(like(self.metallic, wi))
        return DIELECTRIC_F0 * (1 - metallic) + self.base_color * metallic

    def _ggx(self, wi: Tensor) -> Ggx:
        alpha = (like(self.roughness, wi) ** 2).clamp_min(_MIN_ALPHA)
        along = alpha + (1 - alpha) * like(self.anisotropy, wi) ** 2
        return Ggx(along, alpha, self.masking)

    def _coat(self, wi: Tensor) -> Ggx | None:
        if isinstance(self.clearcoat, float | int) and self.clearcoat == 0:
            return None
        alpha = (like(self.clearcoat_roughness, wi) ** 2).clamp_min(_MIN_ALPHA)
        return Ggx(alpha, alpha, self.masking)

    def _value(self, wi: Tensor, wo: Tensor) -> Tensor:
        m, ggx, coat = half_vector(wi, wo), self._ggx(wi), self._coat(wi)
        cos_h = dot(wi, m)
        fresnel = schlick(self._f0(wi), channels(cos_h))
        diffuse = self.base_color * channels((1 - like(self.metallic, wi)) * wo[..., 2] / math.pi)
        diffuse = diffuse * (1 - fresnel) if self.fresnel_diffuse else diffuse
        value = diffuse + fresnel * channels(_mirror(ggx, wi, wo, m))
        if coat is None:
            return value
        share = like(self.clearcoat, wi) * schlick(like(DIELECTRIC_F0, wi), cos_h)
        return value * channels(1 - share) + channels(share * _mirror(coat, wi, wo, m))

    def _lobes(self, wi: Tensor) -> Lobes:
        facing = wi[..., 2].abs()
        diffuse = luminance(self.base_color.detach()) * (1 - like(self.metallic, wi))
        coat = like(self.clearcoat, wi) * schlick(like(DIELECTRIC_F0, wi), facing)
        return Lobes(
            self._ggx(wi),
            self._coat(wi),
            shares(diffuse, luminance(schlick(self._f0(wi), channels(facing))), coat),
        )

    def _density(self, wi: Tensor, wo: Tensor) -> Tensor:
        return self._lobes(wi).density(wi, wo)

    def _direction(self, wi: Tensor, u: Tensor) -> Tensor:
        return self._lobes(wi).direction(wi, u)


def _mirror(ggx: Ggx, wi: Tensor, wo: Tensor, m: Tensor) -> Tensor:
    """Return ``D G / (4 cos_i)``, ``[...]``."""
    return ggx.density(m) * ggx.g2(wi, wo, m) / (4 * wi[..., 2])
