"""A room as a hand-held depth camera sees it: views from a path, noise, holes, and looks of the surfaces."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from recon3d.pointcloud.worlds.casting import RayGrid, cast
from recon3d.pointcloud.worlds.materials import BOOKS, FABRIC, GLAZED, PATTERN, TILES, WOOD
from recon3d.pointcloud.worlds.solids import Solids

_ROWS, _COLUMNS = 150, 200


def view_grid(yaw: float, low_deg: float, height_deg: float, width_deg: float) -> RayGrid:
    """Return the rays of one view.

    Args:
        yaw: azimuth of its middle, radians.
        low_deg: elevation of the lowest rays.
        height_deg: up to the highest.
        width_deg: from left to right.
    """
    turn = round(_COLUMNS * 360 / width_deg)
    step = 2 * np.pi / turn
    first = yaw - _COLUMNS * step / 2
    elevation = np.radians(low_deg + height_deg * np.arange(_ROWS) / (_ROWS - 1))
    azimuth = first + step * np.arange(_COLUMNS)
    flat = np.cos(elevation)[:, None]
    up = np.broadcast_to(np.sin(elevation)[:, None], (_ROWS, _COLUMNS))
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], -1)
    return RayGrid(directions=directions, slopes=np.tan(elevation), first_azimuth=first, step=step, closed=False)


def scan(
    rng: np.random.Generator, solids: Solids, cameras: Float64[np.ndarray, "k 5"]
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"], Int64[np.ndarray, " n"], Float64[np.ndarray, "n 3"]]:
    """Return points, normals, the solid of each and its place in the axes of that solid.

    Args:
        rng: source of noise and holes.
        solids: of the room.
        cameras: position, azimuth and lowest elevation in degrees of each view.
    """
    parts = []
    for x, y, z, yaw, low in cameras:
        grid = view_grid(yaw, low, 50.0, 66.0)
        hits = cast(grid, solids.moved(-np.array([x, y, z])), seed=int(rng.integers(2**31)))
        seen = (hits.solid >= 0) & (hits.depth > 0.35) & (hits.depth < 5.5)
        facing = np.abs((hits.normals * grid.directions).sum(-1))
        seen &= rng.random(seen.shape) < np.clip(facing * 5, 0, 1)
        glazed = solids.materials[np.maximum(hits.solid, 0)] == GLAZED
        seen &= ~glazed | (rng.random(seen.shape) < 0.25)
        depth = hits.depth[seen]
        depth = depth + rng.normal(0, 0.0012, len(depth)) * depth**2
        points = depth[:, None] * grid.directions[seen] + (x, y, z)
        parts.append((points, hits.normals[seen], hits.solid[seen], hits.local[seen]))
    points, normals, solid, local = (np.concatenate(column) for column in zip(*parts, strict=True))
    return points, normals, solid, local


def thinned(rng: np.random.Generator, points: Float64[np.ndarray, "n 3"], voxel: float) -> Int64[np.ndarray, " m"]:
    """Return one random point of every occupied voxel, in random order.

    Args:
        rng: source of the choice.
        points: positions.
        voxel: edge length.
    """
    order = rng.permutation(len(points))
    cells = np.floor((points[order] - points.min(0)) / voxel).astype(np.int64)
    keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
    return order[np.sort(np.unique(keys, return_index=True)[1])]


def warped(
    rng: np.random.Generator, points: Float64[np.ndarray, "n 3"], normals: Float64[np.ndarray, "n 3"], amount: float
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
    """Return points and normals with the smooth errors of a fused scan.

    Args:
        rng: source of the errors.
        points: exact positions.
        normals: unit normals.
        amount: amplitude of the errors, metres.
    """
    waves, phases = rng.normal(0, 3.0, (6, 3)), rng.uniform(0, 6, 6)
    height = np.sin(points @ waves.T + phases).sum(1) * amount * 0.4 + rng.normal(0, amount * 0.25, len(points))
    bent = normals + rng.normal(0, 0.08, normals.shape)
    return points + height[:, None] * normals, bent / np.linalg.norm(bent, axis=1, keepdims=True)


def painted(
    rng: np.random.Generator,
    points: Float64[np.ndarray, "n 3"],
    normals: Float64[np.ndarray, "n 3"],
    local: Float64[np.ndarray, "n 3"],
    look: tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, "n 3"]],
) -> UInt8[np.ndarray, "n 3"]:
    """Return colours under the light of a lamp and a window.

    Args:
        rng: source of light and patterns.
        points: positions in the room.
        normals: unit normals.
        local: places in the axes of the solids.
        look: material and colour of every point.
    """
    material, colour = look
    tint = colour * _pattern(rng, material, local)[:, None]
    books = material == BOOKS
    tint[books] = _hashed(np.floor(local[books, 0] / 0.03) + 131 * np.round(colour[books, 0] * 97))
    drawn = material == PATTERN
    tint[drawn] = _hashed(np.floor(local[drawn, 0] / 0.12) + 17 * np.floor(local[drawn, 2] / 0.12))
    low, high = points.min(0), points.max(0)
    lamp = np.array([*(low[:2] + rng.uniform(0.2, 0.8, 2) * (high - low)[:2]), high[2] + 0.3])
    away = lamp - points
    distance = np.linalg.norm(away, axis=1)
    direct = np.clip((normals * away).sum(1) / distance, 0, 1) / (0.5 + 0.15 * distance**2)
    side = rng.normal(size=3) * (1, 1, 0.3)
    fill = 0.5 + 0.2 * normals @ (side / np.linalg.norm(side)) + 0.12 * normals[:, 2]
    corner = np.clip(np.minimum(points - low, high - points)[:, :2].min(1) / 0.25, 0.0, 1.0)
    light = (fill + direct * rng.uniform(0.2, 0.9)) * (0.75 + 0.25 * corner)
    warm = np.array([1.0, 0.95, 0.88]) ** rng.uniform(-0.5, 2.0)
    value = tint * light[:, None] * warm * rng.uniform(0.8, 1.5)
    value = np.clip(value, 0, None) ** rng.uniform(0.75, 1.1) + rng.normal(0, 0.025, value.shape)
    rgb: np.ndarray = np.clip(value * 255, 0, 255).astype(np.uint8)
    return rgb


def _pattern(rng: np.random.Generator, material: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Return the factor on brightness of grain, weave and joints."""
    grain = rng.uniform(20, 60)
    wood = 1 + 0.12 * np.sin(grain * local[:, 1] + 3 * np.sin(2.5 * local[:, 0]) + 5 * local[:, 2])
    weave = 1 + rng.normal(0, 0.1, len(local)) + 0.06 * np.sin(9 * local[:, 0]) * np.sin(9 * local[:, 1])
    size = rng.uniform(0.15, 0.6)
    joint = (np.mod(local / size, 1.0) < 0.05).sum(1) >= 1
    tiles = np.where(joint, 0.75, 1.0)
    return np.select([material == WOOD, material == FABRIC, material == TILES], [wood, weave, tiles], 1.0)


def _hashed(cells: np.ndarray) -> np.ndarray:
    """Return a colour for each number of a cell."""
    colours: np.ndarray = 0.5 + 0.4 * np.sin(cells[:, None] * np.array([12.9898, 78.233, 39.425]))
    return colours
