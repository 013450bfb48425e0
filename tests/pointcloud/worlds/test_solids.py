"""Assemblies: their extent, their outlines, and where they are placed."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.worlds.solids import Assembly, Gathering, convex_outline, rotation_y, rotation_z


def test_the_extent_of_a_tilted_rod_holds_its_round_caps() -> None:
    thing = Assembly()
    thing.rod((0, 0, 0), (3, 0, 4), 0.5)
    low, high = thing.extent()
    assert np.allclose(low, (-0.4, -0.5, -0.3))
    assert np.allclose(high, (3.4, 0.5, 4.3))


def test_the_extent_leaves_out_what_stands_aside() -> None:
    thing = Assembly()
    thing.box((0, 0, 1), (2, 2, 2))
    thing.ellipsoid((0, 3, 1), (1, 1, 1), aside=True)
    low, high = thing.extent()
    assert np.allclose((low, high), ((-1, -1, 0), (1, 1, 2)))


def test_a_turned_box_is_as_wide_as_its_diagonal() -> None:
    thing = Assembly()
    thing.box((0, 0, 0), (1, 1, 1), yaw=np.pi / 4)
    assert np.allclose(thing.extent()[1], (np.sqrt(0.5), np.sqrt(0.5), 0.5))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_convex_outline_turns_left_and_holds_all_points(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(12, 2))
    hull = convex_outline(points)
    edges = np.roll(hull, -1, axis=0) - hull
    offsets = points[None] - hull[:, None]
    assert (edges[:, None, 0] * offsets[..., 1] - edges[:, None, 1] * offsets[..., 0] > -1e-9).all()


def test_parts_of_parts_are_placed_as_if_placed_at_once() -> None:
    inner, outer, once = Assembly(), Assembly(), Assembly()
    inner.box((1, 0, 0), (1, 2, 3))
    outer.add(inner, (0, 2, 0), np.pi / 2)
    once.box((0, 3, 0), (1, 2, 3), yaw=np.pi / 2)
    assert np.allclose(outer.rows, once.rows)


def test_instances_count_from_one_and_nothing_else_has_a_number() -> None:
    gathering, thing = Gathering(), Assembly(4)
    thing.box((0, 0, 0), (1, 1, 1))
    thing.ellipsoid((0, 0, 0), (1, 1, 1), label=2)
    numbers = [gathering.place(thing, (0, 0, 0), instance=flag) for flag in (True, False, True)]
    solids = gathering.solids()
    assert numbers == [1, 0, 2]
    assert solids.instances.tolist() == [1, 1, 0, 0, 2, 2]
    assert solids.labels.tolist() == [4, 2] * 3
    assert len(solids.planes) == 18
    assert gathering.place(Assembly(), (0, 0, 0), instance=True) == 0


def test_nothing_placed_gives_no_solids() -> None:
    assert len(Gathering().solids()) == 0


def test_an_unknown_look_is_an_error() -> None:
    with pytest.raises(TypeError, match="shine"):
        Assembly().box((0, 0, 0), (1, 1, 1), shine=1)


def test_rotations_turn_forward_to_the_left_and_up_to_the_front() -> None:
    assert np.allclose(rotation_z(np.pi / 2) @ (1, 0, 0), (0, 1, 0))
    assert np.allclose(rotation_y(np.pi / 2) @ (0, 0, 1), (1, 0, 0))


def test_moved_solids_keep_everything_but_their_place() -> None:
    gathering, thing = Gathering(), Assembly(1)
    thing.box((1, 2, 3), (1, 1, 1))
    gathering.place(thing, (0, 0, 0))
    moved = gathering.solids().moved(np.array([1.0, 0, -1]))
    assert np.allclose(moved.numbers[0, :3], (2, 2, 2))
    assert np.allclose(moved.numbers[0, 3:], gathering.solids().numbers[0, 3:])
