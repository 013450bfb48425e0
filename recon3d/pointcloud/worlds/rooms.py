"""Generated rooms that look like scanned ones, with labels and instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import UsageError
from recon3d.core.seeds import generator
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.worlds.room_plan import ROOM_KINDS, Plan
from recon3d.pointcloud.worlds.scanning import painted, scan, thinned, warped
from recon3d.pointcloud.worlds.solids import rotation_z


@dataclass(frozen=True, kw_only=True)
class RoomOptions:
    """How rooms are generated.

    Args:
        kind: bedroom, living, office, kitchen, bath, meeting, studio; ``any`` = a random one.
        n_points: most points of the cloud.
        n_views: views of the camera; few leave holes.
        voxel_m: one point is kept in each cell of this size.
        noise_m: amplitude of the smooth errors of the scan.
        ceiling: whether the room has one; it has no class.
        clutter: factor on the numbers of chairs and small things.
        turned: whether the walls stand at a random angle to the axes.
    """

    kind: str = "any"
    n_points: int = 60_000
    n_views: int = 22
    voxel_m: float = 0.02
    noise_m: float = 0.006
    ceiling: bool = False
    clutter: float = 1.0
    turned: bool = True

    def __post_init__(self) -> None:
        if self.kind not in (known := (*ROOM_KINDS, "any")):
            raise UsageError("no such kind of room", got=self.kind, expected=", ".join(known))
        if min(self.n_points, self.n_views) < 1:
            got = f"{self.n_points} points, {self.n_views} views"
            raise UsageError("a room needs points and views", got=got, expected="at least one of each")
        if not 0 < self.voxel_m < np.inf:
            raise UsageError("the voxels of a room have no size", got=self.voxel_m, expected="positive metres")
        for name, value in {"noise_m": self.noise_m, "clutter": self.clutter}.items():
            if not 0 <= value < np.inf:
                raise UsageError(f"{name} of a room is no amount", got=value, expected="0 or more")


def generate_room(seed: int, options: RoomOptions | None = None) -> PointCloud:
    """Return the room of a seed: the same bits for the same seed and options.

    The cloud has z up and its lowest corner near the origin, ``rgb``, ``normals`` towards the inside, ``label`` (index
    into ``ROOM_CLASSES``, -1 = none) and ``instance`` (0 = none).

    Args:
        seed: zero or positive.
        options: how it is made.

    Raises:
        UsageError: the seed is negative.
    """
    options = options or RoomOptions()
    plan_rng, scan_rng = generator(seed, "room", "plan"), generator(seed, "room", "scan")
    kind = str(plan_rng.choice(ROOM_KINDS)) if options.kind == "any" else options.kind
    plan = Plan(rng=plan_rng, kind=kind, ceiling=options.ceiling, clutter=options.clutter)
    plan.furnish()
    solids = plan.gathering.solids()
    points, normals, solid, local = scan(scan_rng, solids, _cameras(scan_rng, plan, options.n_views))
    rows = thinned(scan_rng, points, options.voxel_m)[: options.n_points]
    points, normals, solid, local = points[rows], normals[rows], solid[rows], local[rows]
    look = (solids.materials[solid], solids.colours[solid])
    rgb = painted(scan_rng, points, normals, local, look)
    points, normals = warped(scan_rng, points, normals, options.noise_m)
    turn = rotation_z(scan_rng.uniform(-np.pi, np.pi)) if options.turned else np.eye(3)
    points, normals = points @ turn.T, normals @ turn.T
    attributes = {
        "rgb": rgb,
        "normals": normals.astype(np.float32),
        "label": solids.labels[solid],
        "instance": solids.instances[solid],
    }
    return PointCloud(xyz=points - (*points.min(0)[:2], 0.0), attributes=attributes, frame="room")


def _cameras(rng: np.random.Generator, plan: Plan, count: int) -> Float64[np.ndarray, "k 5"]:
    """Return views along a path around the room: where there is room to stand, over what is low."""
    start, out = rng.uniform(0, 2 * np.pi), np.empty((count, 5))
    looks = start + 2 * np.pi * rng.permutation(count) / count + rng.normal(0, 0.2, count)
    for k in range(count):
        angle = start + 2 * np.pi * k / count + rng.normal(0, 0.2)
        away = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.05, 0.33)
        place = np.clip((0.5 + away) * plan.size, 0.35, plan.size - 0.35)
        out[k] = (*place, rng.uniform(1.3, 1.8), looks[k], rng.choice([-80, -55, -45, -30]) + rng.normal(0, 5))
    return out
