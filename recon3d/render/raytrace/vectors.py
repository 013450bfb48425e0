"""Vectors of three numbers in kernels, as tuples."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from recon3d.core.kernels import kernel


@kernel(order="written", inline=True)
@no_type_check
def dot(a, b):
    """Return the inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(order="written", inline=True)
@no_type_check
def cross(a, b):
    """Return the vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kernel(order="written", inline=True)
@no_type_check
def scaled(a, factor):
    """Return the vector times a number."""
    return a[0] * factor, a[1] * factor, a[2] * factor


@kernel(order="written", inline=True)
@no_type_check
def plus(a, b):
    """Return the sum."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@kernel(order="written", inline=True)
@no_type_check
def minus(a, b):
    """Return the difference."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@kernel(order="written", inline=True)
@no_type_check
def unit(a):
    """Return the vector at length one; zero stays zero."""
    return scaled(a, np.float32(1.0) / np.float32(math.sqrt(max(dot(a, a), np.float32(1e-36)))))


@kernel(order="written", inline=True)
@no_type_check
def row(array, i):
    """Return row i of ``[n,3]``."""
    return array[i, 0], array[i, 1], array[i, 2]


@kernel(order="written", inline=True)
@no_type_check
def set_row(array, i, a):
    """Write row i of ``[n,3]``."""
    array[i, 0], array[i, 1], array[i, 2] = a
