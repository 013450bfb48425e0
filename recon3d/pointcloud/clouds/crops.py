"""Parts of a cloud; points without a position are in no part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recon3d.core.errors import UsageError
from recon3d.pointcloud.clouds.types import PointCloud


def crop_box(cloud: PointCloud, lower: Sequence[float], upper: Sequence[float]) -> PointCloud:
    """Return the points with ``lower <= p < upper`` on every axis, in their order.

    Args:
        cloud: any.
        lower: least corner, metres, three numbers; ``-inf`` leaves a side open.
        upper: greatest corner, metres, three numbers; ``inf`` leaves a side open.

    Raises:
        UsageError: a corner has not three numbers, or an upper one is not above the lower.
    """
    corners = np.array([lower, upper], np.float64) if len(lower) == len(upper) == 3 else np.zeros((2, 3))
    if not (corners[0] < corners[1]).all():
        raise UsageError("not a box", got=f"{list(lower)} to {list(upper)}", expected="lower below upper on three axes")
    inside = np.ones(len(cloud), bool)
    for axis in range(3):  # column by column, so that no copy of all positions is made
        inside &= (cloud.xyz[:, axis] >= corners[0, axis]) & (cloud.xyz[:, axis] < corners[1, axis])
    return cloud.selected(inside)


def crop_radius(
    cloud: PointCloud, radius: float, centre: Sequence[float] = (0.0, 0.0, 0.0), *, planar: bool = True
) -> PointCloud:
    """Return the points within a distance of a centre, the distance itself included, in their order.

    Args:
        cloud: any.
        radius: metres, above 0.
        centre: in the frame of the cloud, metres, three numbers.
        planar: whether heights are left out of the distance.

    Raises:
        UsageError: the radius is not above 0, or the centre has not three numbers.
    """
    if not radius > 0 or len(centre) != 3:
        raise UsageError("not a circle", got=f"radius {radius} about {list(centre)}", expected="a radius above 0")
    square = np.zeros(len(cloud))
    for axis in range(2 if planar else 3):
        square += (cloud.xyz[:, axis] - centre[axis]) ** 2
    return cloud.selected((square <= radius**2) & np.isfinite(cloud.xyz[:, 2]))
