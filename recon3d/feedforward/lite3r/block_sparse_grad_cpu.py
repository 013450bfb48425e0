"""Gradients of the softmax over kept key blocks in numba; the weights are computed once more within the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from recon3d.core.kernels import kernel, run_chunks
from recon3d.feedforward.lite3r.block_sparse_cpu import LOG2_E, load_transposed, packed
from recon3d.feedforward.lite3r.simd import LANES, ROWS, multiply, multiply_add, softmax_again

_ZERO = np.float32(0.0)


def gradients(
    inputs: Sequence[Tensor],
    size: int,
    out: Float32[Tensor, "b n d"],
    log_sums: Float32[Tensor, "b n"],
    grad: Float32[Tensor, "b n d"],
) -> tuple[Float32[Tensor, "b n d"], Float32[Tensor, "b m d"], Float32[Tensor, "b m d"]]:
    """Return the gradients of queries, keys and values.

    Args:
        inputs: q, k, v and the kept blocks, as :func:`recon3d.feedforward.lite3r.block_sparse_cpu.attend` took them.
        size: tokens of a block.
        out: what it returned.
        log_sums: likewise.
        grad: gradient of ``out``.
    """
    q, k, v = (one.detach().contiguous().numpy() for one in inputs[:3])
    (batch, m, d), columns = k.shape, -(-k.shape[2] // LANES) * LANES
    keys, values, turned = (
        packed(k, size, transposed=False),
        packed(v, size, transposed=False),
        packed(k, size, transposed=True),
    )
    grad_q, n_blocks = torch.empty(q.shape), -(-m // size)
    grad_k, grad_v = (torch.zeros(batch, n_blocks * size, columns) for _ in range(2))
    inner = (grad * out).sum(-1).numpy()
    arrays = q, keys, values, turned, inputs[3].contiguous().numpy(), grad.contiguous().numpy(), log_sums.numpy(), inner
    results = grad_q.numpy(), *(one.view(batch, n_blocks, size, columns).numpy() for one in (grad_k, grad_v))
    run_chunks(lambda item: _differentiate(*arrays, *results, m, size, item), batch)
    return grad_q, grad_k[:, :m, :d], grad_v[:, :m, :d]


@kernel
@no_type_check
def _differentiate(q, keys, values, turned, kept, grad, log_sums, inner, grad_q, grad_k, grad_v, n_keys, size, item):
    """Go through one sequence: all its query blocks add to the same keys and values, so in order."""
    (_, n, d), n_blocks, columns, n_channels = q.shape, grad_k.shape[1], grad_k.shape[3], turned.shape[1]
    scale = 1.0 / math.sqrt(d)
    query, slope = np.empty(d * size, np.float32), np.empty(d * size, np.float32)
    query_rows, slope_rows = np.zeros((size, columns), np.float32), np.zeros((size, columns), np.float32)
    weights, changes = np.empty((size, size), np.float32), np.empty((size, size), np.float32)
    total, log_norm, delta = (
        np.empty((n_channels, size), np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
    )
    ones = np.ones(max(size, columns), np.float32)
    for at in range(kept.shape[1]):
        first, n_rows = at * size, min(size, n - at * size)
        load_transposed(q[item], first, n_rows, size, LOG2_E * scale, query)
        load_transposed(grad[item], first, n_rows, size, 1.0, slope)
        query_rows[:], slope_rows[:], total[:], log_norm[:], delta[:] = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        for row in range(n_rows):
            log_norm[row], delta[row] = log_sums[item, first + row] * np.float32(LOG2_E), inner[item, first + row]
            for column in range(d):
                query_rows[row, column] = q[item, first + row, column] * np.float32(scale)
                slope_rows[row, column] = grad[item, first + row, column]
        for block in kept[item, at]:
            place, n_valid = item * n_blocks + block, min(size, n_keys - block * size)
            n_tiled = -(-n_valid // ROWS) * ROWS
            multiply(keys[place], query, weights, n_tiled, size, d)
            multiply(values[place], slope, changes, n_tiled, size, d)
            softmax_again(weights, n_valid, size, log_norm)
            for key in range(n_valid):
                for column in range(size):
                    changes[key, column] = weights[key, column] * (changes[key, column] - delta[column])
            multiply_add(turned[place], size, changes, total, n_channels, size, n_valid, ones)
            multiply_add(changes, size, query_rows, grad_k[item, block], n_tiled, columns, size, ones)
            multiply_add(weights, size, slope_rows, grad_v[item, block], n_tiled, columns, size, ones)
        for row in range(n_rows):
            for column in range(d):
                grad_q[item, first + row, column] = total[column, row] * np.float32(scale)
