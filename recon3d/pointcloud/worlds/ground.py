"""The ground of a street: road with curbs, sidewalks and terrain, as a height over the plane; where rays meet it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64

from recon3d.core.kernels import kernel
from recon3d.pointcloud.worlds.casting import RayGrid
from recon3d.pointcloud.worlds.materials import ROAD, SIDEWALK, TERRAIN

_RADII = 0.3 + 0.02 * (np.exp(np.arange(520) * 0.0075) - 1) / 0.0075


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A road through terrain; the sensor stands over the origin, metres and radians.

    Args:
        heading: of the road at the sensor.
        lateral: place of the sensor left of the middle of the road.
        bend: curvature of the road.
        sway, sway_length: amplitude and wavelength of its meandering.
        half_width: from the middle of the road to the curb.
        curb: height of the sidewalk over the road.
        verge_left, verge_right: width of the green between curb and sidewalk.
        walk_left, walk_right: width of the sidewalks, 0 = none.
        paved_left, paved_right: width of paved yards behind the sidewalks.
        crossing: distance along the road to the middle of a crossing road; far away = none.
        crossing_half_width: of the crossing road, to its curb.
        slope_x, slope_y: of the whole plane.
        crown: how far the road falls from its middle to the curb.
        hill, hill_length: amplitude and wavelength of wide waves.
        bank_left, bank_right: slope of the terrain beside the street.
        rough: amplitude of the unevenness of terrain.
        mount: height of the sensor.
    """

    heading: float
    lateral: float
    bend: float
    sway: float
    sway_length: float
    half_width: float
    curb: float
    verge_left: float
    verge_right: float
    walk_left: float
    walk_right: float
    paved_left: float
    paved_right: float
    crossing: float
    crossing_half_width: float
    slope_x: float
    slope_y: float
    crown: float
    hill: float
    hill_length: float
    bank_left: float
    bank_right: float
    rough: float
    mount: float

    def packed(self) -> Float64[np.ndarray, " n"]:
        """Return all numbers in the order in which the kernels read them."""
        return np.array([getattr(self, field.name) for field in fields(self)], np.float64)

    def road(self, xy: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """Return the distance along the road and left of its middle.

        Args:
            xy: places in the sensor frame.
        """
        return self._features(xy)[:, :2]

    def height(self, xy: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, " n"]:
        """Return the height of the ground in the sensor frame.

        Args:
            xy: places in the sensor frame.
        """
        return self._features(xy)[:, 2]

    def labels(self, xy: Float64[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
        """Return the class of the ground.

        Args:
            xy: places in the sensor frame.
        """
        return self._features(xy)[:, 3].astype(np.int64)

    def _features(self, xy: np.ndarray) -> np.ndarray:
        found: np.ndarray = _features(self.packed(), np.ascontiguousarray(xy, np.float64))
        return found

    def place(self, along: float, left: float) -> tuple[float, float, float]:
        """Return x, y and the heading of the road in the sensor frame.

        Args:
            along: distance along the road.
            left: distance left of its middle.
        """
        wave = 2 * np.pi / self.sway_length
        turn = self.bend * along + self.sway * wave * np.cos(wave * along)
        across = 0.5 * self.bend * along**2 + self.sway * np.sin(wave * along)
        y = across + left * np.hypot(1.0, turn) - self.lateral
        c, s = np.cos(self.heading), np.sin(self.heading)
        return c * along - s * y, s * along + c * y, float(np.arctan(turn) + self.heading)

    def depth(self, grid: RayGrid) -> Float64[np.ndarray, "rows columns"]:
        """Return the depth of the ground along every ray, infinite where it is not met within 200 m.

        Args:
            grid: the rays.
        """
        found = np.full(grid.directions.shape[:2], np.inf)
        _profile(self.packed(), _RADII, grid.slopes, grid.first_azimuth, grid.step, found)
        return found


@kernel(order="written")
@no_type_check
def _ground(p, x, y):
    """Return distance along and across the road, height without the mount, and class of the ground."""
    c, s = np.cos(p[0]), np.sin(p[0])
    along, across = c * x + s * y, c * y - s * x + p[1]
    wave = 2.0 * np.pi / p[4]
    turn = p[2] * along + p[3] * wave * np.cos(wave * along)
    left = (across - 0.5 * p[2] * along * along - p[3] * np.sin(wave * along)) / np.sqrt(1.0 + turn * turn)
    away = abs(left)
    side = 0 if left > 0 else 1
    beside = min(away - p[5], abs(along - p[13]) - p[14])
    z = (
        p[15] * x
        + p[16] * y
        + p[18] * (np.sin(2.0 * np.pi * (x + 0.6 * y) / p[19]) + 0.5 * np.sin(5.1 * (y - 0.3 * x) / p[19]))
    )
    if beside <= 0.0:
        return along, left, z - p[17] * min(away / p[5], 1.0) ** 2, ROAD
    z += p[6] * min(beside / 0.05, 1.0) - p[17] + 0.015 * beside / (1.0 + 0.1 * beside)
    verge, walk, paved = p[7 + side], p[9 + side], p[11 + side]
    behind = beside - verge - walk
    label = TERRAIN
    if verge < beside <= verge + walk or 0.0 < behind < paved:
        label = SIDEWALK
    if behind > paved and behind > 0.0:
        z += p[20 + side] * 8.0 * np.tanh((behind - paved) / 8.0)
    if label == TERRAIN:
        fade = min(min(beside, abs(behind)) / 0.5, 1.0)
        z += (
            p[22]
            * fade
            * (np.sin(1.7 * x + 0.9 * y) + np.sin(1.3 * y - 0.8 * x + 1.0) + 0.4 * np.sin(4.1 * x - 3.3 * y))
        )
    return along, left, z, label


@kernel(order="written")
@no_type_check
def _features(p, xy):
    out = np.empty((len(xy), 4))
    start = _ground(p, 0.0, 0.0)[2] + p[23]
    for i in range(len(xy)):
        along, left, z, label = _ground(p, xy[i, 0], xy[i, 1])
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = along, left, z - start, label
    return out


@kernel(order="written")
@no_type_check
def _profile(p, radii, slopes, first_azimuth, step, found):
    """March outwards once per column: a higher ray never meets the ground nearer than a lower one."""
    rows, columns = found.shape
    start = _ground(p, 0.0, 0.0)[2] + p[23]
    for column in range(columns):
        azimuth = first_azimuth + column * step
        c, s = np.cos(azimuth), np.sin(azimuth)
        row, before, radius_before = 0, -p[23], 0.0
        for k in range(len(radii)):
            radius = radii[k]
            height = _ground(p, c * radius, s * radius)[2] - start
            while row < rows and height >= radius * slopes[row]:
                below, above = before - radius_before * slopes[row], height - radius * slopes[row]
                part = min(max(below / min(below - above, -1e-12), 0.0), 1.0)
                reach = radius_before + part * (radius - radius_before)
                found[row, column] = reach * np.sqrt(1.0 + slopes[row] ** 2)
                row += 1
            if row == rows:
                break
            before, radius_before = height, radius
