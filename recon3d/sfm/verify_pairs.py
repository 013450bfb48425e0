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
MAX_MATCHES = 300  # per pair, an even selection
FLOOR_PX = 0.15  # below it, residuals are rounding and interpolation of the features
CONTRADICTS = 2.0
_CHUNK = 128


def contradicted(mapped: Mapped, evidence: MatchEvidence) -> Bool[np.ndarray, " p"]:
    """Return which pairs of the evidence fit their own fundamental matrix at least twice as well as the model.

    Pairs with few matches pass untested.

    Args:
        mapped: the model.
        evidence: its match evidence.
    """
    count = np.bincount(evidence.pair, minlength=len(evidence.pairs))
    start = np.cumsum(count) - count
    tested = np.flatnonzero(count >= MIN_MATCHES)
    found = np.zeros(len(count), bool)
    for chunk in np.split(tested, np.arange(_CHUNK, len(tested), _CHUNK)):
        used = np.minimum(count[chunk], MAX_MATCHES)[:, None]
        column = np.arange(MAX_MATCHES)
        index = start[chunk][:, None] + np.minimum(column, used - 1) * count[chunk][:, None] // used
        model = _median(evidence.epipolar_px[index], column < used)
        own = _own_residual(mapped.cameras, evidence.view[index], evidence.xy[index], column < used)
        found[chunk] = model > CONTRADICTS * np.maximum(own, FLOOR_PX)
    return found


def _median(values: Float64[np.ndarray, "p m"], mask: Bool[np.ndarray, "p m"]) -> Float64[np.ndarray, " p"]:
    return np.asarray(np.nanmedian(np.where(mask, values, np.nan), axis=1)) if len(values) else np.zeros(0)


def _own_residual(
    cameras: Cameras,
    view: Int64[np.ndarray, "p m 2"],
    xy: Float64[np.ndarray, "p m 2 2"],
    mask: Bool[np.ndarray, "p m"],
) -> Float64[np.ndarray, " p"]:
    """Return the median Sampson distance in pixels to the best fundamental matrix, with or without distortion."""
    focal = [cameras.K[view[:, :, side]][:, :, (0, 1), (0, 1)] for side in (0, 1)]
    residuals = []
    for lens in (cameras, cameras.pinhole()):
        flat = [camera_rays(lens, view[:, :, side].ravel(), xy[:, :, side].reshape(-1, 2)) for side in (0, 1)]
        rays = [points.reshape(*mask.shape, 3) for points in flat]
        residuals.append(_median(fundamental_residual(rays, focal, mask), mask))
    return np.asarray(np.minimum(*residuals))


def fundamental_residual(
    rays: Sequence[Float64[np.ndarray, "p m 3"]],
    focal_px: Sequence[Float64[np.ndarray, "p m 2"]],
    mask: Bool[np.ndarray, "p m"],
) -> Float64[np.ndarray, "p m"]:
    """Fit a fundamental matrix to each pair robustly and return the Sampson distances of the matches in pixels.

    Normalised eight-point algorithm with weights for the Sampson distance and a Cauchy-like loss (Hartley and
    Zisserman, Multiple View Geometry, 2nd edition, algorithms 11.1 and 11.3).

    Args:
        rays: homogeneous points of both photos, ``[p,m,3]`` each.
        focal_px: pixels per unit along x and y, ``[p,m,2]`` each.
        mask: which matches count, ``[p,m]``.
    """
    robust, sampson = mask.astype(np.float64), np.ones(mask.shape)
    residual = np.zeros(mask.shape)
    for _ in range(4):
        T = [_normalizers(points, robust) for points in rays]
        a, b = (points @ transform.transpose(0, 2, 1) for points, transform in zip(rays, T, strict=True))
        rows = (b[..., :, None] * a[..., None, :]).reshape(*mask.shape, 9) * (robust * sampson)[..., None]
        smallest = np.linalg.eigh(rows.transpose(0, 2, 1) @ rows)[1][:, :, 0]
        U, singular, V_t = np.linalg.svd(smallest.reshape(-1, 3, 3))
        singular[:, 2] = 0.0
        F = T[1].transpose(0, 2, 1) @ (U * singular[:, None]) @ V_t @ T[0]
        line_b, line_a = rays[0] @ F.transpose(0, 2, 1), rays[1] @ F
        gradient = sum(
            ((line[..., :2] / f) ** 2).sum(axis=2) for line, f in zip((line_a, line_b), focal_px, strict=True)
        )
        gradient = np.maximum(gradient, 1e-300)
        residual = np.abs((rays[1] * line_b).sum(axis=2)) / np.sqrt(gradient)
        scale = np.maximum(1.5 * _median(residual, mask), 0.1)
        robust = mask / np.sqrt(1.0 + (residual / scale[:, None]) ** 2)
        sampson = np.sqrt(_median(gradient, mask)[:, None] / gradient)
    return residual


def _normalizers(
    points: Float64[np.ndarray, "p m 3"], weight: Float64[np.ndarray, "p m"]
) -> Float64[np.ndarray, "p 3 3"]:
    """Return the similarities that bring weighted points to mean 0 and rms distance sqrt(2)."""
    total = np.maximum(weight.sum(axis=1), 1e-300)
    mean = (points[..., :2] * weight[..., None]).sum(axis=1) / total[:, None]
    square = ((points[..., :2] - mean[:, None]) ** 2).sum(axis=2)
    scale = np.sqrt(2.0 * total / np.maximum((square * weight).sum(axis=1), 1e-24))
    T = np.zeros((len(points), 3, 3))
    T[:, 0, 0] = T[:, 1, 1] = scale
    T[:, :2, 2], T[:, 2, 2] = -scale[:, None] * mean, 1.0
    return T
