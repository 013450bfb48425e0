"""A teacher for the attention across views: a patch should look at where its surface lies in another photo.

Poses follow from what matches what. A small network that sees cameras as its only hint never finds that out in an
affordable number of steps; scenes whose depth is known tell it directly. A part of the heads is taught; the others,
and the last block, look at what they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.layers.attention import Attention
from recon3d.feedforward.training.targets import Targets, nearest_cells

_TAUGHT = 2  # every second head
_SAME_SURFACE = 0.05  # of the depth
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Look:
    """Queries and keys of one attention across views, after their norm.

    Args:
        q: of all tokens of all views, one camera token before the patches of each, ``[b,heads,n,d]``.
        k: likewise.
        grid: rows and columns of patches of a view.
    """

    q: Float[Tensor, "b heads n d"]
    k: Float[Tensor, "b heads n d"]
    grid: tuple[int, int]


@contextmanager
def watched(model: DepthAnything3, size: tuple[int, int]) -> Iterator[list[Look]]:
    """Collect the queries and keys of the attentions across views while the block runs, all but the last one's.

    Args:
        model: of several photos.
        size: height and width of the photos, in pixels.
    """
    patch = model.options.vit.patch_size
    grid = (size[0] // patch, size[1] // patch)
    start = model.options.alternation_start or 0
    blocks = list(model.backbone.pretrained.blocks)
    across = [block.attn for number, block in enumerate(blocks) if number >= start and number % 2 == 1][:-1]
    queries: list[Tensor] = []
    looks: list[Look] = []
    with ExitStack() as stack:
        for attention in across:
            if isinstance(attention, Attention):
                hook = attention.q_norm.register_forward_hook(lambda _m, _i, q: queries.append(q))
                stack.callback(hook.remove)
                hook = attention.k_norm.register_forward_hook(
                    lambda _m, _i, k: looks.append(Look(queries.pop(), k, grid))
                )
                stack.callback(hook.remove)
        yield looks


def matching_loss(looks: Sequence[Look], truth: Targets) -> Float[Tensor, ""]:
    """Return the cross entropy between where patches look in each other photo, and where they should.

    Args:
        looks: of the attentions that are taught.
        truth: cameras and depth.
    """
    if not looks:
        return truth.depth_z.new_zeros(())
    should = matches(truth, *looks[0].grid)
    seen = should.sum(-1)
    losses = []
    for look in looks:
        views = truth.depth_z.shape[1]
        q, k = (torch.unflatten(one[:, ::_TAUGHT], 2, (views, -1))[:, :, :, 1:].float() for one in (look.q, look.k))
        scores = torch.einsum("bhipd,bhjqd->bhijpq", q * q.shape[-1] ** -0.5, k)
        missed = -(should[:, None] * scores.log_softmax(-1)).sum(-1)
        losses.append(missed.mean(1).sum() / seen.sum().clamp(min=1) / len(looks))
    return torch.stack(losses).sum()


@torch.no_grad()
def matches(truth: Targets, rows: int, cols: int) -> Float[Tensor, "b s s p p"]:
    """Return the weights of the four patches of every other photo around the surface point of each patch.

    They add up to 1; or are all 0, where the point is hidden or outside, there is no surface, or it is the same photo.

    Args:
        truth: cameras and depth.
        rows: of patches.
        cols: of patches.
    """
    rays = truth.rays(rows, cols)
    depth = nearest_cells(truth.depth_z, rows, cols)
    points = (rays[..., 3:] + depth[..., None] * rays[..., :3]).flatten(2, 3)  # [b,s,p,3]
    pose, (height, width) = truth.cam_from_world, truth.depth_z.shape[-2:]
    there = torch.einsum("bjac,bipc->bijpa", pose[..., :3], points) + pose[:, None, :, None, :, 3]
    pixel = torch.einsum("bjac,bijpc->bijpa", truth.K, there / there[..., 2:].clamp(min=_LEAST))
    x, y = pixel[..., 0], pixel[..., 1]
    inside = (there[..., 2] > _LEAST) & (x > 0) & (y > 0) & (x < width) & (y < height)
    at = y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()
    surface = truth.depth_z.flatten(2)[:, None].expand(-1, at.shape[1], -1, -1).gather(-1, at)
    visible = inside & ((surface - there[..., 2]).abs() < _SAME_SURFACE * there[..., 2])
    visible &= (depth.flatten(2) > 0)[:, :, None]
    visible &= ~torch.eye(at.shape[1], dtype=torch.bool, device=at.device)[None, :, :, None]
    weights = _tents(y * rows / height, rows)[..., :, None] * _tents(x * cols / width, cols)[..., None, :]
    return weights.flatten(-2) * visible[..., None]


def _tents(place: Tensor, n: int) -> Tensor:
    """Return the linear weights of the cells ``0..n-1``, whose centres are at a half, for places between 0 and n."""
    centres = torch.arange(n, device=place.device) + 0.5
    return (1.0 - (place.clamp(0.5, n - 0.5)[..., None] - centres).abs()).clamp(min=0.0)
