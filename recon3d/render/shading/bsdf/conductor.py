"""A rough conductor."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import Bsdf, Masking, Scalar, channels, check_colour, check_scalar, dot, like
from recon3d.render.shading.bsdf.fresnel import fresnel_conductor
from recon3d.render.shading.bsdf.microfacet import Ggx, half_vector
from recon3d.render.shading.frames import reflect

MIN_ALPHA = 1e-4


@dataclass(frozen=True, eq=False)
class RoughConductor(Bsdf):
    """Mirror reflection by GGX microfacets, ``F D G / (4 cos_i)``; drawn from the visible normals.

    Light that is reflected more than once between microfacets is lost, so a rough surface is darker than its
    reflectance.

    Args:
        eta: real part of the index of refraction, ``[...,3]``.
        k: imaginary part, ``[...,3]``; ``eta = 0, k = 1`` reflects everything.
        alpha_x: width of the distribution along x, at least 0.0001, ``[...]``.
        alpha_y: along y.
        masking: ``separable`` (as Mitsuba) or ``correlated``.

    Raises:
        ShapeError: an index is no colour.
        InputError: a parameter is out of its range.
    """

    eta: Float[Tensor, "... 3"]
    k: Float[Tensor, "... 3"]
    alpha_x: Scalar
    alpha_y: Scalar
    masking: Masking = "separable"

    def __post_init__(self) -> None:
        check_colour("eta", self.eta)
        check_colour("k", self.k)
        check_scalar("alpha_x", self.alpha_x, MIN_ALPHA)
        check_scalar("alpha_y", self.alpha_y, MIN_ALPHA)

    def _ggx(self, wi: Tensor) -> Ggx:
        return Ggx(like(self.alpha_x, wi), like(self.alpha_y, wi), self.masking)

    def _value(self, wi: Tensor, wo: Tensor) -> Tensor:
        m, ggx = half_vector(wi, wo), self._ggx(wi)
        scale = ggx.density(m) * ggx.g2(wi, wo, m) / (4 * wi[..., 2])
        return fresnel_conductor(channels(dot(wi, m)), self.eta, self.k) * channels(scale)

    def _density(self, wi: Tensor, wo: Tensor) -> Tensor:
        m = half_vector(wi, wo)
        return self._ggx(wi).visible_density(wi, m) / (4 * dot(wo, m).abs())

    def _direction(self, wi: Tensor, u: Tensor) -> Tensor:
        return reflect(wi, self._ggx(wi).visible_normal(wi, u[..., :2]))
