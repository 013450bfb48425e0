"""Rays against all shapes of a world: the nearest surface, and whether anything stands in the light."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon3d.feedforward.scenes import height_field, shapes
from recon3d.feedforward.scenes.world import FRAME, KINDS, SHAPE, World

_INFINITE = float("inf")
_FAR = 1e30


class Hits(NamedTuple):
    """Nearest surfaces.

    Args:
        distance: in lengths of the direction; infinite where there is no surface.
        column: of the shape in the world's table.
    """

    distance: Float[Tensor, "v r"]
    column: Int[Tensor, "v r"]


def nearest(world: World, origins: Float[Tensor, "v 3 _o"], directions: Float[Tensor, "v 3 _d"]) -> Hits:
    """Return the nearest surface along every ray.

    Args:
        world: one world per view.
        origins: in the world; one per view or one per ray.
        directions: of any length; one per view or one per ray.
    """
    distance, column = distances(world, origins, directions).min(1)
    if world.heights is not None:
        ground = height_field.distance(world.heights, world.extent, origins, directions)
        column = torch.where(ground < distance, world.table.shape[2] - 1, column)
        distance = torch.minimum(distance, ground)
    return Hits(distance, column)


def blocked(
    world: World,
    origins: Float[Tensor, "v 3 _o"],
    directions: Float[Tensor, "v 3 _d"],
    limit: float = _FAR,
) -> Bool[Tensor, "v r"]:
    """Return whether anything is hit before a limit.

    Args:
        world: one world per view.
        origins: in the world, just off the surface.
        directions: of any length; one per view or one per ray.
        limit: in lengths of the direction.
    """
    found = distances(world, origins, directions).amin(1) < limit
    if world.heights is not None:
        found |= height_field.is_blocked(world.heights, world.extent, origins, directions)
    return found


def distances(
    world: World, origins: Float[Tensor, "v 3 _o"], directions: Float[Tensor, "v 3 _d"]
) -> Float[Tensor, "v n r"]:
    """Return distances to all shapes, infinite where a shape is missed.

    Args:
        world: one world per view.
        origins: in the world; one per view or one per ray.
        directions: of any length; one per view or one per ray.
    """
    n_views, n_shapes = world.table.shape[0], sum(world.counts)
    frames = world.table[:, FRAME, :n_shapes].reshape(n_views, 3, 4, n_shapes).permute(0, 1, 3, 2)
    extra = world.table[:, SHAPE, :n_shapes].transpose(1, 2)
    found, first = [], 0
    for kind, count in zip(KINDS, world.counts, strict=True):
        if count:
            part = slice(first, first + count)
            o, d = _local(frames[:, :, part], origins, directions)
            found.append(_distance(kind, o, d, extra[:, part]))
            first += count
    result = torch.cat(found, 1)
    if world.holes.shape[1]:
        _cut_holes(world, origins, directions, result[:, world.holed])
    return result


def _local(
    frames: Float[Tensor, "v 3 n 4"], origins: Float[Tensor, "v 3 _o"], directions: Float[Tensor, "v 3 _d"]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return rays in the frames of the shapes."""
    linear = [frames[:, axis, :, :3] for axis in range(3)]
    o = [linear[axis] @ origins + frames[:, axis, :, 3:] for axis in range(3)]
    return o, [part @ directions for part in linear]


def _distance(kind: str, o: list[Tensor], d: list[Tensor], extra: Tensor) -> Tensor:
    if kind == "frustum":
        return shapes.frustum(o, d, extra)
    if kind == "cavity":
        return shapes.cavity(o, d, extra)
    return {"box": shapes.box, "ball": shapes.ball, "disc": shapes.disc}[kind](o, d)


def _cut_holes(world: World, origins: Tensor, directions: Tensor, distance: Tensor) -> None:
    """Let rays through where they meet the surface in a hole."""
    points = origins + distance.clamp(max=_FAR)[:, None] * directions
    linear, shift = world.holes[..., :3], world.holes[..., 3:]
    inside = torch.ones((), dtype=torch.bool, device=points.device)
    for axis in range(3):
        inside = inside & ((linear[:, :, axis] @ points + shift[:, :, axis]).abs() < 1.0)
    distance.masked_fill_(inside.any(1), _INFINITE)
