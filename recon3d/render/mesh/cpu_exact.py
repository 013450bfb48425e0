"""On which side of an edge a pixel's centre lies, without an error: kernels in double precision with exact signs."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from recon3d.core.kernels import kernel

ROUNDING = 4e-16  # of a cross product, relative to the sum of the sizes of its two terms: (3 + 16 u) u, u = 2^-53
_SPLITTER = 134217729.0  # 2^27 + 1


@kernel(order="written", inline=True)
@no_type_check
def cross(ax, ay, bx, by, px, py):
    """Return twice the area of (a, b, p): the bits of minus that of (b, a, p)."""
    return (ax - px) * (by - py) - (ay - py) * (bx - px)


@kernel(order="written")
@no_type_check
def exact_sign(ax, ay, bx, by, px, py):
    """Return the sign of :func:`cross` without rounding, by expansions (Shewchuk, Adaptive Precision ..., 1997)."""
    total = np.zeros(16)
    n = 0
    n = _add_product(total, n, ax, px, by, py, 1.0)
    n = _add_product(total, n, ay, py, bx, px, -1.0)
    for i in range(n - 1, -1, -1):
        if total[i] > 0.0:
            return 1.0
        if total[i] < 0.0:
            return -1.0
    return 0.0


@kernel(order="written")
@no_type_check
def _add_product(total, n, a, p, b, q, factor):
    """Add factor * (a - p) * (b - q) to an expansion of n terms; return how many it has now."""
    a_high, b_high = a - p, b - q
    a_low, b_low = _difference_error(a, p, a_high), _difference_error(b, q, b_high)
    for i in range(4):
        x = a_high if i < 2 else a_low
        y = b_high if i % 2 == 0 else b_low
        product = x * y
        n = _grow(total, n, factor * _product_error(x, y, product))
        n = _grow(total, n, factor * product)
    return n


@kernel(order="written")
@no_type_check
def _grow(total, n, term):
    """Add a number to an expansion without an error."""
    for i in range(n):
        high = term + total[i]
        virtual = high - term
        total[i] = (term - (high - virtual)) + (total[i] - virtual)
        term = high
    total[n] = term
    return n + 1


@kernel(order="written", inline=True)
@no_type_check
def _difference_error(a, b, difference):
    virtual = a - difference
    return (a - (difference + virtual)) + (virtual - b)


@kernel(order="written", inline=True)
@no_type_check
def _product_error(a, b, product):
    c = _SPLITTER * a
    a_high = c - (c - a)
    a_low = a - a_high
    c = _SPLITTER * b
    b_high = c - (c - b)
    b_low = b - b_high
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


@kernel(order="written")
@no_type_check
def owns(ax, ay, bx, by, px, py, turn):
    """Return whether a triangle to one side of the edge (a, b) holds p, exactly.

    On the edge itself, of two triangles at both sides one holds it: that with a top or left edge there. ``turn`` is 1
    where the triangle runs clockwise on the screen (y down), otherwise -1.
    """
    sign = exact_sign(ax, ay, bx, by, px, py) * turn
    if sign != 0.0:
        return sign > 0.0
    along_x, along_y = (bx - ax) * turn, (by - ay) * turn
    return along_y < 0.0 or (along_y == 0.0 and along_x > 0.0)
