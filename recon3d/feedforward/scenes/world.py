"""A batch of worlds as tensors: shapes sorted by kind, their materials, and the light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

KINDS = ("box", "ball", "frustum", "cavity", "disc")
# Rows of the table of shapes.
FRAME, SIZE, SHAPE, MATERIAL = slice(0, 12), slice(12, 15), slice(15, 16), slice(16, 35)


@dataclass(frozen=True, eq=False, kw_only=True)
class World:
    """Worlds of one kind, which share the numbers of shapes.

    Args:
        counts: number of shapes by kind, in the order of ``KINDS``; the table has them in this order.
        table: one column per shape, the last one for the height field: 12 numbers of ``local_from_world``,
            3 half sizes in metres, the taper or openness, and the material.
        holes: ``local_from_world`` of cubes that cut windows into the surface of one shape.
        holed: column of the shape that has the holes.
        sun: direction towards it, and its colour, 6 numbers.
        lamp: position and intensity at 1 m, 6 numbers.
        ambient: light from above and from below, 6 numbers.
        sky: colours of zenith, horizon, ground and clouds, then the amount, scale and shift of the clouds, 15 numbers.
        heights: of the height field, in metres, on a square grid around the origin, rows along y.
        extent: half side of the height field, in metres.
    """

    counts: tuple[int, ...]
    table: Float32[Tensor, "w f n"]
    holes: Float32[Tensor, "w n_holes 3 4"]
    holed: int
    sun: Float32[Tensor, "w 6"]
    lamp: Float32[Tensor, "w 6"]
    ambient: Float32[Tensor, "w 6"]
    sky: Float32[Tensor, "w 15"]
    heights: Float32[Tensor, "w g g"] | None = None
    extent: float = 0.0

    def to(self, device: torch.device | str) -> World:
        """Return the same on another device."""
        return self._each(lambda value: value.to(device))

    def repeated(self, n_views: int) -> World:
        """Return every world ``n_views`` times in a row, one for each view."""
        return self._each(lambda value: value.repeat_interleave(n_views, 0))

    def rows(self, start: int, stop: int) -> World:
        """Return some of the worlds."""
        return self._each(lambda value: value[start:stop])

    def _each(self, change: Callable[[Tensor], Tensor]) -> World:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **tensors)
