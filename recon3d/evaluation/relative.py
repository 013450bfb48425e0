"""Errors of relative poses: every pair of photos, no alignment needed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64

WORST_DEG = 180.0
_NO_BASELINE = 1e-3
_COLLAPSED = 1e-12


def rotation_angles_deg(
    first: Float64[np.ndarray, "n 3 3"], second: Float64[np.ndarray, "n 3 3"]
) -> Float64[np.ndarray, " n"]:
    """Angles between rotations in degrees, exact near zero where the arccos of the trace is not.

    Args:
        first: rotation matrices, ``[n,3,3]``.
        second: rotation matrices, ``[n,3,3]``.
    """
    chord = np.linalg.norm(first - second, axis=(1, 2)) / (2.0 * np.sqrt(2.0))
    angles: Float64[np.ndarray, " n"] = np.degrees(2.0 * np.arcsin(np.minimum(1.0, chord)))
    return angles


def pair_errors(
    truth: Float64[np.ndarray, "n 4 4"],
    estimate: Float64[np.ndarray, "n 4 4"],
    registered: Bool[np.ndarray, " n"],
    scene_scale: float,
) -> tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
    """Rotation and signed translation-direction errors of all pairs i < j, in degrees.

    Args:
        truth: true ``cam_from_world``, ``[n,4,4]``.
        estimate: estimated ``cam_from_world``, ``[n,4,4]``; rows of unregistered photos are ignored.
        registered: which photos have an estimate, ``[n]``.
        scene_scale: S of the truth in its unit: pairs closer than a thousandth of it have no direction.

    Returns:
        Both errors per pair, 180 for pairs with an unregistered photo.
    """
    i, j = np.triu_indices(len(truth), k=1)
    rotation_true, translation_true = _relative(truth, i, j)
    rotation_est, translation_est = _relative(estimate, i, j)
    e_rotation = rotation_angles_deg(rotation_true, rotation_est)
    e_translation = _direction_errors_deg(translation_true, translation_est)
    e_translation[np.linalg.norm(translation_est, axis=1) < _COLLAPSED] = WORST_DEG
    e_translation[np.linalg.norm(translation_true, axis=1) <= _NO_BASELINE * scene_scale] = 0.0
    missing = ~(registered[i] & registered[j])
    e_rotation[missing] = e_translation[missing] = WORST_DEG
    return e_rotation, e_translation


def _relative(
    poses: Float64[np.ndarray, "n 4 4"], i: Int64[np.ndarray, " pairs"], j: Int64[np.ndarray, " pairs"]
) -> tuple[Float64[np.ndarray, "pairs 3 3"], Float64[np.ndarray, "pairs 3"]]:
    rotation, translation = poses[:, :3, :3], poses[:, :3, 3]
    relative = rotation[j] @ rotation[i].transpose(0, 2, 1)
    return relative, translation[j] - np.einsum("pij,pj->pi", relative, translation[i])


def _direction_errors_deg(
    truth: Float64[np.ndarray, "pairs 3"], estimate: Float64[np.ndarray, "pairs 3"]
) -> Float64[np.ndarray, " pairs"]:
    across = np.linalg.norm(np.cross(estimate, truth), axis=1)
    angles: Float64[np.ndarray, " pairs"] = np.degrees(np.arctan2(across, np.einsum("pi,pi->p", estimate, truth)))
    return angles


def auc(errors_deg: Float64[np.ndarray, " pairs"], threshold_deg: float) -> float:
    """Exact area under the recall curve from 0 to the threshold, per cent; NaN without a pair."""
    if len(errors_deg) == 0:
        return float("nan")
    return float(100.0 * np.maximum(0.0, 1.0 - errors_deg / threshold_deg).mean())


def auc_binned(errors_deg: Float64[np.ndarray, " pairs"], threshold_deg: int) -> float:
    """The same area from 1-degree bins, as VGGT and PoseDiffusion publish it, per cent; NaN without a pair."""
    if len(errors_deg) == 0:
        return float("nan")
    histogram, _ = np.histogram(errors_deg, bins=np.arange(threshold_deg + 1))
    return float(100.0 * np.cumsum(histogram / len(errors_deg)).mean())


def share_below(errors_deg: Float64[np.ndarray, " pairs"], threshold_deg: float) -> float:
    """Share of errors strictly below the threshold, per cent (RRA, RTA); NaN without a pair."""
    return float(100.0 * (errors_deg < threshold_deg).mean()) if len(errors_deg) else float("nan")
