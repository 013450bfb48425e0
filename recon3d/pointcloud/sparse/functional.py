"""Sparse convolution as a function of features and weights, with derivatives of every order."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.sparse import cpu, plain
from recon3d.pointcloud.sparse.rules import Rules

SparseBackend = Literal["auto", "numba", "spconv", "torch"]
_TILED = (torch.float32, torch.float64)


def convolve(
    features: Float[Tensor, "n c"], weight: Float[Tensor, "k c d"], rules: Rules, backend: SparseBackend = "auto"
) -> Float[Tensor, "m d"]:
    """Return a sparse convolution: each output is the sum of ``features[in] @ weight[offset]`` over its pairs.

    It is linear in features and weights and differentiable in both, any number of times.

    Args:
        features: rows of the rulebook's source sites.
        weight: a matrix per kernel entry.
        rules: which input meets which weight for which output.
        backend: ``numba`` (float32 and float64 on the CPU), ``torch`` (anything), or ``auto``.

    Raises:
        ShapeError: features or weights do not fit the rulebook.
        UsageError: the back end does not take such tensors.
    """
    if len(features) != len(rules.source) or weight.shape[:2] != (rules.volume, features.shape[1]):
        got = f"features {tuple(features.shape)}, weight {tuple(weight.shape)}"
        expected = f"{len(rules.source)} rows, and {rules.volume} matrices with as many rows as features have channels"
        raise ShapeError("a sparse convolution", got=got, expected=expected)
    found: Tensor = _Convolve.apply(features, weight, rules, _home(features, backend))  # type: ignore[no-untyped-call]
    return found


def _home(features: Tensor, backend: SparseBackend) -> ModuleType:
    tiled = features.device.type == "cpu" and features.dtype in _TILED
    if backend == "numba" and not tiled:
        got = f"{features.dtype} on {features.device.type}"
        raise UsageError("numba does not take such tensors", got=got, expected="float32 or float64 on the CPU")
    return cpu if tiled and backend in ("auto", "numba") else plain


class _Convolve(torch.autograd.Function):
    """The convolution; its gradients are a convolution with exchanged roles and a sum of outer products."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rules: Rules, home: ModuleType) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.rules, ctx.home = rules, home
        found: Tensor = home.convolve(features, weight, rules)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        by_features = by_weight = None
        if ctx.needs_input_grad[0]:
            by_features = _returned(grads[0], weight, ctx.rules, ctx.home)
        if ctx.needs_input_grad[1]:
            by_weight = _WeightGradient.apply(features, grads[0], ctx.rules, ctx.home)  # type: ignore[no-untyped-call]
        return by_features, by_weight, None, None


class _WeightGradient(torch.autograd.Function):
    """Sums of outer products over the pairs of each kernel entry; the gradients of both factors are convolutions."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, grads: Tensor, rules: Rules, home: ModuleType) -> Tensor:
        ctx.save_for_backward(features, grads)
        ctx.rules, ctx.home = rules, home
        found: Tensor = home.weight_gradient(features, grads, rules)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, others = ctx.saved_tensors
        by_features = by_others = None
        if ctx.needs_input_grad[0]:
            by_features = _returned(others, grads[0], ctx.rules, ctx.home)
        if ctx.needs_input_grad[1]:
            by_others = _Convolve.apply(features, grads[0], ctx.rules, ctx.home)  # type: ignore[no-untyped-call]
        return by_features, by_others, None, None


def _returned(grads: Tensor, weight: Tensor, rules: Rules, home: ModuleType) -> Tensor:
    """Carry gradients of the outputs back to the inputs; a symmetric rulebook serves for both directions."""
    turned = weight.mT.flip(0) if rules.is_symmetric else weight.mT
    back = rules if rules.is_symmetric else rules.transposed
    found: Tensor = _Convolve.apply(grads, turned, back, home)  # type: ignore[no-untyped-call]
    return found
