"""Softmax over kept key blocks by FlexAttention, which compiles to one fused kernel on CUDA."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.feedforward.lite3r.blocks import Blocks

# FlexAttention's own tiles (of 128 queries on an H100, others for few queries) do not divide our blocks.
_TILES = {
    "BLOCK_M": 64,
    "BLOCK_N": 64,
    "BLOCK_M1": 32,
    "BLOCK_N1": 64,
    "BLOCK_M2": 64,
    "BLOCK_N2": 32,
    "FORCE_USE_FLEX_ATTENTION": True,
}
STEP = 64  # sizes of blocks must be multiples of it: the kernel's own tiles have to fit


def attend(
    q: Float[Tensor, "b n d"],
    k: Float[Tensor, "b m d"],
    v: Float[Tensor, "b m d"],
    kept: Int64[Tensor, "b nq kept"],
    size: int,
) -> Float[Tensor, "b n d"]:
    """Return the attention; differentiable in q, k and v.

    Args:
        q: queries, ``[b,n,d]``.
        k: keys, ``[b,m,d]``.
        v: values, ``[b,m,d]``.
        kept: key blocks of each query block.
        size: tokens of a block, a multiple of 64.
    """
    mask = block_mask(kept, n_queries=q.shape[1], n_keys=k.shape[1], size=size)
    out: Tensor = _flex()(q[None], k[None], v[None], block_mask=mask, kernel_options=dict(_TILES))
    return out[0]


def block_mask(kept: Int64[Tensor, "b nq kept"], *, n_queries: int, n_keys: int, size: int) -> Any:
    """Return FlexAttention's description of the kept blocks; the sequences are its heads.

    Every kept block counts as full, so the fused kernel never evaluates the function that is also stored: that one is
    what FlexAttention falls back to where it is not compiled.

    Args:
        kept: key blocks of each query block.
        n_queries: length of the queries.
        n_keys: length of the keys.
        size: tokens of a block.
    """
    from torch.nn.attention.flex_attention import BlockMask

    n_blocks = Blocks(n_keys, size).count
    seen = torch.zeros(*kept.shape[:2], n_blocks, dtype=torch.bool, device=kept.device).scatter_(-1, kept, True)
    order = seen.to(torch.int8).sort(stable=True, dim=-1, descending=True).indices.to(torch.int32)[None]
    count = torch.full_like(order[..., 0], kept.shape[-1])

    def allowed(_: Tensor, item: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return seen[item, query // size, key // size]

    return BlockMask.from_kv_blocks(
        torch.zeros_like(count),
        order,
        count,
        order,
        BLOCK_SIZE=size,
        mask_mod=allowed,
        seq_lengths=(n_queries, n_keys),
    )


@cache
def available() -> bool:
    """Tell whether this torch has FlexAttention and the compiler that it needs."""
    return find_spec("triton") is not None and find_spec("torch.nn.attention.flex_attention") is not None


@cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
