"""Softmax over kept key blocks in numba: a block of queries passes over its key blocks once, all within the cache."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recon3d.core.kernels import kernel, run_chunks
from recon3d.feedforward.lite3r.simd import ROWS, multiply, multiply_add, softmax_step

_SCORES_AT_ONCE = 2**20  # of one chunk, about a millisecond
_BLOCKS_AT_ONCE = 64
LOG2_E = 1.0 / math.log(2.0)
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
    keys, values = packed(plain_k, size, transposed=False), packed(plain_v, size, transposed=True)
    rows = kept.flatten(0, 1).contiguous().numpy()
    arrays = queries, keys, values, rows, out.numpy(), log_sums.numpy()
    step = max(1, _SCORES_AT_ONCE // (size**2 * max(1, rows.shape[1])))

    def work(chunk: int) -> None:
        _attend(*arrays, k.shape[1], size, chunk * step, min((chunk + 1) * step, len(rows)))

    run_chunks(work, -(-len(rows) // step))
    return out, log_sums


def packed(x: np.ndarray, size: int, *, transposed: bool) -> np.ndarray:
    """Return blocks ``[b*blocks,size,d]``, or ``[b*blocks,d,size]`` with d rounded up to a multiple of 4.

    Args:
        x: keys or values, ``[b,n,d]``.
        size: tokens of a block; the last one is filled up with zeros.
        transposed: one channel a row.
    """
    (batch, n, d), rows = x.shape, -(-x.shape[2] // ROWS) * ROWS
    n_blocks = batch * -(-n // size)
    out = np.empty((n_blocks, rows, size) if transposed else (n_blocks, size, d), np.float32)
    fill = _pack_transposed if transposed else _pack

    def work(chunk: int) -> None:
        fill(x, out, size, chunk * _BLOCKS_AT_ONCE, min((chunk + 1) * _BLOCKS_AT_ONCE, n_blocks))

    run_chunks(work, -(-n_blocks // _BLOCKS_AT_ONCE))
    return out


@kernel
@no_type_check
def _pack(x, out, size, begin, end):
    n_blocks = -(-x.shape[1] // size)
    for block in range(begin, end):
        item, first = block // n_blocks, block % n_blocks * size
        n_rows = min(size, x.shape[1] - first)
        out[block, :n_rows] = x[item, first : first + n_rows]
        out[block, n_rows:] = np.float32(0.0)


@kernel
@no_type_check
def _pack_transposed(x, out, size, begin, end):
    n_blocks = -(-x.shape[1] // size)
    for block in range(begin, end):
        item, first = block // n_blocks, block % n_blocks * size
        out[block] = np.float32(0.0)
        for row in range(min(size, x.shape[1] - first)):
            for column in range(x.shape[2]):
                out[block, column, row] = x[item, first + row, column]


@kernel
@no_type_check
def _attend(q, keys, values, kept, out, log_sums, n_keys, size, begin, end):
    (_, n, d), n_channels = q.shape, -(-q.shape[2] // ROWS) * ROWS
    n_query_blocks, n_key_blocks = -(-n // size), -(-n_keys // size)
    query, scores = np.empty(d * size, np.float32), np.empty(size * size, np.float32)
    total = np.empty(n_channels * size, np.float32)
    top, norm, shrink = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for at in range(begin, end):
        item, first = at // n_query_blocks, at % n_query_blocks * size
        n_rows = min(size, n - first)
        load_transposed(q[item], first, n_rows, size, LOG2_E / math.sqrt(d), query)
        total[:], top[:], norm[:] = np.float32(0.0), np.float32(-np.inf), np.float32(0.0)
        for block in kept[at]:
            place, n_valid = item * n_key_blocks + block, min(size, n_keys - block * size)
            multiply(keys[place], query, scores, -(-n_valid // ROWS) * ROWS, size, d)
            softmax_step(scores, n_valid, size, top, norm, shrink)
            multiply_add(values[place], size, scores, total, n_channels, size, n_valid, shrink)
        _store(total, norm, n_rows, size, out[item, first : first + n_rows])
        for row in range(n_rows):
            log_sums[item, first + row] = np.float32(math.log(norm[row]) + top[row] * math.log(2.0))


@kernel(inline=True)
@no_type_check
def load_transposed(x, first, n_rows, size, scale, out):
    """Copy a block of tokens, one channel a row, times a factor."""
    out[:] = np.float32(0.0)
    for row in range(n_rows):
        for column in range(x.shape[1]):
            out[column * size + row] = x[first + row, column] * np.float32(scale)


@kernel(inline=True)
@no_type_check
def _store(total, norm, n_rows, size, out):
    """Transpose the sums back, divided by the sums of the weights."""
    for row in range(n_rows):
        share = np.float32(1.0) / norm[row]
        for column in range(out.shape[1]):
            out[row, column] = total[column * size + row] * share
