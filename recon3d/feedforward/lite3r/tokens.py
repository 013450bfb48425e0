"""Softmax over the most important keys of each query: Lite3R as it was trained, for parity; no faster than dense."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def topk_attention(
    q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], v: Float[Tensor, "*b m d"], n_kept: int
) -> Float[Tensor, "*b n d"]:
    """Return the softmax over the ``n_kept`` largest scores of each query, times the values.

    Of equal scores at the border any may be kept. Differentiable in all, with the choice held fixed.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        v: values, ``[*b,m,d]``.
        n_kept: keys of each query, 1 to m.
    """
    scores = q @ k.mT * q.shape[-1] ** -0.5
    best = scores.topk(n_kept, dim=-1)
    kept = best.values.softmax(-1).to(scores.dtype)  # autocast makes it wider
    weights = torch.zeros_like(scores).scatter(-1, best.indices, kept)
    return weights @ v
