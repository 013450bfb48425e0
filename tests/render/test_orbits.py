"""Orbits: the right figure for how the cameras stand, around what they look at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.focus import find_focus
from recon3d.render.orbits import orbit, orbit_points
from recon3d.render.trajectories import framed, look_at, poses_from

UP = np.array([0.0, 0.0, 1.0])
TARGET = np.array([1.0, -2.0, 0.5])
SIZE = (64, 48)


def ring(azimuth_deg: np.ndarray, radius: float = 4.0, height: float = 1.0, target: np.ndarray = TARGET) -> Cameras:
    a = np.radians(azimuth_deg)
    eyes = target + np.stack([radius * np.cos(a), radius * np.sin(a), np.full(len(a), height)], axis=1)
    return framed(look_at(eyes, target, UP), np.full(len(a), 0.9), SIZE)


def facade(n: int = 9) -> Cameras:
    """Cameras on a line, all looking along +y at a wall 5 units away."""
    eyes = np.stack([np.linspace(-2, 2, n), np.zeros(n), np.full(n, 1.5)], axis=1)
    rotation = np.tile(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), (n, 1, 1))
    return framed(poses_from(rotation, eyes), np.full(n, 0.9), SIZE)


def azimuths(cameras: Cameras, target: np.ndarray = TARGET) -> np.ndarray:
    offset = cameras.centers - target
    return np.degrees(np.arctan2(offset[:, 1], offset[:, 0]))


def test_the_focus_of_cameras_that_meet_is_where_they_meet() -> None:
    focus = find_focus(ring(np.linspace(0, 350, 15)))
    assert np.allclose(focus.target, TARGET, atol=0.05)
    assert focus.is_inward
    assert focus.up.tolist() == [0, 0, 1]


def test_one_stray_camera_does_not_move_the_focus() -> None:
    good = ring(np.linspace(0, 350, 15))
    poses = good.cam_from_world.copy()
    poses[4] = look_at(good.centers[4:5], TARGET + np.array([3.0, 3.0, 0.0]), UP)[0]
    stray = framed(poses, np.full(15, 0.9), SIZE)
    assert np.linalg.norm(find_focus(stray).target - TARGET) < 0.25


def test_parallel_cameras_look_at_the_depth_of_the_points() -> None:
    rng = np.random.default_rng(0)
    wall = np.column_stack([rng.uniform(-3, 3, 500), np.full(500, 5.0), rng.uniform(0, 3, 500)])
    target = find_focus(facade(), wall).target
    assert target[1] == pytest.approx(5.0, abs=0.2)
    assert abs(target[0]) < 0.2


def test_cameras_all_around_give_a_full_circle_at_their_distance_and_height() -> None:
    path = orbit(ring(np.linspace(0, 330, 12)), 36, SIZE)
    offset = path.cameras.centers - TARGET
    assert path.is_closed
    assert "once round" in path.description
    assert np.allclose(np.linalg.norm(offset[:, :2], axis=1), 4.0, atol=0.06)
    assert np.allclose(offset[:, 2], 1.0, atol=0.06)
    assert np.sort(np.unique(np.rint(azimuths(path.cameras) / 10))).size == 36
    pixels, _ = path.cameras.project(np.tile(TARGET, (36, 1)), np.arange(36))
    assert np.abs(pixels - [32, 24]).max() < 1


def test_a_circle_starts_where_a_camera_stands() -> None:
    assert azimuths(orbit(ring(np.linspace(40, 390, 15)), 1, SIZE).cameras)[0] == pytest.approx(40, abs=2)


@given(st.floats(-180, 180), st.floats(20, 250), st.booleans())
@settings(max_examples=40)
def test_a_sector_is_never_left(start: float, width: float, loop: bool) -> None:
    cameras = ring(start + np.linspace(0, width, 12))
    path = orbit(cameras, 24, SIZE, loop=loop)
    relative = (azimuths(path.cameras) - start - width / 2 + 180) % 360 - 180
    assert np.abs(relative).max() < width / 2 + 1
    assert np.abs(relative).max() > 0.4 * width
    assert path.is_closed == loop


def test_an_open_sweep_runs_one_way_and_a_loop_comes_back() -> None:
    cameras = ring(np.linspace(10, 80, 9))
    sweep = azimuths(orbit(cameras, 20, SIZE, loop=False).cameras)
    assert (np.diff(sweep) > 0).all()
    loop = orbit(cameras, 40, SIZE).cameras.centers
    steps = np.linalg.norm(np.diff(np.concatenate([loop, loop[:1]]), axis=0), axis=1)
    assert steps[-1] <= steps.max() * 1.001


def test_a_sway_follows_how_far_the_cameras_stand() -> None:
    """Cameras on a straight line in front of a wall: the middle of the line is nearest to what they look at."""
    eyes = TARGET + np.stack([np.linspace(-4, 4, 15), np.full(15, -4.0), np.zeros(15)], axis=1)
    cameras = framed(look_at(eyes, TARGET, UP), np.full(15, 0.9), SIZE)
    centers = orbit(cameras, 21, SIZE, loop=False).cameras.centers
    distance = np.linalg.norm(centers - TARGET, axis=1)
    assert distance[10] == pytest.approx(4.1, abs=0.15)
    assert distance[0] > 4.8
    assert distance[20] > 4.8


def test_cameras_that_look_outwards_give_a_turn_on_the_spot() -> None:
    a = np.radians(np.arange(0, 360, 30))
    eyes = 0.5 * np.stack([np.cos(a), np.sin(a), np.zeros(12)], axis=1)
    cameras = framed(look_at(eyes, np.zeros(3), UP), np.full(12, 0.9), SIZE)
    outward = cameras.cam_from_world.copy()
    outward[:, 0], outward[:, 2] = -outward[:, 0], -outward[:, 2]
    path = orbit(framed(outward, np.full(12, 0.9), SIZE), 24, SIZE)
    assert "on the spot" in path.description
    assert np.allclose(path.cameras.centers, 0, atol=0.05)
    ahead = path.cameras.cam_from_world[:, 2, :3]
    assert np.allclose(ahead[:, 2], 0, atol=1e-6)
    assert np.allclose(ahead.mean(axis=0), 0, atol=1e-6)


def test_photos_on_their_side_give_an_orbit_about_their_ring() -> None:
    """The ring stands upright in the world, and the photos are rolled by a quarter turn, as its axis lies level."""
    a = np.radians(np.linspace(-80, 80, 17))
    eyes = np.stack([3 * np.cos(a), np.zeros(17), 3 * np.sin(a)], axis=1)
    level = look_at(eyes, np.zeros(3), np.array([0.0, 1.0, 0.0]))
    quarter = np.eye(4)
    quarter[:2, :2] = [[0, 1], [-1, 0]]
    cameras = framed(quarter @ level, np.full(17, 0.9), SIZE)
    path = orbit(cameras, 30, SIZE).cameras
    assert np.abs(path.centers[:, 1]).max() < 0.4
    for camera in path.cam_from_world:
        nearest = np.argmin(np.linalg.norm(cameras.centers + camera[:3, :3].T @ camera[:3, 3], axis=1))
        turn = camera[:3, :3] @ cameras.cam_from_world[nearest, :3, :3].T
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 15


def test_a_world_that_is_not_levelled_takes_up_from_the_cameras() -> None:
    y_down = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    cameras = ring(np.linspace(0, 330, 12)).transformed(y_down)
    assert np.allclose(find_focus(cameras).up, y_down[:3, :3] @ UP, atol=0.02)
    path = orbit(cameras, 12, SIZE).cameras.transformed(np.linalg.inv(y_down))
    assert np.allclose(path.centers[:, 2], TARGET[2] + 1, atol=0.1)


def test_one_camera_gives_a_small_sway() -> None:
    path = orbit(ring(np.array([30.0])), 12, SIZE, np.tile(TARGET, (10, 1)))
    spread = azimuths(path.cameras)
    assert 25 < spread.min() < spread.max() < 35


@given(st.integers(1, 12), st.integers(0, 10_000))
@settings(max_examples=40)
def test_any_cameras_give_finite_rigid_frames(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cameras = framed(look_at(rng.normal(size=(n, 3)), rng.normal(size=3), UP), np.full(n, 0.9), SIZE)
    rotation = orbit(cameras, 7, SIZE).cameras.cam_from_world[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-9)


def test_bare_points_are_circled_and_stay_in_view() -> None:
    points = np.random.default_rng(1).normal(size=(400, 3)) * [2.0, 1.0, 0.5] + TARGET
    path = orbit_points(points, 12, (120, 90))
    assert path.is_closed
    seen = 0
    for index in range(12):
        pixels, depth = path.cameras.project(points, np.full(400, index))
        seen += int(((pixels > 0) & (pixels < [120, 90])).all(axis=1)[depth > 0].sum())
    assert seen > 0.9 * 12 * 400
    assert (path.cameras.centers[:, 2] > TARGET[2]).all()


def test_up_of_bare_points_can_be_chosen() -> None:
    points = np.random.default_rng(1).normal(size=(50, 3))
    down = np.array([0.0, -1.0, 0.0])
    centers = orbit_points(points, 8, SIZE, down).cameras.centers
    assert (centers @ down > points.mean(axis=0) @ down).all()


def test_nothing_to_orbit_is_refused() -> None:
    with pytest.raises(UsageError, match="needs at least one camera"):
        orbit(ring(np.zeros(0)), 5, SIZE)
    with pytest.raises(UsageError, match="needs a frame"):
        orbit(ring(np.zeros(3)), 0, SIZE)
    with pytest.raises(UsageError, match="needs a point"):
        orbit_points(np.full((3, 3), np.nan), 5, SIZE)


@given(st.floats(-3, 3), st.floats(0.1, 10), st.integers(0, 1000), st.booleans())
@settings(max_examples=40)
def test_a_turned_moved_and_scaled_scene_has_the_same_orbit(angle: float, scale: float, seed: int, loop: bool) -> None:
    """Up to where a circle starts, which is where the first camera stands in either world."""
    rng = np.random.default_rng(seed)
    cameras = ring(np.sort(rng.uniform(-70, 70, 9)), rng.uniform(3, 5), 1.0)
    similarity = np.eye(4)
    similarity[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    similarity[:3, :3] *= scale
    similarity[:3, 3] = rng.normal(size=3) * 5
    moved = orbit(cameras.transformed(similarity), 10, SIZE, loop=loop).cameras
    wanted = orbit(cameras, 10, SIZE, loop=loop).cameras.transformed(similarity)
    assert np.allclose(moved.cam_from_world[:, :3, :3], wanted.cam_from_world[:, :3, :3], atol=1e-6)
    assert np.allclose(moved.centers, wanted.centers, atol=1e-5 * scale)


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_the_focus_moves_with_the_scene(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cameras = ring(rng.uniform(0, 360, 8))
    similarity = np.diag([2.0, 2.0, 2.0, 1.0])
    similarity[:3, 3] = rng.normal(size=3)
    moved, still = find_focus(cameras.transformed(similarity)), find_focus(cameras)
    assert np.allclose(moved.target, 2 * still.target + similarity[:3, 3], atol=1e-6)
    assert moved.is_inward == still.is_inward


def test_points_that_no_camera_sees_change_nothing() -> None:
    behind = TARGET + np.array([[0.0, 0.0, 900.0]])
    cameras = ring(np.linspace(0, 90, 7))
    assert np.allclose(find_focus(cameras, behind).target, find_focus(cameras).target)
