"""Waymo's range images: one pixel per beam and firing, turned into points of the vehicle frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from recon3d.core.errors import ShapeError

RANGE, INTENSITY, ELONGATION, NO_LABEL_ZONE = range(4)


@dataclass(frozen=True, eq=False, kw_only=True)
class RangeImage:
    """One return of one LiDAR.

    Args:
        pixels: range in metres (0 or less: no return), intensity (unbounded), elongation, and 1 inside or -1 outside a
            zone without labels, ``[h,w,4]``.
        vehicle_from_lidar: the extrinsic, ``[4,4]``.
        inclinations: of the beams, radians, from the lowest row up as the data set lists them, ``[h]``; or their least
            and greatest where they are uniform, ``[2]``.
        pixel_poses: vehicle poses at the moment of each pixel, ``roll pitch yaw x y z`` in the global frame,
            ``[h,w,6]``; the top LiDAR has them (rolling shutter).
        global_from_vehicle: the pose of the frame, ``[4,4]``; needed with ``pixel_poses``.

    Raises:
        ShapeError: the shapes do not fit each other.
    """

    pixels: Float[np.ndarray, "h w 4"]
    vehicle_from_lidar: Float64[np.ndarray, "4 4"]
    inclinations: Float64[np.ndarray, " h_or_2"]
    pixel_poses: Float[np.ndarray, "h w 6"] | None = None
    global_from_vehicle: Float64[np.ndarray, "4 4"] | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[2] != 4 or self.vehicle_from_lidar.shape != (4, 4):
            raise ShapeError("wrong shape of a range image", got=shape, expected="[h, w, 4] and a 4x4 extrinsic")
        if self.inclinations.shape not in ((shape[0],), (2,)):
            got, expected = self.inclinations.shape, f"[{shape[0]}], or [2]: least and greatest"
            raise ShapeError("the inclinations do not fit the rows", got=got, expected=expected)
        poses = self.pixel_poses
        if poses is not None and (poses.shape != (*shape[:2], 6) or self.global_from_vehicle is None):
            raise ShapeError("poses of pixels are [h, w, 6], with the pose of the frame", got=poses.shape)


@dataclass(frozen=True, eq=False)
class RangePoints:
    """Points of a range image, in the order of its rows.

    Args:
        xyz: positions in the vehicle frame, metres, ``[n,3]``.
        features: intensity and elongation, ``[n,2]``.
        pixels: row and column of each point, ``[n,2]``.
    """

    xyz: Float64[np.ndarray, "n 3"]
    features: Float32[np.ndarray, "n 2"]
    pixels: Int64[np.ndarray, "n 2"]


def range_image_points(image: RangeImage, *, keep_no_label_zones: bool = True) -> RangePoints:
    """Turn a range image into points.

    Args:
        image: one return of one LiDAR.
        keep_no_label_zones: whether points inside a zone without labels are kept.
    """
    height, width = image.pixels.shape[:2]
    keep = image.pixels[..., RANGE] > 0
    if not keep_no_label_zones:
        keep &= image.pixels[..., NO_LABEL_ZONE] <= 0
    rows, columns = np.nonzero(keep)
    extrinsic = image.vehicle_from_lidar
    inclination = _row_inclinations(image.inclinations, height)[rows]
    azimuth = (2 * (width - columns - 0.5) / width - 1) * np.pi - np.arctan2(extrinsic[1, 0], extrinsic[0, 0])
    rays = np.stack(
        [np.cos(azimuth) * np.cos(inclination), np.sin(azimuth) * np.cos(inclination), np.sin(inclination)], 1
    )
    distance = image.pixels[rows, columns, RANGE].astype(np.float64)
    xyz = (rays * distance[:, None]) @ extrinsic[:3, :3].T + extrinsic[:3, 3]
    if image.pixel_poses is not None and image.global_from_vehicle is not None:
        xyz = _without_rolling_shutter(xyz, image.pixel_poses[rows, columns], image.global_from_vehicle)
    features = image.pixels[rows, columns, INTENSITY : ELONGATION + 1].astype(np.float32)
    return RangePoints(xyz, features, np.stack([rows, columns], 1).astype(np.int64))


def _row_inclinations(listed: Float64[np.ndarray, " k"], height: int) -> Float64[np.ndarray, " h"]:
    """Return the inclination of each row of the image; its first row is the highest beam."""
    if listed.shape == (height,):
        return listed[::-1]
    least, greatest = listed
    middles: Float64[np.ndarray, " h"] = least + (np.arange(height) + 0.5) / height * (greatest - least)
    return middles[::-1]


def _without_rolling_shutter(
    xyz: Float64[np.ndarray, "n 3"], poses: Float[np.ndarray, "n 6"], global_from_vehicle: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "n 3"]:
    rotation = _rotations(poses[:, :3].astype(np.float64))
    in_global = np.einsum("nij,nj->ni", rotation, xyz) + poses[:, 3:]
    turn: Float64[np.ndarray, "3 3"] = global_from_vehicle[:3, :3]
    return np.linalg.solve(turn, (in_global - global_from_vehicle[:3, 3]).T).T


def _rotations(angles: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3 3"]:
    """Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles).T, np.sin(angles).T
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, -1) for row in rows], 1)
