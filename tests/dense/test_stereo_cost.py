"""The matching cost against plain numpy: the window's weights, bilinear samples, and the lanes that compute both."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import pytest

from recon3d.core.kernels import kernel
from recon3d.dense.stereo_cost import N_SAMPLES, load_window, make_window, view_cost
from recon3d.dense.stereo_images import BORDER, pack_sources, padded_reference
from recon3d.render.gaussians.cpu_simd import WIDTH, byte, load, pick, store, whole

f32 = np.float32
OFFSETS = make_window()[: 2 * N_SAMPLES].reshape(2, N_SAMPLES).astype(int)
SPATIAL = make_window()[2 * N_SAMPLES : 3 * N_SAMPLES].astype(float)
GREY = np.random.default_rng(3).integers(0, 256, (40, 50)).astype(np.uint8)


def numpy_weights(grey: np.ndarray, mask: np.ndarray, u: int, v: int) -> np.ndarray:
    """Bilateral weights as the module says, 0 outside the photo and its mask; they sum to one."""
    height, width = grey.shape
    weights = np.zeros(N_SAMPLES)
    for i, (dx, dy) in enumerate(OFFSETS.T):
        x, y = u + dx, v + dy
        if 0 <= x < width and 0 <= y < height and mask[y, x]:
            off = float(grey[y, x]) - float(grey[v, u])
            weights[i] = SPATIAL[i] / (1 + off**2 / 24**2) ** 2
    return weights / weights.sum()


def bilinear(grey: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Samples at pixel coordinates whose whole numbers are pixel centres."""
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy, g = x - left, y - top, grey.astype(float)
    upper = g[top, left] * (1 - fx) + g[top, left + 1] * fx
    lower = g[top + 1, left] * (1 - fx) + g[top + 1, left + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


@pytest.mark.parametrize(("u", "v"), [(20, 20), (0, 0), (49, 39), (17, 3), (24, 30)])
def test_weights_are_bilateral_and_zero_outside(u: int, v: int) -> None:
    mask = np.ones(GREY.shape, bool)
    mask[10:30, 25:28] = False
    window, expected = make_window(), numpy_weights(GREY, mask, u, v)
    variance = load_window(padded_reference(GREY, mask), u, v, window)
    x, y = (u + OFFSETS[0]).clip(0, 49), (v + OFFSETS[1]).clip(0, 39)
    values = GREY[y, x].astype(float)
    mean = (expected * values).sum()
    np.testing.assert_allclose(window[3 * N_SAMPLES : 4 * N_SAMPLES], expected, atol=1e-6)
    np.testing.assert_allclose(window[4 * N_SAMPLES : 5 * N_SAMPLES], expected * (values - mean), atol=1e-4)
    assert abs(variance - (expected * (values - mean) ** 2).sum()) < 1e-2


@pytest.mark.parametrize("move", [(0.0, 0.0), (0.3, -0.6), (-4.25, 2.5)])
def test_cost_is_one_minus_the_correlation_of_bilinear_samples(move: tuple[float, float]) -> None:
    u, v, window = 22, 19, make_window()
    variance = load_window(padded_reference(GREY, None), u, v, window)
    into = np.array([1, 0, move[0], 0, 1, move[1], 0, 0, 1, 0, 0, 0], np.float32)
    other = np.random.default_rng(4).integers(0, 256, GREY.shape).astype(np.uint8) // 2 + GREY // 2
    packed, maps, _ = pack_sources([other], [], np.tile(into, 3)[None])
    got = view_cost(packed, maps, 0, (f32(u + 0.5), f32(v + 0.5)), (f32(1), f32(0), f32(0)), window, variance)
    weights = numpy_weights(GREY, np.ones(GREY.shape, bool), u, v)
    here = GREY[v + OFFSETS[1], u + OFFSETS[0]].astype(float)
    there = bilinear(other, u + OFFSETS[0] + move[0], v + OFFSETS[1] + move[1])
    here, there = here - (weights * here).sum(), there - (weights * there).sum()
    spread = ((weights * here**2).sum() + 2) * ((weights * there**2).sum() + 2)
    assert abs(got - (1 - (weights * here * there).sum() / np.sqrt(spread))) < 2e-4


def test_window_is_a_disc_that_mirrors_onto_itself() -> None:
    places = set(map(tuple, OFFSETS.T.tolist()))
    assert len(places) == N_SAMPLES == 2 * WIDTH
    assert {(-x, y) for x, y in places} == {(y, x) for x, y in places} == places
    assert np.abs(OFFSETS).max() == BORDER


@kernel
@no_type_check
def _pick_bytes(array, start, width, places, result):
    words = pick(array, start, width, load(places, 0), load(places, WIDTH))
    for number in range(4):
        store(result, number * WIDTH, byte(words, number))


@kernel
@no_type_check
def _pick_numbers(array, start, width, places, result):
    store(result, 0, pick(array, start, width, load(places, 0), load(places, WIDTH)))


@kernel
@no_type_check
def _whole(values, result):
    store(result, 0, whole(load(values, 0)))


def random_places(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns, rows = rng.integers(-3, 4, WIDTH), rng.integers(-3, 4, WIDTH)
    return columns, rows, np.concatenate([columns, rows]).astype(np.float32)


def test_picked_words_and_their_bytes() -> None:
    rng = np.random.default_rng(0)
    array, result = rng.integers(0, 2**32, 9 * 11, np.uint32), np.zeros(4 * WIDTH, np.float32)
    columns, rows, places = random_places(rng)
    _pick_bytes(array, 4 * 11 + 5, 11, places, result)
    expected = array.reshape(9, 11)[4 + rows, 5 + columns]
    for number in range(4):
        assert (result[number * WIDTH :][:WIDTH] == (expected >> np.uint32(8 * number)) & np.uint32(255)).all()


def test_picked_numbers_are_unchanged() -> None:
    rng = np.random.default_rng(1)
    array, result = rng.standard_normal((9, 11)).astype(np.float32), np.zeros(WIDTH, np.float32)
    columns, rows, places = random_places(rng)
    _pick_numbers(array, 4 * 11 + 5, 11, places, result)
    assert (result == array[4 + rows, 5 + columns]).all()


def test_fractions_are_cut_towards_zero() -> None:
    values, result = np.linspace(-2, 2, WIDTH).astype(np.float32) * f32(1.37), np.zeros(WIDTH, np.float32)
    _whole(values, result)
    assert (result == np.trunc(values)).all()
