"""Training of the feed-forward networks on generated scenes, their distillation into Lite3R, and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon3d.core.lazy import lazy_exports

if TYPE_CHECKING:
    from recon3d.feedforward.training.loop import train as train
    from recon3d.feedforward.training.objective import Terms as Terms, training_loss as training_loss
    from recon3d.feedforward.training.options import (
        DataOptions as DataOptions,
        LossOptions as LossOptions,
        OptimiserOptions as OptimiserOptions,
        Stage as Stage,
        TrainOptions as TrainOptions,
    )
    from recon3d.feedforward.training.scores import Scores as Scores
    from recon3d.feedforward.training.targets import Targets as Targets, targets_of as targets_of

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "loop": ["train"],
        "objective": ["Terms", "training_loss"],
        "options": ["DataOptions", "LossOptions", "OptimiserOptions", "Stage", "TrainOptions"],
        "scores": ["Scores"],
        "targets": ["Targets", "targets_of"],
    },
)
