"""From photos and found cameras to a scene: what became of every photo, duplicates included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.photos import Photo, PhotoSet
from recon3d.render.cameras import Cameras
from recon3d.report import PairSummary
from recon3d.scene import Points, Scene, Status, View
from recon3d.sfm.engine import CameraSearch
from recon3d.sfm.finish import Finished
from recon3d.sfm.types import Mapped, Pair

MIN_MATCHES = 15  # COLMAP's limit for a two-view geometry


def make_views(
    photos: PhotoSet,
    search: CameraSearch | None,
    searched: Sequence[Photo],
    trusted: bool,
    remarks: Mapping[int, str] | None = None,
) -> list[View]:
    """Return one view per input file, sorted by key.

    Args:
        photos: usable photos and rejected files.
        search: what the engine found; None when it was not run.
        searched: the photos that it was given.
        trusted: whether its model is written.
        remarks: what else to say of single photos, by index into ``searched``.
    """
    remarks = remarks or {}
    index = {photo.key: i for i, photo in enumerate(searched)}
    placed = _placed(search) if trusted and search is not None else set()
    views = [View(item.key, "skipped", item.reason, sha256=item.sha256) for item in photos.rejected]
    for photo in photos.photos:
        i = index[photo.duplicate_of or photo.key]
        group = search.group[i] if search is not None else -1
        registered = i in placed
        reason = _remark(photo) if registered else _why_not(photo, i, search, searched, trusted)
        reason = "; ".join(filter(None, (reason, remarks.get(i, ""))))
        model = 0 if registered else _other_model(i, search) if trusted else -1
        status: Status = "registered" if registered else "not_registered"
        size = photo.width, photo.height
        views.append(View(photo.key, status, reason, *size, photo.sha256, group, model, photo.time_s))
    return sorted(views, key=lambda view: view.key)


def _placed(search: CameraSearch) -> set[int]:
    chosen = search.verdict.chosen
    dropped = {drop.photo for drop in search.verdict.drop}
    return set() if chosen is None else set(chosen.photo.tolist()) - dropped


def _remark(photo: Photo) -> str:
    twin = f"duplicate of {photo.duplicate_of}, shares its pose" if photo.duplicate_of else ""
    return "; ".join(filter(None, (twin, photo.remark)))


def _why_not(photo: Photo, index: int, search: CameraSearch | None, searched: Sequence[Photo], trusted: bool) -> str:
    blurred = "; the photo is blurred" if photo.remark else ""
    if photo.duplicate_of:
        return f"duplicate of {photo.duplicate_of}, which has no pose{blurred}"
    if search is None or not trusted:
        return f"the capture was refused{blurred}"
    if index in search.failed:
        return f"no features could be found: {search.failed[index]}{blurred}"
    for drop in search.verdict.drop:
        if drop.photo == index:
            return drop.reason + blurred
    for k, members in enumerate(search.verdict.other_models):
        if index in members:
            return f"belongs to separate model {k + 1} of {len(members)} photos{blurred}"
    return _overlap(index, search.pairs, searched) + blurred


def _overlap(index: int, pairs: Sequence[Pair], searched: Sequence[Photo]) -> str:
    mine = [pair for pair in pairs if index in (pair.first, pair.second)]
    if not mine:
        return f"no overlap: no other photo has {MIN_MATCHES} matches with it that fit"
    best = max(mine, key=lambda pair: len(pair.matches))
    other = searched[best.second if best.first == index else best.first].key
    return f"too little overlap: at most {len(best.matches)} matches that fit, with {other}"


def _other_model(index: int, search: CameraSearch | None) -> int:
    if search is not None:
        for k, members in enumerate(search.verdict.other_models):
            if index in members:
                return k + 1
    return -1


def assemble(photos: PhotoSet, searched: Sequence[Photo], views: Sequence[View], done: Finished) -> Scene:
    """Return the scene of a finished model; duplicates get the camera of their twin.

    Args:
        photos: all usable photos.
        searched: those that the engine was given.
        views: of all input files.
        done: the finished model.
    """
    rows = {searched[photo].key: row for row, photo in enumerate(done.mapped.photo)}
    by_key = {photo.key: photo for photo in photos.photos}
    registered = [by_key[view.key] for view in views if view.status == "registered"]
    source = np.array([rows[photo.duplicate_of or photo.key] for photo in registered], np.int64)
    number = np.zeros(len(rows), np.int64)
    originals = [k for k, photo in enumerate(registered) if not photo.duplicate_of]
    number[source[originals]] = originals
    points = done.mapped.points
    return Scene(
        views=tuple(views),
        cameras=resized(done.mapped.cameras[source], registered),
        pinhole_cameras=resized(done.twins[source], registered),
        points=replace(points, obs_view=number[points.obs_view].astype(np.int32)),
        pose_sigma=done.pose_sigma[source],
        scale=done.scale,
        world_from_sfm=done.world_from_sfm,
    )


def resized(cameras: Cameras, photos: Sequence[Photo]) -> Cameras:
    """Return the cameras for photos that may be larger or smaller copies of those they were found for."""
    size = np.array([(photo.width, photo.height) for photo in photos], np.int64).reshape(-1, 2)
    return cameras.resized(size[:, 0], size[:, 1])


def summarize_pairs(search: CameraSearch, searched: Sequence[Photo]) -> list[PairSummary]:
    """Return what the report says of the pairs that were matched, those without a common geometry included."""
    angles = {} if search.verdict.chosen is None else pair_angles(search.verdict.chosen)
    verified = {(pair.first, pair.second): pair for pair in search.pairs}
    found = []
    for both in sorted({*search.tried, *verified}):
        pair, angle = verified.get(both), angles.get(both, float("nan"))
        counts = (0, 0) if pair is None else (pair.n_putative, len(pair.matches))
        found.append(PairSummary(searched[both[0]].key, searched[both[1]].key, *counts, angle))
    return found


def pair_angles(mapped: Mapped) -> Mapping[tuple[int, int], float]:
    """Return the median angle in degrees at which two photos see their common points, by pair of photo indices."""
    points, n = mapped.points, len(mapped.photo)
    rays = _unit_rays(mapped.cameras, points)
    seen = [np.flatnonzero(points.obs_view == view) for view in range(n)]
    angles = {}
    for a in range(n):
        for b in range(a + 1, n):
            _, at_a, at_b = np.intersect1d(points.obs_point[seen[a]], points.obs_point[seen[b]], return_indices=True)
            if len(at_a):
                chord = np.linalg.norm(rays[seen[a][at_a]] - rays[seen[b][at_b]], axis=1)
                angle = float(np.degrees(np.median(2.0 * np.arcsin(np.clip(chord / 2.0, 0.0, 1.0)))))
                angles[int(mapped.photo[a]), int(mapped.photo[b])] = angle
    return angles


def _unit_rays(cameras: Cameras, points: Points) -> Float64[np.ndarray, "o 3"]:
    view: Int64[np.ndarray, " o"] = points.obs_view.astype(np.int64)
    rays: Float64[np.ndarray, "o 3"] = points.xyz[points.obs_point] - cameras.centers[view]
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-300)
    return rays
