"""Softmax over kept key blocks in plain torch: the blocks are gathered, and each step is one batched product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.feedforward.lite3r.blocks import Blocks

_SCORES_AT_ONCE = {"cpu": 2**17}  # about what a second-level cache holds with the keys and values beside it
_SCORES_ON_A_GPU = 2**26


@dataclass(frozen=True)
class Gathered:
    """Keys and values of one call, ready to be gathered.

    Args:
        q: queries in blocks, ``[b*nq,size,d]``.
        k: one flat key block a row, ``[b*nk,size*d]``.
        v: value blocks likewise.
        rows: row of ``k`` and ``v`` of each kept block, ``[b*nq,kept]``.
        n_valid: tokens in the last key block of each sequence.
        n_blocks: key blocks of a sequence.
    """

    q: Float[Tensor, "r size d"]
    k: Float[Tensor, "s flat"]
    v: Float[Tensor, "s flat"]
    rows: Int64[Tensor, "r kept"]
    n_valid: int
    n_blocks: int

    @classmethod
    def of(
        cls,
        q: Float[Tensor, "b n d"],
        k: Float[Tensor, "b m d"],
        v: Float[Tensor, "b m d"],
        kept: Int64[Tensor, "b nq kept"],
        size: int,
    ) -> Gathered:
        """Cut everything into blocks."""
        keys = Blocks(k.shape[1], size)
        queries = Blocks(q.shape[1], size).split(q).flatten(0, 1)
        first = torch.arange(len(k), device=k.device)[:, None, None] * keys.count
        flat_k, flat_v = (keys.split(x).flatten(0, 1).flatten(1) for x in (k, v))
        n_valid = size - (keys.n_padded - keys.n_tokens)
        return cls(queries, flat_k, flat_v, (kept + first).flatten(0, 1), n_valid, keys.count)

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.q.shape[1]

    def chunks(self) -> Iterator[slice]:
        """Yield ranges of query blocks whose scores fit in fast memory."""
        limit = _SCORES_AT_ONCE.get(self.q.device.type, _SCORES_ON_A_GPU)
        step = max(1, limit // (self.size**2 * max(1, self.rows.shape[1])))
        return (slice(at, at + step) for at in range(0, len(self.q), step))

    def take(self, source: Float[Tensor, "s flat"], at: slice) -> Float[Tensor, "c keys d"]:
        """Gather the kept blocks of keys or values of some query blocks."""
        rows = self.rows[at]
        return source.index_select(0, rows.flatten()).view(len(rows), -1, self.q.shape[-1])

    def scores(self, k: Float[Tensor, "c keys d"], at: slice) -> Float[Tensor, "c size keys"]:
        """Return the scaled scores of gathered keys, minus infinity at padding; single precision or better."""
        q = self.q[at]
        scores = torch.bmm(q * q.shape[-1] ** -0.5, k.mT)
        scores = scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores
        if self.n_valid < self.size:
            last = self.rows[at] % self.n_blocks == self.n_blocks - 1
            empty = torch.arange(self.size, device=q.device) >= self.n_valid
            scores.masked_fill_((last[..., None] & empty).flatten(1)[:, None], -torch.inf)
        return scores


def attend(
    q: Float[Tensor, "b n d"],
    k: Float[Tensor, "b m d"],
    v: Float[Tensor, "b m d"],
    kept: Int64[Tensor, "b nq kept"],
    size: int,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n"]]:
    """Return the attention and the logarithm of its denominators.

    Args:
        q: queries, ``[b,n,d]``.
        k: keys, ``[b,m,d]``.
        v: values, ``[b,m,d]``.
        kept: key blocks of each query block.
        size: tokens of a block.
    """
    with torch.autocast(q.device.type, enabled=False):  # buffers of one type cannot take products of another
        out, log_sums = _forward(Gathered.of(q, k, v, kept, size))
    n = q.shape[1]
    return out.view(len(q), -1, q.shape[-1])[:, :n], log_sums.view(len(q), -1)[:, :n]


def gradients(
    inputs: Sequence[Tensor],
    size: int,
    out: Float[Tensor, "b n d"],
    log_sums: Float[Tensor, "b n"],
    grad: Float[Tensor, "b n d"],
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"], Float[Tensor, "b m d"]]:
    """Return the gradients of queries, keys and values; weights are computed anew, chunk by chunk.

    Args:
        inputs: q, k, v and the kept blocks, as :func:`attend` took them.
        size: tokens of a block.
        out: what it returned.
        log_sums: likewise.
        grad: gradient of ``out``.
    """
    q, k, v, kept = inputs
    queries, job = Blocks(q.shape[1], size), Gathered.of(q, k, v, kept, size)
    of_out, of_sums, of_grad = (queries.split(x).flatten(0, 1) for x in (out, log_sums[..., None], grad))
    with torch.autocast(q.device.type, enabled=False):
        flat = _backward(job, of_out, of_sums, of_grad)
    found = (x.view(len(q), -1, q.shape[-1]) for x in flat)
    grad_q, grad_k, grad_v = (x[:, : like.shape[1]] for x, like in zip(found, (q, k, v), strict=True))
    return grad_q, grad_k, grad_v


def _forward(job: Gathered) -> tuple[Tensor, Tensor]:
    out, log_sums = torch.empty_like(job.q), []
    for at in job.chunks():
        scores = job.scores(job.take(job.k, at), at)
        top = scores.amax(-1)
        weights = torch.softmax(scores, -1)
        log_sums.append(top - weights.amax(-1).log())
        torch.bmm(weights.to(job.q.dtype), job.take(job.v, at), out=out[at])
    return out, torch.cat(log_sums)


def _backward(job: Gathered, out: Tensor, log_sums: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients in blocks; a padded query has a gradient of zero and so adds none."""
    grad_q, grad_k, grad_v = torch.empty_like(job.q), torch.zeros_like(job.k), torch.zeros_like(job.v)
    scale = job.q.shape[-1] ** -0.5
    for at in job.chunks():
        rows, k, v, g = job.rows[at].flatten(), job.take(job.k, at), job.take(job.v, at), grad[at]
        weights = (job.scores(k, at) - log_sums[at]).exp_()
        inner = (g * out[at]).sum(-1, keepdim=True)
        slopes = (weights * (torch.bmm(g, v.mT) - inner)).to(k.dtype) * scale
        grad_q[at] = torch.bmm(slopes, k)
        grad_k.index_add_(0, rows, torch.bmm(slopes.mT, job.q[at]).view(len(rows), -1))
        grad_v.index_add_(0, rows, torch.bmm(weights.to(k.dtype).mT, g).view(len(rows), -1))
    return grad_q, grad_k, grad_v
