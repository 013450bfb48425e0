from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.render.colormap import NO_VALUE, Colormap, colour_table, colourise, value_range


def luminance(rgb: np.ndarray) -> np.ndarray:
    linear = (rgb / 255.0) ** 2.2
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("name", ["viridis", "magma"])
def test_brightness_rises_all_the_way(name: Colormap) -> None:
    assert (np.diff(luminance(colour_table(name))) > -2e-3).all()  # whole numbers round
    assert (np.diff(luminance(colour_table(name)[::8])) > 0).all()


@pytest.mark.parametrize("name", ["viridis", "magma"])
def test_brightness_rises_evenly(name: Colormap) -> None:
    """Lightness, which is about the cube root of luminance, takes steps of similar size."""
    steps = np.diff(np.cbrt(luminance(colour_table(name)[32::16])))
    assert steps.max() < 3 * steps.min()


def test_ends_and_missing_values_get_their_colours() -> None:
    painted = colourise(np.array([[1.0, 3.0], [np.nan, 9.0]]), 1.0, 3.0)
    table = colour_table("viridis")
    assert painted[0].tolist() == [table[0].tolist(), table[255].tolist()]
    assert painted[1].tolist() == [list(NO_VALUE), table[255].tolist()]


def test_limits_the_other_way_round_turn_the_map() -> None:
    values = np.linspace(0, 1, 11)[None]
    assert (colourise(values, 1.0, 0.0) == colourise(1 - values, 0.0, 1.0)).all()


def test_a_range_without_width_is_no_error() -> None:
    assert colourise(np.full((2, 2), 5.0), 5.0, 5.0).shape == (2, 2, 3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_range_holds_the_bulk(values: list[float]) -> None:
    array = np.array([*values, np.nan, np.inf])
    low, high = value_range(array, 0.0)
    assert (low, high) == (min(values), max(values))
    inner_low, inner_high = value_range(array, 10.0)
    assert low <= inner_low <= inner_high <= high


def test_no_value_gives_a_range_all_the_same() -> None:
    assert value_range(np.array([np.nan])) == (0.0, 1.0)
