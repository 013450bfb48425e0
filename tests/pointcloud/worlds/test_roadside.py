"""What stands beside a street: buildings, fences, trees, poles, signs and clutter, with sizes and classes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.worlds import roadside
from recon3d.pointcloud.worlds.materials import (
    BUILDING,
    CLUTTER,
    FACADE,
    FENCE,
    LEAF,
    POLE,
    RETRO,
    ROOF,
    SIGN,
    TRUNK,
    VEGETATION,
)
from recon3d.pointcloud.worlds.solids import CYLINDER, ELLIPSOID, Assembly

PARTS = [each for name, each in vars(roadside).items() if name.startswith("_") and name in (
    "_bin", "_boxes", "_cone", "_bench", "_cabinet", "_bollard", "_column", "_planter", "_shelter", "_barrier",
    "_stand", "_animal")]  # fmt: skip

ALL = [
    roadside.tree,
    roadside.bush,
    roadside.lamp_post,
    roadside.traffic_sign,
    roadside.traffic_light,
    roadside.clutter,
]


@cache
def many(maker, n: int = 30, *arguments: float) -> list[Assembly]:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    return [maker(rng, *arguments) for _ in range(n)]


def labels(thing: Assembly) -> np.ndarray:
    return np.array([look[0] for look in thing.looks])


def materials(thing: Assembly) -> np.ndarray:
    return np.array([look[1] for look in thing.looks])


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(7, 28), st.floats(8, 15))
def test_buildings_are_as_wide_as_their_plot(seed: int, width: float, depth: float) -> None:
    for maker in (roadside.house, roadside.block):
        thing = maker(np.random.default_rng(seed), width, depth)
        low, high = thing.extent()
        assert width <= high[0] - low[0] + 1e-9 and high[0] - low[0] < width + 4.8  # a garage or eaves beside
        assert low[1] < 0.01 and depth <= high[1] < depth + 0.9
        assert low[2] < 0  # the ground may fall below them
        assert set(labels(thing)) == {BUILDING}


def test_houses_have_a_pitched_roof_and_blocks_a_flat_one() -> None:
    for house, block in zip(many(roadside.house, 30, 12.0, 9.0), many(roadside.block, 30, 12.0, 9.0), strict=True):
        assert (materials(house) == ROOF).sum() == 1 and (materials(block) == ROOF).sum() == 0
        assert 3.8 < house.extent()[1][2] < 12.5
        assert 6 <= block.extent()[1][2] < 26.5


def test_the_roof_of_a_house_lies_on_its_walls_and_juts_out() -> None:
    for house in many(roadside.house, 30, 12.0, 9.0):
        rows = np.array(house.rows)
        roof, walls = rows[materials(house) == ROOF][0], rows[materials(house) == FACADE][0]
        eaves = walls[2] + walls[14]
        assert np.isclose(roof[2] - roof[14], eaves)
        reach = np.abs(roof[3:12].reshape(3, 3) * roof[12:15, None]).sum(0)
        assert (reach[:2] > walls[12:14]).all()


def test_facades_start_at_the_front() -> None:
    for maker in (roadside.house, roadside.block):
        for thing in many(maker, 30, 12.0, 9.0):
            body = np.array(thing.rows)[0]
            assert np.isclose(body[1] - body[13], 0) and np.isclose(body[1] + body[13], 9.0)


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("height", [0.7, 1.9])
def test_fields_of_a_fence_join_and_have_their_height(kind: int, height: float) -> None:
    thing = roadside.fence(np.random.default_rng(1), 2.4, kind, height)
    low, high = thing.extent()
    assert 2.39 <= high[0] - low[0] < 2.6 and high[1] - low[1] < 1.2
    assert kind == 5 or height <= high[2] < height + 0.1
    assert kind != 5 or np.isclose(high[2], 0.75)


def test_bars_mesh_and_hedges_are_porous_and_walls_are_not() -> None:
    density = [roadside.fence(np.random.default_rng(1), 2.4, kind, 1.0).rows[0][15] for kind in range(6)]
    assert density[0] == 0 == density[5]
    assert density[2] < density[4] < density[1] < density[3]


def test_trees_are_as_high_as_trees_of_streets() -> None:
    things = many(roadside.tree, 80)
    heights = np.array([thing.extent()[1][2] for thing in things])
    assert heights.min() > 3.5 and heights.max() < 17
    wide = np.array([np.subtract(*thing.extent()[::-1])[0] for thing in things])
    assert wide.min() > 1.0 and wide.max() < 14


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_scales_scale_trees_and_bushes(scale: float) -> None:
    for maker in (roadside.tree, roadside.bush):
        for seed in range(8):
            one, other = maker(np.random.default_rng(seed)), maker(np.random.default_rng(seed), scale)
            size, scaled = (np.subtract(*thing.extent()[::-1]) for thing in (one, other))
            assert np.allclose(scaled / size, scale, rtol=0.35)


def test_trunks_reach_into_the_ground_and_crowns_do_not() -> None:
    for thing in many(roadside.tree, 40):
        rows = np.array(thing.rows)
        trunk, crown = rows[labels(thing) == TRUNK], rows[labels(thing) == VEGETATION]
        assert (trunk[:, 2] - np.abs(trunk[:, 11]) * trunk[:, 14]).min() < -0.2
        assert (crown[:, 2] - crown[:, 14]).min() > -1.5
        assert len(crown) >= 6 and (materials(thing)[labels(thing) == VEGETATION] == LEAF).all()


def test_trunks_are_as_thick_as_trunks() -> None:
    thick = [
        np.array(thing.rows)[(labels(thing) == TRUNK) & (np.array(thing.kinds) == CYLINDER), 12].max()
        for thing in many(roadside.tree, 60)
    ]
    assert min(thick) > 0.05 and max(thick) < 0.4


def test_some_trees_are_conifers_and_some_are_bare() -> None:
    things = many(roadside.tree, 120)
    density = np.array([np.array(thing.rows)[labels(thing) == VEGETATION, 15].max() for thing in things])
    assert 0.08 < (density < 0.45).mean() < 0.4  # thin crowns
    conifers = [len(np.unique(np.array(t.rows)[labels(t) == VEGETATION, 0])) == 1 for t in things]
    assert 0.08 < np.mean(conifers) < 0.32


def test_bushes_are_low_porous_and_green() -> None:
    for thing in many(roadside.bush, 40):
        assert set(thing.kinds) == {ELLIPSOID} and set(labels(thing)) == {VEGETATION}
        assert (np.array(thing.rows)[:, 15] > 0).all()
        assert 0 < thing.extent()[1][2] < 2.0


def test_posts_are_thin_and_high_and_most_have_an_arm_forward() -> None:
    things = many(roadside.lamp_post, 60)
    high = np.array([thing.extent()[1][2] for thing in things])
    assert high.min() > 3.9 and high.max() < 10.6
    arms = np.array([thing.extent()[1][0] > 0.5 for thing in things])
    assert 0.5 < arms.mean() < 0.9
    for thing in things:
        assert set(labels(thing)) <= {POLE, SIGN} and thing.rows[0][12] <= 0.14


def test_signs_shine_and_face_backwards_from_their_post() -> None:
    for thing in many(roadside.traffic_sign, 60):
        rows = np.array(thing.rows)
        plates = rows[labels(thing) == SIGN]
        assert len(plates) >= 1 and (materials(thing)[labels(thing) == SIGN] == RETRO).all()
        assert (plates[:, 0] < 0).all()  # before the post, on the side that is looked at
        assert (plates[:, 2] > 1.2).all() and thing.extent()[1][2] < 4.2
        assert POLE in labels(thing)


def test_round_signs_are_flat() -> None:
    discs = [
        row
        for thing in many(roadside.traffic_sign, 60)
        for row, kind, look in zip(thing.rows, thing.kinds, thing.looks, strict=True)
        if kind == CYLINDER and look[0] == SIGN
    ]
    assert 10 < len(discs) < 60
    for row in discs:
        assert row[14] < 0.02 and 0.2 < row[12] < 0.45 and np.allclose(np.abs(row[9:12]), (1, 0, 0))


def test_lights_hang_at_the_height_of_eyes_or_over_the_road() -> None:
    things = many(roadside.traffic_light, 60)
    arms = 0
    for thing in things:
        boxes = np.array(thing.rows)[labels(thing) == SIGN]
        assert 2.3 < boxes[0, 2] < 3.3
        arms += len(boxes) == 2
        assert len(boxes) == 1 or (boxes[1, 1] > 3 and boxes[1, 2] > 5)
    assert 0.2 < arms / 60 < 0.6


@pytest.mark.parametrize("part", PARTS)
def test_pieces_of_clutter_stand_on_the_ground_and_are_small(part) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    for _ in range(12):
        thing = Assembly(CLUTTER)
        part(thing, rng)
        low, high = thing.extent()
        assert -0.21 < low[2] < 0.06
        assert (high - low < 6.6).all() and high[2] < 3.3
        assert set(labels(thing)) <= {CLUTTER, VEGETATION}


def test_clutter_is_of_many_kinds() -> None:
    assert len(PARTS) == 12
    forms = {(len(thing.rows), *thing.kinds[:3]) for thing in many(roadside.clutter, 150)}
    assert len(forms) > 12


@pytest.mark.parametrize("maker", ALL)
def test_a_seed_makes_the_same_thing(maker) -> None:  # type: ignore[no-untyped-def]
    one, again, other = (maker(np.random.default_rng(seed)) for seed in (21, 21, 22))
    assert np.array_equal(one.rows, again.rows) and one.looks == again.looks
    assert one.rows != other.rows


@pytest.mark.parametrize("maker", ALL)
def test_parts_are_sound(maker) -> None:  # type: ignore[no-untyped-def]
    for thing in many(maker, 20):
        rows, colours = np.array(thing.rows), np.array([look[2] for look in thing.looks])
        assert np.isfinite(rows).all() and (rows[:, 12:15] > 0).all() and (rows[:, 15] >= 0).all()
        assert ((colours >= 0) & (colours <= 1)).all()
        frames = rows[:, 3:12].reshape(-1, 3, 3)
        assert np.allclose(frames @ frames.transpose(0, 2, 1), np.eye(3), atol=1e-9)


def test_walls_are_fences_of_their_own_kind() -> None:
    wall = roadside.fence(np.random.default_rng(0), 2.4, 0, 1.5)
    assert set(labels(wall)) == {FENCE} and wall.extent()[0][2] < -0.5  # it reaches into the ground
