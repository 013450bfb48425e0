"""How weights change: AdamW, a rate that warms up and falls along a cosine, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.feedforward.training.options import OptimiserOptions

_LAST = 0.01
_EVERY = 4
_MATRIX = 2
_TABLES = ("pos_embed", "cls_token", "camera_token")


def adamw(model: nn.Module, options: OptimiserOptions) -> torch.optim.AdamW:
    """Return AdamW over what learns; matrices and convolutions decay, nothing else.

    Args:
        model: the network.
        options: rates.
    """
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    decaying = [one for name, one in named if _decays(name, one)]
    others = [one for name, one in named if not _decays(name, one)]
    groups = [{"params": decaying, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, fused=True)


def _decays(name: str, parameter: Tensor) -> bool:
    return parameter.ndim >= _MATRIX and not name.endswith(_TABLES)


def rate_at(step: int, progress: float, options: OptimiserOptions) -> float:
    """Return the learning rate.

    Args:
        step: from 0.
        progress: of the whole training, 0 to 1.
        options: rates.
    """
    warm = min(1.0, (step + 1) / max(1, options.warm_up))
    cosine = _LAST + (1.0 - _LAST) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return options.learning_rate * warm * cosine


class Average:
    """Exponential average of the weights of a network.

    Args:
        model: the network; its present weights are the first average.
        keep: share of the average that a step keeps; smaller at the start: (1 + n) / (10 + n) after n steps.
    """

    def __init__(self, model: nn.Module, keep: float) -> None:
        self.keep, self.steps = keep, 0
        self.weights = {name: one.detach().clone() for name, one in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Count a step, and every few steps move the average towards the weights of a network."""
        self.steps += 1
        if self.steps % _EVERY:
            return
        keep = min(self.keep, (1 + self.steps) / (10 + self.steps)) ** _EVERY
        ours, theirs = list(self.weights.values()), list(model.state_dict().values())
        torch._foreach_lerp_(ours, theirs, 1.0 - keep)

    def load(self, weights: Mapping[str, Float[Tensor, "..."]], steps: int) -> None:
        """Continue another average.

        Args:
            weights: by name.
            steps: that it has seen.
        """
        self.steps = steps
        for name, one in self.weights.items():
            one.copy_(weights[name])
