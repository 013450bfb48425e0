"""The classical camera engine: features, matches, both mappers, verification, and a second try with richer features."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recon3d.core.errors import ResultError, UsageError
from recon3d.core.files import sha256_file
from recon3d.core.progress import Progress
from recon3d.core.seeds import derive
from recon3d.core.stages import StageResult, StageStore
from recon3d.core.workers import Outcome, TaskFailure, WorkerOptions, run_tasks
from recon3d.photos import Photo
from recon3d.sfm.features import no_features, save_features
from recon3d.sfm.intrinsics import group_photos
from recon3d.sfm.known import known_cameras
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.matching import guess_camera, load_pairs, save_pairs
from recon3d.sfm.options import SfmOptions, parse_calibration
from recon3d.sfm.retrieval import PairOptions, select_pairs
from recon3d.sfm.solve import Capture
from recon3d.sfm.types import Mapped, Pair
from recon3d.sfm.verify import Verdict, verify

_LOG = logging.getLogger(__name__)
PAIRS_PER_TASK = 32
FEW_PHOTOS = 5  # up to here every photo counts; of more, a tenth may stay out before richer features are tried


@dataclass(frozen=True)
class Tools:
    """What every stage of a run works with.

    Args:
        store: the stages of the output folder.
        workers: how many processes, and their limits.
        progress: where progress is shown.
        max_pixels: larger photos are not decoded.
    """

    store: StageStore
    workers: WorkerOptions
    progress: Progress
    max_pixels: int


@dataclass(frozen=True, eq=False)
class CameraSearch:
    """What the engine found.

    Args:
        verdict: the verification's judgement of all models.
        model: file of the chosen model; None when there is none.
        description: what its refinement learned, see ``recon3d.sfm.solve.describe``.
        features: path of each photo's features; empty where none were found.
        pairs: verified pairs.
        tried: all pairs that were matched.
        failed: why photos have no features, by index.
        lost: mappers that died, in plain words.
        group: camera group of each photo.
        key: hash of everything that the result depends on.
        seconds: wall time of each stage, in order.
        rich: whether the richer features were needed.
    """

    verdict: Verdict
    model: Path | None
    description: Mapping[str, Any]
    features: tuple[str, ...]
    pairs: tuple[Pair, ...]
    tried: tuple[tuple[int, int], ...]
    failed: Mapping[int, str]
    lost: tuple[str, ...]
    group: tuple[int, ...]
    key: str
    seconds: Mapping[str, float]
    rich: bool


def find_cameras(
    photos: Sequence[Photo], options: SfmOptions, tools: Tools, known_poses: Path | None = None
) -> CameraSearch:
    """Find the cameras of photos.

    Args:
        photos: the photos, without duplicates, sorted by key.
        options: how.
        tools: stages, workers, progress.
        known_poses: a COLMAP model or transforms.json with their poses: they are refined, or kept, and not searched.

    Returns:
        The best verified model, or the reasons why there is none.

    Raises:
        UsageError: exact poses are asked for, and there are none.
    """
    if options.exact_poses and known_poses is None:
        fix = "add --photos.poses with a COLMAP model or a transforms.json"
        raise UsageError("exact poses need poses", got="--sfm.exact-poses alone", fix=fix)
    first = _attempt(photos, options, tools, known_poses, rich=False)
    placed = _n_placed(first.verdict)
    spare = 0 if len(photos) <= FEW_PHOTOS else max(1, len(photos) // 10)
    if known_poses is not None or placed >= len(photos) - spare or _hopeless(first):
        return first
    second = _attempt(photos, options, tools, None, rich=True)
    better = second if _n_placed(second.verdict) > placed else first
    seconds = {**first.seconds, **second.seconds}
    return replace(better, seconds=seconds)


def _n_placed(verdict: Verdict) -> int:
    if verdict.chosen is None or not verdict.trusted:
        return 0
    return len(verdict.chosen.photo) - len(verdict.drop)


def _hopeless(search: CameraSearch) -> bool:
    """Say whether more features cannot help: the matches are many, and none shows parallax."""
    matches = sum(len(pair.matches) for pair in search.pairs)
    flat = sum(pair.n_homography for pair in search.pairs)
    return not search.verdict.trusted and matches > 1000 and flat > 0.95 * matches


def _attempt(
    photos: Sequence[Photo], options: SfmOptions, tools: Tools, known_poses: Path | None, rich: bool
) -> CameraSearch:
    suffix = "-rich" if rich else ""
    capture, features, matches = match_photos(photos, options, tools, rich=rich)
    group = list(capture.group)
    models = _models(photos, capture, options, tools, (matches.key, f"cameras{suffix}"), known_poses)
    posed = known_poses is not None
    search = _judged(capture, [(capture, models)], rich, posed, options.exact_poses)
    if options.intrinsics == "auto" and search.description.get("unshared_groups"):
        split = replace(capture, group=split_groups(group, search.description["unshared_groups"]))
        more = _models(photos, split, options, tools, (matches.key, f"cameras{suffix}-split"), known_poses)
        search = _judged(capture, [(capture, models), (split, more)], rich, posed, options.exact_poses)
    seconds = {stage.folder.name: stage.seconds for stage in (features, matches)}
    failed = {int(i): str(reason) for i, reason in features.value["failed"]}
    return replace(search, tried=tried_pairs(matches), failed=failed, seconds={**seconds, **search.seconds})


def match_photos(
    photos: Sequence[Photo], options: SfmOptions, tools: Tools, *, rich: bool = False
) -> tuple[Capture, StageResult, StageResult]:
    """Find features in photos and match them; return what mappers are given, and the two stages.

    Args:
        photos: the photos, without duplicates, sorted by key.
        options: how.
        tools: stages, workers, progress.
        rich: use the richer, slower features.
    """
    suffix = "-rich" if rich else ""
    features = _features(photos, options, tools, rich, f"features{suffix}")
    files = [str(features.folder / f"{i:06d}.npz") for i in range(len(photos))]
    cameras = start_cameras(photos, options.calibration)
    group = group_photos(photos, options.intrinsics).tolist()
    matches = _matches(photos, files, cameras, options, tools, features.key, f"matches{suffix}")
    capture = Capture(
        features=tuple(files),
        cameras=tuple(cameras),
        group=tuple(group),
        pairs=str(matches.folder / "pairs.npz"),
        seed=derive(options.seed, "mapping"),
        principal_point=options.principal_point,
        calibration=options.calibration,
    )
    return capture, features, matches


def tried_pairs(matches: StageResult) -> tuple[tuple[int, int], ...]:
    """Return all pairs of photos that the stage of :func:`match_photos` matched."""
    return tuple((first, second) for first, second in matches.value["pairs"])


def start_cameras(photos: Sequence[Photo], calibration: str | None) -> list[dict[str, Any]]:
    """Return the cameras that mapping starts from: the known calibration, or what EXIF says.

    Raises:
        UsageError: a calibration is given, and the photos have several sizes.
    """
    if calibration is None:
        return [guess_camera(photo.width, photo.height, _focal(photo)) for photo in photos]
    sizes = sorted({(photo.width, photo.height) for photo in photos})
    if len(sizes) > 1:
        raise UsageError(
            "one calibration cannot hold for photos of several sizes",
            got=", ".join(f"{width}x{height}" for width, height in sizes[:5]),
            fix="reconstruct each size alone, or leave the calibration out",
        )
    params = parse_calibration(calibration).tolist()
    (width, height), model = sizes[0], "OPENCV"
    return [{"model": model, "width": width, "height": height, "params": params, "prior": True} for _ in photos]


def split_groups(group: Sequence[int], apart: Sequence[int]) -> tuple[int, ...]:
    """Return camera groups in which every photo of the groups ``apart`` stands alone."""
    fresh, split = max(group) + 1, []
    for number in group:
        split.append(fresh if number in apart else number)
        fresh += number in apart
    return tuple(split)


def _judged(
    capture: Capture, attempts: Sequence[tuple[Capture, StageResult]], rich: bool, posed: bool, exact: bool
) -> CameraSearch:
    """Verify the models of all mappings together."""
    described = [(item, given, stage) for given, stage in attempts for item in stage.value["models"]]
    mapped = [load_mapped(stage.folder / item["file"]) for item, _, stage in described]
    pairs = tuple(load_pairs(Path(capture.pairs)))
    calibrated = capture.calibration is not None or exact
    verdict = verify(mapped, pairs, len(capture.features), None, capture.focal_px(), calibrated, posed)
    if exact and verdict.chosen is not None:  # cameras of few matches are where they were said to be
        doubts = verdict.refused_because + verdict.warnings
        verdict = replace(verdict, trusted=True, refused_because=(), warnings=doubts, drop=())
    found = next((k for k, model in enumerate(mapped) if model is verdict.chosen), None)
    item, given, stage = ({}, *attempts[-1]) if found is None else described[found]
    return CameraSearch(
        verdict=verdict,
        model=None if found is None else stage.folder / item["file"],
        description=item,
        features=capture.features,
        pairs=pairs,
        tried=(),
        failed={},
        lost=tuple(text for _, stage in attempts for text in stage.value["lost"]),
        group=given.group,
        key=stage.key,
        seconds={stage.folder.name: stage.seconds for _, stage in attempts},
        rich=rich,
    )


def _focal(photo: Photo) -> float | None:
    """Return the focal length by EXIF where it can be believed."""
    return None if photo.exif_conflict else photo.focal_px


def _features(photos: Sequence[Photo], options: SfmOptions, tools: Tools, rich: bool, name: str) -> StageResult:
    inputs = {
        "photos": [[photo.sha256, photo.width, photo.height] for photo in photos],
        "masks": [None if photo.mask is None else sha256_file(photo.mask) for photo in photos],
        "options": [options.max_image_size, options.max_features, rich],
    }

    def build(folder: Path) -> dict[str, Any]:
        tasks = [
            {
                "photo": str(photo.path),
                "mask": None if photo.mask is None else str(photo.mask),
                "target": str(folder / f"{i:06d}.npz"),
                "max_image_size": options.max_image_size,
                "max_features": options.max_features,
                "max_pixels": tools.max_pixels,
                "rich": rich,
            }
            for i, photo in enumerate(photos)
        ]
        label = "finding more features" if rich else "finding features"
        done = run_shown("recon3d.sfm.features:extract_task", tasks, tools, label)
        return {"failed": _without_features(photos, done, tasks)}

    return tools.store.run(name, inputs, build)


def _without_features(
    photos: Sequence[Photo], done: Sequence[Outcome], tasks: Sequence[Mapping[str, Any]]
) -> list[list[Any]]:
    """Give photos whose worker failed no features, and return their indices with the reasons.

    Raises:
        ResultError: no photo has features.
    """
    failed: list[list[Any]] = [[i, result.reason] for i, result in enumerate(done) if isinstance(result, TaskFailure)]
    if len(failed) == len(photos):
        raise ResultError("features could not be found in any photo", got=failed[0][1])
    for i, _ in failed:
        save_features(Path(tasks[int(i)]["target"]), *no_features())
    return failed


def _matches(
    photos: Sequence[Photo],
    features: Sequence[str],
    cameras: Sequence[dict[str, Any]],
    options: SfmOptions,
    tools: Tools,
    key: str,
    name: str,
) -> StageResult:
    seed = derive(options.seed, "matching")
    inputs = {"features": key, "cameras": list(cameras), "pairs": options.pairs, "seed": seed}

    def build(folder: Path) -> dict[str, Any]:
        mode = "both" if options.pairs == "sequential" else options.pairs
        keys = [photo.key for photo in photos]
        chosen = select_pairs(keys, _Descriptors(features), PairOptions(mode=mode), seed)
        chunks = [chosen[k : k + PAIRS_PER_TASK].tolist() for k in range(0, len(chosen), PAIRS_PER_TASK)]
        targets = [folder / f"chunk_{k:06d}.npz" for k in range(len(chunks))]
        tasks = [
            {"pairs": chunk, "features": list(features), "cameras": list(cameras), "target": str(target), "seed": seed}
            for chunk, target in zip(chunks, targets, strict=True)
        ]
        _require(run_shown("recon3d.sfm.matching:match_task", tasks, tools, "matching photos"), "matching")
        save_pairs(folder / "pairs.npz", [pair for target in targets for pair in load_pairs(target)])
        for target in targets:
            target.unlink()
        return {"pairs": chosen.tolist()}

    return tools.store.run(name, inputs, build)


class _Descriptors(Sequence[Any]):
    """Descriptors of all photos, read from disk one photo at a time."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        with np.load(self._files[index], allow_pickle=False) as data:
            return data["descriptors"]


def _models(
    photos: Sequence[Photo],
    capture: Capture,
    options: SfmOptions,
    tools: Tools,
    stage: tuple[str, str],
    known_poses: Path | None,
) -> StageResult:
    key, name = stage
    known = None if known_poses is None else known_cameras(photos, capture.group, known_poses)
    mappers = ["incremental", "global"] if options.mapper == "auto" else [options.mapper]
    inputs = {"matches": key, "group": list(capture.group), "seed": capture.seed, "mappers": mappers}
    inputs |= {"principal_point": options.principal_point, "calibration": options.calibration}
    inputs |= {"known": None if known is None else _fingerprint(known), "exact": options.exact_poses}

    def build(folder: Path) -> dict[str, Any]:
        shared = {"capture": asdict(capture)}
        if known is not None:
            save_mapped(folder / "poses.npz", known)
            files = {"poses": str(folder / "poses.npz"), "target": str(folder / "known")}
            tasks: list[dict[str, Any]] = [{**shared, **files, "exact": options.exact_poses}]
            found = run_shown("recon3d.sfm.solve:known_poses_task", tasks, tools, "refining known cameras")
            return _gathered(found, ["known"])
        tasks = [{**shared, "mapper": mapper, "target": str(folder / mapper)} for mapper in mappers]
        found = run_shown("recon3d.sfm.solve:solve_task", tasks, tools, "placing cameras")
        return _gathered(found, mappers)

    return tools.store.run(name, inputs, build)


def _fingerprint(known: Mapped) -> list[Any]:
    cameras = known.cameras
    distortion = None if cameras.distortion is None else cameras.distortion.tolist()
    return [known.photo.tolist(), cameras.cam_from_world.tolist(), cameras.K.tolist(), distortion]


def _gathered(found: Sequence[Outcome], folders: Sequence[str]) -> dict[str, Any]:
    """Return the descriptions of all models, and which mapper died; that only counts as one without a model."""
    if all(isinstance(result, TaskFailure) for result in found):
        _require(found, "mapping")
    described, lost = [], []
    for result, folder in zip(found, folders, strict=True):
        if isinstance(result, TaskFailure):
            _LOG.warning("%s mapping failed and is left out: %s", folder, result.reason)
            lost.append(f"{folder} mapping failed and did not check the model: {result.reason}")
        else:
            described += [{**model, "file": f"{folder}/{model['file']}"} for model in result["models"]]
    return {"models": described, "lost": lost}


def run_shown(function: str, tasks: Sequence[dict[str, Any]], tools: Tools, label: str) -> list[Outcome]:
    """Run worker tasks under one progress line."""
    with tools.progress.stage(label, len(tasks)) as shown:
        return run_tasks(function, tasks, tools.workers, lambda _: shown.advance())


def _require(results: Sequence[Outcome], what: str) -> None:
    failed = [result for result in results if isinstance(result, TaskFailure)]
    if failed:
        raise ResultError(f"{what} failed", got=failed[0].reason, fix="run `recon3d doctor`, then try again")
