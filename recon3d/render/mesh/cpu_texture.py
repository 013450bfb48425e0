"""Trilinear texture lookup and its gradients: numba kernels."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int32

from recon3d.core.kernels import kernel, run_chunks

_CHUNK = 1 << 12  # lookups per chunk
_REPEAT, _CLAMP = 0, 1


def sample_forward(
    texels: Float[np.ndarray, "t c"],
    sizes: Int32[np.ndarray, "l 2"],
    uv: Float[np.ndarray, "m 2"],
    lod: Float[np.ndarray, " m"],
    wrap: int,
) -> Float[np.ndarray, "m c"]:
    """Return the values at UVs.

    Args:
        texels: of all levels, one after the other.
        sizes: height and width of each level.
        uv: where.
        lod: level, between two of them as it may be.
        wrap: index of the wrap mode.
    """
    values = np.zeros((len(uv), texels.shape[1]), texels.dtype)
    starts = _starts(sizes)

    def work(chunk: int) -> None:
        part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        _sample(texels, sizes, starts, uv[part], lod[part], wrap, values[part])

    run_chunks(work, -(-len(uv) // _CHUNK))
    return values


def sample_backward(
    texels: Float[np.ndarray, "t c"],
    sizes: Int32[np.ndarray, "l 2"],
    uv: Float[np.ndarray, "m 2"],
    lod: Float[np.ndarray, " m"],
    wrap: int,
    by: Float[np.ndarray, "m c"],
    wanted: tuple[bool, bool],
) -> tuple[Float[np.ndarray, "t c"] | None, Float[np.ndarray, "m 2"] | None]:
    """Return the gradients by texels and by UVs, each where it is wanted."""
    starts = _starts(sizes)
    by_texels = by_uv = None
    if wanted[0]:  # lookups share texels: one after the other, in double precision
        total = np.zeros(texels.shape)
        _scatter(sizes, starts, uv, lod, wrap, by, total)
        by_texels = total.astype(texels.dtype)
    if wanted[1]:
        by_uv = grads = np.zeros(uv.shape, uv.dtype)

        def work(chunk: int) -> None:
            part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
            _by_uv(texels, sizes, starts, uv[part], lod[part], wrap, by[part], grads[part])

        run_chunks(work, -(-len(uv) // _CHUNK))
    return by_texels, by_uv


def _starts(sizes: Int32[np.ndarray, "l 2"]) -> np.ndarray:
    n_texels = sizes.astype(np.int64).prod(axis=1)
    return np.asarray(np.cumsum(n_texels) - n_texels)


@kernel(order="written", inline=True)
@no_type_check
def _wrapped(index, size, wrap):
    if wrap == _CLAMP:
        return min(max(index, 0), size - 1)
    if wrap == _REPEAT:
        return index % size
    index = index % (2 * size)
    return index if index < size else 2 * size - 1 - index


@kernel(order="written", inline=True)
@no_type_check
def _place(coordinate, size, wrap):
    """Return the two texels around a coordinate along one axis, and the share of the second one."""
    c = float(coordinate)
    if wrap == _REPEAT:
        c -= math.floor(c)
    elif wrap == _CLAMP:
        c = min(max(c, -1.0), 2.0)
    else:
        c -= 2.0 * math.floor(0.5 * c)
    place = c * size - 0.5
    first = math.floor(place)
    index = int(first)
    return _wrapped(index, size, wrap), _wrapped(index + 1, size, wrap), place - first


@kernel(order="written", inline=True)
@no_type_check
def _level(lod, n_levels, which):
    """Return the first or second level of a lookup, and its weight."""
    low = min(max(math.floor(lod), 0), n_levels - 1)
    share = min(max(float(lod) - low, 0.0), 1.0)
    if which == 0:
        return low, 1.0 - share
    return min(low + 1, n_levels - 1), share


@kernel(order="written")
@no_type_check
def _sample(texels, sizes, starts, uv, lod, wrap, values):
    for p in range(uv.shape[0]):
        for which in range(2):
            level, weight = _level(lod[p], sizes.shape[0], which)
            if weight == 0.0:
                continue
            x0, x1, s = _place(uv[p, 0], sizes[level, 1], wrap)
            y0, y1, t = _place(uv[p, 1], sizes[level, 0], wrap)
            top, bottom = starts[level] + y0 * sizes[level, 1], starts[level] + y1 * sizes[level, 1]
            for k in range(texels.shape[1]):
                upper = (1.0 - s) * texels[top + x0, k] + s * texels[top + x1, k]
                lower = (1.0 - s) * texels[bottom + x0, k] + s * texels[bottom + x1, k]
                values[p, k] += weight * ((1.0 - t) * upper + t * lower)


@kernel(order="written")
@no_type_check
def _scatter(sizes, starts, uv, lod, wrap, by, total):
    for p in range(uv.shape[0]):
        for which in range(2):
            level, weight = _level(lod[p], sizes.shape[0], which)
            if weight == 0.0:
                continue
            x0, x1, s = _place(uv[p, 0], sizes[level, 1], wrap)
            y0, y1, t = _place(uv[p, 1], sizes[level, 0], wrap)
            top, bottom = starts[level] + y0 * sizes[level, 1], starts[level] + y1 * sizes[level, 1]
            for k in range(total.shape[1]):
                g = weight * by[p, k]
                total[top + x0, k] += g * (1.0 - t) * (1.0 - s)
                total[top + x1, k] += g * (1.0 - t) * s
                total[bottom + x0, k] += g * t * (1.0 - s)
                total[bottom + x1, k] += g * t * s


@kernel(order="written")
@no_type_check
def _by_uv(texels, sizes, starts, uv, lod, wrap, by, by_uv):
    for p in range(uv.shape[0]):
        for which in range(2):
            level, weight = _level(lod[p], sizes.shape[0], which)
            if weight == 0.0:
                continue
            x0, x1, s = _place(uv[p, 0], sizes[level, 1], wrap)
            y0, y1, t = _place(uv[p, 1], sizes[level, 0], wrap)
            top, bottom = starts[level] + y0 * sizes[level, 1], starts[level] + y1 * sizes[level, 1]
            along_x = along_y = 0.0
            for k in range(texels.shape[1]):
                a, b = texels[top + x0, k], texels[top + x1, k]
                c, d = texels[bottom + x0, k], texels[bottom + x1, k]
                along_x += by[p, k] * ((1.0 - t) * (b - a) + t * (d - c))
                along_y += by[p, k] * ((1.0 - s) * (c - a) + s * (d - b))
            by_uv[p, 0] += weight * along_x * sizes[level, 1]
            by_uv[p, 1] += weight * along_y * sizes[level, 0]
