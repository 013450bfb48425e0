"""Bundle adjustment with priors: maximum a posteriori poses, intrinsics and points, and their covariance.

COLMAP's adjuster either frees the principal point of every camera or of none, and knows no priors. Here every intrinsic
parameter has a Gaussian prior (a lens is centred to within a per cent, pixels are square, an EXIF focal length is right
to a few per cent), so that the photos decide as far as they can and the prior decides the rest. Levenberg-Marquardt on
the Schur complement, Cauchy loss by iteratively reweighted least squares (Triggs et al., Bundle Adjustment, 2000).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from jaxtyping import Float64, Int64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points

N_INTRINSICS = 8  # log focal, log aspect fy/fx, cx, cy, k1, k2, p1, p2
_MIN_DEPTH = 1e-9
MIN_SIGMA_PX = 0.05
CAUCHY_SIGMAS = 2.4  # 95 % efficiency for Gaussian noise
FOLLOW = 1.15  # share of its residual that a point takes away, times its photos


@dataclass(frozen=True, eq=False)
class Priors:
    """Gaussian priors of the intrinsics of each camera group: log f, log fy/fx, cx, cy (pixels), k1, k2, p1, p2.

    Args:
        mean: ``[g,8]``.
        sigma: one standard deviation, ``[g,8]``; 0 = fixed where it starts, infinity = free.
    """

    mean: Float64[np.ndarray, "g 8"]
    sigma: Float64[np.ndarray, "g 8"]


@dataclass(frozen=True, eq=False)
class Problem:
    """State of the adjustment: poses, intrinsics per group, points, and the observations that tie them."""

    pose: Float64[np.ndarray, "n 4 4"]
    intrinsics: Float64[np.ndarray, "g 8"]
    xyz: Float64[np.ndarray, "p 3"]
    group: Int64[np.ndarray, " n"]
    view: Int64[np.ndarray, " o"]
    point: Int64[np.ndarray, " o"]
    xy: Float64[np.ndarray, "o 2"]


@dataclass(frozen=True, eq=False)
class Linearised:
    """Residuals and Jacobians of all observations at one state, and the weights of the robust loss."""

    residual: Float64[np.ndarray, "o 2"]
    by_pose: Float64[np.ndarray, "o 2 6"]
    by_intrinsics: Float64[np.ndarray, "o 2 8"]
    by_point: Float64[np.ndarray, "o 2 3"]


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Result of the adjustment.

    Args:
        problem: the state at the optimum.
        sigma_px: robust standard deviation of one residual coordinate.
        residual: residuals, ``[o,2]`` in pixels.
        n_iterations: steps taken.
    """

    problem: Problem
    sigma_px: float
    residual: Float64[np.ndarray, "o 2"]
    n_iterations: int


def make_problem(cameras: Cameras, group: Int64[np.ndarray, " n"], points: Points) -> Problem:
    """Return the adjustment problem of cameras whose groups are numbered 0, 1, ... without gaps."""
    _, firsts = np.unique(group, return_index=True)
    intrinsics = np.zeros((len(firsts), N_INTRINSICS))
    fx, fy = cameras.K[firsts, 0, 0], cameras.K[firsts, 1, 1]
    intrinsics[:, 0], intrinsics[:, 1] = np.log(fx), np.log(fy / fx)
    intrinsics[:, 2:4] = cameras.K[firsts, :2, 2]
    if cameras.distortion is not None:
        intrinsics[:, 4:] = cameras.distortion[firsts]
    view, point = points.obs_view.astype(np.int64), points.obs_point.astype(np.int64)
    return Problem(cameras.cam_from_world, intrinsics, points.xyz, group, view, point, points.obs_xy)


def to_cameras(problem: Problem, like: Cameras) -> Cameras:
    """Return the cameras of a problem, with the image sizes of ``like``."""
    K = np.zeros_like(like.K)
    theta = problem.intrinsics[problem.group]
    K[:, 0, 0], K[:, 1, 1] = np.exp(theta[:, 0]), np.exp(theta[:, 0] + theta[:, 1])
    K[:, :2, 2], K[:, 2, 2] = theta[:, 2:4], 1.0
    return replace(like, cam_from_world=problem.pose, K=K, distortion=theta[:, 4:].copy())


def thinned(problem: Problem, most: int = 3000, least_per_view: int = 60) -> Problem:
    """Return the problem with about ``most`` evenly picked points: enough to decide on a lens, in less time.

    Args:
        problem: the whole.
        most: how many points to keep.
        least_per_view: observations that every view keeps where it has them.
    """
    n_points = len(problem.xyz)
    if n_points <= most:
        return problem
    keep = np.zeros(n_points, bool)
    keep[:: -(-n_points // most)] = True
    for view in range(len(problem.pose)):
        keep[problem.point[np.flatnonzero(problem.view == view)[:least_per_view]]] = True
    rows, number = keep[problem.point], np.cumsum(keep) - 1
    return replace(
        problem,
        xyz=problem.xyz[keep],
        view=problem.view[rows],
        point=number[problem.point[rows]],
        xy=problem.xy[rows],
    )


def linearise(problem: Problem) -> Linearised:
    """Return residuals (predicted minus observed pixel) and their derivatives by pose, intrinsics and point.

    A pose step ``(omega, tau)`` maps a camera point to ``exp(omega) x + tau``.
    """
    pose, theta = problem.pose[problem.view], problem.intrinsics[problem.group[problem.view]]
    x_cam = np.einsum("oij,oj->oi", pose[:, :3, :3], problem.xyz[problem.point]) + pose[:, :3, 3]
    inverse_z = 1.0 / np.where(np.abs(x_cam[:, 2]) < _MIN_DEPTH, _MIN_DEPTH, x_cam[:, 2])
    u, v = x_cam[:, 0] * inverse_z, x_cam[:, 1] * inverse_z
    k1, k2, p1, p2 = theta[:, 4:].T
    r2 = u * u + v * v
    radial, slope = 1 + r2 * (k1 + r2 * k2), 2 * (k1 + 2 * r2 * k2)
    distorted = np.stack([u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u),
                          v * radial + 2 * p2 * u * v + p1 * (r2 + 2 * v * v)], 1)  # fmt: skip
    fx, fy = np.exp(theta[:, 0]), np.exp(theta[:, 0] + theta[:, 1])
    focal = np.stack([fx, fy], 1)
    by_uv = np.empty((len(u), 2, 2))
    by_uv[:, 0, 0] = radial + slope * u * u + 2 * p1 * v + 6 * p2 * u
    by_uv[:, 1, 1] = radial + slope * v * v + 2 * p2 * u + 6 * p1 * v
    by_uv[:, 0, 1] = by_uv[:, 1, 0] = slope * u * v + 2 * p1 * u + 2 * p2 * v
    by_uv *= focal[:, :, None]
    by_x = np.empty((len(u), 2, 3))
    by_x[:, :, :2] = by_uv * inverse_z[:, None, None]
    by_x[:, :, 2] = -np.einsum("oij,oj->oi", by_uv, np.stack([u, v], 1)) * inverse_z[:, None]
    residual = focal * distorted + theta[:, 2:4] - problem.xy
    by_pose = np.concatenate([np.cross(x_cam[:, None], by_x), by_x], axis=2)
    return Linearised(residual, by_pose, _by_intrinsics(u, v, r2, distorted, focal), by_x @ pose[:, :3, :3])


def _by_intrinsics(
    u: Float64[np.ndarray, " o"],
    v: Float64[np.ndarray, " o"],
    r2: Float64[np.ndarray, " o"],
    distorted: Float64[np.ndarray, "o 2"],
    focal: Float64[np.ndarray, "o 2"],
) -> Float64[np.ndarray, "o 2 8"]:
    out = np.zeros((len(u), 2, N_INTRINSICS))
    out[:, :, 0] = focal * distorted
    out[:, 1, 1] = focal[:, 1] * distorted[:, 1]
    out[:, 0, 2] = out[:, 1, 3] = 1.0
    uv = np.stack([u, v], 1)
    out[:, :, 4] = focal * uv * r2[:, None]
    out[:, :, 5] = focal * uv * (r2 * r2)[:, None]
    out[:, :, 6] = focal * np.stack([2 * u * v, r2 + 2 * v * v], 1)
    out[:, :, 7] = focal * np.stack([r2 + 2 * u * u, 2 * u * v], 1)
    return out


def robust_sigma(problem: Problem, residual: Float64[np.ndarray, "o 2"]) -> float:
    """Return the standard deviation of the inlier observations in pixels, from their median residual (Rayleigh).

    Points follow their observations: in a track of ``m`` photos the median residual after adjustment with the Cauchy
    loss is ``1 - 1.15 / m`` of that of the noise, which is undone here. The constant is from simulation; it holds to
    5 % for two to twelve photos. Never below MIN_SIGMA_PX.
    """
    if not len(residual):
        return 1.0
    track = np.maximum(np.bincount(problem.point)[problem.point], 2)
    inflate = 1.0 / (1.0 - FOLLOW / track)
    return max(float(np.median(np.linalg.norm(residual, axis=1) * inflate)) / 1.1774, MIN_SIGMA_PX)


def cauchy_weights(residual: Float64[np.ndarray, "o 2"], scale_px: float) -> Float64[np.ndarray, " o"]:
    """Return the weights of the Cauchy loss, ``1 / (1 + |r|^2 / scale^2)``."""
    squared: Float64[np.ndarray, " o"] = (residual**2).sum(axis=1)
    return 1.0 / (1.0 + squared / scale_px**2)


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations with the points eliminated; columns: 6 per view, then the free intrinsics."""

    reduced: Float64[np.ndarray, "c c"]
    gradient: Float64[np.ndarray, " c"]
    point_inverse: Float64[np.ndarray, "p 3 3"]
    point_gradient: Float64[np.ndarray, "p 3"]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Observations of some points, and where their parameters stand.

    Args:
        rows: the observations, ``[k]``.
        points: the points, ``[p]``.
        point: of each observation, counted in ``points``, ``[k]``.
        active: columns of the normal equations that occur, ``[a]``.
        column: of each observation's camera parameters, counted in ``active``, ``[k,6+d]``.
    """

    rows: Int64[np.ndarray, " k"]
    points: Int64[np.ndarray, " p"]
    point: Int64[np.ndarray, " k"]
    active: Int64[np.ndarray, " a"]
    column: Int64[np.ndarray, "k c"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the parameters of each observation stand in the normal equations.

    Args:
        columns: column of each camera parameter, ``[o,6+d]``; the last column collects the fixed ones.
        n_columns: columns without that last one.
        used: which of the 8 intrinsics are free in any group, ``[d]``.
        chunks: consecutive blocks of points, in the order of the first photo that sees them.
    """

    columns: Int64[np.ndarray, "o c"]
    n_columns: int
    used: Int64[np.ndarray, " d"]
    chunks: tuple[Chunk, ...]


def make_layout(problem: Problem, priors: Priors, points_per_chunk: int = 2048) -> Layout:
    """Return the layout; chunks of points that few photos see keep the elimination small."""
    n, free = len(problem.pose), priors.sigma > 0
    n_columns, used = 6 * n + int(free.sum()), np.flatnonzero(free.any(axis=0))
    intrinsics = np.where(free, 6 * n + np.cumsum(free).reshape(free.shape) - 1, n_columns)[:, used]
    columns = np.concatenate(
        [6 * problem.view[:, None] + np.arange(6), intrinsics[problem.group[problem.view]]], axis=1
    )
    first_view = np.full(len(problem.xyz), n, np.int64)
    np.minimum.at(first_view, problem.point, problem.view)
    rank = np.empty(len(problem.xyz), np.int64)
    rank[np.argsort(first_view, kind="stable")] = np.arange(len(problem.xyz))
    order = np.argsort(rank[problem.point], kind="stable")
    cuts = np.searchsorted(rank[problem.point][order], np.arange(points_per_chunk, len(problem.xyz), points_per_chunk))
    chunks = tuple(_make_chunk(problem, columns, rows) for rows in np.split(order, cuts) if len(rows))
    return Layout(columns, n_columns, used, chunks)


def _make_chunk(problem: Problem, columns: Int64[np.ndarray, "o c"], rows: Int64[np.ndarray, " k"]) -> Chunk:
    points, point = np.unique(problem.point[rows], return_inverse=True)
    active, column = np.unique(columns[rows], return_inverse=True)
    return Chunk(rows, points, point, active, column.reshape(len(rows), -1))


def normal_equations(
    problem: Problem,
    at: Linearised,
    weight: Float64[np.ndarray, " o"],
    priors: Priors,
    layout: Layout,
    damping: float = 0.0,
) -> Normal:
    """Return the reduced camera system of weighted observations and priors.

    Args:
        problem: the state.
        at: its linearisation.
        weight: weight of each observation, robust weight over variance, ``[o]``.
        priors: priors of the intrinsics.
        layout: from :func:`make_layout`.
        damping: Levenberg-Marquardt factor on the diagonal.
    """
    size = layout.n_columns + 1
    H, reduced, g = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size)
    n_points = len(problem.xyz)
    V_inverse, g_point = np.zeros((n_points, 3, 3)), np.zeros((n_points, 3))
    for chunk in layout.chunks:
        seen, active = chunk.points, chunk.active
        terms = _chunk_terms(at, weight, chunk, layout.used)
        V, W = terms.point_blocks, terms.cross
        V[:, (0, 1, 2), (0, 1, 2)] *= 1.0 + damping
        V_inverse[seen], g_point[seen] = _safe_inverse(V), terms.point_gradient
        eliminated = W @ V_inverse[seen]
        H[np.ix_(active, active)] += terms.camera_blocks
        reduced[np.ix_(active, active)] += _by_column(eliminated) @ _by_column(W).T
        g[active] += terms.camera_gradient - _by_column(eliminated) @ g_point[seen].ravel()
    H, reduced, g = H[:-1, :-1], reduced[:-1, :-1], g[:-1]
    _add_priors(H, g, problem, priors)
    H[np.diag_indices(layout.n_columns)] *= 1.0 + damping
    return Normal(H - reduced, g, V_inverse, g_point)


@dataclass(frozen=True, eq=False)
class _Terms:
    camera_blocks: Float64[np.ndarray, "a a"]
    camera_gradient: Float64[np.ndarray, " a"]
    cross: Float64[np.ndarray, "p a 3"]
    point_blocks: Float64[np.ndarray, "p 3 3"]
    point_gradient: Float64[np.ndarray, "p 3"]


def _chunk_terms(
    at: Linearised, weight: Float64[np.ndarray, " o"], chunk: Chunk, used: Int64[np.ndarray, " d"]
) -> _Terms:
    """Return the blocks of the normal equations that one chunk of observations adds, in local numbering."""
    rows, column, point = chunk.rows, chunk.column, chunk.point
    J = np.concatenate([at.by_pose[rows], at.by_intrinsics[rows][:, :, used]], axis=2)
    P, w = at.by_point[rows], weight[rows, None, None]
    r = at.residual[rows, :, None] * w
    n_columns, n_points = len(chunk.active), len(chunk.points)
    axis = np.arange(3)
    pair = column[:, :, None] * n_columns + column[:, None, :]
    cross = (point[:, None, None] * n_columns + column[:, :, None]) * 3 + axis
    block = (point[:, None, None] * 3 + axis[:, None]) * 3 + axis
    return _Terms(
        _scatter(pair, _products(J, J * w), n_columns**2).reshape(n_columns, n_columns),
        _scatter(column, _products(J, r), n_columns),
        _scatter(cross, _products(J, P * w), n_columns * n_points * 3).reshape(n_points, n_columns, 3),
        _scatter(block, _products(P, P * w), n_points * 9).reshape(n_points, 3, 3),
        _scatter(point[:, None] * 3 + axis, _products(P, r), n_points * 3).reshape(n_points, 3),
    )


def _products(a: Float64[np.ndarray, "k 2 d"], b: Float64[np.ndarray, "k 2 e"]) -> Float64[np.ndarray, "k d e"]:
    """Return ``a^T b`` of each observation; written out, since batched products of tiny matrices are slow."""
    out: Float64[np.ndarray, "k d e"] = a[:, 0, :, None] * b[:, 0, None, :]
    out += a[:, 1, :, None] * b[:, 1, None, :]
    return out


def _by_column(blocks: Float64[np.ndarray, "p a 3"]) -> Float64[np.ndarray, "a q"]:
    return blocks.transpose(1, 0, 2).reshape(blocks.shape[1], -1)


def _scatter(
    index: Int64[np.ndarray, "..."], value: Float64[np.ndarray, "..."], size: int
) -> Float64[np.ndarray, " n"]:
    # Without observations bincount returns integers.
    return np.bincount(index.ravel(), value.ravel(), minlength=size).astype(np.float64, copy=False)


def _safe_inverse(V: Float64[np.ndarray, "p 3 3"]) -> Float64[np.ndarray, "p 3 3"]:
    """Return inverses of positive semi-definite blocks, with a ridge far below their size."""
    ridge = 1e-12 * np.trace(V, axis1=1, axis2=2) + 1e-30
    return np.linalg.inv(V + ridge[:, None, None] * np.eye(3))


def _add_priors(H: Float64[np.ndarray, "c c"], g: Float64[np.ndarray, " c"], problem: Problem, priors: Priors) -> None:
    free = priors.sigma > 0
    precision = 1.0 / priors.sigma[free] ** 2
    index = np.arange(6 * len(problem.pose), len(g))
    H[index, index] += precision
    g[index] += precision * (problem.intrinsics - priors.mean)[free]


def solve(
    normal: Normal, problem: Problem, at: Linearised, weight: Float64[np.ndarray, " o"], layout: Layout
) -> tuple[Float64[np.ndarray, " c"], Float64[np.ndarray, "p 3"]]:
    """Return the step of cameras and points.

    Raises:
        numpy.linalg.LinAlgError: the damped system is not positive definite.
    """
    factor = scipy.linalg.cho_factor(normal.reduced, lower=True)
    step = -scipy.linalg.cho_solve(factor, normal.gradient)
    full = np.append(step, 0.0)[layout.columns]
    moved = np.einsum("oki,oi->ok", at.by_pose, full[:, :6])
    moved += np.einsum("oki,oi->ok", at.by_intrinsics[:, :, layout.used], full[:, 6:])
    pull = np.einsum("oki,ok->oi", at.by_point, moved * weight[:, None])
    rest = normal.point_gradient.copy()
    for k in range(3):
        rest[:, k] += np.bincount(problem.point, pull[:, k], minlength=len(rest))
    return step, -np.einsum("pij,pj->pi", normal.point_inverse, rest)


def apply_step(
    problem: Problem, step: Float64[np.ndarray, " c"], point_step: Float64[np.ndarray, "p 3"], priors: Priors
) -> Problem:
    """Return the problem after a step, poses updated on the left."""
    n = len(problem.pose)
    delta = step[: 6 * n].reshape(n, 6)
    pose = problem.pose.copy()
    rotation = exp_so3(delta[:, :3])
    pose[:, :3, :3] = rotation @ problem.pose[:, :3, :3]
    pose[:, :3, 3] = np.einsum("nij,nj->ni", rotation, problem.pose[:, :3, 3]) + delta[:, 3:]
    intrinsics = problem.intrinsics.copy()
    intrinsics[priors.sigma > 0] += step[6 * n :]
    return replace(problem, pose=pose, intrinsics=intrinsics, xyz=problem.xyz + point_step)


def exp_so3(omega: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    """Return the rotation matrices of rotation vectors (Rodrigues)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(omega).as_matrix()


def cost(problem: Problem, residual: Float64[np.ndarray, "o 2"], sigma_px: float, priors: Priors) -> float:
    """Return the negative log posterior: Cauchy loss of the residuals plus the priors."""
    scale = (CAUCHY_SIGMAS * sigma_px) ** 2
    data = 0.5 * CAUCHY_SIGMAS**2 * float(np.log1p((residual**2).sum(axis=1) / scale).sum())
    active = (priors.sigma > 0) & np.isfinite(priors.sigma)
    return data + 0.5 * float((((problem.intrinsics - priors.mean)[active] / priors.sigma[active]) ** 2).sum())


def adjust(problem: Problem, priors: Priors, max_iterations: int = 12, tolerance: float = 1e-5) -> Adjusted:
    """Minimise reprojection errors and prior terms over poses, intrinsics and points.

    The scale of the loss is estimated from the residuals, held while the state converges, and estimated once more.

    Args:
        problem: the starting state.
        priors: priors of the intrinsics; a sigma of 0 fixes a parameter.
        max_iterations: steps tried at most for each of the two scales.
        tolerance: relative decrease of the cost at which to stop.

    Returns:
        The optimum with its residuals.
    """
    layout, n_iterations = make_layout(problem, priors), 0
    for _ in range(2):
        sigma = robust_sigma(problem, linearise(problem).residual)
        problem, taken = _descend(problem, priors, layout, sigma, (max_iterations, tolerance))
        n_iterations += taken
    residual = linearise(problem).residual
    return Adjusted(problem, robust_sigma(problem, residual), residual, n_iterations)


def _descend(
    problem: Problem, priors: Priors, layout: Layout, sigma: float, stop: tuple[int, float]
) -> tuple[Problem, int]:
    """Take Levenberg-Marquardt steps at a fixed scale of the loss."""
    max_iterations, tolerance = stop
    at = linearise(problem)
    value, damping = cost(problem, at.residual, sigma, priors), 1e-4
    for iteration in range(1, max_iterations + 1):
        weight = cauchy_weights(at.residual, CAUCHY_SIGMAS * sigma) / sigma**2
        try:
            normal = normal_equations(problem, at, weight, priors, layout, damping)
            candidate = apply_step(problem, *solve(normal, problem, at, weight, layout), priors)
        except np.linalg.LinAlgError:
            damping *= 10
            continue
        tried = linearise(candidate)
        new_value = cost(candidate, tried.residual, sigma, priors)
        if not new_value < value:
            damping *= 10
            if damping > 1e6:
                return problem, iteration
            continue
        decrease, value = (value - new_value) / max(value, 1e-300), new_value
        problem, at, damping = candidate, tried, max(damping / 10, 1e-9)
        if decrease < tolerance:
            return problem, iteration
    return problem, max_iterations
