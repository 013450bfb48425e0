"""Vehicles of generated streets, from their outlines seen from the side; x forward, the ground at z = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recon3d.pointcloud.worlds.materials import CABIN, CAR, GLASS, METAL, OTHER_VEHICLE, PAINT, RETRO, RUBBER, TRUCK
from recon3d.pointcloud.worlds.solids import Assembly


@dataclass(frozen=True, kw_only=True)
class Body:
    """Ranges of a kind of car: metres, and shares of its length counted from the front.

    Args:
        length, width, height: lowest and highest size.
        bonnet: where the windscreen begins.
        screen: length of the windscreen seen from above.
        roof_end: where the roof ends.
        tail: where the rear window meets the body.
        weight: how often it is drawn.
    """

    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    bonnet: tuple[float, float]
    screen: tuple[float, float]
    roof_end: tuple[float, float]
    tail: tuple[float, float]
    weight: float


_BODIES = (
    Body(  # saloon
        length=(4.3, 5.0),
        width=(1.7, 1.9),
        height=(1.38, 1.5),
        bonnet=(0.24, 0.3),
        screen=(0.13, 0.18),
        roof_end=(0.68, 0.75),
        tail=(0.82, 0.9),
        weight=3.0,
    ),
    Body(  # hatchback
        length=(3.5, 4.4),
        width=(1.6, 1.82),
        height=(1.4, 1.58),
        bonnet=(0.19, 0.26),
        screen=(0.13, 0.2),
        roof_end=(0.85, 0.92),
        tail=(0.95, 0.99),
        weight=3.5,
    ),
    Body(  # estate
        length=(4.4, 4.95),
        width=(1.72, 1.9),
        height=(1.42, 1.55),
        bonnet=(0.22, 0.28),
        screen=(0.13, 0.17),
        roof_end=(0.88, 0.94),
        tail=(0.96, 0.99),
        weight=2.5,
    ),
    Body(  # off-road
        length=(4.1, 5.0),
        width=(1.78, 2.0),
        height=(1.6, 1.88),
        bonnet=(0.22, 0.28),
        screen=(0.1, 0.15),
        roof_end=(0.9, 0.95),
        tail=(0.96, 0.99),
        weight=2.5,
    ),
    Body(  # minivan
        length=(4.2, 5.0),
        width=(1.75, 1.95),
        height=(1.62, 1.95),
        bonnet=(0.13, 0.2),
        screen=(0.15, 0.22),
        roof_end=(0.92, 0.97),
        tail=(0.97, 1.0),
        weight=1.5,
    ),
    Body(  # coupe
        length=(3.9, 4.7),
        width=(1.7, 1.9),
        height=(1.25, 1.38),
        bonnet=(0.28, 0.34),
        screen=(0.14, 0.18),
        roof_end=(0.62, 0.72),
        tail=(0.86, 0.94),
        weight=0.6,
    ),
)


def car(rng: np.random.Generator) -> Assembly:
    """Return a passenger car, pick-up or van.

    Args:
        rng: source of its shape.
    """
    kind = rng.random()
    if kind < 0.04:
        return _pickup(rng)
    if kind < 0.13:
        return _van(rng)
    weights = np.array([body.weight for body in _BODIES])
    return _saloon(rng, _BODIES[rng.choice(len(_BODIES), p=weights / weights.sum())])


def _paint(rng: np.random.Generator) -> float:
    return float(rng.choice([rng.uniform(0.02, 0.12), rng.uniform(0.3, 0.6), rng.uniform(0.7, 0.95)]))


def _wheels(out: Assembly, rng: np.random.Generator, places: list[float], width: float, radius: float) -> None:
    for x in places:
        for side in (-1, 1):
            y = side * (width / 2 - 0.13)
            out.rod((x, y - 0.11, radius), (x, y + 0.11, radius), radius, material=RUBBER, colour=rng.uniform(0.1, 0.4))
            rim = side * (width / 2 - 0.01)
            out.rod((x, rim - 0.01, radius), (x, rim + 0.01, radius), 0.6 * radius, material=METAL, colour=0.4)


def _lights(out: Assembly, length: float, width: float, height: float) -> None:
    for end in (-1, 1):
        out.box((end * (length / 2 - 0.02), 0, 0.42), (0.05, 0.5, 0.12), material=RETRO, colour=0.3)
        for side in (-1, 1):
            place = (end * (length / 2 - 0.12), side * (width / 2 - 0.28), height)
            out.box(place, (0.2, 0.3, 0.14), material=RETRO, colour=0.12)


def _mirrors(out: Assembly, x: float, width: float, z: float, colour: float) -> None:
    for side in (-1, 1):
        out.ellipsoid((x, side * (width / 2 + 0.1), z), (0.08, 0.12, 0.08), material=PAINT, colour=colour, aside=True)


def _saloon(rng: np.random.Generator, body: Body) -> Assembly:
    out = Assembly(CAR)
    length, width, height = (rng.uniform(*r) for r in (body.length, body.width, body.height))
    clear, belt = rng.uniform(0.17, 0.25) + 0.15 * (height - 1.45), height * rng.uniform(0.6, 0.66)
    nose, front = belt * rng.uniform(0.7, 0.85), length / 2
    base = front - length * rng.uniform(*body.bonnet)
    roof_from = base - length * rng.uniform(*body.screen)
    roof_to, tail = front - length * rng.uniform(*body.roof_end), front - length * rng.uniform(*body.tail)
    paint = _paint(rng)
    outline = [
        (front - 0.18, clear), (front - 0.02, clear + 0.12), (front, 0.5), (front - 0.12, nose), (base, belt),
        (tail, belt + 0.02), (-front + 0.07, belt - rng.uniform(0.0, 0.12)), (-front, 0.55),
        (-front + 0.15, clear + 0.05),
    ]  # fmt: skip
    out.profile(
        outline, width, lean=rng.uniform(0.02, 0.06), chamfer=rng.uniform(0.12, 0.28), material=PAINT, colour=paint
    )
    cabin = [(base, belt - 0.03), (roof_from, height - 0.04), (roof_from - 0.25, height), (roof_to + 0.2, height)]
    cabin += [(roof_to, height - 0.05), (tail, belt - 0.03)]
    out.profile(cabin, width * 0.96, lean=rng.uniform(0.2, 0.36), material=CABIN, colour=paint)
    radius = rng.uniform(0.29, 0.34) + 0.12 * max(height - 1.55, 0)
    _wheels(
        out, rng, [front - length * rng.uniform(0.17, 0.21), -front + length * rng.uniform(0.17, 0.22)], width, radius
    )
    _lights(out, length, width, 0.66)
    _mirrors(out, base - 0.35, width, belt + 0.04, paint)
    if rng.random() < 0.08:  # roof box or rack
        out.box((roof_from - 0.8, 0, height + 0.12), (1.4, 0.8, 0.25), material=PAINT, colour=0.1)
    return out


def _pickup(rng: np.random.Generator) -> Assembly:
    out = Assembly(CAR)
    length, width, height, paint = rng.uniform(5.0, 5.8), rng.uniform(1.85, 2.05), rng.uniform(1.75, 1.95), _paint(rng)
    front, belt = length / 2, 1.15
    out.profile([(front, 0.4), (front, 0.95), (front - 1.3, belt), (-0.6, belt), (-0.6, 0.4)], width, chamfer=0.15,
                material=PAINT, colour=paint)  # fmt: skip
    roof = [(front - 1.3, belt - 0.03), (front - 2.0, height), (-0.3, height), (-0.5, belt - 0.03)]
    out.profile(roof, width * 0.94, lean=0.22, material=CABIN, colour=paint)
    middle = (-0.6 - front) / 2
    out.box((middle, 0, 0.7), (front - 0.6, width * 0.97, 0.3), material=PAINT, colour=paint)
    for side in (-1, 1):
        out.box((middle, side * (width / 2 - 0.06), 0.95), (front - 0.6, 0.1, 0.35), material=PAINT, colour=paint)
    out.box((-front + 0.05, 0, 0.9), (0.08, width * 0.97, 0.45), material=PAINT, colour=paint)
    _wheels(out, rng, [front - 0.95, -front + 1.2], width, 0.38)
    _lights(out, length, width, 0.85)
    _mirrors(out, front - 1.75, width, 1.2, paint)
    return out


def _van(rng: np.random.Generator) -> Assembly:
    out = Assembly(CAR)
    length, width, height = rng.uniform(4.7, 6.0), rng.uniform(1.9, 2.08), rng.uniform(1.9, 2.7)
    front, paint = length / 2, _paint(rng)
    outline = [(front, 0.35), (front, 0.85), (front - 0.75, 1.15), (front - 1.3, height - 0.15), (front - 1.7, height)]
    outline += [(-front + 0.1, height), (-front, height - 0.3), (-front, 0.35)]
    out.profile(outline, width, lean=0.04, chamfer=0.12, material=PAINT, colour=paint)
    slope = np.arctan2(0.55, height - 1.3)
    out.box(
        (front - 1.0, 0, (height + 1.0) / 2), (0.06, width * 0.8, 0.75 * (height - 1.15)), pitch=-slope, material=GLASS
    )
    for side in (-1, 1):
        out.box((front - 1.7, side * (width / 2 - 0.04), 1.5), (0.8, 0.06, 0.5), material=GLASS)
    if rng.random() < 0.5:
        windows = length - 2.6
        out.box((-0.7, 0, 1.5), (windows, width - 0.03, 0.5), material=GLASS)
    _wheels(out, rng, [front - 0.9, -front + 1.0], width, 0.34)
    _lights(out, length, width, 0.75)
    _mirrors(out, front - 1.2, width + 0.1, 1.35, 0.1)
    return out


def truck(rng: np.random.Generator) -> Assembly:
    """Return a lorry with a box, a tank or an open bed, perhaps with a trailer.

    Args:
        rng: source of its shape.
    """
    out = Assembly(TRUCK)
    length, width, cab = rng.uniform(6.0, 12.0), rng.uniform(2.1, 2.55), rng.uniform(2.3, 3.3)
    front, paint = length / 2, _paint(rng)
    nose = [(front, 0.45), (front, 1.4), (front - 0.25, cab), (front - 1.9, cab), (front - 1.9, 0.45)]
    out.profile(nose, width, chamfer=0.12, material=PAINT, colour=paint)
    out.box((front - 0.12, 0, 0.72 * cab), (0.25, width * 0.85, 0.3 * cab), material=GLASS)
    for side in (-1, 1):
        out.box((front - 0.9, side * width / 2, 0.72 * cab), (0.9, 0.05, 0.25 * cab), material=GLASS)
    out.box((-1.0, 0, 0.85), (length - 2.0, 0.9, 0.25), material=METAL, colour=0.2)
    _load(out, rng, front - 2.1, -front, width)
    _wheels(out, rng, [front - 1.2, -front + 1.2] + ([-front + 2.4] if length > 8 else []), width, 0.48)
    _lights(out, length, width, 0.8)
    _mirrors(out, front - 0.2, width + 0.2, 0.65 * cab, 0.1)
    return out


def _load(out: Assembly, rng: np.random.Generator, start: float, end: float, width: float) -> None:
    kind, middle, size = rng.random(), (start + end) / 2, start - end
    if kind < 0.6:
        high = rng.uniform(1.8, 2.8)
        out.box((middle, 0, 1.0 + high / 2), (size, width, high), material=PAINT, colour=_paint(rng))
    elif kind < 0.75:
        out.rod((start, 0, 2.0), (end, 0, 2.0), 1.0, material=METAL, colour=0.6)
    else:
        out.box((middle, 0, 1.3), (size, width, 0.7), material=PAINT, colour=0.3)
        for x in np.arange(end + 0.5, start - 0.3, 1.1):
            size_of_thing = (rng.uniform(0.5, 1.0), rng.uniform(0.5, width - 0.2), rng.uniform(0.2, 1.2))
            out.box((x, 0, 1.65 + size_of_thing[2] / 2), size_of_thing, colour=rng.uniform(0.1, 0.8))


def other_vehicle(rng: np.random.Generator) -> Assembly:
    """Return a bus, a trailer or a tractor.

    Args:
        rng: source of its shape.
    """
    kind = rng.random()
    return _bus(rng) if kind < 0.6 else _trailer(rng) if kind < 0.85 else _tractor(rng)


def _bus(rng: np.random.Generator) -> Assembly:
    out = Assembly(OTHER_VEHICLE)
    length, width, height, paint = rng.uniform(8.0, 13.0), rng.uniform(2.3, 2.55), rng.uniform(2.8, 3.3), _paint(rng)
    front = length / 2
    outline = [(front, 0.3), (front, 1.2), (front - 0.2, height), (-front + 0.1, height), (-front, 0.4)]
    out.profile(outline, width, lean=0.01, chamfer=0.15, material=PAINT, colour=paint)
    pane = rng.uniform(1.1, 1.8)
    for x in np.arange(-front + 0.5 + pane / 2, front - 0.6, pane + 0.12):
        out.box((x, 0, 0.62 * height), (pane, width + 0.01, 0.34 * height), material=GLASS)
    out.box((front - 0.1, 0, 0.6 * height), (0.25, width * 0.85, 0.42 * height), material=GLASS)
    _wheels(out, rng, [front - 2.6, -front + 2.8], width, 0.48)
    _lights(out, length, width, 0.7)
    return out


def _trailer(rng: np.random.Generator) -> Assembly:
    out = Assembly(OTHER_VEHICLE)
    length, width, caravan = rng.uniform(2.0, 6.0), rng.uniform(1.5, 2.3), rng.random() < 0.5
    height = rng.uniform(2.2, 2.6) if caravan else rng.uniform(0.9, 1.9)
    outline = [(length / 2, 0.5), (length / 2 - 0.2, height), (-length / 2, height), (-length / 2, 0.5)]
    out.profile(outline, width, chamfer=0.1, material=PAINT, colour=_paint(rng))
    out.rod((length / 2, 0, 0.5), (length / 2 + 1.1, 0, 0.45), 0.05, material=METAL, colour=0.3)
    if caravan:
        out.box((0, 0, 1.6), (1.2, width + 0.02, 0.6), material=GLASS)
    _wheels(out, rng, [0.0], width, 0.32)
    return out


def _tractor(rng: np.random.Generator) -> Assembly:
    out = Assembly(OTHER_VEHICLE)
    paint = _paint(rng)
    out.profile([(1.9, 0.7), (1.8, 1.5), (0.2, 1.6), (0.2, 0.7)], 0.9, material=PAINT, colour=paint)
    out.profile([(0.3, 0.9), (0.2, 2.6), (-1.1, 2.6), (-1.2, 0.9)], 1.5, lean=0.05, material=CABIN, colour=paint)
    for side in (-1, 1):
        for x, radius in ((-0.8, 0.8), (1.3, 0.45)):
            y = side * 0.85
            out.rod((x, y - 0.2, radius), (x, y + 0.2, radius), radius, material=RUBBER, colour=rng.uniform(0.1, 0.3))
    return out
