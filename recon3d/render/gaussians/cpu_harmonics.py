"""CPU kernels of spherical harmonics of degree 0 to 3, forward and backward, in chunks of Gaussians."""

from __future__ import annotations

from math import sqrt
from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel, run_chunks

_CHUNK = 8192
_C0 = 0.5 * sqrt(1 / np.pi)
_C1 = sqrt(3 / (4 * np.pi))
_C2, _C20 = 0.5 * sqrt(15 / np.pi), 0.25 * sqrt(5 / np.pi)
_C33, _C32 = 0.25 * sqrt(35 / (2 * np.pi)), 0.5 * sqrt(105 / np.pi)
_C31, _C30 = 0.25 * sqrt(21 / (2 * np.pi)), 0.25 * sqrt(7 / np.pi)


def harmonics_forward(
    directions: Float32[np.ndarray, "g 3"], coefficients: Float32[np.ndarray, "g k 3"], degree: int
) -> Float32[np.ndarray, "g 3"]:
    """Return the sums of harmonics up to ``degree`` in directions of any positive length."""
    g = len(directions)
    values = np.empty((g, 3), np.float32)

    def work(i: int) -> None:
        _evaluate_chunk(i * _CHUNK, min(g, (i + 1) * _CHUNK), directions, coefficients, degree, values)

    run_chunks(work, -(-g // _CHUNK))
    return values


def harmonics_backward(
    directions: Float32[np.ndarray, "g 3"],
    coefficients: Float32[np.ndarray, "g k 3"],
    degree: int,
    by_values: Float32[np.ndarray, "g 3"],
) -> tuple[Float32[np.ndarray, "g 3"], Float32[np.ndarray, "g k 3"]]:
    """Return the derivatives by directions and coefficients; those of higher degrees are zero."""
    g = len(directions)
    by_directions, by_coefficients = np.empty_like(directions), np.zeros_like(coefficients)
    arrays = (directions, coefficients, degree, by_values, by_directions, by_coefficients)
    run_chunks(
        lambda i: _evaluate_chunk_backward(i * _CHUNK, min(g, (i + 1) * _CHUNK), *arrays),
        -(-g // _CHUNK),
    )
    return by_directions, by_coefficients


@kernel
@no_type_check
def _bases(x, y, z, degree, out):
    """Write the harmonics of a unit vector, in the order and signs of 3DGS."""
    out[0] = _C0
    if degree < 1:
        return
    out[1], out[2], out[3] = -_C1 * y, _C1 * z, -_C1 * x
    if degree < 2:
        return
    xx, yy, zz = x * x, y * y, z * z
    out[4], out[5], out[6] = _C2 * x * y, -_C2 * y * z, _C20 * (2.0 * zz - xx - yy)
    out[7], out[8] = -_C2 * x * z, 0.5 * _C2 * (xx - yy)
    if degree < 3:
        return
    out[9], out[10] = -_C33 * y * (3.0 * xx - yy), _C32 * x * y * z
    out[11], out[12] = -_C31 * y * (4.0 * zz - xx - yy), _C30 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy)
    out[13], out[14] = -_C31 * x * (4.0 * zz - xx - yy), 0.5 * _C32 * z * (xx - yy)
    out[15] = -_C33 * x * (xx - 3.0 * yy)


@kernel
@no_type_check
def _gradient(x, y, z, degree, d):
    """Return the gradient by the vector of the sum of ``d[k]`` times harmonic k."""
    gx, gy, gz = 0.0, 0.0, 0.0
    if degree >= 1:
        gx, gy, gz = -_C1 * d[3], -_C1 * d[1], _C1 * d[2]
    if degree >= 2:
        gx += _C2 * (y * d[4] - z * d[7] + x * d[8]) - 2.0 * _C20 * x * d[6]
        gy += _C2 * (x * d[4] - z * d[5] - y * d[8]) - 2.0 * _C20 * y * d[6]
        gz += -_C2 * (y * d[5] + x * d[7]) + 4.0 * _C20 * z * d[6]
    if degree >= 3:
        xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
        gx += -6.0 * _C33 * xy * d[9] + _C32 * (yz * d[10] + xz * d[14]) - 3.0 * _C33 * (xx - yy) * d[15]
        gx += 2.0 * _C31 * xy * d[11] - 6.0 * _C30 * xz * d[12] - _C31 * (4.0 * zz - 3.0 * xx - yy) * d[13]
        gy += -3.0 * _C33 * (xx - yy) * d[9] + _C32 * (xz * d[10] - yz * d[14]) + 6.0 * _C33 * xy * d[15]
        gy += -_C31 * (4.0 * zz - xx - 3.0 * yy) * d[11] - 6.0 * _C30 * yz * d[12] + 2.0 * _C31 * xy * d[13]
        gz += _C32 * (xy * d[10] + 0.5 * (xx - yy) * d[14]) - 8.0 * _C31 * (yz * d[11] + xz * d[13])
        gz += _C30 * (6.0 * zz - 3.0 * xx - 3.0 * yy) * d[12]
    return gx, gy, gz


@kernel
@no_type_check
def _unit(directions, i):
    x, y, z = float(directions[i, 0]), float(directions[i, 1]), float(directions[i, 2])
    inverse = 1.0 / max(sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@kernel
@no_type_check
def _evaluate_chunk(start, stop, directions, coefficients, degree, values):
    bases = np.zeros(16)
    for i in range(start, stop):
        x, y, z, _ = _unit(directions, i)
        _bases(x, y, z, degree, bases)
        red, green, blue = 0.0, 0.0, 0.0
        for k in range((degree + 1) * (degree + 1)):
            red += bases[k] * coefficients[i, k, 0]
            green += bases[k] * coefficients[i, k, 1]
            blue += bases[k] * coefficients[i, k, 2]
        values[i, 0], values[i, 1], values[i, 2] = red, green, blue


@kernel
@no_type_check
def _evaluate_chunk_backward(
    start, stop, directions, coefficients, degree, by_values, by_directions, by_coefficients
):  # fmt: skip
    bases, by_bases = np.zeros(16), np.zeros(16)
    for i in range(start, stop):
        x, y, z, inverse = _unit(directions, i)
        _bases(x, y, z, degree, bases)
        for k in range((degree + 1) * (degree + 1)):
            total = 0.0
            for c in range(3):
                by_coefficients[i, k, c] = bases[k] * by_values[i, c]
                total += coefficients[i, k, c] * by_values[i, c]
            by_bases[k] = total
        gx, gy, gz = _gradient(x, y, z, degree, by_bases)
        along = gx * x + gy * y + gz * z
        by_directions[i, 0] = (gx - along * x) * inverse
        by_directions[i, 1] = (gy - along * y) * inverse
        by_directions[i, 2] = (gz - along * z) * inverse
