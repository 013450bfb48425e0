"""Tiles cover every voxel, are bounded, and overlap by the margin."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.pointcloud.segmentation.tiling import summed_over_tiles, tiles


@pytest.fixture
def grid() -> np.ndarray:
    return np.random.default_rng(0).integers(0, (200, 60, 10), (3000, 3))


def patches(grid: np.ndarray) -> int:
    return len(np.unique(grid // 4, axis=0))


def test_a_small_scene_is_one_tile(grid: np.ndarray) -> None:
    found = list(tiles(grid, 4, patches(grid), 1))
    assert len(found) == 1 and found[0].tolist() == list(range(len(grid)))


@pytest.mark.parametrize("margin", [0, 2])
def test_tiles_cover_the_scene_and_overlap_by_the_margin(grid: np.ndarray, margin: int) -> None:
    found = list(tiles(grid, 4, 200, margin))
    counts = np.bincount(np.concatenate(found), minlength=len(grid))
    assert len(found) > 3 and counts.min() == 1
    assert (counts.max() > 1) == (margin > 0)
    if margin == 0:
        assert max(patches(grid[rows]) for rows in found) <= 200


def test_a_column_that_cannot_be_divided_stays_whole() -> None:
    column = np.array([[0, 0, z] for z in range(100)])
    assert [len(rows) for rows in tiles(column, 1, 10, 0)] == [100]


def test_votes_are_averaged(grid: np.ndarray) -> None:
    def answer(rows: np.ndarray) -> np.ndarray:
        share = (grid[rows, 0] / 200).astype(np.float32)
        return np.stack([share, 1 - share], axis=1)

    found = summed_over_tiles(grid, answer, patch_size=4, most=100, margin=1, classes=2)
    assert found[:, 0] == pytest.approx(grid[:, 0] / 200, abs=1e-6)
