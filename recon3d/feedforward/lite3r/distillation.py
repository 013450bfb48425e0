"""Partial attention distillation: a student's attentions are pulled towards those of a frozen dense teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from recon3d.core.errors import ShapeError
from recon3d.feedforward.layers.attention import Attention


class AttentionRecorder:
    """Context that keeps what every attention of a network returns, in the order in which they run.

    What is kept lies after the output projection and before LayerScale and residual; a module that runs several times
    is kept each time.

    Args:
        model: dense or sparse network.

    Example:
        >>> from recon3d.feedforward.layers.attention import Attention
        >>> model = Attention(8, 2)
        >>> with AttentionRecorder(model) as recorder:
        ...     _ = model(torch.zeros(1, 3, 8))
        >>> [tuple(one.shape) for one in recorder.outputs]
        [(1, 3, 8)]
    """

    def __init__(self, model: nn.Module) -> None:
        self.outputs: list[Tensor] = []
        self._model, self._hooks = model, list[Any]()

    def __enter__(self) -> AttentionRecorder:
        self.outputs = []
        attentions = (module for module in self._model.modules() if isinstance(module, Attention))
        self._hooks = [module.register_forward_hook(self._keep) for module in attentions]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.outputs.append(output)


def distillation_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return the mean over attentions of the mean squared difference; differentiable in both.

    Args:
        student: outputs of the student's attentions.
        teacher: those of the teacher, in the same order.

    Raises:
        ShapeError: they do not correspond.
    """
    shapes = [[tuple(one.shape) for one in outputs] for outputs in (student, teacher)]
    if shapes[0] != shapes[1] or not student:
        raise ShapeError("the attentions of student and teacher do not correspond", got=shapes[0], expected=shapes[1])
    return torch.stack([mse_loss(one, other) for one, other in zip(student, teacher, strict=True)]).mean()


def distillation_weight(step: int, n_steps: int, *, first: float = 0.1, last: float = 0.01) -> float:
    """Return the weight of the distillation loss, a half cosine from ``first`` to ``last``, constant afterwards.

    Args:
        step: number of the step, from 0.
        n_steps: length of the run.
        first: weight at its start.
        last: weight at its end.
    """
    progress = min(1.0, step / max(1, n_steps))
    return last + 0.5 * (first - last) * (1.0 + math.cos(math.pi * progress))


def learning_rate_factor(step: int, n_steps: int, *, n_warm_up: int = 30) -> float:
    """Return the factor of the learning rate: linear from 0 to 1 over the warm-up, then linear to 1/2 at the end.

    Args:
        step: number of the step, from 0.
        n_steps: length of the run.
        n_warm_up: length of the warm-up.
    """
    if step < n_warm_up:
        return step / n_warm_up
    progress = min(1.0, (step - n_warm_up) / max(1, n_steps - n_warm_up))
    return 1.0 - 0.5 * progress
