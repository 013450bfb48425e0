"""Marching through occupied cells, in numba: empty cells are left in one stride."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.core.kernels import kernel, run_chunks

_RAYS = 256
_UNSURE = 1e-6  # of a step: a stride ends this much early, and the step is looked at


def march(
    arrays: tuple[np.ndarray, ...], occupied: Bool[np.ndarray, "levels x y z"], step: float, cone: float
) -> tuple[Int64[np.ndarray, " r"], Float64[np.ndarray, " s"], Float64[np.ndarray, " s"]]:
    """Return samples per ray, and their starts and ends, ray by ray.

    Args:
        arrays: origins and directions ``[r,3]``; start of the lattice, entry and exit ``[r]``; corners of the levels
            and cells per length ``[levels,3]``.
        occupied: cells to stop in.
        step: shortest sample.
        cone: length of samples over their distance.
    """
    n_rays = len(arrays[0])
    counts = np.zeros(n_rays, np.int64)
    n_chunks = -(-n_rays // _RAYS)

    def count(chunk: int) -> None:
        _count(chunk * _RAYS, min((chunk + 1) * _RAYS, n_rays), arrays, occupied, step, cone, counts)

    run_chunks(count, n_chunks)
    first = np.cumsum(counts) - counts
    total = int(counts.sum())
    starts, ends = np.empty(total), np.empty(total)

    def fill(chunk: int) -> None:
        last = min((chunk + 1) * _RAYS, n_rays)
        _fill(chunk * _RAYS, last, arrays, occupied, step, cone, first, counts, starts, ends)

    run_chunks(fill, n_chunks)
    return counts, starts, ends


@kernel(order="written")
@no_type_check
def _count(begin, end, arrays, occupied, step, cone, counts):
    nothing = np.empty(0)
    for ray in range(begin, end):
        counts[ray] = _ray(ray, arrays, occupied, step, cone, nothing, nothing)


@kernel(order="written")
@no_type_check
def _fill(begin, end, arrays, occupied, step, cone, first, counts, starts, ends):
    for ray in range(begin, end):
        own = slice(first[ray], first[ray] + counts[ray])
        _ray(ray, arrays, occupied, step, cone, starts[own], ends[own])


@kernel(order="written")
@no_type_check
def _ray(ray, arrays, occupied, step, cone, starts, ends):
    """Write the samples of one ray, as many as there is room for, and return how many there are."""
    origins, directions, start, first, last, lower, upper, scale = arrays
    origin, direction = origins[ray], directions[ray]
    if not last[ray] > first[ray]:
        return 0
    n, k, t = 0, _before(first[ray], start[ray], step), start[ray]
    if cone > 0.0:
        k = 0
    while True:
        if cone > 0.0:
            length = max(t * cone, step)
            middle = 0.5 * (t + length + t)
        else:
            t, length = start[ray] + k * step, step
            middle = t + 0.5 * step
        if not middle < last[ray]:
            return n
        level, x, y, z = _cell(origin, direction, middle, lower, scale, occupied.shape)
        if level >= 0 and occupied[level, x, y, z]:
            if n < len(starts):
                starts[n], ends[n] = t, t + length if cone > 0.0 else start[ray] + (k + 1) * step
            n += 1
            k += 1
            t += length
            continue
        leave = first[ray] if level < 0 else _leave(origin, direction, middle, level, x, y, z, lower, upper, scale)
        if cone > 0.0:
            t += length
            while 0.5 * (t + max(t * cone, step) + t) < leave - _UNSURE * step:
                t += max(t * cone, step)
        else:
            k = max(k + 1, _before(leave, start[ray], step))


@kernel(order="written", inline=True)
@no_type_check
def _before(t, start, step):
    """Return the first step whose mid-point is not surely before ``t``."""
    return max(0, np.int64(math.ceil((t - start) / step - 0.5 - _UNSURE)))


@kernel(order="written", inline=True)
@no_type_check
def _cell(origin, direction, t, lower, scale, shape):
    """Return level and cell of a point on a ray; level -1 outside."""
    for level in range(shape[0]):
        x = math.floor((origin[0] + t * direction[0] - lower[level, 0]) * scale[level, 0])
        y = math.floor((origin[1] + t * direction[1] - lower[level, 1]) * scale[level, 1])
        z = math.floor((origin[2] + t * direction[2] - lower[level, 2]) * scale[level, 2])
        if 0 <= x < shape[1] and 0 <= y < shape[2] and 0 <= z < shape[3]:
            return level, np.int64(x), np.int64(y), np.int64(z)
    return -1, 0, 0, 0


@kernel(order="written", inline=True)
@no_type_check
def _leave(origin, direction, now, level, x, y, z, lower, upper, scale):
    """Return where a ray leaves a cell, or enters the box of the next finer level, if that is first."""
    leave = _exit(origin[0], direction[0], x, lower[level, 0], scale[level, 0])
    leave = min(leave, _exit(origin[1], direction[1], y, lower[level, 1], scale[level, 1]))
    leave = min(leave, _exit(origin[2], direction[2], z, lower[level, 2], scale[level, 2]))
    if level == 0:
        return leave
    enter, through = -np.inf, np.inf
    for axis in range(3):
        o, d = origin[axis], direction[axis]
        low, high = lower[level - 1, axis] - o, upper[level - 1, axis] - o
        if d == 0.0:
            if low > 0.0 or high < 0.0:
                return leave
        else:
            enter = max(enter, min(low / d, high / d))
            through = min(through, max(low / d, high / d))
    return min(leave, enter) if now < enter < through else leave


@kernel(order="written", inline=True)
@no_type_check
def _exit(origin, direction, cell, lower, scale):
    if direction == 0.0:
        return np.inf
    plane = lower + (cell + (1.0 if direction > 0.0 else 0.0)) / scale
    return (plane - origin) / direction
