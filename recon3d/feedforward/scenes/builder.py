"""Putting a world together on the CPU: shapes, materials, light; with a rough distance for placing cameras."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64

from recon3d.feedforward.scenes.materials import Material
from recon3d.feedforward.scenes.world import KINDS, World

Vector = Float64[np.ndarray, "3"]
Rotation = Float64[np.ndarray, "3 3"]


@dataclass(eq=False)
class Builder:
    """A world in the making.

    Args:
        rng: source of randomness.
        sun: direction towards the sun and its colour.
        lamp: position and intensity at 1 m.
        ambient: light from above and from below.
        sky: as in ``World``.
        heights: of a height field.
        extent: half side of the height field.
        ground: material of the height field.
    """

    rng: np.random.Generator
    sun: Float64[np.ndarray, "6"] = field(default_factory=lambda: np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))
    lamp: Float64[np.ndarray, "6"] = field(default_factory=lambda: np.zeros(6))
    ambient: Float64[np.ndarray, "6"] = field(default_factory=lambda: np.full(6, 0.3))
    sky: Float64[np.ndarray, "15"] = field(default_factory=lambda: np.zeros(15))
    heights: Float64[np.ndarray, "g g"] | None = None
    extent: float = 0.0
    ground: Material | None = None

    def __post_init__(self) -> None:
        self._columns: dict[str, list[Float64[np.ndarray, " f"]]] = {kind: [] for kind in KINDS}
        self._holes: list[Float64[np.ndarray, "3 4"]] = []
        self._holed: tuple[str, int] | None = None

    def add(
        self,
        kind: str,
        centre: Float[np.ndarray, "3"],
        size: Float[np.ndarray, "3"],
        material: Material,
        *,
        rotation: Rotation | None = None,
        extra: float = 0.0,
    ) -> None:
        """Add a shape.

        Args:
            kind: one of ``KINDS``.
            centre: in the world.
            size: half sizes along its axes.
            material: of its surface.
            rotation: from its axes to the world's; none by default.
            extra: taper of a frustum, or 1 for a cavity whose face at y = -1 is open.
        """
        frame = _frame(centre, size, rotation)
        shift = self.rng.uniform(-50.0, 50.0, 3)
        self._columns[kind].append(np.concatenate([frame.ravel(), size, [extra], material.row(shift)]))

    @property
    def n_shapes(self) -> int:
        """Number of shapes so far."""
        return sum(len(columns) for columns in self._columns.values())

    @property
    def n_holes(self) -> int:
        """Number of holes so far."""
        return len(self._holes)

    def holed(self, kind: str) -> None:
        """Let the shape of this kind that was added last have the holes."""
        self._holed = kind, len(self._columns[kind]) - 1

    def hole(
        self, centre: Float[np.ndarray, "3"], size: Float[np.ndarray, "3"], rotation: Rotation | None = None
    ) -> None:
        """Cut a hole where the holed shape's surface lies in a box.

        Args:
            centre: of the box.
            size: half sizes of the box.
            rotation: from the box's axes to the world's.
        """
        self._holes.append(_frame(centre, size, rotation))

    def clearance(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
        """Return lower bounds of the distances to the nearest solid; negative inside of one, or outside of a room.

        Args:
            points: in the world.
        """
        result = np.full(len(points), np.inf) if self.heights is None else points[:, 2] - self.height(points)
        for kind, columns in self._columns.items():
            for column in columns:
                frame, size = column[:12].reshape(3, 4), column[12:15]
                local = (points @ frame[:, :3].T + frame[:, 3]) * size
                result = np.minimum(result, _bound(kind, local, size, is_open=bool(column[15] > 0)))
        return result

    def height(self, points: Float64[np.ndarray, "n _k"]) -> Float64[np.ndarray, " n"]:
        """Return the height of the height field.

        Args:
            points: x and y in the first two columns.
        """
        if self.heights is None:
            return np.zeros(len(points))
        scale = (len(self.heights) - 1) / (2.0 * self.extent)
        place = np.clip((points[:, :2] + self.extent) * scale, 0.0, len(self.heights) - 1.001)
        x, y = np.floor(place).astype(int).T
        right, down = (place - np.floor(place)).T
        rows = [self.heights[y + k, x] * (1.0 - right) + self.heights[y + k, x + 1] * right for k in range(2)]
        height: Float64[np.ndarray, " n"] = rows[0] * (1.0 - down) + rows[1] * down
        return height

    def finish(self) -> World:
        """Return the world, on the CPU."""
        columns = [column for kind in KINDS for column in self._columns[kind]]
        if self.heights is not None and self.ground is not None:
            flat = np.concatenate([_frame(np.zeros(3), np.ones(3), None).ravel(), np.ones(3), [0.0]])
            columns.append(np.concatenate([flat, self.ground.row(self.rng.uniform(-50.0, 50.0, 3))]))
        counts = tuple(len(self._columns[kind]) for kind in KINDS)
        holed = 0
        if self._holed is not None:
            kind, number = self._holed
            holed = sum(counts[: KINDS.index(kind)]) + number
        return World(
            counts=counts,
            table=_tensor(np.stack(columns, 1)),
            holes=_tensor(np.stack(self._holes) if self._holes else np.zeros((0, 3, 4))),
            holed=holed,
            sun=_tensor(self.sun),
            lamp=_tensor(self.lamp),
            ambient=_tensor(self.ambient),
            sky=_tensor(self.sky),
            heights=None if self.heights is None else _tensor(self.heights),
            extent=self.extent,
        )


def _frame(
    centre: Float[np.ndarray, "3"], size: Float[np.ndarray, "3"], rotation: Rotation | None
) -> Float64[np.ndarray, "3 4"]:
    linear = (np.eye(3) if rotation is None else rotation.T) / np.asarray(size)[:, None]
    return np.concatenate([linear, -(linear @ centre)[:, None]], 1)


def _bound(kind: str, local: Float64[np.ndarray, "n 3"], size: Vector, *, is_open: bool) -> Float64[np.ndarray, " n"]:
    """Return a lower bound of the distance to a shape that fills its box, or to the walls of a room."""
    outside: Float64[np.ndarray, " n"] = (np.abs(local) - size).max(1)
    if kind == "cavity":
        return np.full(len(local), np.inf) if is_open else -outside
    if kind == "disc":
        return np.where(np.linalg.norm(local[:, :2], axis=1) < size[0], local[:, 2], np.inf)
    return outside


def _tensor(values: Float[np.ndarray, "..."]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]
