"""Voxels of a sample: fragments that visit every point, exact maps, seeded choices, crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from volt_scenes import room_sample

from recon3d.core.errors import InputError
from recon3d.pointcloud.volt import voxel_fragments, voxel_indices, voxel_order, voxelised
from recon3d.pointcloud.volt.grid import fnv_hashes, sphere_rows


def test_voxels_start_at_zero_on_every_axis() -> None:
    found = voxel_indices(np.array([[-0.11, 0.0, 5.0], [0.05, 0.1, 5.09], [0.0, 0.25, 5.31]]), 0.1)
    assert found.tolist() == [[0, 0, 0], [2, 1, 0], [2, 2, 3]]
    assert voxel_indices(np.zeros((0, 3)), 0.1).shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_points_without_a_voxel_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="cannot be voxelised"):
        voxel_indices(np.array([[0.0, 0, 0], [0, bad, 0]]), 0.02)


def test_the_hash_multiplies_before_it_mixes() -> None:
    prime, mask = 1099511628211, 2**64 - 1
    want = 14695981039346656037
    for index in (3, 0, 70000):
        want = (want * prime & mask) ^ index
    assert fnv_hashes(np.array([[3, 0, 70000]])).tolist() == [want]


@given(st.integers(0, 10**6), st.integers(1, 80))
def test_fragments_visit_every_point_and_each_has_every_voxel(seed: int, count: int) -> None:
    grid = np.random.default_rng(seed).integers(0, 3, (count, 3))
    order = voxel_order(grid)
    fragments = voxel_fragments(order)
    voxels = np.unique(grid, axis=0)
    assert len(order.count) == len(voxels)
    assert len(fragments) == order.count.max()
    assert set(np.concatenate(fragments)) == set(range(count))
    for rows in fragments:
        assert np.array_equal(np.unique(grid[rows], axis=0), voxels)
        assert np.array_equal(grid[rows][order.inverse], grid)


def test_voxels_come_in_the_order_of_their_hash_and_points_in_their_own() -> None:
    grid = np.random.default_rng(0).integers(0, 3, (60, 3))
    order = voxel_order(grid)
    assert (np.diff(fnv_hashes(grid[order.chosen(0)]).astype(object)) > 0).all()
    for start, count in zip(order.start, order.count, strict=True):
        assert (np.diff(order.order[start : start + count]) > 0).all()


def test_no_points_make_no_fragments() -> None:
    assert voxel_fragments(voxel_order(np.zeros((0, 3), np.int64))) == []


def test_a_voxelised_sample_has_one_point_per_voxel_of_its_own() -> None:
    sample = room_sample()
    thin, order = voxelised(sample, 0.5)
    assert thin.grid is not None and thin.color is not None and sample.color is not None
    assert len(np.unique(thin.grid, axis=0)) == len(thin) == order.inverse.max() + 1
    assert np.array_equal(thin.grid, voxel_indices(sample.xyz, 0.5)[order.chosen(0)])
    assert np.array_equal(thin.color, sample.color[order.chosen(0)])
    assert np.array_equal(thin.grid[order.inverse], voxel_indices(sample.xyz, 0.5))


def test_the_point_of_a_voxel_is_drawn_from_the_generator() -> None:
    sample = room_sample()
    first, same, other = (voxelised(sample, 1.0, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first.xyz, same.xyz)
    assert not np.array_equal(first.xyz, other.xyz)
    assert np.array_equal(first.grid, other.grid)


def test_every_point_of_a_voxel_is_drawn_equally_often() -> None:
    grid, rng = np.zeros((3, 3), np.int64), np.random.default_rng(0)
    order = voxel_order(grid)
    drawn = np.bincount([order.chosen(rng.integers(0, 2**32, 1))[0] for _ in range(900)])
    assert (np.abs(drawn - 300) < 60).all()


def test_a_sphere_has_the_nearest_points_in_their_order() -> None:
    xyz = np.array([[3.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 0]])
    assert sphere_rows(xyz, np.zeros(3), 3).tolist() == [1, 2, 3]
    assert sphere_rows(xyz, np.zeros(3), 9).tolist() == [0, 1, 2, 3]
