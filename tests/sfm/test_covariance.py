"""Covariance: derivatives against finite differences, predicted spread against Monte Carlo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon3d.core.errors import ResultError, UsageError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.covariance import CovarianceOptions, gauge_directions, uncertainty
from recon3d.sfm.reprojection import INTRINSICS, reprojection_jacobian


def rotation_of(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    if angle < 1e-14:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def vector_of(rotation: np.ndarray) -> np.ndarray:
    """Small rotation vector of a matrix."""
    return (
        np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
        / 2
    )


def ring(n: int = 6, distortion: tuple[float, ...] = (-0.05, 0.0, 0.0, 0.0)) -> Cameras:
    poses = []
    for i in range(n):
        yaw = np.radians(-50 + 100 * i / max(n - 1, 1))
        center = np.array([5 * np.sin(yaw), 0.7 * np.sin(3 * i), -5 * np.cos(yaw)])
        forward = -center / np.linalg.norm(center)
        right = np.cross([0, 1.0, 0], forward)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
        poses.append(pose)
    K = np.tile(np.array([[600.0, 0, 330], [0, 610, 236], [0, 0, 1]]), (n, 1, 1))
    return Cameras(np.stack(poses), K, np.full(n, 640), np.full(n, 480), np.tile(np.array(distortion), (n, 1)))


def observed(cameras: Cameras, xyz: np.ndarray, share: float = 1.0, noise: float = 0.0, seed: int = 0) -> Points:
    generator = np.random.default_rng(seed)
    p, n = len(xyz), len(cameras)
    point, view = (index.ravel() for index in np.meshgrid(np.arange(p), np.arange(n), indexing="ij"))
    keep = generator.random(len(point)) < share
    point, view = point[keep], view[keep]
    xy, _ = cameras.project(xyz[point], view)
    xy = xy + noise * generator.standard_normal(xy.shape)
    nan, rgb = np.full(p, np.nan), np.zeros((p, 3), np.uint8)
    return Points(xyz, rgb, nan, nan, point.astype(np.int32), view.astype(np.int32), xy)


def blob(p: int = 60) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1.2, 1.2, (p, 3))


def moved(cameras: Cameras, view: int, step: np.ndarray) -> Cameras:
    """One camera turned (camera axes) and shifted (world axes)."""
    poses = cameras.cam_from_world.copy()
    rotation = rotation_of(step[:3]) @ poses[view, :3, :3]
    center = cameras.centers[view] + step[3:]
    poses[view, :3, :3], poses[view, :3, 3] = rotation, -rotation @ center
    return replace(cameras, cam_from_world=poses)


def with_intrinsics(cameras: Cameras, name: str, step: float) -> Cameras:
    K, distortion = cameras.K.copy(), np.array(cameras.distortion)
    if name == "focal":
        K[:, 1, 1] *= 1 + step / K[:, 0, 0]
        K[:, 0, 0] += step
    elif name in ("cx", "cy"):
        K[:, "xy".index(name[1]), 2] += step
    else:
        distortion[:, ("k1", "k2", "p1", "p2").index(name)] += step
    return replace(cameras, K=K, distortion=distortion)


def test_derivatives_agree_with_finite_differences() -> None:
    cameras = ring(3, (-0.1, 0.03, 0.004, -0.006))
    points = observed(cameras, blob(20))
    jacobian = reprojection_jacobian(cameras, points)
    assert np.abs(jacobian.residual).max() < 1e-9
    step = 1e-6

    def slope(later: Cameras, earlier: Cameras, xyz: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        first, second = xyz or (points.xyz, points.xyz)
        view = points.obs_view.astype(np.int64)
        ahead, _ = later.project(first[points.obs_point], view)
        return (ahead - earlier.project(second[points.obs_point], view)[0]) / (2 * step)

    for axis in range(6):
        for view in range(3):
            delta = step * np.eye(6)[axis]
            numeric = slope(moved(cameras, view, delta), moved(cameras, view, -delta))
            seen = points.obs_view == view
            np.testing.assert_allclose(jacobian.pose[seen, :, axis], numeric[seen], rtol=1e-5, atol=1e-5)
            assert np.abs(numeric[~seen]).max() == 0
    for column, name in enumerate(INTRINSICS):
        numeric = slope(with_intrinsics(cameras, name, step), with_intrinsics(cameras, name, -step))
        np.testing.assert_allclose(jacobian.intrinsics[..., column], numeric, rtol=1e-5, atol=1e-5)
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        numeric = slope(cameras, cameras, (points.xyz + shift, points.xyz - shift))
        np.testing.assert_allclose(jacobian.point[..., axis], numeric, rtol=1e-5, atol=1e-5)


def test_gauge_directions_change_no_projection() -> None:
    cameras, xyz = ring(4), blob(10)
    points = observed(cameras, xyz)
    jacobian = reprojection_jacobian(cameras, points)
    directions = gauge_directions(cameras).reshape(4, 6, 7)
    centred = xyz - cameras.centers.mean(0)
    by_pose = np.einsum("oai,oig->oag", jacobian.pose, directions[points.obs_view])
    shift = np.zeros((10, 3, 7))
    shift[:, :, :3], shift[:, :, 6] = np.eye(3), centred
    shift[:, :, 3:6] = np.stack([np.cross(np.eye(3)[k], centred) for k in range(3)], -1)
    by_point = np.einsum("oai,oig->oag", jacobian.point, shift[points.obs_point])
    np.testing.assert_allclose(by_pose + by_point, 0, atol=1e-9 * np.abs(by_pose).max())


def solve(cameras: Cameras, points: Points, free: tuple[str, ...]) -> tuple[Cameras, np.ndarray]:
    """Two Gauss-Newton steps of full bundle adjustment with one shared camera; damping picks a gauge."""
    xyz, n, k = points.xyz, len(cameras), len(free)
    for _ in range(2):
        jacobian = reprojection_jacobian(cameras, replace(points, xyz=xyz))
        o = np.arange(len(points.obs_view))
        design = np.zeros((len(o), 2, 6 * n + k + 3 * len(xyz)))
        for axis in range(6):
            design[o, :, 6 * points.obs_view + axis] = jacobian.pose[..., axis]
        design[:, :, 6 * n : 6 * n + k] = jacobian.intrinsics[..., [INTRINSICS.index(name) for name in free]]
        for axis in range(3):
            design[o, :, 6 * n + k + 3 * points.obs_point + axis] = jacobian.point[..., axis]
        flat = design.reshape(2 * len(o), -1)
        normal = flat.T @ flat
        step = np.linalg.solve(normal + 1e-6 * np.eye(len(normal)), flat.T @ jacobian.residual.ravel())
        for view in range(n):
            cameras = moved(cameras, view, step[6 * view : 6 * view + 6])
        for name, value in zip(free, step[6 * n : 6 * n + k], strict=True):
            cameras = with_intrinsics(cameras, name, value)
        xyz = xyz + step[6 * n + k :].reshape(-1, 3)
    return cameras, xyz


def pose_errors(estimate: Cameras, truth: Cameras, spread: float) -> np.ndarray:
    """Pose errors [n,6] (rad, world) after the best similarity in the stated weighting."""
    turn = estimate.cam_from_world[:, :3, :3] @ truth.cam_from_world[:, :3, :3].transpose(0, 2, 1)
    error = np.concatenate([np.stack([vector_of(r) for r in turn]), estimate.centers - truth.centers], 1).ravel()
    weight = np.tile(np.repeat([1.0, 1 / spread], 3), len(truth))
    gauge = gauge_directions(truth)
    fit, *_ = np.linalg.lstsq(gauge * weight[:, None], error * weight, rcond=None)
    return (error - gauge @ fit).reshape(-1, 6)


@pytest.mark.parametrize(
    "options", [CovarianceOptions(principal_point_sigma=0), CovarianceOptions(free_principal_point=True)]
)
def test_predicted_sigma_is_the_spread_of_repeated_adjustments(options: CovarianceOptions) -> None:
    cameras, xyz, noise = ring(5), blob(40), 0.5
    group = np.zeros(5, dtype=np.int64)
    spread = float(np.sqrt(((cameras.centers - cameras.centers.mean(0)) ** 2).sum(1).mean()))
    errors, focals, noises = [], [], []
    for trial in range(120):
        points = observed(cameras, xyz, noise=noise, seed=trial)
        estimate, better = solve(cameras, points, options.free)
        errors.append(pose_errors(estimate, cameras, spread))
        focals.append(estimate.K[0, 0, 0])
        if trial < 3:
            noises.append(uncertainty(estimate, group, replace(points, xyz=better), options).noise_px)
    predicted = uncertainty(cameras, group, observed(cameras, xyz, noise=noise, seed=1), options)
    scale = noise / predicted.noise_px
    sigma = predicted.pose_sigma * scale * np.repeat([np.radians(1), 1.0], 3)
    ratio = np.sqrt(np.mean(np.square(errors), 0)) / sigma
    assert 0.93 < np.median(ratio) < 1.07 and ratio.min() > 0.75 and ratio.max() < 1.25
    assert np.std(focals) / (predicted.intrinsics_sigma[0, 0] * scale) == pytest.approx(1, abs=0.25)
    assert np.mean(noises) == pytest.approx(noise, rel=0.06)


def test_sigma_of_points_contains_that_of_the_cameras() -> None:
    cameras, xyz = ring(5), blob(30)
    group = np.zeros(5, dtype=np.int64)
    points = observed(cameras, xyz, noise=0.5)
    result = uncertainty(cameras, group, points, CovarianceOptions(principal_point_sigma=0))
    jacobian = reprojection_jacobian(cameras, points)
    for index in (0, 7):
        rows = jacobian.point[points.obs_point == index].reshape(-1, 3)
        alone = np.sqrt(np.linalg.eigvalsh(np.linalg.inv(rows.T @ rows))[-1]) * result.noise_px
        assert alone < result.point_sigma[index] < 10 * alone


def test_point_sigma_equals_the_dense_inverse() -> None:
    cameras, xyz = ring(4), blob(15)
    points = observed(cameras, xyz, noise=0.3)
    options = CovarianceOptions(n_distortion=0, free_focal=False, principal_point_sigma=0)
    result = uncertainty(cameras, np.zeros(4, dtype=np.int64), points, options)
    jacobian = reprojection_jacobian(cameras, points)
    design = np.zeros((len(points.obs_view), 2, 24 + 45))
    for o, (view, point) in enumerate(zip(points.obs_view, points.obs_point, strict=True)):
        design[o, :, 6 * view : 6 * view + 6] = jacobian.pose[o]
        design[o, :, 24 + 3 * point : 27 + 3 * point] = jacobian.point[o]
    flat = design.reshape(-1, 69)
    spread2 = ((cameras.centers - cameras.centers.mean(0)) ** 2).sum(1).mean()
    weighted = np.zeros((69, 7))
    weighted[:24] = gauge_directions(cameras) * np.tile(np.repeat([1, 1 / spread2], 3), 4)[:, None]
    normal = flat.T @ flat
    kkt = np.block([[normal, weighted], [weighted.T, np.zeros((7, 7))]])
    covariance = np.linalg.inv(kkt)[:69, :69] * result.noise_px**2
    blocks = [covariance[24 + 3 * i : 27 + 3 * i, 24 + 3 * i : 27 + 3 * i] for i in range(15)]
    np.testing.assert_allclose(result.point_sigma, np.sqrt([np.linalg.eigvalsh(b)[-1] for b in blocks]), rtol=1e-6)
    pose = np.sqrt(np.diagonal(covariance)[:24]).reshape(4, 6)
    np.testing.assert_allclose(result.pose_sigma[:, 3:], pose[:, 3:], rtol=1e-6)
    np.testing.assert_allclose(result.pose_sigma[:, :3], np.degrees(pose[:, :3]), rtol=1e-6)


def test_sigma_scales_with_the_world_and_follows_the_noise() -> None:
    cameras, xyz = ring(5), blob(40)
    group = np.zeros(5, dtype=np.int64)
    options = CovarianceOptions(principal_point_sigma=0)
    points = observed(cameras, xyz, noise=0.4)
    one = uncertainty(cameras, group, points, options)
    similarity = np.diag([3.0, 3.0, 3.0, 1.0])
    three = uncertainty(cameras.transformed(similarity), group, replace(points, xyz=3 * xyz), options)
    np.testing.assert_allclose(three.pose_sigma[:, 3:], 3 * one.pose_sigma[:, 3:], rtol=1e-6)
    np.testing.assert_allclose(three.pose_sigma[:, :3], one.pose_sigma[:, :3], rtol=1e-6)
    np.testing.assert_allclose(three.point_sigma, 3 * one.point_sigma, rtol=1e-6)
    double = replace(points, obs_xy=2 * points.obs_xy - observed(cameras, xyz).obs_xy)
    np.testing.assert_allclose(uncertainty(cameras, group, double, options).pose_sigma, 2 * one.pose_sigma, rtol=0.02)


def test_held_principal_point_widens_the_result() -> None:
    cameras, group = ring(5), np.zeros(5, dtype=np.int64)
    points = observed(cameras, blob(40), noise=0.3)
    trusted, doubted, more = (
        uncertainty(cameras, group, points, CovarianceOptions(principal_point_sigma=sigma)).pose_sigma
        for sigma in (0, 0.01, 0.02)
    )
    assert (doubted >= trusted - 1e-12).all() and doubted.max() > 2 * trusted.max()
    np.testing.assert_allclose(more**2 - trusted**2, 4 * (doubted**2 - trusted**2), rtol=1e-4, atol=1e-9)


def test_held_principal_point_predicts_the_shift_of_the_solution() -> None:
    truth, group = ring(5), np.zeros(5, dtype=np.int64)
    points = observed(truth, blob(40))
    wrong = with_intrinsics(with_intrinsics(truth, "cx", 2.0), "cy", -2.0)
    options = CovarianceOptions(principal_point_sigma=2.0 / 640)
    estimate, _ = solve(wrong, points, options.free)
    spread = float(np.sqrt(((truth.centers - truth.centers.mean(0)) ** 2).sum(1).mean()))
    error = np.abs(pose_errors(estimate, truth, spread)) * np.repeat([np.degrees(1), 1.0], 3)
    noisy = observed(truth, blob(40), noise=1e-4)
    sigma = uncertainty(truth, group, noisy, options).pose_sigma
    assert np.sqrt(np.mean((error / sigma) ** 2)) == pytest.approx(1, abs=0.35)
    assert (error < 1.5 * sigma).all()


def test_outliers_do_not_inflate_the_noise() -> None:
    cameras, group = ring(6), np.zeros(6, dtype=np.int64)
    points = observed(cameras, blob(80), noise=0.3)
    spoiled = points.obs_xy.copy()
    spoiled[::50] += 20
    noise = uncertainty(cameras, group, replace(points, obs_xy=spoiled)).noise_px
    assert noise < 1.0  # plain least squares would say 2


def test_separate_groups_have_their_own_intrinsics_and_wider_poses() -> None:
    cameras = ring(6)
    points = observed(cameras, blob(50), noise=0.3)
    shared = uncertainty(cameras, np.full(6, 7), points)
    split = uncertainty(cameras, np.array([1, 1, 1, 4, 4, 4]), points)
    assert shared.group.tolist() == [7] and split.group.tolist() == [1, 4]
    assert split.intrinsics_sigma.shape == (2, 2) and split.intrinsics == ("focal", "k1")
    assert split.intrinsics_sigma[:, 0].min() > shared.intrinsics_sigma[0, 0]


def test_unseen_camera_and_lonely_points_are_unknown_not_wrong() -> None:
    cameras, group = ring(5), np.zeros(5, dtype=np.int64)
    points = observed(cameras, blob(40), noise=0.3)
    keep = (points.obs_view != 4) & ~((points.obs_point == 3) & (points.obs_view > 0))
    fewer = replace(
        points, obs_point=points.obs_point[keep], obs_view=points.obs_view[keep], obs_xy=points.obs_xy[keep]
    )
    result = uncertainty(cameras, group, fewer)
    assert np.isnan(result.pose_sigma[4]).all() and np.isfinite(result.pose_sigma[:4]).all()
    assert np.isnan(result.point_sigma[3]) and np.isfinite(np.delete(result.point_sigma, 3)).all()


def test_two_cameras_are_enough_and_one_is_an_error() -> None:
    cameras = ring(2)
    options = CovarianceOptions(free_focal=False, n_distortion=0, principal_point_sigma=0)
    result = uncertainty(cameras, np.zeros(2, dtype=np.int64), observed(cameras, blob(40), noise=0.3), options)
    assert np.isfinite(result.pose_sigma).all() and result.redundancy == 160 - 120 - 5
    with pytest.raises(ResultError, match="at least two"):
        uncertainty(cameras[:1], np.zeros(1, dtype=np.int64), observed(cameras[:1], blob(5)))


def test_nothing_observed_and_bad_options_are_errors() -> None:
    cameras, group = ring(3), np.zeros(3, dtype=np.int64)
    with pytest.raises(ResultError, match="no point"):
        uncertainty(cameras, group, observed(cameras, blob(5), share=0.0))
    with pytest.raises(ResultError, match="redundant"):
        uncertainty(cameras, group, observed(cameras, blob(3)))
    with pytest.raises(UsageError, match="distortion"):
        CovarianceOptions(n_distortion=3)


def test_priors_on_intrinsics_count_as_observations() -> None:
    cameras, group = ring(5), np.zeros(5, dtype=np.int64)
    points = observed(cameras, blob(40), noise=0.3)
    options = CovarianceOptions(principal_point_sigma=0)
    free = uncertainty(cameras, group, points, options)
    none = uncertainty(cameras, group, points, options, np.full((1, 2), np.inf))
    np.testing.assert_allclose(none.pose_sigma, free.pose_sigma, rtol=1e-9)
    # A prior as good as the photos halves the variance of that intrinsic.
    prior = np.array([[free.intrinsics_sigma[0, 0], np.inf]])
    halved = uncertainty(cameras, group, points, options, prior)
    assert halved.intrinsics_sigma[0, 0] == pytest.approx(free.intrinsics_sigma[0, 0] / np.sqrt(2), rel=1e-6)
    assert (halved.pose_sigma <= free.pose_sigma * (1 + 1e-9)).all()
    held = uncertainty(cameras, group, points, options, np.zeros((1, 2)))
    bare = uncertainty(cameras, group, points, replace(options, free_focal=False, n_distortion=0))
    assert held.intrinsics_sigma.max() < 1e-3 * free.intrinsics_sigma.max()
    np.testing.assert_allclose(held.pose_sigma, bare.pose_sigma * held.noise_px / bare.noise_px, rtol=1e-3)


def test_prior_rescues_a_focal_length_that_two_photos_cannot_tell() -> None:
    cameras, group = ring(2), np.zeros(2, dtype=np.int64)
    points = observed(cameras, blob(40), noise=0.3)
    options = CovarianceOptions(principal_point_sigma=0)
    blind = uncertainty(cameras, group, points, options)
    helped = uncertainty(cameras, group, points, options, np.array([[6.0, 0.02]]))
    assert helped.intrinsics_sigma[0, 0] <= 6.0 < blind.intrinsics_sigma[0, 0]
    assert np.nanmax(helped.pose_sigma) < np.nanmax(blind.pose_sigma)


def test_inflation_widens_everything_but_the_noise() -> None:
    cameras, group = ring(5), np.zeros(5, dtype=np.int64)
    points = observed(cameras, blob(40), noise=0.3)
    plain, wide = (
        uncertainty(cameras, group, points, CovarianceOptions(principal_point_sigma=0, inflation=k)) for k in (1.0, 2.5)
    )
    np.testing.assert_allclose(wide.pose_sigma, 2.5 * plain.pose_sigma, rtol=1e-9)
    np.testing.assert_allclose(wide.point_sigma, 2.5 * plain.point_sigma, rtol=1e-9)
    np.testing.assert_allclose(wide.intrinsics_sigma, 2.5 * plain.intrinsics_sigma, rtol=1e-9)
    assert wide.noise_px == plain.noise_px
