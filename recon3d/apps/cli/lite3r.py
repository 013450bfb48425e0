"""`recon3d lite3r`: training a feed-forward network, distilling its Lite3R version, and scoring both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.core.errors import UsageError
from recon3d.core.progress import make_progress
from recon3d.feedforward.bundled import BUNDLED, bundled_weights
from recon3d.feedforward.lite3r.options import SparseOptions
from recon3d.feedforward.training.comparison import Compared, compare
from recon3d.feedforward.training.comparison_table import comparison_table
from recon3d.feedforward.training.distilling import DistillOptions, distill
from recon3d.feedforward.training.loop import WEIGHTS, train
from recon3d.feedforward.training.options import Precision, Stage, TrainOptions
from recon3d.feedforward.training.scores import unseen

_PHOTOS = 24
_PHOTOS_DISTILL = 12
_PATCH = 14


@dataclass(frozen=True, kw_only=True)
class Lite3r(Command):
    """Train a network on generated scenes, distil its Lite3R version, or evaluate both on unseen scenes.

    Args:
        action: train, distill or evaluate.
        model: name of the network; one that finds cameras (evaluate, distill: also vggt-1b).
        out: folder of the training or the distillation.
        resume: continue what lies in the folder.
        weights: dense weights to distil or to evaluate (default: those that come with the package).
        delta: Lite3R version to evaluate as well (default: the one that comes with the package).
        minutes: length of a training; 0 = by steps.
        steps: length of a training (0 = by minutes) or of a distillation (0 = 300).
        size: longer side of the photos in pixels, a multiple of 14 (0 = a curriculum of 56 and 84; else 84).
        photos: of a step (0 = as many as fit the sizes).
        views: fewest and most photos of a scene.
        learning_rate: after the warm-up (0 = 1e-3).
        keep: share of the key blocks that the student's attentions keep.
        block_size: tokens of a block.
        quantise: the student computes with linear layers in FP8 (e4m3), in four bits (w4a8), or as they are (none).
        distillation: weight of the likeness to the teacher in a distillation, at its start and at its end.
        scenes: unseen scenes of an evaluation.
        stored: narrow formats of the linear layers in which networks are evaluated too.
        workers: processes that generate scenes; 0 generates them where the network is.
        seed: of the first weights and of the scenes of the training.
        precision: of the matrix products of a training.
        device: auto, cpu or cuda; torchrun gives every process a GPU of its own.
        tensorboard: write an event file (needs pip install tensorboard).
        quiet: show no progress.
    """

    action: tyro.conf.Positional[Literal["train", "distill", "evaluate"]]
    model: str = "recon3d-small"
    out: Path | None = None
    resume: bool = False
    weights: Path | None = None
    delta: Path | None = None
    minutes: float = 0.0
    steps: int = 0
    size: int = 0
    photos: int = 0
    views: tuple[int, int] = (2, 4)
    learning_rate: float = 0.0
    keep: float = 0.3
    block_size: int = 16
    quantise: Literal["e4m3", "w4a8", "none"] = "e4m3"
    distillation: tuple[float, float] = (0.1, 0.01)
    scenes: int = 20
    stored: tuple[Literal["fp8", "int8", "bf16"], ...] = ()
    workers: int = 1
    seed: int = 0
    precision: Precision = "auto"
    device: str = "auto"
    tensorboard: bool = False
    quiet: bool = False

    def run(self) -> int:
        """Do it, print the scores or the file, and return 0."""
        if self.size % _PATCH or self.size < 0 or self.scenes < 1:
            raise UsageError("the sizes are wrong", got=f"{self.size} px, {self.scenes} scenes", expected="N x 14 px")
        return {"train": self._train, "distill": self._distill, "evaluate": self._evaluate}[self.action]()

    def _train(self) -> int:
        options = self.train_options()
        found = train(
            options,
            self._folder(),
            resume=self.resume,
            device=self.device,
            tensorboard=self.tensorboard,
            progress=make_progress(self.quiet),
        )
        if found is not None:
            self._show([Compared("trained", "float32", found)], {"weights": str(self._folder() / WEIGHTS)})
        return 0

    def train_options(self) -> TrainOptions:
        """Return the training that the command line describes."""
        base = TrainOptions(minutes=self.minutes or (0.0 if self.steps else 10.0), steps=self.steps)
        stages = base.stages if self.size == 0 else (Stage(1.0, _shapes(self.size), self.photos or _PHOTOS),)
        if self.size == 0 and self.photos:
            stages = tuple(replace(stage, photos=self.photos) for stage in stages)
        rate = self.learning_rate or base.optimiser.learning_rate
        return replace(
            base,
            model=self.model,
            seed=self.seed,
            stages=stages,
            data=replace(base.data, views=self.views, workers=self.workers),
            optimiser=replace(base.optimiser, learning_rate=rate),
            precision=self.precision,
            evaluate_scenes=self.scenes,
        )

    def _distill(self) -> int:
        path = distill(
            self.distill_options(),
            self.weights or bundled_weights(self.model),
            self._folder(),
            resume=self.resume,
            device=self.device,
            tensorboard=self.tensorboard,
            progress=make_progress(self.quiet),
        )
        print_json({"delta": str(path)}) if self.json else print_lines([str(path)])
        return 0

    def distill_options(self) -> DistillOptions:
        """Return the distillation that the command line describes."""
        base, size = DistillOptions(), self.size or 84
        return replace(
            base,
            model=self.model,
            seed=self.seed,
            steps=self.steps or base.steps,
            shape=(size, size),
            photos=self.photos or _PHOTOS_DISTILL,
            data=replace(base.data, views=self.views, workers=self.workers),
            sparse=SparseOptions(keep=self.keep, block_size=self.block_size),
            quantise=None if self.quantise == "none" else self.quantise,
            learning_rate=self.learning_rate or base.learning_rate,
            first_weight=self.distillation[0],
            last_weight=self.distillation[1],
        )

    def _evaluate(self) -> int:
        weights, delta, bundled = self.weights, self.delta, f"{self.model}-lite3r"
        if weights is None:
            weights = bundled_weights(self.model)
            delta = delta or (bundled_weights(bundled) if bundled in BUNDLED else None)
        scenes = unseen(self.scenes, size=self.size or 84)
        device = "cpu" if self.device == "auto" else self.device
        rows = compare(self.model, weights, scenes, delta=delta, storages=self.stored, device=device)
        with make_progress(self.quiet).stage("evaluate") as bar:
            found = []
            for row in rows:
                found.append(row)
                bar.advance()
        self._show(found, {"scenes": self.scenes, "size": self.size or 84})
        return 0

    def _show(self, rows: Sequence[Compared], about: dict[str, object]) -> None:
        if self.json:
            plain = [{"who": row.who, "weights": row.weights, **row.scores.to_json()} for row in rows]
            print_json({**about, "scores": plain})
            return
        Console().print(comparison_table(rows))
        print_lines([f"{name}: {value}" for name, value in about.items()])

    def _folder(self) -> Path:
        if self.out is None:
            raise UsageError(f"recon3d lite3r {self.action} needs a folder", fix="add --out folder")
        return self.out


def _shapes(size: int) -> tuple[tuple[int, int], ...]:
    """Return squares, and two thirds of them along either axis."""
    short = max(1, round(size * 2 / 3 / _PATCH)) * _PATCH
    return (size, size), (size, size), (size, short), (short, size)
