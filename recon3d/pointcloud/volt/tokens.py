"""Voxels to patches: which token each voxel belongs to, where in its patch it lies, and who owns a slot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.core.errors import InputError

_KEYS = 2**62


@dataclass(frozen=True, eq=False)
class Tokens:
    """The patches that hold at least one voxel, sorted by (sequence, x, y, z).

    Args:
        index: sequence and patch index of each token, ``[t,4]``.
        inverse: token of each voxel, ``[m]``.
        slot: position of each voxel in its patch, ``(x K + y) K + z``, ``[m]``.
        lengths: tokens of each sequence, zero for an empty one.
        patch_size: voxels K along an edge.
    """

    index: Int64[Tensor, "t 4"]
    inverse: Int64[Tensor, " m"]
    slot: Int64[Tensor, " m"]
    lengths: tuple[int, ...]
    patch_size: int

    def cu_seqlens(self) -> Int64[Tensor, " ends"]:
        """Return the first token of each sequence, and the number of tokens at the end."""
        counts = torch.tensor((0, *self.lengths), device=self.index.device)
        return counts.cumsum(0)


def tokenised(grid: Int64[Tensor, "m 3"], sequence: Int64[Tensor, " m"], n_sequences: int, patch_size: int) -> Tokens:
    """Divide voxels into patches of ``patch_size`` to the cube.

    Args:
        grid: voxel indices, ``[m,3]``; negative ones are divided towards minus infinity.
        sequence: attention sequence of each voxel, ``[m]``.
        n_sequences: number of sequences, so that empty ones at the end are counted.
        patch_size: voxels K along an edge.

    Raises:
        InputError: the scenes extend so far that patches cannot be numbered.
    """
    patch = torch.div(grid, patch_size, rounding_mode="floor")
    inside = grid - patch * patch_size
    slot = (inside[:, 0] * patch_size + inside[:, 1]) * patch_size + inside[:, 2]
    low, extent = _extent(patch, n_sequences)
    key = sequence
    for axis in range(3):
        key = key * extent[axis] + (patch[:, axis] - low[axis])
    unique, inverse = torch.unique(key, return_inverse=True)
    index = _decoded(unique, low, extent)
    lengths = torch.bincount(index[:, 0], minlength=n_sequences).tolist()
    return Tokens(index, inverse, slot, tuple(lengths), patch_size)


def _extent(patch: Tensor, n_sequences: int) -> tuple[list[int], list[int]]:
    if len(patch) == 0:
        return [0, 0, 0], [1, 1, 1]
    low, high = patch.amin(0).tolist(), patch.amax(0).tolist()
    extent = [top - bottom + 1 for bottom, top in zip(low, high, strict=True)]
    if extent[0] * extent[1] * extent[2] * max(n_sequences, 1) > _KEYS:
        raise InputError("the voxels extend too far", got=f"{extent} patches", fix="remove outliers or enlarge voxels")
    return low, extent


def _decoded(key: Tensor, low: list[int], extent: list[int]) -> Tensor:
    columns = []
    for axis in (2, 1, 0):
        columns.append(key % extent[axis] + low[axis])
        key = key // extent[axis]
    return torch.stack([key, *columns[::-1]], dim=1)


def slot_owners(tokens: Tokens) -> Int64[Tensor, " kept"]:
    """Return the voxels whose features enter their patch: of several in one slot, the first by row.

    Two scenes mixed into each other can share voxels; the number of voxels less the length of this is how many do.
    """
    m, cells = len(tokens.slot), tokens.patch_size**3
    cell = tokens.inverse * cells + tokens.slot
    row = torch.arange(m, device=cell.device)
    first = torch.full((len(tokens.index) * cells,), m, device=cell.device).scatter_reduce(0, cell, row, "amin")
    return (first[cell] == row).nonzero()[:, 0]


def patch_features(features: Float[Tensor, "m c"], tokens: Tokens) -> Float[Tensor, "t cells_c"]:
    """Return the features of each patch, slot by slot, zero where no voxel is; differentiable in ``features``."""
    cells, kept = tokens.patch_size**3, slot_owners(tokens)
    dense = features.new_zeros(len(tokens.index) * cells, features.shape[1])
    cell = (tokens.inverse * cells + tokens.slot)[kept]
    filled = dense.index_copy(0, cell, features[kept])
    return filled.view(len(tokens.index), cells * features.shape[1])
