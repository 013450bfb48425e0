"""Irradiance of an environment: spherical harmonics, and exact quadrature over the pixels."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.shading.environment import Environment

MAX_DEGREE = 3
_COSINE = (math.pi, 2 * math.pi / 3, math.pi / 4, 0.0)  # of the clamped cosine per degree
_CHUNK = 1 << 24  # products of normals and pixels at once


def sh_basis(directions: Float[Tensor, "... 3"], degree: int = MAX_DEGREE) -> Float[Tensor, "... k"]:
    """Return the real spherical harmonics of unit directions, ``[..., (degree + 1)^2]``, signs as in 3DGS.

    Raises:
        UsageError: the degree is not 0 to 3.
    """
    _check_degree(degree)
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, 0.28209479177387814)]
    if degree > 0:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree > 1:
        values += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if degree > 2:
        values += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, -1)


def sh_from_environment(env: Environment, degree: int = MAX_DEGREE) -> Float[Tensor, "k 3"]:
    """Project the radiance on spherical harmonics of the world, ``[(degree + 1)^2, 3]``.

    Differentiable in the radiance and the rotation.

    Raises:
        UsageError: the degree is not 0 to 3.
    """
    basis = sh_basis(env.directions() @ env.rotation.mT, degree)
    weighted = env.radiance * env.solid_angles()[..., None]
    return basis.reshape(-1, basis.shape[-1]).mT @ weighted.reshape(-1, 3)


def irradiance_from_sh(sh: Float[Tensor, "k 3"], normals: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Return the irradiance (without ``1 / pi``) of light in spherical harmonics, ``[...,3]``.

    Degrees up to 2 carry 99 % of the irradiance of most light; a strong sun rings, and what would be negative is 0.

    Args:
        sh: coefficients of the radiance, ``[1|4|9|16, 3]``.
        normals: unit vectors in the world, ``[...,3]``.

    Raises:
        ShapeError: there are other numbers of coefficients.

    Source: Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps", 2001.
    """
    degree = math.isqrt(len(sh)) - 1
    if len(sh) != (degree + 1) ** 2 or degree > MAX_DEGREE:
        raise ShapeError("these are no spherical harmonics", got=len(sh), expected="1, 4, 9 or 16")
    bands = [_COSINE[band] for band in range(degree + 1) for _ in range(2 * band + 1)]
    return (sh_basis(normals, degree) @ (sh * sh.new_tensor(bands)[:, None])).clamp_min(0)


def irradiance(env: Environment, normals: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Return the irradiance (without ``1 / pi``) by the sum over all pixels, ``[...,3]``.

    Differentiable in the radiance, the rotation and the normals. Time grows with normals times pixels; for many normals
    take :class:`~recon3d.render.shading.prefilter.PrefilteredEnvironment`.
    """
    flat = normals.reshape(-1, 3) @ env.rotation
    directions = env.directions().reshape(-1, 3)
    weighted = (env.radiance * env.solid_angles()[..., None]).reshape(-1, 3)
    step = max(1, _CHUNK // len(directions))
    parts = [(flat[i : i + step] @ directions.mT).clamp_min(0) @ weighted for i in range(0, len(flat), step)]
    return torch.cat(parts).reshape(normals.shape) if parts else torch.zeros_like(normals)


def _check_degree(degree: int) -> None:
    if not 0 <= degree <= MAX_DEGREE:
        raise UsageError("there are no spherical harmonics of this degree", got=degree, expected=f"0 to {MAX_DEGREE}")
