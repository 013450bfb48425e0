"""Exact softmax attention over the key blocks that were chosen for each block of queries."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon3d.core.errors import ShapeError, UsageError
from recon3d.feedforward.lite3r import block_sparse_cpu, block_sparse_cuda, block_sparse_grad_cpu, gathered
from recon3d.feedforward.lite3r.blocks import Blocks
from recon3d.feedforward.lite3r.heads import check_heads
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

    The last block may be shorter than the others. Time grows with n times the kept keys, memory with n; the gradients
    (of q, k and v) keep no weights, but compute them once more.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        v: values, ``[*b,m,d]``.
        kept: distinct key blocks of each query block, ``[*b,ceil(n/size),kept]``.
        size: tokens of a block.
        backend: ``numba`` for the CPU, blocks of a multiple of 16 and at most single precision; ``flex`` for CUDA;
            ``torch`` for everything; ``auto`` takes the first of them that can.

    Raises:
        ShapeError: shapes do not fit each other, or ``kept`` names blocks that do not exist.
        UsageError: the back end cannot work on these tensors.
    """
    check_heads(q, k, v)
    _check_kept(kept, (*q.shape[:-2], Blocks(q.shape[-2], size).count), Blocks(k.shape[-2], size).count)
    chosen, shape = _choose(q, size, backend), q.shape
    q, k, v, kept = (x.reshape(-1, *x.shape[-2:]) for x in (q, k, v, kept))
    if chosen == "flex":
        return block_sparse_cuda.attend(q, k, v, kept, size).view(shape)
    out: Tensor = _Attend.apply(q, k, v, kept, size, chosen == "numba")  # type: ignore[no-untyped-call]
    return out.view(shape)


def _check_kept(kept: Tensor, rows: tuple[int, ...], n_blocks: int) -> None:
    if kept.shape[:-1] != rows or kept.shape[-1] == 0:
        raise ShapeError("kept blocks do not fit the queries", got=tuple(kept.shape), expected=f"{rows} and the blocks")
    if kept.device.type == "cpu" and kept.numel() and not (int(kept.min()) >= 0 and int(kept.max()) < n_blocks):
        got = f"{int(kept.min())} to {int(kept.max())}"
        raise ShapeError("kept blocks do not exist", got=got, expected=f"0 to {n_blocks - 1}")


def _choose(q: Tensor, size: int, backend: Backend) -> Backend:
    """Return the back end that takes these tensors."""
    able: dict[Backend, bool] = {
        "numba": q.device.type == "cpu" and q.dtype != torch.float64 and size % block_sparse_cpu.STEP == 0,
        "flex": q.is_cuda and size % block_sparse_cuda.STEP == 0 and block_sparse_cuda.available(),
        "torch": True,
    }
    if backend == "auto":
        return next(name for name, fits in able.items() if fits)
    if not able[backend]:
        got = f"{q.dtype} on {q.device.type}, blocks of {size}"
        raise UsageError(f"the back end {backend} cannot attend to these tensors", got=got, fix="backend='auto'")
    return backend


class _Attend(torch.autograd.Function):
    """Attention of flat batches ``[b,n,d]`` with a backward pass that gathers the blocks again."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, kept: Tensor, size: int, numba: bool) -> Tensor:
        if numba:
            out, log_sums = block_sparse_cpu.attend(q.float(), k.float(), v.float(), kept, size)
        else:
            out, log_sums = gathered.attend(q, k, v, kept, size)
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, kept, out, log_sums)
        ctx.size, ctx.numba = size, numba
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, out, log_sums = ctx.saved_tensors
        if not ctx.numba:
            return *gathered.gradients(inputs, ctx.size, out, log_sums, grad), None, None, None
        q, k, v, out, grad = (one.float() for one in (*inputs[:3], out, grad))
        found = block_sparse_grad_cpu.gradients((q, k, v, inputs[3]), ctx.size, out, log_sums, grad)
        return *(one.to(inputs[0].dtype) for one in found), None, None, None
