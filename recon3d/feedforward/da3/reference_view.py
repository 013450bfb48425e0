"""Choice of the view whose camera becomes the world, from the class tokens of all views."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

Strategy = Literal["first", "middle", "saddle_balanced", "saddle_sim_range"]
MIN_VIEWS = 3
_TIE = 1e-6


def reference_view(cls_tokens: Float[Tensor, "b s c"], strategy: Strategy) -> Int64[Tensor, " b"]:
    """Return the number of the reference view of each scene.

    Args:
        cls_tokens: one token per view.
        strategy: a fixed place, the view nearest to the middle of three measures (``saddle_balanced``), or the view
            that is most like one other and least like another (``saddle_sim_range``); the first of equal ones.
    """
    b, s, _ = cls_tokens.shape
    if strategy in ("first", "middle"):
        return torch.full((b,), 0 if strategy == "first" else s // 2, device=cls_tokens.device)
    unit = normalize(cls_tokens, dim=-1)
    cosines = unit @ unit.mT
    others = cosines - torch.eye(s, dtype=cosines.dtype, device=cosines.device)
    if strategy == "saddle_sim_range":
        span = others.amax(-1) - others.amin(-1)
        return (span >= span.amax(-1, keepdim=True) - _TIE).int().argmax(-1)  # two views tie where all are alike
    measures = others.sum(-1) / max(s - 1, 1), cls_tokens.norm(dim=-1), unit.var(dim=-1)
    return torch.stack([(_normalised(one) - 0.5).abs() for one in measures]).sum(0).argmin(-1)


def _normalised(values: Float[Tensor, "b s"]) -> Float[Tensor, "b s"]:
    least, most = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    return (values - least) / (most - least + 1e-8)


def reference_first(reference: Int64[Tensor, " b"], n_views: int) -> Int64[Tensor, "b s"]:
    """Return the order that puts the reference view first and leaves the others as they are.

    Args:
        reference: its number, per scene.
        n_views: s.
    """
    numbers = torch.arange(n_views, device=reference.device).expand(len(reference), -1)
    return torch.where(numbers == reference[:, None], -1, numbers).argsort(dim=1, stable=True)


def reordered(x: Float[Tensor, "b s *rest"], order: Int64[Tensor, "b s"]) -> Float[Tensor, "b s *rest"]:
    """Return the views of each scene in another order; ``order.argsort(1)`` restores them."""
    return x.take_along_dim(order.reshape(*order.shape, *(1,) * (x.ndim - 2)), dim=1)
