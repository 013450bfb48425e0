"""Rays against unit shapes, each in the frame in which it is a cube, ball, cylinder or disc of size 1.

All functions take ray origins and directions as three arrays that broadcast to ``[views, shapes, rays]`` and return
distances in units of the direction's length, infinite where the ray misses. A ray that starts inside a solid misses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_TINY = 1e-12
_INFINITE = float("inf")

Parts = Sequence[Float[Tensor, "v n _r"]]


def box(o: Parts, d: Parts) -> Float[Tensor, "v n r"]:
    """Return distances to the cube from -1 to 1."""
    near, far, _, _ = _slabs(o, d)
    return near.masked_fill_((near > far) | (near <= 0), _INFINITE)


def cavity(o: Parts, d: Parts, is_open: Float[Tensor, "v n 1"]) -> Float[Tensor, "v n r"]:
    """Return distances to the inner walls of the cube from -1 to 1, seen from inside or through its open face.

    Args:
        o: origins.
        d: directions.
        is_open: 1 where the face at y = -1 is missing, 0 for a closed room.
    """
    near, far, near_y, far_y = _slabs(o, d)
    into, opened = d[1] > 0, is_open > 0
    entered = (near <= 0) | (opened & into & (near_y >= near))
    leaves = opened & ~into & (far_y <= far)
    return far.masked_fill_((near > far) | (far <= 0) | ~entered | leaves, _INFINITE)


def ball(o: Parts, d: Parts) -> Float[Tensor, "v n r"]:
    """Return distances to the unit ball."""
    a, b = _dot(d, d).clamp_(min=_TINY), _dot(o, d)
    # The point of closest approach keeps the digits that b*b - a*c loses far away.
    closest = b / a
    gap = 1.0 - _squared_length([start - closest * step for start, step in zip(o, d, strict=True)])
    t = -closest - (gap.clamp(min=0) / a).sqrt_()
    return t.masked_fill_((gap <= 0) | (t <= 0), _INFINITE)


def frustum(o: Parts, d: Parts, taper: Float[Tensor, "v n 1"]) -> Float[Tensor, "v n r"]:
    """Return distances to a solid of revolution between z = -1 (radius 1) and z = 1 (radius ``1 - 2 taper``).

    Args:
        o: origins.
        d: directions.
        taper: 0 for a cylinder, 0.5 for a cone.
    """
    slope, radius = -taper * d[2], 1.0 - taper - taper * o[2]
    a = d[0] * d[0] + d[1] * d[1] - slope * slope
    b = o[0] * d[0] + o[1] * d[1] - radius * slope
    c = o[0] * o[0] + o[1] * o[1] - radius * radius
    a = torch.where(a.abs() < _TINY, torch.full_like(a, _TINY), a)
    gap = b * b - a * c
    root = gap.clamp(min=0).sqrt_() / a.abs()
    middle = -b / a
    low, high = middle - root, middle + root
    z, half_z = _slab(o[2], d[2])
    near_z, far_z = -z - half_z, half_z - z
    # a < 0: steeper than the side; the ray crosses both nappes, and the solid's one lies before or after the gap.
    double, rising = a < 0, d[2] * taper > 0
    near = torch.maximum(near_z, torch.where(double, torch.where(rising, -_INFINITE, high), low))
    far = torch.minimum(far_z, torch.where(double, torch.where(rising, low, _INFINITE), high))
    return near.masked_fill_((near > far) | (near <= 0) | (gap <= 0) & ~double, _INFINITE)


def disc(o: Parts, d: Parts) -> Float[Tensor, "v n r"]:
    """Return distances to the unit disc in the plane z = 0."""
    t = -o[2] / _safe(d[2])
    outside = (o[0] + t * d[0]).square_() + (o[1] + t * d[1]).square_() > 1.0
    return t.masked_fill_((t <= 0) | outside, _INFINITE)


def _safe(step: Tensor) -> Tensor:
    return step + _TINY


def _slab(start: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the middle of the slab from -1 to 1, negated, and half the way through it."""
    inverse = (step + _TINY).reciprocal_()
    return start * inverse, inverse.abs_()


def _slabs(o: Parts, d: Parts) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return where rays enter and leave the cube, and where they enter and leave its slab along y."""
    (x, half_x), (y, half_y), (z, half_z) = (_slab(start, step) for start, step in zip(o, d, strict=True))
    near_y, far_y = (y + half_y).neg_(), half_y - y
    near = torch.minimum(x + half_x, z + half_z).neg_()
    far = torch.minimum(half_x - x, half_z - z)
    return torch.maximum(near, near_y), torch.minimum(far, far_y), near_y, far_y


def _dot(a: Parts, b: Parts) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _squared_length(a: Parts) -> Tensor:
    return _dot(a, a)
