"""Three classes of key blocks: softmax over the critical, linear attention over the marginal, nothing for the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.feedforward.lite3r.blocks import Blocks, block_scores
from recon3d.feedforward.lite3r.linear import EPS, feature_map


class BlockClasses(NamedTuple):
    """Classes of the key blocks of each query block.

    Args:
        critical: the best, in ascending order.
        marginal: true for those that are neither among the best nor among the worst.
    """

    critical: Int64[Tensor, "*b nq kept"]
    marginal: Bool[Tensor, "*b nq nk"]


def classify_blocks(
    q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], size: int, *, n_kept: int, n_dropped: int
) -> BlockClasses:
    """Sort key blocks into classes by the dot products of mean queries and mean keys.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        size: tokens of a block.
        n_kept: critical blocks of each query block.
        n_dropped: negligible blocks of each query block; a block is not both.
    """
    order = block_scores(q, k, size).sort(stable=True, dim=-1, descending=True).indices
    marginal = torch.zeros_like(order, dtype=torch.bool)
    marginal.scatter_(-1, order[..., n_kept : max(n_kept, order.shape[-1] - n_dropped)], True)
    return BlockClasses(order[..., :n_kept].sort(-1).values, marginal)


def marginal_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m d"],
    marginal: Bool[Tensor, "*b nq nk"],
    size: int,
) -> Float[Tensor, "*b n d"]:
    """Return linear attention (elu + 1) of each query over its marginal blocks; zero where there are none.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        v: values, ``[*b,m,d]``.
        marginal: the key blocks that count for each query block.
        size: tokens of a block.
    """
    queries, keys = Blocks(q.shape[-2], size), Blocks(k.shape[-2], size)
    features, wide = keys.split(feature_map(k)), marginal.to(v.dtype)
    state = wide @ (features.mT @ keys.split(v)).flatten(-2)
    sums = wide @ features.sum(-2)
    seen = queries.split(feature_map(q))
    norm = seen @ sums.unsqueeze(-1) + EPS
    return queries.join(seen @ state.view(*state.shape[:-1], q.shape[-1], v.shape[-1]) / norm)
