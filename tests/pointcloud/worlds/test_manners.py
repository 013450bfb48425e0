"""The kinds of streets, the roads that are drawn for them, and the ground that follows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.worlds import BOX_CLASSES, ROOM_CLASSES, SEMANTIC_KITTI_19, STREET_CLASSES
from recon3d.pointcloud.worlds.ground import Ground
from recon3d.pointcloud.worlds.manners import MANNERS, NONE, Manner, draw_ground
from recon3d.pointcloud.worlds.materials import (
    BICYCLIST,
    BUILDING,
    CAR,
    CLUTTER,
    PERSON,
    POLE,
    ROAD,
    SIDEWALK,
    SIGN,
    TERRAIN,
    TRUNK,
    VEGETATION,
)
from tests.support.world_oracle import rays

NAMES = list(MANNERS)


def drawn(seed: int, name: str, mount: float = 1.8) -> tuple[Ground, tuple[bool, bool]]:
    return draw_ground(np.random.default_rng(seed), MANNERS[name], mount)


def flat(**changes: float) -> Ground:
    values = dict.fromkeys(Ground.__dataclass_fields__, 0.0)
    values |= {"sway_length": 100.0, "hill_length": 100.0, "half_width": 4.0, "mount": 1.7, "crossing": NONE}
    return Ground(**(values | changes))


def test_the_constants_are_the_places_of_their_names() -> None:
    constants = {
        "road": ROAD,
        "sidewalk": SIDEWALK,
        "terrain": TERRAIN,
        "building": BUILDING,
        "vegetation": VEGETATION,
        "trunk": TRUNK,
        "pole": POLE,
        "traffic-sign": SIGN,
        "car": CAR,
        "person": PERSON,
        "bicyclist": BICYCLIST,
        "clutter": CLUTTER,
    }
    for name, value in constants.items():
        assert STREET_CLASSES[value] == name
    assert len(set(STREET_CLASSES)) == len(STREET_CLASSES) == 15
    assert len(set(ROOM_CLASSES)) == len(ROOM_CLASSES) == 20
    assert BOX_CLASSES == ("car", "pedestrian", "cyclist")


def test_the_nineteen_rows_are_those_of_the_benchmark() -> None:
    order = ["car", "bicycle", "motorcycle", "truck", "other-vehicle", "person", "bicyclist", "motorcyclist", "road"]
    order += ["parking", "sidewalk", "other-ground", "building", "fence", "vegetation", "trunk", "terrain", "pole"]
    order += ["traffic-sign"]
    for name, row in SEMANTIC_KITTI_19.items():
        assert row == (-1 if name == "clutter" else order.index(name))


@pytest.mark.parametrize("name", NAMES)
def test_ranges_rise_and_shares_are_shares(name: str) -> None:
    manner = MANNERS[name]
    for each in fields(Manner):
        value = getattr(manner, each.name)
        if isinstance(value, tuple) and each.name != "parking":
            assert 0 <= value[0] <= value[1]
    for share in (*manner.parking, manner.built, manner.blocks, manner.fences):
        assert 0 <= share <= 1
    assert min(manner.trees, manner.traffic, manner.walkers, manner.riders, manner.things) > 0


def test_cities_are_built_and_crowded_and_the_country_is_green() -> None:
    city, country = MANNERS["city"], MANNERS["country"]
    assert city.built > country.built and city.walkers > country.walkers and city.blocks > country.blocks
    assert city.trees < country.trees and city.traffic < country.traffic


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(NAMES))
def test_drawn_roads_lie_within_their_manner(seed: int, name: str) -> None:
    (ground, parked), manner = drawn(seed, name), MANNERS[name]
    lanes_from, lanes_to = manner.lanes
    assert lanes_from * 1.4 <= ground.half_width <= lanes_to * 1.8 + 3.1
    if any(parked):
        assert ground.half_width >= lanes_from * 1.4 + 2.1
    for side in ("left", "right"):
        verge = getattr(ground, f"verge_{side}")
        assert verge == 0 or 0.5 < verge <= manner.verge[1]
        assert manner.walk[0] <= getattr(ground, f"walk_{side}") <= manner.walk[1]
        assert manner.paved[0] <= getattr(ground, f"paved_{side}") <= manner.paved[1]
    assert 0.04 <= ground.curb <= 0.16 and 0 <= ground.rough <= 0.06 and ground.mount == 1.8
    assert abs(ground.slope_x) < 0.09 and abs(ground.slope_y) < 0.08 and abs(ground.bend) < 0.02
    assert abs(ground.lateral) < ground.half_width or lanes_from == 1
    assert ground.crossing == NONE or (-15 <= ground.crossing <= 40 and 3 <= ground.crossing_half_width <= 6)


@pytest.mark.parametrize("name", ["city", "suburb", "country"])
def test_the_sensor_drives_on_the_right(name: str) -> None:
    """The place of the sensor is right of the middle wherever there are two lanes."""
    assert all(drawn(seed, name)[0].lateral < 0 for seed in range(30))


def test_parking_and_crossings_have_their_probabilities() -> None:
    roads = [drawn(seed, "residential") for seed in range(300)]
    sides = np.array([parked for _, parked in roads])
    assert np.abs(sides.mean(0) - MANNERS["residential"].parking[0]).max() < 0.08
    assert abs(np.mean([ground.crossing != NONE for ground, _ in roads]) - 0.45) < 0.09


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(NAMES))
def test_the_sensor_stands_on_a_road_at_its_mount(seed: int, name: str) -> None:
    ground, _ = drawn(seed, name, 2.2)
    origin = np.zeros((1, 2))
    assert np.isclose(ground.height(origin)[0], -2.2)
    if abs(ground.lateral) < ground.half_width:
        assert ground.labels(origin)[0] == ROAD


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(NAMES), st.floats(-60, 80), st.floats(-12, 12))
def test_places_along_the_road_are_found_again(seed: int, name: str, along: float, left: float) -> None:
    """To first order in the curvature of the road, since the offset goes straight to the side."""
    ground, _ = drawn(seed, name)
    x, y, _ = ground.place(along, left)
    assert np.allclose(ground.road(np.array([[x, y]]))[0], (along, left), atol=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(NAMES))
def test_classes_of_the_ground_are_its_three(seed: int, name: str) -> None:
    ground, _ = drawn(seed, name)
    xy = np.random.default_rng(seed).uniform(-60, 60, (500, 2))
    labels, place = ground.labels(xy), ground.road(xy)
    assert set(labels) <= {ROAD, SIDEWALK, TERRAIN}
    on_road = np.abs(place[:, 1]) < ground.half_width
    assert (labels[on_road] == ROAD).all()
    crossed = np.abs(place[:, 0] - ground.crossing) < ground.crossing_half_width
    assert np.array_equal(labels == ROAD, on_road | crossed)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(NAMES))
def test_heights_stay_within_hills_and_slopes(seed: int, name: str) -> None:
    ground, _ = drawn(seed, name)
    xy = np.random.default_rng(seed).uniform(-50, 50, (500, 2))
    plane = xy @ (ground.slope_x, ground.slope_y) - ground.mount
    beside = 8 * max(abs(ground.bank_left), abs(ground.bank_right)) + 0.015 * 100 + ground.curb
    most = 3 * ground.hill + beside + ground.crown + 3 * ground.rough + 0.05
    assert np.abs(ground.height(xy) - plane).max() < most


def test_a_crown_falls_to_both_sides() -> None:
    ground = flat(crown=0.1)
    heights = ground.height(np.array([[9.0, 0.0], [9.0, 2.0], [9.0, -2.0], [9.0, 3.999]]))
    assert np.allclose(heights + 1.7, (0, -0.025, -0.025, -0.1), atol=1e-3)


def test_a_slope_tilts_everything() -> None:
    ground = flat(slope_x=0.02, slope_y=-0.01, half_width=1e4)
    xy = np.random.default_rng(0).uniform(-30, 30, (50, 2))
    assert np.allclose(ground.height(xy), xy @ (0.02, -0.01) - 1.7)


def test_a_bank_rises_beside_the_street_and_levels_out() -> None:
    ground = flat(bank_left=0.2)
    y = np.array([10.0, 20.0, 60.0])
    rise = ground.height(np.stack([np.zeros(3), y], 1)) - ground.height(np.stack([np.zeros(3), -y], 1))
    assert (np.diff(rise) > 0).all() and rise[-1] < 0.2 * 8 + 1e-6


@pytest.mark.parametrize("side", [1, -1])
def test_yards_are_paved_behind_the_walk(side: int) -> None:
    name = "left" if side > 0 else "right"
    ground = flat(**{f"walk_{name}": 2.0, f"paved_{name}": 3.0})
    y = side * np.array([5.0, 8.0, 10.0])
    assert ground.labels(np.stack([np.zeros(3), y], 1)).tolist() == [SIDEWALK, SIDEWALK, TERRAIN]
    assert ground.labels(np.stack([np.zeros(1), -y[:1]], 1)).tolist() == [TERRAIN]


def test_a_crossing_road_cuts_the_walks() -> None:
    ground = flat(walk_left=2.0, walk_right=2.0, crossing=20.0, crossing_half_width=4.0)
    x = np.array([15.0, 17.0, 20.0, 23.0, 25.0])
    labels = ground.labels(np.stack([x, np.full(5, 5.0)], 1))
    assert labels.tolist() == [SIDEWALK, ROAD, ROAD, ROAD, SIDEWALK]


def test_far_and_steep_rays_do_not_meet_the_ground() -> None:
    grid = rays(61, 10.0)
    depth = flat(half_width=1e4).depth(grid)
    assert np.isinf(depth[grid.slopes >= 0]).all()
    met = np.isfinite(depth)
    assert depth[met].max() < 201
    assert met[grid.slopes < -0.02].all()


@pytest.mark.parametrize("mount", [0.5, 1.7, 3.0])
def test_depths_grow_with_the_mount(mount: float) -> None:
    grid = rays(61, 10.0)
    depth = replace(flat(half_width=1e4), mount=mount).depth(grid)
    steep = grid.slopes < -0.1
    assert np.allclose(depth[steep] * -grid.directions[steep][..., 2], mount)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from(NAMES))
def test_a_higher_beam_meets_the_ground_farther_out(seed: int, name: str) -> None:
    ground, _ = drawn(seed, name)
    grid = rays(61, 15.0)
    radius = np.nan_to_num(ground.depth(grid) / np.sqrt(1 + grid.slopes[:, None] ** 2), posinf=1e9)
    assert (np.diff(radius, axis=0) > -1e-6).all()  # equal at a curb
