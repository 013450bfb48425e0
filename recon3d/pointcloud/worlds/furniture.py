"""Furniture of generated rooms: x along the wall, the back at y = 0, the front towards +y, the floor at z = 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recon3d.pointcloud.worlds.materials import (
    BOOKS,
    FABRIC,
    GLAZED,
    PATTERN,
    PLAIN,
    ROOM_CLASSES,
    TILES,
    WOOD,
)
from recon3d.pointcloud.worlds.solids import Assembly

Colour = tuple[float, float, float]
_LABEL = {name: index for index, name in enumerate(ROOM_CLASSES)}


def piece(name: str) -> Assembly:
    """Return an empty piece of furniture of a class.

    Args:
        name: one of ``ROOM_CLASSES``; another name means no class.
    """
    return Assembly(_LABEL.get(name, -1))


def shade(rng: np.random.Generator, kind: str = "any") -> Colour:
    """Return a colour.

    Args:
        rng: source of the choice.
        kind: wood, white, dark, or any.
    """
    if kind == "any":
        kind = str(rng.choice(["white", "dark", "vivid", "grey"]))
    if kind == "wood":
        base = np.array([0.62, 0.42, 0.25]) * rng.uniform(0.4, 1.35)
    elif kind == "white":
        base = np.array([0.85, 0.83, 0.78]) * rng.uniform(0.8, 1.1)
    elif kind == "dark":
        base = np.array([0.16, 0.15, 0.15]) * rng.uniform(0.5, 1.6)
    elif kind == "grey":
        base = np.full(3, rng.uniform(0.25, 0.7))
    else:
        base = rng.uniform(0.1, 0.8, 3)
    red, green, blue = (float(v) for v in np.clip(base + rng.normal(0, 0.03, 3), 0.02, 1))
    return red, green, blue


def _legs(out: Assembly, size: np.ndarray, high: float, colour: Colour, thick: float = 0.025) -> None:
    for x in (-1, 1):
        for y in (0.06, size[1] - 0.06):
            out.rod((x * (size[0] / 2 - 0.06), y, 0), (x * (size[0] / 2 - 0.06), y, high), thick, colour=colour)


def table(rng: np.random.Generator) -> Assembly:
    """Return a dining or coffee table, square or round, with or without things on it.

    Args:
        rng: source of its shape.
    """
    out = piece("table")
    low = rng.random() < 0.35
    size = np.array(
        [rng.uniform(0.6, 1.9), rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.5) if low else rng.uniform(0.7, 0.78)]
    )
    wood = shade(rng, str(rng.choice(["wood", "wood", "white", "dark"])))
    if rng.random() < 0.3:
        radius = size[1] * 0.6
        out.rod((0, radius, size[2] - 0.04), (0, radius, size[2]), radius, material=WOOD, colour=wood)
        out.rod((0, radius, 0), (0, radius, size[2]), 0.05, colour=wood)
        out.rod((0, radius, 0), (0, radius, 0.04), 0.25, colour=wood)
    else:
        top = (0, size[1] / 2, size[2] - 0.02)
        out.box(top, (size[0], size[1], 0.04), material=WOOD, colour=wood)
        _legs(out, size, size[2] - 0.03, wood, rng.uniform(0.02, 0.05))
    _things(out, rng, size, 3)
    return out


def _things(out: Assembly, rng: np.random.Generator, size: np.ndarray, most: int) -> None:
    """Put small things of no class on a top of the given size."""
    for _ in range(rng.integers(0, most + 1)):
        x, y = rng.uniform(-0.4, 0.4) * size[0], rng.uniform(0.2, 0.8) * size[1]
        small = rng.uniform(0.06, 0.3, 3) * (1, 1, 0.8)
        out.box((x, y, size[2] + small[2] / 2), small, yaw=rng.uniform(0, 3), colour=shade(rng), label=-1)


def desk(rng: np.random.Generator) -> Assembly:
    """Return a desk with drawers, and often a screen, a keyboard and papers.

    Args:
        rng: source of its shape.
    """
    out = piece("desk")
    size = np.array([rng.uniform(1.0, 1.9), rng.uniform(0.55, 0.85), rng.uniform(0.7, 0.78)])
    wood = shade(rng, str(rng.choice(["wood", "white", "grey"])))
    out.box((0, size[1] / 2, size[2] - 0.02), (size[0], size[1], 0.04), material=WOOD, colour=wood)
    for side in (-1, 1):
        place = side * (size[0] / 2 - 0.02)
        out.box((place, size[1] / 2, size[2] / 2), (0.04, size[1] - 0.05, size[2] - 0.04), material=WOOD, colour=wood)
    if rng.random() < 0.7:
        x = rng.choice([-1, 1]) * (size[0] / 2 - 0.25)
        out.box((x, size[1] / 2, size[2] / 2), (0.42, size[1] - 0.1, size[2] - 0.06), material=WOOD, colour=wood)
    out.box((0, 0.05, 0.5), (size[0] - 0.1, 0.02, 0.4), material=WOOD, colour=wood)
    if rng.random() < 0.75:
        x = rng.uniform(-0.2, 0.2) * size[0]
        out.box((x, 0.22, size[2] + 0.28), (rng.uniform(0.45, 0.7), 0.05, 0.34), colour=shade(rng, "dark"), label=-1)
        out.box((x, 0.22, size[2] + 0.06), (0.2, 0.15, 0.12), colour=shade(rng, "dark"), label=-1)
        out.box((x, 0.48, size[2] + 0.015), (0.43, 0.14, 0.03), colour=shade(rng, "dark"), label=-1)
    _things(out, rng, size, 4)
    return out


def chair(rng: np.random.Generator) -> Assembly:
    """Return a chair: four legs, an office chair, or a padded one; it faces +y, its back at y = 0.

    Args:
        rng: source of its shape.
    """
    out = piece("chair")
    wide, deep, seat = rng.uniform(0.4, 0.55), rng.uniform(0.4, 0.52), rng.uniform(0.41, 0.5)
    colour, back = shade(rng), rng.uniform(0.78, 1.05)
    material = int(rng.choice([WOOD, FABRIC, PLAIN]))
    kind = rng.random()
    out.box((0, deep / 2, seat - 0.03), (wide, deep, rng.uniform(0.04, 0.1)), material=material, colour=colour)
    lean = rng.uniform(0.05, 0.2)
    out.box((0, 0.02, (seat + back) / 2 + 0.06), (back - seat - 0.05, wide * 0.94, 0.05), yaw=-np.pi / 2,
            pitch=np.pi / 2 - lean, material=material, colour=colour)  # fmt: skip
    if kind < 0.4:
        _swivel(out, rng, deep, seat)
    elif kind < 0.85:
        _legs(out, np.array([wide, deep]), seat, shade(rng, str(rng.choice(["wood", "dark", "grey"]))), 0.018)
    else:
        out.box((0, deep / 2, seat / 2), (wide, deep, seat), material=FABRIC, colour=colour)
    if rng.random() < 0.5 or kind >= 0.85:
        for side in (-1, 1):
            out.box((side * wide / 2, deep / 2, seat + 0.2), (0.05, deep * 0.8, 0.04), colour=colour)
            out.rod((side * wide / 2, deep * 0.75, seat - 0.04), (side * wide / 2, deep * 0.75, seat + 0.2), 0.02)
    return out


def _swivel(out: Assembly, rng: np.random.Generator, deep: float, seat: float) -> None:
    dark = shade(rng, "dark")
    out.rod((0, deep / 2, 0.1), (0, deep / 2, seat), 0.03, colour=dark)
    for k in range(5):
        angle = 2 * np.pi * k / 5
        end = (0.3 * np.cos(angle), deep / 2 + 0.3 * np.sin(angle), 0.06)
        out.rod((0, deep / 2, 0.12), end, 0.025, colour=dark)
        out.ellipsoid(end, (0.03, 0.03, 0.03), colour=dark)


def sofa(rng: np.random.Generator) -> Assembly:
    """Return a sofa or an armchair with cushions.

    Args:
        rng: source of its shape.
    """
    out = piece("sofa")
    wide, deep = rng.uniform(0.85, 2.4), rng.uniform(0.8, 1.0)
    seat, back, arm = rng.uniform(0.38, 0.46), rng.uniform(0.7, 0.95), rng.uniform(0.12, 0.25)
    look: dict[str, Any] = {"material": FABRIC, "colour": shade(rng)}
    out.box((0, deep / 2, seat / 2 - 0.02), (wide, deep, seat - 0.04), **look)
    out.box((0, 0.12, back / 2), (wide, 0.24, back), **look)
    for side in (-1, 1):
        place = side * (wide / 2 - arm / 2)
        out.box((place, deep / 2, (seat + 0.2) / 2), (arm, deep, seat + 0.2), **look)
        out.rod((place, 0, seat + 0.2), (place, deep, seat + 0.2), arm / 2, **look)
    count = max(round((wide - 2 * arm) / 0.65), 1)
    for k in range(count):
        pad = (wide - 2 * arm) / count
        x = -wide / 2 + arm + (k + 0.5) * pad
        out.ellipsoid((x, deep * 0.58, seat), (pad * 0.55, deep * 0.42, 0.1), **look)
        out.ellipsoid((x, 0.28, seat + 0.25), (pad * 0.52, 0.12, 0.26), **look)
        if rng.random() < 0.4:
            out.ellipsoid((x, 0.42, seat + 0.2), (0.2, 0.1, 0.2), material=FABRIC, colour=shade(rng), label=-1)
    return out


def bed(rng: np.random.Generator) -> Assembly:
    """Return a bed with its head at the wall.

    Args:
        rng: source of its shape.
    """
    out = piece("bed")
    wide, long, high = rng.uniform(0.9, 1.9), rng.uniform(1.9, 2.15), rng.uniform(0.4, 0.65)
    wood, sheet, cover = shade(rng, "wood"), shade(rng, "white"), shade(rng)
    out.box((0, long / 2, high * 0.3), (wide, long, high * 0.6), material=WOOD, colour=wood)
    out.box((0, long / 2 + 0.03, high * 0.75), (wide - 0.06, long - 0.08, high * 0.5), material=FABRIC, colour=sheet)
    out.box((0, 0.03, rng.uniform(0.45, 0.6)), (wide, 0.06, rng.uniform(0.9, 1.2)), material=WOOD, colour=wood)
    start = rng.uniform(0.5, 0.9)
    middle, size = (0, (start + long) / 2, high * 0.82), (wide + 0.06, long - start + 0.04, high * 0.45)
    out.box(middle, size, material=FABRIC, colour=cover)
    for _ in range(3):
        x, y = rng.uniform(-0.4, 0.4) * wide, rng.uniform(start, long - 0.3)
        out.ellipsoid((x, y, high + 0.0), (0.5, 0.4, 0.09), yaw=rng.uniform(0, 3), material=FABRIC, colour=cover)
    for x in (-0.25, 0.25) if wide > 1.2 else (0.0,):
        out.ellipsoid((x * wide, 0.3, high + 0.08), (0.3, 0.2, 0.1), material=FABRIC, colour=sheet)
    return out


def cabinet(rng: np.random.Generator) -> Assembly:
    """Return a cabinet, wardrobe, chest of drawers or one on the wall.

    Args:
        rng: source of its shape.
    """
    out = piece("cabinet")
    kind = rng.random()
    tall = rng.uniform(1.6, 2.2) if kind < 0.35 else rng.uniform(0.5, 1.2)
    size = np.array([rng.uniform(0.4, 1.8), rng.uniform(0.35, 0.62), tall])
    lift = rng.uniform(1.3, 1.5) if kind > 0.85 else 0.0
    if lift:
        size[1:] = rng.uniform(0.28, 0.4), rng.uniform(0.5, 0.8)
    _doors(out, rng, size, lift, shade(rng, str(rng.choice(["wood", "white", "grey"]))))
    if not lift and tall < 1.3:
        _things(out, rng, size, 3)
    return out


def _doors(out: Assembly, rng: np.random.Generator, size: np.ndarray, lift: float, colour: Colour) -> None:
    out.box((0, size[1] / 2, lift + size[2] / 2), size, material=WOOD, colour=colour)
    columns, rows = max(round(size[0] / 0.5), 1), int(rng.integers(1, 5)) if size[2] < 1.3 else 1
    wide, high = size[0] / columns, (size[2] - 0.06) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -size[0] / 2 + (i + 0.5) * wide, lift + 0.04 + (j + 0.5) * high
            out.box((x, size[1] + 0.005, z), (wide - 0.03, 0.02, high - 0.03), material=WOOD, colour=colour)
            out.box((x + 0.3 * wide, size[1] + 0.025, z), (0.02, 0.03, 0.1), colour=(0.5, 0.5, 0.5))


def bookshelf(rng: np.random.Generator) -> Assembly:
    """Return a shelf with books and gaps.

    Args:
        rng: source of its shape.
    """
    out = piece("bookshelf")
    wide, deep, tall = rng.uniform(0.6, 1.6), rng.uniform(0.24, 0.38), rng.uniform(1.0, 2.2)
    wood = shade(rng, str(rng.choice(["wood", "wood", "white"])))
    out.box((0, 0.01, tall / 2), (wide, 0.02, tall), material=WOOD, colour=wood)
    for side in (-1, 1):
        out.box((side * wide / 2, deep / 2, tall / 2), (0.03, deep, tall), material=WOOD, colour=wood)
    rows = round(tall / rng.uniform(0.3, 0.42))
    for k in range(rows + 1):
        z = 0.03 + k * (tall - 0.05) / rows
        out.box((0, deep / 2, z), (wide, deep, 0.025), material=WOOD, colour=wood)
        x = -wide / 2 + 0.03
        while k < rows and x < wide / 2 - 0.1:
            run, high = rng.uniform(0.1, 0.4), (tall / rows) * rng.uniform(0.5, 0.85)
            run = min(run, wide / 2 - 0.03 - x)
            if rng.random() < 0.75:
                size = (run, deep * rng.uniform(0.6, 0.9), high)
                out.box((x + run / 2, size[1] / 2 + 0.02, z + high / 2), size, material=BOOKS, colour=shade(rng))
            x += run + rng.uniform(0, 0.08)
    return out


def counter(rng: np.random.Generator) -> Assembly:
    """Return a kitchen counter on cabinets, with a sink, a tap and wall cabinets above.

    Args:
        rng: source of its shape.
    """
    out = piece("counter")
    wide, deep, high = rng.uniform(1.4, 3.2), rng.uniform(0.58, 0.66), rng.uniform(0.86, 0.94)
    stone, wood = shade(rng, str(rng.choice(["grey", "white", "dark", "wood"]))), shade(rng, "wood")
    under = piece("cabinet")
    _doors(under, rng, np.array([wide, deep - 0.03, high - 0.04]), 0.0, wood)
    out.add(under)
    out.box((0, deep / 2, high), (wide, deep, 0.05), colour=stone)
    out.box((0, 0.01, high + 0.2), (wide, 0.02, 0.4), material=TILES, colour=shade(rng, "white"), label=_LABEL["wall"])
    x = rng.uniform(-0.25, 0.25) * wide
    _basin(out, rng, x, deep / 2, high + 0.03, 0.0)
    _things(out, rng, np.array([wide, deep, high + 0.03]), 5)
    if rng.random() < 0.7:
        above = piece("cabinet")
        _doors(above, rng, np.array([wide, 0.35, 0.7]), 1.45, wood)
        out.add(above)
    return out


def _basin(out: Assembly, rng: np.random.Generator, x: float, y: float, z: float, deep: float) -> None:
    steel = shade(rng, str(rng.choice(["white", "grey"])))
    label = _LABEL["sink"]
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
        _doors(under, rng, np.array([0.7, 0.5, high - 0.06]), 0.0, shade(rng, "wood"))
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


def other(rng: np.random.Generator) -> Assembly:
    """Return furniture of no better class: a lamp, stool, bin, plant, television, night stand, box or radiator.

    Args:
        rng: source of its shape.
    """
    out = piece("otherfurniture")
    kind, colour = int(rng.integers(7)), shade(rng)
    if kind == 0:
        out.rod((0, 0.2, 0), (0, 0.2, 1.6), 0.015, colour=colour)
        out.rod((0, 0.2, 0), (0, 0.2, 0.03), 0.15, colour=colour)
        out.rod((0, 0.2, 1.45), (0, 0.2, 1.75), 0.18, colour=shade(rng, "white"))
    elif kind == 1:
        out.rod((0, 0.2, 0.38), (0, 0.2, 0.45), 0.18, material=FABRIC, colour=colour)
        out.rod((0, 0.2, 0), (0, 0.2, 0.4), 0.05, colour=colour)
    elif kind == 2:
        out.rod((0, 0.2, 0), (0, 0.2, rng.uniform(0.3, 0.7)), rng.uniform(0.12, 0.2), colour=colour)
    elif kind == 3:
        out.rod((0, 0.3, 0), (0, 0.3, 0.35), 0.16, colour=colour)
        for _ in range(6):
            place = np.array([0, 0.35, 0.8]) + rng.normal(0, 0.15, 3)
            out.ellipsoid(place, rng.uniform(0.1, 0.22, 3), density=8.0, colour=(0.2, 0.4, 0.15), material=FABRIC)
    elif kind == 4:
        out.box((0, 0.22, 0.25), (1.2, 0.4, 0.5), material=WOOD, colour=shade(rng, "wood"))
        out.box((0, 0.2, 0.85), (rng.uniform(0.8, 1.3), 0.06, 0.6), colour=shade(rng, "dark"))
    elif kind == 5:
        size = rng.uniform(0.3, 0.7, 3)
        out.box((0, size[1] / 2 + 0.03, size[2] / 2), size, material=WOOD, colour=shade(rng, "wood"))
    else:
        for x in np.arange(-0.5, 0.5, 0.08):
            out.box((x, 0.08, 0.4), (0.06, 0.1, 0.6), colour=shade(rng, "white"))
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


MAKERS: dict[str, Callable[[np.random.Generator], Assembly]] = {
    "table": table,
    "desk": desk,
    "chair": chair,
    "sofa": sofa,
    "bed": bed,
    "cabinet": cabinet,
    "bookshelf": bookshelf,
    "counter": counter,
    "sink": sink,
    "toilet": toilet,
    "bathtub": bathtub,
    "curtain": curtain,
    "refrigerator": refrigerator,
    "other": other,
    "picture": picture,
    "door": door,
    "window": window,
}
