"""Instances from super-points: learned queries that look at the super-points of a scene (SPFormer, Sun et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from recon3d.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class InstanceHeadOptions:
    """Sizes of the instance head.

    Args:
        classes: of instances, without the no-object class.
        in_channels: of the super-point features, U of the backbone.
        dim: channels of a query.
        queries: 400, and 800 for ScanNet++.
        layers: rounds of attention.
        heads: of the attention.
        hidden: channels inside the feed-forward layers.
    """

    classes: int
    in_channels: int = 128
    dim: int = 384
    queries: int = 400
    layers: int = 6
    heads: int = 8
    hidden: int = 1024

    def __post_init__(self) -> None:
        sizes = (self.classes, self.in_channels, self.dim, self.queries, self.heads, self.hidden)
        if min(sizes) < 1 or self.layers < 0 or self.dim % self.heads:
            raise UsageError("no such instance head", got=self, expected="positive sizes, and dim a multiple of heads")


@dataclass(frozen=True, eq=False)
class InstanceQueries:
    """What the queries say after one layer, for one scene.

    Args:
        labels: logits of the classes and, last, of "no object", ``[q,classes+1]``.
        masks: logits of each super-point, ``[q,s]``.
    """

    labels: Float[Tensor, "q classes1"]
    masks: Float[Tensor, "q s"]


class QueryAttention(nn.Module):
    """Attention with a residual and a norm after it.

    Args:
        dim: channels.
        heads: of the attention.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn, self.norm = nn.MultiheadAttention(dim, heads, batch_first=True), nn.LayerNorm(dim)

    def forward(
        self, query: Float[Tensor, "q d"], source: Float[Tensor, "s d"], blocked: Bool[Tensor, "q s"] | None = None
    ) -> Float[Tensor, "q d"]:
        """Let every query gather from the sources that are not blocked for it."""
        found, _ = self.attn(query, source, source, attn_mask=blocked, need_weights=False)
        out: Tensor = self.norm(query + found)
        return out


class QueryFeedForward(nn.Module):
    """Two linear layers with a residual and a norm after them.

    Args:
        dim: channels.
        hidden: channels between the layers.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, dim), nn.Dropout(0.0)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        """Change each query by itself."""
        out: Tensor = self.norm(x + self.net(x))
        return out


class InstanceHead(nn.Module):
    """A decoder of learned queries over super-points, under its official names.

    Args:
        options: sizes.
    """

    def __init__(self, options: InstanceHeadOptions) -> None:
        super().__init__()
        self.options, dim = options, options.dim
        self.input_proj = nn.Sequential(nn.Linear(options.in_channels, dim), nn.LayerNorm(dim), nn.ReLU())
        self.x_mask = nn.Sequential(nn.Linear(options.in_channels, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.query = nn.Embedding(options.queries, dim)
        rounds = range(options.layers)
        self.cross_attn_layers = nn.ModuleList(QueryAttention(dim, options.heads) for _ in rounds)
        self.self_attn_layers = nn.ModuleList(QueryAttention(dim, options.heads) for _ in rounds)
        self.ffn_layers = nn.ModuleList(QueryFeedForward(dim, options.hidden) for _ in rounds)
        self.out_norm = nn.LayerNorm(dim)
        self.out_cls = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, options.classes + 1))

    def forward(self, scenes: Sequence[Float[Tensor, "_ c"]]) -> list[list[InstanceQueries]]:
        """Return, for every scene, what the queries say at first and after each layer.

        Args:
            scenes: features of each scene's super-points, ``[s,c]``, one super-point or more; differentiable.
        """
        return [self._scene(one) for one in scenes]

    def _scene(self, features: Tensor) -> list[InstanceQueries]:
        source, mask_features = self.input_proj(features), self.x_mask(features)  # [s,d] each
        query = self.query.weight  # [q,d]
        steps = [self._said(query, mask_features)]
        layers = zip(self.cross_attn_layers, self.self_attn_layers, self.ffn_layers, strict=True)
        for cross, own, feed_forward in layers:
            query = cross(query, source, blocked_points(steps[-1].masks))
            query = feed_forward(own(query, query))
            steps.append(self._said(query, mask_features))
        return steps

    def _said(self, query: Tensor, mask_features: Tensor) -> InstanceQueries:
        normed = self.out_norm(query)
        return InstanceQueries(self.out_cls(normed), normed @ mask_features.mT)


def blocked_points(masks: Float[Tensor, "q s"]) -> Bool[Tensor, "q s"]:
    """Return which super-points a query may not look at: those outside its mask, or none where that would be all."""
    blocked = masks.detach().sigmoid() < 0.5
    return blocked & ~blocked.all(dim=1, keepdim=True)


def super_point_means(
    features: Float[Tensor, "n c"], super_point: Int64[Tensor, " n"], count: int | None = None
) -> Float[Tensor, "s c"]:
    """Return the mean feature of every super-point; differentiable in ``features``.

    Args:
        features: of points, ``[n,c]``.
        super_point: of each point, 0 to s-1, ``[n]``; one without points gets zeros.
        count: number s of super-points; None for one more than the largest.
    """
    count = count if count is not None else int(super_point.max()) + 1 if len(super_point) else 0
    sums = features.new_zeros(count, features.shape[1]).index_add(0, super_point, features)
    return sums / torch.bincount(super_point, minlength=count).clamp(min=1)[:, None]
