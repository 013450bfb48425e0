"""Line charts as inline SVG, in the style of the histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from recon3d.report.text import escape, significant

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 380, 200, 44, 34, 12, 10
_MAX_POINTS = 400


def line_svg(name: str, axis: str, x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], from_zero: bool) -> str:
    """Draw a curve with its axes.

    Args:
        name: what is drawn, for screen readers.
        axis: label of the horizontal axis.
        x: places along it, ascending.
        y: values; those that are not finite are left out.
        from_zero: the vertical axis starts at zero.

    Returns:
        An ``<svg>``, or nothing where fewer than two values are finite.
    """
    solid = np.isfinite(x) & np.isfinite(y)
    x, y = x[solid], y[solid]
    if len(x) < 2:
        return ""
    if len(x) > _MAX_POINTS:
        kept = np.unique(np.linspace(0, len(x) - 1, _MAX_POINTS).astype(int))
        x, y = x[kept], y[kept]
    ticks = nice_ticks(0.0 if from_zero else float(y.min()), float(y.max()))
    low, high = ticks[0], ticks[-1]
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    right = float(x[-1]) if x[-1] > 0 else 1.0
    places = zip(
        (_LEFT + width * x / right).tolist(), (_TOP + height * (high - y) / (high - low)).tolist(), strict=True
    )
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    parts = [_grid(value, _TOP + height * (high - value) / (high - low)) for value in ticks]
    parts.append(f'<path class="curve" d="M{path}"/>')
    parts += _labels(axis, right, width)
    last = f"{name}, ending at {significant(float(y[-1]), 3)}"
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(last)}">'
    return head + "".join(parts) + "</svg>"


def nice_ticks(low: float, high: float, n: int = 4) -> Sequence[float]:
    """Return round values, evenly spaced, from at or below ``low`` to at or above ``high``."""
    size = max(abs(low), abs(high), 1e-9)
    if high - low < 1e-6 * size:
        low, high = min(low, high) - 0.5 * size, max(low, high) + 0.5 * size
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * index for index in range(first, last + 1)]


def short(value: float) -> str:
    """Return a tick's text: 12k and 1.5M for large numbers."""
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if unit == 'M' else 1e3):g}{unit}"
    return f"{value:.6g}"


def _grid(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick end" x="{_LEFT - 6}" y="{y + 3.5:.1f}">{short(value)}</text>'
    )


def _labels(axis: str, right: float, width: float) -> list[str]:
    y = _HEIGHT - _BOTTOM + 14
    ticks = [value for value in nice_ticks(0.0, right) if value <= right * (1 + 1e-9)]
    texts = [
        f'<text class="tick mid" x="{_LEFT + width * value / right:.1f}" y="{y}">{short(value)}</text>'
        for value in ticks
    ]
    texts.append(f'<text class="axis mid" x="{_LEFT + width / 2:.1f}" y="{_HEIGHT - 3}">{escape(axis)}</text>')
    return texts
