"""Charts as inline SVG; colours come from the style sheet through classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.report.inputs import PairSummary
from recon3d.report.text import count, escape, seconds, significant

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 380, 200, 40, 34, 12
_MAX_CELLS, _MAX_EDGES = 6000, 900


@dataclass(frozen=True)
class Histogram:
    """A histogram before it is drawn.

    Args:
        name: what is counted, for screen readers.
        axis: label of the horizontal axis with its unit.
        counts: bar heights.
        edges: bar limits, one more than ``counts``.
        open_end: the last bar also holds everything beyond it.
        whole: values are whole numbers: label bars, not limits.
    """

    name: str
    axis: str
    counts: Int64[np.ndarray, " b"]
    edges: Float64[np.ndarray, " b1"]
    open_end: bool = False
    whole: bool = False


def bin_values(name: str, axis: str, values: Float64[np.ndarray, " n"], n_bins: int = 28) -> Histogram:
    """Bin non-negative values up to their 99th percentile, rounded up; the last bar holds the rest."""
    top = _round_up(float(np.percentile(values, 99))) if len(values) else 1.0
    edges = np.linspace(0.0, top, n_bins + 1)
    counts = np.histogram(np.minimum(values, np.nextafter(top, 0)), edges)[0].astype(np.int64)
    return Histogram(name, axis, counts, edges, open_end=bool(len(values)) and float(values.max()) > top)


def bin_whole(name: str, axis: str, values: Int64[np.ndarray, " n"], n_bins: int = 24) -> Histogram:
    """Count whole numbers from the smallest on; the last bar holds the rest."""
    low = int(values.min(initial=2)) if len(values) else 2
    high = min(int(values.max(initial=low)), low + n_bins - 1)
    counts = np.bincount(np.minimum(values, high) - low, minlength=high - low + 1).astype(np.int64)
    edges = np.arange(low, high + 2, dtype=np.float64)
    return Histogram(name, axis, counts, edges, open_end=bool(len(values)) and int(values.max()) > high, whole=True)


def _round_up(value: float) -> float:
    if not 1e-300 < value < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    rounded = (step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return next((step for step in rounded if step >= value * (1 - 1e-9)), value)


def histogram_svg(chart: Histogram) -> str:
    """Draw a histogram with its axes."""
    peak = max(int(chart.counts.max(initial=0)), 1)
    top = _round_up(peak)
    inner_w, inner_h = _WIDTH - _LEFT - 8, _HEIGHT - _BOTTOM - _TOP
    wide = inner_w / max(len(chart.counts), 1)
    parts = [_grid_line(top * share, _TOP + inner_h * (1 - share)) for share in (0.0, 0.5, 1.0)]
    for index, number in enumerate(chart.counts.tolist()):
        tall = inner_h * number / top
        bar = f'x="{_LEFT + index * wide:.1f}" y="{_TOP + inner_h - tall:.1f}" width="{max(wide - 1, 0.5):.1f}"'
        parts.append(f'<rect class="bar" {bar} height="{tall:.1f}"><title>{_bar_title(chart, index)}</title></rect>')
    parts += _axis_labels(chart, inner_w, inner_h, wide)
    return _svg(_WIDTH, _HEIGHT, f"Histogram: {chart.name}", parts, "chart")


def _grid_line(value: float, y: float) -> str:
    label = f"{value / 1000:g}k" if value >= 10000 else f"{value:,.0f}"
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick end" x="{_LEFT - 6}" y="{y + 3.5:.1f}">{label}</text>'
    )


def _bar_title(chart: Histogram, index: int) -> str:
    low, high = float(chart.edges[index]), float(chart.edges[index + 1])
    last = chart.open_end and index == len(chart.counts) - 1
    if chart.whole:
        place = f"{low:.0f}{' or more' if last else ''}"
    else:
        place = f"{low:.3g} or more" if last else f"{low:.3g} to {high:.3g}"
    return f"{place}: {count(int(chart.counts[index]))}"


def _axis_labels(chart: Histogram, inner_w: float, inner_h: float, wide: float) -> list[str]:
    y, n = _TOP + inner_h + 14, len(chart.counts)
    labels = []
    if chart.whole:
        step = max(1, math.ceil(n / 8))
        ticks = [(index, f"{chart.edges[index]:.0f}") for index in range(0, n, step)]
        labels = [(_LEFT + (index + 0.5) * wide, text) for index, text in ticks]
    else:
        shares = (0.0, 0.25, 0.5, 0.75, 1.0)
        labels = [(_LEFT + inner_w * share, f"{float(chart.edges[-1]) * share:.3g}") for share in shares]
    texts = [f'<text class="tick mid" x="{x:.1f}" y="{y:.1f}">{text}</text>' for x, text in labels]
    texts.append(f'<text class="axis mid" x="{_LEFT + inner_w / 2:.1f}" y="{_HEIGHT - 3}">{escape(chart.axis)}</text>')
    return texts


def _svg(width: float, height: float, name: str, parts: Sequence[str], css: str) -> str:
    head = f'<svg class="{css}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(name)}">'
    return head + "".join(parts) + "</svg>"


def time_bars(timings: Mapping[str, float]) -> str:
    """Draw the wall time of every stage as one row of a table with a bar."""
    longest = max([value for value in timings.values() if math.isfinite(value)], default=0.0) or 1.0
    rows = []
    for stage, value in timings.items():
        share = min(max(value / longest, 0.0), 1.0) if math.isfinite(value) else 0.0
        bar = f'<rect class="bar" x="0" y="0" height="8" width="{100 * share:.2f}" rx="0"/>'
        svg = f'<svg class="timebar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
        rows.append(f'<tr><th scope="row">{escape(stage)}</th><td class="num">{seconds(value)}</td><td>{svg}</td></tr>')
    return "".join(rows)


def match_matrix(keys: Sequence[str], numbers: Sequence[int], pairs: Sequence[PairSummary]) -> str:
    """Draw the inliers of all pairs as a symmetric heat map.

    Args:
        keys: photos in the order of rows and columns.
        numbers: their numbers in the report.
        pairs: pairs between them; others are ignored.
    """
    place = {key: index for index, key in enumerate(keys)}
    n, left = max(len(keys), 1), 26.0
    cell = (400.0 - left) / n
    gap = min(1.0, cell * 0.12)
    chosen = sorted((p for p in pairs if p.first in place and p.second in place), key=lambda p: -p.n_inliers)
    parts = [f'<rect class="board" x="{left}" y="{left}" width="{400 - left}" height="{400 - left}"/>']
    for pair in chosen[:_MAX_CELLS]:
        row, column = place[pair.first], place[pair.second]
        for x, y in ((column, row), (row, column)):
            size = f'width="{cell - gap:.2f}" height="{cell - gap:.2f}"'
            where = f'x="{left + x * cell:.2f}" y="{left + y * cell:.2f}" {size}'
            marks = f'data-a="{numbers[row]}" data-b="{numbers[column]}"'
            level = heat_level(pair.n_inliers)
            parts.append(f'<rect class="h{level}" {where} {marks}><title>{pair_title(pair)}</title></rect>')
    step = max(1, math.ceil(n / 20))
    for index in range(0, len(keys), step):
        at = left + (index + 0.5) * cell
        parts.append(f'<text class="tick mid" x="{at:.1f}" y="{left - 7}">{numbers[index]}</text>')
        parts.append(f'<text class="tick end" x="{left - 6}" y="{at + 3.5:.1f}">{numbers[index]}</text>')
    return _svg(400, 400, "Matrix of verified matches between photos", parts, "matrix")


def heat_level(n_inliers: int) -> int:
    """Return the colour class (0 none to 5 strong) of a number of inliers."""
    return sum(n_inliers >= limit for limit in (1, 30, 100, 300, 1000))


def pair_title(pair: PairSummary) -> str:
    """Describe a pair for its tooltip, escaped."""
    text = f"{pair.first} \N{MULTIPLICATION SIGN} {pair.second}: {pair.n_inliers:,} of {pair.n_matches:,} matches agree"
    if math.isfinite(pair.median_triangulation_deg):
        text += f", median angle {significant(pair.median_triangulation_deg, 2)}\N{DEGREE SIGN}"
    return escape(text)


def match_circle(keys: Sequence[str], numbers: Sequence[int], pairs: Sequence[PairSummary], placed: set[str]) -> str:
    """Draw photos on a circle, joined where they match; the strongest pairs are drawn last."""
    n = max(len(keys), 1)
    spot = {}
    for index, key in enumerate(keys):
        angle = 2 * math.pi * index / n - math.pi / 2
        spot[key] = (200 + 165 * math.cos(angle), 200 + 165 * math.sin(angle), angle)
    chosen = sorted(
        (p for p in pairs if p.first in spot and p.second in spot and p.n_inliers), key=lambda p: -p.n_inliers
    )
    number = dict(zip(keys, numbers, strict=True))
    parts = [_edge(pair, spot, number) for pair in reversed(chosen[:_MAX_EDGES])]
    step = max(1, math.ceil(n / 40))
    for index, key in enumerate(keys):
        x, y, angle = spot[key]
        css = "node" if key in placed else "node lost"
        mark = f'data-view="{number[key]}"'
        parts.append(
            f'<circle class="{css}" {mark} cx="{x:.1f}" cy="{y:.1f}" r="{6 if n <= 40 else 3.5}">'
            f"<title>{escape(key)}</title></circle>"
        )
        if index % step == 0:
            at = 200 + 185 * math.cos(angle), 203.5 + 185 * math.sin(angle)
            parts.append(f'<text class="tick mid" x="{at[0]:.1f}" y="{at[1]:.1f}">{number[key]}</text>')
    return _svg(400, 400, "Graph of photos that match", parts, "circle")


def _edge(pair: PairSummary, spot: Mapping[str, tuple[float, float, float]], number: Mapping[str, int]) -> str:
    (x1, y1, _), (x2, y2, _) = spot[pair.first], spot[pair.second]
    # Edges bend towards the centre, so that neighbours and opposite photos can be told apart.
    bend = f"{200 + 0.35 * ((x1 + x2) / 2 - 200):.1f} {200 + 0.35 * ((y1 + y2) / 2 - 200):.1f}"
    marks = f'data-a="{number[pair.first]}" data-b="{number[pair.second]}"'
    path = f"M{x1:.1f} {y1:.1f}Q{bend} {x2:.1f} {y2:.1f}"
    return f'<path class="e{heat_level(pair.n_inliers)}" {marks} d="{path}"><title>{pair_title(pair)}</title></path>'
