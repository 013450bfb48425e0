"""The scores of Lite3R's own evaluation, to compare with its numbers; recon3d.evaluation has stricter ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from recon3d.core.errors import InputError


class DepthScores(NamedTuple):
    """Errors of depth after one least-squares scale for all pixels.

    Args:
        abs_rel: mean of |z - z_true| / z_true.
        rmse: in the unit of the truth.
        delta: shares of pixels whose ratio to the truth is below 1.25, 1.25^2 and 1.25^3.
    """

    abs_rel: float
    rmse: float
    delta: tuple[float, float, float]


def depth_scores(
    depth_z: Float[np.ndarray, "*n"], truth_z: Float[np.ndarray, "*n"], valid: Bool[np.ndarray, "*n"]
) -> DepthScores:
    """Compare depth maps of one sample.

    Args:
        depth_z: estimate in any unit.
        truth_z: truth.
        valid: pixels that count; at least one.

    Raises:
        InputError: no pixel counts, or the estimate is zero in all that do.
    """
    if not (valid.any() and depth_z[valid].any()):
        raise InputError("there is no depth to compare", got=f"{int(valid.sum())} pixels that count", expected="some")
    z, t = depth_z[valid].astype(np.float64), truth_z[valid].astype(np.float64)
    z = z * ((z @ t) / (z @ z))
    ratio = np.maximum(z / t, t / z)
    near = [float(np.mean(ratio < 1.25**k)) for k in (1, 2, 3)]
    rmse = float(np.sqrt(np.mean((z - t) ** 2)))
    return DepthScores(float(np.mean(np.abs(z - t) / t)), rmse, (near[0], near[1], near[2]))


class PoseScores(NamedTuple):
    """Mean errors of camera poses.

    Args:
        rotation_deg: angle between the rotations.
        translation: distance of the translations after one least-squares scale for all, in the unit of the truth.
    """

    rotation_deg: float
    translation: float


def pose_scores(cam_from_world: Float[np.ndarray, "*n 3 4"], truth: Float[np.ndarray, "*n 3 4"]) -> PoseScores:
    """Compare poses as they are given: both should be relative to the same camera.

    The public code lets the first camera count, whose error is zero by construction; leave it out for a fair number.

    Args:
        cam_from_world: estimated rotations and translations.
        truth: true ones.
    """
    a, b = (poses.reshape(-1, 3, 4).astype(np.float64) for poses in (cam_from_world, truth))
    cosines = (np.einsum("nij,nij->n", a[:, :, :3], b[:, :, :3]) - 1.0) / 2.0
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    t, u = a[:, :, 3], b[:, :, 3]
    scale = (t * u).sum() / max(float((t * t).sum()), 1e-12)
    return PoseScores(float(angles.mean()), float(np.linalg.norm(scale * t - u, axis=-1).mean()))


class GeometryScores(NamedTuple):
    """Agreement of two point sets.

    Args:
        chamfer: mean of the two mean squared distances to the nearest point of the other set.
        f_score: harmonic mean of the shares of points with a point of the other set within the threshold.
    """

    chamfer: float
    f_score: float


def geometry_scores(
    points: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "m 3"], threshold: float = 0.05
) -> GeometryScores:
    """Compare points in one frame and one scale.

    Args:
        points: estimate.
        truth: true surface points.
        threshold: of the F-score, in the unit of the points.

    Raises:
        InputError: one set is empty.
    """
    if 0 in (len(points), len(truth)):
        raise InputError(
            "there are no points to compare", got=f"{len(points)} and {len(truth)}", expected="some of each"
        )
    there, back = KDTree(truth).query(points)[0], KDTree(points).query(truth)[0]
    precision, recall = float(np.mean(there < threshold)), float(np.mean(back < threshold))
    f_score = 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0
    return GeometryScores(float(np.mean(there**2) + np.mean(back**2)) / 2.0, f_score)
