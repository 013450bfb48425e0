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
from torch.nn.functional import pad

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
    """Return the cross entropy between where patches look, among all tokens, and where they should.

    Args:
        looks: of the attentions that are taught.
        truth: cameras and depth.
    """
    if not looks:
        return truth.depth_z.new_zeros(())
    should = targets(matches(truth, *looks[0].grid))
    seen = should.sum().clamp(min=1)
    losses = []
    for look in looks:
        q, k = (one[:, ::_TAUGHT].float() for one in (look.q, look.k))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        losses.append(-(should[:, None] * scores.log_softmax(-1)).sum() / (q.shape[1] * seen))
    return torch.stack(losses).mean()


def targets(found: Float[Tensor, "b s s p p"]) -> Float[Tensor, "b n n"]:
    """Return how much every token should look at every other one, the camera tokens too, which are not taught.

    A patch that the first view sees too looks there, as all poses are relative to it; any other one looks at all views
    that see it. No patch looks at its own view, where it would find but itself.

    Args:
        found: weights of :func:`matches`.
    """
    b, s, _, p, _ = found.shape
    first = found[:, 1:, 0].sum(-1) > 0  # [b,s-1,p]
    only = torch.cat([first.new_zeros(b, 1, p), first], 1)[:, :, None]  # [b,s,1,p]
    others = torch.arange(s, device=found.device)[:, None] > 0  # [s,1]
    kept = found * ~(only & others)[..., None]
    kept = kept / kept.sum((2, 4), keepdim=True).clamp(min=_LEAST)
    padded = pad(kept, (1, 0, 1, 0))  # [b,s,s,1+p,1+p]
    return padded.transpose(2, 3).flatten(3).flatten(1, 2)


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
