"""Vectors of sixteen floats: each operation does to the lanes what numpy does to arrays."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import pytest
from numba import njit

from recon3d.render.gaussians import cpu_simd as simd


@njit
@no_type_check
def arithmetic(values, out):
    a, b, scalar = simd.load(values, 0), simd.load(values, 16), values[32]
    simd.store(out, 0, a + b)
    simd.store(out, 16, a - scalar)
    simd.store(out, 32, scalar * b)
    simd.store(out, 48, a / b)
    simd.store(out, 64, simd.magnitude(a))
    simd.store(out, 80, simd.spread(scalar))
    simd.store(out, 96, simd.spread_from(values, 5))


@njit
@no_type_check
def choices(values, out):
    a, b = simd.load(values, 0), simd.load(values, 16)
    simd.store(out, 0, simd.select(a > b, a, b))
    simd.store(out, 16, simd.select(a <= b, a, b))
    simd.store(out, 32, simd.select(simd.both(a < b, a >= values[32]), a, values[32]))
    return simd.bits(a > b)


@njit
@no_type_check
def powers(values, out):
    for i in range(len(values) // 16):
        simd.store(out, 16 * i, simd.exp2(simd.load(values, 16 * i)))


@njit
@no_type_check
def packed_sums(values, out):
    v = simd.load(values, 0)
    w = simd.load(values, 16)
    pair = simd.fold4(simd.fold8(v, w), simd.fold8(w, v))
    simd.store(out, 0, simd.fold1(simd.fold2(pair, pair), simd.fold2(pair, pair)))
    return simd.total(v)


@njit
@no_type_check
def words(values, out):
    simd.store(
        out,
        0,
        simd.mark(
            simd.mark(simd.load(out, 0), simd.load(values, 0) > values[32], np.int32(4)),
            simd.load(values, 0) > values[32],
            np.int32(1),
        ),
    )


@njit
@no_type_check
def scalars(array, place, value):
    simd.prefetch(array, place)
    simd.put(array, place, value)
    return simd.at(array, place), simd.lowest_bit(place)


@njit
@no_type_check
def new_array(n):
    array = simd.scratch(n)
    return array.ctypes.data, len(array)


@pytest.fixture
def values() -> np.ndarray[Any, Any]:
    found = np.random.default_rng(0).normal(size=33).astype(np.float32)
    found[7] = found[23]  # one pair of equal numbers
    return found


def test_arithmetic(values: np.ndarray[Any, Any]) -> None:
    out = np.zeros(112, np.float32)
    arithmetic(values, out)
    a, b, scalar = values[:16], values[16:32], values[32]
    parts = [a + b, a - scalar, scalar * b, a / b, abs(a), np.full(16, scalar), np.full(16, values[5])]
    np.testing.assert_array_equal(out, np.concatenate(parts))


def test_choices(values: np.ndarray[Any, Any]) -> None:
    out = np.zeros(48, np.float32)
    greater = choices(values, out)
    a, b, scalar = values[:16], values[16:32], values[32]
    assert greater == sum(1 << int(lane) for lane in np.flatnonzero(a > b))
    np.testing.assert_array_equal(out[:16], np.maximum(a, b))
    np.testing.assert_array_equal(out[16:32], np.minimum(a, b))
    np.testing.assert_array_equal(out[32:], np.where((a < b) & (a >= scalar), a, scalar))


def test_powers_of_two_are_as_good_as_promised() -> None:
    exponents = np.concatenate([np.linspace(-126, 127, 16 * 4000), np.arange(-120, 120)]).astype(np.float32)
    out = np.zeros_like(exponents)
    powers(exponents, out)
    np.testing.assert_allclose(out, np.exp2(exponents.astype(np.float64)), rtol=3e-6)


def test_folding_sums_whole_vectors(values: np.ndarray[Any, Any]) -> None:
    out = np.zeros(16, np.float32)
    total = packed_sums(values, out)
    first, second = values[:16].sum(dtype=np.float64), values[16:32].sum(dtype=np.float64)
    np.testing.assert_allclose(out, np.tile([first, second, second, first], 4), rtol=1e-5)
    assert total == pytest.approx(first, rel=1e-5)


def test_words_collect_bits(values: np.ndarray[Any, Any]) -> None:
    out = np.full(16, 8, np.uint32)
    words(values, out.view(np.float32))
    np.testing.assert_array_equal(out, np.where(values[:16] > values[32], 8 | 4 | 1, 8))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_elements_are_counted_through_all_axes(dtype: type) -> None:
    array = np.zeros((3, 5), dtype)
    assert scalars(array, 8, dtype(3)) == (3, 3)
    assert array[1, 3] == 3 and np.count_nonzero(array) == 1


@pytest.mark.parametrize("n", [1, 16, 1000])
def test_arrays_begin_where_cache_lines_do(n: int) -> None:
    start, length = new_array(n)
    assert start % 64 == 0 and length == n
    assert simd.aligned(n, 3).ctypes.data % 64 == 0 and simd.aligned(n, 3).shape == (n, 3)
