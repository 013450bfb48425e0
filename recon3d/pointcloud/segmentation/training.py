"""Training of a segmenter: resumable, logged, evaluated as it goes, in one process or in several under torchrun."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from recon3d.core.clock import Clock
from recon3d.core.errors import ResultError, UsageError
from recon3d.core.journal import Journal
from recon3d.core.processes import Processes, processes
from recon3d.core.progress import Progress, Stage as Bar
from recon3d.core.seeds import generator
from recon3d.formats.checkpoints import (
    FILE,
    check_same,
    load_moments,
    moments,
    plain,
    read_checkpoint,
    write_checkpoint,
)
from recon3d.pointcloud.segmentation.options import TrainSegmenterOptions
from recon3d.pointcloud.segmentation.recipe import training_scene, training_steps
from recon3d.pointcloud.segmentation.scoring import SegmenterScore, network_labels, score_labels
from recon3d.pointcloud.segmentation.sources import Scenes, merged
from recon3d.pointcloud.segmentation.teachers import Teacher, load_teacher
from recon3d.pointcloud.segmentation.weights import state_on_cpu, write_segmenter
from recon3d.pointcloud.volt.batch import VoxelBatch, collate_scenes
from recon3d.pointcloud.volt.losses import SegmentationLossOptions
from recon3d.pointcloud.volt.options import SegmentorOptions
from recon3d.pointcloud.volt.samples import Sample
from recon3d.pointcloud.volt.schedule import AveragedWeights, OneCycle, decayed_parameters
from recon3d.pointcloud.volt.segmentor import VoltSegmentor, segmentor_loss

WEIGHTS = "weights.safetensors"
_LOG_EVERY = 25
_SKIPS = 10
_CYCLE = 10_000
_MAY_DIFFER = ("steps", "minutes", "checkpoint_minutes", "evaluate_minutes", "evaluate_scenes", "data", "pool")
_FULL = SegmentationLossOptions(label_smoothing=0.1, lovasz=1.0, lovasz_points=8192)
_NAIVE = SegmentationLossOptions(label_smoothing=0.0, lovasz=0.0)


class Batches:
    """Batches by the number of their step: the same ones whether a training was interrupted or not.

    Args:
        scenes: to train on.
        options: of the training.
        here: this process; each has scenes of its own.
    """

    def __init__(self, scenes: Scenes, options: TrainSegmenterOptions, here: Processes) -> None:
        self.scenes, self.options, self.here = scenes, options, here
        self.spec = merged(scenes.spec, options.network.voxel_m)
        self.steps = training_steps(self.spec, options)
        self._scene = lru_cache(maxsize=options.pool)(scenes.training)

    def at(self, step: int) -> VoxelBatch:
        """Return the batch of a step.

        Args:
            step: from 0.
        """
        random = generator(self.options.seed, "segmenter batch", str(self.here.rank), str(step))
        found = [
            training_scene(self._pick(step, random), self.spec, self.steps, random) for _ in range(self.options.scenes)
        ]
        mix = self.options.mix if self.options.full else 0.0
        return collate_scenes(found, mix_probability=mix, rng=random)

    def _pick(self, step: int, random: np.random.Generator) -> Sample:
        if self.scenes.count is not None:
            return self._scene(int(random.integers(self.scenes.count)))
        # The pool moves on slowly: every scene is used about ``reuse`` times while it lies in it.
        first = (step * self.options.scenes) // self.options.reuse
        return self._scene((first + int(random.integers(self.options.pool))) * self.here.world + self.here.rank)


class _Loss(nn.Module):
    """The loss as a module, which is what the averaging of gradients over processes wants."""

    def __init__(self, model: VoltSegmentor, options: SegmentationLossOptions) -> None:
        super().__init__()
        self.model, self.options = model, options

    def forward(self, batch: VoxelBatch, teacher_labels: Tensor | None) -> Float[Tensor, ""]:
        return segmentor_loss(self.model, batch, teacher_labels, self.options)


class Training:
    """Everything that changes while a segmenter learns.

    Args:
        options: of the training.
        scenes: to train on.
        here: this process.
    """

    def __init__(self, options: TrainSegmenterOptions, scenes: Scenes, here: Processes) -> None:
        self.options, self.here, self.batches = options, here, Batches(scenes, options, here)
        self.spec = self.batches.spec
        self.teacher: Teacher | None = load_teacher(options.teacher, self.spec, here.device)
        backbone = options.network.backbone(self.spec.channels, options.drop_path if options.full else 0.0)
        sizes = SegmentorOptions(
            backbone=backbone, classes={"Default": len(self.spec.classes)}, distillation=self.teacher is not None
        )
        self.model = VoltSegmentor(sizes)
        self.model.initialise(options.seed)
        self.model.to(here.device)
        self.shared: nn.Module = here.shared(_Loss(self.model, _FULL if options.full else _NAIVE))
        groups = decayed_parameters(self.model, options.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
        self.average = AveragedWeights(self.model, options.ema)
        self.names = {one: name for name, one in self.model.named_parameters()}
        self.cycle = OneCycle(steps=_CYCLE, peak=options.learning_rate, final_div=100.0)
        self.clock, self.skipped = Clock(), 0

    def step(self) -> float:
        """Learn from the next batch, and return its loss; a step whose gradient is not finite is skipped.

        Raises:
            ResultError: many steps in a row had to be skipped.
        """
        self.model.train()
        batch = self.batches.at(self.clock.step).to(self.here.device)
        self.cycle.apply(self.optimiser, int(min(self.clock.progress(self.options), 1.0) * (_CYCLE - 1)))
        labels = None if self.teacher is None else self.teacher(batch)
        loss: Tensor = self.shared(batch, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self._check(norm)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.average.decay = min(self.options.ema, (1 + self.clock.step) / (10 + self.clock.step))
            self.average.update(self.model)
        self.clock.step += 1
        return float(loss.detach())

    def _check(self, norm: Tensor) -> None:
        """Count the steps in a row that cannot be made, and end a training that has diverged."""
        self.skipped = 0 if torch.isfinite(norm) else self.skipped + 1
        if self.skipped > _SKIPS:
            raise ResultError("the training diverged", got=f"gradient {float(norm)}", fix="resume with a lower rate")

    def best(self) -> dict[str, Tensor]:
        """Return the weights that the training is for: averaged ones, with the naive recipe the last."""
        return dict(self.average.items()) if self.options.full else state_on_cpu(self.model)

    def evaluated(self) -> SegmenterScore:
        """Return how good the weights are on held-out scenes."""
        own, scenes = state_on_cpu(self.model), self.batches.scenes
        count = self.options.evaluate_scenes
        count = count if scenes.held_out is None else min(count, scenes.held_out)
        self.model.load_state_dict(self.best())
        self.model.eval()
        try:
            unseen = (scenes.unseen(number) for number in range(count))
            return score_labels(
                lambda one: network_labels(self.model, self.spec, one, self.here.device), unseen, self.spec.classes
            )
        finally:
            self.model.load_state_dict(own)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the weights in half precision."""
        parts = {
            "model": self.model.state_dict(),
            "average": dict(self.average.items()),
            "optimiser": moments(self.optimiser, self.names),
        }
        write_checkpoint(folder / FILE, parts, {"clock": asdict(self.clock), "options": plain(self.options)})
        write_segmenter(folder / WEIGHTS, self.best(), self.spec)

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: there is none.
            FormatError: it is damaged.
            UsageError: it belongs to another training.
        """
        parts, rest = read_checkpoint(folder / FILE)
        check_same(rest["options"], plain(self.options), _MAY_DIFFER)
        self.model.load_state_dict(parts["model"])
        for name, one in self.average.items():
            one.copy_(parts["average"][name])
        load_moments(self.optimiser, self.names, parts["optimiser"])
        self.clock = Clock(**rest["clock"])


def train_segmenter(
    options: TrainSegmenterOptions,
    folder: Path,
    scenes: Scenes,
    *,
    resume: bool = False,
    device: str = "auto",
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> SegmenterScore | None:
    """Train a segmenter, and return its score on held-out scenes.

    The folder gets ``checkpoint.safetensors``, ``weights.safetensors`` (to be loaded by ``Segmenter``),
    ``options.json`` and ``log.jsonl``.

    Args:
        options: of the training.
        folder: of its files.
        scenes: to train and to evaluate on, see ``open_scenes``.
        resume: continue what lies there.
        device: ``auto``, ``cpu`` or ``cuda``; under torchrun every process takes a GPU of its own.
        tensorboard: write an event file too.
        progress: display.

    Raises:
        UsageError: the folder holds a training already, or another one.
        InputError: there is nothing to resume.
    """
    if not resume and (folder / FILE).exists():
        raise UsageError(f"{folder} holds a training already", fix="add --resume, or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with processes(device) as here:
        training = Training(options, scenes, here)
        if resume:
            training.load(folder)
        journal = Journal(folder, tensorboard=tensorboard, silent=not here.first)
        if here.first:
            (folder / "options.json").write_text(json.dumps(plain(options), indent=1))
        with (progress or Progress()).stage("train") as bar:
            try:
                return _run(training, folder, journal, bar)
            finally:
                journal.close()


def _run(training: Training, folder: Path, journal: Journal, bar: Bar) -> SegmenterScore | None:
    options, here, clock = training.options, training.here, training.clock
    saved = evaluated = clock.seconds
    losses: list[float] = []
    for _ in _steps(training):
        started = time.monotonic()
        losses.append(training.step())
        clock.seconds += time.monotonic() - started
        bar.advance()
        if clock.step % _LOG_EVERY == 0:
            journal.write(clock.step, _entry(training, losses))
            losses = []
        if here.first and clock.seconds - saved > 60 * options.checkpoint_minutes:
            training.save(folder)
            saved = clock.seconds
        if here.first and options.evaluate_scenes and clock.seconds - evaluated > 60 * options.evaluate_minutes:
            _note(training, journal, bar)
            evaluated = clock.seconds
    if not here.first:
        return None
    training.save(folder)
    return _note(training, journal, bar) if options.evaluate_scenes else None


def _steps(training: Training) -> Iterator[None]:
    """Yield until the training is over, in all processes at once."""
    while training.here.agreed(training.clock.progress(training.options)) < 1.0:
        yield


def _entry(training: Training, losses: list[float]) -> dict[str, Any]:
    rate = training.optimiser.param_groups[0]["lr"]
    return {"seconds": round(training.clock.seconds, 1), "rate": rate, "loss": round(sum(losses) / len(losses), 5)}


def _note(training: Training, journal: Journal, bar: Bar) -> SegmenterScore:
    score = training.evaluated()
    found = score.to_json()
    journal.write(training.clock.step, {"seconds": round(training.clock.seconds, 1), "unseen": found})
    bar.note(f"step {training.clock.step}: mIoU {found['mean_iou']} on {score.scenes} held-out scenes")
    return score
