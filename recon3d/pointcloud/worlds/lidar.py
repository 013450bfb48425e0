"""A simulated spinning LiDAR: its beams and their accidental errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from recon3d.pointcloud.worlds.casting import RayGrid

# Elevations in degrees, from the data sheets of common sensors.
BEAM_TABLES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "16": tuple(np.linspace(-15, 15, 16)),
        "32": tuple(np.linspace(-30.67, 10.67, 32)),
        "40": (*np.linspace(-25, -7, 9), *np.linspace(-6, 2, 25), *np.linspace(3, 15, 6)),
        "64": (*np.linspace(-24.8, -8.87, 32), *np.linspace(-8.36, 2.0, 32)),
        "128": (*np.linspace(-25, -10, 16), *np.linspace(-9, 4, 96), *np.linspace(5, 15, 16)),
    }
)
_STEPS = {"16": 0.2, "32": 0.33, "40": 0.2, "64": 0.1728, "128": 0.2}


@dataclass(frozen=True, kw_only=True)
class Lidar:
    """One sensor as a scene sees it.

    Args:
        elevations_deg: of the beams, rising.
        step_deg: between two firings of a beam.
        noise: standard deviation of a range, metres.
        bias: standard deviation of the constant error of each beam, metres.
        dropout: share of returns lost for no reason.
        gain: factor on all intensities.
        reach: range at which a white wall seen straight on begins to be lost, metres.
    """

    elevations_deg: tuple[float, ...]
    step_deg: float
    noise: float
    bias: float
    dropout: float
    gain: float
    reach: float


def draw_lidar(rng: np.random.Generator, beams: str, step_deg: float | None, gain: float | None) -> Lidar:
    """Return a sensor of the given kind with its accidental errors.

    Args:
        rng: source of the errors.
        beams: a name of ``BEAM_TABLES``, ``random`` for a made-up table, ``any`` for either.
        step_deg: between two firings, None = as the sensor has it.
        gain: factor on all intensities, None = a random one.
    """
    if beams == "any":
        beams = str(rng.choice(["32", "40", "64", "64", "128", "random"]))
    if beams == "random":
        count = int(rng.integers(24, 100))
        edges = np.sort(rng.uniform(-30, 15, 2)) if rng.random() < 0.2 else (rng.uniform(-32, -20), rng.uniform(2, 15))
        share = np.linspace(0, 1, count) ** rng.uniform(0.7, 1.3)
        elevations = edges[0] + (edges[1] - edges[0] + 1.0) * share
        step = rng.uniform(0.15, 0.35)
    else:
        elevations, step = np.array(BEAM_TABLES[beams]), _STEPS[beams]
    gap = np.diff(elevations).min()
    return Lidar(
        elevations_deg=tuple(np.sort(elevations + rng.normal(0, 0.06 * gap, len(elevations)))),
        step_deg=step if step_deg is None else step_deg,
        noise=rng.uniform(0.005, 0.02),
        bias=rng.uniform(0.0, 0.012),
        dropout=rng.uniform(0.005, 0.05),
        gain=_gain(rng, beams) if gain is None else gain,
        reach=rng.uniform(60, 120),
    )


def _gain(rng: np.random.Generator, beams: str) -> float:
    """Return a factor on intensities: the scale of the 64-beam sensor is known, others differ up to fourfold."""
    return float(rng.uniform(0.7, 1.3) if beams == "64" else np.exp(rng.uniform(np.log(0.25), np.log(1.3))))


def ray_grid(rng: np.random.Generator, lidar: Lidar, sector_deg: float) -> RayGrid:
    """Return the rays of one turn.

    Args:
        rng: source of the place of each beam within a step.
        lidar: the sensor.
        sector_deg: width of what is kept about the x axis; 360 = all.
    """
    turn = round(360 / lidar.step_deg)
    step = 2 * np.pi / turn
    closed = sector_deg >= 360
    columns = turn if closed else min(int(np.ceil(np.radians(sector_deg) / step)), turn)
    first = -np.pi + rng.uniform(0, step) if closed else -columns * step / 2
    elevation = np.radians(np.array(lidar.elevations_deg))
    shift = rng.uniform(-0.5, 0.5, len(elevation)) * step
    azimuth = first + step * np.arange(columns)[None] + shift[:, None]
    flat, up = np.cos(elevation)[:, None], np.sin(elevation)[:, None]
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.broadcast_to(up, azimuth.shape)], -1)
    return RayGrid(directions=directions, slopes=np.tan(elevation), first_azimuth=first, step=step, closed=closed)
