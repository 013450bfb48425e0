"""Generated streets seen by a spinning LiDAR, with labels, instances and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from recon3d.core.errors import UsageError
from recon3d.core.seeds import generator
from recon3d.pointcloud.boxes.types import Boxes3D
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.worlds.casting import cast
from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.layout import Furnishing
from recon3d.pointcloud.worlds.lidar import BEAM_TABLES, draw_lidar, ray_grid
from recon3d.pointcloud.worlds.manners import MANNERS, draw_ground
from recon3d.pointcloud.worlds.materials import BOX_CLASSES
from recon3d.pointcloud.worlds.sensing import Returns, sense


@dataclass(frozen=True, kw_only=True)
class StreetOptions:
    """How streets are generated.

    Args:
        beams: number of beams of the sensor (16, 32, 40, 64, 128), ``random`` for a made-up one, ``any`` for either.
        azimuth_step_deg: between two firings of a beam; None = as the sensor has it.
        mount_m: lowest and highest height of the sensor over the road.
        sector_deg: how much of the turn is kept, about the x axis: 90 for the view of a camera.
        max_range_m: farther points are left out.
        min_range_m: nearer points are left out.
        manner: kind of street: city, residential, suburb, country; ``any`` = a random one.
        density: factor on the numbers of cars in traffic, pedestrians and cyclists.
        gain: factor on all intensities; None = a random one for each scene.
        min_points: boxes with fewer points are dropped.
    """

    beams: str = "64"
    azimuth_step_deg: float | None = None
    mount_m: tuple[float, float] = (1.5, 2.0)
    sector_deg: float = 360.0
    max_range_m: float = 90.0
    min_range_m: float = 2.0
    manner: str = "any"
    density: float = 1.0
    gain: float | None = None
    min_points: int = 1

    def __post_init__(self) -> None:
        if self.beams not in (known := (*BEAM_TABLES, "random", "any")):
            raise UsageError("no such LiDAR", got=self.beams, expected=", ".join(known))
        if self.manner not in (known := (*MANNERS, "any")):
            raise UsageError("no such kind of street", got=self.manner, expected=", ".join(known))
        if not 0 < self.sector_deg <= 360:
            raise UsageError(
                "the sector of the LiDAR is out of range", got=self.sector_deg, expected="in (0, 360] degrees"
            )
        if not 0 < self.mount_m[0] <= self.mount_m[1] < np.inf:
            raise UsageError("the height of the LiDAR is no range", got=self.mount_m, expected="two rising metres")
        if self.azimuth_step_deg is not None and not 0 < self.azimuth_step_deg <= 90:
            got, expected = self.azimuth_step_deg, "in (0, 90] degrees"
            raise UsageError("the azimuth step of the LiDAR is out of range", got=got, expected=expected)
        self._check_amounts()

    def _check_amounts(self) -> None:
        if not 0 <= self.min_range_m < self.max_range_m:
            got = f"{self.min_range_m} to {self.max_range_m} m"
            raise UsageError("the ranges of the LiDAR do not rise", got=got, expected="min_range_m below max_range_m")
        for name, value in {"density": self.density, "gain": self.gain or 0.0}.items():
            if not 0 <= value < np.inf:
                raise UsageError(f"the {name} of a street is no factor", got=value, expected="0 or more")


@dataclass(frozen=True, eq=False, kw_only=True)
class Street:
    """One sweep over a generated street, in the frame of the sensor: x forward, y left, z up.

    Args:
        cloud: with ``intensity`` in [0,1], ``ring`` (0 = lowest), ``label`` (index into ``STREET_CLASSES``) and
            ``instance`` (0 = none).
        boxes: of cars, pedestrians and cyclists that have points.
        box_points: points of each box.
        box_instances: instance number of each box.
        ground: its shape: ``ground.height(xy)`` in the sensor frame.
        manner: kind of street.
    """

    cloud: PointCloud
    boxes: Boxes3D
    box_points: Int64[np.ndarray, " n"]
    box_instances: Int64[np.ndarray, " n"]
    ground: Ground
    manner: str


def generate_street(seed: int, options: StreetOptions | None = None) -> Street:
    """Return the street of a seed: the same bits for the same seed and options.

    Args:
        seed: zero or positive.
        options: how it is made.

    Raises:
        UsageError: the seed is negative.
    """
    options = options or StreetOptions()
    scene, sensor = generator(seed, "street", "scene"), generator(seed, "street", "sensor")
    names = list(MANNERS)
    manner = str(scene.choice(names, p=[0.3, 0.35, 0.2, 0.15])) if options.manner == "any" else options.manner
    ground, parked = draw_ground(scene, MANNERS[manner], scene.uniform(*options.mount_m))
    street = Furnishing(rng=scene, ground=ground, manner=MANNERS[manner], parked=parked, density=options.density)
    street.furnish()
    solids = street.gathering.solids()
    lidar = draw_lidar(sensor, options.beams, options.azimuth_step_deg, options.gain)
    grid = ray_grid(sensor, lidar, options.sector_deg)
    hits = cast(grid, solids, seed=int(sensor.integers(2**31)), ground=ground.depth(grid))
    returns = sense(sensor, lidar, grid, hits, solids, ground)
    cloud = _cloud(returns, options)
    boxes, counts, numbers = _boxes(street.targets, cloud, options.min_points)
    return Street(cloud=cloud, boxes=boxes, box_points=counts, box_instances=numbers, ground=ground, manner=manner)


def _cloud(returns: Returns, options: StreetOptions) -> PointCloud:
    distance = np.linalg.norm(returns.xyz, axis=1)
    keep = (distance >= options.min_range_m) & (distance <= options.max_range_m)
    attributes = {
        "intensity": returns.intensity[keep].astype(np.float32),
        "ring": returns.ring[keep],
        "label": returns.label[keep],
        "instance": returns.instance[keep],
    }
    return PointCloud(xyz=returns.xyz[keep], attributes=attributes, frame="sensor")


def _boxes(
    targets: list[tuple[int, int, list[float]]], cloud: PointCloud, min_points: int
) -> tuple[Boxes3D, np.ndarray, np.ndarray]:
    numbers = np.array([t[0] for t in targets], np.int64)
    counts = np.bincount(cloud.attributes["instance"], minlength=int(numbers.max(initial=0)) + 1)[numbers]
    keep = counts >= max(min_points, 1)
    boxes = Boxes3D(
        boxes=np.array([t[2] for t in targets], np.float64).reshape(-1, 7)[keep],
        labels=np.array([t[1] for t in targets], np.int64)[keep],
        names=BOX_CLASSES,
    )
    return boxes, counts[keep].astype(np.int64), numbers[keep]
