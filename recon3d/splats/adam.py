"""Adam for the fields of a changing set of Gaussians: rows are added, removed and restarted with the Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.splats.adam_cpu import adam_step, all_finite

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-15


@dataclass(eq=False)
class Moments:
    """Running moments of one parameter; rows belong to Gaussians (or photos).

    Args:
        mean: of the derivative, shaped like the parameter.
        square: of its square.
        steps: updates so far.
    """

    mean: Float[Tensor, "g *rest"]
    square: Float[Tensor, "g *rest"]
    steps: int = 0

    @classmethod
    def of(cls, value: Float[Tensor, "g *rest"]) -> Moments:
        """Return fresh moments for a parameter."""
        return cls(torch.zeros_like(value, requires_grad=False), torch.zeros_like(value, requires_grad=False))

    def select(self, index: Int64[Tensor, " m"], fresh: Int64[Tensor, " k"]) -> None:
        """Keep the rows of ``index``, in its order, and restart those at the positions ``fresh``."""
        self.mean, self.square = self.mean[index], self.square[index]
        self.mean[fresh] = 0
        self.square[fresh] = 0

    def widen(self, value: Float[Tensor, "g *rest"]) -> None:
        """Follow a parameter that grew along its second axis."""
        old, self.mean, self.square = (self.mean, self.square), torch.zeros_like(value), torch.zeros_like(value)
        self.mean[:, : old[0].shape[1]] = old[0]
        self.square[:, : old[1].shape[1]] = old[1]

    def update(
        self, value: Float[Tensor, "g *rest"], grad: Float[Tensor, "g *rest"], rates: Float[Tensor, " c"]
    ) -> None:
        """Take one step on ``value`` in place; ``rates`` holds one learning rate per number of a row."""
        self.steps += 1
        fix1, fix2 = 1 / (1 - BETA1**self.steps), 1 / (1 - BETA2**self.steps)
        shape = (len(value), len(rates))
        if value.device.type == "cpu" and value.dtype == torch.float32:
            parts = (value.detach(), grad.contiguous(), self.mean, self.square)
            arrays = [part.reshape(shape).numpy() for part in parts]
            constants = np.array([BETA1, BETA2, EPSILON, fix1, fix2], np.float32)
            adam_step(arrays[0], arrays[1], arrays[2], arrays[3], rates.numpy(), constants)
            return
        self.mean.lerp_(grad, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
        step = (self.mean * fix1) / ((self.square * fix2).sqrt() + EPSILON)
        with torch.no_grad():
            value -= step * rates.reshape(value.shape[1:]).to(value)


def is_finite(value: Float[Tensor, "*shape"]) -> bool:
    """Return whether a tensor holds no NaN and no infinity."""
    if value.device.type == "cpu" and value.dtype == torch.float32:
        return all_finite(value.detach().reshape(-1, 1).numpy())
    return bool(torch.isfinite(value).all())
