"""Things that stand in rooms and streets, made of a few shapes each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.scenes.builder import Builder, Rotation
from recon3d.feedforward.scenes.kinds.stage import turned
from recon3d.feedforward.scenes.materials import Material, Palette


class Furnisher:
    """Builds furniture at a place on the floor.

    Args:
        builder: takes the shapes.
        palette: of the scene.
    """

    def __init__(self, builder: Builder, palette: Palette) -> None:
        self.builder, self.palette, self.rng = builder, palette, builder.rng

    def piece(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down a random piece that opens towards its -y axis.

        Args:
            place: middle of its foot.
            turn: from its axes to the world's.
        """
        makers = (self.table, self.table, self.chair, self.sofa, self.cupboard, self.cupboard, self.bed, self.shelf)
        makers[self.rng.integers(len(makers))](place, turn)

    def table(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down a table with things on it."""
        rng = self.rng
        x, y, height = rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.85)
        material = self.palette.material(x, ("wood", "flat", "planks", "marble"), contrast=0.1)
        self._box(place, turn, (0, 0, height - 0.02), (x, y, 0.025), material)
        legs = material if rng.random() < 0.5 else self.palette.material(0.1, ("flat",))
        for side in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            self._box(
                place, turn, (side[0] * (x - 0.05), side[1] * (y - 0.05), height / 2), (0.025, 0.025, height / 2), legs
            )
        for _ in range(rng.integers(0, 4)):
            foot = place + turn @ np.array([rng.uniform(-0.7, 0.7) * x, rng.uniform(-0.6, 0.6) * y, height + 0.005])
            self.trinket(foot, rng.uniform(0.05, 0.14))

    def trinket(self, foot: Float64[np.ndarray, "3"], size: float) -> None:
        """Put down a small thing.

        Args:
            foot: middle of its foot.
            size: about half its width, in metres.
        """
        rng = self.rng
        kind, size_z = str(rng.choice(["box", "ball", "frustum"])), size * rng.uniform(0.4, 1.8)
        sizes = np.array([size, size * rng.uniform(0.5, 1.0) if kind == "box" else size, size_z])
        taper = float(rng.choice([0.0, rng.uniform(-0.2, 0.5)])) if kind == "frustum" else 0.0
        material = self.palette.material(size * 2)
        centre = foot + np.array([0.0, 0.0, size_z])
        self.builder.add(kind, centre, sizes, material, rotation=turned(rng, upright=True), extra=taper)

    def chair(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down a chair."""
        material = self.palette.material(0.4, contrast=0.2)
        self._box(place, turn, (0, 0, 0.44), (0.21, 0.21, 0.025), material)
        self._box(place, turn, (0, 0.2, 0.72), (0.2, 0.02, 0.26), material)
        legs = self.palette.material(0.1, ("flat", "wood"))
        for side in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            self._box(place, turn, (side[0] * 0.18, side[1] * 0.18, 0.21), (0.018, 0.018, 0.21), legs)

    def sofa(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down a sofa or an armchair with cushions."""
        rng = self.rng
        x, material = rng.choice([0.45, 0.8, 1.0]), self.palette.material(0.5, contrast=0.1, glossy=0.0)
        self._box(place, turn, (0, 0, 0.2), (x, 0.4, 0.2), material)
        self._box(place, turn, (0, 0.32, 0.42), (x, 0.1, 0.42), material)
        for side in (-1, 1):
            self._box(place, turn, (side * (x + 0.08), 0, 0.3), (0.08, 0.42, 0.3), material)
        cushion = self.palette.material(0.2)
        self._box(place, turn, (rng.uniform(-0.5, 0.5) * x, 0.14, 0.55), (0.2, 0.08, 0.17), cushion)

    def cupboard(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down a cupboard, sometimes with something on it."""
        rng = self.rng
        x, y, z = rng.uniform(0.25, 0.7), rng.uniform(0.2, 0.32), rng.choice([0.4, 0.5, 0.9, 1.0])
        material = self.palette.material(x, ("wood", "flat", "planks", "clouds"), contrast=0.1)
        self._box(place, turn, (0, 0, z), (x, y, z), material)
        front = self.palette.material(x, ("wood", "flat", "checks"), contrast=0.1)
        for side in (-1, 1):
            self._box(place, turn, (side * x * 0.49, -y, z), (x * 0.45, 0.015, z * 0.93), front)
        if z < 0.6:
            self.trinket(place + turn @ np.array([rng.uniform(-0.5, 0.5) * x, 0.0, 2 * z]), rng.uniform(0.06, 0.15))

    def bed(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down a bed."""
        x, material = self.rng.choice([0.45, 0.8]), self.palette.material(0.6, ("wood", "flat", "planks"))
        self._box(place, turn, (0, -0.6, 0.2), (x, 1.0, 0.12), material)
        self._box(place, turn, (0, -0.6, 0.38), (x * 0.97, 0.98, 0.07), self.palette.material(0.5, contrast=0.3))
        self._box(place, turn, (0, 0.42, 0.45), (x, 0.03, 0.45), material)
        self._box(place, turn, (0, 0.2, 0.5), (x * 0.7, 0.15, 0.06), self.palette.material(0.3, ("flat", "stripes")))

    def shelf(self, place: Float64[np.ndarray, "3"], turn: Rotation) -> None:
        """Put down open shelves with rows of books."""
        rng = self.rng
        x, material = rng.uniform(0.3, 0.6), self.palette.material(0.5, ("wood", "flat", "planks"), contrast=0.1)
        n_boards = int(rng.integers(3, 5))
        for side in (-1, 1):
            self._box(place, turn, (side * x, 0, n_boards * 0.2), (0.015, 0.15, n_boards * 0.2), material)
        for number in range(n_boards):
            self._box(place, turn, (0, 0, number * 0.4 + 0.1), (x, 0.15, 0.015), material)
            width, height = rng.uniform(0.4, 0.95) * x, rng.uniform(0.08, 0.13)
            books = self.palette.material(0.3, ("patches", "stripes", "planks"), contrast=0.7)
            self._box(
                place, turn, (width - x + 0.02, 0.03, number * 0.4 + 0.115 + height), (width * 0.95, 0.1, height), books
            )

    def _box(
        self,
        place: Float64[np.ndarray, "3"],
        turn: Rotation,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        material: Material,
    ) -> None:
        self.builder.add("box", place + turn @ np.array(centre), np.array(size), material, rotation=turn)
