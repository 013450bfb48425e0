"""Refinement of a mapped model: intrinsics with priors, re-triangulation with the refined cameras, outlier removal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.bundle import Adjusted, Priors, Problem, adjust, make_problem, thinned, to_cameras
from recon3d.sfm.intrinsics import (
    Assumptions,
    choose_lens,
    drop_overruled_focals,
    find_crops,
    make_priors,
    unshared_groups,
)
from recon3d.sfm.mapping import mapper_options, to_mapped
from recon3d.sfm.types import Mapped

MIN_ANGLE_DEG = 1.5
MAX_SIGMAS = 4.0
ROUGH = (0.05, 0.02, 0.007)  # of the longer side of a photo: errors that cameras of a network may have


def retriangulate(
    mapped: Mapped,
    database: Path,
    n_photos: int,
    seed: int,
    min_angle_deg: float = MIN_ANGLE_DEG,
    max_error_px: float | None = None,
) -> Mapped:
    """Triangulate all matches anew with the cameras as they are.

    Args:
        mapped: the model; its points are replaced.
        database: the COLMAP database of the capture.
        n_photos: photos in the capture.
        seed: seed of the triangulation.
        min_angle_deg: smallest triangulation angle.
        max_error_px: largest reprojection error, for cameras that are only roughly right; None = COLMAP's limits.
    """
    import pycolmap

    model = _to_reconstruction(mapped, database)
    options = mapper_options(n_photos, seed, calibrated=True)
    options.triangulation.min_angle = options.mapper.filter_min_tri_angle = min_angle_deg
    if max_error_px is not None:
        _loosen(options, max_error_px, float(np.median(mapped.cameras.K[:, 0, 0])))
    done = pycolmap.triangulate_points(model, database, database.parent, database.parent, True, options, False)
    again = to_mapped(done, mapped.mapper)
    return replace(mapped, points=again.points)


def _loosen(options: Any, max_error_px: float, focal_px: float) -> None:
    """Let a triangulation accept larger errors."""
    angle = float(np.degrees(max_error_px / focal_px))
    for name in ("create_max_angle_error", "continue_max_angle_error", "re_max_angle_error"):
        setattr(options.triangulation, name, max(angle, getattr(options.triangulation, name)))
    options.triangulation.merge_max_reproj_error = options.triangulation.complete_max_reproj_error = max_error_px
    options.mapper.filter_max_reproj_error = max_error_px


def approach(mapped: Mapped, assumed: Assumptions, database: Path, n_photos: int, seed: int) -> Mapped:
    """Bring cameras that are only roughly right so near that :func:`refine` can start: wide limits, then narrower ones.

    Args:
        mapped: the cameras; points are replaced.
        assumed: what is known of its camera groups, in ascending order of their numbers.
        database: the COLMAP database of the capture.
        n_photos: photos in the capture.
        seed: seed of the triangulation.
    """
    side = float(np.median(assumed.long_side))
    for share in ROUGH:
        tried = retriangulate(mapped, database, n_photos, seed, max_error_px=share * side)
        if not len(tried.points):
            break
        mapped, _ = adjust_mapped(tried, make_priors(assumed), tolerance=1e-3)
    return mapped


def _to_reconstruction(mapped: Mapped, database: Path) -> Any:
    """Return a COLMAP model with all keypoints and no points."""
    import pycolmap

    model = pycolmap.Reconstruction()
    for index in np.unique(mapped.camera_group):
        row = int(np.argmax(mapped.camera_group == index))
        K, distortion = mapped.cameras.K[row], mapped.cameras.distortion
        extra = np.zeros(4) if distortion is None else distortion[row]
        camera = pycolmap.Camera(
            model="OPENCV",
            width=int(mapped.cameras.width[row]),
            height=int(mapped.cameras.height[row]),
            params=[K[0, 0], K[1, 1], K[0, 2], K[1, 2], *extra],
            camera_id=int(index) + 1,
        )
        model.add_camera_with_trivial_rig(camera)
    with pycolmap.Database.open(database) as store:
        for camera in model.cameras.values():
            store.update_camera(camera)
        for row, photo in enumerate(mapped.photo):
            keypoints = store.read_keypoints(int(photo) + 1)[:, :2].astype(np.float64)
            image = pycolmap.Image(f"{photo:06d}", keypoints, camera_id=int(mapped.camera_group[row]) + 1)
            image.image_id = int(photo) + 1
            model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(mapped.cameras.cam_from_world[row, :3]))
    return model


def adjust_mapped(
    mapped: Mapped, priors: Priors, tolerance: float = 1e-5, max_iterations: int = 12
) -> tuple[Mapped, Adjusted]:
    """Adjust a model; ``priors`` counts the groups that occur in it in ascending order."""
    result = adjust(_problem(mapped), priors, max_iterations, tolerance)
    return with_problem(mapped, result.problem), result


def with_problem(mapped: Mapped, problem: Problem) -> Mapped:
    """Return the model with the cameras and points of an adjusted problem."""
    points = replace(mapped.points, xyz=problem.xyz)
    return replace(mapped, cameras=to_cameras(problem, mapped.cameras), points=points)


def filter_observations(mapped: Mapped, adjusted: Adjusted, min_track: int = 2) -> Mapped:
    """Remove outlier observations, points behind a camera, and points with too few views or too small an angle."""
    length = np.linalg.norm(adjusted.residual, axis=1)
    depth = mapped.cameras.project(mapped.points.xyz[mapped.points.obs_point], mapped.points.obs_view.astype(np.int64))[
        1
    ]
    keep = (length < max(MAX_SIGMAS * adjusted.sigma_px, 1.0)) & (depth > 0)
    points = keep_observations(mapped.points, keep, min_track)
    angle = triangulation_angles(mapped.cameras, points)
    wide = angle >= np.radians(MIN_ANGLE_DEG)
    return replace(mapped, points=keep_observations(points, wide[points.obs_point], min_track))


def keep_observations(points: Points, keep: Bool[np.ndarray, " o"], min_track: int) -> Points:
    """Return the points that keep at least ``min_track`` observations, renumbered."""
    count = np.bincount(points.obs_point[keep], minlength=len(points))
    good = count >= min_track
    keep = keep & good[points.obs_point]
    number = np.cumsum(good) - 1
    return Points(
        xyz=points.xyz[good],
        rgb=points.rgb[good],
        error_px=points.error_px[good],
        sigma=points.sigma[good],
        obs_point=number[points.obs_point[keep]].astype(np.int32),
        obs_view=points.obs_view[keep],
        obs_xy=points.obs_xy[keep],
    )


def triangulation_angles(cameras: Cameras, points: Points) -> Float64[np.ndarray, " p"]:
    """Return the largest angle between two rays of each point (to the first ray's extremes), in radians.

    Exact for two views; for longer tracks the widest angle against the ray that is farthest from the mean ray, which is
    at least half of the true maximum and in practice equal to it.
    """
    rays = points.xyz[points.obs_point] - cameras.centers[points.obs_view]
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-300)
    n = len(points)
    mean = np.stack([np.bincount(points.obs_point, rays[:, k], minlength=n) for k in range(3)], 1)
    off = 1.0 - np.einsum("oi,oi->o", rays, mean[points.obs_point])
    order = np.lexsort((off, points.obs_point))
    last = np.flatnonzero(np.diff(points.obs_point[order], append=n))
    extreme = np.zeros((n, 3))
    extreme[points.obs_point[order][last]] = rays[order][last]
    chord = np.linalg.norm(rays - extreme[points.obs_point], axis=1)
    widest = np.zeros(n)
    np.maximum.at(widest, points.obs_point, chord)
    return 2.0 * np.arcsin(np.clip(widest / 2.0, 0.0, 1.0))


def with_errors(mapped: Mapped) -> Mapped:
    """Return the model with the mean reprojection error of each point."""
    points = mapped.points
    pixels, _ = mapped.cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    length = np.linalg.norm(pixels - points.obs_xy, axis=1)
    count = np.maximum(np.bincount(points.obs_point, minlength=len(points)), 1)
    error = np.bincount(points.obs_point, length, minlength=len(points)) / count
    return replace(mapped, points=replace(points, error_px=error))


@dataclass(frozen=True, eq=False)
class Refined:
    """A model after refinement, with what was learned of its cameras.

    Args:
        mapped: the model; its points carry their mean reprojection error.
        assumed: the assumptions that held in the end.
        adjusted: the last adjustment.
        notes: what the photos overruled, in plain words.
        gains: share of the robust cost that each further lens parameter saved.
        unshared: groups whose photos contradict the focal length that they share, ``[g]``.
    """

    mapped: Mapped
    assumed: Assumptions
    adjusted: Adjusted
    notes: tuple[str, ...]
    gains: dict[str, float]
    unshared: Bool[np.ndarray, " g"]


def refine(
    mapped: Mapped,
    assumed: Assumptions,
    principal_point: str,
    database: Path,
    n_photos: int,
    seed: int,
    known: bool = False,
) -> Refined:
    """Adjust with priors, find out what the photos overrule, triangulate anew and filter, until the model has settled.

    Args:
        mapped: the model of a mapper.
        assumed: what is known of its camera groups, in ascending order of their numbers.
        principal_point: ``auto``, ``fixed`` at the centre or ``free`` with a prior.
        database: the COLMAP database of the capture.
        n_photos: photos in the capture.
        seed: seed of the triangulation.
        known: the poses were given and have no points yet: triangulate before anything else.
    """
    notes: list[str] = []
    gains: dict[str, float] = {}
    if known:
        mapped = retriangulate(mapped, database, n_photos, seed)
    mapped, _ = adjust_mapped(mapped, make_priors(assumed), tolerance=1e-3)
    if assumed.calibration is None:
        assumed = _question(mapped, assumed, principal_point, notes)
    for last in (False, True):
        mapped, _ = adjust_mapped(mapped, make_priors(assumed), tolerance=1e-3)
        mapped = retriangulate(mapped, database, n_photos, seed)
        mapped, adjusted = adjust_mapped(mapped, make_priors(assumed), tolerance=1e-3)
        mapped = filter_observations(mapped, adjusted)
        if not last and assumed.calibration is None and principal_point == "auto":
            assumed, gains = choose_lens(_sample(mapped), assumed)
    mapped, adjusted = adjust_mapped(mapped, make_priors(assumed), tolerance=1e-6, max_iterations=40)
    apart = np.zeros(len(assumed.size), bool) if assumed.calibration is not None else unshared_groups(_sample(mapped))
    return Refined(with_errors(mapped), assumed, adjusted, tuple(notes), gains, apart)


def triangulated(mapped: Mapped, assumed: Assumptions, database: Path, n_photos: int, seed: int) -> Refined:
    """Give points to cameras that are exact, and change nothing of these.

    Args:
        mapped: the cameras; points are replaced.
        assumed: what is known of its camera groups, in ascending order of their numbers.
        database: the COLMAP database of the capture.
        n_photos: photos in the capture.
        seed: seed of the triangulation.
    """
    mapped = retriangulate(mapped, database, n_photos, seed)
    priors = make_priors(assumed)
    _, adjusted = adjust_mapped(mapped, priors, max_iterations=0)
    mapped = filter_observations(mapped, adjusted)
    _, adjusted = adjust_mapped(mapped, priors, max_iterations=0)
    return Refined(with_errors(mapped), assumed, adjusted, (), {}, np.zeros(len(assumed.size), bool))


def _question(mapped: Mapped, assumed: Assumptions, principal_point: str, notes: list[str]) -> Assumptions:
    """Ask the photos about EXIF focal lengths and about crops."""
    if principal_point != "fixed":
        assumed = replace(assumed, free_centre=principal_point == "free", cropped=find_crops(_sample(mapped), assumed))
    loosened = replace(assumed, focal_px=np.full_like(assumed.focal_px, np.nan))
    free = adjust(_sample(mapped), make_priors(loosened), tolerance=1e-3).problem
    kept = drop_overruled_focals(free, assumed)
    for g in np.flatnonzero(np.isfinite(assumed.focal_px) & ~np.isfinite(kept.focal_px)):
        found, stated = np.exp(free.intrinsics[g, 0]), assumed.focal_px[g]
        notes.append(f"EXIF states a focal length of {stated:.0f} px, the photos say {found:.0f} px: EXIF was ignored.")
    return kept


def _sample(mapped: Mapped) -> Problem:
    """Return enough of a model to decide on its lenses."""
    return thinned(_problem(mapped))


def _problem(mapped: Mapped) -> Problem:
    _, group = np.unique(mapped.camera_group, return_inverse=True)
    return make_problem(mapped.cameras, group, mapped.points)
