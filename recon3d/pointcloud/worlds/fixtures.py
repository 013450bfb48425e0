"""What is built into generated rooms: doors, windows and curtains, kitchens and baths; frames as for furniture."""

from __future__ import annotations

import numpy as np

from recon3d.pointcloud.worlds.furniture import Colour, class_of, fronts, piece, shade, strew
from recon3d.pointcloud.worlds.materials import FABRIC, GLAZED, PATTERN, TILES, WOOD
from recon3d.pointcloud.worlds.solids import Assembly


def counter(rng: np.random.Generator) -> Assembly:
    """Return a kitchen counter on cabinets, with a sink, a tap and wall cabinets above.

    Args:
        rng: source of its shape.
    """
    out = piece("counter")
    wide, deep, high = rng.uniform(1.4, 3.2), rng.uniform(0.58, 0.66), rng.uniform(0.86, 0.94)
    stone, wood = shade(rng, str(rng.choice(["grey", "white", "dark", "wood"]))), shade(rng, "wood")
    under = piece("cabinet")
    fronts(under, rng, np.array([wide, deep - 0.03, high - 0.04]), 0.0, wood)
    out.add(under)
    out.box((0, deep / 2, high), (wide, deep, 0.05), colour=stone)
    out.box(
        (0, 0.01, high + 0.2), (wide, 0.02, 0.4), material=TILES, colour=shade(rng, "white"), label=class_of("wall")
    )
    x = rng.uniform(-0.25, 0.25) * wide
    _basin(out, rng, x, deep / 2, high + 0.03, 0.0)
    strew(out, rng, np.array([wide, deep, high + 0.03]), 5)
    if rng.random() < 0.7:
        above = piece("cabinet")
        fronts(above, rng, np.array([wide, 0.35, 0.7]), 1.45, wood)
        out.add(above)
    return out


def _basin(out: Assembly, rng: np.random.Generator, x: float, y: float, z: float, deep: float) -> None:
    steel = shade(rng, str(rng.choice(["white", "grey"])))
    label = class_of("sink")
    for side in (-1, 1):
        out.box((x + side * 0.25, y, z), (0.04, 0.44, 0.04 + deep), colour=steel, label=label)
        out.box((x, y + side * 0.2, z), (0.54, 0.04, 0.04 + deep), colour=steel, label=label)
    out.box((x, y, z - 0.01), (0.5, 0.4, 0.02), colour=steel, label=label)
    out.rod((x, y - 0.2, z), (x, y - 0.2, z + 0.22), 0.02, colour=(0.6, 0.6, 0.6), label=label)
    out.rod((x, y - 0.2, z + 0.22), (x, y - 0.02, z + 0.2), 0.015, colour=(0.6, 0.6, 0.6), label=label)


def sink(rng: np.random.Generator) -> Assembly:
    """Return a wash basin on a pedestal or a cabinet.

    Args:
        rng: source of its shape.
    """
    out = piece("sink")
    white, high = shade(rng, "white"), rng.uniform(0.8, 0.9)
    if rng.random() < 0.5:
        out.rod((0, 0.22, 0), (0, 0.22, high - 0.1), 0.09, colour=white)
        out.ellipsoid((0, 0.25, high - 0.05), (0.29, 0.25, 0.14), colour=white)
    else:
        under = piece("cabinet")
        fronts(under, rng, np.array([0.7, 0.5, high - 0.06]), 0.0, shade(rng, "wood"))
        out.add(under)
    _basin(out, rng, 0.0, 0.26, high, 0.08)
    return out


def toilet(rng: np.random.Generator) -> Assembly:
    """Return a toilet with its cistern.

    Args:
        rng: source of its shape.
    """
    out = piece("toilet")
    white = shade(rng, "white")
    out.box((0, 0.1, 0.6), (0.4, 0.19, 0.38), colour=white)
    out.box((0, 0.1, 0.8), (0.43, 0.21, 0.03), colour=white)
    out.ellipsoid((0, 0.42, 0.3), (0.19, 0.27, 0.13), colour=white)
    out.rod((0, 0.42, 0.38), (0, 0.42, 0.43), 0.2, colour=white)
    out.box((0, 0.3, 0.16), (0.2, 0.45, 0.32), colour=white)
    if rng.random() < 0.4:
        out.box((0, 0.24, 0.6), (0.38, 0.04, 0.4), colour=white)
    return out


def bathtub(rng: np.random.Generator) -> Assembly:
    """Return a bathtub along the wall.

    Args:
        rng: source of its shape.
    """
    out = piece("bathtub")
    wide, deep, high, white = rng.uniform(1.4, 1.8), rng.uniform(0.68, 0.8), rng.uniform(0.45, 0.6), shade(rng, "white")
    out.box((0, deep / 2, 0.06), (wide, deep, 0.12), colour=white)
    for side in (-1, 1):
        out.box((side * (wide / 2 - 0.05), deep / 2, high / 2), (0.1, deep, high), colour=white)
    for y in (0.04, deep - 0.04):
        out.box((0, y, high / 2), (wide, 0.08, high), colour=white)
    if rng.random() < 0.5:
        hang = piece("shower curtain")
        _cloth(hang, rng, rng.uniform(0.5, 1.0) * wide, 0.3, 1.95, shade(rng, str(rng.choice(["white", "any"]))))
        out.add(hang, (0, deep, 0))
    return out


def _cloth(out: Assembly, rng: np.random.Generator, wide: float, low: float, high: float, colour: Colour) -> None:
    fold = rng.uniform(0.05, 0.1)
    for x in np.arange(-wide / 2, wide / 2, 1.6 * fold):
        place = rng.uniform(0.03, 0.06)
        out.rod((x, place, low), (x, place, high), fold, material=FABRIC, colour=colour)


def curtain(rng: np.random.Generator) -> Assembly:
    """Return a curtain that hangs in folds.

    Args:
        rng: source of its shape.
    """
    out = piece("curtain")
    _cloth(
        out, rng, rng.uniform(0.5, 1.6), rng.choice([0.02, rng.uniform(0.3, 0.9)]), rng.uniform(2.0, 2.4), shade(rng)
    )
    return out


def refrigerator(rng: np.random.Generator) -> Assembly:
    """Return a refrigerator with one or two doors.

    Args:
        rng: source of its shape.
    """
    out = piece("refrigerator")
    size = (rng.uniform(0.55, 0.9), rng.uniform(0.6, 0.75), rng.uniform(1.2, 1.85))
    colour, cut = shade(rng, str(rng.choice(["white", "white", "grey", "dark"]))), rng.uniform(0.3, 0.7) * size[2]
    out.box((0, size[1] / 2, size[2] / 2), size, colour=colour)
    for low, high in ((0.05, cut - 0.01), (cut + 0.01, size[2] - 0.01)):
        out.box((0, size[1] + 0.02, (low + high) / 2), (size[0], 0.05, high - low), colour=colour)
        out.rod((0.4 * size[0], size[1] + 0.07, low + 0.1), (0.4 * size[0], size[1] + 0.07, low + 0.35), 0.012)
    return out


def picture(rng: np.random.Generator) -> Assembly:
    """Return a framed picture, a poster or a board at eye height.

    Args:
        rng: source of its shape.
    """
    out = piece("picture")
    wide, high, z = rng.uniform(0.3, 1.3), rng.uniform(0.3, 0.9), rng.uniform(1.35, 1.7)
    out.box((0, 0.01, z), (wide, 0.03, high), colour=shade(rng))
    out.box((0, 0.02, z), (wide * 0.9, 0.03, high * 0.88), material=PATTERN, colour=shade(rng))
    return out


def door(rng: np.random.Generator) -> Assembly:
    """Return a door in its frame, sometimes ajar.

    Args:
        rng: source of its shape.
    """
    out, high = piece("door"), 2.05
    wide, colour, frame = (
        rng.uniform(0.78, 1.0),
        shade(rng, str(rng.choice(["wood", "white", "any"]))),
        shade(rng, "white"),
    )
    if rng.random() < 0.25:
        angle = rng.uniform(0.6, 1.7)
        middle = (-wide / 2 + wide / 2 * np.cos(angle), 0.02 + wide / 2 * np.sin(angle), high / 2)
        out.box(middle, (wide, 0.045, high), yaw=angle, material=WOOD, colour=colour)
    out.box((0, 0.01, high / 2), (wide, 0.04, high), material=WOOD, colour=colour)
    for side in (-1, 1):
        out.box((side * (wide / 2 + 0.04), 0.02, high / 2), (0.08, 0.07, high), colour=frame)
    out.box((0, 0.02, high + 0.04), (wide + 0.16, 0.07, 0.08), colour=frame)
    out.rod((0.4 * wide, 0.03, 1.0), (0.4 * wide, 0.09, 1.0), 0.025, colour=(0.6, 0.6, 0.55))
    return out


def window(rng: np.random.Generator) -> Assembly:
    """Return a window: frame, bars and panes that scanners mostly miss.

    Args:
        rng: source of its shape.
    """
    out = piece("window")
    wide, low, high = rng.uniform(0.7, 2.4), rng.uniform(0.7, 1.1), rng.uniform(1.9, 2.3)
    frame = shade(rng, str(rng.choice(["white", "wood", "dark"])))
    middle = (low + high) / 2
    out.box((0, 0.005, middle), (wide, 0.03, high - low), material=GLAZED, colour=(0.7, 0.8, 0.9))
    for x in np.linspace(-wide / 2, wide / 2, max(round(wide / 0.7), 1) + 1):
        out.box((x, 0.02, middle), (0.06, 0.06, high - low), colour=frame)
    for z in (low, high):
        out.box((0, 0.02, z), (wide + 0.06, 0.08, 0.06), colour=frame)
    if rng.random() < 0.5:
        out.box((0, 0.09, low - 0.02), (wide + 0.2, 0.2, 0.04), colour=frame)
    if rng.random() < 0.35:
        for side in (-1, 1):
            out.add(curtain(rng), (side * wide * 0.5, 0.07, 0))
    return out
