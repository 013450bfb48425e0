"""The linear branch: attention through a positive feature map, in time and memory linear in the tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import elu

from recon3d.feedforward.lite3r import linear_cpu
from recon3d.feedforward.lite3r.heads import check_heads

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

    Raises:
        ShapeError: shapes do not fit each other.
    """
    check_heads(q, k, v)
    if q.device.type == "cpu" and not _records(q, k, v, projection) and torch.float64 not in (q.dtype, v.dtype):
        return _on_the_cpu(q, k, v, projection)
    features, keys = feature_map(q), feature_map(k)
    state = keys.mT @ v
    if projection is not None:
        state = state @ projection.mT
    return features @ state / (features @ keys.sum(-2).unsqueeze(-1) + EPS)


def _on_the_cpu(q: Tensor, k: Tensor, v: Tensor, projection: Tensor | None) -> Tensor:
    flat_q, flat_k, flat_v = (x.reshape(-1, *x.shape[-2:]).float() for x in (q, k, v))
    state, sums = linear_cpu.key_state(flat_k, flat_v)
    if projection is not None:
        with torch.autocast("cpu", enabled=False):
            state = projection.float() @ state
    return linear_cpu.apply_state(flat_q, state, sums, EPS).view(q.shape).to(q.dtype)


def _records(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors)
