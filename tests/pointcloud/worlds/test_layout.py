"""Where things stand in a street: on the ground, beside or on the road, and not in each other."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.seeds import generator
from recon3d.pointcloud.boxes import rotated_iou_bev
from recon3d.pointcloud.worlds import people, vehicles
from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.layout import Furnishing, _box
from recon3d.pointcloud.worlds.manners import MANNERS, NONE, draw_ground
from recon3d.pointcloud.worlds.materials import BUILDING, CAR, PERSON, ROAD
from recon3d.pointcloud.worlds.solids import Assembly, Solids
from tests.support.world_oracle import in_box, inside, placed

NAMES = list(MANNERS)


def flat(**changes: float) -> Ground:
    values = dict.fromkeys(Ground.__dataclass_fields__, 0.0)
    values |= {"sway_length": 100.0, "hill_length": 100.0, "half_width": 4.0, "mount": 1.7, "crossing": NONE}
    return Ground(**(values | changes))


def empty(ground: Ground | None = None, manner: str = "city", seed: int = 0) -> Furnishing:
    chosen = ground or flat(walk_left=2.0, walk_right=2.0)
    rng = generator(seed, "layout")
    return Furnishing(rng=rng, ground=chosen, manner=MANNERS[manner], parked=(True, True), density=1.0)


@cache
def furnished(seed: int, manner: str, density: float = 1.0) -> Furnishing:
    rng = generator(seed, "layout", manner)
    ground, parked = draw_ground(rng, MANNERS[manner], 1.7)
    street = Furnishing(rng=rng, ground=ground, manner=MANNERS[manner], parked=parked, density=density)
    street.furnish()
    return street


def boxes_of(street: Furnishing, kind: int | None = None) -> np.ndarray:
    rows = [box for _, target, box in street.targets if kind is None or target == kind]
    return np.array(rows, np.float64).reshape(-1, 7)


EVERY = pytest.mark.parametrize(("seed", "manner"), [(0, "city"), (1, "residential"), (2, "suburb"), (3, "country")])


@EVERY
def test_targets_stand_on_the_ground(seed: int, manner: str) -> None:
    street = furnished(seed, manner)
    boxes = boxes_of(street)
    assert len(boxes) > 3
    bottom = boxes[:, 2] - boxes[:, 5] / 2
    assert np.abs(bottom - street.ground.height(boxes[:, :2])).max() < 0.35
    assert np.median(np.abs(bottom - street.ground.height(boxes[:, :2]))) < 0.05


@EVERY
def test_cars_do_not_stand_in_each_other(seed: int, manner: str) -> None:
    cars = boxes_of(furnished(seed, manner), 0)
    overlap = rotated_iou_bev(cars, cars) - np.eye(len(cars))
    assert overlap.max(initial=0) < 0.02


@EVERY
def test_nobody_stands_in_a_car(seed: int, manner: str) -> None:
    street = furnished(seed, manner)
    people_, cars = np.concatenate([boxes_of(street, 1), boxes_of(street, 2)]), boxes_of(street, 0)
    for car in cars:
        assert (in_box(people_[:, :3], car) > -0.3).all()


@EVERY
def test_people_do_not_stand_in_each_other(seed: int, manner: str) -> None:
    walkers = boxes_of(furnished(seed, manner), 1)
    away = np.linalg.norm(walkers[:, None, :2] - walkers[None, :, :2], axis=2) + 9 * np.eye(len(walkers))
    assert away.min(initial=9) > 0.5


@EVERY
def test_nothing_stands_around_the_sensor(seed: int, manner: str) -> None:
    street = furnished(seed, manner)
    boxes = boxes_of(street)
    assert (np.linalg.norm(boxes[:, :2], axis=1) > 1.5).all()
    for box in boxes:
        assert in_box(np.zeros((1, 3)), box)[0] > 0


@EVERY
def test_numbers_of_instances_are_those_of_their_solids(seed: int, manner: str) -> None:
    street = furnished(seed, manner)
    solids = street.gathering.solids()
    numbers = [number for number, _, _ in street.targets]
    assert len(set(numbers)) == len(numbers) and min(numbers) >= 1
    assert set(numbers) <= set(solids.instances)
    assert solids.instances.max() == street.gathering.n_instances
    expected = {0: CAR, 1: PERSON}
    for number, target, _ in street.targets:
        labels = set(solids.labels[solids.instances == number])
        assert target == 2 or expected[target] in labels


@EVERY
def test_every_car_and_person_is_a_target(seed: int, manner: str) -> None:
    street = furnished(seed, manner)
    solids = street.gathering.solids()
    there = set(solids.instances[np.isin(solids.labels, [CAR, PERSON])])
    assert there <= {number for number, _, _ in street.targets}


@EVERY
def test_the_box_of_a_target_holds_its_solids(seed: int, manner: str) -> None:
    """By points drawn inside the solids; what stands aside may jut out."""
    street = furnished(seed, manner)
    solids, rng = street.gathering.solids(), np.random.default_rng(0)
    for number, target, row in street.targets[:12]:
        for k in np.flatnonzero(solids.instances == number)[:8]:
            centre, half = solids.numbers[k, :3], solids.numbers[k, 12:15]
            local = rng.uniform(-1, 1, (60, 3)) * half
            points = centre + local @ solids.numbers[k, 3:12].reshape(3, 3)
            held = points[inside(solids, k, points)]
            outside = in_box(held, np.array(row)).max(initial=-1)
            assert outside < (0.3 if target == 0 else 1.2)


@EVERY
def test_buildings_leave_the_road_free(seed: int, manner: str) -> None:
    street = furnished(seed, manner)
    solids = street.gathering.solids()
    facades = solids.numbers[(solids.labels == BUILDING) & (solids.numbers[:, 12] > 2)]
    if not len(facades):
        return
    along, left = street.ground.road(facades[:, :2]).T
    near = np.abs(along) < 70
    assert (np.abs(left[near]) > street.ground.half_width).all()


@EVERY
def test_traffic_drives_in_its_direction(seed: int, manner: str) -> None:
    """Of the cars on the road, most on the left come towards the sensor and most on the right go away."""
    street = furnished(seed, manner)
    cars = boxes_of(street, 0)
    along, left = street.ground.road(cars[:, :2]).T
    on_road = (np.abs(left) < street.ground.half_width - 2.2) & (np.abs(along - street.ground.crossing) > 15)
    heading = np.array([street.ground.place(a, b)[2] for a, b in zip(along, left, strict=True)])
    forward = np.cos(cars[:, 6] - heading)
    agree = np.sign(forward) == -np.sign(left)
    assert not on_road.any() or agree[on_road].mean() > 0.6


def test_more_density_means_more_targets_and_the_same_ground() -> None:
    few, lots = furnished(4, "city", 0.3), furnished(4, "city", 3.0)
    assert few.ground == lots.ground
    assert len(boxes_of(lots, 1)) > 2 * len(boxes_of(few, 1))
    assert len(boxes_of(lots)) > 1.3 * len(boxes_of(few))


def test_no_density_leaves_nobody() -> None:
    street = furnished(5, "suburb", 0.0)
    assert not len(boxes_of(street, 1)) and not len(boxes_of(street, 2))
    assert len(street.gathering.solids()) > 50  # houses and trees are still there


@pytest.mark.parametrize(("left", "right"), [(True, False), (False, True)])
def test_cars_are_parked_where_they_are_said_to_be(left: bool, right: bool) -> None:
    ground = flat(half_width=6.0)
    street = Furnishing(
        rng=generator(1, "parking"), ground=ground, manner=MANNERS["residential"], parked=(left, right), density=0.0
    )
    for side in (1, -1):
        street._parking(side)
    across = boxes_of(street, 0)[:, 1]
    beside = np.abs(np.abs(across) - (6.0 - 1.05)) < 0.4
    counted = np.array([(beside & (across > 0)).sum(), (beside & (across < 0)).sum()])
    assert np.array_equal(counted > 4, [left, right])


def test_parked_cars_stand_along_the_curb() -> None:
    street = empty(flat(half_width=6.0))
    street._parking(1)
    cars = boxes_of(street, 0)
    parked = cars[np.abs(cars[:, 1] - 4.95) < 0.4]
    assert len(parked) > 5
    assert (np.abs(np.sin(parked[:, 6])) < 0.15).all()
    assert (np.diff(np.sort(parked[:, 0])) > 4.0).all()


def test_a_lane_keeps_its_side_and_its_gaps() -> None:
    street = empty(flat(half_width=8.0))
    street._lane(-1, -3.0)
    cars = boxes_of(street, 0)
    assert len(cars) > 2
    assert np.abs(cars[:, 1] + 3.0).max() < 1.5 and (np.cos(cars[:, 6]) > 0.9).all()
    assert (np.diff(np.sort(cars[:, 0])) > 5).all()


def test_a_place_is_taken_once() -> None:
    street = empty()
    first, second = (people.pedestrian(np.random.default_rng(k)) for k in range(2))
    assert street.put(first, 8.0, 5.0, target=1, reach=0.3)
    assert not street.put(second, 8.2, 5.1, target=1, reach=0.3)
    assert street.put(second, 9.5, 5.0, target=1, reach=0.3)
    assert [number for number, _, _ in street.targets] == [1, 2]


def test_things_without_reach_may_stand_anywhere_and_are_no_instance() -> None:
    street, thing = empty(), Assembly(BUILDING)
    thing.box((0, 0, 1), (2, 2, 2))
    for _ in range(3):
        assert street.put(thing, 10.0, 8.0)
    assert street.gathering.n_instances == 0 and len(street.gathering.solids()) == 3


def test_the_sensor_has_its_place_from_the_beginning() -> None:
    assert not empty().put(people.pedestrian(np.random.default_rng(0)), 0.5, 0.5, target=1, reach=0.3)


@pytest.mark.parametrize("crossing", [-10.0, 25.0])
def test_crossings_are_kept_free(crossing: float) -> None:
    ground = flat(crossing=crossing, crossing_half_width=5.0, walk_left=2.0, walk_right=2.0)
    street = empty(ground, "city", 3)
    for side in (1, -1):
        street._buildings(side)
        street._greens(side)
        street._posts(side)
    centres = street.gathering.solids().numbers[:, :3]
    crown = np.abs(centres[:, 0] - crossing) < 4.0
    assert (np.abs(centres[crown, 2] + 1.7) > 1.0).all() or not crown.any()  # only crowns and arms reach over it
    roots = centres[(np.abs(centres[:, 2] + 1.7) < 0.5), 0]
    assert not (np.abs(roots - crossing) < 4.5).any()


def test_the_edge_is_the_back_of_the_walk() -> None:
    street = empty(flat(verge_left=1.0, walk_left=2.0, walk_right=1.5))
    assert street.edge(1) == 7.0 and street.edge(-1) == 5.5


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-30, 30), st.floats(-30, 30), st.floats(-np.pi, np.pi))
def test_boxes_follow_their_thing(seed: int, x: float, y: float, yaw: float) -> None:
    thing = vehicles.car(np.random.default_rng(seed))
    box = np.array(_box(thing, x, y, -1.7, yaw))
    low, high = thing.extent()
    assert np.allclose(box[3:6], high - low) and np.isclose(box[2], -1.7 + (low[2] + high[2]) / 2)
    assert -np.pi <= box[6] < np.pi and np.isclose(np.cos(box[6] - yaw), 1)
    corners = np.array([[i, j, k] for i in (low[0], high[0]) for j in (low[1], high[1]) for k in (low[2], high[2])])
    c, s = np.cos(yaw), np.sin(yaw)
    world = corners @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + (x, y, -1.7)
    assert np.allclose(in_box(world, box), 0, atol=1e-9)


def test_placed_solids_agree_with_the_box() -> None:
    thing = vehicles.car(np.random.default_rng(3))
    solids: Solids = placed(thing, (10.0, 4.0, -1.5), 0.8)
    box = np.array(_box(thing, 10.0, 4.0, -1.5, 0.8))
    centres = solids.numbers[~np.array(thing.aside), :3]
    assert (in_box(centres, box) < 0).all()


def test_all_manners_have_cars_and_cities_have_more_walkers_than_the_country() -> None:
    counts = {name: np.zeros(3) for name in NAMES}
    for seed, name in ((0, "city"), (1, "residential"), (2, "suburb"), (3, "country"), (4, "city")):
        counts[name] += np.bincount([target for _, target, _ in furnished(seed, name).targets], minlength=3)
    assert all(count[0] > 2 for count in counts.values())
    assert counts["city"][1] / 2 > 2 * counts["country"][1]


def test_walkers_walk_beside_the_road_mostly() -> None:
    street = empty(flat(half_width=4.0, walk_left=3.0, walk_right=3.0), "city", 6)
    street._walkers()
    walkers = boxes_of(street, 1)
    labels = street.ground.labels(walkers[:, :2])
    assert len(walkers) > 5 and (labels == ROAD).mean() < 0.5


def test_a_wider_ground_moves_things_outwards() -> None:
    near, far = empty(flat(half_width=3.0), seed=2), empty(replace(flat(), half_width=9.0), seed=2)
    for street in (near, far):
        street._posts(1)
    across = [np.abs(street.gathering.solids().numbers[:, 1]).min() for street in (near, far)]
    assert across[1] - across[0] > 4
