"""Where furniture stands in a generated room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from recon3d.pointcloud.worlds import fixtures, furniture
from recon3d.pointcloud.worlds.materials import FABRIC, PLAIN, TILES, WOOD
from recon3d.pointcloud.worlds.solids import Assembly, Gathering

Area = tuple[float, float, float, float]  # least and greatest x and y: x, y, x, y

# What stands at the walls of each kind of room (lowest and highest number), and size of the room in metres.
_KINDS: dict[str, tuple[tuple[float, float], dict[str, tuple[int, int]]]] = {
    "bedroom": ((2.8, 5.0), {"bed": (1, 2), "cabinet": (1, 4), "desk": (0, 1), "other": (1, 3), "sofa": (0, 1),
                             "bookshelf": (0, 1), "curtain": (0, 1)}),
    "living": ((3.5, 7.5), {"sofa": (1, 3), "cabinet": (0, 3), "bookshelf": (0, 3), "other": (2, 4), "desk": (0, 1),
                            "curtain": (0, 2)}),
    "office": ((2.8, 7.0), {"desk": (1, 5), "bookshelf": (0, 4), "cabinet": (1, 4), "other": (1, 3), "sofa": (0, 1)}),
    "kitchen": ((2.5, 5.0), {"counter": (1, 2), "refrigerator": (1, 1), "cabinet": (0, 2), "other": (1, 3)}),
    "bath": ((1.9, 3.2), {"toilet": (1, 1), "sink": (1, 2), "bathtub": (0, 1), "cabinet": (0, 1), "other": (0, 2),
                          "curtain": (0, 1)}),
    "meeting": ((3.5, 7.5), {"cabinet": (0, 2), "other": (0, 3), "bookshelf": (0, 1)}),
    "studio": ((4.5, 8.0), {"bed": (1, 1), "sofa": (1, 1), "counter": (0, 1), "refrigerator": (0, 1), "desk": (1, 1),
                            "cabinet": (1, 3), "bookshelf": (1, 2), "other": (2, 4), "toilet": (0, 1), "sink": (0, 1)}),
}  # fmt: skip
ROOM_KINDS = tuple(_KINDS)
_MAKERS: dict[str, Callable[[np.random.Generator], Assembly]] = {
    "table": furniture.table,
    "desk": furniture.desk,
    "chair": furniture.chair,
    "sofa": furniture.sofa,
    "bed": furniture.bed,
    "cabinet": furniture.cabinet,
    "bookshelf": furniture.bookshelf,
    "counter": fixtures.counter,
    "sink": fixtures.sink,
    "toilet": fixtures.toilet,
    "bathtub": fixtures.bathtub,
    "curtain": fixtures.curtain,
    "refrigerator": fixtures.refrigerator,
    "other": furniture.other,
    "picture": fixtures.picture,
    "door": fixtures.door,
    "window": fixtures.window,
}


@dataclass(eq=False, kw_only=True)
class Plan:
    """A room while it is being furnished; one corner is the origin.

    Args:
        rng: source of all choices.
        kind: one of ``ROOM_KINDS``.
        ceiling: whether there is one.
        clutter: factor on the number of small things and chairs.
    """

    rng: np.random.Generator
    kind: str
    ceiling: bool
    clutter: float
    gathering: Gathering = field(default_factory=Gathering)
    taken: list[Area] = field(default_factory=list)
    on_walls: list[tuple[int, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        low, high = _KINDS[self.kind][0]
        self.size = self.rng.uniform(low, high, 2)
        self.height = self.rng.uniform(2.4, 3.1)

    def furnish(self) -> None:
        """Place walls, openings and furniture."""
        self._shell()
        for name, least, most in (("door", 1, 2), ("window", 0, 3)):
            for _ in range(self.rng.integers(least, most + 1)):
                self._at_wall(name, opening=True)
        for name, (least, most) in _KINDS[self.kind][1].items():
            for _ in range(self.rng.integers(least, most + 1)):
                self._at_wall(name)
        for _ in range(self.rng.integers(0, 4)):
            self._at_wall("picture", opening=True)
        self._middle()
        self._floor_things()

    def _shell(self) -> None:
        rng, (wide, deep), high = self.rng, self.size, self.height
        wall, floor = furniture.piece("wall"), furniture.piece("floor")
        paint = furniture.shade(rng, str(rng.choice(["white", "white", "any"])))
        tiles = TILES if self.kind in ("bath", "kitchen") and rng.random() < 0.6 else PLAIN
        for x, y, a, b in ((wide / 2, -0.05, wide + 0.2, 0.1), (wide / 2, deep + 0.05, wide + 0.2, 0.1),
                           (-0.05, deep / 2, 0.1, deep), (wide + 0.05, deep / 2, 0.1, deep)):  # fmt: skip
            accent = furniture.shade(rng) if rng.random() < 0.12 else paint
            wall.box((x, y, high / 2), (a, b, high), material=tiles, colour=accent)
            wall.box((x, y, 0.05), (a + 0.02, b + 0.02, 0.1), colour=furniture.shade(rng, "white"))
        self._corner(wall, paint)
        look = int(rng.choice([WOOD, FABRIC, TILES, PLAIN]))
        colour = furniture.shade(rng, "wood" if look == WOOD else "any")
        floor.box((wide / 2, deep / 2, -0.05), (wide + 0.2, deep + 0.2, 0.1), material=look, colour=colour)
        if rng.random() < 0.35:
            x, y = rng.uniform(0.4, 0.6, 2) * self.size
            size = (*(rng.uniform(0.3, 0.5, 2) * self.size), 0.02)
            floor.box((x, y, 0.0), size, material=FABRIC, colour=furniture.shade(rng))
        for part in (wall, floor):
            self.gathering.place(part, (0, 0, 0), instance=True)
        if self.ceiling:
            top = Assembly(-1)
            top.box(
                (wide / 2, deep / 2, high + 0.05), (wide + 0.2, deep + 0.2, 0.1), colour=furniture.shade(rng, "white")
            )
            self.gathering.place(top, (0, 0, 0))

    def _corner(self, wall: Assembly, paint: furniture.Colour) -> None:
        """Fill a corner of the room, so that its outline is an L, or put a pillar at a wall."""
        rng = self.rng
        if rng.random() > 0.5:
            return
        size = rng.uniform(0.15, 0.4, 2) * self.size if rng.random() < 0.6 else rng.uniform(0.25, 0.6, 2)
        middle = rng.choice([0.0, 1.0], 2) * (self.size - size) + size / 2
        wall.box((*middle, self.height / 2), (*size, self.height), colour=paint)
        self.taken.append((*(middle - size / 2 - 0.02), *(middle + size / 2 + 0.02)))

    def _at_wall(self, name: str, *, opening: bool = False) -> None:
        """Place a piece with its back at a random wall, where there is room."""
        rng = self.rng
        thing = _MAKERS[name](rng)
        low, high = thing.extent()
        for _ in range(8):
            side = int(rng.integers(4))
            run = self.size[side % 2]
            half = float(max(-low[0], high[0]))
            if run < 2 * half + 0.1:
                continue
            along = rng.uniform(half + 0.03, run - half - 0.03)
            if rng.random() < 0.35 and not opening:
                along = rng.choice([half + 0.04, run - half - 0.04])
            gap = 0.0 if opening or name in ("counter", "sink", "toilet") else abs(rng.normal(0, 0.04))
            if self._fits(thing, side, along, gap, flat=opening and name != "door"):
                return

    def _fits(self, thing: Assembly, side: int, along: float, gap: float, *, flat: bool) -> bool:
        low, high = thing.extent()
        wide, deep = self.size
        yaw = (0.0, np.pi / 2, np.pi, -np.pi / 2)[side]
        x, y = ((along, gap), (wide - gap, along), (wide - along, deep - gap), (gap, deep - along))[side]
        if flat and any(s == side and along + low[0] < b and along + high[0] > a for s, a, b in self.on_walls):
            return False
        reach = 0.06 if flat else max(float(high[1]), 0.8 if float(high[2]) > 1.9 and float(high[1]) < 0.2 else 0.0)
        if not self._claim(x, y, yaw, (float(low[0]), 0.0, float(high[0]), reach)):
            return False
        self.on_walls.append((side, along + float(low[0]), along + float(high[0])))
        self.gathering.place(thing, (x, y, 0.0), yaw, instance=True)
        if thing.label == furniture.piece("desk").label:
            self._seat(x, y, yaw, float(high[1]) + self.rng.uniform(-0.1, 0.35), self.taken[-1])
        return True

    def _claim(self, x: float, y: float, yaw: float, area: Area) -> bool:
        """Return whether an area in the frame of a piece is free, and take it."""
        place = _rectangle(x, y, yaw, area)
        if not self._free(place):
            return False
        self.taken.append(place)
        return True

    def _free(self, place: Area, own: Area | None = None) -> bool:
        """Return whether a rectangle lies in the room and on nothing but ``own``."""
        a, b = np.array(place[:2]), np.array(place[2:])
        if (a < -0.02).any() or (b > self.size + 0.02).any():
            return False
        others = (r for r in self.taken if r != own)
        return not any(a[0] < r[2] and b[0] > r[0] and a[1] < r[3] and b[1] > r[1] for r in others)

    def _seat(self, x: float, y: float, yaw: float, away: float, own: Area) -> None:
        """Place a chair before a piece, which takes the area ``own``, facing it."""
        rng = self.rng
        x, y = x - np.sin(yaw) * (away + 0.45), y + np.cos(yaw) * (away + 0.45)
        turn = yaw + np.pi + rng.normal(0, 0.35)
        if 0.4 < x < self.size[0] - 0.4 and 0.4 < y < self.size[1] - 0.4:
            chair = furniture.chair(rng)
            if self._free((x - 0.25, y - 0.25, x + 0.25, y + 0.25), own):
                self.gathering.place(chair, (x, y, 0), turn, instance=True)
                self.taken.append((x - 0.35, y - 0.35, x + 0.35, y + 0.35))

    def _middle(self) -> None:
        """Place tables with chairs around them, away from the walls."""
        rng = self.rng
        chances = {"meeting": (2, 3), "kitchen": (0, 2), "living": (1, 3), "bath": (0, 1), "bedroom": (0, 2)}
        for _ in range(rng.integers(*chances.get(self.kind, (0, 3)))):
            thing = furniture.table(rng)
            low, high = thing.extent()
            for _ in range(6):
                x, y = rng.uniform(0.2, 0.8, 2) * self.size
                yaw = float(rng.choice([0, np.pi / 2]))
                if self._claim(x, y, yaw, (float(low[0]), float(low[1]), float(high[0]), float(high[1]))):
                    yaw += rng.normal(0, 0.03)
                    self.gathering.place(thing, (x, y, 0), yaw, instance=True)
                    if high[2] > 0.6:
                        self._round(x, y, yaw, low, high)
                    break

    def _round(self, x: float, y: float, yaw: float, low: np.ndarray, high: np.ndarray) -> None:
        own = self.taken[-1]
        for place in np.arange(low[0] + 0.35, high[0] - 0.2, 0.7):
            c, s = np.cos(yaw), np.sin(yaw)
            for front in (high[1] - 0.25, None):
                if self.rng.random() < 0.8 * min(self.clutter, 1.2):
                    px, py = x + c * place, y + s * place
                    if front is None:
                        self._seat(px, py, yaw + np.pi, -float(low[1]) - 0.25 + self.rng.uniform(0, 0.3), own)
                    else:
                        self._seat(px, py, yaw, float(front) + self.rng.uniform(0, 0.3), own)

    def _floor_things(self) -> None:
        """Scatter chairs and things of no class."""
        rng = self.rng
        for _ in range(rng.poisson(3 * self.clutter)):
            name = str(rng.choice(["chair", "other", "box", "box"]))
            if name == "box":
                thing = Assembly(-1)
                size = rng.uniform(0.12, 0.5, 3)
                thing.box((0, size[1] / 2, size[2] / 2), size, colour=furniture.shade(rng))
            else:
                thing = _MAKERS[name](rng)
            low, high = thing.extent()
            x, y = rng.uniform(0.1, 0.9, 2) * self.size
            area = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            if self._claim(x, y, 0.0, area):
                yaw = self._turned(x, y, rng.uniform(0, 2 * np.pi), area)
                self.gathering.place(thing, (x, y, 0), yaw, instance=name != "box")

    def _turned(self, x: float, y: float, yaw: float, area: Area) -> float:
        """Return the angle where the piece that was just placed at angle 0 can have it, else 0."""
        place = _rectangle(x, y, yaw, area)
        if not self._free(place, self.taken[-1]):
            return 0.0
        self.taken[-1] = place
        return yaw


def _rectangle(x: float, y: float, yaw: float, area: Area) -> Area:
    """Return the rectangle along the walls that holds an area in the frame of a piece."""
    c, s = np.cos(yaw), np.sin(yaw)
    corners = [(x + c * u - s * v, y + s * u + c * v) for u in area[::2] for v in area[1::2]]
    a, b = np.min(corners, axis=0), np.max(corners, axis=0)
    return float(a[0]), float(a[1]), float(b[0]), float(b[1])
