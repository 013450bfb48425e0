"""Frames as batches of a training: which ones a step gets depends on its number alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from recon3d.core.seeds import generator
from recon3d.pointcloud.boxes.corners import points_in_boxes
from recon3d.pointcloud.detection.augmentation import AugmentOptions, augmented
from recon3d.pointcloud.detection.frames import FrameSet, LabelledFrame
from recon3d.pointcloud.detection.network import SensorOptions
from recon3d.pointcloud.detection.pasting import ObjectBank, PasteOptions
from recon3d.pointcloud.flatformer.options import DetectorOptions
from recon3d.pointcloud.flatformer.points import prepare_points
from recon3d.pointcloud.flatformer.targets import DetectionTargets, TrueBoxes, detection_targets


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How frames become batches.

    Args:
        size: frames of a step and process.
        workers: processes that prepare them; 0 prepares them between the steps.
        augment: how frames are changed.
        paste: objects of other frames that are added.
    """

    size: int = 4
    workers: int = 0
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    paste: PasteOptions = field(default_factory=PasteOptions)


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionBatch:
    """Prepared points of some frames, and what the head should say.

    Args:
        points: of each frame.
        targets: of all.
    """

    points: list[Float32[Tensor, "_ c"]]
    targets: DetectionTargets

    def to(self, device: torch.device) -> DetectionBatch:
        """Return the batch on a device.

        Args:
            device: the device.
        """
        return DetectionBatch(points=[one.to(device) for one in self.points], targets=self.targets.to(device))


def prepared_frame(
    frame: LabelledFrame, options: DetectorOptions, least: int
) -> tuple[Float32[Tensor, "_ c"], TrueBoxes]:
    """Return the points and the truth of a frame as the network's training takes them.

    Args:
        frame: already at the height that the network expects.
        options: of the network.
        least: points of a box that counts.
    """
    missing = options.columns - frame.points.shape[1]
    points = torch.from_numpy(np.pad(frame.points, ((0, 0), (0, max(missing, 0)))))
    seen = points_in_boxes(frame.points, frame.boxes.boxes).sum(1) >= least
    truth = TrueBoxes(
        boxes=torch.from_numpy(frame.boxes.boxes[seen]).float(), labels=torch.from_numpy(frame.boxes.labels[seen])
    )
    return prepare_points(points, options), truth


@dataclass(frozen=True, eq=False, kw_only=True)
class Batches(Dataset[DetectionBatch]):
    """The batches of a training by the number of the step.

    Args:
        frames: to train with.
        bank: objects to add; None adds none.
        network: options of it.
        sensor: what it takes for granted.
        options: sizes and changes.
        seed: of the order and the changes.
        rank: number of this process.
        world: processes that train together.
    """

    frames: FrameSet
    bank: ObjectBank | None
    network: DetectorOptions
    sensor: SensorOptions
    options: BatchOptions
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __getitem__(self, step: int) -> DetectionBatch:
        first = (step * self.world + self.rank) * self.options.size
        samples = [self._sample(number) for number in range(first, first + self.options.size)]
        targets = detection_targets([truth for _, truth in samples], self.network)
        return DetectionBatch(points=[points for points, _ in samples], targets=targets)

    def _sample(self, number: int) -> tuple[Tensor, TrueBoxes]:
        epoch, place = divmod(number, len(self.frames))
        order = generator(self.seed, "order", str(epoch)).permutation(len(self.frames))
        rng = generator(self.seed, "changes", str(number))
        frame = self.frames.frame(int(order[place])).raised(self.sensor.mount_m)
        frame = frame if self.bank is None else self.bank.pasted(frame, rng)
        changed = augmented(frame, self.options.augment, rng).turned(math.radians(self.sensor.facing_deg))
        return prepared_frame(changed, self.network, self.options.augment.min_points)

    def from_step(self, step: int) -> Iterator[DetectionBatch]:
        """Yield batches without end.

        Args:
            step: number of the first.
        """
        loader: DataLoader[DetectionBatch] = DataLoader(
            self,
            batch_size=None,
            sampler=count(step),
            num_workers=self.options.workers,
            multiprocessing_context="spawn" if self.options.workers else None,
        )
        return iter(loader)
