"""What all BSDFs have in common: the interface, checked parameters, and directions that no formula divides by."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError

Masking = Literal["separable", "correlated"]
Scalar = Float[Tensor, "..."] | float
Sample = tuple[Float[Tensor, "... 3"], Float[Tensor, "... 3"], Float[Tensor, "..."]]
MIN_COS = 1e-6  # directions closer to the horizon carry no light
_LUMINANCE = (0.212671, 0.715160, 0.072169)  # of linear sRGB, as Mitsuba rounds it


class Bsdf(ABC):
    """How a surface scatters light, in its local frame: x along the tangent, z along the normal.

    ``wi`` points to the viewer, ``wo`` to the light, both away from the surface and of unit length. Parameters are
    floats or tensors that broadcast over the rows: ``[...]`` for scalars and ``[...,3]`` for colours. Values are
    linear RGB. ``eval`` is differentiable in the parameters and the directions.
    """

    def eval(self, wi: Float[Tensor, "... 3"], wo: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
        """Return the BSDF times ``|cos theta_o|``, ``[...,3]``; zero where nothing is scattered."""
        wi, wo, valid = self._guarded(wi, wo)
        return torch.where(valid[..., None], self._value(wi, wo), 0.0)

    def pdf(self, wi: Float[Tensor, "... 3"], wo: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return the density of :meth:`sample` per solid angle of ``wo``, ``[...]``."""
        wi, wo, valid = self._guarded(wi, wo)
        return torch.where(valid, self._density(wi, wo), 0.0)

    def sample(self, wi: Float[Tensor, "... 3"], u: Float[Tensor, "... 3"]) -> Sample:
        """Draw directions to the light.

        Args:
            wi: directions to the viewer, ``[...,3]``.
            u: uniform numbers in [0, 1), ``[...,3]``: two for the direction and one for the lobe.

        Returns:
            ``wo [...,3]``; ``weight [...,3]`` = ``eval / pdf``, differentiable in the parameters at fixed ``wo``; and
            ``pdf [...]``. Weight and density are zero where the drawn direction carries no light.
        """
        with torch.no_grad():
            up = torch.zeros_like(wi)
            up[..., 2] = 1
            towards = torch.where((wi[..., 2:].abs() > MIN_COS), wi, up)
            wo = torch.nn.functional.normalize(self._direction(towards, u), dim=-1)
            density = self.pdf(wi, wo)
        weight = self.eval(wi, wo) / torch.where(density > 0, density, 1.0)[..., None]
        return wo, torch.where((density > 0)[..., None], weight, 0.0), density

    @property
    def transmits(self) -> bool:
        """Whether light passes through the surface."""
        return False

    def _guarded(self, wi: Tensor, wo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return directions that are safe to divide by, and which of them were meant."""
        wi, wo = together(wi, wo)
        if self.transmits:
            valid = (wi[..., 2].abs() > MIN_COS) & (wo[..., 2].abs() > MIN_COS)
        else:
            valid = (wi[..., 2] > MIN_COS) & (wo[..., 2] > MIN_COS)
        up = torch.zeros_like(wi)
        up[..., 2] = 1
        return torch.where(valid[..., None], wi, up), torch.where(valid[..., None], wo, up), valid

    @abstractmethod
    def _value(self, wi: Tensor, wo: Tensor) -> Tensor: ...

    @abstractmethod
    def _density(self, wi: Tensor, wo: Tensor) -> Tensor: ...

    @abstractmethod
    def _direction(self, wi: Tensor, u: Tensor) -> Tensor: ...


def check_scalar(name: str, value: Scalar, low: float = 0.0, high: float = math.inf) -> None:
    """Raise unless a parameter is finite and within its range.

    Raises:
        InputError: it is not.
    """
    tensor = torch.as_tensor(value).detach()
    if not tensor.numel():
        return
    least, most = float(tensor.min()), float(tensor.max())
    if not (low <= least and most <= high and math.isfinite(most)):
        raise InputError(f"{name} is out of its range", got=f"{least:g} to {most:g}", expected=f"{low:g} to {high:g}")


def check_colour(name: str, value: Tensor, high: float = math.inf) -> None:
    """Raise unless a colour has three finite channels within 0 and ``high``.

    Raises:
        ShapeError: it has another number of channels.
        InputError: a value is out of its range.
    """
    if not value.ndim or value.shape[-1] != 3:
        raise ShapeError(f"{name} is no colour", got=tuple(value.shape), expected="[..., 3]")
    check_scalar(name, value, 0.0, high)


def like(value: Scalar, directions: Tensor) -> Tensor:
    """Return a parameter as a tensor beside the directions."""
    return torch.as_tensor(value, dtype=directions.dtype, device=directions.device)


def together(*values: Tensor) -> list[Tensor]:
    """Return tensors broadcast to their common shape."""
    shape = np.broadcast_shapes(*(tuple(value.shape) for value in values))
    return [value.expand(shape) for value in values]


def channels(value: Tensor) -> Tensor:
    """Return one value per row as something that broadcasts with colours, ``[...,1]``."""
    return value[..., None]


def luminance(rgb: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
    """Return the luminance of linear sRGB, ``[...]``."""
    return (rgb * rgb.new_tensor(_LUMINANCE)).sum(-1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products of the last axes."""
    return (a * b).sum(-1)


def cosine_direction(u: Float[Tensor, "... 2"]) -> Float[Tensor, "... 3"]:
    """Return directions of density ``cos / pi`` about z, ``[...,3]``."""
    radius, angle = u[..., 0].sqrt(), 2 * math.pi * u[..., 1]
    height = (1 - u[..., 0]).clamp_min(0).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)


def pick(u: Tensor, weights: list[Tensor]) -> Tensor:
    """Return which of the alternatives a uniform number selects, ``[...]``.

    Args:
        u: uniform numbers in [0, 1), ``[...]``.
        weights: probabilities that sum to one.
    """
    chosen = torch.zeros(u.shape, dtype=torch.long, device=u.device)
    passed = torch.zeros_like(u)
    for weight in weights[:-1]:
        passed = passed + weight
        chosen = chosen + (u >= passed)
    return chosen
