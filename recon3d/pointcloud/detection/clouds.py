"""Whatever a user has as a cloud, as the rows that a detector takes, with a check of what it takes for granted."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Shaped

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.detection.ground import sensor_height
from recon3d.pointcloud.detection.network import SensorOptions

_log = logging.getLogger(__name__)
_TOLERANCE = 0.6  # metres between the declared and the found ground
_SLACK = 1.02
Cloud = PointCloud | Shaped[np.ndarray, "..."]


@dataclass(frozen=True, eq=False, kw_only=True)
class SensorCloud:
    """Points of a sensor as a detector takes them.

    Args:
        points: x forward, y left, z up (metres, over the sensor), intensity as a share of the brightest, and further
            attributes; those with a position only.
        mount_m: height of the sensor over the ground that holds.
        ground_m: height of the sensor over the ground that the points show; None where they show none.
        warnings: what does not fit to what was declared.
    """

    points: Float32[np.ndarray, "n c"]
    mount_m: float
    ground_m: float | None
    warnings: tuple[str, ...]


def cloud_rows(cloud: Cloud, attributes: tuple[str, ...] = ("intensity",)) -> Float32[np.ndarray, "_ c"]:
    """Return positions and attributes as columns; zeros for what the cloud does not have; rows without position fall.

    Args:
        cloud: a ``PointCloud``, or an array whose first columns are x, y, z and the attributes in their order.
        attributes: names of the columns behind x, y, z.

    Raises:
        ShapeError: an array that is no table of points.
    """
    if isinstance(cloud, PointCloud):
        wanted = [np.asarray(cloud.attributes.get(name, np.zeros(len(cloud))), np.float64) for name in attributes]
        firsts = [one.reshape(len(cloud), math.prod(one.shape[1:]))[:, 0] for one in wanted]
        rows = np.column_stack([cloud.xyz, *firsts])
    else:
        rows = _table(np.asarray(cloud), 3 + len(attributes))
    kept = rows[np.isfinite(rows[:, :3]).all(1)]
    return np.asarray(np.nan_to_num(np.clip(kept, -1e6, 1e6)), np.float32)


def _table(rows: np.ndarray, columns: int) -> np.ndarray:
    if rows.ndim != 2 or rows.shape[1] < 3 or rows.dtype.kind not in "fiu":
        got = f"{rows.dtype} {list(rows.shape)}"
        raise ShapeError("a cloud has the wrong shape", got=got, expected="[n, 3 or more]: x, y, z, intensity, ...")
    return np.pad(rows[:, :columns].astype(np.float64), ((0, 0), (0, max(columns - rows.shape[1], 0))))


def sensor_cloud(
    rows: Float[np.ndarray, "n c"], sensor: SensorOptions, *, mount_m: float | None, intensity_max: float | None
) -> SensorCloud:
    """Return rows with intensities as shares, checked against what the detector takes for granted.

    Args:
        rows: x, y, z, intensity and other attributes.
        sensor: of the detector.
        mount_m: height of the origin over the ground; None = the declared one, NaN = the one that the points show.
        intensity_max: intensity of the brightest point; None = the declared one.

    Raises:
        InputError: intensities beyond the brightest.
    """
    brightest = sensor.intensity_max if intensity_max is None else intensity_max
    points = rows.astype(np.float32)
    highest = float(points[:, 3].max(initial=0.0)) if points.shape[1] > 3 else 0.0
    if highest > _SLACK * brightest:
        raise InputError(
            "the intensities do not fit to the detector",
            got=f"up to {highest:g}",
            expected=f"0 to {brightest:g}",
            fix=f"give intensity_max ({255 if highest <= 255 else 65535} for files with whole numbers)",
        )
    points[:, 3:4] /= brightest
    ground = sensor_height(points[:, :3])
    mount = sensor.mount_m if mount_m is None else mount_m
    if np.isnan(mount):
        mount = sensor.mount_m if ground is None else ground
    warnings = _warnings(points, mount, ground)
    for text in warnings:
        _log.warning(text)
    return SensorCloud(points=points, mount_m=mount, ground_m=ground, warnings=warnings)


def _warnings(points: Float32[np.ndarray, "n c"], mount: float, ground: float | None) -> tuple[str, ...]:
    if ground is None:
        return ("no ground is seen around the origin: are the points in the sensor's frame?",) if len(points) else ()
    if abs(ground - mount) <= _TOLERANCE:
        return ()
    return (
        f"the ground is found {ground:.2f} m below the origin, declared are {mount:.2f} m: "
        f"give mount_m={ground:.2f} (--mount {ground:.2f}, or --mount auto) if boxes are missing",
    )
