"""Cameras of a capture from a network alone: predicted, judged by the photos' matches, and refined where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.stages import StageResult
from recon3d.core.workers import TaskFailure
from recon3d.feedforward.engine.depth import NetworkDepth
from recon3d.feedforward.engine.judgement import Judgement, judge
from recon3d.feedforward.engine.photographs import VIEWS, Means, Photographs, estimate_stage
from recon3d.feedforward.engine.stored import load_views
from recon3d.feedforward.engine.surface import depth_difference, surface_points
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.sfm.engine import CameraSearch, Tools, match_photos, run_shown, tried_pairs
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.matching import load_pairs
from recon3d.sfm.options import SfmOptions, parse_calibration
from recon3d.sfm.solve import Capture, no_points
from recon3d.sfm.types import Mapped
from recon3d.sfm.verify import verify
from recon3d.sfm.verify_options import Drop, Verdict

MAX_DIFFERENCE = 0.1  # of the depth, between overlapping photos
MIN_FEATURES = 15  # in some photo: fewer are no picture of anything
_COLOUR_SIZE = 640
UNLINKED = "nothing links its group of photos to the others"
ONE_PHOTO = "one photo only: its depth is the network's alone, and nothing checks it"


@dataclass(frozen=True, eq=False)
class NetworkSearch:
    """What a network found.

    Args:
        search: the cameras with their verdict, as the classical engine gives them.
        depth: the network's depth maps.
        refined: the cameras were adjusted to the photos' features and verified, as those of the classical engine are.
        checks: what the result falls short in.
        notes: what the user should know, in plain words.
        metrics: numbers, JSON-ready.
    """

    search: CameraSearch
    depth: NetworkDepth
    refined: bool
    checks: tuple[str, ...]
    notes: tuple[str, ...]
    metrics: Mapping[str, Any]


def find_network_cameras(
    photos: Sequence[Photo], means: Means, options: SfmOptions, tools: Tools, *, refine: bool = False
) -> NetworkSearch:
    """Let a network place all photos of a capture, and say how far their features confirm it.

    Args:
        photos: the photos, without duplicates, sorted by key; one is enough.
        means: which network, and what it may use.
        options: how features are found and matched, and what is known of the lenses.
        tools: stages, workers, progress.
        refine: adjust the cameras to the features; the result is taken where it is verified and fits better.

    Raises:
        ResourceError: the memory does not suffice.
        ResultError: the network's answer is not finite.
        DependencyError: the weights are missing.
    """
    said = estimate_stage(photos, means, tools)
    capture, features, matches = match_photos(photos, options, tools)
    pairs = load_pairs(Path(capture.pairs))
    stage = _cameras_stage(photos, said, capture, matches, tools)
    mapped, value = load_mapped(stage.folder / "model.npz"), stage.value
    judged = judge(mapped, pairs)
    refused = _refused(judged, value, capture, len(photos))
    warnings = (ONE_PHOTO,) if len(photos) == 1 else (judged.text,)
    numbers = {"model": means.weights.model, "attention": said.value["attention"], "size": said.value["size"]}
    numbers |= {"grade": judged.grade, **judged.numbers}
    numbers |= {name: value[name] for name in ("depth_difference", "coverage", "sigma_source")}
    drop = judged.drop + tuple(Drop(i, UNLINKED) for i in said.value["unlinked"])
    verdict = Verdict(mapped, not refused, refused, () if refused else warnings, drop, (), {"candidates": []})
    search = CameraSearch(
        verdict=verdict,
        model=stage.folder / "model.npz",
        description=_description(value, said),
        features=capture.features,
        pairs=tuple(pairs),
        tried=tried_pairs(matches),
        failed={int(i): str(reason) for i, reason in features.value["failed"]},
        lost=(),
        group=capture.group,
        key=stage.key,
        seconds={each.folder.name: each.seconds for each in (said, features, matches, stage)},
        rich=False,
    )
    depth = NetworkDepth(said.folder / VIEWS, said.key, tuple(photo.key for photo in photos))
    found = NetworkSearch(search, depth, False, _checks(judged, value, len(photos)), (), numbers)
    return _refined(found, capture, stage, tools, judged) if refine and len(photos) > 1 else found


def _description(value: Mapping[str, Any], said: StageResult) -> dict[str, Any]:
    """Return what the stages that follow ask of the description of a model."""
    return {"notes": list(said.value["notes"]), "cropped_groups": [], "metric": value["metric"]}


def _cameras_stage(
    photos: Sequence[Photo], said: StageResult, capture: Capture, matches: StageResult, tools: Tools
) -> StageResult:
    """Turn the network's answer into a model in the pixels of the photos, with points of the surface."""

    def build(folder: Path) -> dict[str, Any]:
        views = load_views(said.folder / VIEWS)
        cameras = photo_cameras(views, photos, np.array(capture.group, np.int64), capture.calibration)
        views = with_intrinsics(views, cameras)
        points = surface_points(views, cameras, Photographs(photos, _COLOUR_SIZE, tools.max_pixels))
        mapped = Mapped("network", np.arange(len(photos)), cameras, np.array(capture.group, np.int64), points)
        save_mapped(folder / "model.npz", mapped)
        difference = depth_difference(views)
        return {
            "depth_difference": round(difference, 5) if np.isfinite(difference) else None,
            "coverage": round(float(views.valid.mean()), 4),
            "sigma_source": views.sigma_source,
            "metric": views.metric,
            "n_points": len(points),
        }

    inputs = {"network": said.key, "group": list(capture.group), "calibration": capture.calibration}
    return tools.store.run("network_cameras", {**inputs, "matches": matches.key}, build)


def photo_cameras(
    views: ViewEstimates, photos: Sequence[Photo], group: Int64[np.ndarray, " n"], calibration: str | None = None
) -> Cameras:
    """Return cameras in the pixels of the photos; those of a group share one lens, the median of their predictions.

    Args:
        views: what the network said.
        photos: of its views.
        group: number of each photo's camera; a group has one size of photos.
        calibration: known intrinsics as text.
    """
    K = np.stack([place.to_photo(one) for place, one in zip(views.placements, views.K, strict=True)])
    focal = np.sqrt(K[:, 0, 0] * K[:, 1, 1])  # pixels are square
    size = np.array([(photo.width, photo.height) for photo in photos], np.int64).reshape(-1, 2)
    shared = np.tile(np.eye(3), (len(K), 1, 1))
    shared[:, :2, 2] = size / 2.0
    for number in np.unique(group):
        shared[group == number, 0, 0] = shared[group == number, 1, 1] = np.median(focal[group == number])
    distortion = None
    if calibration is not None:
        fx, fy, cx, cy, *rest = parse_calibration(calibration)
        shared[:] = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
        distortion = np.tile(np.array(rest), (len(K), 1))
    return Cameras(views.cam_from_world, shared, size[:, 0], size[:, 1], distortion)


def with_intrinsics(views: ViewEstimates, cameras: Cameras) -> ViewEstimates:
    """Return the estimates with the lenses of cameras of the photos."""
    K: Float64[np.ndarray, "s 3 3"] = np.stack(
        [place.to_network(one) for place, one in zip(views.placements, cameras.K, strict=True)]
    )
    return replace(views, K=K)


def _refused(judged: Judgement, value: Mapping[str, Any], capture: Capture, n_photos: int) -> tuple[str, ...]:
    """Return why a prediction cannot be trusted at all."""
    if value["coverage"] == 0 or value["n_points"] == 0:
        return ("the network sees no surface on which its own views of the photos agree",)
    if n_photos > 1 and judged.grade == "contradicted":
        return (judged.text,)
    counts = []
    for path in capture.features:
        with np.load(path, allow_pickle=False) as data:
            counts.append(len(data["xy"]))
    if max(counts) < MIN_FEATURES:
        return (f"the photos show nothing that a camera could be found from (at most {max(counts)} features)",)
    return ()


def _checks(judged: Judgement, value: Mapping[str, Any], n_photos: int) -> tuple[str, ...]:
    """Return what a prediction falls short in."""
    if n_photos == 1:
        return ()
    share = f"{100 * judged.numbers.get('good_share', 0.0):.0f} % of the feature matches agree closely"
    found = [] if judged.grade == "good" else [f"the network's cameras are {judged.grade}: {share}"]
    difference = value["depth_difference"]
    if difference is None or difference > MAX_DIFFERENCE:
        said = "do not overlap" if difference is None else f"differ by {100 * difference:.0f} % (median)"
        found.append(f"the network's depth maps of neighbouring photos {said}")
    return tuple(found)


def _refined(
    found: NetworkSearch, capture: Capture, stage: StageResult, tools: Tools, before: Judgement
) -> NetworkSearch:
    """Adjust the cameras to the features, and return them where that is better and verified, else what there was."""

    def build(folder: Path) -> dict[str, Any]:
        mapped = load_mapped(stage.folder / "model.npz")
        save_mapped(folder / "poses.npz", replace(mapped, points=no_points()))
        files = {"poses": str(folder / "poses.npz"), "target": str(folder / "refined")}
        task = {"capture": asdict(capture), **files, "rough": True}
        (result,) = run_shown("recon3d.sfm.solve:known_poses_task", [task], tools, "refining the network's cameras")
        if isinstance(result, TaskFailure):
            return {"failed": result.reason}
        return dict(result["models"][0])

    done = tools.store.run("network_refined", {"cameras": stage.key, "capture": capture.seed}, build)
    seconds = {**found.search.seconds, "network_refined": done.seconds}
    if "failed" in done.value:
        return _kept(found, f"it failed: {done.value['failed']}", seconds)
    model = done.folder / "refined" / done.value["file"]
    mapped, pairs = load_mapped(model), found.search.pairs
    known = capture.calibration is not None
    verdict = verify([mapped], pairs, len(capture.features), None, capture.focal_px(), known, posed=True)
    after = judge(mapped, pairs)
    why_not = _why_not(verdict, before, after)
    if why_not:
        return _kept(found, why_not, seconds)
    error = mapped.points.mean_error_px
    note = f"the network's cameras were refined by the photos' features, to {error:.2f} px"
    described = {**done.value, "metric": found.search.description["metric"]}
    metrics = {**found.metrics, "refined": {**after.numbers, "reprojection_px": round(error, 4)}}
    verdict = replace(verdict, warnings=(*verdict.warnings, note))
    search = replace(found.search, verdict=verdict, model=model, description=described, key=done.key, seconds=seconds)
    return replace(found, search=search, refined=True, checks=(), metrics=metrics)


def _why_not(verdict: Verdict, before: Judgement, after: Judgement) -> str:
    """Return why refined cameras are not taken; empty where they are."""
    if not verdict.trusted:
        return "the refined cameras fail the verification: " + "; ".join(verdict.refused_because)
    measured = "epipolar_px" in before.numbers and "epipolar_px" in after.numbers
    if not measured or after.numbers["epipolar_px"] >= before.numbers["epipolar_px"]:
        return "the refined cameras do not fit the photos' matches better"
    return ""


def _kept(found: NetworkSearch, reason: str, seconds: Mapping[str, float]) -> NetworkSearch:
    """Return what there was before a refinement, with the reason."""
    note, verdict = f"the network's cameras could not be refined: {reason}", found.search.verdict
    if verdict.trusted:
        verdict = replace(verdict, warnings=(*verdict.warnings, note))
    else:
        verdict = replace(verdict, refused_because=(*verdict.refused_because, note))
    return replace(found, search=replace(found.search, verdict=verdict, seconds=seconds))
