"""Tiles of a scene that has more patches than attention can afford: they overlap, and what they say is added up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32, Int64

Rows = Int64[np.ndarray, " rows"]


def tiles(grid: Int64[np.ndarray, "m 3"], patch_size: int, most: int, margin: int) -> Iterator[Rows]:
    """Yield the voxels of tiles that cover all of them; a scene that is small enough is one tile.

    The scene is halved along its longer horizontal side, at the median patch, until no part has more than ``most``
    patches; then every part grows by the margin.

    Args:
        grid: voxel indices, ``[m,3]``.
        patch_size: voxels along an edge of a patch.
        most: patches of a part, before it grows.
        margin: patches.
    """
    patch = grid // patch_size
    places, inverse = np.unique(patch, axis=0, return_inverse=True)
    if len(places) <= most:
        yield np.arange(len(grid))
        return
    for low, high in _parts(places, most):
        bounds = np.concatenate([places[:, :2] >= low - margin, places[:, :2] <= high + margin], axis=1)
        inside: np.ndarray = np.asarray(bounds.all(1))
        yield np.flatnonzero(inside[inverse.reshape(-1)])


def _parts(places: Int64[np.ndarray, "t 3"], most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    low, high = places[:, :2].min(0), places[:, :2].max(0)
    axis = int((high - low).argmax())
    if len(places) <= most or high[axis] == low[axis]:
        yield low, high
        return
    middle = np.clip(np.median(places[:, axis]), low[axis] + 1, high[axis])
    left = places[:, axis] < middle
    yield from _parts(places[left], most)
    yield from _parts(places[~left], most)


def summed_over_tiles(
    grid: Int64[np.ndarray, "m 3"],
    answer: Callable[[Rows], Float32[np.ndarray, "rows c"]],
    *,
    patch_size: int,
    most: int,
    margin: int,
    classes: int,
) -> Float32[np.ndarray, "m c"]:
    """Return the mean probability of each voxel over the tiles that hold it.

    Args:
        grid: voxel indices.
        answer: probabilities of some voxels, seen as one scene.
        patch_size: voxels along an edge of a patch.
        most: patches of a tile, before it grows.
        margin: patches by which it grows.
        classes: number of classes.
    """
    found = np.zeros((len(grid), classes), np.float32)
    for rows in tiles(grid, patch_size, most, margin):
        found[rows] += answer(rows)
    found /= np.maximum(found.sum(1, keepdims=True), np.float32(1e-12))
    return found
