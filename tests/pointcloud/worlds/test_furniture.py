"""Furniture and fixtures, piece by piece: sizes, classes, and that they stand on the floor before the wall."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from recon3d.pointcloud.worlds import ROOM_CLASSES, fixtures, furniture
from recon3d.pointcloud.worlds.furniture import class_of, piece, shade, strew
from recon3d.pointcloud.worlds.materials import BOOKS, GLAZED, PATTERN, TILES, WOOD
from recon3d.pointcloud.worlds.solids import Assembly

Maker = Callable[[np.random.Generator], Assembly]
MAKERS: dict[str, Maker] = {
    "table": furniture.table,
    "desk": furniture.desk,
    "chair": furniture.chair,
    "sofa": furniture.sofa,
    "bed": furniture.bed,
    "cabinet": furniture.cabinet,
    "bookshelf": furniture.bookshelf,
    "otherfurniture": furniture.other,
    "counter": fixtures.counter,
    "sink": fixtures.sink,
    "toilet": fixtures.toilet,
    "bathtub": fixtures.bathtub,
    "curtain": fixtures.curtain,
    "refrigerator": fixtures.refrigerator,
    "picture": fixtures.picture,
    "door": fixtures.door,
    "window": fixtures.window,
}
# Least and greatest width, depth and height.
SIZES = {
    "table": ((0.55, 0.45, 0.3), (2.0, 1.4, 1.15)),
    "desk": ((0.95, 0.5, 0.65), (2.3, 1.3, 1.35)),
    "chair": ((0.38, 0.38, 0.7), (0.75, 1.0, 1.25)),
    "sofa": ((0.8, 0.75, 0.6), (2.7, 1.1, 1.15)),
    "bed": ((0.85, 1.85, 0.7), (2.9, 2.6, 1.25)),
    "cabinet": ((0.35, 0.25, 0.45), (1.95, 0.75, 2.3)),
    "bookshelf": ((0.6, 0.24, 0.95), (1.7, 0.4, 2.3)),
    "otherfurniture": ((0.2, 0.1, 0.25), (1.4, 1.1, 1.9)),
    "counter": ((1.35, 0.55, 0.85), (3.3, 0.85, 2.3)),
    "sink": ((0.4, 0.4, 0.7), (0.75, 0.6, 1.15)),
    "toilet": ((0.38, 0.6, 0.75), (0.45, 0.75, 0.95)),
    "bathtub": ((1.4, 0.65, 0.45), (2.0, 0.95, 2.0)),
    "curtain": ((0.45, 0.05, 1.0), (1.9, 0.25, 2.45)),
    "refrigerator": ((0.55, 0.6, 1.15), (0.95, 0.9, 1.9)),
    "picture": ((0.3, 0.02, 0.3), (1.35, 0.06, 0.95)),
    "door": ((0.9, 0.04, 2.0), (1.4, 1.2, 2.2)),
    "window": ((0.7, 0.05, 0.75), (4.3, 0.4, 2.5)),
}
EVERY = pytest.mark.parametrize("name", list(MAKERS))


@cache
def many(name: str, n: int = 40) -> list[Assembly]:
    rng = np.random.default_rng(1)
    return [MAKERS[name](rng) for _ in range(n)]


def labels(thing: Assembly) -> np.ndarray:
    return np.array([look[0] for look in thing.looks])


def materials(thing: Assembly) -> np.ndarray:
    return np.array([look[1] for look in thing.looks])


@EVERY
def test_sizes_are_those_of_the_kind(name: str) -> None:
    found = np.array([np.subtract(*thing.extent()[::-1]) for thing in many(name)])
    low, high = SIZES[name]
    assert (found.min(0) > np.array(low) - 1e-6).all(), found.min(0)
    assert (found.max(0) < np.array(high)).all(), found.max(0)


@EVERY
def test_sizes_differ_from_piece_to_piece(name: str) -> None:
    found = np.array([np.subtract(*thing.extent()[::-1]) for thing in many(name)])
    assert name == "toilet" or np.ptp(found, axis=0).max() > 0.1


@EVERY
def test_pieces_carry_their_class(name: str) -> None:
    other = {"counter": {"sink", "cabinet", "wall"}, "sink": {"cabinet"}, "bathtub": {"shower curtain"}}
    other |= {"window": {"curtain"}}
    for thing in many(name):
        names = {ROOM_CLASSES[label] for label in labels(thing) if label >= 0}
        assert name in names and names <= {name, *other.get(name, ())}
        assert thing.label == class_of(name)


@EVERY
def test_pieces_stand_on_the_floor_or_hang_on_the_wall(name: str) -> None:
    hung = {"picture", "window", "curtain", "cabinet"}
    for thing in many(name):
        low = thing.extent()[0][2]
        assert low > -0.06
        assert low < 0.12 or name in hung


@EVERY
def test_pieces_stand_before_the_wall_and_in_the_middle_of_their_place(name: str) -> None:
    for thing in many(name):
        low, high = thing.extent()
        assert low[1] > -0.26 and high[1] > 0
        if name not in (
            "chair",
            "otherfurniture",
            "bed",
            "desk",
            "table",
            "curtain",
            "window",
            "cabinet",
            "counter",
            "door",
        ):
            assert np.isclose(low[0], -high[0], atol=0.06)


@EVERY
def test_parts_are_sound(name: str) -> None:
    for thing in many(name):
        rows, colours = np.array(thing.rows), np.array([look[2] for look in thing.looks])
        assert np.isfinite(rows).all() and (rows[:, 12:15] > 0).all() and (rows[:, 15] >= 0).all()
        assert ((colours >= 0) & (colours <= 1)).all() and colours.shape == (len(rows), 3)
        frames = rows[:, 3:12].reshape(-1, 3, 3)
        assert np.allclose(frames @ frames.transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert not any(thing.aside)


@EVERY
def test_a_seed_makes_the_same_piece(name: str) -> None:
    one, again = (MAKERS[name](np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one.rows, again.rows) and one.looks == again.looks


def test_classes_have_their_numbers_and_others_have_none() -> None:
    assert [class_of(name) for name in ROOM_CLASSES] == list(range(20))
    assert class_of("lamp") == -1 == piece("lamp").label
    assert piece("sofa").label == ROOM_CLASSES.index("sofa") and not piece("sofa").rows


@pytest.mark.parametrize("kind", ["any", "wood", "white", "dark", "grey", "vivid"])
def test_shades_are_colours_of_their_kind(kind: str) -> None:
    rng = np.random.default_rng(0)
    found = np.array([shade(rng, kind) for _ in range(200)])
    assert (found >= 0.02).all() and (found <= 1).all()
    mean = found.mean(0)
    if kind == "wood":
        assert mean[0] > mean[1] > mean[2]
    if kind == "white":
        assert mean.min() > 0.65
    if kind == "dark":
        assert mean.max() < 0.3
    if kind == "grey":
        assert np.ptp(found, axis=1).mean() < 0.12
    if kind == "any":
        assert found.std(0).min() > 0.15


def test_small_things_lie_on_the_top_and_have_no_class() -> None:
    rng, size = np.random.default_rng(0), np.array([1.5, 0.8, 0.75])
    for _ in range(30):
        top = Assembly(5)
        strew(top, rng, size, 4)
        assert len(top.rows) <= 4
        for row, look in zip(top.rows, top.looks, strict=True):
            assert np.isclose(row[2] - row[14], 0.75) and look[0] == -1
            assert abs(row[0]) <= 0.6 and 0.16 <= row[1] <= 0.64


def test_tables_have_a_level_top_at_the_height_of_tables() -> None:
    coffee = 0
    for thing in many("table", 60):
        rows = np.array(thing.rows)[labels(thing) == class_of("table")]
        top = rows[:, 2] + np.abs(rows[:, 5]) * rows[:, 12] + np.abs(rows[:, 8]) * rows[:, 13]
        height = (rows[:, 2] + np.where(np.abs(rows[:, 11]) > 0.9, rows[:, 14], 0)).max()
        assert 0.34 <= height <= 0.79 and top.max() <= height + 1e-6 + 0.5
        coffee += height < 0.6
    assert 8 < coffee < 35


def test_chairs_have_a_seat_at_the_height_of_knees_and_a_back_above() -> None:
    for thing in many("chair", 60):
        seat = thing.rows[0]
        assert 0.35 < seat[2] < 0.48 and 0.4 <= 2 * seat[12] <= 0.55
        back = thing.rows[1]
        assert back[2] > seat[2] + 0.1 and back[1] < seat[1]  # behind the middle of the seat


def test_the_back_of_a_chair_stands_upright() -> None:
    """Its thinnest side looks forward, leaning by at most a fifth."""
    for thing in many("chair", 60):
        back = np.array(thing.rows[1])
        frame, half = back[3:12].reshape(3, 3), back[12:15]
        across = frame[np.argmin(half)]
        assert abs(across[2]) < 0.25 and abs(across[1]) > 0.95, across


def test_beds_have_a_head_at_the_wall_and_lie_lower() -> None:
    for thing in many("bed"):
        head = np.array(thing.rows[2])
        assert head[1] < 0.1 and head[2] + head[14] >= 0.9
        mattress = np.array(thing.rows[1])
        assert mattress[2] + mattress[14] <= 0.66


def test_shelves_hold_books_between_their_boards() -> None:
    for thing in many("bookshelf"):
        rows, books = np.array(thing.rows), materials(thing) == BOOKS
        low, high = thing.extent()
        assert (rows[books, 0] - rows[books, 12] > low[0] - 1e-6).all()
        assert (rows[books, 0] + rows[books, 12] < high[0] + 1e-6).all()
        assert (rows[books, 2] + rows[books, 14] < high[2] + 0.01).all()
    assert sum((materials(thing) == BOOKS).sum() for thing in many("bookshelf")) > 100


def test_cabinets_have_fronts_and_some_hang_on_the_wall() -> None:
    hung = [thing.extent()[0][2] > 1.0 for thing in many("cabinet", 80)]
    assert 0.03 < np.mean(hung) < 0.35
    for thing in many("cabinet"):
        assert (materials(thing) == WOOD).sum() >= 2


def test_counters_have_a_sink_on_cabinets_and_tiles_behind() -> None:
    above = 0
    for thing in many("counter"):
        names = {ROOM_CLASSES[label] for label in labels(thing) if label >= 0}
        assert names >= {"counter", "sink", "cabinet", "wall"} and TILES in materials(thing)
        above += thing.extent()[1][2] > 1.6
    assert 15 < above < 38


def test_windows_have_panes_in_a_frame_and_doors_reach_the_floor() -> None:
    for thing in many("window"):
        own = labels(thing) == class_of("window")
        assert (materials(thing) == GLAZED).sum() == 1
        rows = np.array(thing.rows)[own]
        assert (rows[:, 2] - rows[:, 14]).min() > 0.55
    for thing in many("door"):
        assert thing.extent()[0][2] < 0.01 and thing.extent()[1][2] < 2.2


def test_some_doors_are_ajar() -> None:
    deep = np.array([thing.extent()[1][1] for thing in many("door", 80)])
    assert 0.08 < (deep > 0.4).mean() < 0.45


def test_pictures_hang_at_eye_height_with_a_pattern_before_the_frame() -> None:
    for thing in many("picture"):
        frame, canvas = np.array(thing.rows)
        assert 1.35 <= frame[2] <= 1.7 and canvas[1] > frame[1]
        assert (canvas[12:15:2] < frame[12:15:2]).all() and PATTERN in materials(thing)


def test_bathtubs_are_hollow() -> None:
    for thing in many("bathtub"):
        low, high = np.array(thing.rows)[:5].min(0), np.array(thing.rows)[:5].max(0)
        middle = np.array([0.0, (low[1] + high[1]) / 2, 0.35])
        rows = np.array(thing.rows)[labels(thing) == class_of("bathtub")]
        held = (np.abs(rows[:, :3] - middle) < rows[:, 12:15]).all(1)
        assert not held.any()


def test_curtains_hang_in_folds_and_some_only_below_the_window_sill() -> None:
    bottoms = [thing.extent()[0][2] for thing in many("curtain", 80)]
    assert min(bottoms) < 0.1 and max(bottoms) > 0.3
    for thing in many("curtain"):
        assert len(thing.rows) >= 3 and np.allclose(np.abs(np.array(thing.rows)[:, 11]), 1)


def test_other_furniture_is_of_seven_kinds() -> None:
    forms = {(len(thing.rows), thing.kinds[0]) for thing in many("otherfurniture", 120)}
    assert len(forms) >= 5


def test_lamps_bins_and_plants_have_the_class_but_nothing_else() -> None:
    for thing in many("otherfurniture", 120):
        assert set(labels(thing)) == {class_of("otherfurniture")}
