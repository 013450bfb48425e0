"""`optimise_splats`: Gaussians from posed photos, resumable, with the same bits for any number of threads."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from recon3d.core.errors import ResultError, UsageError
from recon3d.core.progress import Progress
from recon3d.core.seeds import generator
from recon3d.evaluation.novel_views import ViewErrors
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.splats.checkpoint import NAME, resume, write_checkpoint
from recon3d.splats.coverage import covering_points, seen_somewhere
from recon3d.splats.evaluate import render_view, view_errors
from recon3d.splats.exposure import IDENTITY
from recon3d.splats.frame import Frame, find_frame
from recon3d.splats.holdout import held_out
from recon3d.splats.init import FEW_POINTS, SMALLEST_PX, initial_gaussians, scattered_points, usable_points
from recon3d.splats.options import SplatOptions
from recon3d.splats.poses import moved
from recon3d.splats.rates import rates_for
from recon3d.splats.schedule import Schedule, gaussians_in_memory, make_schedule
from recon3d.splats.targets import make_targets
from recon3d.splats.threads import one_torch_thread
from recon3d.splats.trainer import Setting, StepReport, Trainer
from recon3d.splats.types import SplatInputs, SplatResult

_LOG = logging.getLogger(__name__)
CHECKPOINT_S = 15.0
NOTE_S = 5.0
N_RECORDS = 200
FAINTEST = 1 / 255
START_SHARE = 0.4


def optimise_splats(
    inputs: SplatInputs,
    options: SplatOptions | None = None,
    progress: Progress | None = None,
    checkpoint_folder: Path | None = None,
    backend: GaussianBackend = "auto",
) -> SplatResult:
    """Find Gaussians that look like the photos.

    Args:
        inputs: posed photos and points.
        options: how; None = the defaults.
        progress: shows loss, PSNR, number of Gaussians and the time left.
        checkpoint_folder: where an interrupted run continues; None = nowhere. The result has the same bits whether or
            not a run was interrupted.
        backend: of the rasteriser.

    Returns:
        The Gaussians in the world of the input, and how well held-out photos are predicted.

    Raises:
        UsageError: there are fewer than two photos, or the options do not fit them.
        ResultError: the optimisation does not stay finite.

    Source: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023; Kheradmand et al.,
    "3D Gaussian Splatting as Markov Chain Monte Carlo", 2024.
    """
    options = options or SplatOptions()
    if len(inputs.keys) < 2:
        raise UsageError("splats need at least two photos", got=len(inputs.keys))
    with one_torch_thread():
        job = _prepare(inputs, options, backend)
        history = _run(job, progress or Progress(), checkpoint_folder)
        return _finish(job, history)


@dataclass(frozen=True, eq=False)
class _Job:
    inputs: SplatInputs
    options: SplatOptions
    frame: Frame
    out: tuple[str, ...]
    chosen: Int64[np.ndarray, " n"]
    schedule: Schedule
    trainer: Trainer
    key: str
    notes: tuple[str, ...]
    backend: GaussianBackend


def _prepare(inputs: SplatInputs, options: SplatOptions, backend: GaussianBackend) -> _Job:
    out = held_out(inputs.keys, options.holdout)
    notes = [] if out or options.holdout == "none" else ["too few photos to keep any out: nothing measures the splats"]
    chosen = np.array([i for i, key in enumerate(inputs.keys) if key not in out], np.int64)
    cameras = inputs.cameras.pinhole()[chosen]
    frame = find_frame(cameras, inputs.points_xyz)
    local = cameras.transformed(frame.frame_from_world)
    images = tuple(inputs.images[i] for i in chosen)
    device = _device(options)
    masks = [None if inputs.masks is None else inputs.masks[i] for i in chosen]
    sizes = [image.shape[:2] for image in images]
    affordable = gaussians_in_memory(options, sizes, inputs.max_memory_bytes)
    if affordable < options.max_gaussians:
        notes.append(f"at most {affordable:,} Gaussians instead of {options.max_gaussians:,} to stay within the memory")
        options = replace(options, max_gaussians=affordable)
    start = _start(inputs, options, frame, (local, images, masks), notes)
    schedule = make_schedule(options, sizes, len(start))
    levels = tuple(make_targets(images, masks, local, level.shrink, device) for level in schedule.levels)
    setting = Setting(options, schedule, levels, rates_for(schedule.iterations), frame.near, backend)
    trainer = Trainer(setting, start.to(device))
    return _Job(inputs, options, frame, out, chosen, schedule, trainer, _key(inputs, options), tuple(notes), backend)


def _device(options: SplatOptions) -> torch.device:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device", got="--splats.device cuda", fix="use --splats.device cpu")
    return torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")


def _start(
    inputs: SplatInputs,
    options: SplatOptions,
    frame: Frame,
    photos: tuple[Cameras, tuple[Any, ...], list[Any]],
    notes: list[str],
) -> Gaussians:
    """Return the Gaussians to start from: those of the points, and more where the photos show what no point explains.

    They are a share of the cap, so that the optimisation has some to place where they are needed.
    """
    cameras, images, masks = photos
    xyz = frame.points(inputs.points_xyz)
    good = np.flatnonzero(usable_points(xyz))
    random = generator(options.seed, "splats", "start")
    most = max(1, int(START_SHARE * options.max_gaussians))
    if len(good) > most:
        good = np.sort(random.choice(good, most, replace=False))
    xyz, rgb = xyz[good], inputs.points_rgb[good]
    level = 255 if options.background == "white" else 0
    more = [covering_points(cameras, images, masks, xyz, level, random)]
    missing = min(FEW_POINTS, options.max_gaussians) - len(xyz) - len(more[0][0])
    if missing > 0:
        more.append(scattered_points(cameras, images, missing, random))
        notes.append(f"only {len(xyz)} points: {missing} Gaussians start at random places")
    added_xyz, added_rgb = (np.concatenate([one[i] for one in more]) for i in range(2))
    kept = np.sort(random.permutation(len(added_xyz))[: max(0, options.max_gaussians - len(xyz))])
    unknown = np.full((len(kept), 3), np.nan)
    normals = None if inputs.normals is None else np.concatenate([inputs.normals[good], unknown])
    xyz, rgb = np.concatenate([xyz, added_xyz[kept]]), np.concatenate([rgb, added_rgb[kept]])
    pixel = float(1 / np.median(cameras.K[:, 0, 0]))
    return initial_gaussians(xyz, rgb, normals, (SMALLEST_PX * pixel, 0.1))


def _key(inputs: SplatInputs, options: SplatOptions) -> str:
    """Return the hash of everything that the state of the optimisation depends on."""
    digest = hashlib.sha256(json.dumps([asdict(options), list(inputs.keys), inputs.max_memory_bytes]).encode())
    cameras = inputs.cameras
    masks = [np.zeros(0) if mask is None else mask for mask in inputs.masks or ()]
    arrays = [*inputs.images, *masks, cameras.cam_from_world, cameras.K, inputs.points_xyz, inputs.points_rgb]
    for array in [*arrays, np.zeros(0) if inputs.normals is None else inputs.normals]:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _run(job: _Job, progress: Progress, folder: Path | None) -> tuple[dict[str, Any], ...]:
    trainer, schedule = job.trainer, job.schedule
    history: list[dict[str, Any]] = []
    meter = _Meter(schedule)
    found = resume(folder, job.key)
    if found is not None:
        values, arrays = found
        history, meter.good = values.pop("history"), values.pop("meter")
        meter.fall_back()
        trainer.restore(values, arrays)
    record_every = max(1, schedule.iterations // N_RECORDS)
    last_write = last_note = time.monotonic()
    with progress.stage("optimising splats", schedule.iterations) as shown:
        shown.advance(trainer.iteration)
        while trainer.iteration < schedule.iterations:
            if trainer.iteration % schedule.snapshot_every == 0:
                meter.mark()
            before, report = trainer.iteration, trainer.step()
            shown.advance(trainer.iteration - before)
            if report is None:
                meter.fall_back()
                history = [record for record in history if record["iteration"] <= trainer.iteration]
                continue
            meter.add(report)
            if trainer.iteration % record_every == 0:
                history.append(meter.record(trainer))
            now = time.monotonic()
            if now - last_note >= NOTE_S:
                shown.note(meter.text(trainer))
                last_note = now
            if folder is not None and now - last_write >= CHECKPOINT_S:
                _save(folder, job.key, trainer, history, meter)
                last_write = time.monotonic()
    return tuple(history)


def _save(folder: Path, key: str, trainer: Trainer, history: list[dict[str, Any]], meter: _Meter) -> None:
    values, arrays = trainer.good
    past = [record for record in history if record["iteration"] <= values["iteration"]]
    write_checkpoint(folder / NAME, key, {**values, "history": past, "meter": meter.good}, arrays)


class _Meter:
    """What is shown while the optimisation runs: smoothed numbers that fall back with the state they describe."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.loss, self.mse, self.started = schedule, 0.0, 0.0, False
        self.start, self.first = time.monotonic(), 0
        self.mark()

    def mark(self) -> None:
        """Remember the numbers of the state that the optimisation may fall back to."""
        self.good: list[Any] = [self.loss, self.mse, self.started]

    def fall_back(self) -> None:
        """Take the remembered numbers."""
        self.loss, self.mse, self.started = self.good

    def add(self, report: StepReport) -> None:
        if not self.started:
            self.loss, self.mse, self.started = report.loss, report.mse, True
        self.loss += 0.05 * (report.loss - self.loss)
        self.mse += 0.05 * (report.mse - self.mse)

    def psnr(self) -> float:
        return -10 * float(np.log10(max(self.mse, 1e-12)))

    def record(self, trainer: Trainer) -> dict[str, Any]:
        """Return a record of the history."""
        level = self.schedule.levels[self.schedule.level(max(trainer.iteration - 1, 0))]
        return {
            "iteration": trainer.iteration,
            "loss": round(self.loss, 6),
            "psnr": round(self.psnr(), 3),
            "gaussians": len(trainer.model),
            "shrink": level.shrink,
        }

    def text(self, trainer: Trainer) -> str:
        done = self.schedule.seconds_until(trainer.iteration)
        return (
            f"iteration {trainer.iteration} of {self.schedule.iterations}, loss {self.loss:.4f}, "
            f"PSNR {self.psnr():.2f} dB, {len(trainer.model):,} Gaussians, "
            f"{self._left(done):.0f} s left"
        )

    def _left(self, done: float) -> float:
        if self.first <= 0:
            self.first, self.start_done = 1, done
            self.start = time.monotonic()
            return self.schedule.seconds - done
        pace = (time.monotonic() - self.start) / max(done - self.start_done, 1e-6)
        return pace * (self.schedule.seconds - done)


def _finish(job: _Job, history: tuple[dict[str, Any], ...]) -> SplatResult:
    trainer, inputs = job.trainer, job.inputs
    gaussians = _tidy(job)
    if len(gaussians) == 0:
        raise ResultError("no Gaussian is left after the optimisation", fix="check the cameras and points")
    world = job.frame.to_world(gaussians.detach())
    cameras = _cameras(job)
    colours = np.repeat(IDENTITY[None], len(inputs.keys), axis=0)
    colours[job.chosen] = trainer.colours.cpu().numpy().astype(np.float64)
    errors = tuple(_errors(job, world, inputs.keys.index(key)) for key in job.out)
    return SplatResult(world, cameras, job.out, errors, colours, history, job.notes)


def _errors(job: _Job, world: Gaussians, view: int) -> ViewErrors:
    options, inputs = job.options, job.inputs
    rendered = render_view(
        world,
        inputs.cameras.pinhole(),
        view,
        antialiased=options.antialiased,
        background=options.background,
        near=job.frame.near * job.frame.unit,
        backend=job.backend,
    )
    mask = None if inputs.masks is None else inputs.masks[view]
    return view_errors(inputs.keys[view], rendered, inputs.images[view], mask)


def _tidy(job: _Job) -> Gaussians:
    """Return the Gaussians that some photo that was learnt from can see.

    What drifted between a near plane and its camera, or out of all views, no photo corrects: it is dirt elsewhere.
    """
    gaussians = job.trainer.model.gaussians().detach()
    local = job.inputs.cameras.pinhole()[job.chosen].transformed(job.frame.frame_from_world)
    seen = seen_somewhere(local, gaussians.means.cpu().double().numpy(), job.frame.near)
    return gaussians[torch.from_numpy(seen).to(gaussians.means.device) & (gaussians.opacities > FAINTEST)]


def _cameras(job: _Job) -> Cameras:
    """Return all cameras, with the motions that were found."""
    cameras, trainer = job.inputs.cameras.pinhole(), job.trainer
    if not job.options.refine_poses:
        return cameras
    poses: Float64[np.ndarray, "n 4 4"] = cameras.cam_from_world.copy()
    for row, view in enumerate(job.chosen):
        motion = trainer.motions[row].detach().cpu().double()
        motion[3:] *= job.frame.unit
        poses[view] = moved(torch.from_numpy(poses[view]), motion).numpy()
    return replace(cameras, cam_from_world=poses)
