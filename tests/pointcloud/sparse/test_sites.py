"""Sites: what is checked, their order, and the sites of outputs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sparse_voxels import random_voxels

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.sparse import Sites, SparseTensor, Window
from recon3d.pointcloud.sparse.rule_kernels import distinct_sites, first_duplicate, linear_keys, sorted_order
from recon3d.pointcloud.sparse.sites import _output_indices, output_sites


def sites(rows: list[list[int]], shape: tuple[int, int, int] = (4, 5, 6), batch: int = 2) -> Sites:
    return Sites(torch.tensor(rows, dtype=torch.int32).view(-1, 4), shape, batch)


@settings(max_examples=30)
@given(n=st.integers(0, 60), seed=st.integers(0, 99))
def test_the_order_is_lexicographic(n: int, seed: int) -> None:
    found = random_voxels(n, (4, 5, 6), 1, seed).sites
    assert found.ordered.tolist() == sorted(found.indices.tolist())
    assert torch.equal(found.indices[found.order.long()], found.ordered)


def test_bounds_are_of_the_voxels_and_of_nothing_are_zero() -> None:
    found = sites([[1, 2, 4, 0], [0, 3, 1, 5]])
    assert (found.low, found.high) == ((0, 2, 1, 0), (1, 3, 4, 5))
    assert (sites([]).low, sites([]).high) == ((0, 0, 0, 0), (0, 0, 0, 0))
    assert len(sites([])) == 0


@pytest.mark.parametrize(
    "row",
    [
        [0, 4, 0, 0],
        [0, 0, 5, 0],
        [0, 0, 0, 6],
        [2, 0, 0, 0],
        [-1, 0, 0, 0],
        [0, -1, 0, 0],
        [0, 0, -1, 0],
        [0, 0, 0, -1],
    ],
)
def test_a_voxel_outside_is_an_error_and_the_corners_are_inside(row: list[int]) -> None:
    corners = [list(one) for one in product((0, 1), (0, 3), (0, 4), (0, 5))]
    assert len(sites(corners)) == 16
    with pytest.raises(InputError, match="outside the grid"):
        sites([*corners, row])


@pytest.mark.parametrize("places", [(0, 1), (0, 40), (3, 37), (39, 40)])
def test_two_rows_with_one_voxel_are_named(places: tuple[int, int]) -> None:
    indices = random_voxels(41, (4, 5, 6), 1).indices.clone()
    indices[places[1]] = indices[places[0]]
    with pytest.raises(InputError, match=rf"rows {places[0]} and {places[1]} are both.*merge points"):
        Sites(indices, (4, 5, 6), 2)


@pytest.mark.parametrize(
    "indices", [torch.zeros(3, 4, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int32), torch.zeros(4).int()]
)
def test_other_indices_are_a_shape_error(without_shape_checks: None, indices: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"indices of a sparse tensor.*torch\.int32 \(n, 4\)"):
        Sites(indices, (4, 4, 4), 1)


def test_features_have_a_row_for_each_site(without_shape_checks: None) -> None:
    with pytest.raises(ShapeError, match=r"features of a sparse tensor.*\(2, channels\)"):
        SparseTensor(sites([[0, 1, 1, 1], [0, 2, 2, 2]]).indices, torch.zeros(3, 1), (4, 5, 6), 2)


def test_a_span_beyond_64_bits_is_an_error_and_a_large_one_is_none() -> None:
    far = 2**31 - 1
    big = sites([[0, 0, 0, 0], [0, far, 1, 1]], (2**31, 8, 8), 1)
    assert big.ordered.tolist() == [[0, 0, 0, 0], [0, far, 1, 1]]
    with pytest.raises(InputError, match=r"span too large a grid.*larger voxel size"):
        sites([[0, 0, 0, 0], [0, far, far, 1]], (2**31, 2**31, 8), 1)


def test_indices_in_columns_are_taken_too() -> None:
    rows = torch.tensor([[0, 1], [1, 1], [2, 2], [3, 0]], dtype=torch.int32).T  # a view with other strides
    found = Sites(rows, (4, 4, 4), 2)
    assert found.indices.is_contiguous()
    assert found.indices.tolist() == [[0, 1, 2, 3], [1, 1, 2, 0]]


@settings(max_examples=40)
@given(keys=st.lists(st.integers(0, 2**62 - 1), max_size=50))
def test_the_order_of_keys_is_stable_and_sorts(keys: list[int]) -> None:
    array = np.array(keys, np.int64)
    assert np.array_equal(sorted_order(array), np.argsort(array, kind="stable"))


@pytest.mark.parametrize(("keys", "place"), [([], -1), ([5], -1), ([1, 2, 3], -1), ([1, 1, 2], 0), ([1, 2, 2], 1)])
def test_the_first_of_equal_keys(keys: list[int], place: int) -> None:
    assert first_duplicate(np.array(keys, np.int64)) == place


def test_numbers_of_a_box_count_its_voxels() -> None:
    rows = np.array(list(product(range(2, 4), range(1, 4), range(5), range(7, 9))), np.int32)
    keys = linear_keys(rows, np.array([2, 1, 0, 7]), np.array([2, 3, 5, 2]))
    assert keys.tolist() == list(range(60))
    found = Sites(torch.from_numpy(rows), (4, 5, 9), 4)
    assert found.keys((2, 1, 0, 7), (2, 3, 5, 2)).tolist() == list(range(60))


def test_repeated_keys_become_one_site() -> None:
    keys = np.array([7, 3, 7, 3, 3], np.int64)
    assert distinct_sites(keys, sorted_order(keys), np.array([2, 2, 2])).tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]


@settings(max_examples=40)
@given(
    n=st.integers(0, 30),
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.tuples(*[st.integers(1, 3)] * 3),
    pad=st.integers(0, 2),
    dilation=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_outputs_live_where_the_window_meets_an_input(
    n: int, kernel: Any, stride: Any, pad: int, dilation: int, seed: int
) -> None:
    source = random_voxels(n, (4, 5, 3), 1, seed).sites
    window = Window(kernel, stride, (pad,) * 3, (dilation,) * 3)
    shape = window.output_shape(source.spatial_shape)
    occupied = {tuple(row) for row in source.indices.tolist()}
    want = [
        [item, *place]
        for item, *place in product(range(2), *(range(extent) for extent in shape))
        if any(
            (item, *(q * s - pad + e * dilation for q, s, e in zip(place, stride, entry, strict=True))) in occupied
            for entry in product(*(range(size) for size in kernel))
        )
    ]
    found = output_sites(source, window)
    assert found.indices.tolist() == want
    assert (found.spatial_shape, found.batch_size) == (shape, 2)
    if n and min(shape):  # what CUDA tensors take
        assert _output_indices(source, window, shape).tolist() == want
