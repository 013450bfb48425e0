"""Adam on the CPU: one pass over a parameter, with a learning rate per column."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from recon3d.core.kernels import kernel, run_chunks

_ROWS = 8192  # rows per chunk; it must not follow the number of threads
_ZERO, _ONE = np.float32(0), np.float32(1)


def adam_step(
    value: Float32[np.ndarray, "g c"],
    grad: Float32[np.ndarray, "g c"],
    mean: Float32[np.ndarray, "g c"],
    square: Float32[np.ndarray, "g c"],
    rates: Float32[np.ndarray, " c"],
    constants: Float32[np.ndarray, "5"],
) -> None:
    """Update ``value``, ``mean`` and ``square`` in place.

    Args:
        value: the parameter, ``[g,c]``.
        grad: its derivative.
        mean: running mean of the derivative.
        square: running mean of its square.
        rates: learning rate of each column.
        constants: beta1, beta2, epsilon, and the two bias corrections ``1 / (1 - beta^t)``.

    Source: Kingma and Ba, "Adam", 2015, algorithm 1.
    """
    n_chunks = -(-len(value) // _ROWS)

    def work(i: int) -> None:
        rows = slice(i * _ROWS, (i + 1) * _ROWS)
        _adam(value[rows], grad[rows], mean[rows], square[rows], rates, constants)

    run_chunks(work, n_chunks)


def all_finite(values: Float32[np.ndarray, "g c"]) -> bool:
    """Return whether no number is NaN or infinite."""
    return bool(_times_zero(values.reshape(-1)) == 0)


@kernel
@no_type_check
def _adam(value, grad, mean, square, rates, constants):
    beta1, beta2, epsilon, fix1, fix2 = constants[0], constants[1], constants[2], constants[3], constants[4]
    rest1, rest2 = _ONE - beta1, _ONE - beta2
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            g = grad[i, j]
            m = beta1 * mean[i, j] + rest1 * g
            v = beta2 * square[i, j] + rest2 * g * g
            mean[i, j] = m
            square[i, j] = v
            value[i, j] -= rates[j] * (m * fix1) / (np.sqrt(v * fix2) + epsilon)


@kernel
@no_type_check
def _times_zero(values):
    """Return 0, or NaN where a number is not finite; infinity and NaN times zero are NaN."""
    total = _ZERO
    for i in range(values.size):
        total += values[i] * _ZERO
    return total
