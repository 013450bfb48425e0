"""A corner of a courtyard in the afternoon: brick and limewash walls, a table with a still life, pots, a barrel."""

from __future__ import annotations

import numpy as np

from courtyard.noise import linear
from courtyard.print import poster
from courtyard.shapes import Box, Drum, Ellipsoid, Shape
from courtyard.textures import Texture, foliage, masonry, planks, plaster, speckled

_OAK = [linear(150, 108, 66), linear(178, 134, 86), linear(122, 84, 50), linear(196, 156, 106)]
_TEAL = [linear(52, 112, 116), linear(66, 132, 134), linear(44, 96, 104)]
_WEATHERED = [linear(126, 112, 94), linear(152, 136, 112), linear(104, 90, 74)]
_CREAM, _INK, _RED = linear(240, 230, 206), linear(34, 38, 52), linear(196, 62, 44)
_GOLD, _BLUE, _GREEN = linear(226, 168, 58), linear(48, 104, 160), linear(70, 122, 84)
_TURN = 118.0  # of the table, degrees
_TERRACOTTA = [linear(206, 122, 82), linear(150, 74, 48), linear(236, 196, 160)]


def courtyard(seed: int = 7) -> list[Shape]:
    """Build the scene; metres, z up, the corner of the walls at (-2.2, 2.2)."""
    rng = np.random.default_rng(seed)
    return [*_walls(rng), *_openings(rng), *_table(rng), *_still_life(rng), *_around(rng)]


def _walls(rng: np.random.Generator) -> list[Shape]:
    reds = [linear(168, 92, 66), linear(186, 112, 80), linear(142, 74, 56), linear(196, 134, 98), linear(120, 66, 54)]
    greys = [linear(172, 160, 140), linear(192, 178, 154), linear(150, 142, 128), linear(182, 164, 136)]
    brick = masonry(rng, (9.0, 2.7), (0.25, 0.083), reds, linear(186, 176, 160))
    lime = plaster(rng, (9.0, 2.7), linear(222, 190, 136))
    slabs = masonry(rng, (9.6, 9.6), (0.52, 0.4), greys, linear(118, 108, 92), 240, 0.014, 0.7)
    granite = speckled(rng, (4.0, 1.0), linear(158, 150, 140), [linear(90, 86, 84), linear(206, 200, 190)])
    coping = masonry(rng, (9.0, 0.6), (0.6, 0.3), greys, linear(100, 92, 80), 260)
    return [
        Box((2.3, -2.3, -0.1), slabs, half=(4.8, 4.8, 0.1), fit=True),
        Box((2.3, 2.35, 1.35), brick, half=(4.5, 0.15, 1.35), fit=True),
        Box((-2.35, -2.3, 1.35), lime, half=(0.15, 4.5, 1.35), fit=True),
        Box((2.3, 2.35, 2.75), coping, half=(4.6, 0.21, 0.06)),
        Box((-2.35, -2.3, 2.75), coping, half=(0.21, 4.6, 0.06)),
        Drum((-1.62, 1.62, 0.06), granite, bottom=0.29, top=0.29, height=0.12),
        Drum((-1.62, 1.62, 0.62), granite, bottom=0.2, top=0.17, height=1.0),
        Drum((-1.62, 1.62, 1.16), granite, bottom=0.24, top=0.24, height=0.08),
        Ellipsoid((-1.62, 1.62, 1.42), granite, radii=(0.22, 0.22, 0.22)),
    ]


def _openings(rng: np.random.Generator) -> list[Shape]:
    stone = speckled(rng, (3.0, 0.8), linear(202, 190, 168), [linear(140, 128, 110), linear(226, 218, 200)], 330)
    door = planks(rng, (1.0, 2.05), 0.125, _TEAL)
    shutter = planks(rng, (0.5, 1.1), 0.1, _TEAL)
    notice = poster(rng, (0.62, 0.86), [_CREAM, _INK, _BLUE, _GOLD, _RED], "RECON3D")
    bill = poster(rng, (0.5, 0.7), [linear(246, 238, 222), _RED, _GOLD, _INK, _CREAM, _BLUE])
    playbill = poster(rng, (0.84, 1.0), [_INK, _CREAM, _INK, _BLUE, _CREAM])
    sign = poster(rng, (0.7, 0.5), [_GOLD, _INK, _CREAM, _RED, _GREEN])
    return [
        Box((-2.2, -0.55, 1.05), door, half=(0.03, 0.5, 1.05), fit=True),
        Box((-2.2, -1.14, 1.09), stone, half=(0.06, 0.09, 1.09)),
        Box((-2.2, 0.04, 1.09), stone, half=(0.06, 0.09, 1.09)),
        Box((-2.2, -0.55, 2.26), stone, half=(0.07, 0.78, 0.09)),
        Box((-2.2, -0.55, 0.05), stone, half=(0.22, 0.62, 0.05)),
        Ellipsoid((-2.13, -0.16, 1.0), stone, radii=(0.035, 0.035, 0.035), gloss=0.3),
        Box((1.05, 2.2, 1.5), playbill, half=(0.42, 0.015, 0.5), fit=True),
        Box((0.36, 2.18, 1.5), shutter, half=(0.25, 0.025, 0.56), fit=True),
        Box((1.74, 2.18, 1.5), shutter, half=(0.25, 0.025, 0.56), fit=True),
        Box((1.05, 2.19, 0.95), stone, half=(0.75, 0.09, 0.05)),
        Box((1.05, 2.19, 2.12), stone, half=(0.58, 0.05, 0.07)),
        Box((-0.55, 2.19, 1.52), notice, half=(0.31, 0.012, 0.43), fit=True),
        Box((2.75, 2.19, 1.45), bill, half=(0.25, 0.012, 0.35), fit=True),
        Box((-2.19, 0.95, 1.55), sign, half=(0.012, 0.35, 0.25), fit=True),
        Box((-2.19, -2.1, 1.5), bill, half=(0.012, 0.3, 0.42), fit=True),
    ]


def _placed(x: float, y: float, z: float, yaw: float) -> tuple[float, float, float]:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    return (float(c * x - s * y) + 0.05, float(s * x + c * y), z)


def _table(rng: np.random.Generator) -> list[Shape]:
    wood, yaw = planks(rng, (1.0, 1.8), 0.17, _OAK), _TURN
    top = Box(_placed(0, 0, 0.735, yaw), wood, yaw, half=(0.46, 0.82, 0.025))
    legs = [
        Box(_placed(x, y, 0.355, yaw), wood, yaw, half=(0.035, 0.035, 0.355))
        for x in (-0.39, 0.39)
        for y in (-0.74, 0.74)
    ]
    rails = [Box(_placed(x, 0, 0.66, yaw), wood, yaw, half=(0.015, 0.7, 0.05)) for x in (-0.39, 0.39)]
    return [top, *legs, *rails]


def _still_life(rng: np.random.Generator) -> list[Shape]:
    glaze = speckled(rng, (1.1, 0.6), _BLUE, [linear(232, 228, 214), linear(24, 52, 96), _GOLD])
    clay = speckled(rng, (1.2, 0.5), _TERRACOTTA[0], _TERRACOTTA[1:])
    ball = poster(rng, (1.1, 0.55), [_CREAM, _RED, _CREAM, _GOLD, _BLUE, _RED])
    mug = speckled(rng, (0.6, 0.3), _CREAM, [linear(120, 82, 60), _GREEN], 700)
    box = poster(rng, (0.3, 0.42), [_GREEN, _CREAM, _CREAM, _INK, _GOLD], "RECON3D", 1100)
    covers = [
        poster(rng, (0.36, 0.26), [paper, _CREAM, _INK, _GOLD, _CREAM], per_metre=1000) for paper in (_RED, _INK, _GOLD)
    ]
    books = [
        Box(_placed(0.14, 0.52, 0.76 + 0.05 * (level + 0.5), _TURN), cover, yaw, half=(0.17, 0.12, 0.025), fit=True)
        for level, (cover, yaw) in enumerate(zip(covers, (25.0, 41.0, 14.0), strict=True))
    ]
    return [
        *books,
        Drum(_placed(0.14, 0.52, 0.965, _TURN), mug, bottom=0.05, top=0.055, height=0.11, gloss=0.25),
        Ellipsoid(_placed(0.16, 0.1, 0.95, _TURN), glaze, radii=(0.155, 0.155, 0.19), gloss=0.5),
        Drum(_placed(0.16, 0.1, 1.17, _TURN), glaze, bottom=0.055, top=0.08, height=0.14, gloss=0.5),
        Ellipsoid(_placed(-0.12, -0.58, 0.91, _TURN), ball, 40, radii=(0.15, 0.15, 0.15), gloss=0.25),
        Box(_placed(0.16, -0.3, 0.95, _TURN), box, 130, half=(0.06, 0.14, 0.19), fit=True),
        Drum(_placed(-0.2, 0.16, 0.825, _TURN), clay, bottom=0.08, top=0.11, height=0.13),
        Ellipsoid(_placed(-0.2, 0.16, 0.97, _TURN), foliage(rng, (0.8, 0.4), 700), radii=(0.14, 0.14, 0.12)),
    ]


def _around(rng: np.random.Generator) -> list[Shape]:
    clay = speckled(rng, (2.2, 0.7), _TERRACOTTA[0], _TERRACOTTA[1:])
    leaves = foliage(rng, (2.4, 1.2))
    staves = planks(rng, (2.3, 1.0), 0.095, _OAK, nails=False)
    hoop = speckled(rng, (2.3, 0.2), linear(74, 72, 74), [linear(128, 84, 56), linear(40, 40, 44)])
    crate = planks(rng, (1.6, 1.3), 0.115, _WEATHERED)
    parcel = poster(rng, (0.5, 0.4), [linear(206, 172, 124), _INK, linear(214, 184, 138), _RED, _INK], per_metre=800)
    toy = poster(rng, (1.1, 0.55), [_GOLD, _BLUE, _CREAM, _RED, _INK])
    x, y = 1.42, 1.35
    barrel: list[Shape] = [
        Drum((x, y, 0.23), staves, bottom=0.27, top=0.33, height=0.46),
        Drum((x, y, 0.69), staves, bottom=0.33, top=0.27, height=0.46),
    ]
    for z, low, high in ((0.09, 0.285, 0.296), (0.33, 0.317, 0.328), (0.59, 0.328, 0.317), (0.83, 0.296, 0.285)):
        barrel.append(Drum((x, y, z), hoop, bottom=low, top=high, height=0.055, gloss=0.3))
    return [
        *barrel,
        Drum((x, y, 0.985), clay, bottom=0.11, top=0.16, height=0.13),
        Ellipsoid((x, y, 1.17), leaves, radii=(0.2, 0.2, 0.18)),
        Box((-1.1, -0.75, 0.24), crate, 24, half=(0.36, 0.28, 0.24)),
        Box((-1.12, -0.72, 0.6), parcel, 50, half=(0.2, 0.16, 0.12), fit=True),
        *_pot(-1.55, 0.62, 0.85, clay, leaves),
        *_pot(0.62, 1.72, 0.6, clay, leaves),
        Ellipsoid((0.7, -0.62, 0.17), toy, 20, radii=(0.17, 0.17, 0.17)),
    ]


def _pot(x: float, y: float, size: float, clay: Texture, leaves: Texture) -> list[Shape]:
    return [
        Drum((x, y, 0.21 * size), clay, bottom=0.2 * size, top=0.29 * size, height=0.42 * size),
        Drum((x, y, 0.46 * size), clay, bottom=0.32 * size, top=0.32 * size, height=0.1 * size),
        Ellipsoid((x, y, 0.82 * size), leaves, radii=(0.38 * size, 0.38 * size, 0.36 * size)),
    ]
