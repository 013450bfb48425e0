"""Vector code against numpy: every width, with and without a remainder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numba import njit

from recon3d.feedforward.lite3r.simd import (
    LANES,
    ROWS,
    WIDE,
    features,
    multiply,
    multiply_add,
    softmax_again,
    softmax_step,
)

WIDTHS = [LANES, 3 * LANES, WIDE * LANES, (WIDE + 1) * LANES]
widths = pytest.mark.parametrize("width", WIDTHS)


@njit
def product(a, b, c, depth):
    multiply(a, b, c, c.shape[0], c.shape[1], depth)


@njit
def product_sum(a, b, c, depth, factors):
    multiply_add(a, a.shape[1], b, c, c.shape[0], c.shape[1], depth, factors)


@njit
def step(x, n_rows, top, norm, shrink):
    softmax_step(x, n_rows, x.shape[1], top, norm, shrink)


@njit
def again(x, log_norm):
    softmax_again(x, x.shape[0], x.shape[1], log_norm)


@njit
def mapped(x):
    features(x, x.shape[0])


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@widths
@pytest.mark.parametrize("depth", [0, 1, 7, 64])
@pytest.mark.parametrize("tiles", [1, 3])
def test_products(width: int, depth: int, tiles: int) -> None:
    a, b = numbers(tiles * ROWS, depth), numbers(max(depth, 1), width, seed=1)
    c = np.full((tiles * ROWS, width), np.nan, np.float32)
    product(a, b, c, depth)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b[:depth], rtol=0, atol=1e-5)


@widths
@pytest.mark.parametrize("depth", [0, 5, 16])
def test_products_added_to_what_was_there(width: int, depth: int) -> None:
    a, b, c, factors = (
        numbers(ROWS, 16),
        numbers(16, width, seed=1),
        numbers(ROWS, width, seed=2),
        numbers(width, seed=3),
    )
    wanted = a[:, :depth].astype(np.float64) @ b[:depth] + c * factors
    product_sum(a, b, c, depth, factors)  # rows of a are longer than what is used of them
    np.testing.assert_allclose(c, wanted, rtol=0, atol=1e-5)


@widths
def test_a_softmax_in_two_steps_is_a_softmax(width: int) -> None:
    x = 20 * numbers(12, width)
    top, norm, shrink = np.full(width, -np.inf, np.float32), np.zeros(width, np.float32), np.empty(width, np.float32)
    first, second = x[:5].copy(), x[5:].copy()
    step(first, 5, top, norm, shrink)
    np.testing.assert_array_equal(top, x[:5].max(0))
    step(second, 7, top, norm, shrink)
    weights = np.concatenate([first * shrink, second]) / norm
    wanted = 2.0 ** (x - x.max(0)).astype(np.float64)
    np.testing.assert_allclose(weights, wanted / wanted.sum(0), rtol=1e-5, atol=1e-30)  # x - top is rounded
    np.testing.assert_array_equal(top, x.max(0))
    log_norm = (np.log2(norm) + top).astype(np.float32)
    again(x, log_norm)
    np.testing.assert_allclose(x, wanted / wanted.sum(0), rtol=1e-4, atol=1e-30)


def test_rows_beyond_the_number_stay_as_they_are() -> None:
    x, before = numbers(6, LANES), numbers(6, LANES)
    top, norm, shrink = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32), np.empty(LANES, np.float32)
    step(x, 4, top, norm, shrink)
    np.testing.assert_array_equal(x[4:], before[4:])
    assert (x[:4] != before[:4]).all()


def test_very_small_weights_are_negligible_and_nothing_is_lost_from_nan() -> None:
    x = np.zeros((3, LANES), np.float32)
    x[0], x[1, 1] = -1e6, np.nan
    top, norm, shrink = np.full(LANES, -np.inf, np.float32), np.zeros(LANES, np.float32), np.empty(LANES, np.float32)
    step(x, 3, top, norm, shrink)
    assert (x[0] < 1e-37).all()
    assert (norm[0], np.isnan(norm[1])) == (2.0, True)


@settings(max_examples=50)
@given(st.floats(-126, 0, width=32))
def test_powers_of_two(power: float) -> None:
    x = np.full((1, LANES), power, np.float32)
    again(x, np.zeros(LANES, np.float32))
    np.testing.assert_allclose(x, 2.0 ** np.float64(np.float32(power)), rtol=3e-7)


@settings(max_examples=50)
@given(st.floats(-1e4, 1e4, width=32))
def test_features(value: float) -> None:
    x = np.full(2 * LANES, value, np.float32)
    mapped(x)
    wanted = value + 1.0 if value > 0 else np.exp(value)
    np.testing.assert_allclose(x, wanted, rtol=2e-6 + 1e-7 * abs(value), atol=2e-38)
