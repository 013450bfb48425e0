"""CPU kernels of the projection of Gaussians into a pinhole camera, forward and backward.

Sixteen Gaussians at a time: their numbers are gathered into rows of sixteen, computed in vector registers, and what
comes out is scattered again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log2
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_simd import (
    at,
    both,
    exact_exp2,
    inlined,
    load,
    log2 as lanes_log2,
    put,
    root,
    scratch,
    select,
    spread,
    store,
    total,
    upwards,
)
from recon3d.render.gaussians.options import ProjectionOptions

CHUNK = 4096  # Gaussians per chunk; it decides how sums are split, so it must not follow the number of threads
_MAX_RADIUS, _TINY, _ZERO = np.float32(1 << 30), np.float32(1e-12), np.float32(0)
_MIN_DETERMINANT = np.float32(1e-10)
_SIGMAS = np.float32(3.33)  # where gsplat ends a Gaussian
_LOG2_E, _TWO_LN_2 = 1 / log(2), 2 * log(2)
_GREATEST = 3e38  # a radius beyond it is not finite


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """One camera as the kernels read it.

    Args:
        pose: the upper rows of ``cam_from_world``, ``[3,4]``.
        intrinsics: fx, fy, cx, cy, the limits of x/z (low, high) and of y/z for the Jacobian, width and height,
            ``[10]``.
    """

    pose: Float32[np.ndarray, "3 4"]
    intrinsics: Float32[np.ndarray, "10"]


def pinhole_camera(
    cam_from_world: Float32[np.ndarray, "4 4"], K: Float32[np.ndarray, "3 3"], width: int, height: int
) -> PinholeCamera:
    """Return a camera whose Jacobian is cut at the image plus 15 % of its size on each side, as in gsplat 1.5.3."""
    size = np.array([width, height], np.float64)
    focal, centre = K.astype(np.float64).diagonal()[:2], K[:2, 2].astype(np.float64)
    low, high = -(centre + 0.15 * size) / focal, (1.15 * size - centre) / focal
    limits = [low[0], high[0], low[1], high[1]]
    intrinsics = np.concatenate([focal, centre, limits, size])
    return PinholeCamera(np.ascontiguousarray(cam_from_world[:3]), intrinsics.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Projected:
    """The arrays of a :class:`~recon3d.render.gaussians.Projection`, or derivatives by its first four."""

    means2d: Float32[np.ndarray, "g 2"]
    depths: Float32[np.ndarray, " g"]
    conics: Float32[np.ndarray, "g 3"]
    compensations: Float32[np.ndarray, " g"]


Inputs = tuple[
    Float32[np.ndarray, "g 3"], Float32[np.ndarray, "g 4"], Float32[np.ndarray, "g 3"]
]  # means, quats, log_scales


def project_forward(
    inputs: Inputs,
    opacities: Float32[np.ndarray, " g"] | None,
    camera: PinholeCamera,
    options: ProjectionOptions,
) -> tuple[Projected, Int32[np.ndarray, "g 2"]]:
    """Return the projection of ``inputs`` and the radii, all zero where a Gaussian is not seen."""
    g = len(inputs[0])
    out = Projected(np.zeros((g, 2), "f4"), np.zeros(g, "f4"), np.zeros((g, 3), "f4"), np.zeros(g, "f4"))
    radii = np.zeros((g, 2), np.int32)
    strength = np.ones(g, np.float32) if opacities is None else opacities
    flags = [float(options.bounds == "gsplat"), float(options.antialiased)]
    rules = np.array([options.eps2d, options.near, options.far, *flags, log2(options.min_alpha)], np.float32)
    arrays = (*inputs, strength, camera.pose, camera.intrinsics, rules)
    results = (out.means2d, out.depths, out.conics, out.compensations, radii)
    run_chunks(lambda i: _project_chunk(i * CHUNK, min(g, (i + 1) * CHUNK), *arrays, *results), -(-g // CHUNK))
    return out, radii


def project_backward(
    inputs: Inputs,
    camera: PinholeCamera,
    eps2d: float,
    radii: Int32[np.ndarray, "g 2"],
    by: Projected,
) -> tuple[Inputs, Float64[np.ndarray, "3 4"]]:
    """Return the derivatives by means, quats, log_scales and the pose, given those ``by`` what was projected."""
    g = len(inputs[0])
    n_chunks = -(-g // CHUNK)
    grads = (np.zeros((g, 3), "f4"), np.zeros((g, 4), "f4"), np.zeros((g, 3), "f4"))
    poses = np.zeros((n_chunks, 3, 4))
    arrays = (*inputs, camera.pose, camera.intrinsics, np.float32(eps2d), radii)
    by_arrays = (by.means2d, by.depths, by.conics, by.compensations)

    def work(i: int) -> None:
        _project_chunk_backward(i * CHUNK, min(g, (i + 1) * CHUNK), *arrays, *by_arrays, *grads, poses[i])

    run_chunks(work, n_chunks)
    return grads, poses.sum(0)


@inlined
@no_type_check
def _greater(a, b):
    return select(a > b, a, b)


@inlined
@no_type_check
def _lesser(a, b):
    return select(a < b, a, b)


@inlined
@no_type_check
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@inlined
@no_type_check
def _mix(a, p, b, q):
    """Return ``a p + b q`` of two vectors."""
    return a * p[0] + b * q[0], a * p[1] + b * q[1], a * p[2] + b * q[2]


@inlined
@no_type_check
def _turned(p, q, r, rows):
    """Return the row ``(p, q, r)`` times a matrix."""
    first, second, third = rows
    return (
        p * first[0] + q * second[0] + r * third[0],
        p * first[1] + q * second[1] + r * third[1],
        p * first[2] + q * second[2] + r * third[2],
    )


@inlined
@no_type_check
def _gather(array, index, first, n, width, out, place):
    """Copy up to 16 Gaussians' numbers into rows of sixteen; the last one fills what is left of them."""
    for j in range(16):
        o = np.int64(at(index, min(first + j, n - 1))) * width
        for k in range(width):
            put(out, place + 16 * k + j, at(array, o + k))


@inlined
@no_type_check
def _scatter(rows, place, index, first, n, width, array):
    """Copy rows of sixteen back to the Gaussians that they belong to."""
    for j in range(min(16, n - first)):
        o = np.int64(at(index, first + j)) * width
        for k in range(width):
            put(array, o + k, at(rows, place + 16 * k + j))


@inlined
@no_type_check
def _triple(rows, place):
    return load(rows, place), load(rows, place + 16), load(rows, place + 32)


@inlined
@no_type_check
def _unit(rows):
    """Return quaternions of length one and the inverses of the lengths they had."""
    w, x, y, z = load(rows, 48), load(rows, 64), load(rows, 80), load(rows, 96)
    inverse = 1.0 / _greater(root(w * w + x * x + y * y + z * z), spread(_TINY))
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@inlined
@no_type_check
def _scales(rows):
    a, b, c = _triple(rows, 112)
    return exact_exp2(a * _LOG2_E), exact_exp2(b * _LOG2_E), exact_exp2(c * _LOG2_E)


@inlined
@no_type_check
def _axes(rows):
    """Return the principal axes in the world, ``R S`` row by row."""
    w, x, y, z, _ = _unit(rows)
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    a, b, c = _scales(rows)
    first = ((1.0 - 2.0 * (yy + zz)) * a, 2.0 * (xy - wz) * b, 2.0 * (xz + wy) * c)
    second = (2.0 * (xy + wz) * a, (1.0 - 2.0 * (xx + zz)) * b, 2.0 * (yz - wx) * c)
    third = (2.0 * (xz - wy) * a, 2.0 * (yz + wx) * b, (1.0 - 2.0 * (xx + yy)) * c)
    return first, second, third


@inlined
@no_type_check
def _to_camera(rows, pose):
    """Return centres in the camera's frame."""
    x, y, z = _triple(rows, 0)
    return (
        x * pose[0, 0] + y * pose[0, 1] + z * pose[0, 2] + pose[0, 3],
        x * pose[1, 0] + y * pose[1, 1] + z * pose[1, 2] + pose[1, 3],
        x * pose[2, 0] + y * pose[2, 1] + z * pose[2, 2] + pose[2, 3],
    )


@inlined
@no_type_check
def _in_camera(axes, pose):
    """Return the principal axes in the camera's frame, row by row."""
    return (
        _turned(pose[0, 0], pose[0, 1], pose[0, 2], axes),
        _turned(pose[1, 0], pose[1, 1], pose[1, 2], axes),
        _turned(pose[2, 0], pose[2, 1], pose[2, 2], axes),
    )


@inlined
@no_type_check
def _jacobian(x, y, z, intrinsics):
    """Return the inverse depths, the slopes x/z and y/z, and the same cut to the limits of the Jacobian."""
    inverse = 1.0 / z
    u, v = x * inverse, y * inverse
    cut_u = _lesser(_greater(u, spread(intrinsics[4])), spread(intrinsics[5]))
    cut_v = _lesser(_greater(v, spread(intrinsics[6])), spread(intrinsics[7]))
    return inverse, u, v, cut_u, cut_v


@inlined
@no_type_check
def _widened(px, py, eps2d):
    """Return the widened covariance, its determinant and the one before: that without cancellation."""
    xx, xy, yy = _dot(px, px), _dot(px, py), _dot(py, py)
    a = px[1] * py[2] - px[2] * py[1]
    b = px[2] * py[0] - px[0] * py[2]
    c = px[0] * py[1] - px[1] * py[0]
    narrow = a * a + b * b + c * c
    wide = _greater(narrow + (xx + yy) * eps2d + eps2d * eps2d, spread(_MIN_DETERMINANT))
    return xx + eps2d, xy, yy + eps2d, wide, narrow


@inlined
@no_type_check
def _radii(u, v, xx, yy, opacity, factor, intrinsics, rules):
    """Return the half sizes of the boxes, 0 where nothing of a Gaussian is in the image."""
    strength = opacity * factor if rules[4] > 0.0 else opacity
    seen = select(strength > _ZERO, lanes_log2(strength) - rules[5], _ZERO)
    extent = root(_greater(seen, spread(_ZERO)) * _TWO_LN_2)
    extent = spread(_SIGMAS) if rules[3] > 0.0 else extent
    rx, ry = extent * root(xx), extent * root(yy)
    shown = both(both(rx > _ZERO, ry > _ZERO), both(rx < _GREATEST, ry < _GREATEST))
    rx, ry = _lesser(upwards(rx), spread(_MAX_RADIUS)), _lesser(upwards(ry), spread(_MAX_RADIUS))
    shown = both(shown, both(u + rx > _ZERO, v + ry > _ZERO))
    shown = both(shown, both(u - rx < intrinsics[8], v - ry < intrinsics[9]))
    return select(shown, rx, _ZERO), select(shown, ry, _ZERO)


@inlined
@no_type_check
def _project_rows(rows, pose, intrinsics, rules, out):
    """Project sixteen Gaussians: write means2d, depths, conics, compensations and radii; return which are seen."""
    x, y, z = _to_camera(rows, pose)
    inverse, u, v, cut_u, cut_v = _jacobian(x, y, z, intrinsics)
    nx, ny, nz = _in_camera(_axes(rows), pose)
    jxx, jyy = inverse * intrinsics[0], inverse * intrinsics[1]
    px, py = _mix(jxx, nx, _ZERO - jxx * cut_u, nz), _mix(jyy, ny, _ZERO - jyy * cut_v, nz)
    xx, xy, yy, wide, narrow = _widened(px, py, rules[0])
    factor, scale = root(narrow / wide), 1.0 / wide
    u, v = u * intrinsics[0] + intrinsics[2], v * intrinsics[1] + intrinsics[3]
    rx, ry = _radii(u, v, xx, yy, load(rows, 160), factor, intrinsics, rules)
    store(out, 0, u)
    store(out, 16, v)
    store(out, 32, z)
    store(out, 48, yy * scale)
    store(out, 64, _ZERO - xy * scale)
    store(out, 80, xx * scale)
    store(out, 96, factor)
    store(out, 112, rx)
    store(out, 128, ry)


@kernel
@no_type_check
def _in_front(start, stop, means, pose, rules, index):
    """Write the indices of the Gaussians between the near and the far plane, and return how many there are."""
    n = 0
    for i in range(start, stop):
        x, y, z = at(means, 3 * i), at(means, 3 * i + 1), at(means, 3 * i + 2)
        depth = x * pose[2, 0] + y * pose[2, 1] + z * pose[2, 2] + pose[2, 3]
        put(index, n, np.int32(i))
        n += depth > rules[1] and depth < rules[2]
    return n


@kernel
@no_type_check
def _project_chunk(
    start, stop, means, quats, log_scales, opacities, pose, intrinsics, rules, means2d, depths, conics, factors, radii
):  # fmt: skip
    index = np.empty(stop - start + 1, np.int32)
    rows, out = scratch(11 * 16), scratch(9 * 16)
    n = _in_front(start, stop, means, pose, rules, index)
    for first in range(0, n, 16):
        _gather(means, index, first, n, 3, rows, 0)
        _gather(quats, index, first, n, 4, rows, 48)
        _gather(log_scales, index, first, n, 3, rows, 112)
        _gather(opacities, index, first, n, 1, rows, 160)
        _project_rows(rows, pose, intrinsics, rules, out)
        for j in range(min(16, n - first)):
            i, rx, ry = index[first + j], out[112 + j], out[128 + j]
            if rx > _ZERO and ry > _ZERO:
                means2d[i, 0], means2d[i, 1], depths[i] = out[j], out[16 + j], out[32 + j]
                conics[i, 0], conics[i, 1], conics[i, 2] = out[48 + j], out[64 + j], out[80 + j]
                factors[i], radii[i, 0], radii[i, 1] = out[96 + j], np.int32(rx), np.int32(ry)


@inlined
@no_type_check
def _image_axes_gradient(px, py, eps2d, ga, gb, gc, gf):
    """Return the derivatives by both rows of ``P = J W R S``, given those by conic and compensation.

    With the covariance ``P P^T + eps`` and the Cholesky factor ``L^T L`` of its inverse, the conic's part is
    ``-2 L^T (L G L^T) L P``: multiplied out in this order, thin Gaussians lose least. The compensation is the root of
    the ratio of two determinants.
    """
    xx, xy, yy, wide, narrow = _widened(px, py, eps2d)
    scale, d = 1.0 / wide, 1.0 / root(yy)
    a = root(yy * scale)
    b = _ZERO - xy * scale / a
    gb = gb * 0.5
    right = a * gb + b * gc
    guu, guv, gvv = a * (a * ga + b * gb) + b * right, d * right, d * d * gc
    factor = root(narrow * scale)
    solid = factor > _TINY
    inner = select(solid, gf * scale / factor, _ZERO)
    outer = select(solid, gf * factor, _ZERO)
    u, v = _mix(a, px, b, py), (d * py[0], d * py[1], d * py[2])
    guu, guv, gvv = _ZERO - outer - 2.0 * guu, -2.0 * guv, _ZERO - outer - 2.0 * gvv
    du, dv = _mix(guu, u, guv, v), _mix(guv, u, gvv, v)
    dpx, dpy = (a * du[0], a * du[1], a * du[2]), _mix(b, du, d, dv)
    cross, wide_y, wide_x = _ZERO - inner * xy, inner * (yy - eps2d), inner * (xx - eps2d)
    ex, ey = _mix(wide_y, px, cross, py), _mix(cross, px, wide_x, py)
    return (dpx[0] + ex[0], dpx[1] + ex[1], dpx[2] + ex[2]), (dpy[0] + ey[0], dpy[1] + ey[1], dpy[2] + ey[2])


@inlined
@no_type_check
def _quaternion_gradient(rows, d0, d1, d2, out):
    """Write the derivatives by quaternions of any length, given those by the nine entries of their rotations."""
    w, x, y, z, inverse = _unit(rows)
    s01, s02, s12 = d0[1] + d1[0], d0[2] + d2[0], d1[2] + d2[1]
    a12, a20, a01 = d2[1] - d1[2], d0[2] - d2[0], d1[0] - d0[1]
    gw = x * a12 + y * a20 + z * a01
    gx = w * a12 + y * s01 + z * s02 - 2.0 * x * (d1[1] + d2[2])
    gy = w * a20 + x * s01 + z * s12 - 2.0 * y * (d0[0] + d2[2])
    gz = w * a01 + x * s02 + y * s12 - 2.0 * z * (d0[0] + d1[1])
    along, inverse = gw * w + gx * x + gy * y + gz * z, 2.0 * inverse
    store(out, 48, (gw - along * w) * inverse)
    store(out, 64, (gx - along * x) * inverse)
    store(out, 80, (gy - along * y) * inverse)
    store(out, 96, (gz - along * z) * inverse)


@inlined
@no_type_check
def _axes_gradient(rows, axes, dnx, dny, dnz, pose, out):
    """Write the derivatives by rotations and scales, given those by the three rows of ``W R S``."""
    d0 = _turned(pose[0, 0], pose[1, 0], pose[2, 0], (dnx, dny, dnz))
    d1 = _turned(pose[0, 1], pose[1, 1], pose[2, 1], (dnx, dny, dnz))
    d2 = _turned(pose[0, 2], pose[1, 2], pose[2, 2], (dnx, dny, dnz))
    r0, r1, r2 = axes
    store(out, 112, d0[0] * r0[0] + d1[0] * r1[0] + d2[0] * r2[0])
    store(out, 128, d0[1] * r0[1] + d1[1] * r1[1] + d2[1] * r2[1])
    store(out, 144, d0[2] * r0[2] + d1[2] * r1[2] + d2[2] * r2[2])
    a, b, c = _scales(rows)
    d0, d1 = (d0[0] * a, d0[1] * b, d0[2] * c), (d1[0] * a, d1[1] * b, d1[2] * c)
    _quaternion_gradient(rows, d0, d1, (d2[0] * a, d2[1] * b, d2[2] * c), out)


@inlined
@no_type_check
def _add_pose_gradient(sums, place, dn, axes, g, centre):
    """Add ``dn (R S)^T + g m^T`` to one row of the derivative by the pose, and ``g`` to its translation."""
    for k in range(3):
        store(sums, place + 16 * k, load(sums, place + 16 * k) + _dot(dn, axes[k]) + g * centre[k])
    store(sums, place + 48, load(sums, place + 48) + g)


@inlined
@no_type_check
def _unproject_rows(rows, by, pose, intrinsics, eps2d, out, sums):
    """Write the derivatives by sixteen Gaussians, and add those by the pose."""
    x, y, z = _to_camera(rows, pose)
    inverse, u, v, cut_u, cut_v = _jacobian(x, y, z, intrinsics)
    axes = _axes(rows)
    nx, ny, nz = _in_camera(axes, pose)
    jxx, jyy = inverse * intrinsics[0], inverse * intrinsics[1]
    jxz, jyz = _ZERO - jxx * cut_u, _ZERO - jyy * cut_v
    px, py = _mix(jxx, nx, jxz, nz), _mix(jyy, ny, jyz, nz)
    ga, gb, gc = _triple(by, 48)
    dpx, dpy = _image_axes_gradient(px, py, eps2d, ga, gb, gc, load(by, 96))
    by_jxx, by_jxz, by_jyy, by_jyz = _dot(dpx, nx), _dot(dpx, nz), _dot(dpy, ny), _dot(dpy, nz)
    du, dv = load(by, 0), load(by, 16)
    along_u, along_v = jxx * by_jxz, jyy * by_jyz  # minus the derivatives by the cut slopes
    free_u, free_v = select(u == cut_u, along_u, _ZERO), select(v == cut_v, along_v, _ZERO)
    gx, gy = jxx * du - free_u * inverse, jyy * dv - free_v * inverse
    fall = jxx * (x * du + by_jxx) + jyy * (y * dv + by_jyy) - along_u * cut_u - along_v * cut_v
    gz = load(by, 32) - (fall - free_u * u - free_v * v) * inverse
    centre = _triple(rows, 0)
    for k in range(3):
        store(out, 16 * k, gx * pose[0, k] + gy * pose[1, k] + gz * pose[2, k])
    dnx, dny = (jxx * dpx[0], jxx * dpx[1], jxx * dpx[2]), (jyy * dpy[0], jyy * dpy[1], jyy * dpy[2])
    dnz = _mix(jxz, dpx, jyz, dpy)
    _axes_gradient(rows, axes, dnx, dny, dnz, pose, out)
    _add_pose_gradient(sums, 0, dnx, axes, gx, centre)
    _add_pose_gradient(sums, 64, dny, axes, gy, centre)
    _add_pose_gradient(sums, 128, dnz, axes, gz, centre)


@kernel
@no_type_check
def _seen(start, stop, radii, index):
    """Write the indices of the Gaussians that are seen, and return how many there are."""
    n = 0
    for i in range(start, stop):
        put(index, n, np.int32(i))
        n += at(radii, 2 * i) > 0 and at(radii, 2 * i + 1) > 0
    return n


@kernel
@no_type_check
def _project_chunk_backward(
    start, stop, means, quats, log_scales, pose, intrinsics, eps2d, radii,
    by_means2d, by_depths, by_conics, by_factors, out_means, out_quats, out_scales, out_pose,
):  # fmt: skip
    index = np.empty(stop - start + 1, np.int32)
    rows, by, out, sums = scratch(10 * 16), scratch(7 * 16), scratch(10 * 16), scratch(12 * 16)
    sums[:] = _ZERO
    n = _seen(start, stop, radii, index)
    for first in range(0, n, 16):
        _gather(means, index, first, n, 3, rows, 0)
        _gather(quats, index, first, n, 4, rows, 48)
        _gather(log_scales, index, first, n, 3, rows, 112)
        _gather(by_means2d, index, first, n, 2, by, 0)
        _gather(by_depths, index, first, n, 1, by, 32)
        _gather(by_conics, index, first, n, 3, by, 48)
        _gather(by_factors, index, first, n, 1, by, 96)
        for j in range(n - first, 16):
            for k in range(7):
                by[16 * k + j] = _ZERO
        _unproject_rows(rows, by, pose, intrinsics, eps2d, out, sums)
        _scatter(out, 0, index, first, n, 3, out_means)
        _scatter(out, 48, index, first, n, 4, out_quats)
        _scatter(out, 112, index, first, n, 3, out_scales)
    for k in range(12):
        out_pose[k // 4, k % 4] = total(load(sums, 16 * k))
