"""Numba kernels: the common area of rotated rectangles, clipped in float64."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float64

from recon3d.core.kernels import kernel, run_chunks

SMALLEST_SIZE = 1e-2  # metres; a thinner rectangle overlaps nothing
_CHUNK = 256  # rows of one job


def prepared(boxes: Float64[np.ndarray, "n 7"]) -> Float64[np.ndarray, "n 7"]:
    """Return centre x, y, half length, half width, cosine and sine of yaw, and the radius; negative for a thin one.

    Args:
        boxes: oriented boxes ``[n,7]``.
    """
    half = boxes[:, 3:5] / 2
    radius = np.where((boxes[:, 3:5] <= SMALLEST_SIZE).any(1), -1.0, np.hypot(half[:, 0], half[:, 1]))
    yaw = boxes[:, 6]
    ready: Float64[np.ndarray, "n 7"] = np.column_stack([boxes[:, :2], half, np.cos(yaw), np.sin(yaw), radius])
    return ready


def common_areas(first: Float64[np.ndarray, "n 7"], second: Float64[np.ndarray, "m 7"]) -> Float64[np.ndarray, "n m"]:
    """Return the area that each rectangle shares with each other, seen from above.

    Args:
        first: oriented boxes ``[n,7]``.
        second: oriented boxes ``[m,7]``.
    """
    areas = np.zeros((len(first), len(second)))
    a, b = prepared(first), prepared(second)

    def chunk(number: int) -> None:
        rows = slice(number * _CHUNK, (number + 1) * _CHUNK)
        _fill(a[rows], b, np.empty((2, 2, 12)), areas[rows])

    run_chunks(chunk, -(-len(first) // _CHUNK))
    return areas


def common_areas_of_pairs(
    first: Float64[np.ndarray, "n 7"], second: Float64[np.ndarray, "n 7"]
) -> Float64[np.ndarray, " n"]:
    """Return the area that each rectangle shares with the one of the same row.

    Args:
        first: oriented boxes ``[n,7]``.
        second: oriented boxes ``[n,7]``.
    """
    areas = np.zeros(len(first))
    _fill_pairs(prepared(first), prepared(second), np.empty((2, 2, 12)), areas)
    return areas


@kernel(order="written")
@no_type_check
def _fill(a, b, scratch, areas):
    for row in range(len(a)):
        for col in range(len(b)):
            areas[row, col] = common_area(a, row, b, col, scratch)


@kernel(order="written")
@no_type_check
def _fill_pairs(a, b, scratch, areas):
    for row in range(len(a)):
        areas[row] = common_area(a, row, b, row, scratch)


@kernel(order="written", lean=True)
@no_type_check
def common_area(a, row, b, col, scratch):
    """Return the common area of rectangle ``row`` of ``a`` and ``col`` of ``b``.

    The first is seen from the second: its corners are cut at four axis-aligned lines, so that a cut corner lies exactly
    on its line, and rectangles that are identical or touch need no tolerance.

    Args:
        a: prepared rectangles ``[n,7]``.
        row: into ``a``.
        b: prepared rectangles ``[m,7]``.
        col: into ``b``.
        scratch: corners before and after a cut, ``[2,2,12]``.
    """
    dx, dy = a[row, 0] - b[col, 0], a[row, 1] - b[col, 1]
    reach = a[row, 6] + b[col, 6]
    if a[row, 6] < 0 or b[col, 6] < 0 or dx * dx + dy * dy > reach * reach:
        return 0.0
    x, y = b[col, 4] * dx + b[col, 5] * dy, b[col, 4] * dy - b[col, 5] * dx
    cosine = a[row, 4] * b[col, 4] + a[row, 5] * b[col, 5]
    sine = a[row, 5] * b[col, 4] - a[row, 4] * b[col, 5]
    for corner in range(4):
        along = a[row, 2] if corner == 0 or corner == 3 else -a[row, 2]
        across = a[row, 3] if corner < 2 else -a[row, 3]
        scratch[0, 0, corner] = x + cosine * along - sine * across
        scratch[0, 1, corner] = y + sine * along + cosine * across
    count = 4
    for side in range(4):
        count = _cut(scratch, side, b[col, 2 + side % 2], count)
    return _area(scratch, count)


@kernel(order="written", lean=True)
@no_type_check
def _cut(scratch, side, limit, count):
    """Keep what lies within side +x, +y, -x or -y of a rectangle (Sutherland and Hodgman, 1974); count its corners."""
    axis, source, target = side % 2, side % 2, 1 - side % 2
    sign = 1.0 if side < 2 else -1.0
    kept = 0
    for corner in range(count):
        after = corner + 1 if corner + 1 < count else 0
        here, there = sign * scratch[source, axis, corner], sign * scratch[source, axis, after]
        if here <= limit:
            scratch[target, 0, kept] = scratch[source, 0, corner]
            scratch[target, 1, kept] = scratch[source, 1, corner]
            kept += 1
        if (here < limit and there > limit) or (here > limit and there < limit):
            share = (limit - here) / (there - here)
            other = scratch[source, 1 - axis, corner]
            scratch[target, axis, kept] = sign * limit
            scratch[target, 1 - axis, kept] = other + share * (scratch[source, 1 - axis, after] - other)
            kept += 1
    return kept


@kernel(order="written", lean=True)
@no_type_check
def _area(scratch, count):
    """Return the area of a convex polygon, as triangles around its first corner."""
    twice = 0.0
    for corner in range(1, count - 1):
        x0, y0 = scratch[0, 0, corner] - scratch[0, 0, 0], scratch[0, 1, corner] - scratch[0, 1, 0]
        x1, y1 = scratch[0, 0, corner + 1] - scratch[0, 0, 0], scratch[0, 1, corner + 1] - scratch[0, 1, 0]
        twice += x0 * y1 - x1 * y0
    return max(twice / 2, 0.0)
