"""Camera poses and intrinsics against the truth: one call, one result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.evaluation.alignment import MIN_PHOTOS, Stats, absolute_errors, align, scene_scale
from recon3d.evaluation.estimate import Estimate
from recon3d.evaluation.relative import auc, auc_binned, pair_errors, share_below
from recon3d.evaluation.truth import Truth
from recon3d.render.cameras import Cameras

THRESHOLDS_DEG = (3, 5, 10, 30)
ACCURACY_DEG = 5.0


@dataclass(frozen=True)
class AbsoluteErrors:
    """Errors after the similarity alignment.

    Args:
        alignment_scale: true length of one unit of the estimate.
        rotation_from: what gave the rotation of the alignment, ``centres`` or ``orientations``.
        center_percent: camera centre errors in per cent of the scene scale; None where all true centres coincide.
        ate: root mean square centre error in the unit of the truth.
        rotation_deg: rotation errors in degrees.
    """

    alignment_scale: float
    rotation_from: str
    center_percent: Stats | None
    ate: float
    rotation_deg: Stats


@dataclass(frozen=True)
class IntrinsicErrors:
    """Errors of focal length and principal point over the registered photos.

    Args:
        focal_percent: median of (estimate / truth - 1), per cent, signed; focal = mean of fx and fy.
        principal_point_px: median distance of the principal points in pixels of the photo.
        principal_point_max_px: largest of these distances.
    """

    focal_percent: float
    principal_point_px: float
    principal_point_max_px: float


@dataclass(frozen=True)
class CameraErrors:
    """How well a model's cameras agree with the truth.

    Args:
        name: name of the photo set.
        subset: name of the subset, empty for the whole set.
        unit: unit of the truth's world.
        scene_scale: S, in that unit.
        n_photos: photos of the scene, outliers apart.
        n_registered: how many of them have a pose.
        unregistered: names of the others.
        outliers_registered: photos of another scene that were registered, an error each.
        unknown: registered keys that the truth does not list.
        expected_refusal: the right answer would have been a refusal.
        auc: exact AUC by threshold in degrees, per cent.
        auc_binned: AUC with 1-degree bins, as other papers publish it.
        rra_5: share of pairs with a rotation error below 5 degrees, per cent.
        rta_5: share of pairs with a translation direction error below 5 degrees, per cent.
        absolute: errors after alignment; None with fewer than three registered photos.
        intrinsics: None without a registered photo.
    """

    name: str
    subset: str
    unit: str
    scene_scale: float
    n_photos: int
    n_registered: int
    unregistered: tuple[str, ...]
    outliers_registered: tuple[str, ...]
    unknown: tuple[str, ...]
    expected_refusal: bool
    auc: Mapping[int, float]
    auc_binned: Mapping[int, float]
    rra_5: float
    rta_5: float
    absolute: AbsoluteErrors | None
    intrinsics: IntrinsicErrors | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; undefined numbers become None."""
        value = asdict(self)
        for name in ("auc", "auc_binned"):
            value[name] = {str(threshold): area for threshold, area in value[name].items()}
        return {key: _jsonable(item) for key, item in value.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate_cameras(truth: Truth, estimate: Estimate) -> CameraErrors:
    """Compare estimated cameras with the truth.

    Args:
        truth: the true cameras of a set or subset.
        estimate: the cameras of one model, in any gauge (position, rotation and scale of the world are free).

    Returns:
        All numbers; unregistered photos count as 180 degrees in every pair.
    """
    row_of = estimate.rows(truth)
    registered = np.array([name in row_of for name in truth.names], dtype=bool)
    rows = np.array([row_of[name] for name in truth.names if name in row_of], dtype=np.int64)
    poses_true, size = truth.cameras.cam_from_world, scene_scale(truth.cameras.cam_from_world)
    poses = _spread(estimate.cameras.cam_from_world, rows, registered)
    e_rotation, e_translation = pair_errors(poses_true, poses, registered, size)
    e_pair = np.maximum(e_rotation, e_translation)
    used = set(row_of.values())
    return CameraErrors(
        name=truth.name,
        subset=truth.subset,
        unit=truth.unit,
        scene_scale=size,
        n_photos=len(truth.names),
        n_registered=int(registered.sum()),
        unregistered=tuple(name for name in truth.names if name not in row_of),
        outliers_registered=tuple(name for name in truth.outliers if name in row_of),
        unknown=tuple(key for row, key in enumerate(estimate.keys) if row not in used),
        expected_refusal=truth.expect_refusal,
        auc={t: auc(e_pair, t) for t in THRESHOLDS_DEG},
        auc_binned={t: auc_binned(e_pair, t) for t in THRESHOLDS_DEG},
        rra_5=share_below(e_rotation, ACCURACY_DEG),
        rta_5=share_below(e_translation, ACCURACY_DEG),
        absolute=_absolute(poses_true[registered], estimate.cameras.cam_from_world[rows], size),
        intrinsics=_intrinsics(truth.cameras[registered], estimate.cameras[rows]),
    )


def _spread(
    poses: Float64[np.ndarray, "m 4 4"], rows: Int64[np.ndarray, " k"], registered: Bool[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 4 4"]:
    spread = np.tile(np.eye(4), (len(registered), 1, 1))
    spread[registered] = poses[rows]
    return spread


def _absolute(
    truth: Float64[np.ndarray, "n 4 4"], estimate: Float64[np.ndarray, "n 4 4"], size: float
) -> AbsoluteErrors | None:
    if len(truth) < MIN_PHOTOS:
        return None
    alignment = align(truth, estimate)
    center, rotation = absolute_errors(truth, estimate, alignment)
    return AbsoluteErrors(
        alignment_scale=alignment.scale,
        rotation_from=alignment.rotation_from,
        center_percent=Stats.of(100.0 * center / size) if size > 0 else None,
        ate=Stats.of(center).rmse,
        rotation_deg=Stats.of(rotation),
    )


def _intrinsics(truth: Cameras, estimate: Cameras) -> IntrinsicErrors | None:
    if len(truth) == 0:
        return None
    rescale = np.stack([truth.width / estimate.width, truth.height / estimate.height], -1)
    focal_true, focal = truth.K[:, (0, 1), (0, 1)].mean(-1), (estimate.K[:, (0, 1), (0, 1)] * rescale).mean(-1)
    shift = np.linalg.norm(estimate.K[:, :2, 2] * rescale - truth.K[:, :2, 2], axis=1)
    return IntrinsicErrors(
        focal_percent=float(100.0 * np.median(focal / focal_true - 1.0)),
        principal_point_px=float(np.median(shift)),
        principal_point_max_px=float(shift.max()),
    )
