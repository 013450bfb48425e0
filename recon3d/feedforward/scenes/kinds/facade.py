"""Fronts of buildings: a wall with recessed windows and a door, ledges, columns, and things on the pavement."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.scenes.builder import Builder
from recon3d.feedforward.scenes.kinds.stage import Stage, light_outdoors, turned
from recon3d.feedforward.scenes.materials import Material, Palette, tone

_WALL = ("flat", "flat", "bricks", "bricks", "clouds", "planks", "patches", "marble", "stripes")


class _Front:
    """One building whose front is the plane y = 0, seen from the side of negative y.

    Args:
        builder: takes the shapes.
        palette: of the scene.
    """

    def __init__(self, builder: Builder, palette: Palette) -> None:
        rng = builder.rng
        self.builder, self.palette, self.rng = builder, palette, rng
        self.n_columns, self.n_floors = int(rng.integers(2, 5)), int(rng.integers(1, 4))
        self.pitch, self.storey = rng.uniform(1.6, 3.2), rng.uniform(2.4, 3.6)
        self.width, self.height = 0.5 * self.pitch * self.n_columns + rng.uniform(0.2, 1.0), self.storey * self.n_floors
        self.depth = rng.uniform(0.08, 0.45)
        self.wall = palette.material(rng.uniform(0.6, 1.6), _WALL, contrast=0.1, glossy=0.0)
        self.trim = palette.material(0.5, ("flat", "clouds", "wood"), contrast=0.1)
        pane = palette.material(1.0, ("panes",), glossy=0.9)
        self.pane = pane.painted(tone(rng.normal(0.58, 0.05), rng.uniform(0.0, 0.5), rng.uniform(0.05, 0.5)))

    def build(self) -> None:
        """Add the wall, its openings and its trimmings."""
        self.box((0.0, 3.0, 0.5 * self.height), (self.width, 3.0, 0.5 * self.height), self.wall)
        self.builder.holed("box")
        half = np.array([self.pitch * self.rng.uniform(0.2, 0.38), 0.0, self.storey * self.rng.uniform(0.2, 0.34)])
        door, sills = int(self.rng.integers(self.n_columns)), self.rng.random() < 0.6
        for column in range(self.n_columns):
            for floor in range(self.n_floors):
                x, z = (column - 0.5 * (self.n_columns - 1)) * self.pitch, (floor + 0.52) * self.storey
                if floor == 0 and column == door:
                    self._opening(
                        x, 1.1, np.array([0.55, 0.0, 1.1]), self.palette.material(0.8, ("wood", "flat", "planks"))
                    )
                elif self.rng.random() < 0.93:
                    self._opening(x, z, half, self.pane, sill=sills)
        self._ledges()

    def box(self, centre: tuple[float, float, float], size: tuple[float, float, float], material: Material) -> None:
        """Add a box along the axes."""
        self.builder.add("box", np.array(centre), np.array(size), material)

    def _opening(
        self, x: float, z: float, half: Float64[np.ndarray, "3"], back: Material, *, sill: bool = False
    ) -> None:
        """Cut a recess into the wall, with something flat at its back."""
        deep = 0.5 * self.depth
        centre, size = np.array([x, deep, z]), np.array([half[0], deep, half[2]])
        self.builder.add("cavity", centre, size, self.wall if self.rng.random() < 0.5 else self.trim, extra=1.0)
        self.builder.hole(np.array([x, 0.0, z]), size * np.array([0.9995, 0.0, 0.9995]) + np.array([0.0, 0.02, 0.0]))
        inset = (0.995 * half[0], 0.01, 0.995 * half[2])
        self.box((x, self.depth - 0.02, z), inset, back)
        if sill:
            self.box((x, -0.05, z - half[2] - 0.05), (half[0] + 0.08, 0.09, 0.05), self.trim)

    def _ledges(self) -> None:
        """Add bands, a roof's edge and columns."""
        rng = self.rng
        for floor in range(1, self.n_floors + 1):
            if rng.random() < 0.5 or floor == self.n_floors:
                out = rng.uniform(0.05, 0.4)
                self.box((0.0, 0.0, floor * self.storey), (self.width + 0.1, out, rng.uniform(0.05, 0.15)), self.trim)
        if rng.random() < 0.5:
            self.box((0.0, 0.0, 0.2), (self.width, 0.06, 0.2), self.trim)
        if rng.random() < 0.35:
            radius = rng.uniform(0.08, 0.2)
            for column in range(self.n_columns + 1):
                x = (column - 0.5 * self.n_columns) * self.pitch
                size, centre = (
                    np.array([radius, radius, 0.5 * self.height]),
                    np.array([x, -radius * 1.5, 0.5 * self.height]),
                )
                self.builder.add("frustum", centre, size, self.trim, extra=rng.uniform(0.0, 0.08))


def build_facade(rng: np.random.Generator) -> Stage:
    """Return a random front of a building.

    Args:
        rng: source of randomness.
    """
    builder, palette = Builder(rng), Palette(rng)
    light_outdoors(builder, azimuth=-0.5 * np.pi, spread=1.4)
    front = _Front(builder, palette)
    street = palette.material(1.0, ("gravel", "flat", "clouds", "bricks", "patches", "checks"), contrast=0.05)
    builder.add("disc", np.zeros(3), np.array([60.0, 60.0, 1.0]), street)
    front.build()
    if rng.random() < 0.6:
        pavement = palette.material(0.8, ("flat", "patches", "bricks", "checks"), contrast=0.05)
        front.box((0.0, -1.0, 0.05), (40.0, rng.uniform(0.8, 1.6), 0.06), pavement)
    _neighbours(front)
    for _ in range(rng.integers(1, 8)):
        _add_thing(builder, palette, np.array([rng.uniform(-1, 1) * front.width * 1.2, rng.uniform(-5.0, -0.6), 0.0]))
    middle, away = rng.uniform(-0.7, 0.7) * front.width, rng.uniform(3.0, 11.0)
    height = rng.uniform(1.2, 2.2) if rng.random() < 0.75 else rng.uniform(2.0, 6.0)
    slant, level = rng.normal(0.0, 0.35), min(rng.uniform(1.0, 3.5), front.height)

    def eye(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        distance = away * np.exp(freedom * rng.uniform(-0.45, 0.45))
        x = middle + distance * (np.tan(slant) + freedom * rng.uniform(-0.7, 0.7))
        return np.array([x, -distance, max(height + freedom * rng.uniform(-0.6, 0.9), 0.7)])

    def target(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        x = middle + away * freedom * rng.uniform(-0.3, 0.3)
        return np.array([x, 0.0, level + freedom * rng.uniform(-0.7, 0.7)])

    return Stage(builder=builder, eye=eye, target=target, clearance=0.4)


def _neighbours(front: _Front) -> None:
    """Add plain buildings on the left and on the right."""
    rng = front.rng
    for side in (-1, 1):
        if rng.random() < 0.7:
            wide, high, shift = rng.uniform(2, 6), rng.uniform(1.0, 6.0), rng.uniform(-1.0, 2.5)
            x = side * (front.width + wide + rng.uniform(0.0, 2.0))
            wall = front.palette.material(1.2, _WALL, contrast=0.1, glossy=0.0)
            front.box((x, 3.0 + shift, high), (wide, 3.0, high), wall)


def _add_thing(builder: Builder, palette: Palette, place: Float64[np.ndarray, "3"]) -> None:
    """Put a bollard, bin, bush, lamp post, car or crate on the street."""
    rng, kind = builder.rng, builder.rng.integers(6)
    green = palette.material(0.4, ("gravel", "clouds")).painted(
        tone(rng.normal(0.28, 0.04), 0.5, rng.uniform(0.25, 0.55))
    )
    plain = palette.material(0.5, contrast=0.3)
    up = np.array([0.0, 0.0, 1.0])
    if kind == 0:
        builder.add("frustum", place + 0.45 * up, np.array([0.12, 0.12, 0.45]), plain, extra=rng.uniform(0.0, 0.2))
    elif kind == 1:
        builder.add("frustum", place + 0.5 * up, np.array([0.3, 0.3, 0.5]), plain, extra=rng.uniform(-0.15, 0.05))
    elif kind == 2:
        size = rng.uniform(0.3, 0.9, 3)
        builder.add("ball", place + 0.7 * size[2] * up, size, green)
    elif kind == 3:
        builder.add("frustum", place + 2.0 * up, np.array([0.06, 0.06, 2.0]), plain, extra=0.2)
        builder.add("ball", place + 4.1 * up, np.full(3, 0.2), palette.material(0.3, ("flat",)))
    elif kind == 4:
        _add_car(builder, palette, place)
    else:
        size = rng.uniform(0.2, 0.6, 3)
        builder.add("box", place + size[2] * up, size, plain, rotation=turned(rng, upright=True))


def _add_car(builder: Builder, palette: Palette, place: Float64[np.ndarray, "3"]) -> None:
    """Add a body, a cabin and the two wheels that face the camera."""
    paint = palette.material(1.0, ("flat",), glossy=1.0)
    glass = palette.material(1.0, ("flat",), glossy=1.0).painted(np.full(3, 0.05))
    builder.add("box", place + np.array([0.0, 0.0, 0.6]), np.array([2.0, 0.8, 0.35]), paint)
    builder.add("box", place + np.array([0.2, 0.0, 1.15]), np.array([1.1, 0.7, 0.25]), glass)
    side = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    for x in (-1.25, 1.25):
        size = np.array([0.32, 0.32, 0.1])
        builder.add("frustum", place + np.array([x, -0.75, 0.32]), size, glass, rotation=side)
