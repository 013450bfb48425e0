"""Opacity and density from signed distances: NeuS (arXiv:2106.10689) and VolSDF (arXiv:2106.12052)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError

_EPS = 1e-5


def neus_alpha(
    sdf: Float[Tensor, "*samples"],
    gradients: Float[Tensor, "*samples 3"],
    directions: Float[Tensor, "*samples 3"],
    deltas: Float[Tensor, "*samples"],
    inv_s: Float[Tensor, ""] | float,
    *,
    cos_anneal: float = 1.0,
    eps: float = _EPS,
) -> Float[Tensor, "*samples"]:
    """Return the opacity of intervals from the signed distance at their starts (NeuS, eq. 13).

    Differentiable, twice, in every tensor. Signed distances are positive outside.

    Args:
        sdf: signed distances at the starts of the intervals.
        gradients: of the signed distance in the world.
        directions: of the rays, of length one.
        deltas: lengths of the intervals.
        inv_s: sharpness, one over the standard deviation of the logistic density.
        cos_anneal: 0 = as if every surface were seen at a slant, which is easier to optimise at first; 1 = as it is.
        eps: what the released code adds to numerator and denominator; zero is exact, but divides by very little far
            inside.

    Raises:
        UsageError: ``cos_anneal`` lies outside 0..1.
    """
    if not 0.0 <= cos_anneal <= 1.0:
        raise UsageError("cos_anneal lies between 0 and 1", got=cos_anneal)
    cos = (directions * gradients).sum(-1)
    slant = torch.relu(0.5 - 0.5 * cos) * (1.0 - cos_anneal) + torch.relu(-cos) * cos_anneal
    step = 0.5 * slant * deltas
    return _crossing(sdf + step, sdf - step, inv_s, eps).clamp(0.0, 1.0)


def section_alphas(
    sdf: Float[Tensor, "r n"], deltas: Float[Tensor, "r n"], inv_s: float, *, eps: float = _EPS
) -> Float[Tensor, "r m"]:
    """Return opacities between consecutive samples from their signed distances alone, for importance sampling.

    The slope is the smaller of this section's and the one before, which keeps thin surfaces from being missed.

    Args:
        sdf: signed distances at the starts, ``[r,n]``.
        deltas: lengths of the intervals, ``[r,n]``; the last is not looked at.
        inv_s: sharpness.
        eps: see :func:`neus_alpha`.

    Returns:
        Opacities of the ``n - 1`` sections, ``[r,n-1]``.
    """
    length = deltas[:, :-1]
    slope = (sdf[:, 1:] - sdf[:, :-1]) / (length + _EPS)
    before = torch.nn.functional.pad(slope[:, :-1], (1, 0))
    slope = torch.minimum(before, slope).clamp(-1e3, 0.0)
    middle, step = 0.5 * (sdf[:, 1:] + sdf[:, :-1]), 0.5 * slope * length
    return _crossing(middle - step, middle + step, inv_s, eps)


def _crossing(before: Tensor, after: Tensor, inv_s: Tensor | float, eps: float) -> Tensor:
    """Return the share of the logistic distribution up to ``before`` that lies above ``after``."""
    first, second = torch.sigmoid(before * inv_s), torch.sigmoid(after * inv_s)
    # Far outside both are almost one; their complements keep the digits that the difference is made of.
    beyond = torch.sigmoid(-after * inv_s) - torch.sigmoid(-before * inv_s)
    return (torch.where(after > 0, beyond, first - second) + eps) / (first + eps)


def laplace_density(
    sdf: Float[Tensor, "*samples"], beta: Float[Tensor, ""] | float, *, beta_min: float = 1e-4
) -> Float[Tensor, "*samples"]:
    """Return the density of VolSDF: the Laplace distribution of the signed distance over its scale (eq. 2, 3).

    Differentiable in the distances and in beta; at a distance of exactly zero the derivative is that of both sides.

    Args:
        sdf: signed distances, positive outside.
        beta: scale of the distribution; its absolute value counts.
        beta_min: added to it.
    """
    scale = (beta.abs() if isinstance(beta, Tensor) else abs(beta)) + beta_min
    # Both sides are evaluated on their own half of the axis, so that nothing overflows and sign() has no say.
    outside = 0.5 * torch.exp(-sdf.clamp(min=0.0) / scale)
    inside = -0.5 * torch.expm1(sdf.clamp(max=0.0) / scale) + 0.5
    return torch.where(sdf > 0, outside, inside) / scale
