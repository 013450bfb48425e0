"""Training of a network on generated scenes: resumable, logged, evaluated as it goes."""

from __future__ import annotations

import json
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
from recon3d.core.seeds import generator
from recon3d.feedforward.da3.known_cameras import normalised_poses
from recon3d.feedforward.da3.model import DepthAnything3
from recon3d.feedforward.da3.preprocess import normalise
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.batches import Batches, batches
from recon3d.feedforward.training.matching import watched
from recon3d.feedforward.training.network import Trained, new_network, working_dtype
from recon3d.feedforward.training.objective import Terms, training_loss
from recon3d.feedforward.training.optimiser import Average, adamw, rate_at
from recon3d.feedforward.training.options import TrainOptions
from recon3d.feedforward.training.scores import Scores, answers_of, score, truth_of, unseen
from recon3d.feedforward.training.targets import targets_of
from recon3d.formats.checkpoints import (
    FILE,
    check_same,
    load_moments,
    moments,
    plain,
    read_checkpoint,
    write_checkpoint,
)
from recon3d.formats.safetensors import write_safetensors

_LOG_EVERY = 25
_SKIPS = 10
_MAY_DIFFER = ("steps", "minutes", "checkpoint_minutes", "evaluate_minutes", "data")
WEIGHTS = "weights.safetensors"


class Training:
    """Everything that changes while a network is trained.

    Args:
        options: of the training.
        here: this process.
        fresh: the training starts; else a checkpoint follows.
    """

    def __init__(self, options: TrainOptions, here: Processes, *, fresh: bool = True) -> None:
        self.options, self.here = options, here
        self.model: DepthAnything3 = new_network(options.model, options.seed, whitened=fresh).to(here.device)
        self.trained = Trained(self.model, working_dtype(options.precision, here.device))
        self.shared: nn.Module = here.shared(self.trained)
        self.optimiser = adamw(self.model, options.optimiser)
        self.average = Average(self.model, options.optimiser.ema)
        self.names = {one: name for name, one in self.model.named_parameters()}
        self.clock, self.skipped = Clock(), 0

    def step(self, views: TrueViews) -> Terms:
        """Learn from a batch; one whose gradient is not finite is skipped.

        Args:
            views: its scenes, on any device.

        Raises:
            ResultError: many batches in a row had to be skipped.
        """
        views, options = views.to(self.here.device), self.options
        rate = rate_at(self.clock.step, self.clock.progress(options), options.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        truth = targets_of(views)
        known = (normalised_poses(truth.cam_from_world), views.K) if self._told() else (None, None)
        with watched(self.model, (views.images.shape[-2], views.images.shape[-1])) as looks:
            found = self.shared(normalise(views.images), *known)
        terms = training_loss(found, truth, options.loss, looks)
        self.optimiser.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.optimiser.clip)
        self._check(norm)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.average.update(self.model)
        self.clock.step += 1
        return terms

    def _check(self, norm: Tensor) -> None:
        """Count the steps in a row that cannot be made, and end a training that has diverged."""
        self.skipped = 0 if torch.isfinite(norm) else self.skipped + 1
        if self.skipped > _SKIPS:
            raise ResultError("the training diverged", got=f"gradient {float(norm)}", fix="resume with a lower rate")

    def _told(self) -> bool:
        """Tell whether the network gets the cameras in this step."""
        random = generator(self.options.seed, "told", str(self.clock.step))
        return bool(random.random() < self.options.data.known_cameras)

    def evaluated(self, scenes: TrueViews) -> Scores:
        """Return how good the averaged weights are on unseen scenes."""
        own = {name: one.clone() for name, one in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.weights)
        try:
            answers = answers_of(lambda images: self.trained(normalise(images)), scenes.to(self.here.device))
            return score(answers, truth_of(scenes))
        finally:
            self.model.load_state_dict(own)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the averaged weights in half precision."""
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.weights,
            "optimiser": moments(self.optimiser, self.names),
        }
        rest = {"clock": asdict(self.clock), "average_steps": self.average.steps, "options": plain(self.options)}
        write_checkpoint(folder / FILE, parts, rest)
        write_safetensors(folder / WEIGHTS, half(self.average.weights), {"model": self.options.model})

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
        self.average.load(parts["average"], int(rest["average_steps"]))
        load_moments(self.optimiser, self.names, parts["optimiser"])
        self.clock = Clock(**rest["clock"])


def half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in half precision."""
    return {name: one.half() for name, one in weights.items()}


def train(
    options: TrainOptions,
    folder: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Scores | None:
    """Train a network on generated scenes, and return its scores on unseen ones.

    The folder gets ``checkpoint.safetensors``, ``weights.safetensors`` (averaged, half precision), ``options.json`` and
    ``log.jsonl``.

    Args:
        options: of the training.
        folder: of its files.
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
        training = Training(options, here, fresh=not resume)
        if resume:
            training.load(folder)
        journal = Journal(folder, tensorboard=tensorboard, silent=not here.first)
        if here.first:
            (folder / "options.json").write_text(json.dumps(plain(options), indent=1))
        with batches(options.seed, options.data, here.device) as source, (progress or Progress()).stage("train") as bar:
            try:
                return _run(training, source, folder, journal, bar)
            finally:
                journal.close()


def _run(training: Training, source: Batches, folder: Path, journal: Journal, bar: Bar) -> Scores | None:
    options, here, clock = training.options, training.here, training.clock
    scenes = unseen(options.evaluate_scenes) if here.first and options.evaluate_scenes else None
    saved = evaluated = clock.seconds
    terms: list[dict[str, float]] = []
    for _ in _steps(training):
        started = time.monotonic()
        stage = options.stage_at(here.agreed(clock.progress(options)))
        views = source.at(clock.step, stage, options.stages, here.rank, here.world)
        terms.append(training.step(views).values())
        clock.seconds += time.monotonic() - started
        bar.advance()
        if clock.step % _LOG_EVERY == 0:
            journal.write(clock.step, _entry(training, stage, terms))
            terms = []
        if here.first and clock.seconds - saved > 60 * options.checkpoint_minutes:
            training.save(folder)
            saved = clock.seconds
        if scenes is not None and clock.seconds - evaluated > 60 * options.evaluate_minutes:
            _note(training.evaluated(scenes), training, journal, bar)
            evaluated = clock.seconds
    if not here.first:
        return None
    training.save(folder)
    return None if scenes is None else _note(training.evaluated(scenes), training, journal, bar)


def _steps(training: Training) -> Iterator[None]:
    """Yield until the training is over, in all processes at once."""
    while training.here.agreed(training.clock.progress(training.options)) < 1.0:
        yield


def _entry(training: Training, stage: int, terms: list[dict[str, float]]) -> dict[str, Any]:
    means = {name: round(sum(one[name] for one in terms) / len(terms), 5) for name in terms[0]}
    rate = training.optimiser.param_groups[0]["lr"]
    return {"seconds": round(training.clock.seconds, 1), "stage": stage, "rate": rate, "loss": means}


def _note(scores: Scores, training: Training, journal: Journal, bar: Bar) -> Scores:
    journal.write(training.clock.step, {"seconds": round(training.clock.seconds, 1), "unseen": scores.to_json()})
    bar.note(f"step {training.clock.step}: AbsRel {scores.abs_rel:.3f}, AUC@30 {scores.auc30:.1f}")
    return scores
