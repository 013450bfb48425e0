"""Rotary position embedding on the patch grid (Su et al. 2021): rows turn one half of a head, columns the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rope:
    """Rotations of a sequence of tokens, ready to be applied to queries and keys.

    Args:
        cos: cosines, the same in both quarters of a half, ``[n,d]``.
        sin: sines, ``[n,d]``.
    """

    cos: Float[Tensor, "n d"]
    sin: Float[Tensor, "n d"]

    def rotate(self, x: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch n d"]:
        """Rotate vectors by the positions of their tokens; differentiable in ``x``."""
        row_a, row_b, col_a, col_b = x.chunk(4, dim=-1)
        turned = torch.cat([-row_b, row_a, -col_b, col_a], dim=-1)
        return (x * self.cos + turned * self.sin).to(x.dtype)

    def repeated(self, n_views: int) -> Rope:
        """Return the rotations of ``n_views`` such sequences one after another: no view knows its number."""
        return Rope(self.cos.repeat(n_views, 1), self.sin.repeat(n_views, 1))


def rope_2d(positions: Int64[Tensor, "n 2"], head_dim: int, base: float = 100.0) -> Rope:
    """Return the rotations of tokens at integer positions.

    Args:
        positions: row and column of each token, ``[n,2]``.
        head_dim: channels of one head, a multiple of 4.
        base: the k-th of D/2 frequencies of a half of D channels is ``base ** (-2k/D)``.
    """
    quarter = head_dim // 4
    frequencies = base ** (-torch.arange(quarter, device=positions.device) / quarter)
    angles = (positions[:, :, None] * frequencies).repeat(1, 1, 2).flatten(1)  # [n,2,2D/4] -> [n,d]
    return Rope(angles.cos(), angles.sin())


def grid_positions(rows: int, cols: int, *, n_special: int, device: torch.device | None = None) -> Int64[Tensor, "n 2"]:
    """Return (row + 1, column + 1) of all patches, row-major, after ``n_special`` tokens at (0, 0)."""
    patches = torch.cartesian_prod(
        torch.arange(1, rows + 1, device=device), torch.arange(1, cols + 1, device=device)
    ).reshape(-1, 2)
    return torch.cat([patches.new_zeros(n_special, 2), patches])
