"""Tiles of scenes of every shape: nothing is lost, nothing grows without bound, and the order does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.pointcloud.segmentation.tiling import Rows, summed_over_tiles, tiles

Shape = tuple[int, int, int]
SHAPES: list[Shape] = [(400, 3, 3), (3, 400, 3), (60, 60, 20), (1, 1, 200), (1000, 1000, 1)]


def scene(shape: Shape, count: int = 1500, offset: int = -30) -> np.ndarray:
    return np.unique(np.random.default_rng(0).integers(0, shape, (count, 3)) + offset, axis=0)


def patches(grid: np.ndarray, size: int) -> int:
    return len(np.unique(grid // size, axis=0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("patch_size", [1, 3])
@pytest.mark.parametrize("margin", [0, 3])
def test_every_voxel_lies_in_a_tile(shape: Shape, patch_size: int, margin: int) -> None:
    grid = scene(shape)
    found = list(tiles(grid, patch_size, 50, margin))
    assert np.array_equal(np.unique(np.concatenate(found)), np.arange(len(grid)))
    assert all(len(np.unique(rows)) == len(rows) for rows in found)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != (1, 1, 200)])
@pytest.mark.parametrize("most", [30, 100, 333])
def test_tiles_without_a_margin_are_bounded_and_share_nothing(shape: Shape, most: int) -> None:
    grid = scene(shape)
    found = list(tiles(grid, 2, most, 0))
    assert sum(len(rows) for rows in found) == len(grid)
    assert max(patches(grid[rows], 2) for rows in found) <= most


def test_tiles_are_few() -> None:
    grid = scene((60, 60, 20), 4000)
    assert len(list(tiles(grid, 1, 100, 0))) <= 4 * len(grid) / 100


def test_neighbours_within_the_margin_are_in_the_tile() -> None:
    grid = np.array([[x, y, 0] for x in range(40) for y in range(40)])
    margin = 2
    cores, grown = (list(tiles(grid, 1, 200, size)) for size in (0, margin))
    assert len(cores) == len(grown)
    for core, wide in zip(cores, grown, strict=True):
        low, high = grid[core].min(0) - margin, grid[core].max(0) + margin
        wanted = ((grid >= low) & (grid <= high))[:, :2].all(1)
        assert np.array_equal(np.sort(wide), np.flatnonzero(wanted))


def test_the_order_of_voxels_does_not_change_the_tiles() -> None:
    grid = scene((60, 60, 20))
    order = np.random.default_rng(1).permutation(len(grid))
    plain = {frozenset(map(tuple, grid[rows].tolist())) for rows in tiles(grid, 3, 60, 1)}
    mixed = {frozenset(map(tuple, grid[order][rows].tolist())) for rows in tiles(grid[order], 3, 60, 1)}
    assert plain == mixed


def test_a_place_far_away_does_not_change_the_number_of_tiles() -> None:
    grid = scene((60, 60, 20))
    near, far = (len(list(tiles(one, 2, 60, 1))) for one in (grid, grid + 2 * 1_000_000))
    assert near == far


def test_two_clusters_far_apart_are_two_tiles() -> None:
    one = scene((10, 10, 5), 300, offset=0)
    grid = np.concatenate([one, one + np.array([100_000, 0, 0])])
    found = list(tiles(grid, 1, patches(one, 1), 4))
    assert [len(rows) for rows in found] == [len(one), len(one)]


def test_votes_weigh_equally_whatever_the_tiles() -> None:
    grid = scene((80, 80, 4))
    calls: list[int] = []

    def answer(rows: Rows) -> np.ndarray:
        calls.append(len(rows))
        share = np.full(len(rows), 0.25 if len(calls) % 2 else 0.75, np.float32)
        return np.stack([share, 1 - share], axis=1)

    found = summed_over_tiles(grid, answer, patch_size=2, most=100, margin=2, classes=2)
    assert found.sum(1) == pytest.approx(np.ones(len(grid)), abs=1e-6)
    assert found.min() >= 0.25 - 1e-6 and found.max() <= 0.75 + 1e-6
    assert len(calls) > 3 and len(np.unique(found[:, 0].round(4))) > 2  # overlaps are means of both


def test_one_voxel_is_asked_once() -> None:
    calls: list[list[int]] = []

    def answer(rows: Rows) -> np.ndarray:
        calls.append(rows.tolist())
        return np.ones((len(rows), 3), np.float32) / 3

    found = summed_over_tiles(np.zeros((1, 3), np.int64), answer, patch_size=3, most=1, margin=6, classes=3)
    assert calls == [[0]] and found.shape == (1, 3)
