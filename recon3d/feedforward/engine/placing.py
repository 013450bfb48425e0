"""Photos that the classical engine could not place: a network predicts their cameras, feature matches confirm them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.errors import Recon3DError
from recon3d.core.seeds import derive
from recon3d.feedforward.engine.photographs import VIEWS, Means, estimate_stage
from recon3d.feedforward.engine.resection import Matched, Resected, confirm, matches_with_points
from recon3d.feedforward.engine.search import photo_cameras
from recon3d.feedforward.engine.stored import load_views
from recon3d.photos import Photo
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.engine import CameraSearch, Tools
from recon3d.sfm.mapping import load_mapped, save_mapped
from recon3d.sfm.matching import match_descriptors
from recon3d.sfm.refine import with_errors
from recon3d.sfm.solve import similarity
from recon3d.sfm.types import Mapped

MAX_ASKED = 24
_N_NEIGHBOURS = 5
_MIN_NEIGHBOURS = 2
_N_FEATURES = 1500  # the largest ones tell how similar photos are
_MAX_CANDIDATES = 40
_MAX_TURN_DEG = 15.0  # between the network's and the placed neighbours


@dataclass(frozen=True, eq=False)
class Placing:
    """What became of the photos that were left.

    Args:
        search: the cameras, with those that were confirmed.
        remarks: what to say of each photo that was asked for, by index.
        notes: what the user should know, in plain words.
        metrics: numbers, JSON-ready.
    """

    search: CameraSearch
    remarks: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


def place_left(photos: Sequence[Photo], search: CameraSearch, means: Means, tools: Tools, seed: int) -> Placing:
    """Ask a network for the photos that have no camera, and accept what feature matches confirm.

    The cameras that there are stay where they are. Where nothing is left, or no model is trusted, nothing is done.

    Args:
        photos: those that the classical engine was given.
        search: what it found.
        means: which network, and what it may use.
        tools: stages and progress.
        seed: of the random samples.
    """
    chosen, model = search.verdict.chosen, search.model
    if chosen is None or model is None or not search.verdict.trusted:
        return Placing(search)
    left = [i for i in range(len(photos)) if i not in set(chosen.photo.tolist()) and i not in search.failed]
    if not left:
        return Placing(search)
    mapped = load_mapped(model)
    try:
        answers = [_asked(photo, photos, search, mapped, means, tools, seed) for photo in left[:MAX_ASKED]]
    except Recon3DError as error:  # a run that needs no network must not die of it
        return Placing(search, notes=(f"the network could not be asked for photos without a camera: {error}",))
    found = [answer for answer in answers if answer.resected.pose is not None]
    remarks = {answer.photo: f"the network was asked: {answer.resected.reason}" for answer in answers}
    metrics = {"asked": len(answers), "confirmed": len(found), "left": len(left) - len(found)}
    extended = _extended(search, mapped, found, tools, means) if found else search
    more = len(left) - len(answers)
    notes = (f"the network was asked for {MAX_ASKED} photos without a camera, not for {more} more",) if more else ()
    return Placing(extended, remarks, notes, metrics)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What was found for one photo; lens and matches only where it came to a resection."""

    photo: int
    resected: Resected
    lens: Cameras
    matched: Matched


def _asked(
    photo: int,
    photos: Sequence[Photo],
    search: CameraSearch,
    mapped: Mapped,
    means: Means,
    tools: Tools,
    seed: int,
) -> _Answer:
    """Ask for one photo together with placed ones that look like it."""
    dropped = [drop.photo for drop in search.verdict.drop]
    rows = [row for row in _similar(photo, search.features, mapped) if mapped.photo[row] not in dropped]

    def no(reason: str) -> _Answer:
        none = Matched(np.zeros((0, 2)), np.zeros(0, np.int64))
        return _Answer(photo, Resected(None, np.zeros(0, np.bool_), reason), mapped.cameras[:1], none)

    if len(rows) < _MIN_NEIGHBOURS:
        return no("no placed photo looks like it")
    together = [photo, *(int(mapped.photo[row]) for row in rows)]
    said = estimate_stage([photos[i] for i in together], means, tools, f"network-{photo:06d}")
    views = load_views(said.folder / VIEWS)
    cameras = photo_cameras(views, [photos[i] for i in together], np.arange(len(together)))
    model_from_network = similarity(cameras[1:], mapped.cameras[np.array(rows)])
    moved = cameras.transformed(model_from_network)
    turn = _turn_deg(moved[1:], mapped.cameras[np.array(rows)])
    if turn > _MAX_TURN_DEG:
        return no(f"it turns the placed photos around it by {turn:.0f} degrees")
    lens = _lens(photo, search, mapped, moved[:1])
    matched = matches_with_points(search.features, photo, mapped, rows)
    answer = confirm(matched, mapped, lens, moved.cam_from_world[0], derive(seed, "resection", str(photo)))
    return _Answer(photo, answer, lens, matched)


def _similar(photo: int, features: Sequence[str], mapped: Mapped) -> list[int]:
    """Return rows of the model whose photos share most features with a photo, best first."""
    mine = _descriptors(features[photo])
    rows = np.unique(np.linspace(0, len(mapped.photo) - 1, _MAX_CANDIDATES).astype(np.int64)).tolist()
    counts = {row: len(match_descriptors(mine, _descriptors(features[int(mapped.photo[row])]))) for row in rows}
    best = sorted(rows, key=lambda row: (-counts[row], row))[:_N_NEIGHBOURS]
    return [row for row in best if counts[row] > 0]


def _descriptors(path: str) -> Any:
    with np.load(path, allow_pickle=False) as data:
        return data["descriptors"][:_N_FEATURES]


def _turn_deg(one: Cameras, other: Cameras) -> float:
    """Return the median angle between the orientations of two sets of cameras."""
    relative = one.cam_from_world[:, :3, :3] @ other.cam_from_world[:, :3, :3].transpose(0, 2, 1)
    cosine = (np.trace(relative, axis1=1, axis2=2) - 1) / 2
    return float(np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))))


def _lens(photo: int, search: CameraSearch, mapped: Mapped, predicted: Cameras) -> Cameras:
    """Return the lens of the photo's group where the model knows it, else the predicted one."""
    same = np.flatnonzero(mapped.camera_group == search.group[photo])
    return mapped.cameras[same[:1]] if len(same) else predicted


def _extended(
    search: CameraSearch, mapped: Mapped, found: Sequence[_Answer], tools: Tools, means: Means
) -> CameraSearch:
    """Return the search with more cameras, in a model of its own."""

    def build(folder: Path) -> dict[str, Any]:
        joined = mapped
        for one in found:
            joined = with_camera(joined, one.photo, search.group[one.photo], one.lens, one.matched, one.resected)
        save_mapped(folder / "model.npz", with_errors(joined))
        return {}

    poses = [[one.photo, [] if one.resected.pose is None else one.resected.pose.tolist()] for one in found]
    inputs = {"model": search.key, "weights": means.weights.key(), "poses": poses}
    stage = tools.store.run("network_placed", inputs, build)
    joined = load_mapped(stage.folder / "model.npz")
    placed = {one.photo for one in found}
    others = [tuple(i for i in model if i not in placed) for model in search.verdict.other_models]
    return replace(
        search,
        verdict=replace(search.verdict, chosen=joined, other_models=tuple(filter(None, others))),
        model=stage.folder / "model.npz",
        description=_with_groups(search.description, joined),
        key=stage.key,
        seconds={**search.seconds, stage.folder.name: stage.seconds},
    )


def _with_groups(description: Mapping[str, Any], mapped: Mapped) -> dict[str, Any]:
    """Return the description of a model that knows the lenses of all its photos."""
    new = [group for group in np.unique(mapped.camera_group).tolist() if group not in description["groups"]]
    focal = [*description["exif_focal_px"], *([None] * len(new))]
    return {**description, "groups": [*description["groups"], *new], "exif_focal_px": focal}


def with_camera(mapped: Mapped, photo: int, group: int, lens: Cameras, matched: Matched, answer: Resected) -> Mapped:
    """Return a model with one more camera, which sees the points of its matches that agree.

    Args:
        mapped: the model.
        photo: index of the photo.
        group: of its camera.
        lens: one camera with its intrinsics.
        matched: its matches.
        answer: its pose.
    """
    pose = np.eye(4) if answer.pose is None else answer.pose
    cameras, row = mapped.cameras, int(np.searchsorted(mapped.photo, photo))
    distortion = None
    if cameras.distortion is not None:
        own = np.zeros(4) if lens.distortion is None else lens.distortion[0]
        distortion = np.insert(cameras.distortion, row, own, axis=0)
    joined = Cameras(
        np.insert(cameras.cam_from_world, row, pose, axis=0),
        np.insert(cameras.K, row, lens.K[0], axis=0),
        np.insert(cameras.width, row, lens.width[0]),
        np.insert(cameras.height, row, lens.height[0]),
        distortion,
    )
    points = _with_observations(mapped.points, row, matched.point[answer.inliers], matched.xy[answer.inliers])
    photos, groups = np.insert(mapped.photo, row, photo), np.insert(mapped.camera_group, row, group)
    return Mapped(mapped.mapper, photos, joined, groups, points)


def _with_observations(
    points: Points, row: int, seen: Int64[np.ndarray, " m"], xy: Float64[np.ndarray, "m 2"]
) -> Points:
    """Return the points with the observations of a camera that is inserted at ``row``, one for each point."""
    _, first = np.unique(seen, return_index=True)
    view = points.obs_view + (points.obs_view >= row)
    point = np.concatenate([points.obs_point, seen[first].astype(np.int32)])
    view = np.concatenate([view, np.full(len(first), row)]).astype(np.int32)
    order = np.lexsort((view, point))
    at = np.concatenate([points.obs_xy, xy[first]])[order]
    return replace(points, obs_point=point[order], obs_view=view[order], obs_xy=at)
