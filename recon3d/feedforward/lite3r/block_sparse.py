"""Exact softmax attention over the key blocks that were chosen for each block of queries."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon3d.core.errors import ShapeError, UsageError
from recon3d.feedforward.lite3r import gathered
from recon3d.feedforward.lite3r.blocks import Blocks
from recon3d.feedforward.lite3r.options import Backend


def block_sparse_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m d"],
    kept: Int64[Tensor, "*b nq kept"],
    *,
    size: int,
    backend: Backend = "auto",
) -> Float[Tensor, "*b n d"]:
    """Return softmax attention in which each query sees the keys of some blocks only.

    The last block may be shorter than the others. Time and memory grow with n times the kept keys; gradients (of q, k
    and v) take no more memory than that either, since the weights are computed once more.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        v: values, ``[*b,m,d]``.
        kept: distinct key blocks of each query block, ``[*b,ceil(n/size),kept]``.
        size: tokens of a block.
        backend: ``auto`` takes numba for float32 on the CPU, FlexAttention on CUDA, and torch for the rest.

    Raises:
        ShapeError: there are not as many rows in ``kept`` as query blocks.
        UsageError: the back end cannot work on these tensors.
    """
    n_rows = Blocks(q.shape[-2], size).count
    if kept.shape[-2] != n_rows:
        raise ShapeError("kept blocks do not match the queries", got=tuple(kept.shape), expected=f"{n_rows} rows")
    flat = [x.reshape(-1, *x.shape[-2:]) for x in (q, k, v, kept)]
    out: Tensor = _Attend.apply(*flat, size)
    return out.view(q.shape)


class _Attend(torch.autograd.Function):
    """Attention of flat batches ``[b,n,d]`` with a backward pass that gathers the blocks again."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, kept: Tensor, size: int) -> Tensor:
        job = gathered.Gathered.of(q, k, v, kept, size)
        blocks, log_sums = gathered.forward(job)
        out = Blocks(q.shape[1], size).join(blocks.view(len(q), -1, *blocks.shape[1:]))
        ctx.save_for_backward(q, k, v, kept, out, log_sums)
        ctx.size = size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, kept, out, log_sums = ctx.saved_tensors
        queries, keys = Blocks(q.shape[1], ctx.size), Blocks(k.shape[1], ctx.size)
        cut = [queries.split(x).flatten(0, 1) for x in (out, grad)]
        found = gathered.backward(gathered.Gathered.of(q, k, v, kept, ctx.size), cut[0], log_sums, cut[1])
        whole = [x.view(len(q), -1, q.shape[-1]) for x in found]
        return whole[0][:, : q.shape[1]], whole[1][:, : k.shape[1]], whole[2][:, : k.shape[1]], None, None
