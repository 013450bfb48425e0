"""The GGX distribution of microfacet normals: density, masking, and sampling of the visible normals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import Masking, dot, together

_TINY = 1e-30
_FLAT = 1e-14  # under a root whose derivative must stay finite


@dataclass(frozen=True, eq=False)
class Ggx:
    """Anisotropic GGX; all directions are in the local frame and of unit length.

    Args:
        alpha_x: width along x, ``[...]``.
        alpha_y: width along y, ``[...]``.
        masking: ``separable``, the product of both directions, or ``correlated`` with their heights.

    Source: Walter et al., "Microfacet Models for Refraction through Rough Surfaces", 2007; Heitz, "Understanding the
    Masking-Shadowing Function", 2014, and "Sampling the GGX Distribution of Visible Normals", 2018.
    """

    alpha_x: Float[Tensor, "..."]
    alpha_y: Float[Tensor, "..."]
    masking: Masking = "separable"

    def density(self, m: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return D of microfacet normals, ``[...]``: ``integral D cos = 1``."""
        x, y, z = m.unbind(-1)
        slope = (x / self.alpha_x) ** 2 + (y / self.alpha_y) ** 2 + z * z
        return torch.where(z > 0, 1 / (math.pi * self.alpha_x * self.alpha_y * slope * slope), 0.0)

    def smith_lambda(self, v: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return Smith's Lambda of directions that are not on the horizon, ``[...]``."""
        x, y, z = v.unbind(-1)
        slope = ((self.alpha_x * x) ** 2 + (self.alpha_y * y) ** 2) / (z * z)
        return 0.5 * slope / (1 + (1 + slope).sqrt())  # (sqrt(1 + slope) - 1) / 2 without its cancellation

    def g1(self, v: Float[Tensor, "... 3"], m: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return the part of the microfacets ``m`` that ``v`` sees, ``[...]``."""
        return torch.where(dot(v, m) * v[..., 2] > 0, 1 / (1 + self.smith_lambda(v)), 0.0)

    def g2(
        self, wi: Float[Tensor, "... 3"], wo: Float[Tensor, "... 3"], m: Float[Tensor, "... 3"]
    ) -> Float[Tensor, "..."]:
        """Return the part of the microfacets ``m`` that is seen from both directions, ``[...]``.

        Correlated, light that passes through is masked by the beta function of both terms (Heitz 2014, section 6).
        """
        if self.masking == "separable":
            return self.g1(wi, m) * self.g1(wo, m)
        seen = (dot(wi, m) * wi[..., 2] > 0) & (dot(wo, m) * wo[..., 2] > 0)
        a, b = 1 + self.smith_lambda(wi), 1 + self.smith_lambda(wo)
        both, reflected = 1 / (a + b - 1), wi[..., 2] * wo[..., 2] > 0
        if not bool(reflected.all()):
            both = torch.where(reflected, both, torch.exp(torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)))
        return torch.where(seen, both, 0.0)

    def visible_density(self, wi: Float[Tensor, "... 3"], m: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return the density of :meth:`visible_normal` per solid angle of ``m``, ``[...]``."""
        return self.g1(wi, m) * self.density(m) * dot(wi, m).abs() / wi[..., 2].abs()

    def visible_normal(self, wi: Float[Tensor, "... 3"], u: Float[Tensor, "... 2"]) -> Float[Tensor, "... 3"]:
        """Draw microfacet normals as ``wi`` sees them, ``[...,3]``; ``wi`` is above the surface."""
        scale = torch.stack(together(self.alpha_x, self.alpha_y, torch.ones_like(self.alpha_x)), -1)
        v = torch.nn.functional.normalize(wi * scale, dim=-1)
        pole = (v[..., 0] == 0) & (v[..., 1] == 0)  # where the length has no derivative
        length = torch.where(pole, 0.0, torch.hypot(torch.where(pole, 1.0, v[..., 0]), v[..., 1]))
        zero, safe = torch.zeros_like(length), length.clamp_min(_TINY)
        flat = torch.stack([-v[..., 1] / safe, v[..., 0] / safe, zero], -1)
        first = torch.where((length > 1e-7)[..., None], flat, flat.new_tensor([1.0, 0.0, 0.0]))
        second = torch.linalg.cross(v, first)
        radius, angle = u[..., 0].sqrt(), 2 * math.pi * u[..., 1]
        a, share = radius * angle.cos(), 0.5 * (1 + v[..., 2])
        b = (1 - share) * (1 - a * a).clamp_min(_FLAT).sqrt() + share * radius * angle.sin()
        c = (1 - a * a - b * b).clamp_min(_FLAT).sqrt()
        n = a[..., None] * first + b[..., None] * second + c[..., None] * v
        n = torch.cat([n[..., :2], n[..., 2:].clamp_min(1e-7)], -1)
        return torch.nn.functional.normalize(n * scale, dim=-1)


def half_vector(wi: Float[Tensor, "... 3"], wo: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Return the normals of the microfacets that mirror ``wi`` to ``wo``, ``[...,3]``."""
    return torch.nn.functional.normalize(wi + wo, dim=-1)
