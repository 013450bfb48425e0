"""Levelling: up is found from cameras alone and sharpened by planes, whatever the roll of the photos."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import ShapeError
from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.level import level, up_from_cameras
from recon3d.sfm.planes import find_planes


def axis_rotation(axis: str, degrees: float) -> np.ndarray:
    """Rotation matrix about one coordinate axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def camera(yaw: float, pitch: float, roll: float, center: np.ndarray) -> np.ndarray:
    """Pose in a z-up world: yaw 0 looks along +y, positive pitch looks up, roll turns the photo."""
    base = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    rotation = axis_rotation("z", roll) @ axis_rotation("x", -pitch) @ base @ axis_rotation("z", -yaw)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
    return pose


def make_cameras(poses: list[np.ndarray]) -> Cameras:
    n = len(poses)
    K = np.tile(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), (n, 1, 1))
    return Cameras(np.stack(poses), K, np.full(n, 640), np.full(n, 480))


def make_points(xyz: np.ndarray, n_cameras: int) -> Points:
    p = len(xyz)
    zeros = np.zeros(p)
    obs_point = np.repeat(np.arange(p, dtype=np.int32), n_cameras)
    obs_view = np.tile(np.arange(n_cameras, dtype=np.int32), p)
    return Points(
        xyz, np.zeros((p, 3), np.uint8), zeros, zeros + np.nan, obs_point, obs_view, np.zeros((len(obs_point), 2))
    )


def ring(n: int, rolls: list[float], pitch: float = -15.0, arc: float = 360.0, noise: float = 0.0) -> Cameras:
    """Cameras on a circle of radius 4 that look inwards."""
    generator = np.random.default_rng(3)
    poses = []
    for i in range(n):
        yaw = arc * i / n
        center = np.array([4 * np.sin(np.radians(yaw)), -4 * np.cos(np.radians(yaw)), 1.0])
        wobble = noise * generator.standard_normal(2)
        poses.append(camera(yaw, pitch + wobble[0], rolls[i % len(rolls)] + wobble[1], center))
    return make_cameras(poses)


def blob(n: int = 300) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3)) * 0.5


def ground_and_blob(share: float = 0.5, n: int = 1000) -> np.ndarray:
    generator = np.random.default_rng(1)
    m = int(n * share)
    ground = np.column_stack([generator.uniform(-3, 3, (m, 2)), 0.003 * generator.standard_normal(m)])
    return np.concatenate([ground, generator.uniform([-2, -2, 0], [2, 2, 2], (n - len(ground), 3))])


def tilted(cameras: Cameras, xyz: np.ndarray, seed: int = 0) -> tuple[Cameras, np.ndarray, np.ndarray]:
    """The scene in an arbitrary frame: returns the true up of that frame too."""
    generator = np.random.default_rng(seed)
    q, _ = np.linalg.qr(generator.standard_normal((3, 3)))
    q *= np.sign(np.linalg.det(q))
    similarity = np.eye(4)
    similarity[:3, :3], similarity[:3, 3] = 2.5 * q, generator.standard_normal(3) * 10
    return cameras.transformed(similarity), xyz @ similarity[:3, :3].T + similarity[:3, 3], q[:, 2]


def tilt_deg(new_from_old: np.ndarray, true_up: np.ndarray) -> float:
    up = new_from_old[2, :3] / np.linalg.norm(new_from_old[2, :3])
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(up, true_up)), up @ true_up)))


def solve(cameras: Cameras, xyz: np.ndarray, seed: int = 0) -> float:
    moved, points, up = tilted(cameras, xyz, seed)
    return tilt_deg(level(moved, make_points(points, len(moved))).new_from_old, up)


@pytest.mark.parametrize("rolls", [[0.0], [0, 90], [0, 0, -90], [90], [0, 0, 180], [180, 0, 0, 90, -90]])
def test_ring_of_cameras_is_levelled_whatever_their_roll(rolls: list[float]) -> None:
    assert solve(ring(20, rolls), blob()) < 0.01


def test_noisy_hands_stay_below_one_degree() -> None:
    assert solve(ring(24, [0.0, 0.0, 90.0], noise=2.0), blob()) < 1.0


def test_parallel_cameras_keep_the_mean_camera_up() -> None:
    poses = [camera(0, 0, 0, np.array([x, -5.0, 1.0])) for x in np.linspace(-2, 2, 7)]
    assert solve(make_cameras(poses), blob()) < 0.01


def test_one_badly_rolled_photo_does_no_harm() -> None:
    assert solve(ring(12, [0.0] * 11 + [40.0]), blob()) < 0.01


def test_ground_plane_sharpens_tilted_cameras() -> None:
    poses = [camera(yaw, -25, 1.5, np.array([yaw / 20, -5.0, 1.5])) for yaw in range(-30, 31, 6)]
    cameras = make_cameras(poses)
    assert solve(cameras, blob()) > 1.0
    assert solve(cameras, ground_and_blob()) < 0.2


def test_wall_fixes_the_pitch_of_a_facade_capture() -> None:
    poses = [camera(yaw, 12, 0, np.array([-yaw, -5.0, 1.5])) for yaw in np.linspace(-2, 2, 9)]
    generator = np.random.default_rng(2)
    flat = generator.uniform([-3, -0.003, 0], [3, 0.003, 4], (800, 3))
    assert solve(make_cameras(poses), blob()) > 3.0
    assert solve(make_cameras(poses), flat) < 0.2


def test_slope_far_from_the_cameras_up_is_not_taken_for_the_ground() -> None:
    slope = ground_and_blob() @ axis_rotation("x", 12).T
    assert solve(ring(20, [0.0]), slope) < 0.01


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=10, deadline=None)
def test_any_starting_frame_gives_the_same_world(seed: int) -> None:
    cameras, xyz = ring(12, [0.0], arc=120), ground_and_blob(n=200)
    reference = cameras.transformed(level(cameras, make_points(xyz, 12)).new_from_old)
    moved, points, _ = tilted(cameras, xyz, seed)
    again = moved.transformed(level(moved, make_points(points, 12)).new_from_old)
    # The plane search may settle on another inlier or two, hence not to the last digit.
    np.testing.assert_allclose(again.cam_from_world, reference.cam_from_world, atol=2e-3)


def test_origin_scale_and_heading_are_as_stated() -> None:
    cameras, xyz = ring(10, [0.0], arc=60), blob()
    moved, points, _ = tilted(cameras, xyz)
    made = make_points(points, 10)
    result = level(moved, made)
    new = moved.transformed(result.new_from_old)
    new_xyz = points @ result.new_from_old[:3, :3].T + result.new_from_old[:3, 3]
    np.testing.assert_allclose(np.median(new_xyz, 0), 0, atol=1e-12)
    distance = np.linalg.norm(new_xyz[made.obs_point] - new.centers[made.obs_view], axis=1)
    assert np.median(distance) == pytest.approx(1.0)
    heading = new.cam_from_world[:, 2, :3].mean(0)
    assert heading[0] == pytest.approx(0, abs=1e-9) and heading[1] > 0.3
    assert np.linalg.det(result.new_from_old[:3, :3]) > 0


def test_upside_down_minority_is_outvoted_and_reported_as_upright() -> None:
    up = up_from_cameras(ring(9, [0.0, 0.0, 180.0]))
    assert up.direction[2] == pytest.approx(1.0) and not up.rolled.any() and not up.outlier.any()


def test_sideways_ring_seen_from_above_is_not_put_on_its_head() -> None:
    moved, xyz, up = tilted(ring(16, [90.0, 90.0, -90.0], pitch=-8), blob())
    result = level(moved, make_points(xyz, 16))
    assert tilt_deg(result.new_from_old, up) < 0.01
    assert result.metrics["n_rolled_photos"] == 16


def test_result_is_bit_identical_on_repeat() -> None:
    moved, xyz, _ = tilted(ring(12, [0.0, 90.0], noise=3), ground_and_blob())
    one, two = (level(moved, make_points(xyz, 12)).new_from_old for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_method_names_what_was_used() -> None:
    cameras = ring(12, [0.0])
    assert level(cameras, make_points(blob(), 12)).method == "mean camera up"
    assert "ground" in level(cameras, make_points(ground_and_blob(), 12)).method


def test_no_points_and_one_camera_still_give_a_frame() -> None:
    empty = make_points(np.zeros((0, 3)), 1)
    result = level(make_cameras([camera(30, 0, 0, np.ones(3))]), empty)
    assert np.isfinite(result.new_from_old).all() and tilt_deg(result.new_from_old, np.array([0, 0, 1.0])) < 1e-6


def test_no_cameras_is_an_error() -> None:
    cameras = ring(2, [0.0])[:0]
    with pytest.raises(ShapeError, match="without cameras"):
        level(cameras, make_points(blob(), 0))


def test_planes_are_found_with_their_share_and_blobs_have_none() -> None:
    def anything(normals: np.ndarray) -> np.ndarray:
        return np.ones(len(normals), dtype=bool)

    (plane,) = find_planes(ground_and_blob(0.6), 0.02, anything)
    assert abs(plane.normal[2]) == pytest.approx(1.0, abs=1e-4) and plane.share == pytest.approx(0.6, abs=0.03)
    assert plane.rms == pytest.approx(0.003, rel=0.5) and plane.offset == pytest.approx(0, abs=1e-3)
    assert find_planes(blob(2000), 0.05, anything) == ()
    assert find_planes(np.zeros((0, 3)), 0.05, anything) == ()


def test_far_points_do_not_hide_the_ground() -> None:
    sky = 1e5 * np.random.default_rng(4).standard_normal((40, 3))
    poses = [camera(yaw, -25, 1.5, np.array([yaw / 20, -5.0, 1.5])) for yaw in range(-30, 31, 6)]
    assert solve(make_cameras(poses), np.concatenate([ground_and_blob(), sky])) < 0.2


def test_two_walls_level_cameras_of_one_habit() -> None:
    poses = [camera(yaw, 8, 1.5, np.array([-yaw / 30, -5.0, 1.5])) for yaw in range(-20, 21, 5)]
    generator = np.random.default_rng(6)
    walls = [
        generator.uniform([-3, 2.999, 0], [3, 3.001, 4], (500, 3)),
        generator.uniform([2.999, -2, 0], [3.001, 3, 4], (400, 3)),
    ]
    cameras = make_cameras(poses)
    assert solve(cameras, np.concatenate(walls)) < 0.2 < solve(cameras, blob())
    assert "2 walls" in level(cameras, make_points(np.concatenate(walls), len(poses))).method


def test_mean_height_and_pitch_do_not_tilt_a_full_ring() -> None:
    for pitch in (-35.0, 0.0, 20.0):
        assert solve(ring(16, [0.0], pitch=pitch), blob()) < 0.01


def test_drone_over_ground_that_it_sees_from_straight_above() -> None:
    # All headings: the right axes span the ground plane, and the viewing direction says which side is down.
    poses = [camera(yaw, -90, 0, np.array([yaw / 90, np.sin(yaw), 10.0])) for yaw in range(0, 360, 30)]
    assert solve(make_cameras(poses), ground_and_blob()) < 0.2


def test_quarter_of_wild_rolls_is_ignored_and_counted() -> None:
    cameras = ring(24, [0.0, 0.0, 0.0, 37.0])
    up = up_from_cameras(cameras)
    assert up.direction[2] == pytest.approx(1.0) and up.outlier.sum() == 6
    result = level(cameras, make_points(blob(), 24))
    assert result.metrics["n_inconsistent_photos"] == 6 and result.metrics["n_rolled_photos"] == 0


@given(st.floats(1e-4, 1e4))
@settings(max_examples=8, deadline=None)
def test_unit_of_the_model_does_not_matter(size: float) -> None:
    cameras, xyz = ring(8, [0.0], arc=100), ground_and_blob(n=150)
    scaling = np.diag([size, size, size, 1.0])
    reference = cameras.transformed(level(cameras, make_points(xyz, 8)).new_from_old)
    moved = cameras.transformed(scaling)
    again = moved.transformed(level(moved, make_points(size * xyz, 8)).new_from_old)
    np.testing.assert_allclose(again.cam_from_world, reference.cam_from_world, atol=1e-6)
    assert level(moved, make_points(size * xyz, 8)).metrics["median_viewing_distance_before"] == pytest.approx(
        size * level(cameras, make_points(xyz, 8)).metrics["median_viewing_distance_before"]
    )


def test_ring_without_a_mean_view_takes_the_first_camera_for_its_heading() -> None:
    moved, xyz, _ = tilted(ring(12, [0.0]), blob())
    new = moved.transformed(level(moved, make_points(xyz, 12)).new_from_old)
    first = new.cam_from_world[0, 2, :3]
    assert first[0] == pytest.approx(0, abs=1e-9) and first[1] > 0.9


def test_metrics_are_json_ready() -> None:
    import json

    metrics = level(ring(12, [0.0]), make_points(ground_and_blob(), 12)).metrics
    assert json.loads(json.dumps(metrics))["planes"][0]["kind"] == "ground"
    assert 0 <= metrics["moved_by_planes_deg"] < 0.2
