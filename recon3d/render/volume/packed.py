"""Samples of many rays in one row: ray by ray, as many of each as it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.gaussians.checks import check_alike, check_shapes
from recon3d.render.volume import packed_cpu


@dataclass(frozen=True, eq=False)
class Packing:
    """Which ray every sample belongs to.

    Args:
        ray_indices: the ray of each sample, in order, ``[s]``.
        n_rays: how many rays there are; any of them may have no sample.

    Raises:
        UsageError: the indices are not in order or name a ray that is not there.
    """

    ray_indices: Int64[Tensor, " s"]
    n_rays: int

    def __post_init__(self) -> None:
        index = self.ray_indices
        if index.ndim != 1 or index.dtype != torch.int64:
            got = f"{index.dtype} {list(index.shape)}"
            raise ShapeError("ray_indices has the wrong shape or type", got=got, expected="torch.int64 [s]")
        if self.n_rays < 0:
            raise UsageError("a number of rays is not negative", got=self.n_rays)
        if len(index) and not (int(index[0]) >= 0 and int(index[-1]) < self.n_rays):
            got = f"{int(index[0])} to {int(index[-1])}"
            raise UsageError("a sample names a ray that is not there", got=got, expected=f"0 to {self.n_rays - 1}")
        if not bool((index[1:] >= index[:-1]).all()):
            raise UsageError("samples must stand in the order of their rays", fix="sort them by ray, then by distance")

    @classmethod
    def of_counts(cls, counts: Int64[Tensor, " r"]) -> Packing:
        """Return the packing of rays with so many samples each."""
        return cls(torch.repeat_interleave(counts), len(counts))

    def __len__(self) -> int:
        return len(self.ray_indices)

    @cached_property
    def counts(self) -> Int64[Tensor, " r"]:
        """Samples of each ray."""
        return torch.bincount(self.ray_indices, minlength=self.n_rays)

    @cached_property
    def first(self) -> Int64[Tensor, " r"]:
        """Where each ray begins in the row; for one without samples, where it would."""
        return self.counts.cumsum(0) - self.counts

    @cached_property
    def position(self) -> Int64[Tensor, " s"]:
        """Place of each sample on its ray, from zero."""
        return torch.arange(len(self), device=self.ray_indices.device) - self.first[self.ray_indices]

    @cached_property
    def longest(self) -> int:
        """The most samples of any ray."""
        return int(self.counts.max()) if self.n_rays else 0

    def sum(self, values: Float[Tensor, "s *c"]) -> Float[Tensor, "r *c"]:
        """Return the sum of each ray's values; zero for a ray without samples. Differentiable to any order."""
        flat = values.flatten(1) if values.ndim > 1 else values[:, None]
        sums: Tensor = _Sum.apply(flat, self)  # type: ignore[no-untyped-call]
        return sums.reshape(self.n_rays, *values.shape[1:])

    def running_sum(self, values: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
        """Return each ray's sum up to and with every sample. Differentiable to any order."""
        return _recurrence(torch.ones_like(values), values, self, reverse=False)

    def recurrence(self, factors: Float[Tensor, " s"], terms: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
        """Return ``y[i] = factors[i] y[i-1] + terms[i]`` on each ray, with zero before its first sample.

        Differentiable to any order, also where a factor is zero.
        """
        return _recurrence(factors, terms, self, reverse=False)

    def before(self, values: Float[Tensor, " s"], first: float) -> Float[Tensor, " s"]:
        """Return the value of the sample before each one; ``first`` where there is none."""
        shifted = torch.nn.functional.pad(values[:-1], (1, 0)) if len(values) else values
        return torch.where(self.position == 0, first, shifted)

    def selected(self, keep: Bool[Tensor, " s"]) -> Packing:
        """Return the packing of some of the samples."""
        return Packing(self.ray_indices[keep], self.n_rays)


@dataclass(frozen=True, eq=False)
class PackedSamples:
    """Intervals on rays, in one row.

    Args:
        packing: which ray each belongs to.
        starts: where they begin, in order on each ray, ``[s]``.
        ends: where they end, ``[s]``.
    """

    packing: Packing
    starts: Float[Tensor, " s"]
    ends: Float[Tensor, " s"]

    def __post_init__(self) -> None:
        check_shapes({"starts": (self.starts, (len(self.packing),)), "ends": (self.ends, (len(self.packing),))})
        check_alike({"starts": self.starts, "ends": self.ends})

    def __len__(self) -> int:
        return len(self.packing)

    @property
    def middles(self) -> Float[Tensor, " s"]:
        """Mid-points of the intervals."""
        return 0.5 * (self.starts + self.ends)

    @property
    def deltas(self) -> Float[Tensor, " s"]:
        """Lengths of the intervals."""
        return self.ends - self.starts

    def selected(self, keep: Bool[Tensor, " s"]) -> PackedSamples:
        """Return some of the samples."""
        return PackedSamples(self.packing.selected(keep), self.starts[keep], self.ends[keep])


class _Sum(torch.autograd.Function):
    """Sums over the samples of each ray; the gradient of a sum goes to all of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return segment_sums(values, packing)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        spread: Tensor = _Spread.apply(grads[0], ctx.packing)  # type: ignore[no-untyped-call]
        return spread, None


class _Spread(torch.autograd.Function):
    """The value of its ray for every sample; the gradient is a sum."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return values[packing.ray_indices]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        sums: Tensor = _Sum.apply(grads[0], ctx.packing)  # type: ignore[no-untyped-call]
        return sums, None


class _Recurrence(torch.autograd.Function):
    """A linear recurrence along each ray, whose gradient is one in the other direction.

    With g the gradient of y, that of the terms is ``h[i] = g[i] + factors[i+1] h[i+1]``, and that of the factors is
    ``h[i] y[i-1]``: no division, so a factor of zero needs no special care.
    """

    @staticmethod
    def forward(ctx: Any, factors: Tensor, terms: Tensor, packing: Packing, reverse: bool) -> Tensor:
        values = recur(factors, terms, packing, reverse=reverse)
        ctx.save_for_backward(factors, terms)
        ctx.packing, ctx.reverse = packing, reverse
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        factors, terms = ctx.saved_tensors
        packing, reverse = ctx.packing, ctx.reverse
        by_terms = _recurrence(_shifted(factors, packing, not reverse), grads[0], packing, reverse=not reverse)
        if not ctx.needs_input_grad[0]:
            return None, by_terms, None, None
        values = _recurrence(factors, terms, packing, reverse=reverse)
        return by_terms * _shifted(values, packing, reverse), by_terms, None, None


def _recurrence(factors: Tensor, terms: Tensor, packing: Packing, *, reverse: bool) -> Tensor:
    values: Tensor = _Recurrence.apply(factors, terms, packing, reverse)  # type: ignore[no-untyped-call]
    return values


def _shifted(values: Tensor, packing: Packing, reverse: bool) -> Tensor:
    """Return the value of the neighbour that a recurrence comes from; zero where a ray begins."""
    if not len(values):
        return values
    if not reverse:
        return packing.before(values, 0.0)
    last = packing.position == packing.counts[packing.ray_indices] - 1
    return torch.where(last, 0.0, torch.nn.functional.pad(values[1:], (0, 1)))


def segment_sums(values: Tensor, packing: Packing) -> Tensor:
    """Return sums ``[r,c]`` of values ``[s,c]`` over each ray, in the order of its samples, without gradients."""
    if _in_numba(values):
        return packed_cpu.sums(values, packing.first, packing.counts)
    start = values.new_zeros((packing.n_rays, values.shape[1]))
    return start.index_add(0, packing.ray_indices, values)


def _in_numba(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def recur(factors: Tensor, terms: Tensor, packing: Packing, *, reverse: bool) -> Tensor:
    """Return :meth:`Packing.recurrence` without gradients, from the other end with ``reverse``."""
    if _in_numba(terms):
        return packed_cpu.recur(factors, terms, packing.first, packing.counts, reverse)
    return recur_by_doubling(factors, terms, packing, reverse=reverse)


def recur_by_doubling(factors: Tensor, terms: Tensor, packing: Packing, *, reverse: bool) -> Tensor:
    """Return :func:`recur` in as many passes over all samples as the longest count has binary digits (Hillis, Steele).

    Nothing of one ray, not even NaN, reaches another.
    """
    position = packing.position
    if reverse:
        factors, terms = factors.flip(0), terms.flip(0)
        position = (packing.counts[packing.ray_indices] - 1 - position).flip(0)
    step = 1
    while step < packing.longest:
        inside = position[step:] >= step
        carried = torch.where(inside, factors[step:] * terms[:-step], 0.0)
        kept = torch.where(inside, factors[step:] * factors[:-step], factors[step:])
        terms = torch.cat([terms[:step], terms[step:] + carried])
        factors = torch.cat([factors[:step], kept])
        step *= 2
    return terms.flip(0) if reverse else terms
