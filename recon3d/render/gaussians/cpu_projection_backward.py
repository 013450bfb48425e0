"""CPU kernels of the gradients of the projection: sixteen Gaussians at a time, as in the projection itself."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_projection import CHUNK, Inputs, PinholeCamera, Projected
from recon3d.render.gaussians.cpu_projection_math import (
    TINY,
    dot,
    gather,
    in_camera,
    jacobian,
    mix,
    principal_axes,
    scales_of,
    scatter,
    to_camera,
    triple,
    turned,
    unit_quats,
    widened,
)
from recon3d.render.gaussians.cpu_simd import at, load, put, root, scratch, select, store, total

_ZERO = np.float32(0)


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


@kernel(order="fused", inline=True)
@no_type_check
def _image_axes_gradient(px, py, eps2d, ga, gb, gc, gf):
    """Return the derivatives by both rows of ``P = J W R S``, given those by conic and compensation.

    With the covariance ``P P^T + eps`` and the Cholesky factor ``L^T L`` of its inverse, the conic's part is
    ``-2 L^T (L G L^T) L P``: multiplied out in this order, thin Gaussians lose least. The compensation is the root of
    the ratio of two determinants.
    """
    xx, xy, yy, wide, narrow = widened(px, py, eps2d)
    scale, d = 1.0 / wide, 1.0 / root(yy)
    a = root(yy * scale)
    b = _ZERO - xy * scale / a
    gb = gb * 0.5
    right = a * gb + b * gc
    guu, guv, gvv = a * (a * ga + b * gb) + b * right, d * right, d * d * gc
    factor = root(narrow * scale)
    solid = factor > TINY
    inner = select(solid, gf * scale / factor, _ZERO)
    outer = select(solid, gf * factor, _ZERO)
    u, v = mix(a, px, b, py), (d * py[0], d * py[1], d * py[2])
    guu, guv, gvv = _ZERO - outer - 2.0 * guu, -2.0 * guv, _ZERO - outer - 2.0 * gvv
    du, dv = mix(guu, u, guv, v), mix(guv, u, gvv, v)
    dpx, dpy = (a * du[0], a * du[1], a * du[2]), mix(b, du, d, dv)
    cross, wide_y, wide_x = _ZERO - inner * xy, inner * (yy - eps2d), inner * (xx - eps2d)
    ex, ey = mix(wide_y, px, cross, py), mix(cross, px, wide_x, py)
    return (dpx[0] + ex[0], dpx[1] + ex[1], dpx[2] + ex[2]), (dpy[0] + ey[0], dpy[1] + ey[1], dpy[2] + ey[2])


@kernel(order="fused", inline=True)
@no_type_check
def _quaternion_gradient(rows, d0, d1, d2, out):
    """Write the derivatives by quaternions of any length, given those by the nine entries of their rotations."""
    w, x, y, z, inverse = unit_quats(rows)
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


@kernel(order="fused", inline=True)
@no_type_check
def _axes_gradient(rows, axes, dnx, dny, dnz, pose, out):
    """Write the derivatives by rotations and scales, given those by the three rows of ``W R S``."""
    d0 = turned(pose[0, 0], pose[1, 0], pose[2, 0], (dnx, dny, dnz))
    d1 = turned(pose[0, 1], pose[1, 1], pose[2, 1], (dnx, dny, dnz))
    d2 = turned(pose[0, 2], pose[1, 2], pose[2, 2], (dnx, dny, dnz))
    r0, r1, r2 = axes
    store(out, 112, d0[0] * r0[0] + d1[0] * r1[0] + d2[0] * r2[0])
    store(out, 128, d0[1] * r0[1] + d1[1] * r1[1] + d2[1] * r2[1])
    store(out, 144, d0[2] * r0[2] + d1[2] * r1[2] + d2[2] * r2[2])
    a, b, c = scales_of(rows)
    d0, d1 = (d0[0] * a, d0[1] * b, d0[2] * c), (d1[0] * a, d1[1] * b, d1[2] * c)
    _quaternion_gradient(rows, d0, d1, (d2[0] * a, d2[1] * b, d2[2] * c), out)


@kernel(order="fused", inline=True)
@no_type_check
def _add_pose_gradient(sums, place, dn, axes, g, centre):
    """Add ``dn (R S)^T + g m^T`` to one row of the derivative by the pose, and ``g`` to its translation."""
    for k in range(3):
        store(sums, place + 16 * k, load(sums, place + 16 * k) + dot(dn, axes[k]) + g * centre[k])
    store(sums, place + 48, load(sums, place + 48) + g)


@kernel(order="fused", inline=True)
@no_type_check
def _unproject_rows(rows, by, pose, intrinsics, eps2d, out, sums):
    """Write the derivatives by sixteen Gaussians, and add those by the pose."""
    x, y, z = to_camera(rows, pose)
    inverse, u, v, cut_u, cut_v = jacobian(x, y, z, intrinsics)
    axes = principal_axes(rows)
    nx, ny, nz = in_camera(axes, pose)
    jxx, jyy = inverse * intrinsics[0], inverse * intrinsics[1]
    jxz, jyz = _ZERO - jxx * cut_u, _ZERO - jyy * cut_v
    px, py = mix(jxx, nx, jxz, nz), mix(jyy, ny, jyz, nz)
    ga, gb, gc = triple(by, 48)
    dpx, dpy = _image_axes_gradient(px, py, eps2d, ga, gb, gc, load(by, 96))
    by_jxx, by_jxz, by_jyy, by_jyz = dot(dpx, nx), dot(dpx, nz), dot(dpy, ny), dot(dpy, nz)
    du, dv = load(by, 0), load(by, 16)
    along_u, along_v = jxx * by_jxz, jyy * by_jyz  # minus the derivatives by the cut slopes
    free_u, free_v = select(u == cut_u, along_u, _ZERO), select(v == cut_v, along_v, _ZERO)
    gx, gy = jxx * du - free_u * inverse, jyy * dv - free_v * inverse
    fall = jxx * (x * du + by_jxx) + jyy * (y * dv + by_jyy) - along_u * cut_u - along_v * cut_v
    gz = load(by, 32) - (fall - free_u * u - free_v * v) * inverse
    centre = triple(rows, 0)
    for k in range(3):
        store(out, 16 * k, gx * pose[0, k] + gy * pose[1, k] + gz * pose[2, k])
    dnx, dny = (jxx * dpx[0], jxx * dpx[1], jxx * dpx[2]), (jyy * dpy[0], jyy * dpy[1], jyy * dpy[2])
    dnz = mix(jxz, dpx, jyz, dpy)
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
        gather(means, index, first, n, 3, rows, 0)
        gather(quats, index, first, n, 4, rows, 48)
        gather(log_scales, index, first, n, 3, rows, 112)
        gather(by_means2d, index, first, n, 2, by, 0)
        gather(by_depths, index, first, n, 1, by, 32)
        gather(by_conics, index, first, n, 3, by, 48)
        gather(by_factors, index, first, n, 1, by, 96)
        for j in range(n - first, 16):
            for k in range(7):
                by[16 * k + j] = _ZERO
        _unproject_rows(rows, by, pose, intrinsics, eps2d, out, sums)
        scatter(out, 0, index, first, n, 3, out_means)
        scatter(out, 48, index, first, n, 4, out_quats)
        scatter(out, 112, index, first, n, 3, out_scales)
    for k in range(12):
        out_pose[k // 4, k % 4] = total(load(sums, 16 * k))
