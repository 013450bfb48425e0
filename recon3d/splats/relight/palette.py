"""Groups of vertices of similar colour."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_ITERATIONS = 20


def group_colours(colours: Float[Tensor, "n 3"], k: int, random: torch.Generator) -> Int64[Tensor, " n"]:
    """Return which of at most k groups each colour belongs to (k-means), ``[n]``.

    Args:
        colours: in any space, ``[n,3]``.
        k: number of groups.
        random: for the start.

    Source: Lloyd, "Least squares quantization in PCM", 1982.
    """
    k = min(k, len(colours))
    centres = colours[torch.randperm(len(colours), generator=random)[:k]].clone()
    group = torch.zeros(len(colours), dtype=torch.int64)
    for _ in range(_ITERATIONS):
        group = torch.cdist(colours, centres).argmin(1)
        count = torch.bincount(group, minlength=k)
        total = torch.zeros_like(centres).index_add_(0, group, colours)
        centres = torch.where((count > 0)[:, None], total / count.clamp_min(1)[:, None], centres)
    return group


class Partners:
    """Draws, for a vertex, another one of the same group.

    Args:
        rows: the vertices, ``[n]``.
        group: of each of them, ``[n]``.
        n_vertices: of the mesh.
    """

    def __init__(self, rows: Int64[Tensor, " n"], group: Int64[Tensor, " n"], n_vertices: int) -> None:
        self._group = torch.zeros(n_vertices, dtype=torch.int64)
        self._group[rows] = group
        self._members = rows[torch.argsort(group, stable=True)]
        self._count = torch.bincount(group)
        self._first = self._count.cumsum(0) - self._count

    def draw(self, vertices: Int64[Tensor, " m"], random: torch.Generator) -> Int64[Tensor, " m"]:
        """Return a random member of the group of each vertex, ``[m]``."""
        group = self._group[vertices]
        place = torch.rand(len(vertices), dtype=torch.float64, generator=random) * self._count[group]
        return self._members[self._first[group] + place.long()]
