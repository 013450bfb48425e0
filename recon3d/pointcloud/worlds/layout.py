"""Where things stand in a generated street."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from recon3d.pointcloud.worlds import people, roadside, vehicles
from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.manners import Manner
from recon3d.pointcloud.worlds.solids import Assembly, Gathering


@dataclass(eq=False, kw_only=True)
class Furnishing:
    """A street while it is being furnished.

    Args:
        rng: source of all choices.
        ground: where it stands.
        manner: how it looks.
        parked: whether cars are parked on the left and on the right.
        density: factor on the numbers of targets.
        length: how far it is furnished both ways, metres.
    """

    rng: np.random.Generator
    ground: Ground
    manner: Manner
    parked: tuple[bool, bool]
    density: float
    length: float = 85.0
    gathering: Gathering = field(default_factory=Gathering)
    targets: list[tuple[int, int, list[float]]] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=lambda: [(0.0, 0.0, 2.6)])

    def furnish(self) -> None:
        """Place everything."""
        for side in (1, -1):
            self._buildings(side)
            self._greens(side)
            self._posts(side)
            self._parking(side)
        self._lanes()
        self._walkers()
        self._riders()
        self._things()
        self._background()

    def edge(self, side: int) -> float:
        """Return the distance from the middle of the road to the back of the walk.

        Args:
            side: 1 = left, -1 = right.
        """
        ground = self.ground
        beside = ground.verge_left + ground.walk_left if side > 0 else ground.verge_right + ground.walk_right
        return ground.half_width + beside

    def put(
        self, thing: Assembly, along: float, left: float, yaw: float = 0.0, *, target: int = -1, reach: float = 0.0
    ) -> bool:
        """Place a thing on the ground and return whether there was room.

        Args:
            thing: in its own frame.
            along: along the road.
            left: left of its middle.
            yaw: relative to the road.
            target: index of its box class, -1 = none.
            reach: radius that must be free; 0 = it may stand anywhere.
        """
        x, y, heading = self.ground.place(along, left)
        if reach > 0 and not self._free(x, y, reach):
            return False
        z = float(self.ground.height(np.array([[x, y]]))[0])
        number = self.gathering.place(thing, (x, y, z), heading + yaw, instance=reach > 0 or target >= 0)
        if target >= 0:
            self.targets.append((number, target, _box(thing, x, y, z, heading + yaw)))
        return True

    def _free(self, x: float, y: float, reach: float) -> bool:
        others = np.array(self.taken)
        if (np.hypot(others[:, 0] - x, others[:, 1] - y) < others[:, 2] + reach).any():
            return False
        self.taken.append((x, y, reach))
        return True

    def _crossed(self, along: float, margin: float) -> bool:
        return bool(abs(along - self.ground.crossing) < self.ground.crossing_half_width + margin)

    def _buildings(self, side: int) -> None:
        rng, manner = self.rng, self.manner
        setback = rng.uniform(*manner.setback)
        along = -self.length + rng.uniform(0, 10)
        while along < self.length:
            city = rng.random() < manner.blocks
            width = rng.uniform(8, 28) if city else rng.uniform(7, 14)
            middle = along + width / 2
            line = self.edge(side) + setback + rng.uniform(0, 1.5) * (not city)
            if rng.random() < manner.built and not self._crossed(middle, width / 2 + 2):
                maker = roadside.block if city else roadside.house
                thing = maker(rng, width, rng.uniform(8, 15))
                self.put(thing, middle, side * line, 0.0 if side > 0 else np.pi)
            if setback > 1.5 and rng.random() < manner.fences:
                self._fence(side, along - 1, along + width + 1, self.edge(side) + min(0.4, setback / 2))
            along += width + rng.uniform(*manner.gap)

    def _fence(self, side: int, start: float, end: float, line: float) -> None:
        rng = self.rng
        kind, height = int(rng.choice(5, p=[0.2, 0.25, 0.15, 0.15, 0.25])), rng.uniform(0.7, 1.9)
        gate = rng.uniform(start, end)
        for along in np.arange(start, end, 2.4):
            if abs(along - gate) > 1.6 and not self._crossed(along, 2):
                self.put(roadside.fence(rng, 2.4, kind, height), along, side * line)

    def _greens(self, side: int) -> None:
        rng, edge = self.rng, self.edge(side)
        if rng.random() < 0.5 - 0.35 * self.manner.built:
            self._thicket(side)
        regular = rng.random() < 0.4
        if regular:
            away = self.ground.half_width + rng.uniform(0.5, 1.2)
            for along in np.arange(-self.length, self.length, rng.uniform(7, 14)):
                self._tree(along + rng.normal(0, 0.3), side * away)
        for _ in range(rng.poisson(self.manner.trees * self.length / 50)):
            self._tree(rng.uniform(-self.length, self.length), side * (edge + 0.8 + rng.exponential(9)))
        for _ in range(rng.poisson(1.4 * self.manner.trees * self.length / 50)):
            along, left = rng.uniform(-self.length, self.length), side * (edge + 0.6 + rng.exponential(5))
            if not self._crossed(along, 1.5):
                self.put(roadside.bush(rng), along, left, rng.uniform(0, 6))
        if self.manner.built < 0.5 and rng.random() < 0.4:
            for along in np.arange(-self.length, self.length, 3.0):
                self.put(roadside.fence(rng, 3.0, 5, 0.8), along, side * (self.ground.half_width + 0.4))

    def _thicket(self, side: int) -> None:
        """Line a stretch of the street with bushes as high as trees."""
        rng, line = self.rng, self.edge(side) + self.rng.uniform(1.5, 5.0)
        start = rng.uniform(-self.length, 10)
        for along in np.arange(start, start + rng.uniform(20, 90), 1.6):
            if not self._crossed(along, 2.5):
                away = side * (line + rng.exponential(1.5))
                self.put(roadside.bush(rng, rng.uniform(1.2, 2.6)), along, away, rng.uniform(0, 6))

    def _tree(self, along: float, left: float) -> None:
        if not self._crossed(along, 1.5):
            self.put(roadside.tree(self.rng), along, left, self.rng.uniform(0, 6), reach=0.4)

    def _posts(self, side: int) -> None:
        rng, away = self.rng, self.ground.half_width + 0.4
        for along in np.arange(-self.length, self.length, rng.uniform(18, 40)):
            if not self._crossed(along, 1):
                yaw = (-np.pi / 2) * side + rng.normal(0, 0.05)
                self.put(roadside.lamp_post(rng), along, side * away, yaw, reach=0.2)
        for _ in range(rng.poisson(5)):
            yaw = (np.pi if side > 0 else 0.0) + rng.normal(0, 0.2)
            if not self._crossed(along := rng.uniform(-50, 60), 0.5):
                self.put(roadside.traffic_sign(rng), along, side * (away + rng.uniform(0, 0.5)), yaw, reach=0.3)
        if abs(self.ground.crossing) < 100 and rng.random() < 0.6:
            along = self.ground.crossing - side * (self.ground.crossing_half_width + 0.8) * -1
            self.put(roadside.traffic_light(rng), along, side * (away + 0.3), np.pi if side > 0 else 0.0, reach=0.3)

    def _parking(self, side: int) -> None:
        rng = self.rng
        if self.parked[0 if side > 0 else 1]:
            line, share = self.ground.half_width - rng.uniform(0.95, 1.15), self.manner.parking[1]
            along = -60 + rng.uniform(0, 6)
            while along < 75:
                pitch = rng.uniform(5.2, 6.3)
                if rng.random() < share and not self._crossed(along, 6):
                    self._car(along, side * (line + rng.normal(0, 0.08)), self._way(side) + rng.normal(0, 0.025))
                along += pitch
        elif rng.random() < 0.3:
            away, start = self.edge(side) + rng.uniform(3.0, 5.0), rng.uniform(-30, 30)
            for along in np.arange(start, start + rng.uniform(8, 40), rng.uniform(2.5, 3.0)):
                if rng.random() < 0.75:
                    self._car(along, side * away, side * np.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.04))
        for _ in range(rng.poisson(1.5 * self.density)):
            away = side * (self.edge(side) + rng.uniform(2.0, 7.0))
            self._car(rng.uniform(-40, 50), away, rng.uniform(-np.pi, np.pi))

    def _way(self, side: int) -> float:
        against = self.rng.random() < 0.12
        return np.pi if (side > 0) != against else 0.0

    def _car(self, along: float, left: float, yaw: float) -> None:
        """Place a car, seldom another vehicle; two circles keep its place."""
        rng, kind = self.rng, self.rng.random()
        if kind < 0.93:
            self._vehicle(vehicles.car(rng), along, left, yaw, 0)
        else:
            self._vehicle(vehicles.truck(rng) if kind < 0.965 else vehicles.other_vehicle(rng), along, left, yaw, -1)

    def _vehicle(self, thing: Assembly, along: float, left: float, yaw: float, target: int) -> None:
        low, high = thing.extent()
        radius = 0.5 * float(high[1] - low[1]) + 0.1
        reach = max(float(high[0]) - radius, 0.0)
        x, y, heading = self.ground.place(along, left)
        c, s = np.cos(heading + yaw), np.sin(heading + yaw)
        places = [(x + c * t, y + s * t) for t in np.linspace(-reach, reach, 3 if reach < 3 else 6)]
        before = list(self.taken)
        others = np.array(before)
        for px, py in places:
            if (np.hypot(others[:, 0] - px, others[:, 1] - py) < others[:, 2] + radius).any():
                return
        self.put(thing, along, left, yaw, target=target, reach=radius)
        self.taken += [(px, py, radius) for px, py in places]

    def _lanes(self) -> None:
        rng, free = self.rng, self.ground.half_width
        for side in (1, -1):
            inner = free - (2.1 if self.parked[0 if side > 0 else 1] else 0.0)
            lanes = max(int(inner // 3.0), 1)
            for lane in range(lanes):
                self._lane(side, side * inner * (lane + 0.5) / lanes)
        if abs(self.ground.crossing) < 100:
            for side in (1, -1):
                left = rng.uniform(8, 30)
                while left < 60:
                    along = self.ground.crossing + side * self.ground.crossing_half_width * 0.5
                    self._car(along, rng.choice([-1, 1]) * left, side * np.pi / 2 + rng.normal(0, 0.03))
                    left += rng.uniform(8, 50)

    def _lane(self, side: int, left: float) -> None:
        rng, gap = self.rng, self.manner.traffic / max(self.density, 1e-3)
        along = -70 + rng.exponential(gap)
        while along < 90:
            yaw = (np.pi if side > 0 else 0.0) + rng.normal(0, 0.03)
            self._car(along, left + rng.normal(0, 0.25), yaw)
            along += 6 + rng.exponential(gap)

    def _walkers(self) -> None:
        rng = self.rng
        for _ in range(rng.poisson(self.manner.walkers * self.density)):
            side, along = int(rng.choice([-1, 1])), rng.normal(8, 18)
            left = side * rng.uniform(self.ground.half_width + 0.3, self.edge(side) + 1.2)
            yaw = rng.choice([0.0, np.pi]) + rng.normal(0, 0.3)
            if rng.random() < 0.15:
                left, yaw = (
                    rng.uniform(-1, 1) * self.ground.half_width,
                    rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.3),
                )
            for _ in range(rng.choice([1, 2, 3], p=[0.65, 0.27, 0.08])):
                thing = people.pedestrian(rng)
                self.put(thing, along, left, yaw + rng.normal(0, 0.2), target=1, reach=0.28)
                along, left = along + rng.normal(0, 0.6), left + rng.choice([-1, 1]) * rng.uniform(0.55, 0.8)

    def _riders(self) -> None:
        rng = self.rng
        for _ in range(rng.poisson(self.manner.riders * self.density)):
            side = int(rng.choice([-1, 1]))
            inner = self.ground.half_width - (2.3 if self.parked[0 if side > 0 else 1] else 0.0)
            left = side * rng.uniform(0.6 * inner, inner + (0 if rng.random() < 0.6 else 3.5))
            yaw = self._way(side) + rng.normal(0, 0.15)
            self.put(people.cyclist(rng), rng.normal(8, 18), left, yaw, target=2, reach=0.75)

    def _things(self) -> None:
        rng = self.rng
        for _ in range(rng.poisson(self.manner.things)):
            side = int(rng.choice([-1, 1]))
            near, far = self.ground.half_width + 0.3, self.edge(side) + 0.5
            left = side * rng.choice([rng.uniform(near, far), near, far, far + rng.exponential(4)])
            thing = people.bicycle(rng) if rng.random() < 0.12 else roadside.clutter(rng)
            self.put(thing, rng.normal(5, 22), left, rng.choice([0, np.pi / 2]) + rng.normal(0, 0.2), reach=0.4)

    def _background(self) -> None:
        rng = self.rng
        for _ in range(rng.poisson(14)):
            side, along = int(rng.choice([-1, 1])), rng.uniform(-self.length, self.length)
            width = rng.uniform(8, 30)
            maker: Callable[..., Assembly] = roadside.block if rng.random() < self.manner.blocks else roadside.house
            thing = maker(rng, width, rng.uniform(8, 18))
            if not self._crossed(along, width):
                left = side * (self.edge(side) + rng.uniform(28, 60))
                self.put(thing, along, left, (0.0 if side > 0 else np.pi) + rng.choice([0.0, 1.57, 0.3]))


def _box(thing: Assembly, x: float, y: float, z: float, yaw: float) -> list[float]:
    low, high = thing.extent()
    middle, size = (low + high) / 2, high - low
    c, s = np.cos(yaw), np.sin(yaw)
    turned = float(np.mod(yaw + np.pi, 2 * np.pi) - np.pi)
    place = [x + c * middle[0] - s * middle[1], y + s * middle[0] + c * middle[1], z + middle[2]]
    return [*(float(v) for v in (*place, *size)), turned]
