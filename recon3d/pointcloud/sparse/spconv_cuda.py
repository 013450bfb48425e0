"""Sparse convolution on CUDA tensors by spconv's kernels, with our rulebooks.

Written against ``spconv.pytorch.functional.indice_conv`` of spconv 2.3; not verified, because no machine with CUDA was
at hand. Where it is not installed, plain torch does the same.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.backends import candidates
from recon3d.core.errors import UsageError
from recon3d.pointcloud.sparse.rules import Rules


def takes(features: Float[Tensor, "n c"], backend: str) -> bool:
    """Return whether spconv computes a layer with such features.

    Args:
        features: of the input.
        backend: what the layer asks for.

    Raises:
        UsageError: it was asked for by name, and cannot.
    """
    if backend == "spconv" and not features.is_cuda:
        raise UsageError("spconv does not take such tensors", got=str(features.device), expected="a CUDA device")
    return features.is_cuda and backend in ("auto", "spconv") and _installed()


@lru_cache(maxsize=1)
def _installed() -> bool:
    return any(one.name == "spconv" and one.available for one in candidates("sparse convolution"))


def convolve(
    features: Float[Tensor, "n c"], weight: Float[Tensor, "d k0 k1 k2 c"], rules: Rules
) -> Float[Tensor, "m d"]:
    """Return a sparse convolution, once differentiable in features and weight.

    Args:
        features: rows of the rulebook's source sites.
        weight: in spconv's layout.
        rules: the pairs.
    """
    home: Any = import_module("spconv.pytorch.functional")
    algorithm = import_module("spconv.core").ConvAlgo.Native
    pairs, counts = _padded_pairs(rules)
    found: Tensor = home.indice_conv(features, weight, pairs, counts, len(rules.target), algorithm)
    return found


def _padded_pairs(rules: Rules) -> tuple[Tensor, Tensor]:
    """Return the pairs as spconv holds them: ``[2, volume, rows]`` with -1 where there is none, and their counts."""
    lists, device = rules.pairs, rules.source.indices.device
    counts = torch.tensor(lists.counts, dtype=torch.int32, device=device)
    pairs = torch.full((2, rules.volume, max(1, *lists.counts)), -1, dtype=torch.int32, device=device)
    for offset, rows_in, rows_out in lists.each():
        pairs[0, offset, : len(rows_in)], pairs[1, offset, : len(rows_out)] = rows_in.int(), rows_out.int()
    return pairs, counts
