"""Light from far away: an equirectangular map of radiance with a rotation of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import InputError, ShapeError, UsageError


@dataclass(frozen=True, eq=False)
class Environment:
    """Radiance from every direction, z up.

    Row y and column x of an ``h x w`` map look towards ``theta = pi (y + 0.5) / h`` from +z and
    ``phi = pi - 2 pi (x + 0.5) / w``: the centre column is +x, and +y stands a quarter from the left.

    Args:
        radiance: linear RGB, finite and not negative, ``[h,w,3]``.
        world_from_environment: rotation from the map's frame into the world, ``[3,3]``; None = identity.

    Raises:
        ShapeError: a tensor has another shape.
        InputError: the radiance is negative or not finite, or the matrix is no rotation.
    """

    radiance: Float[Tensor, "h w 3"]
    world_from_environment: Float[Tensor, "3 3"] | None = None

    def __post_init__(self) -> None:
        if self.radiance.ndim != 3 or self.radiance.shape[2] != 3 or not self.radiance.numel():
            raise ShapeError("an environment is an image", got=tuple(self.radiance.shape), expected="[h, w, 3]")
        light = self.radiance.detach()
        if not (light.isfinite().all() and (light >= 0).all()):
            low, high = float(light.min()), float(light.max())
            raise InputError("radiance must be finite and not negative", got=f"{low:g} to {high:g}")
        if self.world_from_environment is None:
            object.__setattr__(self, "world_from_environment", torch.eye(3).to(light))
        rotation = self.rotation.detach()
        if rotation.shape != (3, 3):
            raise ShapeError("a rotation is a matrix", got=tuple(rotation.shape), expected="[3, 3]")
        off = (rotation @ rotation.mT - torch.eye(3).to(rotation)).abs().max()
        if not (off < 1e-4 and torch.linalg.det(rotation) > 0):
            raise InputError("world_from_environment is no rotation", got=rotation.tolist())

    @property
    def rotation(self) -> Float[Tensor, "3 3"]:
        """``world_from_environment``, which is never None after construction."""
        if self.world_from_environment is None:
            raise UsageError("this environment was not constructed")
        return self.world_from_environment

    @property
    def height(self) -> int:
        """Rows of the map."""
        return int(self.radiance.shape[0])

    @property
    def width(self) -> int:
        """Columns of the map."""
        return int(self.radiance.shape[1])

    def directions(self) -> Float[Tensor, "h w 3"]:
        """Return the unit directions of the pixel centres in the map's own frame, ``[h,w,3]``."""
        rows = (torch.arange(self.height, dtype=torch.float64) + 0.5) * (math.pi / self.height)
        columns = math.pi - (torch.arange(self.width, dtype=torch.float64) + 0.5) * (2 * math.pi / self.width)
        theta, phi = torch.meshgrid(rows, columns, indexing="ij")
        xyz = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)
        return xyz.to(self.radiance)

    def solid_angles(self) -> Float[Tensor, "h w"]:
        """Return the solid angles of the pixels, ``[h,w]``; they sum to 4 pi."""
        edges = torch.cos(torch.arange(self.height + 1, dtype=torch.float64) * (math.pi / self.height))
        rows = (edges[:-1] - edges[1:]) * (2 * math.pi / self.width)
        return rows[:, None].expand(self.height, self.width).to(self.radiance)

    def lookup(self, directions: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
        """Return the radiance from directions of the world, bilinear between pixel centres, ``[...,3]``.

        Differentiable in the radiance, the rotation and the directions (but not at the poles).
        """
        row, column = self.pixels(directions)
        top, left = row.floor(), column.floor()
        down, right = row - top, column - left
        y0 = top.long().clamp(0, self.height - 1)
        y1 = (top.long() + 1).clamp(0, self.height - 1)
        x0, x1 = left.long() % self.width, (left.long() + 1) % self.width
        flat = self.radiance.reshape(-1, 3)
        upper = torch.lerp(flat[y0 * self.width + x0], flat[y0 * self.width + x1], right[..., None])
        lower = torch.lerp(flat[y1 * self.width + x0], flat[y1 * self.width + x1], right[..., None])
        return torch.lerp(upper, lower, down[..., None])

    def pixels(self, directions: Float[Tensor, "... 3"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Return row and column of directions of the world; pixel centres have whole numbers.

        Args:
            directions: of any positive length, ``[...,3]``.
        """
        x, y, z = (directions @ self.rotation).unbind(-1)
        pole = x * x + y * y <= 1e-24  # where neither angle has a derivative
        side = torch.where(pole, 1.0, x)
        flat = torch.where(pole, 0.0, torch.hypot(side, y))
        theta = torch.atan2(flat, torch.where(pole & (z == 0), 1.0, z))
        phi = torch.atan2(y, side)
        row = theta * (self.height / math.pi) - 0.5
        return row, (math.pi - phi) * (self.width / (2 * math.pi)) - 0.5

    def rotated(self, rotation: Float[Tensor, "3 3"]) -> Environment:
        """Return the same light after a further rotation in the world, ``[3,3]``."""
        return replace(self, world_from_environment=rotation.to(self.rotation) @ self.rotation)

    def rotated_z(self, degrees: float) -> Environment:
        """Return the light turned about the vertical, counter-clockwise seen from above."""
        angle = math.radians(degrees)
        c, s = math.cos(angle), math.sin(angle)
        return self.rotated(torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64))

    def scaled(self, factor: float) -> Environment:
        """Return the light times a factor that is not negative."""
        return replace(self, radiance=self.radiance * factor)

    def to(self, *args: Any, **kwargs: Any) -> Environment:
        """Return the environment on another device or in another dtype; arguments as for ``Tensor.to``."""
        return Environment(self.radiance.to(*args, **kwargs), self.rotation.to(*args, **kwargs))
