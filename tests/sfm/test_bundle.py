"""Bundle adjustment: derivatives, normal equations against dense algebra, recovery of exact scenes, prior strength."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from sfm_captures import CENTRED, cameras_at, centre_errors, cloud, observe, problem_of, ring_poses, shaken

from recon3d.sfm.bundle import (
    CAUCHY_SIGMAS,
    MIN_SIGMA_PX,
    Linearised,
    Normal,
    Priors,
    Problem,
    adjust,
    apply_step,
    cauchy_weights,
    cost,
    exp_so3,
    linearise,
    make_layout,
    make_problem,
    normal_equations,
    robust_sigma,
    solve,
    thinned,
    to_cameras,
)

LENS = (600.0, 612.0, 331.0, 228.0)
DISTORTION = (-0.08, 0.02, 0.003, -0.004)
vectors = hnp.arrays(np.float64, (3, 3), elements=st.floats(-4.0, 4.0))


def small_problem(noise_px: float = 0.5, n_points: int = 15) -> Problem:
    """Five distorted photos in two groups, half of the observations missing."""
    cameras = cameras_at(ring_poses(5), LENS, DISTORTION)
    points = observe(cameras, cloud(n_points), noise_px, max_views=3)
    return problem_of(cameras, points, np.array([0, 0, 1, 0, 1]))


def free(n_groups: int, *names: int) -> Priors:
    """Priors that leave the named parameters free and fix the others."""
    sigma = np.zeros((n_groups, 8))
    sigma[:, list(names)] = np.inf
    return Priors(np.zeros((n_groups, 8)), sigma)


def centred_on(problem: Problem, sigma: np.ndarray) -> Priors:
    return Priors(problem.intrinsics.copy(), np.tile(sigma, (len(problem.intrinsics), 1)))


@given(vectors)
def test_exponentials_are_rotations_about_their_vector(omega: np.ndarray) -> None:
    rotation = exp_so3(omega)
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (3, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", rotation, omega), omega, atol=1e-12)
    np.testing.assert_allclose(exp_so3(-omega), rotation.transpose(0, 2, 1), atol=1e-12)


@settings(max_examples=20)
@given(vectors)
def test_exponential_is_the_matrix_exponential(omega: np.ndarray) -> None:
    for vector, rotation in zip(omega, exp_so3(omega), strict=True):
        x, y, z = vector
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        np.testing.assert_allclose(rotation, scipy.linalg.expm(cross), atol=1e-10)


def test_problem_and_cameras_are_the_same_thing() -> None:
    cameras = cameras_at(ring_poses(4), LENS, DISTORTION)
    points = observe(cameras, cloud(6), 0.2)
    problem = problem_of(cameras, points, np.array([0, 1, 0, 1]))
    expected = [np.log(600.0), np.log(612 / 600), 331.0, 228.0, *DISTORTION]
    np.testing.assert_allclose(problem.intrinsics, [expected, expected], rtol=1e-14)
    again = to_cameras(problem, cameras)
    np.testing.assert_allclose(again.K, cameras.K, rtol=1e-14)
    np.testing.assert_array_equal(again.distortion, cameras.distortion)
    np.testing.assert_array_equal(again.cam_from_world, cameras.cam_from_world)
    assert (again.width == cameras.width).all() and (again.height == cameras.height).all()


def test_groups_take_the_lens_of_their_own_photos() -> None:
    cameras = cameras_at(ring_poses(4), CENTRED)
    K = cameras.K.copy()
    K[2:, 0, 0], K[2:, 1, 1] = 900.0, 890.0
    cameras = replace(cameras, K=K, distortion=None)
    problem = problem_of(cameras, observe(cameras, cloud(3)), np.array([1, 1, 0, 0]))
    np.testing.assert_allclose(np.exp(problem.intrinsics[:, 0]), [900, 600])
    np.testing.assert_array_equal(problem.intrinsics[:, 4:], 0)
    np.testing.assert_allclose(to_cameras(problem, cameras).K, K, rtol=1e-14)


def test_residual_is_projection_minus_observation() -> None:
    cameras = cameras_at(ring_poses(5), LENS, DISTORTION)
    points = observe(cameras, cloud(20), 2.0)
    residual = linearise(problem_of(cameras, points)).residual
    pixels, _ = cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    np.testing.assert_allclose(residual, pixels - points.obs_xy, atol=1e-10)
    assert 1.8 < residual.std() < 2.2


def moved(problem: Problem, kind: str, axis: int, step: float) -> Problem:
    """Every pose, lens or point moved along one of its parameters."""
    n_poses, n_groups = len(problem.pose), len(problem.intrinsics)
    camera_step, point_step = np.zeros(6 * n_poses + 8 * n_groups), np.zeros_like(problem.xyz)
    if kind == "pose":
        camera_step[axis : 6 * n_poses : 6] = step
    elif kind == "intrinsics":
        camera_step[6 * n_poses + axis :: 8] = step
    else:
        point_step[:, axis] = step
    return apply_step(problem, camera_step, point_step, free(n_groups, *range(8)))


@pytest.mark.parametrize(("kind", "size"), [("pose", 6), ("intrinsics", 8), ("point", 3)])
def test_derivatives_agree_with_central_differences(kind: str, size: int) -> None:
    problem = small_problem()
    exact = getattr(linearise(problem), f"by_{kind}")
    assert exact.shape == (len(problem.xy), 2, size)
    for axis in range(size):
        ahead, behind = (linearise(moved(problem, kind, axis, step)).residual for step in (1e-6, -1e-6))
        numeric = (ahead - behind) / 2e-6
        np.testing.assert_allclose(exact[:, :, axis], numeric, rtol=1e-6, atol=1e-5 * max(1.0, abs(numeric).max()))


def test_pose_step_moves_camera_points_on_the_left() -> None:
    problem, step = small_problem(), np.array([0.3, -0.2, 0.1, 0.5, 0.6, -0.7])
    after = apply_step(problem, np.tile(step, 5), np.zeros_like(problem.xyz), free(2))
    x = problem.xyz[0]
    for before, pose in zip(problem.pose, after.pose, strict=True):
        old = before[:3, :3] @ x + before[:3, 3]
        np.testing.assert_allclose(pose[:3, :3] @ x + pose[:3, 3], exp_so3(step[None, :3])[0] @ old + step[3:])
        np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])
    assert after.xyz is not problem.xyz and (after.intrinsics == problem.intrinsics).all()


def test_steps_reach_only_free_intrinsics_in_their_order() -> None:
    problem = small_problem()
    after = apply_step(problem, np.arange(30.0, 64.0), np.zeros_like(problem.xyz), free(2, 2, 7))
    change = after.intrinsics - problem.intrinsics
    np.testing.assert_allclose(change[:, [2, 7]], [[60, 61], [62, 63]])
    assert (change[:, [0, 1, 3, 4, 5, 6]] == 0).all()


def test_points_on_and_behind_the_camera_plane_stay_finite() -> None:
    problem = small_problem()
    centre = -problem.pose[0, :3, :3].T @ problem.pose[0, :3, 3]
    xyz = problem.xyz.copy()
    xyz[0], xyz[1] = centre, 2 * centre
    xyz[2] = centre + 3.0 * problem.pose[0, 0, :3]
    at = linearise(replace(problem, xyz=xyz))
    for item in fields(Linearised):
        assert np.isfinite(getattr(at, item.name)).all(), item.name


# ---------------------------------------------------------------- normal equations


def dense_system(problem: Problem, at: Linearised, weight: np.ndarray, priors: Priors) -> tuple[np.ndarray, np.ndarray]:
    """The whole normal matrix and gradient, columns: poses, free intrinsics, points."""
    n, p, o = len(problem.pose), len(problem.xyz), np.arange(len(problem.xy))
    free_flat = (priors.sigma > 0).ravel()
    J_all = np.zeros((len(o), 2, 6 * n + free_flat.size + 3 * p))
    for k in range(6):
        J_all[o, :, 6 * problem.view + k] = at.by_pose[:, :, k]
    for k in range(8):
        J_all[o, :, 6 * n + 8 * problem.group[problem.view] + k] = at.by_intrinsics[:, :, k]
    for k in range(3):
        J_all[o, :, 6 * n + free_flat.size + 3 * problem.point + k] = at.by_point[:, :, k]
    chosen = np.concatenate([np.ones(6 * n, bool), free_flat, np.ones(3 * p, bool)])
    J = J_all[:, :, chosen].reshape(2 * len(o), -1)
    w = np.repeat(weight, 2)
    H, g = J.T @ (J * w[:, None]), J.T @ (at.residual.ravel() * w)
    precision = 1.0 / priors.sigma[priors.sigma > 0] ** 2
    columns = np.arange(6 * n, 6 * n + free_flat.sum())
    H[columns, columns] += precision
    g[columns] += precision * (problem.intrinsics - priors.mean)[priors.sigma > 0]
    return H, g


def some_priors(problem: Problem) -> Priors:
    mean = problem.intrinsics + 0.01
    sigma = np.array([[0.03, 0.0, 6.0, 6.0, 0.1, 0.03, 0.0, np.inf], [1.0, 0.01, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0]])
    return Priors(mean, sigma)


@pytest.mark.parametrize("damping", [1e-3, 0.5])
@pytest.mark.parametrize("points_per_chunk", [1, 4, 2048])
def test_reduced_system_is_the_schur_complement_of_the_dense_one(damping: float, points_per_chunk: int) -> None:
    problem = small_problem()
    at, priors = linearise(problem), some_priors(problem)
    weight = np.random.default_rng(2).uniform(0.1, 4.0, len(problem.xy))
    layout = make_layout(problem, priors, points_per_chunk)
    H, g = dense_system(problem, at, weight, priors)
    H[np.diag_indices(len(H))] *= 1.0 + damping
    c = layout.n_columns
    assert c == 6 * 5 + 9 and len(H) == c + 3 * 15
    normal = normal_equations(problem, at, weight, priors, layout, damping)
    V_inverse = np.linalg.inv(H[c:, c:])
    scale = np.abs(H[:c, :c]).max()
    np.testing.assert_allclose(normal.reduced, H[:c, :c] - H[:c, c:] @ V_inverse @ H[c:, :c], atol=1e-9 * scale)
    np.testing.assert_allclose(normal.gradient, g[:c] - H[:c, c:] @ V_inverse @ g[c:], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(normal.point_gradient.ravel(), g[c:], rtol=1e-10, atol=1e-8)
    step, point_step = solve(normal, problem, at, weight, layout)
    expected = -np.linalg.solve(H, g)
    np.testing.assert_allclose(step, expected[:c], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(point_step.ravel(), expected[c:], rtol=1e-5, atol=1e-8)


def test_chunks_do_not_change_the_normal_equations() -> None:
    problem = small_problem(n_points=60)
    at, priors = linearise(problem), some_priors(problem)
    weight = np.ones(len(problem.xy))
    whole, *others = (
        normal_equations(problem, at, weight, priors, make_layout(problem, priors, size), 1e-4)
        for size in (2048, 1, 7, 59, 60)
    )
    for other in others:
        for item in fields(Normal):
            first, second = getattr(whole, item.name), getattr(other, item.name)
            np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9 * np.abs(first).max())


def test_layout_splits_points_by_their_first_photo() -> None:
    problem = small_problem(n_points=40)
    layout = make_layout(problem, some_priors(problem), 16)
    assert len(layout.chunks) == 3
    np.testing.assert_array_equal(
        np.sort(np.concatenate([chunk.rows for chunk in layout.chunks])), np.arange(len(problem.xy))
    )
    for chunk in layout.chunks:
        np.testing.assert_array_equal(chunk.points[chunk.point], problem.point[chunk.rows])
        np.testing.assert_array_equal(chunk.active[chunk.column], layout.columns[chunk.rows])
    points = [set(problem.point[chunk.rows]) for chunk in layout.chunks]
    assert [len(some) for some in points] == [16, 16, 8] and len(set.union(*points)) == 40
    first = np.array([problem.view[problem.point == p].min() for p in range(40)])
    for earlier, later in itertools.pairwise(points):
        assert first[list(earlier)].max() <= first[list(later)].min()


def test_layout_sends_fixed_intrinsics_to_the_last_column() -> None:
    problem = small_problem()
    layout = make_layout(problem, some_priors(problem))
    assert layout.n_columns == 39 and layout.used.tolist() == [0, 1, 2, 3, 4, 5, 7], "p1 is fixed everywhere"
    for view, columns in zip(problem.view, layout.columns, strict=True):
        np.testing.assert_array_equal(columns[:6], 6 * view + np.arange(6))
        expected = [[30, 39, 31, 32, 33, 34, 35], [36, 37, 39, 39, 38, 39, 39]][problem.group[view]]
        np.testing.assert_array_equal(columns[6:], expected)


def test_points_that_nobody_sees_stay_where_they_are() -> None:
    problem = small_problem(0.3, 20)
    lonely = np.array([[1.0, 2.0, 3.0]])
    with_lonely = replace(problem, xyz=np.concatenate([lonely, problem.xyz, lonely]), point=problem.point + 1)
    for size in (1, 2048):
        priors = free(2, 0)
        layout, at = make_layout(with_lonely, priors, size), linearise(with_lonely)
        weight = np.ones(len(problem.xy))
        normal = normal_equations(with_lonely, at, weight, priors, layout, 1e-4)
        _, step = solve(normal, with_lonely, at, weight, layout)
        assert (step[[0, -1]] == 0).all() and (np.abs(step[1:-1]) > 0).all()
    result = adjust(with_lonely, priors).problem
    np.testing.assert_array_equal(result.xyz[[0, -1]], np.repeat(lonely, 2, axis=0))


# ---------------------------------------------------------------- thinning


def test_few_points_are_not_thinned() -> None:
    problem = small_problem(n_points=30)
    assert thinned(problem, most=30) is problem


@pytest.mark.parametrize("most", [1, 7, 20, 99])
def test_thinned_problem_keeps_whole_tracks(most: int) -> None:
    problem = small_problem(n_points=100)
    fewer = thinned(problem, most, least_per_view=0)
    assert 0 < len(fewer.xyz) <= most
    kept = np.flatnonzero((problem.xyz[:, None] == fewer.xyz[None]).all(axis=2).any(axis=1))
    np.testing.assert_array_equal(fewer.xyz, problem.xyz[kept])
    rows = np.isin(problem.point, kept)
    np.testing.assert_array_equal(fewer.xy, problem.xy[rows])
    np.testing.assert_array_equal(fewer.view, problem.view[rows])
    np.testing.assert_array_equal(kept[fewer.point], problem.point[rows])
    np.testing.assert_array_equal(linearise(fewer).residual, linearise(problem).residual[rows])
    assert fewer.pose is problem.pose and fewer.intrinsics is problem.intrinsics


def test_every_view_keeps_enough_to_stay_determined() -> None:
    problem = small_problem(n_points=200)
    poor = (problem.view != 3) | (np.arange(len(problem.xy)) % 7 == 0)
    problem = replace(problem, view=problem.view[poor], point=problem.point[poor], xy=problem.xy[poor])
    have, kept = (np.bincount(p.view, minlength=5) for p in (problem, thinned(problem, 10, least_per_view=25)))
    assert (kept >= np.minimum(have, 25)).all() and kept.sum() < have.sum()


# ---------------------------------------------------------------- loss


def test_cauchy_weights_are_one_at_zero_and_half_at_the_scale() -> None:
    residual = np.array([[0.0, 0.0], [3.0, 4.0], [30.0, 40.0]])
    np.testing.assert_allclose(cauchy_weights(residual, 5.0), [1.0, 0.5, 1 / 101])


def test_cost_adds_loss_and_priors() -> None:
    problem, priors = small_problem(), some_priors(small_problem())
    residual = np.zeros_like(problem.xy)
    residual[0] = [3.0, 4.0]
    terms = [(0.01 / s) ** 2 for s in (0.03, 6, 6, 0.1, 0.03, 1.0, 0.01, 0.1)]
    expected = 0.5 * CAUCHY_SIGMAS**2 * np.log1p((5.0 / (CAUCHY_SIGMAS * 2.0)) ** 2) + 0.5 * sum(terms)
    assert cost(problem, residual, 2.0, priors) == pytest.approx(expected, rel=1e-9)


def test_small_residuals_cost_half_their_square() -> None:
    problem = small_problem()
    residual = np.full_like(problem.xy, 1e-4)
    assert cost(problem, residual, 1.0, free(2)) == pytest.approx(0.5 * (residual**2).sum(), rel=1e-6)


def test_reweighted_gradient_is_the_gradient_of_the_cost() -> None:
    problem = small_problem(3.0)
    priors, sigma = some_priors(problem), 0.8
    at, c = linearise(problem), 39
    weight = cauchy_weights(at.residual, CAUCHY_SIGMAS * sigma) / sigma**2
    _, g = dense_system(problem, at, weight, priors)

    def value(step: np.ndarray) -> float:
        after = apply_step(problem, step[:c], step[c:].reshape(-1, 3), priors)
        return cost(after, linearise(after).residual, sigma, priors)

    for k in (0, 4, 11, 29, 30, 31, 33, 34, 35, 36, 37, 38, 39, 50, len(g) - 1):
        direction = np.zeros(len(g))
        direction[k] = 1e-6
        assert (value(direction) - value(-direction)) / 2e-6 == pytest.approx(g[k], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("track", [2, 3, 4, 7])
def test_sigma_of_the_noise_is_found_whatever_the_track_length(track: int) -> None:
    cameras = cameras_at(ring_poses(7))
    points = observe(cameras, cloud(600, seed=track), 0.5, seed=track, max_views=track)
    problem = problem_of(cameras, points)
    assert adjust(problem, centred_on(problem, np.zeros(8)), tolerance=1e-3).sigma_px == pytest.approx(0.5, rel=0.1)


def test_sigma_ignores_outliers_and_has_a_floor() -> None:
    problem = small_problem(0.0, 50)
    residual = np.random.default_rng(0).standard_normal(problem.xy.shape)
    clean = robust_sigma(problem, residual)
    residual[::10] += 500.0
    assert clean < robust_sigma(problem, residual) < 1.3 * clean
    assert robust_sigma(problem, 0.0 * residual) == MIN_SIGMA_PX
    assert robust_sigma(problem, 2.0 * residual) == pytest.approx(2.0 * robust_sigma(problem, residual))


# ---------------------------------------------------------------- adjustment


def check_recovered(found: Problem, truth: Problem, accuracy: float) -> None:
    like = cameras_at(ring_poses(len(truth.pose)))
    np.testing.assert_allclose(found.intrinsics[:, 0], truth.intrinsics[:, 0], atol=accuracy)
    np.testing.assert_allclose(found.intrinsics[:, 4], truth.intrinsics[:, 4], atol=accuracy)
    assert centre_errors(to_cameras(found, like), to_cameras(truth, like)).max() < accuracy


def test_shaken_scene_is_recovered_exactly() -> None:
    cameras = cameras_at(ring_poses(6), (600.0, 600.0, 320.0, 240.0), (-0.06, 0.0, 0.0, 0.0))
    truth = problem_of(cameras, observe(cameras, cloud(50)))
    start = shaken(truth, 0.02)
    start.intrinsics[:, 0] += 0.03
    start.intrinsics[:, 4] = 0.0
    assert np.linalg.norm(linearise(start).residual, axis=1).mean() > 5
    result = adjust(start, free(1, 0, 4), max_iterations=40, tolerance=1e-12)
    assert np.abs(result.residual).max() < 1e-6
    np.testing.assert_array_equal(result.residual, linearise(result.problem).residual)
    assert result.sigma_px == MIN_SIGMA_PX and 2 <= result.n_iterations <= 80
    check_recovered(result.problem, truth, 1e-6)


def test_one_in_ten_gross_outliers_hardly_matters() -> None:
    cameras = cameras_at(ring_poses(6))
    points = observe(cameras, cloud(120), 0.3)
    truth, rng = problem_of(cameras, points), np.random.default_rng(4)
    xy = points.obs_xy.copy()
    wrong = rng.random(len(xy)) < 0.1
    xy[wrong] += rng.uniform(-200, 200, (wrong.sum(), 2))
    bad = shaken(replace(truth, xy=xy), 0.005)
    clean, dirty = (adjust(problem, free(1, 0, 4), 30) for problem in (truth, bad))
    assert dirty.sigma_px < 1.4 * clean.sigma_px
    size = np.linalg.norm(dirty.residual, axis=1)
    assert np.median(size[wrong]) > 50 and np.median(size[~wrong]) < 0.5
    like = cameras_at(ring_poses(6))
    shift = centre_errors(to_cameras(dirty.problem, like), to_cameras(truth, like)).max()
    assert shift < 0.01, "six units away, 0.3 px"


def test_fixed_intrinsics_keep_their_bits() -> None:
    problem = small_problem(1.0, 40)
    result = adjust(problem, free(2, 0, 4)).problem
    fixed = [1, 2, 3, 5, 6, 7]
    assert problem.intrinsics[:, fixed].tobytes() == result.intrinsics[:, fixed].tobytes()
    assert (problem.intrinsics[:, [0, 4]] != result.intrinsics[:, [0, 4]]).all()
    assert adjust(problem, free(2)).problem.intrinsics.tobytes() == problem.intrinsics.tobytes()


def test_inputs_are_not_changed() -> None:
    problem = small_problem(1.0, 20)
    before = [getattr(problem, item.name).copy() for item in fields(Problem)]
    adjust(problem, free(2, 0))
    for item, old in zip(fields(Problem), before, strict=True):
        np.testing.assert_array_equal(getattr(problem, item.name), old)


@pytest.mark.parametrize(("parameter", "share"), [(0, 0.5), (4, 0.5), (0, 0.2)])
def test_prior_and_photos_share_a_parameter_by_their_precision(parameter: int, share: float) -> None:
    """Exact photos of information I and a prior of precision P at distance d leave the optimum at d P / (I + P)."""
    cameras = cameras_at(ring_poses(5), CENTRED, (-0.05, 0.0, 0.0, 0.0))
    problem = problem_of(cameras, observe(cameras, cloud(60)))
    flat = free(1, parameter)
    at, layout = linearise(problem), make_layout(problem, flat)
    weight = np.full(len(problem.xy), MIN_SIGMA_PX**-2)
    reduced = normal_equations(problem, at, weight, flat, layout).reduced
    information = 1.0 / np.linalg.pinv(reduced, rcond=1e-11, hermitian=True)[-1, -1]
    sigma = np.sqrt((1 - share) / (share * information))
    distance = 0.05 / np.sqrt(information)  # far below one standard deviation: the loss is quadratic there
    mean, sigmas = problem.intrinsics.copy(), np.zeros((1, 8))
    mean[0, parameter] += distance
    sigmas[0, parameter] = sigma
    found = adjust(problem, Priors(mean, sigmas), 30, tolerance=1e-10).problem
    moved_by = found.intrinsics[0, parameter] - problem.intrinsics[0, parameter]
    assert moved_by == pytest.approx(share * distance, rel=0.02)


def test_without_observations_nothing_breaks() -> None:
    problem = small_problem(0.0)
    empty = replace(problem, view=problem.view[:0], point=problem.point[:0], xy=problem.xy[:0])
    sigma = np.zeros((2, 8))
    sigma[:, 0] = 0.1
    priors = Priors(problem.intrinsics + 0.2, sigma)
    start = cost(empty, empty.xy, 1.0, priors)
    assert start == pytest.approx(0.5 * 2 * 4.0)
    result = adjust(empty, priors)
    assert result.sigma_px == 1.0 and result.residual.shape == (0, 2)
    assert cost(result.problem, empty.xy, 1.0, priors) <= start


def test_few_steps_take_most_of_the_cost() -> None:
    problem = shaken(small_problem(0.5, 60), 0.01)
    priors = centred_on(problem, np.array([0.03, 0.0, 6.0, 6.0, 0.1, 0.03, 0.0, 0.0]))
    sigma = robust_sigma(problem, linearise(problem).residual)
    values = [cost(problem, linearise(problem).residual, sigma, priors)]
    for n in (1, 2, 4, 8):
        result = adjust(problem, priors, max_iterations=n, tolerance=0.0)
        values.append(cost(result.problem, result.residual, sigma, priors))
    assert max(values[1:]) < 0.06 * values[0] and values[-1] < 1.05 * values[-2]


def test_same_bits_twice_and_nearly_the_same_for_reordered_observations() -> None:
    problem = shaken(small_problem(0.5, 60), 0.005)
    priors = centred_on(problem, np.array([0.03, 0.0, 6.0, 6.0, 0.1, 0.0, 0.0, 0.0]))
    first, again = adjust(problem, priors), adjust(problem, priors)
    for name in ("pose", "intrinsics", "xyz"):
        assert getattr(first.problem, name).tobytes() == getattr(again.problem, name).tobytes()
    order = np.random.default_rng(0).permutation(len(problem.xy))
    other = replace(problem, view=problem.view[order], point=problem.point[order], xy=problem.xy[order])
    np.testing.assert_allclose(adjust(other, priors).problem.intrinsics, first.problem.intrinsics, atol=1e-7)


def test_start_with_points_behind_cameras_does_not_crash() -> None:
    problem = small_problem(0.3, 40)
    xyz = problem.xyz.copy()
    xyz[:4] *= -30.0
    result = adjust(replace(problem, xyz=xyz), free(2, 0))
    assert np.isfinite(result.residual).all() and np.isfinite(result.sigma_px)
    assert np.isfinite(result.problem.pose).all()
    others = np.linalg.norm(result.residual[problem.point >= 4], axis=1)
    assert np.median(others) < 1.0


def test_problem_without_distortion_is_a_pinhole() -> None:
    cameras = cameras_at(ring_poses(3)).pinhole()
    points = observe(cameras, cloud(5))
    problem = make_problem(cameras, np.zeros(3, np.int64), points)
    assert (problem.intrinsics[:, 4:] == 0).all() and np.abs(linearise(problem).residual).max() < 1e-9
    assert problem.view.dtype == problem.point.dtype == np.int64
