"""Where to look along rays: even, jittered and importance samples, as the edges of consecutive intervals.

Sample ``k`` of a ray is the interval from edge ``k`` to edge ``k + 1``. Edges carry no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.gaussians.checks import check_shapes
from recon3d.render.volume.compositing import weights_from_alpha
from recon3d.render.volume.neus import section_alphas
from recon3d.render.volume.spacing import Spacing

Jitter = Tensor | torch.Generator | None
_EPS = 1e-5


@torch.no_grad()
def even_edges(n_rays: int, n_samples: int, *, like: Tensor, jitter: Jitter = None) -> Float[Tensor, "r edges"]:
    """Return ``n_samples + 1`` edges per ray in 0..1, evenly spaced or jittered.

    Args:
        n_rays: number of rays.
        n_samples: intervals per ray, at least one.
        like: a tensor whose device and dtype the edges get.
        jitter: None = even; random numbers in 0..1, ``[r,n_samples+1]``, or ``[r,1]`` for one per ray; or a generator
            that draws one per edge. An edge moves between the mid-points to its neighbours; the outer ones stay inside.

    Raises:
        UsageError: there is no sample.
        ShapeError: the random numbers have another shape.
    """
    _require_samples(n_samples)
    edges = torch.linspace(0.0, 1.0, n_samples + 1, dtype=like.dtype, device=like.device).expand(n_rays, -1)
    random = _random_numbers(jitter, n_rays, n_samples + 1, like)
    if random is None:
        return edges.clone()
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    lower, upper = torch.cat([edges[:, :1], middles], 1), torch.cat([middles, edges[:, -1:]], 1)
    return lower + (upper - lower) * random


@torch.no_grad()
def importance_edges(
    edges: Float[Tensor, "r edges"], weights: Float[Tensor, "r n"], n_samples: int, *, jitter: Jitter = None
) -> Float[Tensor, "r new"]:
    """Return ``n_samples + 1`` edges drawn from a density that is constant on each interval, by inverting its integral.

    A ray whose weights are all zero gets even samples.

    Args:
        edges: of the intervals, increasing, ``[r,n+1]``; in the ``s`` of a :class:`Spacing`.
        weights: how much each interval counts, not negative, ``[r,n]``.
        n_samples: new intervals per ray, at least one.
        jitter: None = mid-points of equal parts; else random numbers in 0..1, ``[r,n_samples+1]``, or a generator.

    Raises:
        UsageError: there is no sample.
        ShapeError: the tensors do not agree.
    """
    _require_samples(n_samples)
    n_rays, n_bins = weights.shape
    check_shapes({"edges": (edges, (n_rays, n_bins + 1))})
    quantiles = _quantiles(jitter, n_rays, n_samples + 1, edges)
    total = weights.sum(-1, keepdim=True)
    padding = (_EPS - total).clamp(min=0.0)
    share = (weights + padding / n_bins) / (total + padding)
    integral = torch.cat([torch.zeros_like(total), share.cumsum(-1).clamp(max=1.0)], -1)
    above = torch.searchsorted(integral, quantiles, right=True)
    low, high = (above - 1).clamp(0, n_bins), above.clamp(0, n_bins)
    start, end = integral.gather(1, low), integral.gather(1, high)
    width = torch.where(end - start < _EPS, 1.0, end - start)
    fraction = ((quantiles - start) / width).clamp(0.0, 1.0)
    first = edges.gather(1, low)
    return first + fraction * (edges.gather(1, high) - first)


@torch.no_grad()
def merge_edges(one: Float[Tensor, "r n"], other: Float[Tensor, "r m"]) -> Float[Tensor, "r k"]:
    """Return the edges of ``n - 1 + m - 1`` intervals: all starts of both, in order, and the larger of the last ends.

    Args:
        one: edges, ``[r,n]``.
        other: edges of the same rays, ``[r,m]``.
    """
    starts = torch.cat([one[:, :-1], other[:, :-1]], 1).sort(dim=1).values
    return torch.cat([starts, torch.maximum(one[:, -1:], other[:, -1:])], 1)


@torch.no_grad()
def neus_edges(
    sdf: Callable[[Float[Tensor, "r k"]], Float[Tensor, "r k"]],
    spacing: Spacing,
    edges: Float[Tensor, "r n"],
    n_new: Sequence[int],
    *,
    jitter: Sequence[Jitter] | torch.Generator | None = None,
    inv_s: float = 64.0,
) -> Float[Tensor, "r m"]:
    """Add samples where a signed distance crosses zero, in steps that look ever closer (NeuS, section 3.3).

    Args:
        sdf: signed distances at distances along the rays; asked for every sample once, at its start.
        spacing: distances of ``s``.
        edges: in ``s`` of 0..1, as of :func:`even_edges`.
        n_new: how many samples each step adds.
        jitter: of each step as for :func:`importance_edges`; a generator serves all steps.
        inv_s: sharpness of the first step; each step doubles it.

    Returns:
        Edges in ``s`` that include the old starts, ``[r, n + sum(n_new)]``.

    Raises:
        UsageError: a step adds no sample, or the number of jitters is not that of the steps.
    """
    jitters = [jitter] * len(n_new) if jitter is None or isinstance(jitter, torch.Generator) else list(jitter)
    if len(jitters) != len(n_new):
        raise UsageError("each step wants its random numbers", got=len(jitters), expected=len(n_new))
    distance = sdf(spacing.distances(edges[:, :-1]))
    for step, (count, random) in enumerate(zip(n_new, jitters, strict=True)):
        t = spacing.distances(edges)
        alphas = section_alphas(distance, t[:, 1:] - t[:, :-1], inv_s * 2.0**step)
        weights = weights_from_alpha(alphas, leak=1e-7).weights
        weights = torch.nn.functional.pad(weights, (0, 1))
        new = importance_edges(edges, weights, count, jitter=random)
        if step + 1 < len(n_new):
            order = torch.cat([edges[:, :-1], new[:, :-1]], 1).argsort(dim=1, stable=True)
            distance = torch.cat([distance, sdf(spacing.distances(new[:, :-1]))], 1).gather(1, order)
        edges = merge_edges(edges, new)
    return edges


def _require_samples(n_samples: int) -> None:
    if n_samples < 1:
        raise UsageError("a ray needs samples", got=n_samples, expected="at least 1")


def _random_numbers(jitter: Jitter, n_rays: int, n: int, like: Tensor) -> Tensor | None:
    if isinstance(jitter, torch.Generator):
        drawn = torch.rand(n_rays, n, generator=jitter, dtype=like.dtype, device=jitter.device)
        return drawn.to(like.device)
    if jitter is not None:
        check_shapes({"jitter": (jitter, (n_rays, 1 if jitter.shape[1:] == (1,) else n))})
    return jitter


def _quantiles(jitter: Jitter, n_rays: int, n: int, like: Tensor) -> Tensor:
    """Return increasing numbers in 0..1, one in each of ``n`` equal parts."""
    first = torch.arange(n, dtype=like.dtype, device=like.device).expand(n_rays, n)
    random = _random_numbers(jitter, n_rays, n, like)
    return ((first + (0.5 if random is None else random)) / n).contiguous()
