"""How well the photos determine a model: standard deviations of its relative poses.

Two photos of an unknown lens can be explained perfectly by a model that is 20 degrees wrong. What gives it away is that
many other models explain them as well: the covariance of the adjustment, with honest priors on what a lens can be.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.sfm.bundle import (
    CAUCHY_SIGMAS,
    Priors,
    Problem,
    cauchy_weights,
    linearise,
    make_layout,
    make_problem,
    normal_equations,
    robust_sigma,
)
from recon3d.sfm.types import Mapped

# One standard deviation of what a lens can be, whatever the adjustment took for granted.
FOCAL_EXIF = 0.03  # of the focal length
FOCAL_UNKNOWN = 1.0
ASPECT = 0.001
CENTRE = 0.01  # of the long side
RADIAL = (0.1, 0.03)
TANGENTIAL = 0.001
_SMALLEST_EIGENVALUE = 1e-14  # of the normal matrix scaled to a unit diagonal


def lens_priors(
    mapped: Mapped, focal_px: Float64[np.ndarray, " photos"] | None = None, calibrated: bool = False
) -> Priors:
    """Return what may be taken as known of the lenses of a model, centred on the model's own intrinsics.

    Args:
        mapped: the model.
        focal_px: focal length of each photo of the capture by EXIF, NaN where unknown; None = all unknown.
        calibrated: the intrinsics were given and count as exact.

    Returns:
        Priors of the camera groups in ascending order of their numbers.
    """
    _, firsts = np.unique(mapped.camera_group, return_index=True)
    K = mapped.cameras.K[firsts]
    size = np.stack([mapped.cameras.width, mapped.cameras.height], 1)[firsts]
    mean = np.zeros((len(firsts), 8))
    mean[:, 0], mean[:, 1] = np.log(K[:, 0, 0]), np.log(K[:, 1, 1] / K[:, 0, 0])
    mean[:, 2:4] = K[:, :2, 2]
    if mapped.cameras.distortion is not None:
        mean[:, 4:] = mapped.cameras.distortion[firsts]
    known = np.zeros(len(firsts), bool) if focal_px is None else np.isfinite(focal_px[mapped.photo[firsts]])
    sigma = np.tile([0.0, ASPECT, 0.0, 0.0, *RADIAL, TANGENTIAL, TANGENTIAL], (len(firsts), 1))
    sigma[:, 0] = np.where(known, FOCAL_EXIF, FOCAL_UNKNOWN)
    # a principal point that was moved off the centre was free to move at least that far
    sigma[:, 2:4] = np.maximum(CENTRE * size.max(axis=1)[:, None], np.abs(K[:, :2, 2] - size / 2))
    return Priors(mean, np.zeros_like(sigma) if calibrated else sigma)


def pair_sigma_deg(mapped: Mapped, priors: Priors) -> Float64[np.ndarray, "n n"]:
    """Return one standard deviation of the relative pose of every two photos, in degrees.

    It is the larger of rotation and direction of the baseline. The direction of a baseline shorter than the median of
    the model counts as the same displacement at that median: photos taken from one place have no direction.

    Args:
        mapped: the model.
        priors: what is known of its lenses, from :func:`lens_priors`.

    Returns:
        Symmetric, 0 on the diagonal, infinity where the model does not determine it, ``[n,n]``.
    """
    n = len(mapped.photo)
    seen = np.bincount(mapped.points.obs_view, minlength=n)
    usable = seen >= 3  # fewer observations than pose parameters: no covariance at all
    if n < 2 or usable.sum() < 2:
        return np.where(np.eye(n, dtype=bool), 0.0, np.inf)
    _, group = np.unique(mapped.camera_group, return_inverse=True)
    problem = make_problem(mapped.cameras, group.astype(np.int64), mapped.points)
    sigma = _relative_sigma(problem.pose, pose_covariance(problem, priors))
    sigma[~usable] = sigma[:, ~usable] = np.inf
    np.fill_diagonal(sigma, 0.0)
    return sigma


def pose_covariance(problem: Problem, priors: Priors) -> Float64[np.ndarray, "c c"]:
    """Return the covariance of the pose steps ``(omega, tau)``; first camera and scale are held, ``[6 n, 6 n]``."""
    at, layout = linearise(problem), make_layout(problem, priors)
    sigma = robust_sigma(problem, at.residual)
    weight = cauchy_weights(at.residual, CAUCHY_SIGMAS * sigma) / sigma**2
    normal = normal_equations(problem, at, weight, priors, layout).reduced[6:, 6:]
    n = len(problem.pose)
    centre = -np.einsum("nji,nj->ni", problem.pose[:, :3, :3], problem.pose[:, :3, 3])
    growth = np.zeros((n, 6))  # the step that scales the model about the first camera
    growth[:, 3:] = -np.einsum("nij,nj->ni", problem.pose[:, :3, :3], centre - centre[0])
    scale = np.concatenate([growth.ravel()[6:], np.zeros(len(normal) - 6 * (n - 1))])
    scale /= max(float(np.linalg.norm(scale)), 1e-300)
    normal = normal + np.trace(normal) * np.outer(scale, scale)
    diagonal = np.diag(normal)
    unit = np.where(diagonal > 0, 1.0 / np.sqrt(np.maximum(diagonal, 1e-30)), 0.0)  # 0: a photo without observations
    values, vectors = np.linalg.eigh(normal * unit[:, None] * unit)
    inverse = (vectors / np.maximum(values, _SMALLEST_EIGENVALUE)) @ vectors.T * unit[:, None] * unit
    covariance = np.zeros((6 * n, 6 * n))
    covariance[6:, 6:] = inverse[: 6 * (n - 1), : 6 * (n - 1)]
    return covariance


def _relative_sigma(
    poses: Float64[np.ndarray, "n 4 4"], covariance: Float64[np.ndarray, "c c"]
) -> Float64[np.ndarray, "n n"]:
    """Return the larger of rotation and baseline sigma of every two poses in degrees, ``[n,n]``."""
    n = len(poses)
    blocks = covariance.reshape(n, 6, n, 6).transpose(0, 2, 1, 3)
    own = blocks[np.arange(n), np.arange(n)]
    R_all, t_all = poses[:, :3, :3], poses[:, :3, 3]
    centre = -np.einsum("nji,nj->ni", R_all, t_all)
    baseline = np.linalg.norm(centre[:, None] - centre, axis=2)
    typical = max(float(np.median(baseline[np.triu_indices(n, 1)])), 1e-30)
    sigma = np.zeros((n, n))
    for first in range(n):
        R = R_all @ R_all[first].T
        t = t_all - np.einsum("nij,j->ni", R, t_all[first])
        by_first, by_second = _relative_jacobians(R, t, baseline[first], typical)
        mixed = by_first @ blocks[first] @ by_second.transpose(0, 2, 1)
        spread = by_first @ own[first] @ by_first.transpose(0, 2, 1) + by_second @ own @ by_second.transpose(0, 2, 1)
        variance = np.einsum("nkk->nk", spread + mixed + mixed.transpose(0, 2, 1))
        worst = np.maximum(variance[:, :3].sum(axis=1), variance[:, 3:].sum(axis=1))
        sigma[first] = np.degrees(np.sqrt(np.maximum(worst, 0.0)))
    return sigma


def _relative_jacobians(
    R: Float64[np.ndarray, "n 3 3"], t: Float64[np.ndarray, "n 3"], baseline: Float64[np.ndarray, " n"], typical: float
) -> tuple[Float64[np.ndarray, "n 6 6"], Float64[np.ndarray, "n 6 6"]]:
    """Return derivatives of relative rotation and baseline direction by the steps of the first and the second pose."""
    n = len(R)
    direction = t / np.maximum(baseline, 1e-9 * typical)[:, None]
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    across = across / np.maximum(baseline, typical)[:, None, None]
    by_first, by_second = np.zeros((n, 6, 6)), np.zeros((n, 6, 6))
    by_first[:, :3, :3], by_second[:, :3, :3] = -R, np.eye(3)
    by_first[:, 3:, 3:], by_second[:, 3:, 3:] = -across @ R, across
    by_second[:, 3:, :3] = across @ -_cross_matrix(t)
    return by_first, by_second


def _cross_matrix(v: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    x, y, z = v.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
