"""Furniture of generated rooms: x along the wall, the back at y = 0, the front towards +y, the floor at z = 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from recon3d.pointcloud.worlds.materials import BOOKS, FABRIC, PLAIN, ROOM_CLASSES, WOOD
from recon3d.pointcloud.worlds.solids import Assembly

Colour = tuple[float, float, float]
_LABEL = {name: index for index, name in enumerate(ROOM_CLASSES)}


def class_of(name: str) -> int:
    """Return the index of a class of rooms, -1 for a name that is none.

    Args:
        name: one of ``ROOM_CLASSES``, or another.
    """
    return _LABEL.get(name, -1)


def piece(name: str) -> Assembly:
    """Return an empty piece of furniture of a class.

    Args:
        name: one of ``ROOM_CLASSES``; another name means no class.
    """
    return Assembly(class_of(name))


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
    strew(out, rng, size, 3)
    return out


def strew(out: Assembly, rng: np.random.Generator, size: np.ndarray, most: int) -> None:
    """Put small things of no class on a top.

    Args:
        out: gets them.
        rng: source of them.
        size: width, depth and height of the top.
        most: highest number.
    """
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
    strew(out, rng, size, 4)
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
    head = rng.uniform(0.9, 1.2)
    out.box((0, 0.03, head / 2), (wide, 0.06, head), material=WOOD, colour=wood)
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
    fronts(out, rng, size, lift, shade(rng, str(rng.choice(["wood", "white", "grey"]))))
    if not lift and tall < 1.3:
        strew(out, rng, size, 3)
    return out


def fronts(out: Assembly, rng: np.random.Generator, size: np.ndarray, lift: float, colour: Colour) -> None:
    """Add a body with doors or drawers.

    Args:
        out: gets it.
        rng: source of its division.
        size: width, depth and height.
        lift: height over the floor.
        colour: of the wood.
    """
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
