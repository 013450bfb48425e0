"""Lite3R's training: a frozen dense teacher, and a student of whom only the projections of its attentions learn."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from recon3d.core.errors import ResultError, UsageError
from recon3d.core.journal import Journal
from recon3d.core.processes import Processes, processes
from recon3d.core.progress import Progress, Stage as Bar
from recon3d.feedforward.da3.model import Da3Prediction
from recon3d.feedforward.deltas import write_delta
from recon3d.feedforward.lite3r import (
    AttentionRecorder,
    QuantOptions,
    SparseOptions,
    convert,
    distillation_loss,
    distillation_weight,
    fake_quantise_linears,
    freeze_all_but_projections,
    learning_rate_factor,
)
from recon3d.feedforward.lite3r.linears import Kind
from recon3d.feedforward.losses import DenseLossOptions, camera_loss, dense_loss
from recon3d.feedforward.models import Network, build_model
from recon3d.feedforward.pose_encoding import encode_cameras
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.training.asking import answer
from recon3d.feedforward.training.batches import Batches, batches
from recon3d.feedforward.training.options import DataOptions, Stage
from recon3d.feedforward.training.targets import Targets, targets_of
from recon3d.feedforward.vggt.model import VggtPrediction
from recon3d.formats.checkpoints import (
    FILE,
    check_same,
    load_moments,
    moments,
    plain,
    read_checkpoint,
    write_checkpoint,
)

DELTA = "lite3r.safetensors"
_LOG_EVERY = 10
_MAY_DIFFER = ("data", "checkpoint_minutes")


@dataclass(frozen=True)
class DistillOptions:
    """A distillation, by default with the schedule of Lite3R.

    Args:
        model: name of the network.
        seed: of the projections' start and of the scenes.
        steps: length.
        shape: height and width of the photos, in pixels.
        photos: of a step.
        data: how scenes become batches.
        sparse: what the student's attentions keep.
        quantise: format in which the student's linear layers compute; ``none`` as they are.
        learning_rate: after 30 steps of warm-up; it falls to half of it.
        first_weight: of the distillation at the start.
        last_weight: at the end, along a cosine.
        clip: largest norm of the gradient.
        checkpoint_minutes: time between checkpoints.
    """

    model: str = "recon3d-small"
    seed: int = 0
    steps: int = 300
    shape: tuple[int, int] = (84, 84)
    photos: int = 12
    data: DataOptions = field(default_factory=lambda: DataOptions(group=16, reuse=4))
    sparse: SparseOptions = field(default_factory=lambda: SparseOptions(block_size=16))
    quantise: Kind | None = "e4m3"
    learning_rate: float = 1e-3
    first_weight: float = 0.1
    last_weight: float = 0.01
    clip: float = 1.0
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0:
            raise UsageError("a distillation needs steps and a rate", got=f"{self.steps}, {self.learning_rate}")


class Distillation:
    """Everything that changes while a student learns.

    Args:
        teacher: dense network with its weights; it is left alone.
        options: of the distillation.
        here: this process.
    """

    def __init__(self, teacher: Network, options: DistillOptions, here: Processes) -> None:
        self.options, self.here, self.next_step = options, here, 0
        self.teacher = teacher.to(here.device).eval().requires_grad_(False)
        self.student = student_of(self.teacher, options)
        self.shared = here.shared(self.student)
        self.names = {one: name for name, one in self.student.named_parameters() if one.requires_grad}
        self.optimiser = torch.optim.AdamW(self.names, lr=options.learning_rate, weight_decay=0.0)

    def step(self, images: Tensor, truth: Targets) -> dict[str, float]:
        """Learn from a batch.

        Args:
            images: sRGB, 0 to 1, ``[b,s,3,h,w]``.
            truth: of the same scenes.

        Raises:
            ResultError: the loss is not finite.
        """
        options, at = self.options, self.next_step
        for group in self.optimiser.param_groups:
            group["lr"] = options.learning_rate * learning_rate_factor(at, options.steps)
        with torch.no_grad(), AttentionRecorder(self.teacher) as taught:
            answer(self.teacher, images)
        with AttentionRecorder(self.student) as learned:
            task = task_loss(answer(self.shared, images, like=self.student), truth)
        likeness = distillation_loss(learned.outputs, taught.outputs)
        weight = distillation_weight(at, options.steps, first=options.first_weight, last=options.last_weight)
        total = task + weight * likeness
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(list(self.names), options.clip)
        if not torch.isfinite(norm):
            raise ResultError("the distillation diverged", got=f"gradient {float(norm)}", fix="lower the rate")
        self.optimiser.step()
        self.next_step += 1
        return {"task": float(task.detach()), "distillation": float(likeness.detach()), "total": float(total.detach())}

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the delta."""
        parts: dict[str, dict[str, Tensor]] = {
            "projections": {name: one for one, name in self.names.items()},
            "optimiser": moments(self.optimiser, self.names),
        }
        write_checkpoint(folder / FILE, parts, {"step": self.next_step, "options": plain(self.options)})
        how = f"{self.next_step} steps on generated scenes of {self.options.shape[0]}x{self.options.shape[1]} pixels"
        write_delta(folder / DELTA, self.student, name=self.options.model, trained=how)

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            InputError: there is none.
            FormatError: it is damaged.
            UsageError: it belongs to another distillation.
        """
        parts, rest = read_checkpoint(folder / FILE)
        check_same(rest["options"], plain(self.options), _MAY_DIFFER)
        self.student.load_state_dict(parts["projections"], strict=False)
        load_moments(self.optimiser, self.names, parts["optimiser"])
        self.next_step = int(rest["step"])


def student_of(teacher: Network, options: DistillOptions) -> Network:
    """Return the student before its training: the teacher's weights, sparse linear attention, narrow linear layers.

    Args:
        teacher: dense network.
        options: of the distillation.
    """
    student = convert(copy.deepcopy(teacher), options.sparse, seed=options.seed)
    if options.quantise is not None:
        fake_quantise_linears(student, QuantOptions(options.quantise))
    return freeze_all_but_projections(student)


def task_loss(found: Prediction, truth: Targets) -> Tensor:
    """Return Lite3R's loss of cameras and depth, both after a scale of least squares.

    Args:
        found: prediction of VGGT or Depth Anything 3.
        truth: in the unit of each scene.

    Raises:
        UsageError: the network predicts no cameras.
    """
    height, width = truth.depth_z.shape[-2:]
    if isinstance(found, VggtPrediction):
        stages, target = found.pose_encodings, encode_cameras(truth.cam_from_world, truth.K, (height, width))
    elif isinstance(found, Da3Prediction) and found.pose_encoding is not None:
        stages, target = (found.pose_encoding,), truth.encoding()
    else:
        raise UsageError("this network cannot be distilled", got="no cameras", fix="take an any-view network")
    cameras = camera_loss([one.flatten(0, 1) for one in stages], target.flatten(0, 1), align=True)
    if found.depth_z is None or found.confidence is None:
        raise UsageError("this network cannot be distilled", got="no depth", fix="take an any-view network")
    depth, true_depth = (one.flatten(0, 1)[..., None] for one in (found.depth_z, truth.depth_z))
    options = DenseLossOptions(valid_range=0.95)
    maps = dense_loss(depth, found.confidence.flatten(0, 1), true_depth, truth.mask.flatten(0, 1), options, align=True)
    return cameras.total + maps.total


def distill(
    options: DistillOptions,
    weights: Path,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Train the Lite3R version of a network, and return the file with what it has in addition.

    Args:
        options: of the distillation.
        weights: of the dense network.
        folder: gets ``checkpoint.safetensors``, ``lite3r.safetensors``, ``options.json`` and ``log.jsonl``.
        resume: continue what lies there.
        device: ``auto``, ``cpu`` or ``cuda``; under torchrun every process takes a GPU of its own.
        tensorboard: write an event file too.
        progress: display.

    Raises:
        UsageError: the folder holds a distillation already, or another one.
        InputError: there is nothing to resume, or the weights belong to another network.
    """
    if not resume and (folder / FILE).exists():
        raise UsageError(f"{folder} holds a distillation already", fix="add --resume, or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with processes(device) as here:
        work = Distillation(build_model(options.model, checkpoint=weights), options, here)
        if resume:
            work.load(folder)
        journal = Journal(folder, tensorboard=tensorboard, silent=not here.first)
        if here.first:
            (folder / "options.json").write_text(json.dumps(plain(options), indent=1))
        shown = (progress or Progress()).stage("distill", options.steps - work.next_step)
        with batches(options.seed, options.data, here.device) as source, shown as bar:
            try:
                _run(work, source, folder, journal, bar)
            finally:
                journal.close()
    return folder / DELTA


def _run(work: Distillation, source: Batches, folder: Path, journal: Journal, bar: Bar) -> None:
    options, saved, terms = work.options, time.monotonic(), list[dict[str, float]]()
    stages = (Stage(1.0, (options.shape,), options.photos),)
    for step in _steps(work):
        views = source.at(step, 0, stages, work.here.rank, work.here.world).to(work.here.device)
        terms.append(work.step(views.images, targets_of(views)))
        bar.advance()
        if work.next_step % _LOG_EVERY == 0:
            journal.write(work.next_step, {name: sum(one[name] for one in terms) / len(terms) for name in terms[0]})
            terms = []
        if work.here.first and time.monotonic() - saved > 60 * options.checkpoint_minutes:
            work.save(folder)
            saved = time.monotonic()
    if work.here.first:
        work.save(folder)


def _steps(work: Distillation) -> Iterator[int]:
    while work.next_step < work.options.steps:
        yield work.next_step
