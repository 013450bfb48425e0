"""Convex solids in closed form: the parts from which generated worlds are put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

# Two or three coordinates, or points of two: whatever numpy makes an array of.
Numbers = Any

HULL, ELLIPSOID, CYLINDER = 0, 1, 2


@dataclass(frozen=True, eq=False, kw_only=True)
class Solids:
    """Placed solids as plain arrays, the form in which kernels read them.

    Args:
        numbers: centre (3), rotation whose rows are the own axes (9), half sizes (3), density; metres.
        codes: kind, first plane, number of planes.
        planes: outward normal and offset of the planes of all hulls, in the own axes.
        labels: class of every solid.
        instances: number of the object that it belongs to, 0 = none.
        materials: index of its material.
        colours: red, green, blue or albedo in all three, in [0,1].
    """

    numbers: Float64[np.ndarray, "n 16"]
    codes: Int64[np.ndarray, "n 3"]
    planes: Float64[np.ndarray, "m 4"]
    labels: Int64[np.ndarray, " n"]
    instances: Int64[np.ndarray, " n"]
    materials: Int64[np.ndarray, " n"]
    colours: Float64[np.ndarray, "n 3"]

    def __len__(self) -> int:
        """Return the number of solids."""
        return len(self.codes)

    def moved(self, offset: Float64[np.ndarray, "3"]) -> Solids:
        """Return the solids shifted by ``offset`` metres.

        Args:
            offset: added to every centre.
        """
        numbers = self.numbers.copy()
        numbers[:, :3] += offset
        return Solids(**{**self.__dict__, "numbers": numbers})


def rotation_z(yaw: float) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation by ``yaw`` radians about the vertical.

    Args:
        yaw: counter-clockwise seen from above.
    """
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_y(pitch: float) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation by ``pitch`` radians about the second axis, from z towards x.

    Args:
        pitch: the angle.
    """
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


class Assembly:
    """One object in its own frame: x forward, y left, z up, the ground at z = 0; parts of it in metres."""

    def __init__(self, label: int = 0) -> None:
        self.label = label
        self.rows: list[list[float]] = []
        self.kinds: list[int] = []
        self.hulls: list[np.ndarray | None] = []
        self.looks: list[tuple[int, int, tuple[float, float, float]]] = []
        self.aside: list[bool] = []

    def box(self, centre: Numbers, size: Numbers, *, yaw: float = 0.0, pitch: float = 0.0, **look: Any) -> None:
        """Add a box.

        Args:
            centre: its middle.
            size: its full sizes.
            yaw: about the vertical.
            pitch: before it, about the second axis.
            look: see :meth:`_add`.
        """
        half = np.asarray(size, np.float64) / 2
        planes = np.zeros((6, 4))
        planes[[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]] = [1, -1, 1, -1, 1, -1]
        planes[:, 3] = np.repeat(half, 2)
        self._add(HULL, centre, rotation_z(yaw) @ rotation_y(pitch), half, planes, **look)

    def ellipsoid(self, centre: Numbers, half: Numbers, *, yaw: float = 0.0, pitch: float = 0.0, **look: Any) -> None:
        """Add an ellipsoid.

        Args:
            centre: its middle.
            half: its half axes.
            yaw: about the vertical.
            pitch: before it, about the second axis.
            look: see :meth:`_add`.
        """
        self._add(ELLIPSOID, centre, rotation_z(yaw) @ rotation_y(pitch), half, None, **look)

    def rod(self, start: Numbers, end: Numbers, radius: float, **look: Any) -> None:
        """Add a cylinder between two points.

        Args:
            start: middle of one cap.
            end: middle of the other cap.
            radius: of the cylinder.
            look: see :meth:`_add`.
        """
        a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
        axis = b - a
        length = float(np.linalg.norm(axis))
        z = axis / length
        x = np.array([z[2], 0.0, -z[0]]) if abs(z[1]) < 0.9 else np.array([0.0, -z[2], z[1]])
        x /= np.linalg.norm(x)
        y = (z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0])
        frame = np.array([x, y, z]).T
        self._add(CYLINDER, (a + b) / 2, frame, (radius, radius, length / 2), None, **look)

    def profile(self, outline: Numbers, width: float, *, lean: float = 0.0, chamfer: float = 0.0, **look: Any) -> None:
        """Add a convex hull drawn from the side, as the body of a car is.

        Args:
            outline: points (x, z) whose convex hull is the outline.
            width: full width at the lowest point.
            lean: tangent by which both sides lean inwards with height; negative = outwards.
            chamfer: how much the four upright edges are cut.
            look: see :meth:`_add`.
        """
        points = convex_outline(np.asarray(outline, np.float64))
        low, high = points.min(0), points.max(0)
        middle, half = (low + high) / 2, (high - low) / 2
        edges = np.roll(points, -1, axis=0) - points
        normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / np.linalg.norm(edges, axis=1)[:, None]
        planes = [[n[0], 0.0, n[1], float(n @ (p - middle))] for n, p in zip(normals, points, strict=True)]
        scale = float(np.hypot(1.0, lean))
        for side in (-1.0, 1.0):
            planes.append([0.0, side / scale, lean / scale, (width / 2 - lean * half[1]) / scale])
        if chamfer > 0:
            reach = (half[0] + width / 2 - chamfer) / np.sqrt(2)
            planes += [[i / np.sqrt(2), j / np.sqrt(2), 0.0, reach] for i in (-1, 1) for j in (-1, 1)]
        centre, widest = (middle[0], 0.0, middle[1]), width / 2 + max(-2 * lean * half[1], 0.0)
        self._add(HULL, centre, np.eye(3), (half[0], widest, half[1]), np.array(planes), **look)

    def _add(
        self,
        kind: int,
        centre: Numbers,
        frame: np.ndarray,
        half: Numbers,
        planes: np.ndarray | None,
        *,
        material: int = 0,
        label: int | None = None,
        density: float = 0.0,
        colour: float | tuple[float, float, float] = 0.5,
        aside: bool = False,
    ) -> None:
        """Keep one part.

        Args:
            kind: of the solid.
            centre: its middle.
            frame: its axes as columns.
            half: its half sizes.
            planes: of a hull.
            material: index of its material.
            label: where it is not that of the object.
            density: hits per metre of a porous solid; 0 = opaque.
            colour: red, green, blue, or one albedo, in [0,1].
            aside: not part of the box of the object, as a mirror.
        """
        self.rows.append([*np.asarray(centre, np.float64), *frame.T.ravel(), *np.asarray(half, np.float64), density])
        self.kinds.append(kind)
        self.hulls.append(planes)
        tint = colour if isinstance(colour, tuple) else (colour, colour, colour)
        self.looks.append((self.label if label is None else label, material, tint))
        self.aside.append(aside)

    def add(self, other: Assembly, offset: Numbers = (0.0, 0.0, 0.0), yaw: float = 0.0) -> None:
        """Add the parts of another object.

        Args:
            other: the object.
            offset: of its origin in this frame.
            yaw: of its axes in this frame.
        """
        for row in other.rows:
            self.rows.append(_placed(np.array([row]), np.asarray(offset, np.float64), yaw)[0].tolist())
        self.kinds += other.kinds
        self.hulls += other.hulls
        self.looks += other.looks
        self.aside += other.aside

    def extent(self) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
        """Return the lowest and the highest corner of the object in its own frame, without what stands aside."""
        rows = np.array(self.rows)[~np.array(self.aside)]
        kinds = np.array(self.kinds)[~np.array(self.aside)]
        frames, half = rows[:, 3:12].reshape(-1, 3, 3), rows[:, 12:15]
        reach = np.abs(frames * half[:, :, None]).sum(1)
        round_reach = np.sqrt(((frames * half[:, :, None]) ** 2).sum(1))
        caps = np.sqrt(((frames * half[:, :, None])[:, :2] ** 2).sum(1)) + np.abs(frames[:, 2] * half[:, 2:])
        reach = np.where((kinds == ELLIPSOID)[:, None], round_reach, reach)
        reach = np.where((kinds == CYLINDER)[:, None], caps, reach)
        return (rows[:, :3] - reach).min(0), (rows[:, :3] + reach).max(0)


def _placed(rows: np.ndarray, offset: np.ndarray, yaw: float) -> np.ndarray:
    turn = rotation_z(yaw)
    placed = rows.copy()
    placed[:, :3] = rows[:, :3] @ turn.T + offset
    placed[:, 3:12] = (rows[:, 3:12].reshape(-1, 3, 3) @ turn.T).reshape(-1, 9)
    return placed


def convex_outline(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "m 2"]:
    """Return the convex hull of points in the plane, counter-clockwise (Andrew's monotone chain).

    Args:
        points: any points that are not all on one line.
    """
    ordered = sorted({(float(x), float(y)) for x, y in points})

    def chain(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        found: list[tuple[float, float]] = []
        for p in sequence:
            while len(found) > 1 and _turn(found[-2], found[-1], p) <= 1e-12:
                found.pop()
            found.append(p)
        return found[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


class Gathering:
    """Objects placed in the world, until they become :class:`Solids`."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._kinds: list[int] = []
        self._hulls: list[np.ndarray | None] = []
        self._looks: list[tuple[int, int, tuple[float, float, float]]] = []
        self._instances: list[int] = []
        self.n_instances = 0

    def place(self, thing: Assembly, offset: Numbers, yaw: float = 0.0, *, instance: bool = False) -> int:
        """Place an object and return its instance number, 0 where it is none.

        Args:
            thing: the object.
            offset: of its origin in the world.
            yaw: of its axes in the world.
            instance: whether it gets a number of its own.
        """
        if not thing.rows:
            return 0
        self.n_instances += int(instance)
        number = self.n_instances if instance else 0
        self._rows.append(_placed(np.array(thing.rows), np.asarray(offset, np.float64), yaw))
        self._kinds += thing.kinds
        self._hulls += thing.hulls
        self._looks += thing.looks
        self._instances += [number] * len(thing.kinds)
        return number

    def solids(self) -> Solids:
        """Return what was placed."""
        counts = np.array([0 if h is None else len(h) for h in self._hulls], np.int64)
        firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64) if len(counts) else counts
        hulls = [h for h in self._hulls if h is not None]
        return Solids(
            numbers=np.concatenate([np.zeros((0, 16)), *self._rows]),
            codes=np.stack([np.array(self._kinds, np.int64), firsts, counts], 1).reshape(-1, 3),
            planes=np.concatenate([np.zeros((0, 4)), *hulls]),
            labels=np.array([look[0] for look in self._looks], np.int64),
            instances=np.array(self._instances, np.int64),
            materials=np.array([look[1] for look in self._looks], np.int64),
            colours=np.array([look[2] for look in self._looks], np.float64).reshape(-1, 3),
        )
