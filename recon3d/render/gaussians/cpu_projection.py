"""CPU kernels of the projection of Gaussians into a pinhole camera.

Sixteen Gaussians at a time: their numbers are gathered into rows of sixteen, computed in vector registers, and what
comes out is scattered again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log2
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_projection_math import (
    gather,
    greater,
    in_camera,
    jacobian,
    lesser,
    mix,
    principal_axes,
    to_camera,
    widened,
)
from recon3d.render.gaussians.cpu_simd import (
    at,
    both,
    load,
    log2 as lanes_log2,
    put,
    root,
    scratch,
    select,
    spread,
    store,
    upwards,
)
from recon3d.render.gaussians.options import ProjectionOptions

CHUNK = 4096  # Gaussians per chunk; it decides how sums are split, so it must not follow the number of threads
_MAX_RADIUS, _ZERO = np.float32(1 << 30), np.float32(0)
_SIGMAS = np.float32(3.33)  # where gsplat ends a Gaussian
_TWO_LN_2 = 2 * log(2)
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


@kernel(order="fused", inline=True)
@no_type_check
def _radii(u, v, xx, yy, opacity, factor, intrinsics, rules):
    """Return the half sizes of the boxes, 0 where nothing of a Gaussian is in the image."""
    strength = opacity * factor if rules[4] > 0.0 else opacity
    seen = select(strength > _ZERO, lanes_log2(strength) - rules[5], _ZERO)
    extent = root(greater(seen, spread(_ZERO)) * _TWO_LN_2)
    extent = spread(_SIGMAS) if rules[3] > 0.0 else extent
    rx, ry = extent * root(xx), extent * root(yy)
    shown = both(both(rx > _ZERO, ry > _ZERO), both(rx < _GREATEST, ry < _GREATEST))
    shown = both(shown, factor >= _ZERO)  # NaN where the determinant overflows
    rx, ry = lesser(upwards(rx), spread(_MAX_RADIUS)), lesser(upwards(ry), spread(_MAX_RADIUS))
    shown = both(shown, both(u + rx > _ZERO, v + ry > _ZERO))
    shown = both(shown, both(u - rx < intrinsics[8], v - ry < intrinsics[9]))
    return select(shown, rx, _ZERO), select(shown, ry, _ZERO)


@kernel(order="fused", inline=True)
@no_type_check
def _project_rows(rows, pose, intrinsics, rules, out):
    """Project sixteen Gaussians: write means2d, depths, conics, compensations and radii; return which are seen."""
    x, y, z = to_camera(rows, pose)
    inverse, u, v, cut_u, cut_v = jacobian(x, y, z, intrinsics)
    nx, ny, nz = in_camera(principal_axes(rows), pose)
    jxx, jyy = inverse * intrinsics[0], inverse * intrinsics[1]
    px, py = mix(jxx, nx, _ZERO - jxx * cut_u, nz), mix(jyy, ny, _ZERO - jyy * cut_v, nz)
    xx, xy, yy, wide, narrow = widened(px, py, rules[0])
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
        gather(means, index, first, n, 3, rows, 0)
        gather(quats, index, first, n, 4, rows, 48)
        gather(log_scales, index, first, n, 3, rows, 112)
        gather(opacities, index, first, n, 1, rows, 160)
        _project_rows(rows, pose, intrinsics, rules, out)
        for j in range(min(16, n - first)):
            i, rx, ry = index[first + j], out[112 + j], out[128 + j]
            if rx > _ZERO and ry > _ZERO:
                means2d[i, 0], means2d[i, 1], depths[i] = out[j], out[16 + j], out[32 + j]
                conics[i, 0], conics[i, 1], conics[i, 2] = out[48 + j], out[64 + j], out[80 + j]
                factors[i], radii[i, 0], radii[i, 1] = out[96 + j], np.int32(rx), np.int32(ry)
