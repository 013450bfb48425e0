"""What a LiDAR reports of exact hits: noise, lost returns and intensity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from recon3d.pointcloud.worlds.casting import Hits, RayGrid
from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.lidar import Lidar
from recon3d.pointcloud.worlds.materials import CABIN, DULL, FACADE, PAINT, ROAD, SIDEWALK, TERRAIN, returns_of
from recon3d.pointcloud.worlds.solids import Solids


@dataclass(frozen=True, eq=False, kw_only=True)
class Returns:
    """What the sensor reports.

    Args:
        xyz: points in the sensor frame.
        intensity: in [0,1].
        ring: beam, 0 = lowest.
        label: class.
        instance: number of the object, 0 = none.
    """

    xyz: Float64[np.ndarray, "n 3"]
    intensity: Float64[np.ndarray, " n"]
    ring: Int64[np.ndarray, " n"]
    label: Int64[np.ndarray, " n"]
    instance: Int64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Surface:
    """Exact hits, one row per ray that met something: ray and place, and what lies there."""

    ring: np.ndarray
    ray: np.ndarray
    depth: np.ndarray
    on_ground: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    albedo: np.ndarray
    material: np.ndarray
    facing: np.ndarray
    glass: np.ndarray


def sense(rng: np.random.Generator, lidar: Lidar, grid: RayGrid, hits: Hits, solids: Solids, ground: Ground) -> Returns:
    """Return the points that the sensor reports of exact hits.

    Args:
        rng: source of noise.
        lidar: the sensor.
        grid: its rays.
        hits: what they meet.
        solids: of the world.
        ground: of the world.
    """
    seen = _surface(rng, grid, hits, solids, ground)
    bright, diffuse, lost = returns_of(seen.material)
    power = bright * seen.albedo * (diffuse + (1 - diffuse) * seen.facing**1.5)
    energy = power * seen.facing**0.25 * (lidar.reach / np.maximum(seen.depth, 5.0)) ** 2
    lost = np.where(seen.glass, np.maximum(lost, 0.75), lost)
    kept = (1 - lost) * (1 - lidar.dropout) * (1 - np.exp(-2.5 * energy))
    keep = rng.random(len(seen.depth)) < kept
    ring, depth = seen.ring[keep], seen.depth[keep]
    bias = rng.normal(0, lidar.bias, len(lidar.elevations_deg))
    depth = depth + rng.normal(0, lidar.noise, len(depth)) + bias[ring]
    xyz = depth[:, None] * seen.ray[keep]
    grass = seen.on_ground[keep] & (seen.label[keep] == TERRAIN)
    xyz[:, 2] += grass * np.abs(rng.normal(0, 0.03, len(xyz)))
    return Returns(
        xyz=xyz,
        intensity=_intensity(rng, lidar, power[keep], depth, ring),
        ring=ring.astype(np.int64),
        label=seen.label[keep],
        instance=seen.instance[keep],
    )


def _intensity(
    rng: np.random.Generator, lidar: Lidar, power: np.ndarray, depth: np.ndarray, ring: np.ndarray
) -> np.ndarray:
    """Return intensities in hundredths: beams differ, far returns are weaker, some report nothing."""
    beam = rng.uniform(0.8, 1.2, len(lidar.elevations_deg))[ring]
    value = power * lidar.gain * beam * rng.normal(1, 0.15, len(ring)) * (1 - np.minimum(depth / 250, 0.4))
    value += rng.normal(0, 0.015, len(ring))
    hundredths: np.ndarray = np.round(np.clip(value * (rng.random(len(ring)) > 0.04), 0, 0.99), 2)
    return hundredths


def _surface(rng: np.random.Generator, grid: RayGrid, hits: Hits, solids: Solids, ground: Ground) -> _Surface:
    ring, column = np.nonzero((hits.solid != -1) & np.isfinite(hits.depth))
    ray, depth, which = grid.directions[ring, column], hits.depth[ring, column], hits.solid[ring, column]
    on_ground, solid = which < 0, np.maximum(which, 0)
    label, albedo = solids.labels[solid], solids.colours[solid, 0]
    material = np.where(on_ground, DULL, solids.materials[solid])
    normal, local = hits.normals[ring, column], hits.local[ring, column]
    facing = np.abs((normal * ray).sum(1))
    place = np.flatnonzero(on_ground)
    label[place], albedo[place] = _ground_look(rng, ground, depth[place, None] * ray[place])
    facing[place] = np.abs(ray[place, 2]) ** 0.5
    return _Surface(
        ring=ring,
        ray=ray,
        depth=depth,
        on_ground=on_ground,
        label=label,
        instance=np.where(on_ground, 0, solids.instances[solid]),
        albedo=albedo,
        material=np.where(
            (material == CABIN) & ~(glass := _glass(material, local, normal, solids.numbers[solid])), PAINT, material
        ),
        facing=facing,
        glass=glass,
    )


def _glass(material: np.ndarray, local: np.ndarray, normal: np.ndarray, numbers: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Return which hits lie on the windows of a car's cabin or of a facade."""
    half = numbers[:, 12:15]
    band = (local[:, 2] < 0.75 * half[:, 2]) & (local[:, 2] > -0.85 * half[:, 2]) & (normal[:, 2] < 0.85)
    pillar = np.abs(local[:, 0] + 0.1) < 0.05
    cabin = (material == CABIN) & band & ~pillar
    front = np.abs(local[:, 0]) < np.abs(half[:, 0]) - 0.05
    u = np.where(front, local[:, 0], local[:, 1])
    pane = (np.mod(u / 2.4, 1.0) > 0.55) & (np.mod((local[:, 2] + half[:, 2] - 1.8) / 2.9, 1.0) < 0.5)
    panes = (material == FACADE) & pane & (np.abs(normal[:, 2]) < 0.5)
    glass: np.ndarray = cabin | panes
    return glass


def _ground_look(
    rng: np.random.Generator, ground: Ground, xyz: np.ndarray
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return class and albedo of the ground: worn asphalt with lane marks, slabs and grass."""
    place, label = ground.road(xyz[:, :2]), ground.labels(xyz[:, :2])
    along, left = place[:, 0], place[:, 1]
    base = np.zeros(15)
    base[[ROAD, SIDEWALK, TERRAIN]] = rng.uniform(0.22, 0.42), rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.75)
    wave, phase = rng.uniform(0.1, 1.2, (4, 2)), rng.uniform(0, 6, 4)
    patches = np.sin(xyz[:, :2] @ wave.T + phase).sum(1) * 0.04
    albedo = base[label] * (1 + patches)
    dashes = (np.mod(along, 9.0) < 4.0) & (np.abs(left) < 0.07)
    edges = np.abs(np.abs(left) - ground.half_width + rng.choice([0.3, 2.2])) < 0.07
    marked = (label == ROAD) & (dashes | edges) & (rng.random(len(left)) < 0.8)
    marked &= np.full(len(left), rng.random() < 0.7)
    return label, np.where(marked, rng.uniform(0.8, 1.5), albedo)
