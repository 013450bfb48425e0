"""Before and after an int8 product: rows to levels with a scale each, and sums back to numbers, in one pass."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, Int32
from torch import Tensor

from recon3d.core.kernels import kernel, run_chunks
from recon3d.feedforward.lite3r.quantisation import IntegerFormat

_INT8 = IntegerFormat(8)
_ROWS = 64


def quantised_rows(x: Float[Tensor, "n c"]) -> tuple[Int8[Tensor, "n c"], Float32[Tensor, " n"]]:
    """Return the levels of each row, -128 to 127, and its scale.

    Args:
        x: activations, one token a row.
    """
    if x.device.type != "cpu":
        scales = _INT8.scales(x.float())
        return _INT8.encoded(x.float(), scales).to(torch.int8), scales.squeeze(-1)
    levels, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x))
    arrays = x.detach().float().contiguous().numpy(), levels.numpy(), scales.numpy()
    run_chunks(lambda chunk: _quantise(*arrays, chunk * _ROWS, min((chunk + 1) * _ROWS, len(x))), -(-len(x) // _ROWS))
    return levels, scales


def rescaled(
    sums: Int32[Tensor, "n out"],
    row_scales: Float32[Tensor, " n"],
    column_scales: Float32[Tensor, " out"],
    bias: Float32[Tensor, " out"] | None,
) -> Float32[Tensor, "n out"]:
    """Return ``sums * row_scales * column_scales + bias``.

    Args:
        sums: products of levels.
        row_scales: of the tokens.
        column_scales: of the outputs.
        bias: of the outputs; None = zero.
    """
    bias = torch.zeros_like(column_scales) if bias is None else bias
    if sums.device.type != "cpu":
        return sums.float().mul_(row_scales[:, None]).mul_(column_scales).add_(bias)
    out, n = torch.empty(sums.shape), len(sums)
    arrays = sums.numpy(), row_scales.numpy(), column_scales.numpy(), bias.numpy(), out.numpy()
    run_chunks(lambda chunk: _rescale(*arrays, chunk * _ROWS, min((chunk + 1) * _ROWS, n)), -(-n // _ROWS))
    return out


@kernel
@no_type_check
def _quantise(x, levels, scales, begin, end):
    for row in range(begin, end):
        largest, n_nan = np.float32(1e-8), 0
        for column in range(x.shape[1]):
            largest = max(largest, abs(x[row, column]))
            n_nan += x[row, column] != x[row, column]
        if n_nan > 0:
            largest = np.float32(np.nan)  # so that the whole row is, as in a product of floats
        scale = np.float32(127.0) / largest
        scales[row] = largest / np.float32(127.0)
        for column in range(x.shape[1]):
            levels[row, column] = np.int8(np.int32(np.rint(x[row, column] * scale)))


@kernel
@no_type_check
def _rescale(sums, row_scales, column_scales, bias, out, begin, end):
    for row in range(begin, end):
        scale = row_scales[row]
        for column in range(sums.shape[1]):
            out[row, column] = np.float32(sums[row, column]) * (scale * column_scales[column]) + bias[column]
