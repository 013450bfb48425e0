"""Furnished rooms: walls with windows and pictures, floor, ceiling, furniture along the walls and in the middle."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.scenes.builder import Builder, Rotation
from recon3d.feedforward.scenes.kinds.furniture import Furnisher
from recon3d.feedforward.scenes.kinds.stage import Stage, about_z, light_outdoors
from recon3d.feedforward.scenes.materials import Palette, tone

_MOST = 46


def build_room(rng: np.random.Generator) -> Stage:
    """Return a random room.

    Args:
        rng: source of randomness.
    """
    builder, palette = Builder(rng), Palette(rng)
    half = np.array([rng.uniform(1.4, 3.6), rng.uniform(1.4, 3.6), rng.uniform(1.15, 1.6)])
    add_shell(builder, palette, half)
    for side in rng.permutation(4)[: rng.integers(0, 3)]:
        _window(builder, palette, half, about_z(side * np.pi / 2))
    light_indoors(builder, half)
    _furnish(builder, palette, half)
    corner, across = rng.uniform(0.0, 2.0 * np.pi), rng.normal(0.0, 0.5)
    height = rng.uniform(0.9, 1.8)

    def eye(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        angle = corner + freedom * rng.uniform(-1.0, 1.0)
        away = 0.8 - freedom * rng.uniform(0.0, 0.6)
        x, y = away * (half[:2] - 0.2) * np.array([np.cos(angle), np.sin(angle)]) * 1.2
        return np.array([x, y, np.clip(height + freedom * rng.uniform(-0.5, 0.5), 0.4, 2 * half[2] - 0.3)])

    def target(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        angle = corner + np.pi + across + freedom * rng.uniform(-0.5, 0.5)
        x, y = half[:2] * np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.3, 1.0)
        return np.array([x, y, rng.uniform(0.3, 1.4)])

    return Stage(builder=builder, eye=eye, target=target, clearance=0.25)


def add_shell(builder: Builder, palette: Palette, half: Float64[np.ndarray, "3"], *, base: float = 0.0) -> None:
    """Add walls, floor and ceiling.

    Args:
        builder: takes the shapes.
        palette: of the scene.
        half: half sizes of the room.
        base: height of the floor.
    """
    rng = builder.rng
    walls = palette.material(
        1.5, ("flat", "flat", "flat", "clouds", "stripes", "bricks", "patches"), contrast=0.1, glossy=0
    )
    if rng.random() < 0.6:
        pale = tone(rng.normal(0.1, 0.1), rng.uniform(0.0, 0.3), rng.uniform(0.6, 0.95))
        walls = palette.material(1.5, ("flat",), contrast=0.0, glossy=0).painted(pale)
    builder.add("cavity", np.array([0.0, 0.0, base + half[2]]), half, walls)
    builder.holed("cavity")
    floor = palette.material(
        1.2, ("wood", "planks", "planks", "checks", "flat", "clouds", "marble", "patches"), contrast=0.15
    )
    builder.add("box", np.array([0.0, 0.0, base - 0.05]), np.array([half[0], half[1], 0.06]), floor)
    ceiling = palette.material(2.0, ("flat",), glossy=0).painted(tone(0.1, 0.05, rng.uniform(0.75, 0.95)))
    builder.add("box", np.array([0.0, 0.0, base + 2 * half[2] + 0.05]), np.array([half[0], half[1], 0.06]), ceiling)


def _window(builder: Builder, palette: Palette, half: Float64[np.ndarray, "3"], turn: Rotation) -> None:
    """Cut a window with a frame into the wall at the end of the turned y axis."""
    rng, (reach, wide) = builder.rng, _reach(half, turn)
    size = np.array([min(rng.uniform(0.35, 1.1), 0.7 * wide), 0.1, rng.uniform(0.35, 0.65)])
    along = rng.uniform(-1.0, 1.0) * (wide - size[0] - 0.15)
    centre = np.array([along, reach, min(rng.uniform(1.3, 1.6), 2 * half[2] - size[2] - 0.15)])
    builder.hole(turn @ centre, size, turn)
    frame = palette.material(0.3, ("flat", "wood"), contrast=0.1)
    for axis in (0, 2):
        for place in (-1.0, 0.0, 1.0):
            shift, bar = np.zeros(3), np.array([0.03, 0.04, 0.03])
            shift[axis], bar[2 - axis] = place * size[axis], size[2 - axis] + 0.03
            builder.add("box", turn @ (centre + shift), bar, frame, rotation=turn)


def light_indoors(builder: Builder, half: Float64[np.ndarray, "3"], *, base: float = 0.0) -> None:
    """Add a lamp, the day behind the windows, and the light that the walls scatter.

    Args:
        builder: of the world.
        half: half sizes of the room.
        base: height of the floor.
    """
    rng = builder.rng
    light_outdoors(builder)
    is_day = rng.random() < 0.7
    brightness = rng.uniform(2.0, 5.0) if is_day else 0.0
    builder.sun[3:] *= brightness
    builder.sky[:12] *= max(brightness, 0.05)
    warm = np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.0)])
    place = np.array([*(rng.uniform(-0.5, 0.5, 2) * half[:2]), base + 2 * half[2] - rng.uniform(0.15, 0.5)])
    strength = 0.0 if is_day and builder.n_holes and rng.random() < 0.4 else rng.uniform(0.5, 1.5) * half[2] ** 2
    builder.lamp = np.concatenate([place, strength * warm])
    above = rng.uniform(0.25, 0.5) * (0.5 + 0.5 * warm)
    builder.ambient = np.concatenate([above, above * rng.uniform(0.5, 0.8)])


def _furnish(builder: Builder, palette: Palette, half: Float64[np.ndarray, "3"]) -> None:
    """Add pictures, a rug and furniture, most of it along the walls."""
    rng, furnisher = builder.rng, Furnisher(builder, palette)
    for _ in range(rng.integers(0, 5)):
        turn = about_z(rng.integers(4) * np.pi / 2)
        reach, wide = _reach(half, turn)
        centre = np.array([rng.uniform(-0.8, 0.8) * wide, reach - 0.02, rng.uniform(1.2, 1.7)])
        picture = palette.material(0.5, ("patches", "clouds", "spots", "marble", "stripes"), contrast=0.8)
        builder.add(
            "box",
            turn @ centre,
            np.array([*rng.uniform(0.15, 0.5, 1), 0.02, rng.uniform(0.15, 0.4)]),
            picture,
            rotation=turn,
        )
    if rng.random() < 0.5:
        rug = palette.material(0.6, glossy=0.0)
        builder.add("box", np.array([0, 0, 0.01]), np.array([*(half[:2] * rng.uniform(0.3, 0.7, 2)), 0.012]), rug)
    while builder.n_shapes < _MOST - 10 and rng.random() < 0.97:
        turn = about_z(rng.integers(4) * np.pi / 2)
        reach, wide = _reach(half, turn)
        place = np.array([rng.uniform(-0.9, 0.9) * (wide - 0.4), reach - 0.35, 0.0])
        if rng.random() < 0.3:
            place[1], turn = rng.uniform(-0.3, 0.6) * reach, about_z(rng.uniform(0, 2 * np.pi))
        furnisher.piece(turn @ place + np.array([0.0, 0.0, 0.01]), turn)


def _reach(half: Float64[np.ndarray, "3"], turn: Rotation) -> tuple[float, float]:
    """Return half the sizes of a room along the turned y and x axes."""
    return float(np.abs(turn[:, 1]) @ half), float(np.abs(turn[:, 0]) @ half)
