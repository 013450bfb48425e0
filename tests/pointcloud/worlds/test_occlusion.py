"""Nothing stands before a hit: whole scenes against the oracle that looks at every solid."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.seeds import generator
from recon3d.pointcloud.worlds import people, roadside, vehicles
from recon3d.pointcloud.worlds.casting import Hits, RayGrid, cast
from recon3d.pointcloud.worlds.layout import Furnishing
from recon3d.pointcloud.worlds.lidar import ray_grid
from recon3d.pointcloud.worlds.manners import MANNERS, draw_ground
from recon3d.pointcloud.worlds.room_plan import Plan
from recon3d.pointcloud.worlds.solids import Assembly, Gathering, Solids
from tests.support.world_oracle import first_hits, inside, placed, rays, sensor, spans


def only(solids: Solids, rows: np.ndarray) -> Solids:
    """Some of the solids; the planes stay."""
    parts = {name: getattr(solids, name)[rows] for name in Solids.__dataclass_fields__ if name != "planes"}
    return Solids(planes=solids.planes, **parts)


def opaque(solids: Solids) -> Solids:
    return only(solids, np.flatnonzero(solids.numbers[:, 15] == 0))


@cache
def furnished(seed: int, manner: str) -> Furnishing:
    rng = generator(seed, "test", manner)
    ground, parked = draw_ground(rng, MANNERS[manner], 1.8)
    street = Furnishing(rng=rng, ground=ground, manner=MANNERS[manner], parked=parked, density=1.0)
    street.furnish()
    return street


def assert_first(hits: Hits, grid: RayGrid, solids: Solids) -> None:
    depth, which = first_hits(solids, grid.directions.reshape(-1, 3))
    found = hits.depth.ravel()
    clear = np.isfinite(depth)
    grazing = np.isfinite(found) != clear  # an edge that rounding decides
    assert grazing.mean() < 1e-3
    both = clear & ~grazing
    near = np.isclose(found[both], depth[both], rtol=1e-6, atol=1e-6)
    assert near.mean() > 0.999
    assert (found[both][~near] >= depth[both][~near] - 1e-6).all()
    assert (hits.solid.ravel()[both] == which[both]).mean() > 0.99  # equal surfaces may belong to either


@pytest.mark.parametrize("manner", list(MANNERS))
def test_in_a_street_each_ray_ends_at_the_nearest_solid(manner: str) -> None:
    solids, grid = opaque(furnished(3, manner).gathering.solids()), rays(12, 9.0)
    assert len(solids) > 100
    assert_first(cast(grid, solids), grid, solids)


@pytest.mark.parametrize("kind", ["bedroom", "kitchen", "bath", "studio"])
def test_in_a_room_each_ray_ends_at_the_nearest_solid(kind: str) -> None:
    plan = Plan(rng=generator(5, "test", kind), kind=kind, ceiling=True, clutter=1.0)
    plan.furnish()
    middle = np.array([*plan.size / 2, 1.5])
    solids, grid = opaque(plan.gathering.solids().moved(-middle)), rays(20, 7.0)
    hits = cast(grid, solids)
    assert (hits.solid >= 0).mean() > 0.99  # a closed room
    assert_first(hits, grid, solids)


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_a_further_solid_never_moves_a_hit_away(seed: int) -> None:
    rng, gathering = np.random.default_rng(seed), Gathering()
    for _ in range(8):
        thing = Assembly(1)
        thing.box((0, 0, 0), rng.uniform(0.3, 3, 3), yaw=rng.uniform(0, 3))
        angle = rng.uniform(0, 6.3)
        gathering.place(thing, (7 * np.cos(angle), 7 * np.sin(angle), rng.normal()), 0.0)
    solids, grid = gathering.solids(), rays(16, 6.0)
    all_of_them, fewer = cast(grid, solids), cast(grid, only(solids, np.arange(7)))
    assert (all_of_them.depth <= fewer.depth).all()
    changed = all_of_them.depth < fewer.depth
    assert (all_of_them.solid[changed] == 7).all()
    assert np.array_equal(all_of_them.solid[~changed], fewer.solid[~changed])


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_the_order_of_the_solids_changes_no_depth(seed: int) -> None:
    solids, grid = opaque(furnished(3, "suburb").gathering.solids()), rays(8, 12.0)
    mixed = np.random.default_rng(seed).permutation(len(solids))
    one, other = cast(grid, solids), cast(grid, only(solids, mixed))
    assert np.array_equal(one.depth, other.depth)


def test_hits_lie_on_the_skin_of_their_solid() -> None:
    solids, grid = opaque(furnished(3, "residential").gathering.solids()), rays(12, 6.0)
    hits = cast(grid, solids)
    rows, columns = np.nonzero(hits.solid >= 0)
    for row, column in list(zip(rows, columns, strict=True))[::23]:
        k, direction = hits.solid[row, column], grid.directions[row, column]
        at = hits.depth[row, column] * direction
        assert inside(solids, k, at[None] + 1e-6 * direction, 1e-6).all()
        assert not inside(solids, k, at[None] - 1e-3 * direction).all()


def test_what_is_nearer_than_the_ground_is_seen_and_what_is_farther_is_not() -> None:
    near, far = Assembly(1), Assembly(2)
    near.box((6, 0, 0), (1, 3, 3))
    far.box((12, 0, 0), (1, 30, 3))
    gathering = Gathering()
    gathering.place(near, (0, 0, 0))
    gathering.place(far, (0, 0, 0))
    grid = rays(21, 2.0, 60.0)
    ground = np.full(grid.directions.shape[:2], 9.0)
    hits = cast(grid, gathering.solids(), ground=ground)
    assert set(np.unique(hits.solid)) == {-2, 0}
    assert (hits.depth[hits.solid == -2] == 9.0).all() and (hits.depth[hits.solid == 0] < 9.0).all()


def test_the_shadow_of_a_pole_lies_straight_behind_it() -> None:
    pole, wall = Assembly(1), Assembly(2)
    pole.rod((5, 1, -9), (5, 1, 9), 0.3)
    wall.box((20, 0, 0), (1, 80, 80))
    gathering = Gathering()
    gathering.place(wall, (0, 0, 0))
    gathering.place(pole, (0, 0, 0))
    grid = rays(5, 0.5, 80.0)
    hits = cast(grid, gathering.solids())
    azimuth = np.arctan2(grid.directions[..., 1], grid.directions[..., 0])
    away = np.abs(5 * np.sin(azimuth) - np.cos(azimuth))  # of the axis of the pole from the ray, seen from above
    assert np.array_equal(hits.solid == 1, away < 0.3)
    assert (hits.solid[away > 0.3] == 0).all()


@pytest.mark.parametrize("density", [0.2, 1.0, 5.0])
def test_a_porous_solid_dims_what_lies_behind_it_by_its_density(density: float) -> None:
    hedge, wall = Assembly(1), Assembly(2)
    hedge.box((5, 0, 0), (1, 80, 80), density=density)
    wall.box((9, 0, 0), (1, 80, 80))
    gathering = Gathering()
    gathering.place(hedge, (0, 0, 0))
    gathering.place(wall, (0, 0, 0))
    grid = rays(60, 0.5, 40.0)
    through = cast(grid, gathering.solids(), seed=1).solid == 1
    expected = np.exp(-density / grid.directions[..., 0])
    assert abs(through.mean() - expected.mean()) < 0.02


def test_inside_a_porous_solid_hits_lie_between_its_faces() -> None:
    hedge = Assembly(1)
    hedge.ellipsoid((0, 0, 0), (2, 3, 1.5), density=1.0)
    solids, grid = placed(hedge, (7, 0, 0), 0.4), rays(60, 1.0, 80.0)
    hits = cast(grid, solids, seed=5)
    seen = hits.solid.ravel() == 0
    low, high = spans(solids, 0, grid.directions.reshape(-1, 3)[seen])
    depth = hits.depth.ravel()[seen]
    assert seen.sum() > 500 and (depth >= low).all() and (depth <= high).all()
    assert ((depth - low) / (high - low) > 0.5).mean() > 0.1  # some of them deep


def test_the_same_seed_ends_rays_in_leaves_at_the_same_places() -> None:
    crown = Assembly(1)
    crown.ellipsoid((0, 0, 0), (2, 2, 2), density=0.7)
    solids, grid = placed(crown, (6, 0, 0)), rays(20, 2.0)
    one, again, other = (cast(grid, solids, seed=seed) for seed in (4, 4, 5))
    assert one.depth.tobytes() == again.depth.tobytes() and np.array_equal(one.solid, again.solid)
    assert not np.array_equal(one.depth, other.depth)


MAKERS = [vehicles.car, vehicles.truck, vehicles.other_vehicle, people.pedestrian, people.cyclist]
MAKERS += [roadside.tree, roadside.bush, roadside.lamp_post, roadside.traffic_sign, roadside.clutter]


@pytest.mark.parametrize("maker", MAKERS)
def test_objects_are_hit_where_they_are(maker) -> None:  # type: ignore[no-untyped-def]
    """Every hit lies in the extent of the object; mirrors and bags stand aside by at most a metre and a half."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        thing = maker(rng)
        offset = np.array([14.0, 2.0, -1.5])
        solids, grid = placed(thing, tuple(offset), 0.0), rays(60, 0.5, 120.0)
        hits = cast(grid, solids, seed=2)
        seen = hits.solid >= 0
        at = hits.depth[seen, None] * grid.directions[seen] - offset
        low, high = thing.extent()
        assert (at > low - 1.5).all() and (at < high + 1.5).all()
        aside = np.array(thing.aside)[hits.solid[seen]]
        assert (at[~aside] > low - 1e-6).all() and (at[~aside] < high + 1e-6).all()


def test_a_car_at_ten_metres_is_seen_and_one_behind_a_wall_is_not() -> None:
    rng, grid = np.random.default_rng(1), ray_grid(np.random.default_rng(0), sensor(60, 0.5), 360)
    car, wall, hidden = vehicles.car(rng), Assembly(4), Gathering()
    wall.box((6, 0, 0), (0.3, 20, 8))
    hidden.place(car, (10, 0, -1.7), 0.5, instance=True)
    assert (cast(grid, hidden.solids()).solid >= 0).sum() > 200
    hidden.place(wall, (0, 0, 0))
    solids = hidden.solids()
    assert (solids.labels[np.maximum(cast(grid, solids).solid, 0)][cast(grid, solids).solid >= 0] == 4).all()


def test_a_grid_over_a_sector_sees_what_a_full_turn_sees_there() -> None:
    solids = opaque(furnished(3, "city").gathering.solids())
    rng = np.random.default_rng(0)
    part = ray_grid(rng, sensor(8, 3.0), 90.0)
    hits = cast(part, solids)
    depth, _ = first_hits(solids, part.directions.reshape(-1, 3))
    same = np.isclose(hits.depth.ravel(), depth) | (np.isinf(hits.depth.ravel()) & np.isinf(depth))
    assert same.mean() > 0.999


def test_solids_over_and_under_the_sensor_are_seen_by_steep_rays_only() -> None:
    over, grid = Assembly(1), rays(31, 6.0)
    over.box((0, 0, 6), (2, 2, 1))
    assert (cast(grid, placed(over, (0, 0, 0))).solid == -1).all()  # 30 degrees are too flat
    wide = Assembly(1)
    wide.box((0, 0, 3), (20, 20, 1))
    hits = cast(grid, placed(wide, (0, 0, 0)))
    assert np.array_equal((hits.solid == 0).any(1), grid.slopes > 2.5 / np.hypot(10, 10))
    assert np.allclose(hits.normals[hits.solid == 0][:, 2].min(), -1)
