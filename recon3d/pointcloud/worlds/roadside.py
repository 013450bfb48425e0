"""What stands beside generated streets: buildings, walls and fences, trees and bushes, poles and signs."""

from __future__ import annotations

from typing import Any

import numpy as np

from recon3d.pointcloud.worlds.materials import (
    BARK,
    BUILDING,
    CLUTTER,
    FACADE,
    FENCE,
    GLASS,
    LEAF,
    METAL,
    POLE,
    RETRO,
    ROOF,
    SIGN,
    TRUNK,
    VEGETATION,
)
from recon3d.pointcloud.worlds.solids import Assembly


def house(rng: np.random.Generator, width: float, depth: float) -> Assembly:
    """Return a house with a pitched roof; its front lies at y = 0 and faces -y.

    Args:
        rng: source of its shape.
        width: along the street.
        depth: away from it.
    """
    out = Assembly(BUILDING)
    eaves, rise, colour = rng.uniform(2.6, 6.5), rng.uniform(1.2, 4.0), rng.uniform(0.35, 0.95)
    out.box((0, depth / 2, eaves / 2 - 1), (width, depth, eaves + 2), material=FACADE, colour=colour)
    roof, over = Assembly(BUILDING), rng.uniform(0.2, 0.6)
    along = rng.random() < 0.6
    span, run = (depth, width) if along else (width, depth)
    outline = [(-span / 2 - over, eaves), (span / 2 + over, eaves), (0, eaves + rise)]
    roof.profile(outline, run + 0.4, material=ROOF, colour=rng.uniform(0.1, 0.6))
    out.add(roof, (0, depth / 2, 0), np.pi / 2 if along else 0.0)
    _front(out, rng, width, eaves, colour)
    if rng.random() < 0.5:
        out.box((rng.uniform(-0.3, 0.3) * width, depth / 2, eaves + rise), (0.6, 0.6, 1.5), colour=0.3)
    if rng.random() < 0.35:  # garage
        out.box((width / 2 + 1.6, 3.0, 0.3), (3.2, 5.5, 4.6), material=FACADE, colour=colour)
    return out


def block(rng: np.random.Generator, width: float, depth: float) -> Assembly:
    """Return a city building with a flat front, bays and balconies; its front lies at y = 0 and faces -y.

    Args:
        rng: source of its shape.
        width: along the street.
        depth: away from it.
    """
    out = Assembly(BUILDING)
    height, colour = rng.uniform(6, 26), rng.uniform(0.25, 0.95)
    out.box((0, depth / 2, height / 2 - 1), (width, depth, height + 2), material=FACADE, colour=colour)
    for place in np.arange(-width / 2, width / 2 + 0.1, rng.uniform(3, 8)) if rng.random() < 0.5 else ():
        out.box((place, -0.12, height / 2), (rng.uniform(0.3, 0.8), 0.3, height), colour=colour)
    for x in np.arange(-width / 2 + 2, width / 2 - 2, rng.uniform(3.5, 6)) if rng.random() < 0.4 else ():
        for z in np.arange(3.2, min(height, 14.0), 3.0):
            out.box((x, -0.6, z), (2.4, 1.2, 0.15), colour=colour)
            out.box((x, -1.2, z + 0.5), (2.4, 0.05, 0.9), material=METAL, colour=0.4, density=8.0)
    if rng.random() < 0.35:  # awning of a shop
        out.box((0, -0.8, rng.uniform(2.5, 3.2)), (width * 0.7, 1.6, 0.2), colour=0.5)
    _front(out, rng, width, height, colour)
    return out


def _front(out: Assembly, rng: np.random.Generator, width: float, height: float, colour: float) -> None:
    for _ in range(rng.integers(0, 3)):
        size, deep = rng.uniform(1.5, 4.0), rng.uniform(0.4, 1.8)
        x, high = rng.uniform(-0.4, 0.4) * width, rng.uniform(0.5, 1.0) * min(height, 4)
        out.box((x, -deep / 2, high / 2 - 0.5), (size, deep, high + 1), material=FACADE, colour=colour)
    x = rng.uniform(-0.4, 0.4) * width
    out.box((x, -0.05, 0.9), (1.2, 0.2, 2.4), colour=rng.uniform(0.1, 0.6))
    out.box((x, -0.5, 0.0), (1.6, 1.0, 0.35), colour=0.5)
    for end in (-0.49, 0.49):
        if rng.random() < 0.5:
            out.rod((end * width, -0.08, 0), (end * width, -0.08, height), 0.05, material=METAL)


def fence(rng: np.random.Generator, length: float, kind: int, height: float) -> Assembly:
    """Return one field of a fence along x.

    Args:
        rng: source of its shape.
        length: of the field.
        kind: 0 = wall, 1 = bars, 2 = mesh, 3 = boards, 4 = hedge, 5 = guard rail.
        height: of the field.
    """
    out = Assembly(VEGETATION if kind == 4 else FENCE)
    colour = rng.uniform(0.2, 0.8)
    if kind == 0:
        out.box((0, 0, height / 2 - 0.3), (length + 0.02, 0.25, height + 0.6), colour=colour)
    elif kind == 4:
        deep = rng.uniform(0.5, 1.1)
        out.box((0, 0, height / 2), (length + 0.1, deep, height), material=LEAF, colour=0.5, density=9.0)
    elif kind == 5:
        out.box((0, 0, 0.6), (length, 0.1, 0.3), material=METAL, colour=0.6)
        out.rod((0, 0, 0), (0, 0, 0.75), 0.06, material=METAL)
    else:
        density = {1: 12.0, 2: 5.0, 3: 60.0}[kind]
        out.box((0, 0, height / 2), (length, 0.05, height), material=METAL, colour=colour, density=density)
        out.rod((length / 2, 0, -0.3), (length / 2, 0, height + 0.08), 0.05, colour=colour)
    return out


def tree(rng: np.random.Generator, scale: float = 1.0) -> Assembly:
    """Return a tree: a trunk with boughs, and a crown that rays enter before they end.

    Args:
        rng: source of its shape.
        scale: of all sizes.
    """
    if rng.random() < 0.18:
        return _conifer(rng, scale)
    out = Assembly(VEGETATION)
    height, radius = scale * rng.uniform(4.5, 12.0), scale * rng.uniform(0.06, 0.26)
    clear, spread = height * rng.uniform(0.2, 0.42), height * rng.uniform(0.18, 0.38)
    tilt = rng.normal(0, 0.03, 2)
    top = np.array([tilt[0] * clear, tilt[1] * clear, clear + 0.15 * height])
    out.rod((0, 0, -0.4), top, radius, material=BARK, label=TRUNK, colour=0.5)
    out.rod((0, 0, -0.4), 0.12 * top + np.array([0, 0, 0.1]), radius * 1.35, material=BARK, label=TRUNK, colour=0.5)
    for _ in range(rng.integers(2, 6)):
        angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4) * height
        end = top + np.array([spread * 0.5 * np.cos(angle), spread * 0.5 * np.sin(angle), rise])
        out.rod(0.85 * top, end, radius * 0.4, material=BARK, label=TRUNK, colour=0.5)
    density = rng.choice([rng.uniform(0.12, 0.4), rng.uniform(0.6, 2.2)], p=[0.25, 0.75])
    for _ in range(rng.integers(6, 15)):
        angle, away, up = rng.uniform(0, 2 * np.pi), spread * np.sqrt(rng.random()), rng.uniform(0.0, 1.0)
        away *= 0.5 + np.sin(np.pi * min(up + 0.15, 1.0)) * 0.6
        centre = (away * np.cos(angle), away * np.sin(angle), clear + up * (height - clear))
        half = spread * rng.uniform(0.22, 0.5, 3) * (1, 1, 0.75)
        out.ellipsoid(centre, half, material=LEAF, colour=0.55, density=density, yaw=angle)
    return out


def _conifer(rng: np.random.Generator, scale: float) -> Assembly:
    out = Assembly(VEGETATION)
    height, spread = scale * rng.uniform(4, 14), scale * rng.uniform(0.9, 2.4)
    out.rod((0, 0, -0.4), (0, 0, 0.6 * height), scale * rng.uniform(0.08, 0.2), material=BARK, label=TRUNK, colour=0.4)
    for up in np.linspace(0.12, 0.95, 8):
        size = spread * (1.05 - up)
        out.ellipsoid((0, 0, up * height), (size, size, 0.11 * height), material=LEAF, colour=0.4, density=2.0)
    return out


def bush(rng: np.random.Generator, scale: float = 1.0) -> Assembly:
    """Return a bush.

    Args:
        rng: source of its shape.
        scale: of all sizes.
    """
    out = Assembly(VEGETATION)
    size, density = scale * rng.uniform(0.3, 1.4), rng.uniform(1.5, 6.0) / scale
    for _ in range(rng.integers(2, 6)):
        x, y = rng.normal(0, 0.5 * size, 2)
        half = size * rng.uniform(0.3, 0.8, 3)
        out.ellipsoid((x, y, 0.6 * half[2]), half, material=LEAF, colour=0.5, density=density)
    return out


def lamp_post(rng: np.random.Generator) -> Assembly:
    """Return a street lamp, a utility pole or a plain post; an arm reaches to +x.

    Args:
        rng: source of its shape.
    """
    out = Assembly(POLE)
    height, radius, colour = rng.uniform(4, 10), rng.uniform(0.05, 0.14), rng.uniform(0.2, 0.7)
    out.rod((0, 0, -0.3), (0, 0, height), radius, material=METAL, colour=colour)
    out.rod((0, 0, -0.3), (0, 0, rng.uniform(0.5, 1.4)), radius * 1.5, material=METAL, colour=colour)
    arm = rng.uniform(0.6, 2.2)
    if rng.random() < 0.7:
        out.rod((0, 0, height - 0.1), (arm, 0, height + 0.2), 0.04, material=METAL, colour=colour)
        out.box((arm, 0, height + 0.2), (0.6, 0.25, 0.12), material=METAL, colour=0.5)
    if rng.random() < 0.2:
        out.box((0.0, 0.3, rng.uniform(2, 3)), (0.05, 0.6, 0.8), material=RETRO, colour=0.2, label=SIGN)
    return out


def traffic_sign(rng: np.random.Generator) -> Assembly:
    """Return a traffic sign that faces -x.

    Args:
        rng: source of its shape.
    """
    out = Assembly(POLE)
    height, radius = rng.uniform(2.1, 3.0), rng.uniform(0.03, 0.05)
    out.rod((0, 0, -0.2), (0, 0, height + 0.3), radius, material=METAL, colour=0.5)
    kind, size, twist = rng.random(), rng.uniform(0.5, 0.8), rng.normal(0, 0.15)
    look: dict[str, Any] = {"material": RETRO, "label": SIGN, "colour": rng.uniform(0.15, 0.4)}
    if kind < 0.5:
        out.rod((-0.06, 0, height), (-0.08, 0, height), size / 2, **look)
    elif kind < 0.85:
        out.box((-0.07, 0, height), (0.02, size, size * rng.uniform(0.7, 1.3)), yaw=twist, **look)
    else:
        for side in (-1, 1):
            out.rod((0, side * 0.9, -0.2), (0, side * 0.9, height), radius, material=METAL)
        out.box((-0.07, 0, height), (0.03, rng.uniform(1.6, 3.2), rng.uniform(0.8, 1.8)), **look)
    if rng.random() < 0.3:
        out.box((-0.07, 0, height - size), (0.02, size, 0.25), yaw=twist, **look)
    return out


def traffic_light(rng: np.random.Generator) -> Assembly:
    """Return a traffic light, perhaps with an arm over the road towards +y.

    Args:
        rng: source of its shape.
    """
    out = Assembly(POLE)
    height = rng.uniform(2.8, 3.6)
    out.rod((0, 0, -0.2), (0, 0, height), 0.07, material=METAL, colour=0.4)
    out.box((-0.15, 0, height - 0.4), (0.25, 0.3, 0.9), colour=0.15, label=SIGN)
    if rng.random() < 0.4:
        out.rod((0, 0, height), (0, 0, 5.5), 0.08, material=METAL, colour=0.4)
        out.rod((0, 0, 5.4), (0, 3.5, 5.6), 0.06, material=METAL, colour=0.4)
        out.box((-0.15, 3.4, 5.4), (0.25, 0.3, 0.9), colour=0.15, label=SIGN)
    return out


def clutter(rng: np.random.Generator) -> Assembly:
    """Return a thing of no target class: a bin, cone, bench, cabinet, bollard, column, planter, shelter and others.

    Args:
        rng: source of the kind and the shape.
    """
    makers = (_bin, _boxes, _cone, _bench, _cabinet, _bollard, _column, _planter, _shelter, _barrier, _stand, _animal)
    weights = np.array([4, 2, 2, 1.5, 3, 4, 1.2, 2, 0.6, 1.2, 2.0, 0.5])
    out = Assembly(CLUTTER)
    makers[rng.choice(len(makers), p=weights / weights.sum())](out, rng)
    return out


def _bin(out: Assembly, rng: np.random.Generator) -> None:
    for place in range(rng.integers(1, 4)):
        x, size, high = 0.7 * place, rng.uniform(0.45, 0.65), rng.uniform(0.85, 1.25)
        outline = [(-size * 0.4, 0.03), (size * 0.4, 0.03), (size * 0.5, high), (-size * 0.5, high * 0.95)]
        part = Assembly(CLUTTER)
        part.profile(outline, size, lean=-0.03, colour=rng.uniform(0.1, 0.6))
        out.add(part, (x, rng.normal(0, 0.05), 0), rng.normal(np.pi / 2, 0.15))


def _boxes(out: Assembly, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 5)):
        size = rng.uniform(0.2, 1.1, 3)
        out.box((*rng.normal(0, 0.6, 2), size[2] / 2), size, yaw=rng.uniform(0, 3), colour=rng.uniform(0.2, 0.9))


def _cone(out: Assembly, rng: np.random.Generator) -> None:
    out.box((0, 0, 0.03), (0.4, 0.4, 0.05), colour=0.2)
    out.rod((0, 0, 0), (0, 0, 0.3), 0.13, colour=0.5)
    out.rod((0, 0, 0.3), (0, 0, rng.uniform(0.5, 0.8)), 0.07, material=RETRO, colour=0.2)


def _bench(out: Assembly, rng: np.random.Generator) -> None:
    long = rng.uniform(1.2, 2.0)
    out.box((0, 0, 0.44), (long, 0.42, 0.05), colour=0.4)
    out.box((0, 0.22, 0.68), (long, 0.05, 0.35), colour=0.4)
    for end in (-0.4, 0.4):
        out.box((end * long, 0, 0.22), (0.06, 0.4, 0.44), material=METAL)


def _cabinet(out: Assembly, rng: np.random.Generator) -> None:
    size = (rng.uniform(0.4, 1.6), rng.uniform(0.3, 0.6), rng.uniform(0.8, 1.9))
    out.box((0, 0, size[2] / 2), size, colour=rng.uniform(0.3, 0.8))


def _bollard(out: Assembly, rng: np.random.Generator) -> None:
    radius, high = rng.uniform(0.05, 0.18), rng.uniform(0.5, 1.3)
    for place in range(rng.integers(1, 5)):
        out.rod((1.5 * place, 0, 0), (1.5 * place, 0, high), radius, material=METAL, colour=0.4)


def _column(out: Assembly, rng: np.random.Generator) -> None:
    out.rod((0, 0, 0), (0, 0, rng.uniform(1.4, 3.2)), rng.uniform(0.2, 0.65), colour=rng.uniform(0.3, 0.9))


def _planter(out: Assembly, rng: np.random.Generator) -> None:
    size, high = rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.7)
    out.box((0, 0, high / 2), (size, size, high), colour=0.6)
    half = (size * 0.5, size * 0.5, rng.uniform(0.2, 0.7))
    out.ellipsoid((0, 0, high + 0.2), half, material=LEAF, label=VEGETATION, density=4.0)


def _shelter(out: Assembly, rng: np.random.Generator) -> None:
    long = rng.uniform(2.5, 4.5)
    out.box((0, 0, 2.4), (long, 1.5, 0.12), material=METAL)
    out.box((0, 0.7, 1.3), (long, 0.04, 1.9), material=GLASS)
    for x in (-1, 1):
        for y in (-1, 1):
            out.rod((x * 0.48 * long, y * 0.65, 0), (x * 0.48 * long, y * 0.65, 2.4), 0.04, material=METAL)
    out.box((0, 0.45, 0.48), (long * 0.7, 0.35, 0.05), material=METAL)


def _barrier(out: Assembly, rng: np.random.Generator) -> None:
    for place in range(rng.integers(1, 5)):
        out.box((1.3 * place, 0, 0.85), (1.2, 0.04, 0.25), material=RETRO, colour=0.15)
        for end in (-0.5, 0.5):
            out.box((1.3 * place + end, 0, 0.45), (0.05, 0.4, 0.9), colour=0.4)


def _stand(out: Assembly, rng: np.random.Generator) -> None:
    """Add something as slim and as high as a person: a meter, a post box, an advertising board, a covered sapling."""
    high, wide = rng.uniform(1.0, 2.0), rng.uniform(0.12, 0.6)
    if rng.random() < 0.5:
        out.rod((0, 0, 0), (0, 0, high), 0.04, material=METAL)
        out.box((0, 0, 0.8 * high), (0.2, wide, 0.35 * high), colour=rng.uniform(0.2, 0.8))
    else:
        out.box((0, 0, high / 2), (0.15, wide + 0.2, high), pitch=rng.uniform(-0.2, 0.2), colour=rng.uniform(0.2, 0.8))


def _animal(out: Assembly, rng: np.random.Generator) -> None:
    size = rng.uniform(0.5, 1.0)
    out.ellipsoid((0, 0, 0.45 * size), (0.42 * size, 0.13 * size, 0.14 * size), colour=0.4)
    out.ellipsoid((0.45 * size, 0, 0.6 * size), (0.14 * size, 0.08 * size, 0.09 * size), colour=0.4)
    for x in (-0.3, 0.3):
        for y in (-0.08, 0.08):
            out.rod((x * size, y * size, 0), (x * size, y * size, 0.45 * size), 0.04 * size, colour=0.4)
