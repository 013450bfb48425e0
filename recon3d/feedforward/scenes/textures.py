"""Colours of surface points from procedural patterns; all patterns are computed everywhere and one is taken."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.feedforward.scenes.noise import cell_values, fractal


def albedo(
    material: Float[Tensor, "v 19 r"],
    points: Float[Tensor, "v 3 r"],
    normals: Float[Tensor, "v 3 r"],
    footprint: Float[Tensor, "v r"],
) -> Float[Tensor, "v 3 r"]:
    """Return linear colours.

    Args:
        material: rows of ``Material.row``.
        points: in the frame of the shape, in metres.
        normals: in the same frame.
        footprint: size of a pixel on the surface, in metres; finer patterns fade to their mean.
    """
    scale = material[:, 1]
    place = points / scale[:, None] + material[:, 14:17]
    coarse = fractal(place)
    fine = fractal(place * 4.7 + 3.1)[:, 0]
    bent = place + material[:, 17, None] * coarse.repeat(1, 2, 1)[:, :3]
    along, across = _unrolled(bent, normals)
    blend, joint = _patterns(material[:, 0], bent, along, across, coarse[:, 0], fine, normals[:, 2])
    fade = (1.6 - 2.0 * footprint / scale).clamp(0.0, 1.0)
    blend, joint = 0.5 + (blend - 0.5) * fade, 0.1 + (joint - 0.1) * fade
    joint = joint * (material[:, 0] >= 2)
    first, second, third = (material[:, start : start + 3] for start in (2, 5, 8))
    colour = torch.lerp(first, second, blend[:, None])
    colour = torch.lerp(colour, third, joint[:, None])
    grain = 1.0 + material[:, 11] * (0.6 * fine * fade + 0.6 * coarse[:, 1])
    return colour * grain.clamp(0.2, 2.0)[:, None]


def _unrolled(place: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    """Return two coordinates on the surface: those across the axis that the normal follows most."""
    size = normals.abs()
    is_x = (size[:, 0] >= size[:, 1]) & (size[:, 0] >= size[:, 2])
    is_z = ~is_x & (size[:, 2] > size[:, 1])
    return torch.where(is_x, place[:, 1], place[:, 0]), torch.where(is_z, place[:, 1], place[:, 2])


def _patterns(
    kind: Tensor, place: Tensor, along: Tensor, across: Tensor, coarse: Tensor, fine: Tensor, level: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the share of the second colour, and that of the third, in the order of ``PATTERNS``."""
    none = torch.zeros_like(coarse)
    clouds = _smooth(coarse, -0.6, 0.6)
    square = (along.floor() + across.floor()).remainder(2.0)
    brick, mortar = _bricks(along, across, 2.0, 0.07)
    stripes = _smooth((along * math.pi).sin(), -0.15, 0.15)
    rings = (place[:, :2].square().sum(1).sqrt() * 9.0 + 2.0 * coarse).sin() * 0.5 + 0.5
    veins = 1.0 - (across * 2.0 + along + 1.6 * coarse).sin().abs().sqrt()
    board, gap = _bricks(across * 0.35, along * 1.5, 3.1, 0.04)
    plank = (0.7 * board + 0.3 * _smooth(fine, -0.5, 0.5)).clamp(0.0, 1.0)
    tiles = _cell(along, across)
    land = _smooth(0.12 * fine + 0.1 * coarse - level, -0.93, -0.78)
    gravel = _smooth(fine + 0.4 * coarse, -0.8, 0.8)
    blends = [none + 0.15 * clouds, clouds, square, brick, stripes, _spots(along, across), rings, veins]
    blends += [tiles[:, 0], plank, gravel, none, land]
    joints = [none, none, none, mortar, none, none, none, none, (tiles[:, 1] > 0.75).float(), gap, none]
    joints += [_panes(along, across)]
    joints += [_smooth(coarse, 0.9, 1.3)]
    blend, joint = none, none
    for number, (one, other) in enumerate(zip(blends, joints, strict=True)):
        chosen = kind == number
        blend, joint = torch.where(chosen, one, blend), torch.where(chosen, other, joint)
    return blend, joint


def _bricks(along: Tensor, across: Tensor, length: float, joint: float) -> tuple[Tensor, Tensor]:
    """Return random shades of bricks in rows that are shifted, and the joints between them."""
    row = (across * 2.0).floor()
    place = along * 2.0 / length + 0.5 * row.remainder(2.0)
    shade = cell_values(torch.stack([place.floor(), row], 1))[:, 0]
    in_row, in_brick = (across * 2.0).remainder(1.0), place.remainder(1.0) * length
    edge = torch.minimum(torch.minimum(in_row, 1.0 - in_row), torch.minimum(in_brick, length - in_brick))
    return shade, (edge < joint).float()


def _spots(along: Tensor, across: Tensor) -> Tensor:
    """Return discs of random sizes, one in each cell."""
    random = _cell(along, across)
    radius = 0.15 + 0.3 * random[:, 2]
    middle = radius[:, None] + random[:, :2] * (1.0 - 2.0 * radius)[:, None]
    offset = torch.stack([along.remainder(1.0), across.remainder(1.0)], 1) - middle
    return (offset.square().sum(1) < radius * radius).float()


def _panes(along: Tensor, across: Tensor) -> Tensor:
    """Return the frames of window panes."""
    return ((along.remainder(1.0) < 0.12) | (across.remainder(1.0) < 0.12)).float()


def _cell(along: Tensor, across: Tensor) -> Tensor:
    return cell_values(torch.stack([along.floor(), across.floor()], 1))


def _smooth(value: Tensor, low: float, high: float) -> Tensor:
    share = ((value - low) / (high - low)).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
