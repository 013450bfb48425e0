"""Disney's principled model, with the values of Mitsuba 3 and without transmission."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import (
    Bsdf,
    Scalar,
    channels,
    check_colour,
    check_scalar,
    dot,
    like,
    luminance,
)
from recon3d.render.shading.bsdf.fresnel import fresnel_dielectric, schlick, schlick_weight
from recon3d.render.shading.bsdf.lobes import Gtr1, Lobes, shares
from recon3d.render.shading.bsdf.microfacet import Ggx, half_vector

_MIN_ALPHA = 1e-3
_COAT_F0, _COAT_MASKING_ALPHA = 0.04, 0.25
_UNIT = ("metallic", "anisotropic", "spec_tint", "clearcoat", "clearcoat_gloss", "flatness", "sheen", "sheen_tint")


@dataclass(frozen=True, eq=False)
class Principled(Bsdf):
    """A diffuse lobe with retro-reflection, a GGX lobe, a GTR1 coat and sheen; parameters as in Mitsuba, 0 to 1.

    It makes energy at grazing angles, as the original does. Directions are drawn by our own mixture of lobes, not by
    Mitsuba's.

    Args:
        base_color: linear RGB, ``[...,3]``.
        roughness: perceptual, ``[...]``.
        metallic: ``[...]``.
        specular: of the dielectric, 0 to 1, ``[...]``; 0.5 is an index of 1.5.
        anisotropic: stretches the highlight along x, ``[...]``.
        spec_tint: how far the dielectric's highlight takes the hue of the base colour, ``[...]``.
        clearcoat: strength, ``[...]``.
        clearcoat_gloss: 1 is sharp, ``[...]``.
        flatness: blends towards Disney's approximation of subsurface scattering, ``[...]``.
        sheen: strength, ``[...]``.
        sheen_tint: how far the sheen takes the hue of the base colour, ``[...]``.

    Raises:
        ShapeError: the base colour is no colour.
        InputError: a parameter is out of its range.

    Source: Burley, "Physically-Based Shading at Disney", 2012, and "Extending the Disney BRDF", 2015.
    """

    base_color: Float[Tensor, "... 3"]
    roughness: Scalar = 0.5
    metallic: Scalar = 0.0
    specular: Scalar = 0.5
    anisotropic: Scalar = 0.0
    spec_tint: Scalar = 0.0
    clearcoat: Scalar = 0.0
    clearcoat_gloss: Scalar = 0.0
    flatness: Scalar = 0.0
    sheen: Scalar = 0.0
    sheen_tint: Scalar = 0.0

    def __post_init__(self) -> None:
        check_colour("base_color", self.base_color, 1.0)
        check_scalar("roughness", self.roughness, 0.0, 1.0)
        check_scalar("specular", self.specular, 1e-3, 1.0)
        for name in _UNIT:
            check_scalar(name, getattr(self, name), 0.0, 1.0)

    def _ggx(self, wi: Tensor) -> Ggx:
        aspect = (1 - 0.9 * like(self.anisotropic, wi)).sqrt()
        squared = like(self.roughness, wi) ** 2
        return Ggx((squared / aspect).clamp_min(_MIN_ALPHA), (squared * aspect).clamp_min(_MIN_ALPHA))

    def _coat(self, wi: Tensor) -> Gtr1 | None:
        if isinstance(self.clearcoat, float | int) and self.clearcoat == 0:
            return None
        return Gtr1(0.1 + (0.001 - 0.1) * like(self.clearcoat_gloss, wi))

    def _hue(self) -> Tensor:
        light = channels(luminance(self.base_color))
        return torch.where(light > 0, self.base_color / torch.where(light > 0, light, 1.0), 1.0)

    def _fresnel(self, wi: Tensor, cos_h: Tensor) -> Tensor:
        """Return the reflectance of the main lobe, ``[...,3]``."""
        ior = 2 / (1 - (0.08 * like(self.specular, wi)).sqrt()) - 1
        metallic, tint = like(self.metallic, wi), like(self.spec_tint, wi)
        plain, _ = fresnel_dielectric(cos_h, ior)
        f0 = channels(((ior - 1) / (ior + 1)) ** 2) * self._hue()
        value = channels((1 - metallic) * (1 - tint) * plain)
        value = value + channels(metallic) * schlick(self.base_color, channels(cos_h))
        return value + channels((1 - metallic) * tint) * schlick(f0, channels(cos_h))

    def _value(self, wi: Tensor, wo: Tensor) -> Tensor:
        m, ggx, coat = half_vector(wi, wo), self._ggx(wi), self._coat(wi)
        cos_h = dot(wi, m)
        value = self._fresnel(wi, cos_h) * channels(ggx.density(m) * ggx.g2(wi, wo, m) / (4 * wi[..., 2]))
        value = value + self._diffuse(wi, wo, cos_h)
        if coat is None:
            return value
        alpha = like(_COAT_MASKING_ALPHA, wi)
        masking = Ggx(alpha, alpha).g2(wi, wo, m)
        shine = 0.25 * like(self.clearcoat, wi) * schlick(like(_COAT_F0, wi), cos_h)
        return value + channels(shine * coat.density(m) * masking * wo[..., 2])

    def _diffuse(self, wi: Tensor, wo: Tensor, cos_h: Tensor) -> Tensor:
        """Return the diffuse lobe and the sheen times the cosine, ``[...,3]``."""
        cos_i, cos_o = wi[..., 2], wo[..., 2]
        fi, fo = schlick_weight(cos_i), schlick_weight(cos_o)
        retro = 2 * like(self.roughness, wi) * cos_h * cos_h
        plain = (1 - 0.5 * fi) * (1 - 0.5 * fo) + retro * (fo + fi + fo * fi * (retro - 1))
        flat = (1 + (0.5 * retro - 1) * fi) * (1 + (0.5 * retro - 1) * fo)
        flat = 1.25 * (flat * (1 / (cos_i + cos_o) - 0.5) + 0.5)
        mixed = plain + like(self.flatness, wi) * (flat - plain)
        scale = (1 - like(self.metallic, wi)) * cos_o
        sheen = 1 + channels(like(self.sheen_tint, wi)) * (self._hue() - 1)
        sheen = sheen * channels(like(self.sheen, wi) * schlick_weight(cos_h) * scale)
        return self.base_color * channels(mixed * scale / math.pi) + sheen

    def _lobes(self, wi: Tensor) -> Lobes:
        facing = wi[..., 2].abs()
        matt = 1 - like(self.metallic, wi)
        diffuse = (luminance(self.base_color) + like(self.sheen, wi) * schlick_weight(facing)) * matt
        coat = 0.25 * like(self.clearcoat, wi) * schlick(like(_COAT_F0, wi), facing)
        return Lobes(self._ggx(wi), self._coat(wi), shares(diffuse, luminance(self._fresnel(wi, facing)), coat))

    def _density(self, wi: Tensor, wo: Tensor) -> Tensor:
        return self._lobes(wi).density(wi, wo)

    def _direction(self, wi: Tensor, u: Tensor) -> Tensor:
        return self._lobes(wi).direction(wi, u)
