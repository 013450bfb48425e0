"""Comparison of two models of the same photos, free of their frames and scales, and the part of a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.scene import Points
from recon3d.sfm.types import Mapped
from recon3d.sfm.verify_evidence import relative_poses


def disagreement_deg(one: Mapped, other: Mapped) -> Float64[np.ndarray, " k"]:
    """Return how far two models disagree on the relative pose of every two photos that both hold, in degrees.

    It is the larger of the angle between the rotations and the angle between the baselines; a baseline shorter than the
    median of its model counts in proportion, because photos taken from one place have no direction between them.

    Args:
        one: a model.
        other: another model of the same capture.

    Returns:
        One value per two common photos, ``[k]``; empty with fewer than two.
    """
    _, rows_one, rows_other = np.intersect1d(one.photo, other.photo, return_indices=True)
    first, second = np.triu_indices(len(rows_one), 1)
    if not len(first):
        return np.zeros(0)
    R_a, t_a = relative_poses(one.cameras.cam_from_world, rows_one[first], rows_one[second])
    R_b, t_b = relative_poses(other.cameras.cam_from_world, rows_other[first], rows_other[second])
    chord = np.linalg.norm(R_a - R_b, axis=(1, 2)) / (2.0 * np.sqrt(2.0))
    rotation = 2.0 * np.arcsin(np.clip(chord, 0.0, 1.0))
    cross = np.linalg.norm(np.cross(t_a, t_b), axis=1)
    direction = np.arctan2(cross, np.einsum("ki,ki->k", t_a, t_b)) * np.maximum(_shortness(t_a), _shortness(t_b))
    return np.asarray(np.degrees(np.maximum(rotation, direction)))


def _shortness(t: Float64[np.ndarray, "k 3"]) -> Float64[np.ndarray, " k"]:
    length = np.linalg.norm(t, axis=1)
    return np.asarray(np.minimum(length / max(float(np.median(length)), 1e-300), 1.0))


def restricted(mapped: Mapped, photos: Bool[np.ndarray, " n"], points: Bool[np.ndarray, " p"]) -> Mapped:
    """Return the model of some photos and points; points that fewer than two of the photos see are left out.

    Args:
        mapped: the model.
        photos: mask of its photos.
        points: mask of its points.
    """
    old = mapped.points
    seen = photos[old.obs_view] & points[old.obs_point]
    keep = np.bincount(old.obs_point[seen], minlength=len(old)) >= 2
    seen &= keep[old.obs_point]
    point_number, view_number = (np.cumsum(mask).astype(np.int32) - 1 for mask in (keep, photos))
    new = Points(
        old.xyz[keep],
        old.rgb[keep],
        old.error_px[keep],
        old.sigma[keep],
        point_number[old.obs_point[seen]],
        view_number[old.obs_view[seen]],
        old.obs_xy[seen],
    )
    return replace(
        mapped,
        photo=mapped.photo[photos],
        cameras=mapped.cameras[photos],
        camera_group=mapped.camera_group[photos],
        points=new,
    )
