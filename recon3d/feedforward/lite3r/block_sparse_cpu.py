"""Softmax over kept key blocks in numba: a block of queries passes over its key blocks once, all within the cache."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recon3d.core.kernels import kernel, run_chunks
from recon3d.feedforward.lite3r.simd import LANES, multiply, multiply_add, row_maximum, row_weights

_SCORES_AT_ONCE = 2**20  # of one chunk, about a millisecond
_BLOCKS_AT_ONCE = 64
GROUP = 128  # keys of one softmax step
STEP = 16  # sizes of blocks must be multiples of it


def attend(
    q: Float32[Tensor, "b n d"],
    k: Float32[Tensor, "b m d"],
    v: Float32[Tensor, "b m d"],
    kept: Int64[Tensor, "b nq kept"],
    size: int,
) -> tuple[Float32[Tensor, "b n d"], Float32[Tensor, "b n"]]:
    """Return the attention and the logarithm of its denominators.

    Args:
        q: queries, ``[b,n,d]``.
        k: keys, ``[b,m,d]``.
        v: values, ``[b,m,d]``.
        kept: key blocks of each query block.
        size: tokens of a block, a multiple of 16.
    """
    out, log_sums = torch.empty(q.shape), torch.empty(q.shape[:2])
    queries, plain_k, plain_v = (x.detach().contiguous().numpy() for x in (q, k, v))  # one layout, so compiled once
    keys, values = _packed(plain_k, plain_v, size)
    rows = kept.flatten(0, 1).contiguous().numpy()
    arrays = queries, keys.reshape(-1), values.reshape(-1), rows, out.numpy(), log_sums.numpy()
    step = max(1, _SCORES_AT_ONCE // (size**2 * max(1, rows.shape[1])))

    def work(chunk: int) -> None:
        _attend(*arrays, k.shape[1], size, chunk * step, min((chunk + 1) * step, len(rows)))

    run_chunks(work, -(-len(rows) // step))
    return out, log_sums


def _packed(k: np.ndarray, v: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return transposed key blocks ``[b*nk,d,size]`` and value blocks ``[b*nk,size,columns]``, filled up with zeros."""
    (batch, n, d), columns = k.shape, -(-k.shape[2] // LANES) * LANES
    n_blocks = batch * -(-n // size)
    keys, values = np.empty((n_blocks, d, size), np.float32), np.empty((n_blocks, size, columns), np.float32)

    def work(chunk: int) -> None:
        _pack(k, v, keys, values, chunk * _BLOCKS_AT_ONCE, min((chunk + 1) * _BLOCKS_AT_ONCE, n_blocks))

    run_chunks(work, -(-n_blocks // _BLOCKS_AT_ONCE))
    return keys, values


@kernel
@no_type_check
def _pack(k, v, keys, values, begin, end):
    n, d, size = k.shape[1], k.shape[2], keys.shape[2]
    n_blocks = -(-n // size)
    for block in range(begin, end):
        item, first = block // n_blocks, block % n_blocks * size
        n_rows = min(size, n - first)
        keys[block, :, n_rows:] = np.float32(0.0)
        values[block] = np.float32(0.0)
        for row in range(n_rows):
            for column in range(d):
                keys[block, column, row] = k[item, first + row, column]
                values[block, row, column] = v[item, first + row, column]


@kernel
@no_type_check
def _attend(q, keys, values, rows, out, log_sums, n_keys, size, begin, end):
    n, d, n_kept = q.shape[1], q.shape[2], rows.shape[1]
    n_query_blocks, n_key_blocks, columns = -(-n // size), -(-n_keys // size), -(-d // LANES) * LANES
    group = min(n_kept, max(1, GROUP // size))
    width = group * size
    query = np.empty(size * d, np.float32)
    scores, total = np.empty(size * width, np.float32), np.empty(size * columns, np.float32)
    top, norm = np.empty(size, np.float32), np.empty(size, np.float32)
    for at in range(begin, end):
        item, first = at // n_query_blocks, at % n_query_blocks * size
        n_rows = min(size, n - first)
        n_tiled = (n_rows + 3) // 4 * 4
        _load(q[item], first, n_rows, query)
        total[:], top[:], norm[:] = np.float32(0.0), np.float32(-np.inf), np.float32(0.0)
        for start in range(0, n_kept, group):
            here = min(group, n_kept - start)
            for i in range(here):
                place = item * n_key_blocks + rows[at, start + i]
                multiply(query, d, keys, place * d * size, size, scores, i * size, width, n_tiled, size, d)
                n_valid = n_keys - rows[at, start + i] * size
                for row in range(n_tiled):
                    scores[row * width + i * size + n_valid : row * width + (i + 1) * size] = np.float32(-np.inf)
            _softmax_step(scores, width, here * size, n_tiled, top, norm, total, columns)
            for i in range(here):
                place = (item * n_key_blocks + rows[at, start + i]) * size * columns
                multiply_add(scores, i * size, width, values, place, columns, total, columns, n_tiled, columns, size)
        for row in range(n_rows):
            log_sums[item, first + row] = np.float32(math.log(norm[row]) + top[row] * math.log(2.0))
            for column in range(d):
                out[item, first + row, column] = total[row * columns + column] / norm[row]


@kernel(inline=True)
@no_type_check
def _load(q, first, n_rows, query):
    """Copy a block of queries, scaled so that the softmax is to base two."""
    d = q.shape[1]
    scale = np.float32(1.0 / (math.sqrt(d) * math.log(2.0)))
    query[:] = np.float32(0.0)
    for row in range(n_rows):
        for column in range(d):
            query[row * d + column] = q[first + row, column] * scale


@kernel(inline=True)
@no_type_check
def _softmax_step(scores, stride, width, n_rows, top, norm, total, columns):
    """Turn scores into weights relative to the largest score so far, and bring what was summed before to that scale."""
    for row in range(n_rows):
        best = max(top[row], row_maximum(scores, row * stride, width))
        if best > top[row]:
            shrink = np.float32(2.0 ** (top[row] - best))
            norm[row] *= shrink
            for column in range(row * columns, (row + 1) * columns):
                total[column] *= shrink
            top[row] = best
        norm[row] += row_weights(scores, row * stride, width, top[row])
