"""`reconstruct`: photos in, an output folder with cameras, points, undistorted photos and a report out."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from recon3d import __version__
from recon3d.assembly import assemble, make_views, summarize_pairs
from recon3d.core.budget import Budget, make_budget
from recon3d.core.errors import InputError, ResultError, UsageError
from recon3d.core.files import remove_leftovers, sha256_file
from recon3d.core.progress import Progress, make_progress
from recon3d.core.stages import StageStore
from recon3d.core.workers import TaskFailure, WorkerOptions
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.stereo_options import StereoOptions
from recon3d.photos import Photo, PhotoOptions, PhotoSet, load_photos, read_thumbnails
from recon3d.pipeline_images import Images, undistort
from recon3d.pipeline_network import (
    DEFAULT_MODEL,
    Engine,
    EngineOptions,
    FoundCameras,
    check_engine,
    find_cameras_by,
    network_verdict,
)
from recon3d.pipeline_output import WORK, check_out, default_out, remove_dense, remove_exports
from recon3d.pipeline_work import Dense, DepthSource, Only, SplatsStart, Workspace
from recon3d.plan import Plan, camera_seconds, make_plan
from recon3d.plan_dense import Preset, check_memory, make_dense_plan, with_preset
from recon3d.report import ReportInputs, write_report
from recon3d.scene import Scene, View
from recon3d.sfm.engine import CameraSearch, Tools, run_shown
from recon3d.sfm.finish import Finished, load_finished
from recon3d.sfm.options import SfmOptions
from recon3d.sfm.scale import ScaleOptions, check_scale
from recon3d.splats.options import SplatOptions
from recon3d.splats.relight.options import RelightOptions

MAX_MEAN_ERROR_PX = 2.0
MIN_PLACED = 0.5
CAMERA_SHARE = 0.5
TO_FIX = "move between photos, with three quarters overlap, and mask what moves by itself (--photos.masks)"
TO_FIX_NETWORK = "take another --model, add --refine where it was not given, or leave --engine away"
NO_SPLATS = "one photo makes no splats: they would fit it from its own place only"
UNTIMED = "the time for materials and light is not part of --max-time"


@dataclass(frozen=True)
class ReconstructOptions:
    """How photos become a scene.

    Args:
        photos: which photos are read.
        sfm: how cameras are found.
        scale: where metres come from.
        engine: ``sfm``, ``lite3r`` (a network), or SfM and the network for what is left. ``sfm`` is classical structure
            from motion, ``lite3r`` a network that sees all photos at once; ``auto`` takes SfM, and shows the network
            only photos that it cannot place.
        model: network that is asked. ``recon3d weights list`` shows the others, such as ``da3-small`` and ``vggt-1b``.
        checkpoint: file with its weights; default: bundled or fetched ones.
        dense_attention: full attention instead of Lite3R's sparse linear one. Weights without projections for that one
            are computed in full anyway.
        refine: adjust the cameras of ``lite3r`` to the photos' features; kept where that fits better and is verified.
        keep_gauge: keep the mapper's frame instead of levelling the scene.
        only: stop early: ``cameras`` with sparse points, ``points`` with depth maps, ``splats``, or ``mesh`` without
            splats; default: everything.
        preset: time against splats, depth and mesh, never against cameras: ``draft``, ``standard`` or ``high``. It
            chooses ``stereo`` and ``splats`` where they are not given; ``recon3d.splats.preset(name)`` returns its
            splat options, to change one of them.
        depth: where depth maps come from; default: multi-view ``stereo``, but with ``lite3r`` the ``network`` unless
            its cameras were refined.
        splats_start: points that splats start from: ``sparse``, or the ``dense`` ones of the optimised photos.
        relightable: estimate materials and light as well, and write splats and a mesh that can be relit; it needs the
            mesh.
        stereo: how stereo finds depth; default: by the preset.
        splats: how splats are optimised; default: by the preset.
        mesh: how depth maps become a mesh.
        relight: how materials and light are estimated.
        max_memory: memory to plan for, such as ``4GB``; default: 80 % of what is free.
        max_time: wall time to plan for, such as ``10m``; the optimisation is shortened and photos are scaled down to
            keep it.
        threads: processes that compute at the same time; default: the cores. It changes no bit of the result.
        quiet: show no progress.

    Raises:
        UsageError: ``relightable`` with an ``only`` that makes no mesh; a network's depth or its refinement without
            ``lite3r``.
    """

    photos: PhotoOptions = field(default_factory=PhotoOptions)
    sfm: SfmOptions = field(default_factory=SfmOptions)
    scale: ScaleOptions = field(default_factory=ScaleOptions)
    engine: Engine = "auto"
    model: str = DEFAULT_MODEL
    checkpoint: Path | None = None
    dense_attention: bool = False
    refine: bool = False
    keep_gauge: bool = False
    only: Only | None = None
    preset: Preset = "standard"
    depth: DepthSource | None = None
    splats_start: SplatsStart = "sparse"
    relightable: bool = False
    stereo: StereoOptions | None = None
    splats: SplatOptions | None = None
    mesh: FusionOptions = field(default_factory=FusionOptions)
    relight: RelightOptions = field(default_factory=RelightOptions)
    max_memory: str | None = None
    max_time: str | None = None
    threads: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.relightable and self.only not in (None, "mesh"):
            fix = "leave --only away, or use --only mesh"
            raise UsageError("--relightable needs the mesh", got=f"--only {self.only}", fix=fix)
        if self.depth == "network" and self.engine != "lite3r":
            raise UsageError("--depth network needs --engine lite3r", got=f"--engine {self.engine}")
        self.engine_options()

    def engine_options(self) -> EngineOptions:
        """Return which engine finds the cameras, and which network it asks."""
        return EngineOptions(self.engine, self.model, self.checkpoint, self.dense_attention, self.refine)


def reconstruct(
    source: str | Path | Sequence[str | Path],
    options: ReconstructOptions | None = None,
    *,
    out: str | Path | None = None,
    **overrides: Any,
) -> Scene:
    """Find cameras and points from photos and write the output folder.

    A run that was interrupted, or is repeated, continues with the first stage that is missing or out of date.

    Args:
        source: a folder of photos, a glob pattern, a video, or a list of paths.
        options: how; None = defaults.
        out: output folder; None = ``NAME_recon3d`` beside the input.
        **overrides: fields of :class:`ReconstructOptions` to replace, for example ``quiet=True``.

    Returns:
        The scene, with ``root`` set to the output folder.

    Raises:
        UsageError: an option is unknown or wrong.
        InputError: nothing usable in the input.
        ResultError: refused, because no model can be trusted; ``report.html`` says why.
        ResourceError: the memory does not suffice, or the disk is full.
    """
    options = _overridden(options or ReconstructOptions(), overrides)
    budget = make_budget(options.max_memory, options.max_time, options.threads)
    folder = default_out(source) if out is None else Path(out).expanduser().absolute()
    check_out(folder, source)
    run = _Run(folder, options, budget, make_progress(options.quiet))
    return run.execute(source)


def _overridden(options: ReconstructOptions, overrides: Mapping[str, Any]) -> ReconstructOptions:
    known = [item.name for item in fields(ReconstructOptions)]
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise UsageError("unknown option", got=", ".join(unknown), expected=", ".join(known))
    return replace(options, **overrides)


class _Run:
    """One execution of the pipeline."""

    def __init__(self, folder: Path, options: ReconstructOptions, budget: Budget, progress: Progress) -> None:
        self.folder, self.options, self.budget, self.progress = folder, options, budget, progress
        self.store = StageStore(self.folder / WORK, __version__)
        self.work = Workspace(folder, self.store, progress, budget.n_threads)

    def execute(self, source: str | Path | Sequence[str | Path]) -> Scene:
        """Run all stages."""
        check_engine(self.options.engine_options())
        if self.options.only != "cameras":
            check_memory(self.budget)
        remove_leftovers(self.folder)
        photos = self.read_photos(source)
        searched = [photo for photo in photos.photos if photo.duplicate_of is None]
        if len(searched) < (1 if self.options.engine == "lite3r" else 2):
            raise InputError(
                "at least two different photos are needed",
                got=f"{len(searched)} usable of {len(photos.photos) + len(photos.rejected)} files",
                fix="take more photos from different places",
            )
        check_scale(self.options.scale, [photo.key for photo in photos.photos])
        plan = make_plan(searched, self.options.sfm, self.camera_budget(), self.store, self.options.max_memory)
        sfm = replace(self.options.sfm, max_image_size=plan.max_image_size, pairs=plan.pairs)
        tools = Tools(self.store, self.workers(plan), self.progress, self.options.photos.max_pixels)
        found = find_cameras_by(self.options.engine_options(), photos, searched, sfm, tools, self.budget)
        self.work.seconds.update(found.search.seconds)
        if not found.search.verdict.trusted or found.search.model is None:
            self.refuse(photos, searched, found.search, plan)
        return self.finish(photos, searched, found, tools, plan)

    def camera_budget(self) -> Budget:
        """Return the budget of the cameras: half of the time where more is to follow."""
        limit = self.budget.max_time_s
        if limit is None or self.options.only == "cameras":
            return self.budget
        return replace(self.budget, max_time_s=CAMERA_SHARE * limit)

    def workers(self, plan: Plan) -> WorkerOptions:
        return WorkerOptions(n_workers=plan.n_workers)

    def read_photos(self, source: str | Path | Sequence[str | Path]) -> PhotoSet:
        """Check all photos; this is repeated in every run, since files may have changed."""
        work = self.folder / WORK / "photos"
        memory = max(self.budget.max_memory_bytes // self.budget.n_threads, 1 << 28)
        workers = WorkerOptions(self.budget.n_threads, memory, timeout_s=60.0)
        options = replace(self.options.photos, exclude=(*self.options.photos.exclude, self.folder))
        with self.progress.stage("checking photos") as shown:
            photos = load_photos(source, options, work, workers, lambda _: shown.advance())
            for item in photos.rejected:
                shown.note(f"skipped {item.key}: {item.reason}")
        return photos

    def refuse(self, photos: PhotoSet, searched: Sequence[Photo], search: CameraSearch, plan: Plan) -> None:
        """Write a report that says why, and raise."""
        remove_exports(self.folder)
        views = make_views(photos, search, searched, trusted=False)
        reasons = search.verdict.refused_because
        self.write_report(photos, views, None, search, searched, [*plan.notes, *reasons])
        raise ResultError(
            "refused: no model of the cameras can be trusted",
            got="; ".join(reasons),
            fix=f"{TO_FIX_NETWORK if self.options.engine == 'lite3r' else TO_FIX}; see {self.folder / 'report.html'}",
        )

    def finish(
        self, photos: PhotoSet, searched: Sequence[Photo], found: FoundCameras, tools: Tools, plan: Plan
    ) -> Scene:
        """Finish the verified model and write everything."""
        search = found.search
        done = self.finish_model(photos, searched, search, tools)
        views = make_views(photos, search, searched, trusted=True, remarks=found.remarks)
        scene = assemble(photos, searched, views, done)
        images = undistort(self.work, photos, scene, tools, search.key)
        seconds = camera_seconds(searched, plan, self.budget.n_threads)
        dense = self.dense(photos, scene, images, seconds, found)
        notes = [*search.lost, *search.description["notes"], *crop_notes(search, searched), *found.notes]
        warnings = [*plan.notes, *notes, *search.verdict.warnings, *done.warnings, *dense.notes]
        checks = [*failed_checks(scene, len(photos.photos), found.source), *found.checks]
        cameras = {"verification": dict(search.verdict.metrics), "lens": dict(search.description), **done.metrics}
        cameras |= {"network": dict(found.metrics)} if found.metrics else {}
        scene = replace(
            scene,
            metrics={**cameras, **dense.metrics},
            provenance={
                "recon3d": __version__,
                "versions": versions(),
                "options": self.options_json(),
                "plan": {name: value for name, value in asdict(plan).items() if name != "n_workers"},
                "stage_key": search.key,
                "warnings": warnings,
                "failed_checks": checks,
            },
        )
        self.write_report(photos, views, scene, search, searched, [*warnings, *checks], dense)
        with self.progress.stage("writing"):
            # The report is not listed: it carries timings, so its hash would differ in every run.
            return scene.save(self.folder, [*images.paths, *dense.files])

    def dense(
        self, photos: PhotoSet, scene: Scene, images: Images, camera_seconds: float, found: FoundCameras
    ) -> Dense:
        """Run the stages after the cameras, up to where the user wants them to stop."""
        options = self.options
        if options.only == "cameras":
            remove_dense(self.folder)
            return Dense()
        from recon3d.pipeline_dense import DenseSettings, DenseStages  # loads torch and the kernels
        from recon3d.pipeline_report import dense_results

        twins = {photo.key for photo in photos.photos if photo.duplicate_of is not None}
        originals = np.array([i for i, view in enumerate(scene.registered) if view.key not in twins], np.int64)
        cameras = scene.pinhole_cameras[originals]
        sizes = list(zip(cameras.width.tolist(), cameras.height.tolist(), strict=True))
        wanted = with_preset(options.preset, options.stereo, options.splats, options.mesh)
        plan = make_dense_plan(sizes, wanted, self.budget, self.store, options.max_memory, camera_seconds)
        alone = options.only is None and len(originals) == 1
        settings = DenseSettings(
            "mesh" if alone else options.only,
            options.depth or found.source,
            options.splats_start,
            plan.options,
            plan.max_memory_bytes,
            options.photos.max_pixels,
            options.relight if options.relightable else None,
            found.depth,
        )
        stages = DenseStages(self.work, scene, images, originals, settings)
        stages.execute()
        with self.progress.stage("previews"):
            report = dense_results(stages)
        notes = [UNTIMED] if options.relightable and self.budget.max_time_s is not None else []
        notes += [NO_SPLATS] if alone else []
        return Dense(stages.publish(), stages.metrics, (*plan.notes, *stages.notes, *notes), report)

    def finish_model(self, photos: PhotoSet, searched: Sequence[Photo], search: CameraSearch, tools: Tools) -> Finished:
        """Return the verified model with uncertainties, in its final world."""
        model = search.model
        if model is None:
            raise ResultError("there is no model to finish")
        task = {
            "model": str(model),
            "description": dict(search.description),
            "drop": [drop.photo for drop in search.verdict.drop],
            "features": list(search.features),
            "keys": [photo.key for photo in searched],
            "gps": [photo.exif.gps for photo in searched],
            "scale": asdict(self.options.scale),
            "keep_gauge": self.options.keep_gauge or photos.known_poses is not None,
            "calibration": self.options.sfm.calibration,
            "seed": self.options.sfm.seed,
        }
        inputs = {name: task[name] for name in ("drop", "keys", "gps", "scale", "keep_gauge", "calibration", "seed")}
        inputs["depth_maps"] = _hashes(self.options.scale.depth)

        def build(folder: Path) -> Any:
            tasks = [{**task, "target": str(folder)}]
            (result,) = run_shown("recon3d.sfm.finish:finish_task", tasks, tools, "measuring uncertainty")
            if isinstance(result, TaskFailure):
                kind = UsageError if result.error == "UsageError" else InputError if result.error else ResultError
                raise kind("the cameras could not be finished", got=result.reason)
            return result

        stage = self.work.stage("finished", {"model": search.key, **inputs}, build)
        return load_finished(stage.folder, stage.value)

    def write_report(
        self,
        photos: PhotoSet,
        views: Sequence[View],
        scene: Scene | None,
        search: CameraSearch,
        searched: Sequence[Photo],
        warnings: Sequence[str],
        dense: Dense | None = None,
    ) -> None:
        """Write ``report.html``."""
        report = ReportInputs(
            title=capture_name(photos.root),
            views=views,
            scene=scene,
            thumbnails=read_thumbnails(photos, self.folder / WORK / "photos"),
            pairs=summarize_pairs(search, searched),
            timings=self.work.seconds,
            settings=self.options_json(),
            warnings=list(warnings),
            provenance={"recon3d": __version__, **versions()},
            dense=(dense or Dense()).report,
            verdict="" if scene is None else network_verdict(views, scene),
        )
        with self.progress.stage("writing the report"):
            write_report(report, self.folder / "report.html")

    def options_json(self) -> dict[str, Any]:
        """Return the options that decide the result, JSON-ready."""
        options = asdict(self.options)
        for name in ("quiet", "threads"):
            del options[name]
        return {name: _plain(value) for name, value in options.items()}


def crop_notes(search: CameraSearch, searched: Sequence[Photo]) -> list[str]:
    """Return one sentence on the photos whose principal point is far off the centre."""
    cropped = set(search.description["cropped_groups"])
    keys = [photo.key for photo, group in zip(searched, search.group, strict=True) if group in cropped]
    if not keys:
        return []
    named = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    return [f"cropped off the centre: {named}; a principal point of their own was found for them"]


def capture_name(root: Path) -> str:
    """Return what to call a capture: the folder of the photos, with its parent where its own name says nothing."""
    if root.name.lower() in ("images", "photos", "pictures", "input") and root.parent.name:
        return f"{root.parent.name}/{root.name}"
    return root.name or "capture"


def _hashes(folder: str | None) -> dict[str, str]:
    """Return the hash of each file in a folder of depth maps; none where a scale needs no such folder."""
    if folder is None or not Path(folder).is_dir():
        return {}
    return {path.name: sha256_file(path) for path in sorted(Path(folder).iterdir()) if path.is_file()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def failed_checks(scene: Scene, n_usable: int, source: DepthSource = "stereo") -> list[str]:
    """Return what a written result falls short in (exit code 7).

    Args:
        scene: the result.
        n_usable: photos that could have been placed.
        source: ``network`` where the points are those of depth maps, whose errors are no test of the cameras.
    """
    found = []
    if len(scene.registered) < MIN_PLACED * n_usable:
        found.append(f"only {len(scene.registered)} of {n_usable} usable photos could be placed")
    error = scene.points.mean_error_px
    if error > MAX_MEAN_ERROR_PX and source != "network":
        found.append(f"the mean reprojection error of {error:.1f} px is above {MAX_MEAN_ERROR_PX:g} px")
    return found


def versions() -> dict[str, str]:
    """Return the versions of what computes the result."""
    from importlib.metadata import version

    names = ("numpy", "scipy", "pycolmap", "pillow", "torch", "numba", "scikit-image", "trimesh")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
