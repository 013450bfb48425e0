"""The linear branch in numba: feature maps are made block by block within the cache and never stored."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from recon3d.core.kernels import kernel, run_chunks
from recon3d.feedforward.lite3r.simd import LANES, ROWS, features, multiply, multiply_add

_SIZE = 64  # tokens at a time
_BLOCKS_AT_ONCE = 32


def key_state(
    k: Float32[Tensor, "b m d"], v: Float32[Tensor, "b m d"]
) -> tuple[Float32[Tensor, "b d d"], Float32[Tensor, "b d"]]:
    """Return v^T phi(k) and the sum of phi(k) over all keys, phi(x) = elu(x) + 1.

    Args:
        k: keys, ``[b,m,d]``.
        v: values, ``[b,m,d]``.
    """
    (batch, _, d), columns = k.shape, -(-k.shape[2] // LANES) * LANES
    state = np.zeros((batch, -(-d // ROWS) * ROWS, columns), np.float32)
    sums = torch.zeros(batch, d)
    arrays = k.detach().contiguous().numpy(), v.detach().contiguous().numpy(), state, sums.numpy()
    run_chunks(lambda item: _collect(*arrays, item), batch)
    return torch.from_numpy(state)[:, :d, :d], sums


def apply_state(
    q: Float32[Tensor, "b n d"], state: Float32[Tensor, "b e d"], sums: Float32[Tensor, "b d"], eps: float
) -> Float32[Tensor, "b n e"]:
    """Return ``state phi(q) / (sums . phi(q) + eps)`` for each query.

    Args:
        q: queries, ``[b,n,d]``.
        state: of the keys, projected or not.
        sums: of the features of the keys.
        eps: keeps the quotient finite.
    """
    (batch, n, _), wide = q.shape, state.shape[1]
    rows = torch.cat([state, sums[:, None]], 1)  # the denominators are one more row of the product
    rows = torch.nn.functional.pad(rows, (0, 0, 0, -rows.shape[1] % ROWS)).contiguous()
    out, n_blocks = torch.empty(batch, n, wide), batch * -(-n // _SIZE)
    arrays = q.detach().contiguous().numpy(), rows.numpy(), out.numpy(), eps

    def work(chunk: int) -> None:
        _apply(*arrays, chunk * _BLOCKS_AT_ONCE, min((chunk + 1) * _BLOCKS_AT_ONCE, n_blocks))

    run_chunks(work, -(-n_blocks // _BLOCKS_AT_ONCE))
    return out


@kernel
@no_type_check
def _collect(k, v, state, sums, item):
    (_, n, d), (_, n_rows, columns) = k.shape, state.shape
    mapped, values = np.zeros(_SIZE * columns, np.float32), np.zeros(n_rows * _SIZE, np.float32)
    total, ones = np.zeros(n_rows * columns, np.float32), np.ones(columns, np.float32)
    for first in range(0, n, _SIZE):
        n_keys = min(_SIZE, n - first)
        for key in range(n_keys):
            for channel in range(d):
                mapped[key * columns + channel] = k[item, first + key, channel]
                values[channel * _SIZE + key] = v[item, first + key, channel]
        features(mapped, n_keys * columns)
        for key in range(n_keys):
            for channel in range(d):
                sums[item, channel] += mapped[key * columns + channel]
        multiply_add(values, _SIZE, mapped, total, n_rows, columns, n_keys, ones)
    state[item] = total.reshape(n_rows, columns)


@kernel
@no_type_check
def _apply(q, rows, out, eps, begin, end):
    (_, n, d), n_rows, wide = q.shape, rows.shape[1], out.shape[2]
    n_blocks = -(-n // _SIZE)
    mapped, found = np.zeros(d * _SIZE, np.float32), np.empty(n_rows * _SIZE, np.float32)
    for block in range(begin, end):
        item, first = block // n_blocks, block % n_blocks * _SIZE
        n_queries = min(_SIZE, n - first)
        for query in range(n_queries):
            for channel in range(d):
                mapped[channel * _SIZE + query] = q[item, first + query, channel]
        features(mapped, d * _SIZE)
        multiply(rows[item], mapped, found, n_rows, _SIZE, d)
        for query in range(n_queries):
            share = np.float32(1.0) / (found[wide * _SIZE + query] + np.float32(eps))
            for channel in range(wide):
                out[item, first + query, channel] = found[channel * _SIZE + query] * share
