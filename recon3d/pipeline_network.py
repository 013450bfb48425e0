"""Cameras of a run by the engine that was asked for: classical, a feed-forward network, or one helping the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recon3d.core.budget import Budget
from recon3d.core.errors import DependencyError, ResourceError, UsageError
from recon3d.photos import Photo, PhotoSet
from recon3d.pipeline_work import DepthSource
from recon3d.plan_dense import BASE_BYTES
from recon3d.report.text import plain_verdict
from recon3d.scene import Scene, View
from recon3d.sfm.engine import CameraSearch, Tools, find_cameras
from recon3d.sfm.options import SfmOptions

if TYPE_CHECKING:
    from recon3d.feedforward.engine.depth import NetworkDepth
    from recon3d.feedforward.engine.photographs import Means

DEFAULT_MODEL = "recon3d-small"
Engine = Literal["auto", "sfm", "lite3r"]


@dataclass(frozen=True)
class EngineOptions:
    """Which engine finds the cameras, and which network it asks.

    Args:
        engine: classical, a network, or classical with a network for what is left.
        model: name of the network.
        checkpoint: file of its weights; None = those that are stored here.
        dense_attention: compute every attention in full.
        refine: adjust the network's cameras to the photos' features.
    """

    engine: Engine
    model: str
    checkpoint: Path | None
    dense_attention: bool
    refine: bool

    def __post_init__(self) -> None:
        if self.refine and self.engine != "lite3r":
            raise UsageError("--refine adjusts the cameras of a network", got=f"--engine {self.engine}")


@dataclass(frozen=True, eq=False)
class FoundCameras:
    """What an engine found.

    Args:
        search: the cameras with their verdict.
        depth: depth maps of a network; None where none was asked for all photos.
        source: where the depth maps of the scene come from when nothing else is said: those of the network, unless the
            cameras were adjusted to the photos well enough for stereo.
        checks: what the cameras fall short in.
        metrics: numbers, JSON-ready.
        notes: what the user should know, in plain words.
        remarks: what to say of single photos, by index.
    """

    search: CameraSearch
    depth: NetworkDepth | None = None
    source: DepthSource = "stereo"
    checks: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    remarks: Mapping[int, str] = field(default_factory=dict)


def network_verdict(views: Sequence[View], scene: Scene) -> str:
    """Return the result in plain words where a network found the cameras; empty elsewhere.

    Args:
        views: every input photo.
        scene: the reconstruction.
    """
    numbers = scene.metrics.get("network", {})
    if "grade" not in numbers:
        return ""
    what = f"{plain_verdict(views, scene)} Cameras of the network {numbers['model']}"
    if "refined" in numbers:
        return f"{what}, refined by the photos' features and verified."
    judged = {"good": "and the photos' matches confirm them", "rough": "and they are rough"}
    return f"{what}, {judged.get(numbers['grade'], 'and nothing confirms them')}."


def check_engine(options: EngineOptions) -> None:
    """Refuse a network that is asked for and not there, before anything is computed.

    Args:
        options: which engine and which network.

    Raises:
        UsageError: the model or the file is unknown.
        DependencyError: its weights are not stored here.
    """
    named = options.checkpoint is not None or options.model != DEFAULT_MODEL
    if options.engine == "lite3r" or (options.engine == "auto" and named):
        from recon3d.feedforward.engine.network import choose_weights  # loads torch

        choose_weights(options.model, options.checkpoint)


def find_cameras_by(
    options: EngineOptions, photos: PhotoSet, searched: Sequence[Photo], sfm: SfmOptions, tools: Tools, budget: Budget
) -> FoundCameras:
    """Find the cameras of photos.

    Args:
        options: which engine.
        photos: all usable photos.
        searched: those without duplicates, sorted by key.
        sfm: how features are found and cameras searched.
        tools: stages, workers, progress.
        budget: memory and threads.

    Raises:
        UsageError: known poses are given, and a network is to find them.
        ResourceError: the memory does not suffice.
        DependencyError: the weights are missing.
    """
    if options.engine == "lite3r":
        if photos.known_poses is not None:
            raise UsageError("known poses need no network", got="--engine lite3r", fix="leave --engine away")
        return _by_network(options, searched, sfm, tools, budget)
    search = find_cameras(searched, sfm, tools, photos.known_poses)
    if options.engine == "sfm" or photos.known_poses is not None or not _is_left(search, len(searched)):
        return FoundCameras(search)
    return _with_left(options, searched, search, sfm, tools, budget)


def _is_left(search: CameraSearch, n_photos: int) -> bool:
    """Return whether a trusted model misses photos that have features."""
    chosen = search.verdict.chosen
    if chosen is None or not search.verdict.trusted:
        return False
    return len({*chosen.photo.tolist(), *search.failed}) < n_photos


def _with_left(
    options: EngineOptions,
    searched: Sequence[Photo],
    search: CameraSearch,
    sfm: SfmOptions,
    tools: Tools,
    budget: Budget,
) -> FoundCameras:
    """Ask a network for the photos that are left, if there is one."""
    from recon3d.feedforward.engine.placing import place_left  # loads torch

    try:
        means = means_of(options, budget)
    except (DependencyError, ResourceError) as error:
        return FoundCameras(search, notes=(f"no network was asked for the photos without a camera: {error}",))
    placed = place_left(searched, search, means, tools, sfm.seed)
    metrics = {"left": dict(placed.metrics)} if placed.metrics else {}
    return FoundCameras(placed.search, metrics=metrics, notes=placed.notes, remarks=placed.remarks)


def _by_network(
    options: EngineOptions, searched: Sequence[Photo], sfm: SfmOptions, tools: Tools, budget: Budget
) -> FoundCameras:
    from recon3d.feedforward.engine.search import find_network_cameras  # loads torch

    found = find_network_cameras(searched, means_of(options, budget), sfm, tools, refine=options.refine)
    source: DepthSource = "stereo" if found.refined else "network"
    return FoundCameras(found.search, found.depth, source, found.checks, found.metrics, found.notes)


def means_of(options: EngineOptions, budget: Budget) -> Means:
    """Return which network is asked, and what it may use.

    Raises:
        UsageError: the model or the file is unknown.
        DependencyError: its weights are not stored here.
        ResourceError: not even Python and torch fit into the memory.
    """
    from recon3d.feedforward.engine.calibration import stored_table
    from recon3d.feedforward.engine.network import choose_weights
    from recon3d.feedforward.engine.photographs import Means

    free = budget.max_memory_bytes - BASE_BYTES
    if free <= 0:
        raise ResourceError(
            "too little memory for a network",
            got=f"{budget.max_memory_bytes / 2**30:.2f} GiB",
            expected=f"more than {BASE_BYTES / 2**30:.2f} GiB",
            fix="close other programs or raise --max-memory",
        )
    weights = choose_weights(options.model, options.checkpoint, dense_attention=options.dense_attention)
    return Means(weights, free, budget.n_threads, table=stored_table(weights.model, weights.path))
