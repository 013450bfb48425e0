"""Range images: each pixel becomes the point that its beam hit, with and without a rolling shutter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import ShapeError
from recon3d.formats.range_image import RangeImage, range_image_points


def pixels(height: int = 4, width: int = 8) -> np.ndarray:
    image = np.zeros((height, width, 4), np.float32)
    image[..., 0] = 10 + np.arange(height * width).reshape(height, width)
    image[..., 1], image[..., 2], image[..., 3] = 0.5, 0.25, -1
    return image


def lidar(height: float = 2.0, yaw: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[2, 3] = height
    return pose


def image(**changes: object) -> RangeImage:
    options = {"pixels": pixels(), "vehicle_from_lidar": lidar(), "inclinations": np.array([-0.3, -0.2, -0.1, 0.0])}
    return RangeImage(**(options | changes))  # type: ignore[arg-type]


def test_distances_and_features_come_back() -> None:
    points = range_image_points(image())
    distance = np.linalg.norm(points.xyz - [0, 0, 2], axis=1)
    np.testing.assert_allclose(distance, pixels()[..., 0].ravel(), rtol=1e-6)
    np.testing.assert_array_equal(points.features, np.tile(np.float32([0.5, 0.25]), (32, 1)))
    assert points.pixels[9].tolist() == [1, 1]


def test_the_first_row_is_the_highest_beam() -> None:
    points = range_image_points(image())
    angle = np.arcsin((points.xyz[:, 2] - 2) / pixels()[..., 0].ravel())
    np.testing.assert_allclose(angle.reshape(4, 8), np.repeat([[0.0], [-0.1], [-0.2], [-0.3]], 8, 1), atol=1e-6)


def test_two_inclinations_are_the_ends_of_even_rows() -> None:
    points = range_image_points(image(inclinations=np.array([-0.4, 0.4])))
    angle = np.arcsin((points.xyz[:, 2] - 2) / pixels()[..., 0].ravel()).reshape(4, 8)[:, 0]
    np.testing.assert_allclose(angle, [0.3, 0.1, -0.1, -0.3], atol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.5])
def test_columns_turn_clockwise_from_behind_whatever_the_yaw_of_the_sensor(yaw: float) -> None:
    points = range_image_points(image(vehicle_from_lidar=lidar(yaw=yaw)))
    azimuth = np.arctan2(points.xyz[:8, 1], points.xyz[:8, 0])
    np.testing.assert_allclose(azimuth, np.pi - (np.arange(8) + 0.5) * np.pi / 4, atol=1e-6)


def test_pixels_without_a_return_and_zones_without_labels() -> None:
    made = pixels()
    made[0, 0, 0], made[1, 1, 0], made[2, 2, 3] = 0, -1, 1
    assert len(range_image_points(image(pixels=made)).xyz) == 30
    kept = range_image_points(image(pixels=made), keep_no_label_zones=False)
    assert len(kept.xyz) == 29 and [2, 2] not in kept.pixels.tolist()
    assert range_image_points(image(pixels=made * 0)).xyz.shape == (0, 3)


def poses(x: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    made = np.zeros((4, 8, 6))
    made[..., 2], made[..., 3] = yaw, x
    return made


def test_a_vehicle_that_stands_has_no_rolling_shutter() -> None:
    frame = np.eye(4)
    frame[0, 3] = 100.0
    still = range_image_points(image(pixel_poses=poses(x=100.0), global_from_vehicle=frame))
    np.testing.assert_allclose(still.xyz, range_image_points(image()).xyz, atol=1e-9)


def test_a_vehicle_that_moved_and_turned() -> None:
    moved = range_image_points(image(pixel_poses=poses(1.5, np.pi / 2), global_from_vehicle=np.eye(4)))
    x, y, z = range_image_points(image()).xyz.T
    np.testing.assert_allclose(moved.xyz, np.stack([-y + 1.5, x, z], 1), atol=1e-9)


def test_roll_and_pitch_turn_about_x_and_y() -> None:
    angles = poses()
    angles[..., 0], angles[..., 1] = np.pi / 2, np.pi / 2  # first y to z and z to -y, then z to x and x to -z
    turned = range_image_points(image(pixel_poses=angles, global_from_vehicle=np.eye(4)))
    x, y, z = range_image_points(image()).xyz.T
    np.testing.assert_allclose(turned.xyz, np.stack([y, -z, -x], 1), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pixels": np.zeros((4, 8, 4), np.float32), "inclinations": np.zeros(3)}, "do not fit the rows"),
        ({"pixel_poses": poses()}, "with the pose of the frame"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        image(**changes)


@settings(max_examples=30)
@given(st.integers(0, 999), st.floats(-3, 3), st.integers(1, 6), st.integers(3, 20))
def test_points_are_seen_at_their_pixel(seed: int, yaw: float, height: int, width: int) -> None:
    """Back into the frame of the sensor, the angles of a point tell its row and its column."""
    rng = np.random.default_rng(seed)
    made = pixels(height, width)
    made[..., 0] = rng.uniform(-2, 60, (height, width))
    listed = np.sort(rng.uniform(-0.4, 0.1, height)) if height != 2 else np.array([-0.3, 0.1])
    pose = lidar(rng.uniform(0, 3), yaw)
    pose[:2, 3] = rng.normal(0, 2, 2)
    points = range_image_points(RangeImage(pixels=made, vehicle_from_lidar=pose, inclinations=listed))
    local = (points.xyz - pose[:3, 3]) @ pose[:3, :3]
    distance = np.linalg.norm(local, axis=1)
    rows, columns = points.pixels.T
    np.testing.assert_allclose(distance, made[rows, columns, 0], rtol=1e-6)
    azimuth = np.arctan2(local[:, 1], local[:, 0]) + yaw
    seen = (np.pi - azimuth) / (2 * np.pi) * width - 0.5
    np.testing.assert_allclose(np.mod(seen - columns + 0.5, width), 0.5, atol=1e-4)
    if height != 2:
        np.testing.assert_allclose(np.arcsin(local[:, 2] / distance), listed[::-1][rows], atol=1e-5)
    assert len(points.xyz) == (made[..., 0] > 0).sum()


@settings(max_examples=20)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-50, 50)] * 3))
def test_one_pose_for_all_pixels_is_one_rigid_motion(angles: tuple[float, ...], place: tuple[float, ...]) -> None:
    made = np.zeros((4, 8, 6))
    made[..., :3], made[..., 3:] = angles, place
    moved = range_image_points(image(pixel_poses=made, global_from_vehicle=np.eye(4))).xyz
    still = range_image_points(image()).xyz
    roll, pitch, yaw = angles
    turns = [np.eye(3) for _ in range(3)]
    for turn, (i, j), angle in zip(turns, ((1, 2), (2, 0), (0, 1)), (roll, pitch, yaw), strict=True):
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    want = still @ (turns[2] @ turns[1] @ turns[0]).T + place
    np.testing.assert_allclose(moved, want, atol=1e-9)


@settings(max_examples=20)
@given(st.floats(-3, 3), st.floats(-20, 20))
def test_the_pose_of_the_frame_takes_equal_poses_of_the_pixels_back(yaw: float, x: float) -> None:
    frame = lidar(0.0, yaw)
    frame[0, 3] = x
    back = range_image_points(image(pixel_poses=poses(x, yaw), global_from_vehicle=frame)).xyz
    np.testing.assert_allclose(back, range_image_points(image()).xyz, atol=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_second_returns_are_images_of_their_own(share: float) -> None:
    made = pixels()
    made[np.random.default_rng(0).random((4, 8)) >= share, 0] = 0
    points = range_image_points(image(pixels=made))
    assert len(points.xyz) == len(points.features) == len(points.pixels) == (made[..., 0] > 0).sum()
    assert points.xyz.dtype == np.float64 and points.features.dtype == np.float32
