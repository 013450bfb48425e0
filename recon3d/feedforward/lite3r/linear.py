"""The linear branch: attention through a positive feature map, in time and memory linear in the tokens."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import elu

EPS = 1e-6


def feature_map(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Return elu(x) + 1, which is positive."""
    return elu(x) + 1.0


def linear_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m d"],
    *,
    projection: Float[Tensor, "d d"] | None = None,
) -> Float[Tensor, "*b n d"]:
    """Return phi(q) (phi(k)^T v) P^T / (phi(q) . sum phi(k) + 1e-6), the linear branch over all keys (Lite3R, SLA).

    The projection is applied to the d x d state, which costs nothing, and not to every token. Differentiable in all.

    Args:
        q: queries after q/k norm and RoPE, ``[*b,n,d]``.
        k: keys likewise, ``[*b,m,d]``.
        v: values, ``[*b,m,d]``.
        projection: the learned matrix P; None = identity.
    """
    features, keys = feature_map(q), feature_map(k)
    state = keys.mT @ v
    if projection is not None:
        state = state @ projection.mT
    norm = features @ keys.sum(-2).unsqueeze(-1) + EPS
    return (features @ state).div_(norm) if not _records(q, k, v, state) else features @ state / norm


def _records(*tensors: Tensor) -> bool:
    return any(one.requires_grad for one in tensors)
