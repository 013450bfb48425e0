"""Spherical harmonics: colours that depend on the direction of view."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.checks import check_alike, check_finite, check_shapes
from recon3d.render.gaussians.dispatch import module_for
from recon3d.render.gaussians.options import GaussianBackend

MAX_DEGREE = 3


def spherical_harmonics(
    directions: Float[Tensor, "g 3"],
    coefficients: Float[Tensor, "g k 3"],
    degree: int,
    *,
    backend: GaussianBackend = "auto",
) -> Float[Tensor, "g 3"]:
    """Evaluate real spherical harmonics in one direction per set of coefficients.

    Args:
        directions: directions of any positive length, from the camera to the Gaussian, ``[g,3]``.
        coefficients: coefficients per colour channel in the order and with the signs of 3DGS, ``[g,k,3]``; those
            beyond ``(degree + 1)^2`` are not looked at.
        degree: 0 to 3.
        backend: ``numba`` (float32 on the CPU), ``gsplat`` (CUDA), ``torch`` (anything), or ``auto``.

    Returns:
        The sums ``[g,3]``, without the 0.5 that 3DGS adds; differentiable in directions and coefficients.

    Raises:
        ShapeError: a tensor has the wrong shape, or too few coefficients.
        InputError: a tensor holds NaN or infinite values.
        UsageError: the degree is not 0 to 3, or the tensors do not live together.

    Source: Sloan, Efficient spherical harmonic evaluation, 2013; signs as in Kerbl et al., 2023.
    """
    if not 0 <= degree <= MAX_DEGREE:
        raise UsageError("there are no spherical harmonics of this degree", got=degree, expected=f"0 to {MAX_DEGREE}")
    values = {"directions": directions, "coefficients": coefficients}
    n_coefficients = max((degree + 1) ** 2, coefficients.shape[1] if coefficients.ndim == 3 else 0)
    wanted = {"directions": (None, 3), "coefficients": (len(directions), n_coefficients, 3)}
    check_shapes({name: (value, wanted[name]) for name, value in values.items()})
    check_alike(values)
    check_finite(values)
    colours: Tensor = module_for("projection", backend, directions).spherical_harmonics(
        directions, coefficients, degree
    )
    return colours
