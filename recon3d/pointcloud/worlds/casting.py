"""Which solid each ray of a spherical grid hits first: every solid is drawn into the cells that it can cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.kernels import kernel
from recon3d.pointcloud.worlds.solids import Solids

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, eq=False, kw_only=True)
class RayGrid:
    """Rays from the origin: rows by rising elevation, columns by azimuth.

    Args:
        directions: unit vectors of the rays; a ray lies at most one column beside the azimuth of its column.
        slopes: tangent of the elevation of every row, rising.
        first_azimuth: of column 0, radians.
        step: between columns, radians.
        closed: whether the columns go all the way round.
    """

    directions: Float64[np.ndarray, "rows columns 3"]
    slopes: Float64[np.ndarray, " rows"]
    first_azimuth: float
    step: float
    closed: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Hits:
    """What the rays hit first.

    Args:
        depth: metres along the ray, infinite where nothing is hit.
        solid: index of the solid, -1 for nothing, -2 for what was there before (the ground).
        normals: of the surface, towards the sensor; zero where no solid is hit.
        local: the hit in the axes of its solid.
    """

    depth: Float64[np.ndarray, "rows columns"]
    solid: Int64[np.ndarray, "rows columns"]
    normals: Float64[np.ndarray, "rows columns 3"]
    local: Float64[np.ndarray, "rows columns 3"]


def cast(
    grid: RayGrid, solids: Solids, *, seed: int = 0, ground: Float64[np.ndarray, "rows columns"] | None = None
) -> Hits:
    """Return the first hit of every ray; a solid around the origin is not seen.

    Args:
        grid: the rays.
        solids: what they can hit.
        seed: decides where in porous solids the rays end.
        ground: depth of the ground along every ray, infinite where there is none.
    """
    shape = grid.directions.shape[:2]
    depth = np.full(shape, np.inf) if ground is None else np.array(ground, np.float64)
    solid = np.where(np.isfinite(depth), -2, -1).astype(np.int64)
    frame = np.array([grid.first_azimuth, grid.step, float(grid.closed)])
    _cast(grid.directions, grid.slopes, frame, solids.numbers, solids.codes, solids.planes, seed, depth, solid)
    normals, local = np.zeros((*shape, 3)), np.zeros((*shape, 3))
    _shade(grid.directions, solids.numbers, solids.codes, solids.planes, depth, solid, normals, local)
    return Hits(depth=depth, solid=solid, normals=normals, local=local)


@kernel(order="written", inline=True)
@no_type_check
def _mixed(value):
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


@kernel(order="written", inline=True)
@no_type_check
def _uniform(seed, ray, solid):
    word = _mixed(_mixed(np.uint64(seed) + np.uint64(solid + 1) * _STEP) + np.uint64(ray + 1) * _STEP)
    return (float(word >> np.uint64(11)) + 0.5) * 2.0**-53


@kernel(order="written", inline=True)
@no_type_check
def _quadratic(a, b, c):
    """Return where a t^2 + 2 b t + c <= 0."""
    root = b * b - a * c
    if root <= 0.0 or a <= 0.0:
        return 1.0, 0.0
    root = np.sqrt(root)
    return (-b - root) / a, (-b + root) / a


@kernel(order="written")
@no_type_check
def interval(numbers, codes, planes, d0, d1, d2):
    """Return where a ray from the origin enters and leaves a solid; the first is the greater one where it misses."""
    r = numbers
    o0 = -(r[3] * r[0] + r[4] * r[1] + r[5] * r[2])
    o1 = -(r[6] * r[0] + r[7] * r[1] + r[8] * r[2])
    o2 = -(r[9] * r[0] + r[10] * r[1] + r[11] * r[2])
    l0 = r[3] * d0 + r[4] * d1 + r[5] * d2
    l1 = r[6] * d0 + r[7] * d1 + r[8] * d2
    l2 = r[9] * d0 + r[10] * d1 + r[11] * d2
    low, high = -np.inf, np.inf
    if codes[0] == 0:
        for k in range(codes[1], codes[1] + codes[2]):
            along = planes[k, 0] * l0 + planes[k, 1] * l1 + planes[k, 2] * l2
            away = planes[k, 3] - planes[k, 0] * o0 - planes[k, 1] * o1 - planes[k, 2] * o2
            if along < 0.0:
                low = max(low, away / along)
            elif along > 0.0:
                high = min(high, away / along)
            elif away < 0.0:
                return 1.0, 0.0
            if low > high:
                return 1.0, 0.0
        return low, high
    i0, i1, i2 = 1.0 / r[12], 1.0 / r[13], 1.0 / r[14]
    o0, l0, o1, l1, o2, l2 = o0 * i0, l0 * i0, o1 * i1, l1 * i1, o2 * i2, l2 * i2
    if codes[0] == 1:
        return _quadratic(l0 * l0 + l1 * l1 + l2 * l2, o0 * l0 + o1 * l1 + o2 * l2, o0 * o0 + o1 * o1 + o2 * o2 - 1.0)
    across = l0 * l0 + l1 * l1
    if across > 0.0:
        low, high = _quadratic(across, o0 * l0 + o1 * l1, o0 * o0 + o1 * o1 - 1.0)
    elif o0 * o0 + o1 * o1 > 1.0:
        return 1.0, 0.0
    if l2 != 0.0:
        one, two = (-1.0 - o2) / l2, (1.0 - o2) / l2
        return max(low, min(one, two)), min(high, max(one, two))
    if abs(o2) > 1.0:
        return 1.0, 0.0
    return low, high


@kernel(order="written")
@no_type_check
def _bounds(r, out):
    """Write the azimuth of the middle, its lowest and highest offset, and the range of slopes that a solid covers."""
    size = np.hypot(r[3], r[4])
    u0, u1 = 1.0, 0.0
    if size > 1e-6:
        u0, u1 = r[3] / size, r[4] / size
    cu, cv = r[0] * u0 + r[1] * u1, r[1] * u0 - r[0] * u1
    hu, hv, hz = 0.0, 0.0, 0.0
    for k in range(3):
        x, y, z = r[3 + 3 * k], r[4 + 3 * k], r[5 + 3 * k]
        hu += abs(x * u0 + y * u1) * r[12 + k]
        hv += abs(y * u0 - x * u1) * r[12 + k]
        hz += abs(z) * r[12 + k]
    near_u, near_v = max(abs(cu) - hu, 0.0), max(abs(cv) - hv, 0.0)
    near = max(np.hypot(near_u, near_v), 1e-3)
    far = np.hypot(abs(cu) + hu, abs(cv) + hv)
    bottom, top = r[2] - hz, r[2] + hz
    out[3] = bottom / (near if bottom < 0.0 else far)
    out[4] = top / (near if top > 0.0 else far)
    out[0] = np.arctan2(r[1], r[0])
    out[1], out[2] = -np.pi, np.pi
    if near <= 1e-3:
        return
    out[1], out[2] = 0.0, 0.0
    for i in range(4):
        pu, pv = cu + (hu if i & 1 else -hu), cv + (hv if i & 2 else -hv)
        turn = np.arctan2(cu * pv - cv * pu, cu * pu + cv * pv)
        out[1], out[2] = min(out[1], turn), max(out[2], turn)


@kernel(order="written")
@no_type_check
def _cast(directions, slopes, frame, numbers, codes, planes, seed, depth, solid):
    columns = depth.shape[1]
    bounds = np.empty(5)
    turn = int(np.round(2.0 * np.pi / frame[1]))
    for s in range(len(codes)):
        _bounds(numbers[s], bounds)
        row_from = np.searchsorted(slopes, bounds[3] - 1e-9)
        row_to = np.searchsorted(slopes, bounds[4] + 1e-9)
        if row_from >= row_to:
            continue
        start = (bounds[0] + bounds[1] - frame[0]) / frame[1]
        first = int(np.floor(start)) - 1
        last = min(int(np.ceil((bounds[0] + bounds[2] - frame[0]) / frame[1])) + 1, first + turn - 1)
        for place in range(first, last + 1):
            column = place % turn
            if column >= columns:
                continue
            for row in range(row_from, row_to):
                d = directions[row, column]
                low, high = interval(numbers[s], codes[s], planes, d[0], d[1], d[2])
                if low >= high or low <= 1e-6 or low >= depth[row, column]:
                    continue
                if numbers[s, 15] > 0.0:
                    low -= np.log(_uniform(seed, row * columns + column, s)) / numbers[s, 15]
                    if low >= high or low >= depth[row, column]:
                        continue
                depth[row, column] = low
                solid[row, column] = s


@kernel(order="written")
@no_type_check
def _local_normal(r, codes, planes, local, normal):
    normal[:] = 0.0
    if codes[0] == 0:
        best, which = -np.inf, codes[1]
        for k in range(codes[1], codes[1] + codes[2]):
            over = planes[k, 0] * local[0] + planes[k, 1] * local[1] + planes[k, 2] * local[2] - planes[k, 3]
            if over > best:
                best, which = over, k
        normal[:] = planes[which, :3]
    elif codes[0] == 1:
        for k in range(3):
            normal[k] = local[k] / r[12 + k] ** 2
    elif abs(local[2]) / r[14] > np.hypot(local[0] / r[12], local[1] / r[13]):
        normal[2] = local[2]
    else:
        normal[0], normal[1] = local[0], local[1]


@kernel(order="written")
@no_type_check
def _shade(directions, numbers, codes, planes, depth, solid, normals, locals_):
    own = np.empty(3)
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            s = solid[row, column]
            if s < 0:
                continue
            r = numbers[s]
            d, local, normal = directions[row, column], locals_[row, column], normals[row, column]
            for k in range(3):
                local[k] = 0.0
                for i in range(3):
                    local[k] += r[3 + 3 * k + i] * (d[i] * depth[row, column] - r[i])
            _local_normal(r, codes[s], planes, local, own)
            size = np.sqrt(own[0] ** 2 + own[1] ** 2 + own[2] ** 2) + 1e-12
            facing = 0.0
            for i in range(3):
                normal[i] = (r[3 + i] * own[0] + r[6 + i] * own[1] + r[9 + i] * own[2]) / size
                facing += normal[i] * d[i]
            if facing > 0.0:
                for i in range(3):
                    normal[i] = -normal[i]
