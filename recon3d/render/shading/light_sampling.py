"""Directions to the light, drawn in proportion to the radiance of an environment."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.render.shading.bsdf.base import luminance
from recon3d.render.shading.environment import Environment


class EnvironmentSampler:
    """Draws directions from a map: a row, a column within it, and a place in that pixel, uniform in solid angle.

    A pixel's weight is the mean luminance of the bilinear map over it times its solid angle, so the density is
    positive wherever :meth:`Environment.lookup` is, and a dark map is drawn from uniformly.

    Args:
        env: the light.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        with torch.no_grad():
            weights = _softened(luminance(env.radiance.double())) * env.solid_angles().double()
            weights = weights if float(weights.sum()) > 0 else env.solid_angles().double()
            rows = weights.sum(1)
            self._row_cdf = _cumulative(rows[None])[0]
            within = torch.where(rows[:, None] > 0, weights, env.solid_angles().double())
            offsets = torch.arange(env.height, dtype=torch.float64, device=weights.device)
            self._column_cdf = _cumulative(within)
            self._stacked = (self._column_cdf[:, 1:] + offsets[:, None]).reshape(-1)
            self._density = (weights / weights.sum() / env.solid_angles().double()).to(env.radiance)

    def sample(self, u: Float[Tensor, "n 2"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, " n"]]:
        """Draw directions.

        Args:
            u: uniform numbers in [0, 1), ``[n,2]``.

        Returns:
            Unit directions of the world, their radiance (differentiable in the map) and density per solid angle.
        """
        env = self.env
        with torch.no_grad():
            row, down = _invert(self._row_cdf, u[:, 0].double().contiguous())
            column, right = self._column(row, u[:, 1].double().contiguous())
            top = torch.cos(row * (math.pi / env.height))
            bottom = torch.cos((row + 1) * (math.pi / env.height))
            z = top + (bottom - top) * down
            phi = math.pi - (column + right) * (2 * math.pi / env.width)
            flat = (1 - z * z).clamp_min(0).sqrt()
            own = torch.stack([flat * phi.cos(), flat * phi.sin(), z], -1)
            directions = (own @ env.rotation.double().mT).to(env.radiance)
            density = self._density[row, column]
        return directions, env.lookup(directions), density

    def pdf(self, dirs: Float[Tensor, "... 3"]) -> Float[Tensor, "..."]:
        """Return the density of :meth:`sample` per solid angle at unit directions of the world, ``[...]``."""
        with torch.no_grad():
            row, column = self.env.pixels(dirs)
            y = (row + 0.5).floor().long().clamp(0, self.env.height - 1)
            x = (column + 0.5).floor().long() % self.env.width
            return self._density[y, x]

    def _column(self, row: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.clamp_max(1 - 2.0**-40)  # so that adding the row keeps it below the next one
        width = self.env.width
        column = (torch.searchsorted(self._stacked, u + row, right=True) - row * width).clamp(0, width - 1)
        low, high = self._column_cdf[row, column], self._column_cdf[row, column + 1]
        return column, ((u - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)


def _invert(cdf: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    index = (torch.searchsorted(cdf, u, right=True) - 1).clamp(0, len(cdf) - 2)
    low, high = cdf[index], cdf[index + 1]
    return index, ((u - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)


def _cumulative(weights: Tensor) -> Tensor:
    """Return running sums from 0 to exactly 1 along the rows, ``[h,w+1]``."""
    sums = torch.nn.functional.pad(weights.cumsum(1), (1, 0))
    sums = sums / sums[:, -1:]
    sums[:, -1] = 1.0
    return sums


def _softened(light: Tensor) -> Tensor:
    """Return the means of the bilinear interpolant over the pixels, ``[h,w]``: (1, 6, 1) / 8 along both axes."""
    padded = torch.cat([light[:1], light, light[-1:]])
    rows = (padded[:-2] + 6 * light + padded[2:]) / 8
    return (rows.roll(1, 1) + 6 * rows + rows.roll(-1, 1)) / 8
