"""What is trained, on which photos, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon3d.core.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16"]
Shape = tuple[int, int]


@dataclass(frozen=True)
class Stage:
    """Part of a training with photos of some sizes.

    Args:
        share: of the whole training.
        shapes: heights and widths of the photos, in pixels; every batch has one of them, each equally likely.
        photos: of a step; a step has this many divided by the views of its scenes, at least one scene.
        rays: cast for each pixel, 1 or 4; one costs a third and leaves edges jagged.
        overlap: smallest share of a photo that another one sees too.
    """

    share: float = 1.0
    shapes: tuple[Shape, ...] = ((84, 84), (84, 84), (84, 56), (56, 84))
    photos: int = 36
    rays: int = 4
    overlap: float = 0.3

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and self.photos > 0 and self.shapes):
            raise UsageError("a stage of a training is impossible", got=self, expected="a share, shapes and photos")


STAGES = (
    Stage(0.4, ((56, 56), (56, 56), (56, 42), (42, 56)), 36, rays=1, overlap=0.5),
    Stage(0.6, ((84, 84), (84, 84), (84, 56), (56, 84)), 24),
)


@dataclass(frozen=True)
class LossOptions:
    """Weights of the terms of the loss; lengths are in units of the mean distance of the points from the first camera.

    Args:
        depth: absolute error of the depth times its confidence, minus the reward for confidence.
        relative: absolute error of the logarithm of the depth, which near surfaces need.
        gradient: differences of the error between neighbours.
        rays: like ``depth``, for directions and origins.
        points: absolute error of origin + depth * direction.
        camera: absolute error of the nine numbers of a camera.
        matching: cross entropy of where patches look in other photos.
        alpha: reward for confidence.
    """

    depth: float = 1.0
    relative: float = 1.0
    gradient: float = 1.0
    rays: float = 2.0
    points: float = 1.0
    camera: float = 4.0
    matching: float = 1.0
    alpha: float = 0.2


@dataclass(frozen=True)
class OptimiserOptions:
    """How weights change.

    Args:
        learning_rate: after the warm-up; it falls to a hundredth along a cosine.
        warm_up: steps in which the rate grows from zero.
        betas: of AdamW.
        weight_decay: of matrices and convolutions; none of biases, norms, tables and tokens.
        clip: largest norm of the gradient.
        ema: share of the averaged weights that a step keeps, after a start in which it is smaller.
    """

    learning_rate: float = 1e-3
    warm_up: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.998

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.clip <= 0 or not 0 <= self.ema < 1:
            raise UsageError("an optimiser cannot work so", got=self, expected="positive rates, 0 <= ema < 1")


@dataclass(frozen=True)
class DataOptions:
    """How generated scenes become batches.

    Args:
        views: fewest and most photos of a scene.
        group: batches that are made ahead of their use.
        reuse: how often every batch is used, each time with other colours, mirrored or not, and in another order.
        workers: processes that make scenes; 0 makes them in the training process, on its device.
        known_cameras: share of the steps in which the network is told the cameras.
        brightness: standard deviation of the logarithm of a photo's gain.
        recolour: share of the scenes whose colour channels change places.
    """

    views: tuple[int, int] = (2, 4)
    group: int = 64
    reuse: int = 4
    workers: int = 1
    known_cameras: float = 0.05
    brightness: float = 0.1
    recolour: float = 0.15


@dataclass(frozen=True)
class TrainOptions:
    """A training.

    Args:
        model: name of a network that knows cameras.
        seed: of the first weights and of all scenes.
        steps: length; 0 = as many as fit into ``minutes``.
        minutes: length in minutes of computing, if not 0; resumed runs count on.
        stages: sizes of photos, in their order.
        data: how scenes become batches.
        loss: weights of the terms.
        optimiser: how weights change.
        precision: of the network's matrix products; ``auto`` takes bfloat16 where the device is faster with it.
        checkpoint_minutes: time between checkpoints.
        evaluate_minutes: time between evaluations on unseen scenes.
        evaluate_scenes: unseen scenes of an evaluation.
    """

    model: str = "recon3d-small"
    seed: int = 0
    steps: int = 0
    minutes: float = 10.0
    stages: tuple[Stage, ...] = STAGES
    data: DataOptions = field(default_factory=DataOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    precision: Precision = "auto"
    checkpoint_minutes: float = 3.0
    evaluate_minutes: float = 10.0
    evaluate_scenes: int = 20

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise UsageError("a training needs a length", got=f"{self.steps} steps, {self.minutes} minutes")
        if not self.stages or abs(sum(stage.share for stage in self.stages) - 1.0) > 1e-6:
            raise UsageError("the shares of the stages do not add up", got=self.stages, expected="a sum of 1")

    def stage_at(self, progress: float) -> int:
        """Return the number of the stage at a progress between 0 and 1."""
        end = 0.0
        for number, stage in enumerate(self.stages):
            end += stage.share
            if progress < end - 1e-9:
                return number
        return len(self.stages) - 1
