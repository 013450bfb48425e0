"""Range images: each pixel becomes the point that its beam hit, with and without a rolling shutter."""

from __future__ import annotations

import numpy as np
import pytest

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
