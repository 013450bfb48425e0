from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.report.curves import line_svg, nice_ticks, short

NUMBERS = st.floats(-1e9, 1e9, allow_subnormal=False)


@given(NUMBERS, NUMBERS)
def test_ticks_hold_the_values_and_are_few(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 12
    assert (np.diff(ticks) > 0).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.booleans())
def test_curves_stay_inside_the_chart(values: list[float], from_zero: bool) -> None:
    y = np.abs(np.array(values)) if from_zero else np.array(values)
    root = ElementTree.fromstring(line_svg("loss", "step", np.arange(len(y)) * 10.0, y, from_zero))
    (path,) = (node for node in root if node.tag == "path")
    places = np.array([float(number) for number in re.findall(r"-?[\d.]+", path.get("d", ""))]).reshape(-1, 2)
    assert len(places) == len(y)
    assert places[:, 0].min() >= 43.9
    assert places[:, 0].max() <= 370.1
    assert places[:, 1].min() >= 11.9
    assert places[:, 1].max() <= 166.1


def test_rising_values_rise_on_the_screen() -> None:
    svg = line_svg("psnr", "step", np.arange(5.0), np.arange(5.0) ** 2, False)
    heights = [float(pair.split()[1]) for pair in re.search(r'd="M([^"]+)"', svg).group(1).split("L")]  # type: ignore[union-attr]
    assert (np.diff(heights) < 0).all()


def test_values_that_are_not_finite_are_left_out() -> None:
    y = np.array([1.0, np.nan, 2.0, np.inf, 3.0])
    assert line_svg("x", "step", np.arange(5.0), y, True).count("L") == 2
    assert line_svg("x", "step", np.arange(5.0), np.full(5, np.nan), True) == ""
    assert line_svg("x", "step", np.zeros(1), np.ones(1), True) == ""


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    svg = line_svg("x", "step", np.arange(5000.0), np.linspace(0, 7, 5000), True)
    assert svg.count("L") < 400
    assert "ending at 7.00" in svg


def test_names_are_escaped() -> None:
    ElementTree.fromstring(line_svg("<a & b>", "<c>", np.arange(3.0), np.arange(3.0), True))


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.25, "0.25"), (9999.0, "9999"), (50_000.0, "50k"), (1.5e6, "1.5M")]
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert short(value) == text
