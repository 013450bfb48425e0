"""How samples along rays add up: weights from densities or opacities, and sums with them.

Samples stand in a rectangle ``[r,n]``, or in one row ``[s]`` with a :class:`Packing`. Everything is differentiable,
twice, except the median depth. The gradients are exact also where a sample is opaque: they are sums from the back to
the front, without a division.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.volume.packed import Packing


class Weights(NamedTuple):
    """What reaches the eye from each sample."""

    weights: Float[Tensor, "*rays s"]  # alpha times transmittance
    transmittance: Float[Tensor, "*rays s"]  # the share of light that passes everything before the sample
    alphas: Float[Tensor, "*rays s"]


class Depths(NamedTuple):
    """Where along each ray the light comes from."""

    total: Float[Tensor, " r"]  # sum of weights times distances
    expected: Float[Tensor, " r"]  # the same over the opacity
    median: Float[Tensor, " r"]  # of the first sample with which the opacity reaches one half; zero where none does


def weights_from_density(
    density: Float[Tensor, "*rays s"], deltas: Float[Tensor, "*rays s"], packing: Packing | None = None
) -> Weights:
    """Return the weights of intervals with constant densities (NeRF; Max 1995).

    The sum of a ray's weights is ``1 - exp(-sum(density * deltas))``, however it is cut into intervals.

    Args:
        density: per length, not negative.
        deltas: lengths of the intervals.
        packing: for samples in one row.

    Raises:
        ShapeError: the tensors do not agree.
    """
    _check(density, packing, deltas=deltas)
    depth = density * deltas
    if packing is None:
        after = depth.cumsum(-1)
        before = torch.nn.functional.pad(after[:, :-1], (1, 0))
    else:
        before = packing.before(packing.running_sum(depth), 0.0)
    transmittance, alphas = torch.exp(-before), -torch.expm1(-depth)
    return Weights(transmittance * alphas, transmittance, alphas)


def weights_from_alpha(
    alphas: Float[Tensor, "*rays s"], packing: Packing | None = None, *, leak: float = 0.0
) -> Weights:
    """Return the weights of samples with opacities.

    Args:
        alphas: opacities, 0..1.
        packing: for samples in one row.
        leak: added to the share of light that passes a sample; the released code of NeuS adds 1e-7.

    Raises:
        ShapeError: the tensors do not agree.
    """
    _check(alphas, packing)
    passed = 1.0 - alphas + leak
    if packing is None:
        transmittance = torch.nn.functional.pad(passed.cumprod(-1)[:, :-1], (1, 0), value=1.0)
    else:
        start = torch.where(packing.position == 0, passed, 0.0)
        transmittance = packing.before(packing.recurrence(passed, start), 1.0)
    return Weights(transmittance * alphas, transmittance, alphas)


def accumulate(
    weights: Float[Tensor, "*rays s"], values: Float[Tensor, "*rays s c"], packing: Packing | None = None
) -> Float[Tensor, "r c"]:
    """Return the weighted sum of each ray's values; zero for a ray without samples.

    Args:
        weights: of the samples.
        values: any number of channels per sample.
        packing: for samples in one row.

    Raises:
        ShapeError: the tensors do not agree.
    """
    _check(weights, packing)
    if values.shape[:-1] != weights.shape:
        expected = [*weights.shape, "any"]
        raise ShapeError("values are given per sample", got=list(values.shape), expected=expected)
    if packing is None:
        return (weights[:, None] @ values)[:, 0]
    return packing.sum(weights[:, None] * values)


def opacity(weights: Float[Tensor, "*rays s"], packing: Packing | None = None) -> Float[Tensor, " r"]:
    """Return the sum of each ray's weights."""
    _check(weights, packing)
    return weights.sum(-1) if packing is None else packing.sum(weights)


def over_background(
    colours: Float[Tensor, "r c"], opacities: Float[Tensor, " r"], background: Float[Tensor, "*r c"]
) -> Float[Tensor, "r c"]:
    """Return colours over a background that shows where rays are not opaque.

    Args:
        colours: weighted sums, ``[r,c]``.
        opacities: of the rays, ``[r]``.
        background: one colour ``[c]``, or one per ray ``[r,c]``.

    Raises:
        ShapeError: the background has another shape.
    """
    if background.shape not in (colours.shape, colours.shape[1:]):
        expected = f"{list(colours.shape[1:])} or {list(colours.shape)}"
        raise ShapeError("the background has the wrong shape", got=list(background.shape), expected=expected)
    return colours + (1.0 - opacities)[:, None] * background


def composite_depths(
    weights: Float[Tensor, "*rays s"],
    t: Float[Tensor, "*rays s"],
    packing: Packing | None = None,
    *,
    eps: float = 1e-10,
) -> Depths:
    """Return the depths of rays.

    Args:
        weights: of the samples.
        t: distances of the samples: mid-points for densities, starts for NeuS; or their inverses, for disparities.
        packing: for samples in one row.
        eps: the smallest opacity that the expected depth is divided by.

    Raises:
        ShapeError: the tensors do not agree.
    """
    _check(weights, packing, t=t)
    total, sums = opacity(weights * t, packing), opacity(weights, packing)
    median = _dense_median(weights, t) if packing is None else _packed_median(weights, t, packing)
    return Depths(total, total / sums.clamp(min=eps), median)


def visible(weights: Weights, *, early_stop: float = 1e-4, alpha_threshold: float = 0.0) -> Bool[Tensor, "*rays s"]:
    """Return which samples are worth a look: neither hidden behind others nor themselves transparent.

    Args:
        weights: of the samples.
        early_stop: the least share of light that must reach a sample.
        alpha_threshold: the least opacity of a sample.
    """
    return (weights.transmittance >= early_stop) & (weights.alphas >= alpha_threshold)


@torch.no_grad()
def _dense_median(weights: Tensor, t: Tensor) -> Tensor:
    place = (weights.cumsum(-1) < 0.5).sum(-1, keepdim=True)
    return torch.nn.functional.pad(t, (0, 1)).gather(1, place)[:, 0]


@torch.no_grad()
def _packed_median(weights: Tensor, t: Tensor, packing: Packing) -> Tensor:
    below = (packing.running_sum(weights) < 0.5).to(torch.int64)
    place = torch.zeros_like(packing.counts).index_add(0, packing.ray_indices, below)
    found = place < packing.counts
    at = torch.where(found, packing.first + place, len(t))
    return torch.nn.functional.pad(t, (0, 1))[at]


def _check(values: Tensor, packing: Packing | None, **others: Tensor) -> None:
    if packing is None and values.ndim != 2:
        fix = "give the packing of samples in one row"
        raise ShapeError("samples stand in a rectangle", got=list(values.shape), expected="[r, n]", fix=fix)
    if packing is not None and values.shape != (len(packing),):
        raise ShapeError("one value per packed sample", got=list(values.shape), expected=[len(packing)])
    if not values.is_floating_point():
        raise UsageError("samples hold floating-point values", got=values.dtype)
    for name, other in others.items():
        if other.shape != values.shape:
            raise ShapeError(f"{name} has the wrong shape", got=list(other.shape), expected=list(values.shape))
