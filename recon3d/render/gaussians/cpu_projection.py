"""CPU kernels of the projection of Gaussians into a pinhole camera, forward and backward, in chunks of Gaussians.

Arrays are float32; one Gaussian is computed in float64, which costs no more where nothing is vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, log, sqrt
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.options import ProjectionOptions

CHUNK = 4096  # Gaussians per chunk; it decides how sums are split, so it must not follow the number of threads
MAX_RADIUS = 1 << 30
_MIN_DETERMINANT = 1e-10
_SIGMAS = 3.33  # where gsplat ends a Gaussian


@dataclass(frozen=True, eq=False)
class PinholeCamera:
    """One camera as the kernels read it.

    Args:
        pose: the upper rows of ``cam_from_world``, ``[3,4]``.
        intrinsics: fx, fy, cx, cy, the limits of x/z (low, high) and of y/z for the Jacobian, width and height,
            ``[10]``.
    """

    pose: Float64[np.ndarray, "3 4"]
    intrinsics: Float64[np.ndarray, "10"]


def pinhole_camera(
    cam_from_world: Float32[np.ndarray, "4 4"], K: Float32[np.ndarray, "3 3"], width: int, height: int
) -> PinholeCamera:
    """Return a camera whose Jacobian is cut at the image plus 15 % of its size on each side, as in gsplat 1.5.3."""
    size = np.array([width, height], np.float64)
    focal, centre = K.astype(np.float64).diagonal()[:2], K[:2, 2].astype(np.float64)
    low, high = -(centre + 0.15 * size) / focal, (1.15 * size - centre) / focal
    limits = [low[0], high[0], low[1], high[1]]
    intrinsics = np.concatenate([focal, centre, limits, size])
    return PinholeCamera(np.ascontiguousarray(cam_from_world[:3].astype(np.float64)), intrinsics)


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
    strength = np.ones(1, np.float32) if opacities is None else opacities
    flags = [float(options.bounds == "gsplat"), float(options.antialiased)]
    rules = np.array([options.eps2d, options.near, options.far, *flags, log(options.min_alpha)])
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
    arrays = (*inputs, camera.pose, camera.intrinsics, eps2d, radii)
    by_arrays = (by.means2d, by.depths, by.conics, by.compensations)

    def work(i: int) -> None:
        _project_chunk_backward(i * CHUNK, min(g, (i + 1) * CHUNK), *arrays, *by_arrays, *grads, poses[i])

    run_chunks(work, n_chunks)
    return grads, poses.sum(0)


@kernel
@no_type_check
def _rotation(w, x, y, z):
    """Return the rotation matrix of a unit quaternion, row by row."""
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    first = (1.0 - 2.0 * (yy + zz), 2.0 * (xy - wz), 2.0 * (xz + wy))
    second = (2.0 * (xy + wz), 1.0 - 2.0 * (xx + zz), 2.0 * (yz - wx))
    third = (2.0 * (xz - wy), 2.0 * (yz + wx), 1.0 - 2.0 * (xx + yy))
    return first, second, third


@kernel
@no_type_check
def _unit(quats, i):
    """Return a quaternion of length one and the inverse of the length it had."""
    w, x, y, z = float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3])
    inverse = 1.0 / max(sqrt(w * w + x * x + y * y + z * z), 1e-12)
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@kernel
@no_type_check
def _to_camera(means, i, pose):
    """Return a centre in the camera's frame."""
    x, y, z = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
    return (
        pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3],
        pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3],
        pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3],
    )


@kernel
@no_type_check
def _jacobian(x, y, z, intrinsics):
    """Return the entries xx, xz, yy, yz of the Jacobian, with the slopes cut, and whether each slope is uncut."""
    u, v = x / z, y / z
    cut_u = min(max(u, intrinsics[4]), intrinsics[5])
    cut_v = min(max(v, intrinsics[6]), intrinsics[7])
    jxx, jyy = intrinsics[0] / z, intrinsics[1] / z
    return jxx, -jxx * cut_u, jyy, -jyy * cut_v, cut_u, cut_v, u == cut_u, v == cut_v


@kernel
@no_type_check
def _axes(quats, log_scales, i):
    """Return the principal axes in the world, ``R S`` row by row."""
    w, x, y, z, _ = _unit(quats, i)
    first, second, third = _rotation(w, x, y, z)
    a, b, c = exp(float(log_scales[i, 0])), exp(float(log_scales[i, 1])), exp(float(log_scales[i, 2]))
    return (
        (first[0] * a, first[1] * b, first[2] * c),
        (second[0] * a, second[1] * b, second[2] * c),
        (third[0] * a, third[1] * b, third[2] * c),
    )


@kernel
@no_type_check
def _turned_row(p, q, r, rows):
    """Return ``(p, q, r)`` times a matrix."""
    first, second, third = rows
    return (
        p * first[0] + q * second[0] + r * third[0],
        p * first[1] + q * second[1] + r * third[1],
        p * first[2] + q * second[2] + r * third[2],
    )


@kernel
@no_type_check
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
@no_type_check
def _mix(a, p, b, q):
    """Return ``a p + b q`` of two vectors."""
    return a * p[0] + b * q[0], a * p[1] + b * q[1], a * p[2] + b * q[2]


@kernel
@no_type_check
def _image_axes(x, y, z, rows, pose, intrinsics):
    """Return the two rows of ``J W R S``: the principal axes in the image, whose squares are the covariance."""
    jxx, jxz, jyy, jyz, _, _, _, _ = _jacobian(x, y, z, intrinsics)
    nx = _turned_row(pose[0, 0], pose[0, 1], pose[0, 2], rows)
    ny = _turned_row(pose[1, 0], pose[1, 1], pose[1, 2], rows)
    nz = _turned_row(pose[2, 0], pose[2, 1], pose[2, 2], rows)
    return _mix(jxx, nx, jxz, nz), _mix(jyy, ny, jyz, nz)


@kernel
@no_type_check
def _widened(px, py, eps2d):
    """Return the widened covariance, its determinant and the one before: that without cancellation."""
    xx, xy, yy = _dot(px, px), _dot(px, py), _dot(py, py)
    a = px[1] * py[2] - px[2] * py[1]
    b = px[2] * py[0] - px[0] * py[2]
    c = px[0] * py[1] - px[1] * py[0]
    narrow = a * a + b * b + c * c
    wide = max(narrow + eps2d * (xx + yy) + eps2d * eps2d, _MIN_DETERMINANT)
    return xx + eps2d, xy, yy + eps2d, wide, narrow


@kernel
@no_type_check
def _extent(opacity, compensation, rules):
    """Return how many standard deviations along an axis a Gaussian is drawn."""
    if rules[3] > 0.0:
        return _SIGMAS
    strength = opacity * compensation if rules[4] > 0.0 else opacity
    if strength <= 0.0:
        return 0.0
    return sqrt(max(2.0 * (log(strength) - rules[5]), 0.0))


@kernel
@no_type_check
def _project_chunk(
    start, stop, means, quats, log_scales, opacities, pose, intrinsics, rules, means2d, depths, conics, factors, radii
):
    one_opacity = opacities[0] if len(opacities) > 0 else np.float32(1)
    for i in range(start, stop):
        x, y, z = _to_camera(means, i, pose)
        if not (z > rules[1] and z < rules[2]):
            continue
        px, py = _image_axes(x, y, z, _axes(quats, log_scales, i), pose, intrinsics)
        xx, xy, yy, wide, narrow = _widened(px, py, rules[0])
        factor = sqrt(narrow / wide)
        u, v = intrinsics[0] * x / z + intrinsics[2], intrinsics[1] * y / z + intrinsics[3]
        opacity = opacities[i] if len(opacities) == len(means) else one_opacity
        extent = _extent(float(opacity), factor, rules)
        rx, ry = extent * sqrt(xx), extent * sqrt(yy)
        if not (rx > 0.0 and ry > 0.0 and rx < inf and ry < inf):
            continue
        rx, ry = ceil(min(rx, MAX_RADIUS)), ceil(min(ry, MAX_RADIUS))
        if u + rx <= 0 or u - rx >= intrinsics[8] or v + ry <= 0 or v - ry >= intrinsics[9]:
            continue
        means2d[i, 0], means2d[i, 1], depths[i] = u, v, z
        conics[i, 0], conics[i, 1], conics[i, 2] = yy / wide, -xy / wide, xx / wide
        factors[i] = factor
        radii[i, 0], radii[i, 1] = rx, ry


@kernel
@no_type_check
def _covariance_gradient(px, py, eps2d, ga, gb, gc, gf):
    """Return the derivative by the covariance (xx, xy of the full matrix, yy) given those by conic and compensation.

    ``dL/dS = -S^-1 dL/dS^-1 S^-1``; the compensation is the root of the ratio of two determinants.
    """
    xx, xy, yy, wide, narrow = _widened(px, py, eps2d)
    a, b, c = yy / wide, -xy / wide, xx / wide
    gb = 0.5 * gb
    left, right = a * ga + b * gb, a * gb + b * gc
    low_left, low_right = b * ga + c * gb, b * gb + c * gc
    dxx, dxy, dyy = -(left * a + right * b), -(left * b + right * c), -(low_left * b + low_right * c)
    factor = sqrt(narrow / wide)
    if factor > 1e-9:
        inner, outer = 0.5 * gf / (factor * wide), 0.5 * gf * factor
        dxx += inner * (yy - eps2d) - outer * a
        dxy += -inner * xy - outer * b
        dyy += inner * (xx - eps2d) - outer * c
    return dxx, dxy, dyy


@kernel
@no_type_check
def _quaternion_gradient(quats, i, dr, out):
    """Write the derivative by a quaternion of any length, given that by the nine entries of its rotation."""
    w, x, y, z, inverse = _unit(quats, i)
    d0, d1, d2 = dr
    gw = 2.0 * (x * (d2[1] - d1[2]) + y * (d0[2] - d2[0]) + z * (d1[0] - d0[1]))
    gx = 2.0 * (w * (d2[1] - d1[2]) + y * (d0[1] + d1[0]) + z * (d0[2] + d2[0]) - 2.0 * x * (d1[1] + d2[2]))
    gy = 2.0 * (w * (d0[2] - d2[0]) + x * (d0[1] + d1[0]) + z * (d1[2] + d2[1]) - 2.0 * y * (d0[0] + d2[2]))
    gz = 2.0 * (w * (d1[0] - d0[1]) + x * (d0[2] + d2[0]) + y * (d1[2] + d2[1]) - 2.0 * z * (d0[0] + d1[1]))
    along = gw * w + gx * x + gy * y + gz * z
    out[i, 0], out[i, 1] = (gw - along * w) * inverse, (gx - along * x) * inverse
    out[i, 2], out[i, 3] = (gy - along * y) * inverse, (gz - along * z) * inverse


@kernel
@no_type_check
def _axes_gradient(i, rows, quats, log_scales, dn, pose, out_quats, out_scales):
    """Write the derivatives by rotation and scales, given those by the three rows of ``W R S``."""
    dnx, dny, dnz = dn
    d0 = _turned_row(pose[0, 0], pose[1, 0], pose[2, 0], (dnx, dny, dnz))
    d1 = _turned_row(pose[0, 1], pose[1, 1], pose[2, 1], (dnx, dny, dnz))
    d2 = _turned_row(pose[0, 2], pose[1, 2], pose[2, 2], (dnx, dny, dnz))
    a, b, c = exp(float(log_scales[i, 0])), exp(float(log_scales[i, 1])), exp(float(log_scales[i, 2]))
    r0, r1, r2 = rows
    for k in range(3):
        out_scales[i, k] = d0[k] * r0[k] + d1[k] * r1[k] + d2[k] * r2[k]
    turned = ((d0[0] * a, d0[1] * b, d0[2] * c), (d1[0] * a, d1[1] * b, d1[2] * c), (d2[0] * a, d2[1] * b, d2[2] * c))
    _quaternion_gradient(quats, i, turned, out_quats)


@kernel
@no_type_check
def _centre_gradient(x, y, z, intrinsics, du, dv, dz, djacobian):
    """Return the derivative by the centre in the camera's frame, given those by pixel, depth and Jacobian."""
    jxx, _, jyy, _, cut_u, cut_v, free_u, free_v = _jacobian(x, y, z, intrinsics)
    dxx, dxz, dyy, dyz = djacobian
    gx, gy = jxx * du, jyy * dv
    gz = dz - (jxx * x * du + jyy * y * dv + jxx * dxx + jyy * dyy - jxx * cut_u * dxz - jyy * cut_v * dyz) / z
    if free_u:
        gx -= jxx * dxz / z
        gz += jxx * x * dxz / (z * z)
    if free_v:
        gy -= jyy * dyz / z
        gz += jyy * y * dyz / (z * z)
    return gx, gy, gz


@kernel
@no_type_check
def _add_pose_gradient(out, row, dn, rows, g, means, i):
    """Add ``dn (R S)^T + g m^T`` to one row of the derivative by the pose, and ``g`` to its translation."""
    for k in range(3):
        out[row, k] += _dot(dn, rows[k]) + g * means[i, k]
    out[row, 3] += g


@kernel
@no_type_check
def _project_chunk_backward(
    start, stop, means, quats, log_scales, pose, intrinsics, eps2d, radii,
    by_means2d, by_depths, by_conics, by_factors, out_means, out_quats, out_scales, out_pose,
):  # fmt: skip
    for i in range(start, stop):
        if radii[i, 0] <= 0 or radii[i, 1] <= 0:
            continue
        x, y, z = _to_camera(means, i, pose)
        rows = _axes(quats, log_scales, i)
        nx = _turned_row(pose[0, 0], pose[0, 1], pose[0, 2], rows)
        ny = _turned_row(pose[1, 0], pose[1, 1], pose[1, 2], rows)
        nz = _turned_row(pose[2, 0], pose[2, 1], pose[2, 2], rows)
        jxx, jxz, jyy, jyz, _, _, _, _ = _jacobian(x, y, z, intrinsics)
        px, py = _mix(jxx, nx, jxz, nz), _mix(jyy, ny, jyz, nz)
        by_conic = (float(by_conics[i, 0]), float(by_conics[i, 1]), float(by_conics[i, 2]))
        dxx, dxy, dyy = _covariance_gradient(px, py, eps2d, *by_conic, float(by_factors[i]))
        dpx, dpy = _mix(2.0 * dxx, px, 2.0 * dxy, py), _mix(2.0 * dxy, px, 2.0 * dyy, py)
        djacobian = (_dot(dpx, nx), _dot(dpx, nz), _dot(dpy, ny), _dot(dpy, nz))
        dnx, dny, dnz = _mix(jxx, dpx, 0.0, dpy), _mix(0.0, dpx, jyy, dpy), _mix(jxz, dpx, jyz, dpy)
        du, dv, dz = float(by_means2d[i, 0]), float(by_means2d[i, 1]), float(by_depths[i])
        gx, gy, gz = _centre_gradient(x, y, z, intrinsics, du, dv, dz, djacobian)
        for k in range(3):
            out_means[i, k] = pose[0, k] * gx + pose[1, k] * gy + pose[2, k] * gz
        _axes_gradient(i, rows, quats, log_scales, (dnx, dny, dnz), pose, out_quats, out_scales)
        _add_pose_gradient(out_pose, 0, dnx, rows, gx, means, i)
        _add_pose_gradient(out_pose, 1, dny, rows, gy, means, i)
        _add_pose_gradient(out_pose, 2, dnz, rows, gz, means, i)
