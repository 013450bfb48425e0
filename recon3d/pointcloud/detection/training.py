"""Training of a detector: resumable, logged, evaluated as it goes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recon3d.core.clock import Clock
from recon3d.core.errors import ResultError, UsageError
from recon3d.core.journal import Journal
from recon3d.core.processes import Processes, processes
from recon3d.core.progress import Progress, Stage as Bar
from recon3d.core.seeds import derive
from recon3d.formats.checkpoints import (
    FILE,
    check_same,
    load_moments,
    moments,
    plain,
    read_checkpoint,
    write_checkpoint,
)
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.detection.batches import Batches, DetectionBatch, prepared_frame
from recon3d.pointcloud.detection.frames import FrameSet, LabelledFrame, Subset
from recon3d.pointcloud.detection.network import primed, sensor_options
from recon3d.pointcloud.detection.options import TrainDetectorOptions
from recon3d.pointcloud.detection.pasting import ObjectBank
from recon3d.pointcloud.detection.precision import autocast
from recon3d.pointcloud.detection.scoring import DetectionScores, evaluate_detections
from recon3d.pointcloud.detection.sources import training_frames, training_network
from recon3d.pointcloud.detection.turns import turned_boxes
from recon3d.pointcloud.detection.weights import write_detector
from recon3d.pointcloud.flatformer.detector import PillarDetector
from recon3d.pointcloud.flatformer.losses import DetectionLoss, detection_loss
from recon3d.pointcloud.volt.schedule import AveragedWeights, OneCycle, decayed_parameters

WEIGHTS = "weights.safetensors"
_LOG_EVERY = 25
_SKIPS = 10
_CYCLE = 100_000
_MAY_DIFFER = ("steps", "minutes", "checkpoint_minutes", "evaluate_minutes", "evaluate_frames")


class DetectorTraining:
    """Everything that changes while a detector is trained.

    Args:
        options: of the training.
        here: this process.
    """

    def __init__(self, options: TrainDetectorOptions, here: Processes) -> None:
        self.options, self.here = options, here
        self.network_options = training_network(options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(options.seed, "detector"))
            model = primed(PillarDetector(self.network_options), sensor_options(options.network))
        self.model = model.to(here.device)
        self.shared: nn.Module = here.shared(self.model)
        groups = decayed_parameters(self.model, options.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)
        self.average = AveragedWeights(self.model, options.ema)
        self.names = {one: name for name, one in self.model.named_parameters()}
        self.cycle = OneCycle(steps=_CYCLE, peak=options.learning_rate, warm_up=options.warm_up)
        self.clock, self.skipped = Clock(), 0

    def step(self, batch: DetectionBatch) -> DetectionLoss:
        """Learn from a batch; one whose gradient is not finite is skipped.

        Args:
            batch: on any device.

        Raises:
            ResultError: many batches in a row had to be skipped.
        """
        self.model.train()
        batch = batch.to(self.here.device)
        self.cycle.apply(self.optimiser, int(self.clock.progress(self.options) * (_CYCLE - 1)))
        with autocast(self.options.precision, self.here.device):
            maps = self.shared(batch.points)
        loss = detection_loss(maps, batch.targets, self.network_options)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.skipped = 0 if torch.isfinite(norm) else self.skipped + 1
        if self.skipped > _SKIPS:
            raise ResultError("the training diverged", got=f"gradient {float(norm)}", fix="resume with a lower rate")
        if not self.skipped:
            self.optimiser.step()
            # An average that starts short forgets the first weights soon.
            self.average.decay = min(self.options.ema, (1 + self.clock.step) / (10 + self.clock.step))
            self.average.update(self.model)
        self.clock.step += 1
        return loss

    @torch.inference_mode()
    def detected(self, frame: LabelledFrame) -> Boxes3D:
        """Return what the present weights find in a frame, in its coordinates.

        Args:
            frame: at any height.
        """
        sensor = sensor_options(self.options.network)
        mount, facing = sensor.mount_m, math.radians(sensor.facing_deg)
        points, _ = prepared_frame(frame.raised(mount).turned(facing), self.network_options, 0)
        with autocast(self.options.precision, self.here.device):
            maps = self.model([points.to(self.here.device)])
        found = turned_boxes(self.model.decode(maps)[0].to_boxes(self.network_options.classes), -facing)
        found.boxes[:, 2] += mount - frame.mount_m
        return found

    def evaluated(self, frames: FrameSet) -> DetectionScores:
        """Return how good the averaged weights are.

        Args:
            frames: that are held out.
        """
        own = {name: one.clone() for name, one in self.model.state_dict().items()}
        self.model.load_state_dict(dict(self.average.items()))
        self.model.eval()
        try:
            return evaluate_detections(self.detected, frames, self.options.score)
        finally:
            self.model.load_state_dict(own)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the averaged weights in half precision.

        Args:
            folder: of the training.
        """
        average = dict(self.average.items())
        parts = {
            "model": self.model.state_dict(),
            "average": average,
            "optimiser": moments(self.optimiser, self.names),
        }
        write_checkpoint(folder / FILE, parts, {"clock": asdict(self.clock), "options": plain(self.options)})
        name = self.options.network
        write_detector(folder / WEIGHTS, average, self.network_options, sensor_options(name), name)

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint.

        Args:
            folder: of the training.

        Raises:
            InputError: there is none.
            FormatError: it is damaged.
            UsageError: it belongs to another training.
        """
        parts, rest = read_checkpoint(folder / FILE)
        check_same(rest["options"], plain(self.options), _MAY_DIFFER)
        self.model.load_state_dict(parts["model"])
        for name, one in self.average.state.items():
            one.copy_(parts["average"][name])
        load_moments(self.optimiser, self.names, parts["optimiser"])
        self.clock = Clock(**rest["clock"])


def train_detector(
    options: TrainDetectorOptions,
    folder: Path,
    *,
    data: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> DetectionScores | None:
    """Train a detector, and return its scores on frames that are held out (in the first process).

    The folder gets ``checkpoint.safetensors``, ``weights.safetensors`` (averaged, half precision: what
    ``Detector.load`` reads), ``options.json`` and ``log.jsonl``.

    Args:
        options: of the training.
        folder: of its files.
        data: folder with frames; None = generated streets.
        resume: continue what lies there.
        device: ``auto``, ``cpu`` or ``cuda``; under torchrun every process takes a GPU of its own.
        tensorboard: write an event file too.
        progress: display.

    Raises:
        UsageError: the folder holds a training already, or another one.
        InputError: there is nothing to resume, or no frame to train with.
    """
    if not resume and (folder / FILE).exists():
        raise UsageError(f"{folder} holds a training already", fix="add --resume, or give another folder")
    frames, held = training_frames(options, data)
    folder.mkdir(parents=True, exist_ok=True)
    with processes(device) as here:
        training = DetectorTraining(options, here)
        if resume:
            training.load(folder)
        journal = Journal(folder, tensorboard=tensorboard, silent=not here.first)
        if here.first:
            (folder / "options.json").write_text(json.dumps(plain(options), indent=1))
        with (progress or Progress()).stage("train", options.steps or None) as bar:
            try:
                return _run(training, _batches(training, frames), held, folder, journal, bar)
            finally:
                journal.close()


def _batches(training: DetectorTraining, frames: FrameSet) -> Iterator[DetectionBatch]:
    options, here, network = training.options, training.here, training.network_options
    batches = Batches(
        frames=frames,
        bank=ObjectBank.of(frames, len(network.classes), options.batch.paste),
        network=network,
        sensor=sensor_options(options.network),
        options=options.batch,
        seed=options.seed,
        rank=here.rank,
        world=here.world,
    )
    return batches.from_step(training.clock.step)


def _run(
    training: DetectorTraining,
    batches: Iterator[DetectionBatch],
    held: FrameSet,
    folder: Path,
    journal: Journal,
    bar: Bar,
) -> DetectionScores | None:
    options, here, clock = training.options, training.here, training.clock
    held = Subset(held, tuple(range(min(options.evaluate_frames, len(held)))))
    saved = evaluated = clock.seconds
    terms: list[dict[str, float]] = []
    while here.agreed(clock.progress(options)) < 1.0:
        started = time.monotonic()
        terms.append(_values(training.step(next(batches))))
        clock.seconds += time.monotonic() - started
        bar.advance()
        if clock.step % _LOG_EVERY == 0:
            journal.write(clock.step, _entry(training, terms))
            terms = []
        if here.first and clock.seconds - saved > 60 * options.checkpoint_minutes:
            training.save(folder)
            saved = clock.seconds
        if here.first and len(held) and clock.seconds - evaluated > 60 * options.evaluate_minutes:
            _note(training.evaluated(held), training, journal, bar)
            evaluated = clock.seconds
    if not here.first:
        return None
    training.save(folder)
    return _note(training.evaluated(held), training, journal, bar) if len(held) else None


def _values(loss: DetectionLoss) -> dict[str, float]:
    parts: dict[str, Tensor] = {"heatmap": loss.heatmap, "boxes": loss.boxes, "iou": loss.iou, "total": loss.total}
    return {name: float(one.detach()) for name, one in parts.items()}


def _entry(training: DetectorTraining, terms: list[dict[str, float]]) -> dict[str, Any]:
    means = {name: round(sum(one[name] for one in terms) / len(terms), 5) for name in terms[0]}
    rate = training.optimiser.param_groups[0]["lr"]
    return {"seconds": round(training.clock.seconds, 1), "rate": rate, "loss": means}


def _note(scores: DetectionScores, training: DetectorTraining, journal: Journal, bar: Bar) -> DetectionScores:
    journal.write(training.clock.step, {"seconds": round(training.clock.seconds, 1), "held_out": scores.to_json()})
    bar.note(f"step {training.clock.step}: mean AP {scores.mean_bev:.3f} from above, {scores.mean_3d:.3f} in 3D")
    return scores
