"""Vehicles and people, part by part: sizes of the kinds, symmetry, wheels on the ground, and classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from recon3d.pointcloud.worlds import people, vehicles
from recon3d.pointcloud.worlds.materials import (
    BICYCLIST,
    CABIN,
    CAR,
    CLOTH,
    CLUTTER,
    GLASS,
    METAL,
    OTHER_VEHICLE,
    PAINT,
    PERSON,
    RETRO,
    RUBBER,
    TRUCK,
)
from recon3d.pointcloud.worlds.solids import CYLINDER, ELLIPSOID, HULL, Assembly
from tests.support.world_oracle import inside, placed

Maker = Callable[[np.random.Generator], Assembly]
VEHICLES = [vehicles.car, vehicles.truck, vehicles.other_vehicle]
CARS = [vehicles._pickup, vehicles._van, *vehicles._BODIES]


def car_of(kind: object, rng: np.random.Generator) -> Assembly:
    if isinstance(kind, vehicles.Body):
        return vehicles._saloon(rng, kind)
    return kind(rng)  # type: ignore[operator, no-any-return]


@cache
def many(maker: Maker, n: int = 40) -> list[Assembly]:
    rng = np.random.default_rng(0)
    return [maker(rng) for _ in range(n)]


def sizes(things: list[Assembly]) -> np.ndarray:
    return np.array([np.subtract(*thing.extent()[::-1]) for thing in things])


def made_of(thing: Assembly, material: int) -> np.ndarray:
    return np.flatnonzero([look[1] == material for look in thing.looks])


def carries_a_box(thing: Assembly) -> bool:
    return any(np.allclose(row[12:15], (0.7, 0.4, 0.125)) for row in thing.rows)


@pytest.mark.parametrize("body", vehicles._BODIES, ids=["saloon", "hatchback", "estate", "offroad", "minivan", "coupe"])
def test_a_car_has_the_sizes_of_its_body(body: vehicles.Body) -> None:
    rng = np.random.default_rng(1)
    things = [vehicles._saloon(rng, body) for _ in range(40)]
    found, loaded = sizes(things), np.array([carries_a_box(thing) for thing in things])
    assert body.length[0] - 0.05 <= found[:, 0].min() and found[:, 0].max() <= body.length[1] + 0.1
    assert body.width[0] - 0.01 <= found[:, 1].min() and found[:, 1].max() <= body.width[1] + 0.05
    assert loaded.sum() < 12
    plain = found[~loaded, 2]
    assert body.height[0] - 0.01 <= plain.min() and plain.max() <= body.height[1] + 0.02
    assert (found[loaded, 2] > body.height[0] + 0.2).all()
    assert np.ptp(found[:, 0]) > 0.3 * (body.length[1] - body.length[0])


@pytest.mark.parametrize("body", vehicles._BODIES)
def test_the_parts_of_a_body_follow_each_other(body: vehicles.Body) -> None:
    assert body.bonnet[1] + body.screen[1] < body.roof_end[0] < body.tail[1] <= 1
    assert body.roof_end[1] < body.tail[1] and body.weight > 0
    for low, high in (body.length, body.width, body.height):
        assert 0 < low < high


def test_pickups_are_long_and_vans_are_high() -> None:
    rng = np.random.default_rng(2)
    pickups, vans = (sizes([maker(rng) for _ in range(25)]) for maker in (vehicles._pickup, vehicles._van))
    assert pickups[:, 0].min() > 4.95 and pickups[:, 0].max() < 5.95
    assert vans[:, 2].min() > 1.85 and vans[:, 2].max() < 2.8 and vans[:, 2].mean() > pickups[:, 2].mean()


def test_all_kinds_of_cars_are_drawn() -> None:
    found = sizes(many(vehicles.car, 100))
    assert found[:, 0].min() < 3.9 and found[:, 0].max() > 5.2
    assert (found[:, 2] > 2.0).mean() < 0.15
    assert 4.2 < found[:, 0].mean() < 4.7 and 1.7 < found[:, 1].mean() < 1.95


@pytest.mark.parametrize("maker", VEHICLES)
def test_vehicles_are_symmetric(maker: Maker) -> None:
    for thing in many(maker):
        low, high = thing.extent()
        assert np.isclose(low[1], -high[1], atol=0.02)


@pytest.mark.parametrize("maker", VEHICLES)
def test_wheels_come_in_pairs_and_stand_on_the_ground(maker: Maker) -> None:
    for thing in many(maker):
        wheels = np.array(thing.rows)[made_of(thing, RUBBER)]
        assert len(wheels) >= 2 and len(wheels) % 2 == 0
        assert np.allclose(wheels[:, 2], wheels[:, 12])  # the height of the hub is the radius
        left = wheels[wheels[:, 1] > 0]
        right = wheels[wheels[:, 1] < 0]
        assert np.allclose(np.sort(left[:, 0]), np.sort(right[:, 0]))


@pytest.mark.parametrize("maker", VEHICLES)
def test_wheels_turn_about_the_axis_across(maker: Maker) -> None:
    for thing in many(maker, 15):
        for row in np.array(thing.rows)[made_of(thing, RUBBER)]:
            assert np.allclose(np.abs(row[9:12]), (0, 1, 0))


@pytest.mark.parametrize("kind", CARS)
def test_cars_have_paint_lamps_wheels_and_mirrors(kind: object) -> None:
    thing = car_of(kind, np.random.default_rng(4))
    assert len(made_of(thing, PAINT)) >= 2 and len(made_of(thing, RETRO)) == 6
    assert len(made_of(thing, RUBBER)) == 4 == len(made_of(thing, METAL))
    assert len(made_of(thing, CABIN)) + len(made_of(thing, GLASS)) >= 1
    assert sum(thing.aside) == 2  # mirrors
    assert {look[0] for look in thing.looks} == {CAR}


@pytest.mark.parametrize("kind", CARS)
def test_the_cabin_stands_on_the_body(kind: object) -> None:
    """Seen from above, the middle of a car is high, and its front is lower than its roof."""
    thing = car_of(kind, np.random.default_rng(5))
    solids, (low, high) = placed(thing, (0, 0, 0)), thing.extent()

    def top(x: float) -> float:
        z = np.linspace(0, high[2], 200)
        column = np.stack([np.full(200, x), np.zeros(200), z], 1)
        held = np.array([inside(solids, k, column) for k in range(len(solids))]).any(0)
        return float(z[held].max()) if held.any() else 0.0

    assert top(-0.05 * high[0]) > 0.75 * min(high[2], 2.0)
    assert 0.2 < top(0.9 * high[0]) < top(-0.05 * high[0])
    assert top(1.1 * high[0]) == 0 == top(1.1 * low[0])


@pytest.mark.parametrize("kind", CARS)
def test_there_is_air_below_a_car(kind: object) -> None:
    thing = car_of(kind, np.random.default_rng(6))
    solids = placed(thing, (0, 0, 0))
    below = np.random.default_rng(0).uniform((-0.5, -0.3, 0.0), (0.5, 0.3, 0.12), (200, 3))
    assert not np.array([inside(solids, k, below) for k in range(len(solids))]).any()


@pytest.mark.parametrize(("maker", "label"), [(vehicles.truck, TRUCK), (vehicles.other_vehicle, OTHER_VEHICLE)])
def test_large_vehicles_carry_their_class(maker: Maker, label: int) -> None:
    for thing in many(maker):
        assert {look[0] for look in thing.looks} == {label}


def has_tank(thing: Assembly) -> bool:
    return any(kind == CYLINDER and row[12] == 1.0 for kind, row in zip(thing.kinds, thing.rows, strict=True))


def test_lorries_are_long_and_carry_different_loads() -> None:
    found = sizes(many(vehicles.truck, 60))
    assert found[:, 0].min() > 5.9 and found[:, 0].max() < 12.2
    assert np.ptp(found[:, 2]) > 0.8
    tanks = [has_tank(thing) for thing in many(vehicles.truck, 60)]
    assert 0.03 < np.mean(tanks) < 0.35


def test_buses_are_the_largest_of_the_others() -> None:
    rng = np.random.default_rng(7)
    buses, trailers, tractors = (
        sizes([maker(rng) for _ in range(15)]) for maker in (vehicles._bus, vehicles._trailer, vehicles._tractor)
    )
    assert buses[:, 0].min() > 7.9 and buses[:, 0].max() < 13.2 and buses[:, 2].min() > 2.7
    assert trailers[:, 0].max() < 7.3 and trailers[:, 1].max() < 2.5
    assert np.ptp(tractors, axis=0).max() < 0.3 and tractors[:, 2].max() < 2.8


@pytest.mark.parametrize("maker", [*VEHICLES, people.pedestrian, people.cyclist, people.bicycle])
def test_colours_and_sizes_of_parts_are_positive(maker: Maker) -> None:
    for thing in many(maker):
        rows = np.array(thing.rows)
        assert (rows[:, 12:15] > 0).all() and (rows[:, 15] >= 0).all() and np.isfinite(rows).all()
        colours = np.array([look[2] for look in thing.looks])
        assert (colours >= 0).all() and (colours <= 1).all()
        assert set(thing.kinds) <= {HULL, ELLIPSOID, CYLINDER}


@pytest.mark.parametrize("maker", [*VEHICLES, people.pedestrian, people.cyclist])
def test_the_axes_of_parts_are_rotations(maker: Maker) -> None:
    for thing in many(maker, 10):
        frames = np.array(thing.rows)[:, 3:12].reshape(-1, 3, 3)
        assert np.allclose(frames @ frames.transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(frames), 1)


@pytest.mark.parametrize("maker", [*VEHICLES, people.pedestrian, people.cyclist, people.bicycle])
def test_a_seed_makes_the_same_thing(maker: Maker) -> None:
    one, again, other = (maker(np.random.default_rng(seed)) for seed in (11, 11, 12))
    assert np.array_equal(one.rows, again.rows) and one.looks == again.looks
    assert one.rows != other.rows


# --- people ---


def test_grown_people_and_children() -> None:
    tall = np.array([thing.extent()[1][2] for thing in many(people.pedestrian, 100)])
    assert tall.min() > 0.95 and tall.max() < 2.05
    assert 0.04 < (tall < 1.48).mean() < 0.25
    assert 1.6 < np.median(tall) < 1.8


def test_people_have_heads_above_shoulders_above_feet() -> None:
    for thing in many(people.pedestrian):
        rows, own = np.array(thing.rows), np.array([look[0] == PERSON for look in thing.looks])
        boxes = rows[(np.array(thing.kinds) == HULL) & own]
        feet = boxes[boxes[:, 2] < 0.1]
        assert len(feet) == 2 and np.allclose(feet[:, 2] - feet[:, 14], 0)
        balls = rows[(np.array(thing.kinds) == ELLIPSOID) & own & ~np.array(thing.aside)]
        assert np.isclose((balls[:, 2] + balls[:, 14]).max(), thing.extent()[1][2], atol=0.05)


def test_people_wear_cloth() -> None:
    for thing in many(people.pedestrian):
        assert len(made_of(thing, CLOTH)) >= 8


def test_what_people_carry_or_push_stands_aside() -> None:
    things = many(people.pedestrian, 100)
    pushed = [thing for thing in things if CLUTTER in {look[0] for look in thing.looks}]
    assert 0 < len(pushed) < 20
    for thing in pushed:
        labels = np.array([look[0] for look in thing.looks])
        assert np.array(thing.aside)[labels == CLUTTER].all()
    assert all(np.subtract(*thing.extent()[::-1])[0] < 1.6 for thing in things)


def test_some_people_stand_and_others_stride() -> None:
    deep = sizes(many(people.pedestrian, 100))[:, 0]
    assert deep.min() < 0.5 and deep.max() > 0.75


def test_a_rider_sits_on_a_bicycle_of_the_same_class() -> None:
    for thing in many(people.cyclist):
        assert {look[0] for look in thing.looks} == {BICYCLIST}
        wheels = np.array(thing.rows)[made_of(thing, RUBBER)]
        assert len(wheels) == 2 and (wheels[:, 15] > 0).all()  # spokes let rays pass
        assert np.allclose(wheels[:, 2], wheels[:, 12])
        assert thing.extent()[1][2] > 1.4


def test_a_bicycle_without_rider_is_clutter_and_lower() -> None:
    for bicycle, rider in zip(many(people.bicycle), many(people.cyclist), strict=True):
        assert {look[0] for look in bicycle.looks} == {CLUTTER}
        assert bicycle.extent()[1][2] < 1.2 < rider.extent()[1][2]


def test_riders_lean_by_different_amounts() -> None:
    heads = np.array([thing.extent()[1][2] for thing in many(people.cyclist, 60)])
    assert np.ptp(heads) > 0.15
