"""Where rays from the origin meet solids, solid by solid in numpy: the oracle of generated worlds."""

from __future__ import annotations

from functools import cache

import numpy as np

from recon3d.pointcloud.worlds import Street, StreetOptions, generate_street
from recon3d.pointcloud.worlds.casting import RayGrid
from recon3d.pointcloud.worlds.lidar import Lidar, ray_grid
from recon3d.pointcloud.worlds.solids import CYLINDER, ELLIPSOID, HULL, Assembly, Gathering, Solids

COARSE = StreetOptions(azimuth_step_deg=1.5)


@cache
def street(seed: int, manner: str = "any") -> Street:
    """A street with few columns, made once."""
    return generate_street(seed, StreetOptions(azimuth_step_deg=1.5, manner=manner))


def sensor(n_beams: int = 24, step_deg: float = 3.0, **changes: float) -> Lidar:
    """A sensor without errors, with beams from -30 to 30 degrees."""
    values = {"noise": 0.0, "bias": 0.0, "dropout": 0.0, "gain": 1.0, "reach": 100.0}
    elevations = tuple(np.linspace(-30, 30, n_beams))
    return Lidar(elevations_deg=elevations, step_deg=step_deg, **(values | changes))


def rays(n_beams: int = 24, step_deg: float = 3.0, sector_deg: float = 360.0, seed: int = 0) -> RayGrid:
    """The rays of such a sensor."""
    return ray_grid(np.random.default_rng(seed), sensor(n_beams, step_deg), sector_deg)


def placed(thing: Assembly, offset: tuple[float, float, float], yaw: float = 0.0) -> Solids:
    """One object in the world."""
    gathering = Gathering()
    gathering.place(thing, offset, yaw, instance=True)
    return gathering.solids()


def own_axes(solids: Solids, k: int, vectors: np.ndarray) -> np.ndarray:
    """Vectors in the axes of a solid."""
    return vectors @ solids.numbers[k, 3:12].reshape(3, 3).T


def inside(solids: Solids, k: int, points: np.ndarray, grown: float = 0.0) -> np.ndarray:
    """Which points lie in a solid that is larger by a factor of 1 + ``grown``."""
    local = own_axes(solids, k, points - solids.numbers[k, :3])
    kind, first, count = solids.codes[k]
    if kind == HULL:
        planes = solids.planes[first : first + count]
        return (local @ planes[:, :3].T <= planes[:, 3] * (1 + grown) + 1e-12).all(1)
    scaled = local / solids.numbers[k, 12:15] / (1 + grown)
    if kind == ELLIPSOID:
        return (scaled**2).sum(1) <= 1
    return ((scaled[:, :2] ** 2).sum(1) <= 1) & (np.abs(scaled[:, 2]) <= 1)


def spans(solids: Solids, k: int, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays ``[n,3]`` from the origin enter and leave a solid; enter > leave where they miss it."""
    start = np.broadcast_to(own_axes(solids, k, -solids.numbers[k, :3]), directions.shape)
    along = own_axes(solids, k, directions)
    kind, first, count = solids.codes[k]
    if kind == HULL:
        planes = solids.planes[first : first + count]
        return _slabs(start, along, planes)
    half = solids.numbers[k, 12:15]
    start, along = start / half, along / half
    if kind == ELLIPSOID:
        return _ball(start, along)
    assert kind == CYLINDER
    low, high = _ball(start[:, :2], along[:, :2])
    caps = np.array([[0, 0, 1.0, 1], [0, 0, -1.0, 1]])
    bottom, top = _slabs(start, along, caps)
    return np.maximum(low, bottom), np.minimum(high, top)


def _slabs(start: np.ndarray, along: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    speed, away = along @ planes[:, :3].T, planes[:, 3] - start @ planes[:, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        time = away / speed
    low = np.where(speed < 0, time, -np.inf).max(1)
    high = np.where(speed > 0, time, np.inf).min(1)
    return low, np.where(((speed == 0) & (away < 0)).any(1), -np.inf, high)


def _ball(start: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, c = (along**2).sum(1), (start * along).sum(1), (start**2).sum(1) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(b * b - a * c)
        low, high = (-b - root) / a, (-b + root) / a
    hit = np.isfinite(low) & np.isfinite(high)
    return np.where(hit, low, np.inf), np.where(hit, high, -np.inf)


def first_hits(solids: Solids, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth and solid of the first hit of rays ``[n,3]``, by looking at every solid; infinity and -1 for none."""
    depth, which = np.full(len(directions), np.inf), np.full(len(directions), -1)
    for k in range(len(solids)):
        low, high = spans(solids, k, directions)
        nearer = (low < high) & (low > 1e-6) & (low < depth)
        depth[nearer], which[nearer] = low[nearer], k
    return depth, which


def in_box(xyz: np.ndarray, box: np.ndarray) -> np.ndarray:
    """How far points lie outside a box, metres; negative inside."""
    c, s = np.cos(box[6]), np.sin(box[6])
    away = xyz - box[:3]
    local = np.stack([c * away[:, 0] + s * away[:, 1], c * away[:, 1] - s * away[:, 0], away[:, 2]], 1)
    return (np.abs(local) - box[3:6] / 2).max(1)
