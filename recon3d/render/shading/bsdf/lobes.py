"""Mixtures of a diffuse lobe, a GGX lobe and a clear coat: how they are drawn, and with what density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import channels, cosine_direction, dot, pick, together
from recon3d.render.shading.bsdf.microfacet import Ggx, half_vector
from recon3d.render.shading.frames import reflect

_MIN_SHARE = 0.05  # of a lobe that is there at all


class Normals(Protocol):
    """A distribution of microfacet normals that can be drawn from."""

    def visible_density(self, wi: Tensor, m: Tensor) -> Tensor:
        """Return the density per solid angle of ``m``."""

    def visible_normal(self, wi: Tensor, u: Tensor) -> Tensor:
        """Draw ``m``."""


@dataclass(frozen=True)
class Gtr1:
    """The long-tailed clear coat of Disney's model; its normals are drawn without regard to visibility.

    Args:
        alpha: width, below 1, ``[...]``.

    Source: Burley, "Physically-Based Shading at Disney", 2012, equations 4 and 5 of appendix B.
    """

    alpha: Float[Tensor, "..."]

    def density(self, m: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return D of microfacet normals, ``[...]``."""
        squared = self.alpha * self.alpha
        z = m[..., 2]
        value = (squared - 1) / (math.pi * squared.log() * (1 + (squared - 1) * z * z))
        return torch.where(z > 0, value, 0.0)

    def visible_density(self, wi: Float[Tensor, "... 3"], m: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return the density of :meth:`visible_normal`, ``[...]``."""
        return self.density(m) * m[..., 2]

    def visible_normal(self, wi: Float[Tensor, "... 3"], u: Float[Tensor, "... 2"]) -> Float[Tensor, "... 3"]:
        """Draw microfacet normals, ``[...,3]``."""
        squared = self.alpha * self.alpha
        z2 = ((1 - squared ** (1 - u[..., 0])) / (1 - squared)).clamp(0, 1)
        radius, angle = (1 - z2).sqrt(), 2 * math.pi * u[..., 1]
        return torch.stack([radius * angle.cos(), radius * angle.sin(), z2.sqrt()], -1)


@dataclass(frozen=True, eq=False)
class Lobes:
    """A cosine lobe and two mirror lobes with their shares.

    Args:
        specular: normals of the main mirror lobe.
        coat: normals of the clear coat; None = there is none.
        shares: probabilities of the cosine lobe, the main lobe and the coat, each ``[...]``, together 1.
    """

    specular: Ggx
    coat: Ggx | Gtr1 | None
    shares: tuple[Tensor, Tensor, Tensor]

    def density(self, wi: Tensor, wo: Tensor) -> Tensor:
        """Return the density of :meth:`direction`, ``[...]``."""
        m = half_vector(wi, wo)
        jacobian = 0.25 / dot(wo, m).abs().clamp_min(1e-20)
        diffuse, specular, coat = self.shares
        total = diffuse * wo[..., 2] / math.pi + specular * self.specular.visible_density(wi, m) * jacobian
        return total if self.coat is None else total + coat * self.coat.visible_density(wi, m) * jacobian

    def direction(self, wi: Tensor, u: Tensor) -> Tensor:
        """Draw directions to the light, ``[...,3]``; some of the mirror lobes end below the surface."""
        pair, lobe = u[..., :2], pick(u[..., 2], together(*self.shares))
        found = torch.where(
            channels(lobe == 0), cosine_direction(pair), reflect(wi, self.specular.visible_normal(wi, pair))
        )
        if self.coat is None:
            return found
        return torch.where(channels(lobe == 2), reflect(wi, self.coat.visible_normal(wi, pair)), found)


def shares(diffuse: Tensor, specular: Tensor, coat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn rough albedos of the lobes into probabilities, none of which is tiny where its lobe is there.

    Args:
        diffuse: albedo of the diffuse lobe, ``[...]``.
        specular: of the main mirror lobe.
        coat: of the clear coat.
    """
    parts = torch.stack(together(diffuse, specular, coat))
    parts = torch.where(parts > 0, parts / parts.sum(0).clamp_min(1e-12) + _MIN_SHARE, 0.0)
    none = torch.tensor([0.0, 1.0, 0.0]).to(parts).reshape(3, *[1] * (parts.ndim - 1))
    parts = torch.where(parts.sum(0) > 0, parts, none)
    first, second, third = parts / parts.sum(0)
    return first, second, third
