"""Fresnel reflectances: exact for dielectrics and conductors, and Schlick's approximation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-20


def fresnel_dielectric(
    cos_i: Float[Tensor, "..."], ior: Float[Tensor, "..."]
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return the unpolarised reflectance between two dielectrics, and the cosine behind the interface.

    Args:
        cos_i: cosine to the normal, negative where the light comes from the inside, ``[...]``.
        ior: index of the inside over that of the outside, ``[...]``.

    Returns:
        Reflectance ``[...]``, 1 at total internal reflection; and the cosine of the refracted direction, of the other
        sign than ``cos_i`` and 0 at total internal reflection.
    """
    eta = torch.where(cos_i >= 0, ior, 1 / ior)
    inside = 1 - (1 - cos_i * cos_i) / (eta * eta)
    total = inside <= 0
    cos_t = torch.where(total, 1.0, inside).sqrt()
    c = cos_i.abs()
    s = (c - eta * cos_t) / (c + eta * cos_t)
    p = (eta * c - cos_t) / (eta * c + cos_t)
    reflectance = torch.where(total, 1.0, 0.5 * (s * s + p * p))
    return reflectance, torch.where(total, 0.0, torch.where(cos_i >= 0, -cos_t, cos_t))


def fresnel_conductor(
    cos_i: Float[Tensor, "..."], eta: Float[Tensor, "..."], k: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Return the unpolarised reflectance of a conductor, ``[...]``.

    Args:
        cos_i: cosine to the normal, 0 to 1, ``[...]``.
        eta: real part of the index, over that of the outside, ``[...]``.
        k: imaginary part, ``[...]``.
    """
    c2 = cos_i * cos_i
    s2 = 1 - c2
    t = eta * eta - k * k - s2
    length = (t * t + 4 * k * k * eta * eta).clamp_min(_TINY).sqrt()
    a = (0.5 * (length + t)).clamp_min(_TINY).sqrt()
    s = (length + c2 - 2 * cos_i * a) / (length + c2 + 2 * cos_i * a)
    base, cross = length * c2 + s2 * s2, 2 * cos_i * a * s2
    p = s * (base - cross) / (base + cross).clamp_min(_TINY)
    return 0.5 * (s + p)


def schlick_weight(cos_theta: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return ``(1 - cos)^5``, ``[...]``."""
    base = (1 - cos_theta).clamp(0, 1)
    squared = base * base
    return squared * squared * base


def schlick(f0: Float[Tensor, "..."], cos_theta: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return Schlick's reflectance ``f0 + (1 - f0) (1 - cos)^5``, ``[...]``."""
    return f0 + (1 - f0) * schlick_weight(cos_theta)
