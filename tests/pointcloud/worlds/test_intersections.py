"""Rays through single solids: against closed forms, against another way of computing them, and against shapes moved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.worlds.casting import cast, interval
from recon3d.pointcloud.worlds.solids import Assembly, Solids
from tests.support.world_oracle import inside, placed, rays, spans

AHEAD = np.array([1.0, 0.0, 0.0])


def span(solids: Solids, direction: np.ndarray) -> tuple[float, float]:
    low, high = interval(solids.numbers[0], solids.codes[0], solids.planes, *direction)
    return float(low), float(high)


def box(size: tuple[float, ...], centre: tuple[float, float, float], yaw: float = 0.0, pitch: float = 0.0) -> Solids:
    thing = Assembly(1)
    thing.box((0, 0, 0), size, yaw=yaw, pitch=pitch)
    return placed(thing, centre)


def ball(radius: float, centre: tuple[float, float, float]) -> Solids:
    thing = Assembly(1)
    thing.ellipsoid((0, 0, 0), (radius,) * 3)
    return placed(thing, centre)


def rod(start: tuple[float, ...], end: tuple[float, ...], radius: float) -> Solids:
    thing = Assembly(1)
    thing.rod(start, end, radius)
    return placed(thing, (0, 0, 0))


@pytest.mark.parametrize("distance", [2.0, 10.0, 500.0])
def test_straight_through_the_middle(distance: float) -> None:
    for solids in (box((2, 3, 4), (distance, 0, 0)), ball(1.0, (distance, 0, 0))):
        assert np.allclose(span(solids, AHEAD), (distance - 1, distance + 1))
    upright = rod((distance, 0, -2), (distance, 0, 2), 1.0)
    assert np.allclose(span(upright, AHEAD), (distance - 1, distance + 1))


def test_through_both_caps_of_a_cylinder() -> None:
    lying = rod((4, 0, 0), (9, 0, 0), 0.5)
    assert np.allclose(span(lying, AHEAD), (4, 9))
    slanted = np.array([1.0, 0.05, 0.0])
    slanted /= np.linalg.norm(slanted)
    low, high = span(lying, slanted)
    assert np.isclose(low * slanted[0], 4) and np.isclose(high * slanted[0], 9)
    steeper = np.array([1.0, 0.1, 0.0])  # leaves by the side, where it is half a metre off the axis
    assert np.allclose(span(lying, steeper), (4, 5))


@pytest.mark.parametrize("height", [0.0, 0.3, 0.9])
def test_a_ball_off_the_ray_has_the_chord_of_pythagoras(height: float) -> None:
    low, high = span(ball(1.0, (5, 0, height)), AHEAD)
    half = np.sqrt(1 - height**2)
    assert np.allclose((low, high), (5 - half, 5 + half))


@pytest.mark.parametrize("height", [1.0001, 2.0, -1.5])
def test_rays_that_pass_by_miss(height: float) -> None:
    for solids in (
        ball(1.0, (5, 0, height)),
        box((2, 2, 2), (5, 0, height)),
        rod((5, -2, height), (5, 2, height), 1.0),
        rod((5, 0, height), (5, 0, height + np.sign(height) * 3), 0.5),
    ):
        low, high = span(solids, AHEAD)
        assert low >= high


def test_a_solid_behind_is_met_at_negative_distances() -> None:
    for solids in (ball(1.0, (-5, 0, 0)), box((2, 2, 2), (-5, 0, 0)), rod((-5, 0, -1), (-5, 0, 1), 1.0)):
        assert np.allclose(span(solids, AHEAD), (-6, -4))


def test_around_the_sensor_a_ray_starts_inside() -> None:
    for solids in (ball(2.0, (0, 0, 0)), box((4, 4, 4), (0, 0, 0)), rod((0, 0, -2), (0, 0, 2), 2.0)):
        assert np.allclose(span(solids, AHEAD), (-2, 2))


def test_a_box_turned_by_45_degrees_shows_its_edge() -> None:
    low, high = span(box((2, 2, 2), (5, 0, 0), yaw=np.pi / 4), AHEAD)
    assert np.allclose((low, high), (5 - np.sqrt(2), 5 + np.sqrt(2)))
    low, high = span(box((2, 2, 2), (5, 0, 0), pitch=np.pi / 4), AHEAD)
    assert np.allclose((low, high), (5 - np.sqrt(2), 5 + np.sqrt(2)))


def test_an_ellipsoid_has_its_own_half_axis_in_each_direction() -> None:
    thing = Assembly(1)
    thing.ellipsoid((0, 0, 0), (1, 2, 3), yaw=0.3, pitch=0.2)
    solids = placed(thing, (0, 0, 0))
    for axis, half in enumerate((1, 2, 3)):
        direction = solids.numbers[0, 3 + 3 * axis : 6 + 3 * axis]
        assert np.allclose(span(solids, direction), (-half, half))


def test_parallel_faces_that_are_not_met() -> None:
    """A ray within the plane of a face counts as inside that face, and just outside as a miss."""
    inside_, outside = box((2, 2, 2), (5, 0.999, 0)), box((2, 2, 2), (5, 1.001, 0))
    assert np.allclose(span(inside_, AHEAD), (4, 6))
    low, high = span(outside, AHEAD)
    assert low > high


SIZES = st.tuples(*[st.floats(0.2, 3)] * 3)
PLACES = st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(-4, 4))
ANGLES = st.floats(-3, 3)
SHAPES = st.sampled_from(["box", "ellipsoid", "rod", "profile"])


def shape(kind: str, size: tuple[float, ...], place: tuple[float, ...], yaw: float, pitch: float) -> Solids:
    thing = Assembly(1)
    if kind == "box":
        thing.box((0, 0, 0), size, yaw=yaw, pitch=pitch)
    elif kind == "ellipsoid":
        thing.ellipsoid((0, 0, 0), size, yaw=yaw, pitch=pitch)
    elif kind == "rod":
        thing.rod((0, 0, 0), (size[0], np.sin(pitch), size[2]), size[1])
    else:
        outline = [(-size[0], 0), (size[0], 0), (size[0] / 2, size[2]), (-size[0] / 3, size[2])]
        thing.profile(outline, size[1], lean=0.1 * np.sin(pitch), chamfer=0.05)
    return placed(thing, place, yaw)


def directions(seed: int, n: int = 40) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@settings(max_examples=60)
@given(SHAPES, SIZES, PLACES, ANGLES, ANGLES, st.integers(0, 99))
def test_spans_agree_with_numpy(
    kind: str, size: tuple[float, ...], place: tuple[float, ...], yaw: float, pitch: float, seed: int
) -> None:
    solids, many = shape(kind, size, place, yaw, pitch), directions(seed)
    many = np.concatenate([many, solids.numbers[:1, :3] / (np.linalg.norm(solids.numbers[0, :3]) + 1e-9)])
    low, high = spans(solids, 0, many)
    for direction, enter, leave in zip(many, low, high, strict=True):
        found = span(solids, direction)
        if enter < leave - 1e-6:
            assert np.allclose(found, (enter, leave), rtol=1e-7, atol=1e-7)
        elif enter > leave + 1e-6:
            assert found[0] >= found[1] - 1e-7


@settings(max_examples=40)
@given(SHAPES, SIZES, PLACES, ANGLES, ANGLES)
def test_between_enter_and_leave_is_inside_and_beyond_is_not(
    kind: str, size: tuple[float, ...], place: tuple[float, ...], yaw: float, pitch: float
) -> None:
    solids = shape(kind, size, place, yaw, pitch)
    middle = solids.numbers[0, :3]
    direction = middle / (np.linalg.norm(middle) + 1e-12) if np.linalg.norm(middle) > 1e-3 else AHEAD
    low, high = span(solids, direction)
    if high - low < 1e-6:
        return
    share = np.array([1e-6, 0.25, 0.5, 0.75, 1 - 1e-6])
    assert inside(solids, 0, (low + share * (high - low))[:, None] * direction).all()
    beyond = np.array([low - 1e-4 * (1 + abs(low)), high + 1e-4 * (1 + abs(high))])
    assert not inside(solids, 0, beyond[:, None] * direction).any()


@settings(max_examples=30)
@given(SHAPES, SIZES, st.floats(0, 6.2), ANGLES, st.floats(-np.pi, np.pi))
def test_a_turn_of_the_world_turns_the_hits(
    kind: str, size: tuple[float, ...], azimuth: float, pitch: float, turn: float
) -> None:
    place = (9 * np.cos(azimuth), 9 * np.sin(azimuth), 0.4)
    one = shape(kind, size, place, 0.0, pitch)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    other = shape(kind, size, tuple(rotation @ place), 0.0, pitch)
    numbers = other.numbers.copy()
    numbers[0, :3] = rotation @ one.numbers[0, :3]
    numbers[0, 3:12] = (one.numbers[0, 3:12].reshape(3, 3) @ rotation.T).ravel()
    turned = Solids(**{**other.__dict__, "numbers": numbers})
    direction = one.numbers[0, :3] / np.linalg.norm(one.numbers[0, :3])
    assert np.allclose(span(one, direction), span(turned, rotation @ direction), atol=1e-9)


@settings(max_examples=25)
@given(SHAPES, SIZES, st.floats(0, 6.2), ANGLES, ANGLES)
def test_the_cells_in_which_a_solid_is_drawn_hold_all_of_it(
    kind: str, size: tuple[float, ...], azimuth: float, yaw: float, pitch: float
) -> None:
    """The cast looks only at rays near the solid; numpy looks at all of them."""
    solids, grid = shape(kind, size, (7 * np.cos(azimuth), 7 * np.sin(azimuth), 0.3), yaw, pitch), rays(30, 4.0)
    hits = cast(grid, solids)
    low, high = spans(solids, 0, grid.directions.reshape(-1, 3))
    sure = (high - low > 1e-6) & (low > 1e-3)
    assert (hits.solid.ravel()[sure] == 0).all()
    assert (hits.solid.ravel()[(high < low) | (high < 0)] == -1).all()


@pytest.mark.parametrize("lean", [-0.2, -0.03, 0.0, 0.3])
@pytest.mark.parametrize("chamfer", [0.0, 0.2])
def test_a_profile_that_leans_either_way_is_seen_whole(lean: float, chamfer: float) -> None:
    """A bin is wider above than below; no ray through its top may be forgotten."""
    thing = Assembly(1)
    thing.profile([(-0.5, 0), (0.5, 0), (0.5, 2), (-0.5, 2)], 1.0, lean=lean, chamfer=chamfer)
    solids, grid = placed(thing, (4, 0, -1)), rays(120, 0.25, 60.0)
    hits = cast(grid, solids)
    low, high = spans(solids, 0, grid.directions.reshape(-1, 3))
    sure = high - low > 1e-6
    assert sure.sum() > 100
    assert (hits.solid.ravel()[sure] == 0).all()


@pytest.mark.parametrize("lean", [-0.2, 0.0, 0.15])
def test_the_extent_of_a_profile_holds_it(lean: float) -> None:
    thing = Assembly(1)
    thing.profile([(-0.5, 0), (0.5, 0), (0.5, 2), (-0.5, 2)], 1.0, lean=lean)
    (low, high), solids = thing.extent(), placed(thing, (0, 0, 0))
    points = np.random.default_rng(0).uniform((-1, -1.5, -0.5), (1, 1.5, 2.5), (20_000, 3))
    held = points[inside(solids, 0, points)]
    assert (held >= low - 1e-9).all() and (held <= high + 1e-9).all()
    assert np.allclose(held.min(0), low, atol=0.1) and np.allclose(held.max(0), high, atol=0.1)


def test_normals_of_simple_solids() -> None:
    grid = rays(41, 1.0, 90.0)
    middle = np.unravel_index(np.argmax(grid.directions[..., 0]), grid.directions.shape[:2])
    face = cast(grid, box((2, 20, 20), (6, 0, 0)))
    assert (face.solid >= 0).any()
    assert np.allclose(face.normals[middle], (-1, 0, 0))
    round_ = cast(grid, ball(2.0, (6, 0, 0)))
    seen = round_.solid >= 0
    at = round_.depth[seen, None] * grid.directions[seen]
    assert np.allclose(round_.normals[seen], (at - (6, 0, 0)) / 2.0, atol=1e-9)
    pole = cast(grid, rod((6, 0, -9), (6, 0, 9), 1.0))
    seen = pole.solid >= 0
    at = pole.depth[seen, None] * grid.directions[seen]
    assert np.allclose(pole.normals[seen][:, :2], (at - (6, 0, 0))[:, :2], atol=1e-9)
    assert np.allclose(pole.normals[seen][:, 2], 0)


def test_the_cap_of_a_cylinder_has_the_direction_of_its_axis() -> None:
    grid = rays(41, 1.0, 90.0)
    hits = cast(grid, rod((5, 0, 0), (8, 0, 0), 1.0))
    cap = (hits.solid >= 0) & (np.abs(hits.depth * grid.directions[..., 0] - 5) < 1e-9)
    assert cap.sum() > 20
    assert np.allclose(hits.normals[cap], (-1, 0, 0))
