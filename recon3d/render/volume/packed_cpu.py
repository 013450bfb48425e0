"""Recurrences along rays in one pass, in numba."""

from __future__ import annotations

from typing import no_type_check

import torch
from torch import Tensor

from recon3d.core.kernels import kernel, run_chunks

_RAYS = 512


def recur(factors: Tensor, terms: Tensor, first: Tensor, counts: Tensor, reverse: bool) -> Tensor:
    """Return ``y[i] = factors[i] y[i-1] + terms[i]`` along each ray, from its other end with ``reverse``."""
    out = torch.empty_like(terms, memory_format=torch.contiguous_format)
    arrays = [value.detach().contiguous().numpy() for value in (factors, terms, first, counts)]
    result, n_rays = out.numpy(), len(first)

    def work(chunk: int) -> None:
        _recur(*arrays, reverse, chunk * _RAYS, min((chunk + 1) * _RAYS, n_rays), result)

    run_chunks(work, -(-n_rays // _RAYS))
    return out


def sums(values: Tensor, first: Tensor, counts: Tensor) -> Tensor:
    """Return sums ``[r,c]`` of values ``[s,c]`` over each ray."""
    out = torch.zeros((len(first), values.shape[1]), dtype=values.dtype)
    arrays = [value.detach().contiguous().numpy() for value in (values, first, counts)]
    result, n_rays = out.numpy(), len(first)

    def work(chunk: int) -> None:
        _sums(*arrays, chunk * _RAYS, min((chunk + 1) * _RAYS, n_rays), result)

    run_chunks(work, -(-n_rays // _RAYS))
    return out


@kernel(order="written")
@no_type_check
def _sums(values, first, counts, begin, end, out):
    for ray in range(begin, end):
        for at in range(first[ray], first[ray] + counts[ray]):
            for channel in range(values.shape[1]):
                out[ray, channel] += values[at, channel]


@kernel(order="written")
@no_type_check
def _recur(factors, terms, first, counts, reverse, begin, end, out):
    for ray in range(begin, end):
        value = terms.dtype.type(0.0)
        start, n = first[ray], counts[ray]
        for step in range(n):
            at = start + n - 1 - step if reverse else start + step
            value = terms[at] if step == 0 else factors[at] * value + terms[at]
            out[at] = value
