"""Queries, keys and values that fit each other: compiled code checks no bounds."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError


def check_heads(q: Float[Tensor, "..."], k: Float[Tensor, "..."], v: Float[Tensor, "..."]) -> None:
    """Compare the shapes ``[*b,n,d]`` of queries and ``[*b,m,d]`` of keys and values.

    Args:
        q: queries.
        k: keys.
        v: values.

    Raises:
        ShapeError: batches or channels differ, or keys and values.
    """
    same_batch = q.shape[:-2] == k.shape[:-2] and q.shape[-1:] == k.shape[-1:]
    if q.dim() < 2 or not same_batch or k.shape != v.shape or k.shape[-2] == 0:
        got = ", ".join(str(tuple(x.shape)) for x in (q, k, v))
        raise ShapeError(
            "queries, keys and values do not fit each other", got=got, expected="[*b,n,d] and twice [*b,m,d]"
        )
