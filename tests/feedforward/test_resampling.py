from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.feedforward.resampling import area_weights, resize


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(1, 60), st.integers(1, 60))
def test_every_old_pixel_goes_somewhere_and_every_new_one_is_a_mean(a: int, b: int) -> None:
    n, n_new = max(a, b), min(a, b)
    weights = area_weights(n, n_new)
    np.testing.assert_allclose(weights.sum(1), 1.0)
    np.testing.assert_allclose(weights.sum(0), n_new / n)
    assert (weights >= 0).all()


def test_whole_factors_are_means_of_blocks() -> None:
    pixels = image(6, 8)
    means = pixels.reshape(3, 2, 2, 4, 3).mean((1, 3))
    assert (resize(pixels, 3, 2, grow=False) == np.rint(means)).all()


@pytest.mark.parametrize("grow", [True, False])
def test_a_constant_image_stays_constant(grow: bool) -> None:
    pixels = np.full((10, 14, 3), 77, np.uint8)
    assert (resize(pixels, *((23, 31) if grow else (7, 5)), grow=grow) == 77).all()


@pytest.mark.parametrize("grow", [True, False])
def test_the_same_size_is_the_same_image(grow: bool) -> None:
    pixels = image(5, 7)
    assert resize(pixels, 5, 7, grow=grow) is pixels


def test_growing_overshoots_within_the_range() -> None:
    """Bicubic weights are negative at the sides; the result is cut to 0..255."""
    edge = np.zeros((4, 8, 3), np.uint8)
    edge[:, 4:] = 255
    grown = resize(edge, 4, 24, grow=True)
    assert grown.min() == 0 and grown.max() == 255
    assert (np.diff(grown[0, 10:14, 0].astype(int)) >= 0).all()


def test_a_ramp_stays_a_ramp() -> None:
    ramp = np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 4, 0).repeat(3, 2)
    small = resize(ramp, 4, 8, grow=False)[0, :, 0].astype(int)
    assert (np.diff(small) == 30).all()
    large = resize(ramp, 4, 48, grow=True)[0, 8:-8, 0].astype(int)
    assert ((np.diff(large) >= 4) & (np.diff(large) <= 6)).all()
