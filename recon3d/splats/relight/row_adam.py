"""Adam for tables of which every step touches some rows only."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_BETA1, _BETA2, _TINY = 0.9, 0.99, 1e-8


class RowAdam:
    """A table that is optimised; rows that a step does not name keep their value and their moments.

    Args:
        value: where it starts; changed in place, ``[n,...]``.
        rate: learning rate.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
    """

    def __init__(self, value: Float[Tensor, "n *rest"], rate: float) -> None:
        self.value, self.rate = value, rate
        self._mean, self._square = torch.zeros_like(value), torch.zeros_like(value)
        self._steps = value.new_zeros(value.shape[:1] + (1,) * (value.ndim - 1))

    def restart(self, value: Float[Tensor, "n *rest"]) -> None:
        """Go on from another value, without memory of the steps before."""
        self.value.copy_(value)
        for table in (self._mean, self._square, self._steps):
            table.zero_()

    def step(self, grad: Float[Tensor, "m *rest"], rows: Int64[Tensor, " m"] | None = None, share: float = 1.0) -> None:
        """Move some rows against their gradient.

        Args:
            grad: of the rows.
            rows: which; None = all.
            share: of the learning rate.
        """
        which = slice(None) if rows is None else rows
        steps = self._steps[which] + 1
        mean = self._mean[which].lerp(grad, 1 - _BETA1)
        square = self._square[which].lerp(grad * grad, 1 - _BETA2)
        self._steps[which], self._mean[which], self._square[which] = steps, mean, square
        slope = (square / (1 - _BETA2**steps)).sqrt() + _TINY
        self.value[which] -= self.rate * share * (mean / (1 - _BETA1**steps)) / slope
