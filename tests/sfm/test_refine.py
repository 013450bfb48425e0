"""Refinement: re-triangulation, removal of outliers, angles and errors against their definitions."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation
from sfm_captures import (
    CENTRED,
    Solved,
    cameras_at,
    centre_errors,
    cloud,
    observe,
    problem_of,
    ring_poses,
    rotation_errors_deg,
    write_capture,
)

from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.bundle import Adjusted, linearise
from recon3d.sfm.intrinsics import assume, make_priors
from recon3d.sfm.mapping import run_mapper
from recon3d.sfm.refine import (
    MAX_SIGMAS,
    MIN_ANGLE_DEG,
    adjust_mapped,
    approach,
    filter_observations,
    keep_observations,
    refine,
    retriangulate,
    triangulation_angles,
    with_errors,
    with_problem,
)
from recon3d.sfm.types import Mapped


def model(noise_px: float = 0.0, n_points: int = 30, n_photos: int = 5) -> Mapped:
    cameras = cameras_at(ring_poses(n_photos))
    points = observe(cameras, cloud(n_points), noise_px)
    return Mapped("global", np.arange(n_photos) * 2, cameras, np.zeros(n_photos, np.int64), points)


def adjusted_as_is(mapped: Mapped, sigma_px: float = 0.3) -> Adjusted:
    problem = problem_of(mapped.cameras, mapped.points)
    return Adjusted(problem, sigma_px, linearise(problem).residual, 0)


# ---------------------------------------------------------------- observations


def numbered(points: Points) -> Points:
    """Points whose every field tells which point it was."""
    number = np.arange(float(len(points)))
    return replace(
        points,
        xyz=np.tile(number[:, None], 3),
        rgb=np.tile(np.arange(len(points), dtype=np.uint8)[:, None], 3),
        error_px=number + 0.25,
        sigma=number + 0.5,
    )


@settings(max_examples=50)
@given(st.integers(0, 2**20), st.integers(1, 4))
def test_kept_observations_still_belong_to_their_points(seed: int, min_track: int) -> None:
    points = numbered(model(0.2, 12).points)
    keep = np.random.default_rng(seed).random(len(points.obs_point)) < 0.5
    kept = keep_observations(points, keep, min_track)
    count = np.bincount(points.obs_point[keep], minlength=12)
    survivors = np.flatnonzero(count >= min_track)
    np.testing.assert_array_equal(kept.xyz[:, 0], survivors)
    np.testing.assert_array_equal(kept.rgb[:, 1], survivors)
    np.testing.assert_array_equal(kept.error_px, survivors + 0.25)
    np.testing.assert_array_equal(kept.sigma, survivors + 0.5)
    np.testing.assert_array_equal(kept.track_length, count[survivors])
    rows = np.flatnonzero(keep & (count >= min_track)[points.obs_point])
    np.testing.assert_array_equal(survivors[kept.obs_point], points.obs_point[rows])
    np.testing.assert_array_equal(kept.obs_view, points.obs_view[rows])
    np.testing.assert_array_equal(kept.obs_xy, points.obs_xy[rows])


def test_keeping_all_or_nothing() -> None:
    points = model(0.2, 6).points
    everything = keep_observations(points, np.ones(30, bool), 2)
    for item in fields(Points):
        np.testing.assert_array_equal(getattr(everything, item.name), getattr(points, item.name))
        assert getattr(everything, item.name).dtype == getattr(points, item.name).dtype
    nothing = keep_observations(points, np.zeros(30, bool), 2)
    assert len(nothing) == 0 and nothing.obs_xy.shape == (0, 2)
    assert len(keep_observations(nothing, np.zeros(0, bool), 2)) == 0


# ---------------------------------------------------------------- angles


def on_a_circle(angles_deg: list[float], radius: float = 3.0) -> tuple[Cameras, Points]:
    """Cameras that see one point, the origin, from given directions."""
    angle = np.radians(angles_deg)
    poses = np.tile(np.eye(4), (len(angle), 1, 1))
    poses[:, :3, 3] = -radius * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1)
    points = observe(cameras_at(ring_poses(len(angle))), np.zeros((1, 3)))
    return cameras_at(poses), points


@given(st.floats(0.01, 179.0), st.floats(-180.0, 180.0))
def test_angle_of_two_rays_is_exact(angle_deg: float, start_deg: float) -> None:
    found = triangulation_angles(*on_a_circle([start_deg, start_deg + angle_deg]))
    np.testing.assert_allclose(np.degrees(found), angle_deg, rtol=1e-6)


def test_angle_of_longer_tracks_is_the_widest() -> None:
    for angles in ([0.0, 10, 25], [0.0, 1, 2, 40], [0.0, 5, 10, 15, 20], [0.0, 30, 1, 2]):
        found = triangulation_angles(*on_a_circle(angles))
        np.testing.assert_allclose(np.degrees(found), max(angles), rtol=1e-9)


@given(st.lists(st.floats(0.0, 170.0), min_size=2, max_size=6))
def test_angle_is_never_too_large_and_at_least_half_of_the_widest(angles: list[float]) -> None:
    found = float(np.degrees(triangulation_angles(*on_a_circle(angles)))[0])
    widest = max(angles) - min(angles)
    assert 0.5 * widest - 1e-5 <= found <= widest + 1e-5


def test_each_point_has_its_own_angle() -> None:
    mapped = model()
    found = triangulation_angles(mapped.cameras, mapped.points)
    for xyz, angle in zip(mapped.points.xyz, found, strict=True):
        rays = xyz - mapped.cameras.centers
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        widest = np.arccos(np.clip(rays @ rays.T, -1, 1)).max()
        assert 0.95 * widest < angle <= widest + 1e-9


def test_points_without_observations_have_no_angle() -> None:
    mapped = model()
    keep = mapped.points.obs_point != 3
    lonely = replace(
        mapped.points,
        obs_point=mapped.points.obs_point[keep],
        obs_view=mapped.points.obs_view[keep],
        obs_xy=mapped.points.obs_xy[keep],
    )
    found = triangulation_angles(mapped.cameras, lonely)
    assert found[3] == 0 and (np.delete(found, 3) > 0.1).all()
    nobody = keep_observations(lonely, np.zeros(keep.sum(), bool), 2)
    assert triangulation_angles(mapped.cameras, nobody).shape == (0,)


# ---------------------------------------------------------------- filter


def test_clean_models_are_left_alone() -> None:
    mapped = model(0.2)
    after = filter_observations(mapped, adjusted_as_is(mapped))
    for item in fields(Points):
        np.testing.assert_array_equal(getattr(after.points, item.name), getattr(mapped.points, item.name))
    assert after.cameras is mapped.cameras and after.photo is mapped.photo


def test_only_the_outlying_observation_goes() -> None:
    mapped = model(0.1)
    xy = mapped.points.obs_xy.copy()
    xy[7] += [3.0, 0.0]
    mapped = replace(mapped, points=replace(mapped.points, obs_xy=xy))
    after = filter_observations(mapped, adjusted_as_is(mapped))
    assert len(after.points) == 30 and len(after.points.obs_point) == 149
    assert not (after.points.obs_xy == xy[7]).all(axis=1).any()


def test_threshold_follows_the_noise_but_never_falls_below_a_pixel() -> None:
    mapped = model()
    xy = mapped.points.obs_xy.copy()
    xy[3, 0] += 0.9
    xy[12, 1] += 2.1
    mapped = replace(mapped, points=replace(mapped.points, obs_xy=xy))
    for sigma, n_left in ((0.05, 149), (2.0 / MAX_SIGMAS, 149), (2.2 / MAX_SIGMAS, 150)):
        after = filter_observations(mapped, adjusted_as_is(mapped, sigma))
        assert len(after.points.obs_point) == n_left, sigma


def test_points_behind_a_camera_lose_that_view_although_they_fit() -> None:
    mapped = model()
    xyz = mapped.points.xyz.copy()
    xyz[5] = 3 * mapped.cameras.centers[2]
    moved = replace(mapped, points=replace(mapped.points, xyz=xyz))
    residual = np.zeros_like(mapped.points.obs_xy)
    after = filter_observations(moved, replace(adjusted_as_is(mapped), residual=residual))
    _, depth = mapped.cameras.project(np.tile(xyz[5], (5, 1)), np.arange(5))
    in_front = int((depth > 0).sum())
    assert in_front < 5
    lost = 5 if in_front < 2 else 5 - in_front
    assert len(after.points.obs_point) == 150 - lost


def test_points_seen_under_a_small_angle_go() -> None:
    mapped = model(n_photos=2)
    far = mapped.points.xyz.copy()
    far[4] = [0, 0, 600.0]
    cameras = mapped.cameras
    mapped = replace(mapped, points=observe(cameras, far))
    assert np.degrees(triangulation_angles(cameras, mapped.points)[4]) < MIN_ANGLE_DEG
    after = filter_observations(mapped, adjusted_as_is(mapped))
    np.testing.assert_array_equal(after.points.xyz, np.delete(far, 4, axis=0))


def test_short_tracks_go_on_request() -> None:
    mapped = model()
    xy = mapped.points.obs_xy.copy()
    xy[:3] += 50.0  # three of the five views of point 0
    mapped = replace(mapped, points=replace(mapped.points, obs_xy=xy))
    assert len(filter_observations(mapped, adjusted_as_is(mapped), 2).points) == 30
    assert len(filter_observations(mapped, adjusted_as_is(mapped), 3).points) == 29


def test_errors_are_mean_distances() -> None:
    mapped = model()
    xy = mapped.points.obs_xy.copy()
    xy[mapped.points.obs_point == 2] += [3.0, 4.0]
    xy[np.flatnonzero(mapped.points.obs_point == 4)[0]] += [0.0, 1.0]
    error = with_errors(replace(mapped, points=replace(mapped.points, obs_xy=xy))).points.error_px
    expected = np.zeros(30)
    expected[2], expected[4] = 5.0, 0.2
    np.testing.assert_allclose(error, expected, atol=1e-10)


# ---------------------------------------------------------------- models


def test_adjusted_model_keeps_its_photos_and_groups() -> None:
    mapped = replace(model(0.3), camera_group=np.array([3, 3, 8, 3, 8]))
    assumed = assume(mapped.cameras, np.array([0, 0, 1, 0, 1]), np.array([600.0, 600, np.nan, 600, np.nan]))
    after, result = adjust_mapped(mapped, make_priors(assumed))
    assert after.photo is mapped.photo and after.camera_group is mapped.camera_group and after.mapper == "global"
    focal = after.cameras.K[:, 0, 0]
    assert focal[0] == focal[1] == focal[3] != focal[2] == focal[4]
    assert np.abs(focal / 600 - 1).max() < 0.02
    np.testing.assert_array_equal(after.points.xyz, result.problem.xyz)
    np.testing.assert_array_equal(with_problem(mapped, result.problem).cameras.K, after.cameras.K)


def test_new_points_have_all_views_and_keep_the_cameras(solved: Solved) -> None:
    capture, database, mapped = solved.capture, solved.database, solved.refined.mapped
    poor = replace(mapped, points=keep_observations(mapped.points, mapped.points.obs_view < 3, 2))
    again = retriangulate(poor, database, 7, 0)
    assert again.cameras is poor.cameras and again.photo is poor.photo
    assert len(again.points) == 200 and len(again.points.obs_point) > 1.5 * len(poor.points.obs_point)
    view, point = again.points.obs_view, again.points.obs_point
    seen = zip(view, again.points.obs_xy, strict=True)
    index = np.array([np.flatnonzero((capture.xy[v] == xy).all(axis=1))[0] for v, xy in seen])
    assert all(len(set(index[point == p])) == 1 for p in range(200)), "tracks do not mix points"
    assert np.median(with_errors(again).points.error_px) < 0.5
    once_more = retriangulate(poor, database, 7, 0)
    assert once_more.points.xyz.tobytes() == again.points.xyz.tobytes()
    assert len(retriangulate(poor, database, 7, 0, min_angle_deg=50.0).points) < 200


def test_refined_model_is_right(solved: Solved) -> None:
    refined, truth = solved.refined, solved.capture.cameras
    mapped = refined.mapped
    assert rotation_errors_deg(mapped.cameras, truth).max() < 0.1
    assert centre_errors(mapped.cameras, truth).max() < 0.01, "six units away"
    assert mapped.cameras.K[0, 0, 0] == pytest.approx(600, rel=0.005)
    np.testing.assert_array_equal(mapped.cameras.K[:, :2, 2], np.tile([320.0, 240.0], (7, 1)))
    assert refined.adjusted.sigma_px == pytest.approx(0.3, rel=0.1)
    assert refined.notes == () and set(refined.gains) == {"free_radial2", "free_centre"}
    assert not refined.assumed.free_centre and not refined.assumed.free_radial2 and not refined.assumed.cropped.any()
    assert refined.unshared.tolist() == [False]
    assert len(mapped.points) == 200
    np.testing.assert_allclose(with_errors(mapped).points.error_px, mapped.points.error_px)


def test_wrong_exif_is_overruled_in_words(solved: Solved) -> None:
    assumed = assume(solved.mapped.cameras, np.zeros(7, np.int64), np.full(7, 900.0))
    refined = refine(solved.mapped, assumed, "fixed", solved.database, 7, 0)
    assert np.isnan(refined.assumed.focal_px).all()
    (note,) = refined.notes
    found = re.fullmatch(r"EXIF states a focal length of 900 px, the photos say (\d+) px: EXIF was ignored\.", note)
    assert found is not None and 590 < int(found[1]) < 610
    assert refined.mapped.cameras.K[0, 0, 0] == pytest.approx(600, rel=0.01)
    assert refined.gains == {}


def test_crop_is_found_and_its_principal_point_estimated(tmp_path: Path) -> None:
    cameras = cameras_at(ring_poses(7, 90.0), (600.0, 600.0, 400.0, 210.0))
    capture = write_capture(tmp_path, cameras, cloud(150))
    database = capture.database(tmp_path / "database.db")
    mapped = run_mapper("incremental", database, 7, 0, calibrated=False)[0]
    assumed = assume(mapped.cameras, np.zeros(7, np.int64), np.full(7, np.nan))
    refined = refine(mapped, assumed, "auto", database, 7, 0)
    assert refined.assumed.cropped.tolist() == [True]
    assert np.abs(refined.mapped.cameras.K[0, :2, 2] - [400, 210]).max() < 6
    assert rotation_errors_deg(refined.mapped.cameras, cameras).max() < 0.3
    fixed = refine(mapped, assumed, "fixed", database, 7, 0).mapped.cameras
    np.testing.assert_array_equal(fixed.K[0, :2, 2], [320, 240])


def test_known_poses_are_triangulated_first(solved: Solved) -> None:
    capture = solved.capture
    truth = replace(capture.cameras, distortion=None)
    nothing = keep_observations(solved.mapped.points, np.zeros(len(solved.mapped.points.obs_point), bool), 2)
    known = Mapped("known", np.arange(7), truth, np.zeros(7, np.int64), nothing)
    assumed = assume(truth, np.zeros(7, np.int64), np.full(7, 600.0))
    refined = refine(known, assumed, "fixed", solved.database, 7, 0, known=True)
    assert len(refined.mapped.points) > 190 and refined.mapped.mapper == "known"
    assert rotation_errors_deg(refined.mapped.cameras, capture.cameras).max() < 0.1
    assert refined.mapped.cameras.distortion[0, 0] == pytest.approx(-0.05, abs=0.02)


def test_calibration_is_kept_to_the_last_bit(solved: Solved) -> None:
    known = np.array([600.0, 600.0, 320.0, 240.0, -0.05, 0.0, 0.0, 0.0])
    cameras = cameras_at(solved.mapped.cameras.cam_from_world, CENTRED, (-0.05, 0.0, 0.0, 0.0))
    start = replace(solved.mapped, cameras=cameras)
    assumed = assume(start.cameras, np.zeros(7, np.int64), np.full(7, np.nan), known)
    refined = refine(start, assumed, "auto", solved.database, 7, 0)
    np.testing.assert_array_equal(refined.mapped.cameras.distortion, start.cameras.distortion)
    np.testing.assert_allclose(refined.mapped.cameras.K, start.cameras.K, rtol=1e-14)
    assert refined.gains == {} and refined.notes == () and refined.unshared.tolist() == [False]


def test_cameras_that_are_only_roughly_right_come_back(solved: Solved) -> None:
    """The cameras of a network: nothing can be triangulated within COLMAP's limits, but with wide ones first."""
    rng = np.random.default_rng(0)
    true = solved.refined.mapped
    poses = true.cameras.cam_from_world.copy()
    turns = Rotation.from_rotvec(np.radians(2.5) * rng.standard_normal((len(poses), 3))).as_matrix()
    poses[:, :3] = turns @ poses[:, :3]
    rough = replace(true, cameras=replace(true.cameras, cam_from_world=poses))
    arguments = (solved.refined.assumed, solved.database, 7, 0)
    near = approach(rough, *arguments)
    assert np.median(rotation_errors_deg(near.cameras, true.cameras)) < 0.3
    assert len(near.points) > 0.8 * len(true.points) > 2 * len(retriangulate(rough, *arguments[1:]).points)
