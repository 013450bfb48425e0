"""Vehicles, people and what stands beside a street: sizes, and that they stand on the ground."""

import numpy as np
import pytest

from recon3d.pointcloud.worlds import people, roadside, vehicles
from recon3d.pointcloud.worlds.materials import BICYCLIST, CAR, CLUTTER, FENCE, PERSON, TRUNK, VEGETATION

_SIZES = {
    vehicles.car: ((3.3, 1.5, 1.2), (6.2, 2.2, 2.9)),
    vehicles.truck: ((5.9, 2.0, 2.2), (12.2, 2.7, 4.2)),
    vehicles.other_vehicle: ((2.0, 1.3, 0.9), (13.2, 2.7, 3.5)),
    people.pedestrian: ((0.2, 0.3, 1.0), (1.6, 0.9, 2.1)),
    people.cyclist: ((1.4, 0.4, 1.4), (2.2, 0.8, 2.0)),
    people.bicycle: ((1.4, 0.4, 0.9), (2.1, 0.7, 1.2)),
}


@pytest.mark.parametrize("maker", _SIZES)
def test_sizes_are_those_of_the_kind(maker) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    low, high = _SIZES[maker]
    for _ in range(40):
        a, b = maker(rng).extent()
        assert ((b - a) > low).all() and ((b - a) < high).all()


@pytest.mark.parametrize("maker", _SIZES)
def test_targets_stand_on_the_ground(maker) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    for _ in range(40):
        assert abs(maker(rng).extent()[0][2]) < 0.12


@pytest.mark.parametrize(
    ("maker", "label"), [(vehicles.car, CAR), (people.pedestrian, PERSON), (people.cyclist, BICYCLIST)]
)
def test_parts_carry_the_class_of_the_target(maker, label: int) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    for _ in range(40):
        assert {look[0] for look in maker(rng).looks} <= {label, CLUTTER}


def test_a_tree_has_a_solid_trunk_below_a_porous_crown() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        thing = roadside.tree(rng)
        labels = np.array([look[0] for look in thing.looks])
        density = np.array(thing.rows)[:, 15]
        assert (density[labels == TRUNK] == 0).all() and (density[labels == VEGETATION] > 0).all()
        assert set(labels) == {TRUNK, VEGETATION}


def test_a_hedge_is_vegetation_and_the_other_fences_are_not() -> None:
    rng = np.random.default_rng(4)
    kinds = [{look[0] for look in roadside.fence(rng, 2.4, kind, 1.2).looks} for kind in range(6)]
    assert kinds == [{FENCE}, {FENCE}, {FENCE}, {FENCE}, {VEGETATION}, {FENCE}]


def test_clutter_is_no_target() -> None:
    rng = np.random.default_rng(5)
    for _ in range(80):
        assert not {CAR, PERSON, BICYCLIST} & {look[0] for look in roadside.clutter(rng).looks}


@pytest.mark.parametrize("maker", [roadside.house, roadside.block])
def test_the_front_of_a_building_faces_the_street(maker) -> None:  # type: ignore[no-untyped-def]
    low, high = maker(np.random.default_rng(6), 12.0, 9.0).extent()
    assert low[1] > -2.5 and high[1] >= 9.0
