"""Geometry of the projection of Gaussians for the CPU kernels: sixteen Gaussians at a time, one to a lane.

The numbers of sixteen Gaussians stand in rows of sixteen: means from place 0, quaternions from 48, logarithms of the
scales from 112.
"""

from __future__ import annotations

from math import log
from typing import no_type_check

import numpy as np

from recon3d.core.kernels import kernel
from recon3d.render.gaussians.cpu_simd import at, exact_exp2, load, put, root, select, spread

TINY = np.float32(1e-12)
_MIN_DETERMINANT = np.float32(1e-10)
_LOG2_E = 1 / log(2)
_LEAST, _GREATEST = np.float32(-126), np.float32(127)  # exponents of float32


@kernel(order="fused", inline=True)
@no_type_check
def greater(a, b):
    """Return the greater of two, lane by lane."""
    return select(a > b, a, b)


@kernel(order="fused", inline=True)
@no_type_check
def lesser(a, b):
    """Return the lesser of two, lane by lane."""
    return select(a < b, a, b)


@kernel(order="fused", inline=True)
@no_type_check
def dot(a, b):
    """Return the inner product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel(order="fused", inline=True)
@no_type_check
def mix(a, p, b, q):
    """Return ``a p + b q`` of two vectors."""
    return a * p[0] + b * q[0], a * p[1] + b * q[1], a * p[2] + b * q[2]


@kernel(order="fused", inline=True)
@no_type_check
def turned(p, q, r, rows):
    """Return the row ``(p, q, r)`` times a matrix."""
    first, second, third = rows
    return (
        p * first[0] + q * second[0] + r * third[0],
        p * first[1] + q * second[1] + r * third[1],
        p * first[2] + q * second[2] + r * third[2],
    )


@kernel(order="fused", inline=True)
@no_type_check
def gather(array, index, first, n, width, out, place):
    """Copy up to 16 Gaussians' numbers into rows of sixteen; the last one fills what is left of them."""
    for j in range(16):
        o = np.int64(at(index, min(first + j, n - 1))) * width
        for k in range(width):
            put(out, place + 16 * k + j, at(array, o + k))


@kernel(order="fused", inline=True)
@no_type_check
def scatter(rows, place, index, first, n, width, array):
    """Copy rows of sixteen back to the Gaussians that they belong to."""
    for j in range(min(16, n - first)):
        o = np.int64(at(index, first + j)) * width
        for k in range(width):
            put(array, o + k, at(rows, place + 16 * k + j))


@kernel(order="fused", inline=True)
@no_type_check
def triple(rows, place):
    """Return three rows of sixteen."""
    return load(rows, place), load(rows, place + 16), load(rows, place + 32)


@kernel(order="fused", inline=True)
@no_type_check
def unit_quats(rows):
    """Return quaternions of length one and the inverses of the lengths they had."""
    w, x, y, z = load(rows, 48), load(rows, 64), load(rows, 80), load(rows, 96)
    inverse = 1.0 / greater(root(w * w + x * x + y * y + z * z), spread(TINY))
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@kernel(order="fused", inline=True)
@no_type_check
def scales_of(rows):
    """Return the standard deviations along the axes."""
    a, b, c = triple(rows, 112)
    return _exp(a), _exp(b), _exp(c)


@kernel(order="fused", inline=True)
@no_type_check
def _exp(value):
    """Return exponentials, cut to what exact_exp2 can: the square of what is cut is zero or infinite as it was."""
    return exact_exp2(lesser(greater(value * _LOG2_E, spread(_LEAST)), spread(_GREATEST)))


@kernel(order="fused", inline=True)
@no_type_check
def principal_axes(rows):
    """Return the principal axes in the world, ``R S`` row by row."""
    w, x, y, z, _ = unit_quats(rows)
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    a, b, c = scales_of(rows)
    first = ((1.0 - 2.0 * (yy + zz)) * a, 2.0 * (xy - wz) * b, 2.0 * (xz + wy) * c)
    second = (2.0 * (xy + wz) * a, (1.0 - 2.0 * (xx + zz)) * b, 2.0 * (yz - wx) * c)
    third = (2.0 * (xz - wy) * a, 2.0 * (yz + wx) * b, (1.0 - 2.0 * (xx + yy)) * c)
    return first, second, third


@kernel(order="fused", inline=True)
@no_type_check
def to_camera(rows, pose):
    """Return centres in the camera's frame."""
    x, y, z = triple(rows, 0)
    return (
        x * pose[0, 0] + y * pose[0, 1] + z * pose[0, 2] + pose[0, 3],
        x * pose[1, 0] + y * pose[1, 1] + z * pose[1, 2] + pose[1, 3],
        x * pose[2, 0] + y * pose[2, 1] + z * pose[2, 2] + pose[2, 3],
    )


@kernel(order="fused", inline=True)
@no_type_check
def in_camera(axes, pose):
    """Return the principal axes in the camera's frame, row by row."""
    return (
        turned(pose[0, 0], pose[0, 1], pose[0, 2], axes),
        turned(pose[1, 0], pose[1, 1], pose[1, 2], axes),
        turned(pose[2, 0], pose[2, 1], pose[2, 2], axes),
    )


@kernel(order="fused", inline=True)
@no_type_check
def jacobian(x, y, z, intrinsics):
    """Return the inverse depths, the slopes x/z and y/z, and the same cut to the limits of the Jacobian."""
    inverse = 1.0 / z
    u, v = x * inverse, y * inverse
    cut_u = lesser(greater(u, spread(intrinsics[4])), spread(intrinsics[5]))
    cut_v = lesser(greater(v, spread(intrinsics[6])), spread(intrinsics[7]))
    return inverse, u, v, cut_u, cut_v


@kernel(order="fused", inline=True)
@no_type_check
def widened(px, py, eps2d):
    """Return the widened covariance, its determinant and the one before: that without cancellation."""
    xx, xy, yy = dot(px, px), dot(px, py), dot(py, py)
    a = px[1] * py[2] - px[2] * py[1]
    b = px[2] * py[0] - px[0] * py[2]
    c = px[0] * py[1] - px[1] * py[0]
    narrow = a * a + b * b + c * c
    wide = greater(narrow + (xx + yy) * eps2d + eps2d * eps2d, spread(_MIN_DETERMINANT))
    return xx + eps2d, xy, yy + eps2d, wide, narrow
