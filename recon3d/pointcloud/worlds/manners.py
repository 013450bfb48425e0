"""Kinds of generated streets, and the roads that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d.pointcloud.worlds.ground import Ground

NONE = 1e6


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a kind of street looks: ranges in metres, means of counts, and probabilities.

    Args:
        lanes: lowest and highest number of lanes.
        parking: probability of parked cars on each side, and share of the places that are taken.
        verge, walk, paved: widths beside the road.
        setback: from the back of the walk to the buildings.
        built: probability of a building at each place.
        blocks: share of city blocks among the buildings.
        gap: between buildings.
        trees: mean number per 100 metres of a side.
        fences: probability of a fence or hedge in front of a plot.
        traffic: mean gap between driving cars.
        walkers, riders, things: mean number of pedestrians, cyclists and pieces of clutter.
    """

    lanes: tuple[int, int]
    parking: tuple[float, float]
    verge: tuple[float, float]
    walk: tuple[float, float]
    paved: tuple[float, float]
    setback: tuple[float, float]
    built: float
    blocks: float
    gap: tuple[float, float]
    trees: float
    fences: float
    traffic: float
    walkers: float
    riders: float
    things: float


MANNERS = {
    "city": Manner(
        lanes=(2, 5), parking=(0.5, 0.75), verge=(0, 0.6), walk=(2, 5.5), paved=(0, 6),
        setback=(0, 4), built=0.93, blocks=0.95, gap=(0, 3), trees=5,
        fences=0.15, traffic=22, walkers=14, riders=3.5, things=20,
    ),
    "residential": Manner(
        lanes=(1, 2), parking=(0.75, 0.75), verge=(0, 1.0), walk=(1.2, 2.5), paved=(0, 3),
        setback=(1, 6), built=0.9, blocks=0.45, gap=(0, 6), trees=6,
        fences=0.6, traffic=45, walkers=6, riders=2.5, things=18,
    ),
    "suburb": Manner(
        lanes=(2, 2), parking=(0.4, 0.4), verge=(0, 3.5), walk=(0, 2.2), paved=(0, 1),
        setback=(4, 12), built=0.75, blocks=0.1, gap=(3, 15), trees=10,
        fences=0.5, traffic=40, walkers=4, riders=2, things=12,
    ),
    "country": Manner(
        lanes=(2, 4), parking=(0.05, 0.2), verge=(0.5, 3), walk=(0, 1.5), paved=(0, 0),
        setback=(8, 30), built=0.2, blocks=0.2, gap=(10, 40), trees=13,
        fences=0.3, traffic=30, walkers=1.5, riders=1.5, things=5,
    ),
}  # fmt: skip


def draw_ground(rng: np.random.Generator, manner: Manner, mount: float) -> tuple[Ground, tuple[bool, bool]]:
    """Return a road and on which sides, left and right, cars are parked along it.

    Args:
        rng: source of the choice.
        manner: of the street.
        mount: height of the sensor, metres.
    """
    lanes = int(rng.integers(manner.lanes[0], manner.lanes[1] + 1))
    parked = (bool(rng.random() < manner.parking[0]), bool(rng.random() < manner.parking[0]))
    half = lanes * rng.uniform(2.8, 3.6) / 2 + (2.1 if any(parked) else 0.0) + (1.0 if lanes == 1 else 0.0)
    lane = -(half - (2.1 if parked[1] else 0.0)) * rng.uniform(0.3, 0.6) if lanes > 1 else rng.normal(0, 0.4)
    widths = {"verge": manner.verge, "walk": manner.walk, "paved": manner.paved}
    pairs = {name: rng.uniform(low, high, 2) for name, (low, high) in widths.items()}
    pairs["verge"] *= (pairs["verge"] > 0.5) & (rng.random(2) < 0.6)
    bank = rng.choice([0.0, 1.0], 2) * rng.normal(0, 0.12, 2)
    crossed = rng.random() < 0.45
    ground = Ground(
        heading=float(rng.normal(0, 0.05) if rng.random() < 0.85 else rng.uniform(-np.pi, np.pi)),
        lateral=float(lane),
        bend=float(rng.normal(0, 0.003)),
        sway=float(rng.uniform(0, 1.0)),
        sway_length=float(rng.uniform(60, 150)),
        half_width=half,
        curb=float(rng.uniform(0.04, 0.16)),
        **{
            f"{name}_{side}": float(values[k])
            for name, values in pairs.items()
            for k, side in enumerate(("left", "right"))
        },
        crossing=float(rng.uniform(-15, 40)) if crossed else NONE,
        crossing_half_width=float(rng.uniform(3, 6)) if crossed else 0.0,
        slope_x=float(rng.normal(0, 0.015)),
        slope_y=float(rng.normal(0, 0.012)),
        crown=float(rng.uniform(0, 0.1)),
        hill=float(rng.uniform(0, 0.6)),
        hill_length=float(rng.uniform(80, 200)),
        bank_left=float(bank[0]),
        bank_right=float(bank[1]),
        rough=float(rng.uniform(0.0, 0.06)),
        mount=mount,
    )
    return ground, parked
