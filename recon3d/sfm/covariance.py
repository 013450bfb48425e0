"""Uncertainty of cameras and points after bundle adjustment, by the Schur complement of its normal equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer

from recon3d.core.errors import ResultError, UsageError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.reprojection import INTRINSICS, Jacobian, reprojection_jacobian

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_DISTORTIONS = (0, 1, 2, 4)
_N_POSE = 6
_N_GAUGE = 7
_MIN_EIGENVALUE = 1e-12
_MAX_POINT_COST = 2e10
_POINT_CHUNK = 4096


@dataclass(frozen=True)
class CovarianceOptions:
    """What the bundle adjustment left free, and how noise is judged.

    Args:
        free_focal: the focal length of every camera group was free.
        free_principal_point: the principal point of every camera group was free.
        n_distortion: how many of ``k1 k2 p1 p2`` were free: 0, 1, 2 or 4.
        principal_point_sigma: what a principal point that was held in the centre may be off (one standard deviation,
            as a part of the longer side); 0 trusts it. It widens the result, as an error that was not estimated.
        outlier_sigmas: residuals beyond that many robust sigmas lose weight (Huber).
    """

    free_focal: bool = True
    free_principal_point: bool = False
    n_distortion: int = 1
    principal_point_sigma: float = 0.01
    outlier_sigmas: float = 4.0

    def __post_init__(self) -> None:
        if self.n_distortion not in _DISTORTIONS:
            raise UsageError("unknown number of distortion terms", got=self.n_distortion, expected=_DISTORTIONS)

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the free intrinsics, in the order of :data:`INTRINSICS`."""
        names = ("focal",) * self.free_focal + ("cx", "cy") * self.free_principal_point
        return names + INTRINSICS[3 : 3 + self.n_distortion]

    @property
    def considered(self) -> tuple[str, ...]:
        """Names of the intrinsics that were held but are not trusted."""
        return ("cx", "cy") * (not self.free_principal_point and self.principal_point_sigma > 0)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """One standard deviation of everything that bundle adjustment estimated.

    Args:
        pose_sigma: rotation about camera x, y, z in degrees and centre along world x, y, z in world units, ``[n,6]``;
            NaN where the observations do not fix a pose.
        pose_covariance: the same with all correlations (radians and world units), ``[n,6,6]``.
        point_sigma: position along the worst axis in world units, ``[p]``; NaN where unknown.
        group: camera group behind each row of ``intrinsics_sigma``, ``[g]``.
        intrinsics: names of its columns.
        intrinsics_sigma: pixels for focal, cx, cy, no unit for the distortion, ``[g,k]``.
        noise_px: standard deviation of one image coordinate, from the residuals.
        redundancy: observations minus unknowns.
    """

    pose_sigma: Float64[np.ndarray, "n 6"]
    pose_covariance: Float64[np.ndarray, "n 6 6"]
    point_sigma: Float64[np.ndarray, " p"]
    group: Int64[np.ndarray, " g"]
    intrinsics: tuple[str, ...]
    intrinsics_sigma: Float64[np.ndarray, "g k"]
    noise_px: float
    redundancy: int


def uncertainty(
    cameras: Cameras, camera_group: Int64[np.ndarray, " n"], points: Points, options: CovarianceOptions | None = None
) -> Uncertainty:
    """Return the standard deviations of poses, points and intrinsics.

    The gauge (position, rotation and scale of the world) is the one that makes the summed variance of the camera
    poses smallest, with the rotations weighted by the spread of the camera centres: what remains after the best
    similarity between this model and the truth. Noise is the robust residual scale, with the degrees of freedom
    counted. The sigma of a point contains that of the cameras; in models too large for that (above 2e10 operations)
    it does not, and holds for given cameras only.

    Args:
        cameras: registered cameras at the minimum of the reprojection error.
        camera_group: cameras with equal numbers share their intrinsics, ``[n]``.
        points: points with tracks.
        options: which intrinsics were free.

    Returns:
        Standard deviations and covariances.

    Raises:
        ResultError: there are too few observations.

    Source: Triggs et al., Bundle Adjustment - A Modern Synthesis (2000), sections 6 and 9.
    """
    options = options or CovarianceOptions()
    n = len(cameras)
    if n < 2:
        raise ResultError("no sigma can be computed", got=f"{n} cameras", expected="at least two")
    groups, group_of = np.unique(camera_group, return_inverse=True)
    system = _reduced(reprojection_jacobian(cameras, points), points, group_of, options)
    n_free = _N_POSE * n + len(groups) * len(options.free)
    variance, redundancy = _noise(system, n_free - _N_GAUGE)
    unit = _gauge_free_inverse(system.matrix[:n_free, :n_free], cameras)
    held = _held_sigma(cameras, group_of, options)
    joint = _joint_covariance(variance * unit, unit @ system.matrix[:n_free, n_free:], held)
    sigma = np.sqrt(np.maximum(np.diagonal(joint)[:n_free], 0))
    pose_sigma = sigma[: _N_POSE * n].reshape(n, _N_POSE) * np.where(np.arange(_N_POSE) < 3, np.degrees(1.0), 1.0)
    return Uncertainty(
        pose_sigma=pose_sigma,
        pose_covariance=np.stack([joint[6 * i : 6 * i + 6, 6 * i : 6 * i + 6] for i in range(n)]),
        point_sigma=_point_sigma(system, joint, variance),
        group=np.asarray(groups, dtype=np.int64),
        intrinsics=options.free,
        intrinsics_sigma=sigma[_N_POSE * n :].reshape(len(groups), len(options.free)),
        noise_px=float(np.sqrt(variance)),
        redundancy=redundancy,
    )


@dataclass(frozen=True, eq=False)
class _System:
    """Normal equations of the cameras after elimination of the points (columns: poses, free, considered)."""

    matrix: Float64[np.ndarray, "c c"]
    sensitivity: csr_array  # [3p, c]: how far a point moves per unit of each camera parameter
    point_inverse: Float64[np.ndarray, "p 3 3"]
    known: Bool[np.ndarray, " p"]
    sum_squares: float
    n_observations: int


def _reduced(
    jacobian: Jacobian, points: Points, group_of: Int64[np.ndarray, " n"], options: CovarianceOptions
) -> _System:
    """Return the Schur complement ``U - W V^-1 W^T`` with robust weights, in units of one pixel of noise."""
    known = _triangulated(jacobian, points)
    keep = np.flatnonzero(jacobian.valid & known[points.obs_point])
    if len(keep) == 0:
        raise ResultError("no sigma can be computed", got="no point seen by two cameras")
    weight = _weights(jacobian.residual[keep], options.outlier_sigmas)
    root = np.sqrt(weight)[:, None, None]
    names = options.free + options.considered
    local = np.concatenate([jacobian.pose, jacobian.intrinsics[:, :, [INTRINSICS.index(k) for k in names]]], -1)
    columns, n_columns = _columns(points.obs_view[keep], group_of, len(options.free), len(options.considered))
    design = _design(local[keep] * root, columns, n_columns)
    point = points.obs_point[keep].astype(np.int64)
    by_point = jacobian.point[keep] * root
    point_design = _design(by_point, 3 * point[:, None] + np.arange(3), 3 * len(points))
    inverse = np.zeros((len(points), 3, 3))
    inverse[known] = np.linalg.inv(_sum_by(point, by_point, len(points))[known])
    coupling = (point_design.T @ design).tocsr()
    sensitivity = (_block_diagonal(inverse) @ coupling).tocsr()
    matrix = (design.T @ design).toarray() - (coupling.T @ sensitivity).toarray()
    squares = float((weight * (jacobian.residual[keep] ** 2).sum(1)).sum())
    return _System((matrix + matrix.T) / 2, sensitivity, inverse, known, squares, len(keep))


def _triangulated(jacobian: Jacobian, points: Points) -> Bool[np.ndarray, " p"]:
    """Return which points are fixed by their observations."""
    normal = _sum_by(points.obs_point[jacobian.valid], jacobian.point[jacobian.valid], len(points))
    eigenvalues = np.linalg.eigvalsh(normal)
    return np.asarray(eigenvalues[:, 0] > _MIN_EIGENVALUE * np.maximum(eigenvalues[:, 2], 1e-300))


def _sum_by(
    point: Integer[np.ndarray, " o"], rows: Float64[np.ndarray, "o 2 3"], p: int
) -> Float64[np.ndarray, "p 3 3"]:
    products = np.einsum("oai,oaj->oij", rows, rows)
    sums = [np.bincount(point, products[:, i, j], p) for i in range(3) for j in range(3)]
    return np.stack(sums, -1).astype(np.float64).reshape(p, 3, 3)


def _weights(residual: Float64[np.ndarray, "o 2"], outlier_sigmas: float) -> Float64[np.ndarray, " o"]:
    """Return Huber weights; the scale is the median absolute deviation."""
    limit = outlier_sigmas * 1.4826 * float(np.median(np.abs(residual)))
    length = np.linalg.norm(residual, axis=1)
    return np.asarray(
        np.where(length > limit, limit / np.maximum(length, 1e-300), 1.0) if limit > 0 else length * 0 + 1
    )


def _columns(
    view: Integer[np.ndarray, " o"], group_of: Int64[np.ndarray, " n"], n_free: int, n_considered: int
) -> tuple[Int64[np.ndarray, "o k"], int]:
    """Return the unknowns that each observation touches (poses, free intrinsics, considered ones) and their number."""
    view, group = view.astype(np.int64), group_of[view]
    n_groups, start = int(group_of.max()) + 1, _N_POSE * len(group_of)
    blocks = ((view, 0, _N_POSE), (group, start, n_free), (group, start + n_groups * n_free, n_considered))
    columns = [first + size * index[:, None] + np.arange(size) for index, first, size in blocks]
    return np.concatenate(columns, -1), start + n_groups * (n_free + n_considered)


def _design(values: Float64[np.ndarray, "o 2 k"], columns: Int64[np.ndarray, "o k"], n_columns: int) -> csr_array:
    from scipy.sparse import csr_array

    o, _, k = values.shape
    starts = np.arange(2 * o + 1) * k
    return csr_array((values.ravel(), columns.repeat(2, axis=0).ravel(), starts), shape=(2 * o, n_columns))


def _block_diagonal(blocks: Float64[np.ndarray, "p 3 3"]) -> csr_array:
    from scipy.sparse import csr_array

    p = len(blocks)
    columns = (3 * np.arange(p)[:, None] + np.arange(3)).repeat(3, axis=0).ravel()
    return csr_array((blocks.ravel(), columns, np.arange(3 * p + 1) * 3), shape=(3 * p, 3 * p))


def _noise(system: _System, n_unknowns: int) -> tuple[float, int]:
    redundancy = 2 * system.n_observations - 3 * int(system.known.sum()) - n_unknowns
    if redundancy <= 0:
        raise ResultError("no sigma can be computed", got=f"{redundancy} redundant observations", expected="at least 1")
    return system.sum_squares / redundancy, redundancy


def gauge_directions(cameras: Cameras) -> Float64[np.ndarray, "n6 7"]:
    """Return how all poses change under a translation, a rotation and a scaling of the world, ``[6n,7]``."""
    centred = cameras.centers - cameras.centers.mean(0)
    directions = np.zeros((len(cameras), _N_POSE, _N_GAUGE))
    directions[:, 3:, :3] = np.eye(3)
    directions[:, :3, 3:6] = -cameras.cam_from_world[:, :3, :3]
    directions[:, 3:, 3:6] = np.cross(np.eye(3)[None], centred[:, None]).transpose(0, 2, 1)
    directions[:, 3:, 6] = centred
    return directions.reshape(-1, _N_GAUGE)


def _gauge_free_inverse(matrix: Float64[np.ndarray, "f f"], cameras: Cameras) -> Float64[np.ndarray, "f f"]:
    """Return the inverse of smallest pose variance of a matrix that is singular in the gauge directions.

    Rows of unknowns that the observations do not fix are NaN.
    """
    n, n_pose = len(cameras), _N_POSE * len(cameras)
    fixed = _fixed_cameras(matrix, n)
    gauge = np.zeros((len(matrix), _N_GAUGE))
    gauge[:n_pose] = gauge_directions(cameras) * fixed.repeat(_N_POSE)[:, None]
    centred = cameras.centers - cameras.centers.mean(0)
    spread = max(float(np.sqrt((centred**2).sum(1).mean())), 1e-9 * float(np.abs(cameras.centers).max()), 1e-100)
    weighted = gauge.copy()
    weighted[:n_pose] *= np.tile(np.repeat([1.0, spread**-2], 3), n)[:, None]
    fit = np.linalg.lstsq(gauge.T @ weighted, weighted.T, rcond=None)[0]
    inverse, undetermined = _regular_inverse(matrix, gauge)
    for _ in range(2):  # the projector (1 - gauge fit) from the left, then, after transposing, from the right
        inverse = (inverse - gauge @ (fit @ inverse)).T
    inverse[undetermined] = inverse[:, undetermined] = np.nan
    return np.asarray((inverse + inverse.T) / 2)


def _fixed_cameras(matrix: Float64[np.ndarray, "f f"], n: int) -> Bool[np.ndarray, " n"]:
    """Return which poses would be determined if everything else were known."""
    blocks = np.stack([matrix[6 * i : 6 * i + 6, 6 * i : 6 * i + 6] for i in range(n)])
    scale = 1 / np.sqrt(np.maximum(np.diagonal(blocks, axis1=1, axis2=2), 1e-300))
    values = np.linalg.eigvalsh(blocks * scale[:, :, None] * scale[:, None])
    # Of two cameras, each alone lacks the distance to the other, which is the gauge's affair.
    least = 1 if n == 2 else 0
    return np.asarray((values[:, least] > _MIN_EIGENVALUE) & (scale < 1e149).all(1))


def _regular_inverse(
    matrix: Float64[np.ndarray, "f f"], gauge: Float64[np.ndarray, "f 7"]
) -> tuple[Float64[np.ndarray, "f f"], Bool[np.ndarray, " f"]]:
    """Return the inverse of ``matrix`` made regular in the gauge directions, and which unknowns stay undetermined."""
    diagonal = np.diagonal(matrix)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    basis, _ = np.linalg.qr(gauge / scale[:, None])
    regular = matrix * scale[:, None] * scale + basis @ basis.T
    inverse, undetermined = _cholesky_inverse(regular), np.zeros(len(matrix), dtype=bool)
    if inverse is None:
        values, vectors = np.linalg.eigh(regular)
        loose = values < _MIN_EIGENVALUE
        inverse = (vectors / np.where(loose, np.inf, values)) @ vectors.T
        undetermined = (np.abs(vectors[:, loose]) > 1e-3).any(1)
    return inverse * scale[:, None] * scale, undetermined


def _cholesky_inverse(matrix: Float64[np.ndarray, "f f"]) -> Float64[np.ndarray, "f f"] | None:
    """Return the inverse of a positive definite matrix of unit diagonal, None where it is too close to singular."""
    from scipy.linalg import cho_solve, cholesky

    try:
        lower = cholesky(matrix, lower=True)
    except np.linalg.LinAlgError:
        return None
    if np.diagonal(lower).min() ** 2 < _MIN_EIGENVALUE:
        return None
    return np.asarray(cho_solve((lower, True), np.eye(len(matrix))))


def _held_sigma(
    cameras: Cameras, group_of: Int64[np.ndarray, " n"], options: CovarianceOptions
) -> Float64[np.ndarray, " h"]:
    """Return what the held principal points may be off, in pixels, in the order of the considered columns."""
    longer = np.zeros(int(group_of.max()) + 1)
    np.maximum.at(longer, group_of, np.maximum(cameras.width, cameras.height))
    return np.repeat(options.principal_point_sigma * longer, len(options.considered))


def _joint_covariance(
    covariance: Float64[np.ndarray, "f f"], response: Float64[np.ndarray, "f h"], held_sigma: Float64[np.ndarray, " h"]
) -> Float64[np.ndarray, "fh fh"]:
    """Return the covariance of the estimated and the held unknowns, whose errors the estimates answer to."""
    driven = response * held_sigma
    cross = -driven * held_sigma
    return np.block([[covariance + driven @ driven.T, cross], [cross.T, np.diag(held_sigma**2)]])


def _point_sigma(system: _System, joint: Float64[np.ndarray, "c c"], variance: float) -> Float64[np.ndarray, " p"]:
    """Return one standard deviation along the worst axis of each point, ``[p]``."""
    covariance = variance * system.point_inverse
    if system.sensitivity.nnz * len(joint) <= _MAX_POINT_COST:
        for start in range(0, len(covariance), _POINT_CHUNK):
            stop = min(start + _POINT_CHUNK, len(covariance))
            covariance[start:stop] += _moved_blocks(system.sensitivity[3 * start : 3 * stop], joint)
    sigma = np.full(len(covariance), np.nan)
    usable = system.known & np.isfinite(covariance).all((1, 2))
    sigma[usable] = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance[usable])[:, 2], 0))
    return sigma


def _moved_blocks(sensitivity: csr_array, joint: Float64[np.ndarray, "c c"]) -> Float64[np.ndarray, "p 3 3"]:
    """Return the 3x3 diagonal blocks of ``sensitivity joint sensitivity^T``."""
    moved = sensitivity @ joint
    rows = [sensitivity[k::3] for k in range(3)]
    blocks = np.empty((len(moved) // 3, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            blocks[:, i, j] = blocks[:, j, i] = rows[j].multiply(moved[i::3]).sum(axis=1)
    return blocks
