"""Uncertainty of cameras and points after bundle adjustment, by the Schur complement of its normal equations."""

from __future__ import annotations

from collections.abc import Iterator
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
_MAX_GATHERED = 2_000_000
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
        inflation: factor on all noise. White noise would need 1; keypoints of real photos err alike in neighbouring
            views, and what the lens model leaves over is no noise at all.
    """

    free_focal: bool = True
    free_principal_point: bool = False
    n_distortion: int = 1
    principal_point_sigma: float = 0.01
    outlier_sigmas: float = 4.0
    inflation: float = 1.0

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
    cameras: Cameras,
    camera_group: Int64[np.ndarray, " n"],
    points: Points,
    options: CovarianceOptions | None = None,
    prior_sigma: Float64[np.ndarray, "g k"] | None = None,
) -> Uncertainty:
    """Return the standard deviations of poses, points and intrinsics.

    The gauge (position, rotation and scale of the world) is the one that makes the summed variance of the camera
    poses smallest, with the rotations weighted by the spread of the camera centres: what remains after the best
    similarity between this model and the truth. Noise is the robust residual scale, with the degrees of freedom
    counted. The sigma of a point contains that of the cameras.

    Args:
        cameras: registered cameras at the minimum of the reprojection error.
        camera_group: cameras with equal numbers share their intrinsics, ``[n]``.
        points: points with tracks.
        options: which intrinsics were free.
        prior_sigma: Gaussian priors that the adjustment had on the free intrinsics: one standard deviation per group
            (ascending) and column of ``options.free``, in their units; infinity = none, 0 = held, ``[g,k]``.

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
    problem = _Problem(cameras, points, group_of, options, _huber_limit(cameras, points, options))
    n_free = _N_POSE * n + len(groups) * len(options.free)
    matrix, noise, redundancy = _reduced(problem, n_free - _N_GAUGE)
    variance = noise * options.inflation**2
    if prior_sigma is not None:
        inner = np.arange(_N_POSE * n, n_free)
        matrix[inner, inner] += _prior_weights(prior_sigma.ravel(), variance, np.diagonal(matrix)[inner])
    unit, undetermined = _gauge_free_inverse(matrix[:n_free, :n_free], cameras)
    held = _held_sigma(cameras, group_of, options)
    joint = _joint_covariance(variance * unit, unit @ matrix[:n_free, n_free:], held)
    loose = np.append(undetermined, np.zeros(len(held), dtype=bool))
    point_sigma = np.concatenate([_point_sigma(block, joint, variance, loose) for block in _blocks(problem)])
    # Unknowns that nothing fixes took part with zeros until here: NaN would have spread to all others.
    joint[loose] = joint[:, loose] = np.nan
    return _collected(joint[:n_free, :n_free], point_sigma, groups, options, float(np.sqrt(noise)), redundancy)


def _collected(
    covariance: Float64[np.ndarray, "f f"],
    point_sigma: Float64[np.ndarray, " p"],
    groups: Int64[np.ndarray, " g"],
    options: CovarianceOptions,
    noise_px: float,
    redundancy: int,
) -> Uncertainty:
    """Return the result with the covariance of poses and free intrinsics taken apart."""
    n = (len(covariance) - len(groups) * len(options.free)) // _N_POSE
    sigma = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    pose_sigma = sigma[: _N_POSE * n].reshape(n, _N_POSE) * np.where(np.arange(_N_POSE) < 3, np.degrees(1.0), 1.0)
    return Uncertainty(
        pose_sigma=pose_sigma,
        pose_covariance=np.stack([covariance[6 * i : 6 * i + 6, 6 * i : 6 * i + 6] for i in range(n)]),
        point_sigma=point_sigma,
        group=np.asarray(groups, dtype=np.int64),
        intrinsics=options.free,
        intrinsics_sigma=sigma[_N_POSE * n :].reshape(len(groups), len(options.free)),
        noise_px=noise_px,
        redundancy=redundancy,
    )


def _prior_weights(
    sigma: Float64[np.ndarray, " f"], variance: float, weight: Float64[np.ndarray, " f"]
) -> Float64[np.ndarray, " f"]:
    """Return what priors add to normal equations that are in units of one pixel of noise."""
    held = 1e9 * np.maximum(weight, 1.0)
    return np.asarray(np.where(sigma > 0, np.minimum(variance / np.maximum(sigma, 1e-100) ** 2, held), held))


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is adjusted; residuals longer than ``limit`` pixels lose weight."""

    cameras: Cameras
    points: Points
    group_of: Int64[np.ndarray, " n"]
    options: CovarianceOptions
    limit: float


@dataclass(frozen=True, eq=False)
class _Block:
    """The share of some points in the normal equations, in units of one pixel of noise.

    ``columns [o,k]`` are the camera unknowns (poses, free, considered) that each observation touches, ``by_camera``
    ``[o,2,k]`` and ``by_point [o,2,3]`` its weighted derivatives, ``inverse [p,3,3]`` belongs to the points alone.
    """

    by_camera: Float64[np.ndarray, "o 2 k"]
    by_point: Float64[np.ndarray, "o 2 3"]
    columns: Int64[np.ndarray, "o k"]
    point: Int64[np.ndarray, " o"]
    inverse: Float64[np.ndarray, "p 3 3"]
    known: Bool[np.ndarray, " p"]
    sum_squares: float


def _huber_limit(cameras: Cameras, points: Points, options: CovarianceOptions) -> float:
    """Return the residual length in pixels beyond which weights fall; infinite where residuals are exact zeros."""
    pixels, _ = cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    size = np.abs(points.obs_xy - pixels)
    size = size[np.isfinite(size)]
    limit = options.outlier_sigmas * 1.4826 * float(np.median(size)) if len(size) else 0.0
    return limit if limit > 0 else np.inf


def _blocks(problem: _Problem) -> Iterator[_Block]:
    """Yield the normal equations in blocks of 4,096 points, which bounds the memory."""
    points = problem.points
    for start in range(0, len(points), _POINT_CHUNK):
        stop = min(start + _POINT_CHUNK, len(points))
        o = slice(*np.searchsorted(points.obs_point, [start, stop]).tolist())
        yield _block(
            problem,
            Points(
                points.xyz[start:stop],
                points.rgb[start:stop],
                points.error_px[start:stop],
                points.sigma[start:stop],
                points.obs_point[o] - np.int32(start),
                points.obs_view[o],
                points.obs_xy[o],
            ),
        )


def _block(problem: _Problem, points: Points) -> _Block:
    jacobian = reprojection_jacobian(problem.cameras, points)
    known = _triangulated(jacobian, points)
    keep = np.flatnonzero(jacobian.valid & known[points.obs_point])
    length = np.linalg.norm(jacobian.residual[keep], axis=1)
    weight = np.minimum(1.0, problem.limit / np.maximum(length, 1e-300))
    root = np.sqrt(weight)[:, None, None]
    names = problem.options.free + problem.options.considered
    intrinsics = jacobian.intrinsics[keep][:, :, [INTRINSICS.index(name) for name in names]]
    point, by_point = points.obs_point[keep].astype(np.int64), jacobian.point[keep] * root
    inverse = np.zeros((len(points), 3, 3))
    inverse[known] = np.linalg.inv(_sum_by(point, by_point, len(points))[known])
    return _Block(
        by_camera=np.concatenate([jacobian.pose[keep], intrinsics], -1) * root,
        by_point=by_point,
        columns=_columns(points.obs_view[keep], problem),
        point=point,
        inverse=inverse,
        known=known,
        sum_squares=float((weight * length**2).sum()),
    )


def _reduced(problem: _Problem, n_unknowns: int) -> tuple[Float64[np.ndarray, "c c"], float, int]:
    """Return the Schur complement ``U - W V^-1 W^T``, the variance of the noise in square pixels, the redundancy."""
    options, n_groups = problem.options, int(problem.group_of.max()) + 1
    n_columns = _N_POSE * len(problem.cameras) + n_groups * len(options.free + options.considered)
    matrix, squares, redundancy = np.zeros((n_columns, n_columns)), 0.0, -n_unknowns
    for block in _blocks(problem):
        p = len(block.known)
        design = _sparse(block.by_camera, block.columns, n_columns)
        coupling = _sparse(block.by_point, 3 * block.point[:, None] + np.arange(3), 3 * p).T @ design
        inverse = _sparse(block.inverse, 3 * np.arange(p)[:, None] + np.arange(3), 3 * p)
        matrix += (design.T @ design).toarray() - (coupling.T @ (inverse @ coupling)).toarray()
        squares += block.sum_squares
        redundancy += 2 * len(block.point) - 3 * int(block.known.sum())
    if not matrix.any():
        raise ResultError("no sigma can be computed", got="no point seen by two cameras")
    if redundancy <= 0:
        raise ResultError("no sigma can be computed", got=f"{redundancy} redundant observations", expected="at least 1")
    return (matrix + matrix.T) / 2, squares / redundancy, redundancy


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


def _columns(view: Integer[np.ndarray, " o"], problem: _Problem) -> Int64[np.ndarray, "o k"]:
    """Return the unknowns that each observation touches: poses, free intrinsics, considered ones."""
    view, group = view.astype(np.int64), problem.group_of[view]
    n_free, n_considered = len(problem.options.free), len(problem.options.considered)
    start, n_groups = _N_POSE * len(problem.cameras), int(problem.group_of.max()) + 1
    blocks = ((view, 0, _N_POSE), (group, start, n_free), (group, start + n_groups * n_free, n_considered))
    return np.concatenate([first + size * index[:, None] + np.arange(size) for index, first, size in blocks], -1)


def _sparse(values: Float64[np.ndarray, "o r k"], columns: Int64[np.ndarray, "o k"], n_columns: int) -> csr_array:
    """Return the sparse matrix whose rows ``r o + i`` hold ``values[o,i]`` in ``columns[o]``."""
    from scipy.sparse import csr_array

    o, r, k = values.shape
    starts = np.arange(r * o + 1) * k
    return csr_array((values.ravel(), columns.repeat(r, axis=0).ravel(), starts), shape=(r * o, n_columns))


def gauge_directions(cameras: Cameras) -> Float64[np.ndarray, "n6 7"]:
    """Return how all poses change under a translation, a rotation and a scaling of the world, ``[6n,7]``."""
    centred = cameras.centers - cameras.centers.mean(0)
    directions = np.zeros((len(cameras), _N_POSE, _N_GAUGE))
    directions[:, 3:, :3] = np.eye(3)
    directions[:, :3, 3:6] = -cameras.cam_from_world[:, :3, :3]
    directions[:, 3:, 3:6] = np.cross(np.eye(3)[None], centred[:, None]).transpose(0, 2, 1)
    directions[:, 3:, 6] = centred
    return directions.reshape(-1, _N_GAUGE)


def _gauge_free_inverse(
    matrix: Float64[np.ndarray, "f f"], cameras: Cameras
) -> tuple[Float64[np.ndarray, "f f"], Bool[np.ndarray, " f"]]:
    """Return the inverse of smallest pose variance of a matrix that is singular in the gauge directions.

    The second result says which unknowns the observations do not fix.
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
    return np.asarray((inverse + inverse.T) / 2), undetermined


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


def _point_sigma(
    block: _Block, joint: Float64[np.ndarray, "c c"], variance: float, loose: Bool[np.ndarray, " c"]
) -> Float64[np.ndarray, " p"]:
    """Return one standard deviation along the worst axis of each point, ``[p]``: its own share and the cameras'."""
    covariance = variance * block.inverse
    # How far a point moves per unit of each camera unknown that its observations touch.
    moves = np.einsum("oij,oaj,oak->oik", block.inverse[block.point], block.by_point, block.by_camera, optimize=True)
    first = np.searchsorted(block.point, np.arange(len(block.known)))
    lengths = np.bincount(block.point, minlength=len(block.known))
    for length in np.unique(lengths[lengths > 0]).tolist():
        members = np.flatnonzero(lengths == length)
        width = length * block.columns.shape[1]
        step = max(1, _MAX_GATHERED // width**2)
        for some in (members[start : start + step] for start in range(0, len(members), step)):
            rows = first[some][:, None] + np.arange(length)
            columns = block.columns[rows].reshape(len(some), width)
            move = moves[rows].transpose(0, 2, 1, 3).reshape(len(some), 3, width)
            gathered = joint[columns[:, :, None], columns[:, None, :]]
            covariance[some] += move @ gathered @ move.transpose(0, 2, 1)
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance)[:, 2], 0))
    blind = np.zeros(len(sigma), dtype=bool)
    blind[block.point[loose[block.columns].any(1)]] = True
    return np.asarray(np.where(block.known & ~blind, sigma, np.nan))
