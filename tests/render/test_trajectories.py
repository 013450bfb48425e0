"""Rides through cameras: exact at the keyframes, smooth between them, whatever the cameras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.trajectories import focal_per_diagonal, framed, look_at, poses_from, resized, through, usual_size

UP = np.array([0.0, 0.0, 1.0])


def random_cameras(n: int, seed: int, spread: float = 1.0) -> Cameras:
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(n, rng).as_matrix()
    poses = poses_from(rotation, rng.normal(size=(n, 3)) * spread)
    return framed(poses, rng.uniform(0.6, 1.2, n), (64, 48))


def arc(n: int, degrees: float = 90.0) -> Cameras:
    azimuth = np.radians(np.linspace(0, degrees, n))
    eyes = np.stack([3 * np.cos(azimuth), 3 * np.sin(azimuth), np.full(n, 1.0)], axis=1)
    return framed(look_at(eyes, np.zeros(3), UP), np.full(n, 0.9), (64, 48))


def test_look_at_puts_the_target_in_the_middle_and_up_on_top() -> None:
    eyes = np.random.default_rng(0).normal(size=(20, 3)) * 4
    target = np.array([0.3, -0.2, 0.1])
    cameras = framed(look_at(eyes, target, UP), np.full(20, 0.8), (640, 480))
    index = np.arange(20)
    pixels, depth = cameras.project(np.tile(target, (20, 1)), index)
    assert np.allclose(pixels, [320, 240])
    assert np.allclose(depth, np.linalg.norm(eyes - target, axis=1))
    above, _ = cameras.project(np.tile(target + 0.01 * UP, (20, 1)), index)
    assert np.allclose(above[:, 0], 320)
    assert (above[:, 1] < 240).all()
    assert np.allclose(cameras.centers, eyes)


def test_look_at_is_rigid() -> None:
    rotation = look_at(np.array([[1.0, 2.0, 3.0]]), np.zeros(3), UP)[0, :3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 10_000))
@settings(max_examples=40)
def test_every_camera_is_hit_exactly_by_one_frame(n: int, more: int, seed: int) -> None:
    cameras = random_cameras(n, seed)
    path = through(cameras, n + more, (96, 64))
    assert len(path) == n + more
    found = (path.cameras.cam_from_world[:, None] == cameras.cam_from_world[None]).all(axis=(2, 3))
    assert found.any(axis=0).all()
    first = found.argmax(axis=0)
    assert n == 1 or (np.diff(first) > 0).all()
    assert (path.cameras.cam_from_world[0] == cameras.cam_from_world[0]).all()
    assert (path.cameras.cam_from_world[-1] == cameras.cam_from_world[-1]).all()


@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 10_000))
@settings(max_examples=40)
def test_every_frame_is_a_rigid_pose_of_the_wanted_size(n: int, n_frames: int, seed: int) -> None:
    path = through(random_cameras(n, seed), n_frames, (96, 64)).cameras
    rotation = path.cam_from_world[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(rotation), 1)
    assert (path.cam_from_world[:, 3] == [0, 0, 0, 1]).all()
    assert (path.width == 96).all()
    assert (path.height == 64).all()
    assert (path.K[:, 0, 0] > 0).all()


def test_a_ride_along_an_arc_stays_on_the_arc_and_looks_at_the_middle() -> None:
    path = through(arc(10), 90, (64, 48)).cameras
    assert np.allclose(np.linalg.norm(path.centers[:, :2], axis=1), 3, atol=0.003)
    assert np.allclose(path.centers[:, 2], 1, atol=1e-9)
    pixels, _ = path.project(np.zeros((90, 3)), np.arange(90))
    assert np.abs(pixels - [32, 24]).max() < 0.3


def test_the_speed_is_even() -> None:
    path = through(arc(7), 91, (64, 48)).cameras
    steps = np.linalg.norm(np.diff(path.centers, axis=0), axis=1)
    assert steps.max() < 1.25 * steps.min()


def test_quaternions_take_the_short_way_round() -> None:
    """Two poses whose quaternions have opposite signs are a small turn apart, not almost a full one."""
    turns = Rotation.from_euler("z", [[179.0], [181.0]], degrees=True).as_matrix()
    cameras = framed(poses_from(turns, np.zeros((2, 3))), np.full(2, 0.9), (8, 8))
    middle = through(cameras, 3, (8, 8)).cameras.cam_from_world[1, :3, :3]
    assert np.allclose(middle, Rotation.from_euler("z", 180, degrees=True).as_matrix(), atol=1e-9)


def test_cameras_in_one_place_and_one_camera_give_a_ride_too() -> None:
    same = framed(np.tile(np.eye(4), (4, 1, 1)), np.full(4, 0.9), (8, 8))
    assert np.allclose(through(same, 20, (8, 8)).cameras.cam_from_world, np.eye(4))
    assert np.allclose(through(same[:1], 5, (8, 8)).cameras.cam_from_world, np.eye(4))


def test_fewer_frames_than_cameras_begin_and_end_as_they_do() -> None:
    cameras = arc(12)
    path = through(cameras, 5, (8, 8)).cameras
    assert np.allclose(path.cam_from_world[[0, -1]], cameras.cam_from_world[[0, -1]])
    assert np.allclose(through(cameras, 1, (8, 8)).cameras.cam_from_world[0], cameras.cam_from_world[0])


def test_resizing_keeps_the_angle_across_the_diagonal() -> None:
    cameras = random_cameras(3, 1)
    other = resized(cameras, (1920, 1080))
    assert np.allclose(focal_per_diagonal(other), focal_per_diagonal(cameras))
    assert np.allclose(other.K[:, 0, 2], 960)
    assert np.allclose(other.K[:, 1, 2], 540)
    assert np.allclose(resized(other, (64, 48)).K, cameras.K)


@pytest.mark.parametrize(("n", "n_frames"), [(0, 5), (3, 0)])
def test_nothing_to_ride_through_is_refused(n: int, n_frames: int) -> None:
    with pytest.raises(UsageError, match="a path needs"):
        through(random_cameras(3, 0)[:n], n_frames, (8, 8))


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(UsageError, match="must be positive"):
        resized(random_cameras(1, 0), (0, 8))


def test_the_usual_size_is_that_of_most_photos() -> None:
    width, height = np.array([400, 3000, 3000]), np.array([300, 4000, 4000])
    cameras = Cameras(np.tile(np.eye(4), (3, 1, 1)), np.tile(np.eye(3), (3, 1, 1)), width, height)
    assert usual_size(cameras, 10_000) == (3000, 4000)
    assert usual_size(cameras, 640) == (480, 640)
    assert usual_size(cameras[:1], 640) == (400, 300)
    with pytest.raises(UsageError, match="no camera"):
        usual_size(cameras[:0], 640)


@given(st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=30)
def test_a_turned_and_moved_world_has_the_same_ride(n: int, seed: int) -> None:
    cameras = random_cameras(n, seed)
    rng = np.random.default_rng(seed + 1)
    rigid = np.eye(4)
    rigid[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    rigid[:3, 3] = rng.normal(size=3)
    moved = through(cameras.transformed(rigid), 3 * n, (8, 8)).cameras
    wanted = through(cameras, 3 * n, (8, 8)).cameras.transformed(rigid)
    assert np.allclose(moved.cam_from_world, wanted.cam_from_world, atol=1e-6)


def test_between_two_cameras_the_turn_is_even() -> None:
    """Along one segment the spline is a line of quaternions, normalised: within a fraction of a degree of slerp."""
    turns = Rotation.from_euler("y", [[0.0], [40.0]], degrees=True).as_matrix()
    cameras = framed(poses_from(turns, np.zeros((2, 3))), np.full(2, 0.9), (8, 8))
    path = through(cameras, 5, (8, 8)).cameras.cam_from_world[:, :3, :3]
    angles = Rotation.from_matrix(path @ path[0].T).magnitude()
    assert np.allclose(np.degrees(angles), [0, 10, 20, 30, 40], atol=0.3)


def test_the_field_of_view_blends_without_overshooting() -> None:
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = np.arange(4)
    cameras = framed(poses, np.array([0.7, 0.7, 1.4, 1.4]), (64, 48))
    focal = focal_per_diagonal(through(cameras, 40, (64, 48)).cameras)
    assert (np.diff(focal) >= -1e-12).all()
    assert focal.min() == pytest.approx(0.7)
    assert focal.max() == pytest.approx(1.4)


def test_the_distance_of_what_is_seen_weighs_moving_against_turning() -> None:
    """Far away, a step is worth less time beside a turn than close by."""
    rotation = Rotation.from_euler("z", [[0.0], [0.0], [30.0]], degrees=True).as_matrix()
    eyes = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.0, 0, 0]])
    cameras = framed(poses_from(rotation, eyes), np.full(3, 0.9), (8, 8))

    def frames_that_move(depth: float) -> int:
        centers = through(cameras, 60, (8, 8), depth).cameras.centers
        assert np.abs(centers[:, 0] - 0.5).max() < 0.65, "it swings past the place where it only turns"
        return int((np.linalg.norm(np.diff(centers, axis=0), axis=1) > 0.005).sum())

    assert frames_that_move(100.0) < frames_that_move(1.0)
