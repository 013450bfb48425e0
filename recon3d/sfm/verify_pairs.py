"""Pairs of photos whose matches contradict a model although they lie within its tolerance.

A mapper that bends a model until every match is nearly satisfied leaves residuals of one or two pixels, far within the
tolerance that outliers need. The matches of one pair, fitted alone, tell: a right model explains them about as well as
the best fundamental matrix does, a wrong one several times worse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.render.cameras import Cameras
from recon3d.sfm.types import Mapped
from recon3d.sfm.verify_evidence import MatchEvidence, camera_rays

MIN_MATCHES = 30  # seven parameters are fitted to them
MAX_TESTED = 1000
MAX_MATCHES = 300
FLOOR_PX = 0.15  # below it, residuals are rounding and interpolation of the features
CONTRADICTS = 2.0


def contradicted(mapped: Mapped, evidence: MatchEvidence) -> Bool[np.ndarray, " p"]:
    """Return which pairs of the evidence fit their own fundamental matrix at least twice as well as the model.

    Pairs with few matches pass untested; of very many pairs an even selection is tested.

    Args:
        mapped: the model.
        evidence: its match evidence.
    """
    found = np.zeros(len(evidence.pairs), bool)
    ends = np.searchsorted(evidence.pair, np.arange(len(evidence.pairs) + 1))
    candidates = [k for k in range(len(evidence.pairs)) if ends[k + 1] - ends[k] >= MIN_MATCHES]
    for k in candidates[:: -(-len(candidates) // MAX_TESTED) or 1]:
        chosen = np.arange(ends[k], ends[k + 1])
        chosen = chosen[:: -(-len(chosen) // MAX_MATCHES)]
        xy = evidence.pairs[k].xy[chosen - ends[k]]
        own = _own_residual(mapped.cameras, evidence.view[chosen], xy)
        found[k] = np.median(evidence.epipolar_px[chosen]) > CONTRADICTS * max(own, FLOOR_PX)
    return found


def _own_residual(cameras: Cameras, view: Int64[np.ndarray, "m 2"], xy: Float64[np.ndarray, "m 2 2"]) -> float:
    """Return the median Sampson distance in pixels to the best fundamental matrix, with or without distortion."""
    pinhole = cameras.pinhole()
    residuals = []
    for lens in (cameras, pinhole):
        rays = [camera_rays(lens, view[:, side], xy[:, side]) for side in (0, 1)]
        focal = [cameras.K[view[:, side]][:, (0, 1), (0, 1)] for side in (0, 1)]
        residuals.append(float(np.median(fundamental_residual(rays, focal))))
    return min(residuals)


def fundamental_residual(
    rays: Sequence[Float64[np.ndarray, "m 3"]], focal_px: Sequence[Float64[np.ndarray, "m 2"]]
) -> Float64[np.ndarray, " m"]:
    """Fit a fundamental matrix robustly and return the Sampson distances of the matches in pixels.

    Normalised eight-point algorithm with weights for the Sampson distance and a Cauchy-like loss (Hartley and
    Zisserman, Multiple View Geometry, 2nd edition, algorithms 11.1 and 11.3).

    Args:
        rays: homogeneous points of both photos, ``[m,3]`` each.
        focal_px: pixels per unit along x and y, ``[m,2]`` each.
    """
    robust, sampson = np.ones(len(rays[0])), np.ones(len(rays[0]))
    residual = np.zeros(len(rays[0]))
    for _ in range(4):
        T = [_normalizer(points, robust) for points in rays]
        a, b = rays[0] @ T[0].T, rays[1] @ T[1].T
        rows = (b[:, :, None] * a[:, None, :]).reshape(-1, 9) * (robust * sampson)[:, None]
        U, s, V_t = np.linalg.svd(np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 3))
        F = T[1].T @ (U * [s[0], s[1], 0.0]) @ V_t @ T[0]
        line_b, line_a = rays[0] @ F.T, rays[1] @ F
        gradient = ((line_a[:, :2] / focal_px[0]) ** 2).sum(axis=1) + ((line_b[:, :2] / focal_px[1]) ** 2).sum(axis=1)
        gradient = np.maximum(gradient, 1e-300)
        residual = np.abs((rays[1] * line_b).sum(axis=1)) / np.sqrt(gradient)
        robust = 1.0 / np.sqrt(1.0 + (residual / max(1.5 * float(np.median(residual)), 0.1)) ** 2)
        sampson = 1.0 / np.sqrt(gradient / np.median(gradient))
    return residual


def _normalizer(points: Float64[np.ndarray, "m 3"], weight: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, "3 3"]:
    """Return the similarity that brings weighted points to mean 0 and rms distance sqrt(2)."""
    mean = np.average(points[:, :2], axis=0, weights=weight)
    spread = np.sqrt(np.average(((points[:, :2] - mean) ** 2).sum(axis=1), weights=weight))
    scale = np.sqrt(2.0) / max(float(spread), 1e-12)
    return np.array([[scale, 0.0, -scale * mean[0]], [0.0, scale, -scale * mean[1]], [0.0, 0.0, 1.0]])
