"""What a detector is trained with, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon3d.core.errors import UsageError
from recon3d.pointcloud.detection.batches import BatchOptions
from recon3d.pointcloud.detection.network import SMALL
from recon3d.pointcloud.detection.precision import Precision
from recon3d.pointcloud.detection.scoring import ScoreOptions

DataFormat = Literal["auto", "generated", "kitti", "nuscenes", "frames"]


@dataclass(frozen=True, kw_only=True)
class DetectorDataOptions:
    """Frames of a training.

    Args:
        format: of the folder; ``auto`` looks at its files, and takes generated streets where there is no folder.
        classes: that are learnt; ``()`` = those of the network.
        held_out: every so many-th frame is kept for the evaluation.
        streets: generated frames of an epoch.
        split: of a KITTI or nuScenes folder: a file with the names of the frames, one a line; empty = all.
    """

    format: DataFormat = "auto"
    classes: tuple[str, ...] = ()
    held_out: int = 20
    streets: int = 2000
    split: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainDetectorOptions:
    """A training of a detector.

    Args:
        network: ``recon3d-detector``, or one of the configurations of FlatFormer.
        seed: of the first weights, the order and all changes.
        steps: length; 0 = as many as fit into ``minutes``.
        minutes: length in minutes of computing, if not 0; resumed runs count on.
        learning_rate: at the peak of the cycle.
        warm_up: share of the training in which the rate rises.
        weight_decay: of matrices and convolutions.
        clip: largest norm of the gradient.
        ema: share of the averaged weights that a step keeps.
        precision: of matrix products; ``auto`` takes bfloat16 where the device is faster with it.
        checkpoint_minutes: time between checkpoints.
        evaluate_minutes: time between evaluations on frames that are held out.
        evaluate_frames: at most so many of them.
        data: the frames.
        batch: how frames become batches.
        score: what counts as right in the evaluation.
    """

    network: str = SMALL
    seed: int = 0
    steps: int = 0
    minutes: float = 30.0
    learning_rate: float = 2e-3
    warm_up: float = 0.2
    weight_decay: float = 0.01
    clip: float = 10.0
    ema: float = 0.995
    precision: Precision = "auto"
    checkpoint_minutes: float = 3.0
    evaluate_minutes: float = 10.0
    evaluate_frames: int = 30
    data: DetectorDataOptions = field(default_factory=DetectorDataOptions)
    batch: BatchOptions = field(default_factory=BatchOptions)
    score: ScoreOptions = field(default_factory=ScoreOptions)

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise UsageError("a training needs a length", got=f"{self.steps} steps, {self.minutes} minutes")
        if not (self.learning_rate > 0 and 0 < self.warm_up < 1 and self.clip > 0 and 0 <= self.ema < 1):
            raise UsageError("an optimiser cannot work so", got=self, expected="positive rates, 0 <= ema < 1")
