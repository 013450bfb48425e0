"""A rough interface between two dielectrics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon3d.core.errors import InputError
from recon3d.render.shading.bsdf.base import Bsdf, Masking, Scalar, channels, check_scalar, dot, like
from recon3d.render.shading.bsdf.conductor import MIN_ALPHA
from recon3d.render.shading.bsdf.fresnel import fresnel_dielectric
from recon3d.render.shading.bsdf.microfacet import Ggx
from recon3d.render.shading.frames import reflect

_MIN_STEP = 1e-3  # of the index: a smaller one has no half vector in float32


@dataclass(frozen=True, eq=False)
class RoughDielectric(Bsdf):
    """Reflection and transmission by GGX microfacets; both directions may be on either side.

    Radiance that passes through is scaled by the square of the relative index, so transmission is not reciprocal in
    itself: ``f(a, b) eta_b^2 = f(b, a) eta_a^2`` with the indices of the sides of a and b.

    Args:
        ior: index of the inside (below) over that of the outside, positive and not 1, ``[...]``.
        alpha_x: width of the distribution along x, at least 0.0001, ``[...]``.
        alpha_y: along y.
        masking: ``separable`` (as Mitsuba) or ``correlated``.

    Raises:
        InputError: a parameter is out of its range.
    """

    ior: Scalar
    alpha_x: Scalar
    alpha_y: Scalar
    masking: Masking = "separable"

    def __post_init__(self) -> None:
        check_scalar("ior", self.ior, 0.1, 10.0)
        if (torch.as_tensor(self.ior).detach() - 1).abs().min() < _MIN_STEP:
            raise InputError("an index of 1 is no interface", expected=f"at least {_MIN_STEP} from 1")
        check_scalar("alpha_x", self.alpha_x, MIN_ALPHA)
        check_scalar("alpha_y", self.alpha_y, MIN_ALPHA)

    @property
    def transmits(self) -> bool:
        """Whether light passes through the surface."""
        return True

    def _ggx(self, wi: Tensor) -> Ggx:
        return Ggx(like(self.alpha_x, wi), like(self.alpha_y, wi), self.masking)

    def _microfacet(self, wi: Tensor, wo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normals towards the outside, which pairs reflect, and the index across the surface."""
        reflects = wi[..., 2] * wo[..., 2] > 0
        ior = like(self.ior, wi)
        eta = torch.where(wi[..., 2] > 0, ior, 1 / ior)
        m = torch.nn.functional.normalize(wi + wo * channels(torch.where(reflects, 1.0, eta)), dim=-1)
        return torch.where(m[..., 2:] < 0, -m, m), reflects, eta

    def _value(self, wi: Tensor, wo: Tensor) -> Tensor:
        """Walter et al. 2007, equations 20 and 21, times the cosine and, in transmission, ``1 / eta^2``."""
        m, reflects, eta = self._microfacet(wi, wo)
        ggx, im, om = self._ggx(wi), dot(wi, m), dot(wo, m)
        reflectance, _ = fresnel_dielectric(im, like(self.ior, wi))
        common = ggx.density(m) * ggx.g2(wi, wo, m) / wi[..., 2].abs()
        across = torch.where(reflects, 1.0, im + eta * om)
        through = (1 - reflectance) * (im * om).abs() / (across * across)
        value = common * torch.where(reflects, 0.25 * reflectance, through)
        return channels(value).expand(*value.shape, 3)

    def _density(self, wi: Tensor, wo: Tensor) -> Tensor:
        m, reflects, eta = self._microfacet(wi, wo)
        im, om = dot(wi, m), dot(wo, m)
        reflectance, _ = fresnel_dielectric(im, like(self.ior, wi))
        across = torch.where(reflects, 1.0, im + eta * om)
        jacobian = torch.where(reflects, 0.25 / om.abs().clamp_min(1e-20), eta * eta * om.abs() / (across * across))
        share = torch.where(reflects, reflectance, 1 - reflectance)
        facing = (im * wi[..., 2] > 0) & (om * wo[..., 2] > 0)
        return torch.where(facing, self._ggx(wi).visible_density(wi, m) * share * jacobian, 0.0)

    def _direction(self, wi: Tensor, u: Tensor) -> Tensor:
        above = torch.where(wi[..., 2:] < 0, -wi, wi)
        m = self._ggx(wi).visible_normal(above, u[..., :2])
        im = dot(wi, m)
        ior = like(self.ior, wi)
        reflectance, cos_t = fresnel_dielectric(im, ior)
        eta = torch.where(im >= 0, ior, 1 / ior)
        refracted = channels(im / eta + cos_t) * m - wi / channels(eta)
        mirrored = u[..., 2] < reflectance
        wo = torch.where(channels(mirrored), reflect(wi, m), refracted)
        lost = (wi[..., 2] * wo[..., 2] > 0) != mirrored  # a second bounce: on the horizon there is no light
        return torch.where(channels(lost), wo.new_tensor([1.0, 0.0, 0.0]), wo)
