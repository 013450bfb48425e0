"""Depth order and tile lists: what comes out is a property, whatever the sorting does inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import ResourceError
from recon3d.core.kernels import threads
from recon3d.render.gaussians import cpu_tiles
from recon3d.render.gaussians.cpu_tiles import TileGrid, bin_ellipses, depth_order, tile_lists

Array = np.ndarray[Any, Any]


def box_scene(seed: int, n: int = 200) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    means = rng.uniform(-30, 130, (n, 2)).astype(np.float32)
    radii = rng.integers(0, 25, (n, 2)).astype(np.int32)
    return means, radii, rng.integers(1, 20, n).astype(np.float32)  # many equal depths


@settings(max_examples=50)
@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), max_size=60))
def test_depth_order_is_stable(depths: list[float]) -> None:
    values = np.array(depths, np.float32) + np.float32(0)  # minus zero becomes zero
    np.testing.assert_array_equal(depth_order(values), np.argsort(values, kind="stable"))


def test_infinite_depths_are_sorted_too() -> None:
    values = np.array([np.inf, 1, -np.inf, 3e38, -1e-40, 0], np.float32)
    assert depth_order(values).tolist() == [2, 4, 5, 1, 3, 0]


@pytest.mark.parametrize("size", [7, 16])
@pytest.mark.parametrize("seed", range(3))
def test_tile_lists_hold_every_box_in_order(seed: int, size: int) -> None:
    means, radii, depths = box_scene(seed)
    nx, ny = 6, 5
    starts, members = tile_lists(means, radii, depths, size, nx, ny)
    assert starts[0] == 0 and starts[-1] == len(members) and len(starts) == nx * ny + 1
    first, last = np.floor((means - radii) / size), np.ceil((means + radii) / size)
    for tile in range(nx * ny):
        x, y = tile % nx, tile // nx
        inside = (first[:, 0] <= x) & (x < last[:, 0]) & (first[:, 1] <= y) & (y < last[:, 1]) & (radii > 0).all(1)
        wanted = np.flatnonzero(inside)
        wanted = wanted[np.argsort(depths[wanted], kind="stable")]
        np.testing.assert_array_equal(members[starts[tile] : starts[tile + 1]], wanted)


def test_nothing_gives_empty_lists() -> None:
    none = np.zeros((0, 2), np.float32)
    starts, members = tile_lists(none, none.astype(np.int32), none[:, 0], 16, 3, 2)
    assert starts.tolist() == [0] * 7 and len(members) == 0


def ellipses(seed: int, n: int) -> tuple[Array, Array, Array]:
    """Return records and boxes of random ellipses, with the (a, b, d) of their factors."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.uniform(0.05, 1, n), rng.uniform(-0.6, 0.6, n), rng.uniform(0.05, 1, n)], 1)
    a, b, d = factors.T
    records = np.zeros((n, 12), np.float32)
    records[:, :2], records[:, 2:5], records[:, 5] = rng.uniform(-20, 100, (n, 2)), factors, 0
    reach = 6.0  # u^2 + v^2 on the edge
    records[:, 6], records[:, 7] = np.sqrt(reach * (b * b + d * d)) / (a * d), np.sqrt(reach) / d
    return records, np.ceil(records[:, 6:8]), factors


def test_ellipses_are_in_all_tiles_that_they_touch_and_in_few_others() -> None:
    records, boxes, _ = ellipses(0, 300)
    grid = TileGrid(16, 5, 5)
    lists = bin_ellipses(records, boxes, np.arange(300, dtype=np.int32), grid)
    y, x = np.mgrid[:80, :80] + 0.5
    listed = touched = 0
    for tile in range(25):
        members = set(lists.members[lists.starts[tile] : lists.starts[tile + 1]].tolist())
        rows, columns = slice(tile // 5 * 16, tile // 5 * 16 + 16), slice(tile % 5 * 16, tile % 5 * 16 + 16)
        for i, (mx, my, a, b, d) in enumerate(records[:, :5].astype(float).tolist()):
            dx, dy = x[rows, columns] - mx, y[rows, columns] - my
            hit = bool((((a * dx + b * dy) ** 2 + (d * dy) ** 2) <= 6.0 - 1e-4).any())
            assert not hit or i in members
            touched += hit
        listed += len(members)
    assert touched <= listed < 1.05 * touched


def test_slots_order_the_pairs_by_gaussian() -> None:
    records, boxes, _ = ellipses(1, 500)
    order = np.random.default_rng(1).permutation(500).astype(np.int32)
    lists = bin_ellipses(records, boxes, order, TileGrid(16, 5, 5))
    assert sorted(lists.slots.tolist()) == list(range(len(lists.slots)))
    owner = np.repeat(np.arange(500), np.diff(lists.slot_starts))
    np.testing.assert_array_equal(owner[lists.slots], lists.members)
    place = np.argsort(order)
    for tile in range(25):  # in each tile they stand in the order that was given
        assert (np.diff(place[lists.members[lists.starts[tile] : lists.starts[tile + 1]]]) > 0).all()


def test_chunks_and_threads_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    records, boxes, _ = ellipses(2, 500)
    order = np.random.default_rng(2).permutation(500).astype(np.int32)
    whole = bin_ellipses(records, boxes, order, TileGrid(16, 5, 5))
    monkeypatch.setattr(cpu_tiles, "_CHUNK", 16)
    for n_threads in (1, 2, 5):
        with threads(n_threads):
            parts = bin_ellipses(records, boxes, order, TileGrid(16, 5, 5))
        for name in ("starts", "members", "slots", "slot_starts"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_too_many_pairs_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_tiles, "MAX_PAIRS", 100)
    means, radii, depths = box_scene(0)
    with pytest.raises(ResourceError, match="too many Gaussians overlap the image"):
        tile_lists(means, radii, depths, 16, 6, 5)
