"""An ideally diffuse surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import Bsdf, check_colour, cosine_direction


@dataclass(frozen=True, eq=False)
class Lambert(Bsdf):
    """``albedo / pi`` in all directions of the upper side; drawn in proportion to the cosine.

    Args:
        albedo: reflected share, 0 to 1, ``[...,3]``.

    Raises:
        ShapeError: the albedo is no colour.
        InputError: it is out of its range.
    """

    albedo: Float[Tensor, "... 3"]

    def __post_init__(self) -> None:
        check_colour("albedo", self.albedo, 1.0)

    def _value(self, wi: Tensor, wo: Tensor) -> Tensor:
        return self.albedo * (wo[..., 2:] / math.pi)

    def _density(self, wi: Tensor, wo: Tensor) -> Tensor:
        return wo[..., 2] / math.pi

    def _direction(self, wi: Tensor, u: Tensor) -> Tensor:
        return cosine_direction(u[..., :2])
