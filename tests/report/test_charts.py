from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from recon3d.report import PairSummary
from recon3d.report.charts import (
    bin_values,
    bin_whole,
    heat_level,
    histogram_svg,
    match_circle,
    match_matrix,
    time_bars,
)

POSITIVE = arrays(np.float64, st.integers(0, 50), elements=st.floats(0, 1e6))
WHOLE = arrays(np.int64, st.integers(0, 50), elements=st.integers(2, 500))


@given(POSITIVE)
def test_every_value_is_in_one_bar(values: np.ndarray) -> None:
    chart = bin_values("errors", "px", values)
    assert chart.counts.sum() == len(values)
    assert (np.diff(chart.edges) > 0).all()


@given(WHOLE)
def test_every_whole_number_is_in_one_bar(values: np.ndarray) -> None:
    chart = bin_whole("tracks", "photos", values)
    assert chart.counts.sum() == len(values)
    assert len(chart.edges) == len(chart.counts) + 1


def test_whole_bars_sit_on_their_number() -> None:
    chart = bin_whole("tracks", "photos", np.array([2, 2, 3, 5]))
    assert chart.counts.tolist() == [2, 1, 0, 1]
    assert chart.edges.tolist() == [2, 3, 4, 5, 6]


@given(POSITIVE)
def test_histograms_are_well_formed_and_stay_inside(values: np.ndarray) -> None:
    root = ElementTree.fromstring(histogram_svg(bin_values("errors", "px", values)))
    bars = [node for node in root if node.get("class") == "bar"]
    assert len(bars) == 28
    for bar in bars:
        assert float(bar.get("y", "")) >= 11.9
        assert float(bar.get("y", "")) + float(bar.get("height", "")) <= 166.1


def test_the_last_bar_says_that_it_is_open() -> None:
    chart = bin_values("errors", "px", np.r_[np.linspace(0, 1, 1000), 50.0])
    assert chart.open_end
    assert "or more: " in histogram_svg(chart)


@pytest.mark.parametrize(("inliers", "level"), [(0, 0), (1, 1), (30, 2), (299, 3), (300, 4), (5000, 5)])
def test_heat_levels(inliers: int, level: int) -> None:
    assert heat_level(inliers) == level


def _pairs() -> list[PairSummary]:
    return [PairSummary("<a>", "b", 50, 40, 3.0), PairSummary("b", "c", 9, 0), PairSummary("a", "elsewhere", 9, 9)]


def test_matrix_is_symmetric_and_escaped() -> None:
    text = match_matrix(["<a>", "b", "c"], [1, 2, 3], _pairs())
    root = ElementTree.fromstring(text)
    cells = [(node.get("x"), node.get("y"), node.get("class")) for node in root if node.get("data-a")]
    assert len(cells) == 4
    assert {(y, x, css) for x, y, css in cells} == set(cells)
    assert "&lt;a&gt;" in text
    assert "40 of 50 matches agree, median angle 3.0" in text


def test_circle_joins_only_photos_that_match() -> None:
    root = ElementTree.fromstring(match_circle(["<a>", "b", "c"], [1, 2, 3], _pairs(), {"b"}))
    edges = [node for node in root if node.tag == "path"]
    nodes = [node for node in root if node.tag == "circle"]
    assert [(edge.get("data-a"), edge.get("data-b")) for edge in edges] == [("1", "2")]
    assert [node.get("class") for node in nodes] == ["node lost", "node", "node lost"]
    for node in nodes:
        assert math.hypot(float(node.get("cx", "")) - 200, float(node.get("cy", "")) - 200) == pytest.approx(
            165, abs=0.2
        )


def test_time_bars_are_in_proportion() -> None:
    text = time_bars({"one": 1.0, "four": 4.0, "unknown": float("nan")})
    widths = [float(width) for width in re.findall(r'height="8" width="([\d.]+)"', text)]
    assert widths == [25.0, 100.0, 0.0]
