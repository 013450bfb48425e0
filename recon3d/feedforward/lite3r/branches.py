"""The two branches of sparse linear attention in each of its modes."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recon3d.feedforward.lite3r.block_sparse import block_sparse_attention
from recon3d.feedforward.lite3r.blocks import Blocks, choose_blocks
from recon3d.feedforward.lite3r.linear import linear_attention
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.feedforward.lite3r.threeway import classify_blocks, marginal_attention
from recon3d.feedforward.lite3r.tokens import topk_attention


class Branches(NamedTuple):
    """What the branches give before any projection.

    Args:
        sparse: softmax branch; None in ``linear_only``.
        linear: linear branch.
    """

    sparse: Float[Tensor, "*b n d"] | None
    linear: Float[Tensor, "*b n d"]


class _Both(NamedTuple):
    sparse: Tensor
    linear: Tensor


def branches(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m d"],
    options: SparseOptions,
    *,
    projection: Float[Tensor, "d d"] | None = None,
) -> Branches:
    """Return both branches; differentiable in everything but the choice of keys.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        v: values, ``[*b,m,d]``.
        options: mode and what is kept.
        projection: applied to the linear branch; None = identity.
    """
    if options.mode == "threeway":
        found = _threeway(*_filled(q, k, v, options), options)
        linear = found.linear if projection is None else found.linear @ projection.mT
        return Branches(found.sparse[..., : q.shape[-2], :], linear[..., : q.shape[-2], :])
    return Branches(_sparse(q, k, v, options), linear_attention(q, k, v, projection=projection))


def _filled(q: Tensor, k: Tensor, v: Tensor, options: SparseOptions) -> tuple[Tensor, Tensor, Tensor]:
    """Turn literal padding into tokens."""
    if options.padding == "masked":
        return q, k, v
    filled = [Blocks(x.shape[-2], options.block_size).padded(x) for x in (q, k, v)]
    return filled[0], filled[1], filled[2]


def _sparse(q: Tensor, k: Tensor, v: Tensor, options: SparseOptions) -> Tensor | None:
    if options.mode == "linear_only":
        return None
    if options.mode == "dense_plus_linear":
        return scaled_dot_product_attention(q, k, v)
    if options.mode == "topk":
        return topk_attention(q, k, v, options.kept_keys(k.shape[-2]))
    n, size = q.shape[-2], options.block_size
    q, k, v = _filled(q, k, v, options)
    kept = choose_blocks(q, k, size, options.kept_blocks(Blocks(k.shape[-2], size).count))
    return block_sparse_attention(q, k, v, kept, size=size, backend=options.backend)[..., :n, :]


def _threeway(q: Tensor, k: Tensor, v: Tensor, options: SparseOptions) -> _Both:
    size, n_blocks = options.block_size, Blocks(k.shape[-2], options.block_size).count
    shares = {"n_kept": options.kept_blocks(n_blocks), "n_dropped": options.dropped_blocks(n_blocks)}
    critical, marginal = classify_blocks(q, k, size, **shares)
    sparse = block_sparse_attention(q, k, v, critical, size=size, backend=options.backend)
    return _Both(sparse, marginal_attention(q, k, v, marginal, size))
