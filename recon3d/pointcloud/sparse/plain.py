"""Sparse convolution in plain torch, for any device and type: gather, multiply, add, one kernel entry after another."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from recon3d.pointcloud.sparse.rules import Rules


def convolve(features: Float[Tensor, "n c"], weight: Float[Tensor, "k c d"], rules: Rules) -> Float[Tensor, "m d"]:
    """Return the sums of ``features[in] @ weight[offset]`` over the pairs of a rulebook.

    Args:
        features: rows of the source sites.
        weight: a matrix per kernel entry.
        rules: the pairs.
    """
    out = features.new_zeros(len(rules.target), weight.shape[2])
    for offset, rows_in, rows_out in rules.pairs.each():
        out.index_add_(0, rows_out, features[rows_in] @ weight[offset])
    return out


def weight_gradient(
    features: Float[Tensor, "n c"], grads: Float[Tensor, "m d"], rules: Rules
) -> Float[Tensor, "k c d"]:
    """Return the sums of ``features[in].T @ grads[out]`` over the pairs of each kernel entry.

    Args:
        features: rows of the source sites.
        grads: rows of the target sites.
        rules: the pairs.
    """
    out = features.new_zeros(rules.volume, features.shape[1], grads.shape[1])
    for offset, rows_in, rows_out in rules.pairs.each():
        out[offset] = features[rows_in].mT @ grads[rows_out]
    return out
