"""Numbers that change over a training: learning rate, momentum, averaged weights; and which parameters decay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from recon3d.core.errors import UsageError


def drop_path_rates(highest: float, depth: int) -> list[float]:
    """Return the drop path probability of every block, linear from 0 to ``highest``."""
    return [highest * block / max(depth - 1, 1) for block in range(depth)]


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """A cosine rise to the peak rate and a cosine fall, with the momentum moving against it.

    Args:
        steps: of the whole training.
        peak: highest learning rate.
        warm_up: fraction of the steps that rise.
        start_div: the first rate is ``peak / start_div``.
        final_div: the last rate is the first over this.
        beta: Adam's beta1 at the peak rate, and at both ends.
    """

    steps: int
    peak: float = 1e-3
    warm_up: float = 0.05
    start_div: float = 10.0
    final_div: float = 1000.0
    beta: tuple[float, float] = (0.85, 0.95)

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.warm_up < 1:
            raise UsageError(
                "no such cycle", got=f"steps {self.steps}, warm_up {self.warm_up}", expected="1+, in (0,1)"
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        start = self.peak / self.start_div
        return self._between(step, start, self.peak, start / self.final_div)

    def beta1(self, step: int) -> float:
        """Return Adam's beta1 of a step, counted from 0."""
        return self._between(step, self.beta[1], self.beta[0], self.beta[1])

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set rate and beta1 of every parameter group; a group's ``rate_factor`` scales its rate."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate(step) * group.get("rate_factor", 1.0)
            group["betas"] = (self.beta1(step), group["betas"][1])

    def _between(self, step: int, start: float, top: float, end: float) -> float:
        rise, last = self.warm_up * self.steps - 1, self.steps - 1
        if step <= rise:
            return _cosine(start, top, step / rise if rise > 0 else 1.0)
        return _cosine(top, end, min((step - rise) / (last - rise), 1.0) if last > rise else 1.0)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def poly_rate(step: int, steps: int, base: float, power: float = 0.9) -> float:
    """Return the learning rate of the instance training, ``base (1 - step / steps) ** power``."""
    return float(base * max(1 - step / steps, 0.0) ** power)


def decayed_parameters(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups for AdamW: matrices decay, biases and vectors do not.

    Args:
        model: the network; parameters that need no gradient are left out.
        weight_decay: of the first group: 0.05 for Volt-S, 0.1 for the jointly trained Volt-B.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": weight_decay},
        {"params": [], "weight_decay": 0.0},
    ]
    for name, one in model.named_parameters():
        if one.requires_grad:
            groups[one.ndim <= 1 or name.endswith(".bias")]["params"].append(one)
    return [group for group in groups if group["params"]]


class AveragedWeights:
    """The exponential moving average of a network's parameters, beside a copy of its newest buffers.

    Args:
        model: the network; the average starts at its values.
        decay: share of the old average that each update keeps.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        self.decay = decay
        self.state = {name: one.detach().clone() for name, one in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the network's parameters; copy its buffers, such as the statistics of batch norms."""
        parameters = {name for name, _ in model.named_parameters()}
        for name, one in model.state_dict().items():
            if name in parameters:
                self.state[name].lerp_(one, 1 - self.decay)
            else:
                self.state[name].copy_(one)

    def items(self) -> Iterator[tuple[str, Shaped[Tensor, "..."]]]:
        """Yield names and tensors, ready for ``load_state_dict``."""
        yield from self.state.items()
