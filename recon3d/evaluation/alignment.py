"""Similarity alignment of estimated cameras to the truth (Umeyama 1991), and the absolute errors after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from recon3d.evaluation.relative import rotation_angles_deg

_COLLINEAR = 0.05
MIN_PHOTOS = 3


@dataclass(frozen=True, eq=False)
class Alignment:
    """``x_true = scale * rotation @ x_estimate + translation``.

    Args:
        rotation: ``[3,3]``.
        translation: in the unit of the truth, ``[3]``.
        scale: true length of one unit of the estimate.
        rotation_from: camera ``centres``, or ``orientations`` where the centres lie on a line.
    """

    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]
    scale: float
    rotation_from: Literal["centres", "orientations"]


@dataclass(frozen=True)
class Stats:
    """Summary of an error over photos.

    Args:
        mean: arithmetic mean.
        median: median.
        rmse: root of the mean square.
        max: largest.
    """

    mean: float
    median: float
    rmse: float
    max: float

    @classmethod
    def of(cls, errors: Float64[np.ndarray, " n"]) -> Stats:
        """Summarise at least one error."""
        rmse = float(np.sqrt((errors**2).mean()))
        return cls(float(errors.mean()), float(np.median(errors)), rmse, float(errors.max()))


def centers(poses: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 3"]:
    """Camera centres of ``cam_from_world`` poses, ``[n,3]``."""
    positions: Float64[np.ndarray, "n 3"] = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    return positions


def scene_scale(poses: Float64[np.ndarray, "n 4 4"]) -> float:
    """S: root mean square distance of the true camera centres from their mean."""
    if len(poses) == 0:
        return 0.0
    offsets = centers(poses) - centers(poses).mean(axis=0)
    return float(np.sqrt((offsets**2).sum(axis=1).mean()))


def align(truth: Float64[np.ndarray, "n 4 4"], estimate: Float64[np.ndarray, "n 4 4"]) -> Alignment:
    """Find the similarity that brings the estimate onto the truth.

    Args:
        truth: true ``cam_from_world`` of the registered photos, ``[n,4,4]``, n >= 3.
        estimate: their estimates, ``[n,4,4]``.

    Returns:
        The least-squares similarity of the centres; its rotation comes from the orientations instead where the second
        singular value of the centred true centres is below 0.05 of the first (or all of them coincide).
    """
    a, b = centers(estimate), centers(truth)
    a_bar, b_bar = a.mean(axis=0), b.mean(axis=0)
    H = (b - b_bar).T @ (a - a_bar)
    spread = np.linalg.svd(b - b_bar, compute_uv=False)
    on_a_line = bool(spread[1] < _COLLINEAR * spread[0] or spread[0] == 0.0)
    M = np.einsum("nji,njk->ik", truth[:, :3, :3], estimate[:, :3, :3])
    R = _nearest_rotation(M if on_a_line else H)
    variance = float(((a - a_bar) ** 2).sum())
    s = float(np.trace(R.T @ H)) / variance if variance > 0 else 0.0
    return Alignment(R, b_bar - s * R @ a_bar, s, "orientations" if on_a_line else "centres")


def _nearest_rotation(matrix: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    U, _, Vt = np.linalg.svd(matrix)
    rotation: Float64[np.ndarray, "3 3"] = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
    return rotation


def absolute_errors(
    truth: Float64[np.ndarray, "n 4 4"], estimate: Float64[np.ndarray, "n 4 4"], alignment: Alignment
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Centre errors in the unit of the truth and rotation errors in degrees after the alignment, ``[n]`` each."""
    moved = alignment.scale * centers(estimate) @ alignment.rotation.T + alignment.translation
    rotations = estimate[:, :3, :3] @ alignment.rotation.T
    distance = np.linalg.norm(centers(truth) - moved, axis=1)
    return distance, rotation_angles_deg(truth[:, :3, :3], rotations)
