"""Where furniture stands: in the room, at the walls, and not in other furniture; and that the shell is closed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import UsageError
from recon3d.core.seeds import generator
from recon3d.pointcloud.worlds import ROOM_CLASSES, RoomOptions, StreetOptions, generate_room
from recon3d.pointcloud.worlds.casting import cast
from recon3d.pointcloud.worlds.room_plan import _KINDS, ROOM_KINDS, Plan, _rectangle
from recon3d.pointcloud.worlds.rooms import _cameras
from recon3d.pointcloud.worlds.solids import CYLINDER, ELLIPSOID, Solids
from tests.support.world_oracle import inside, rays

WALL, FLOOR = ROOM_CLASSES.index("wall"), ROOM_CLASSES.index("floor")
SEATED = {"chair", "table", "desk"}  # a chair is pushed under these


@cache
def plan(seed: int, kind: str, ceiling: bool = False, clutter: float = 1.0) -> Plan:
    made = Plan(rng=generator(seed, "plan", kind), kind=kind, ceiling=ceiling, clutter=clutter)
    made.furnish()
    return made


def reach(solids: Solids) -> np.ndarray:
    """Half sizes along the axes of the world."""
    axes = solids.numbers[:, 3:12].reshape(-1, 3, 3) * solids.numbers[:, 12:15, None]
    found = np.abs(axes).sum(1)
    kinds = solids.codes[:, 0]
    found[kinds == ELLIPSOID] = np.sqrt((axes[kinds == ELLIPSOID] ** 2).sum(1))
    rods = axes[kinds == CYLINDER]
    found[kinds == CYLINDER] = np.sqrt((rods[:, :2] ** 2).sum(1)) + np.abs(rods[:, 2])
    return found


def pieces(made: Plan) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name and bounds of each instance that is no wall and no floor."""
    solids = made.gathering.solids()
    half, found = reach(solids), []
    for number in np.unique(solids.instances[solids.instances > 0]):
        mine = solids.instances == number
        labels = solids.labels[mine & (solids.labels >= 0)]
        if not len(labels) or labels[0] in (WALL, FLOOR):
            continue
        centre = solids.numbers[mine, :3]
        names = [ROOM_CLASSES[label] for label in labels]
        whole = next((each for each in ("counter", "sink", "bathtub", "window") if each in names), names[0])
        found.append((whole, (centre - half[mine]).min(0), (centre + half[mine]).max(0)))
    return found


EVERY = pytest.mark.parametrize("kind", ROOM_KINDS)


@EVERY
def test_rooms_have_the_sizes_of_their_kind(kind: str) -> None:
    low, high = _KINDS[kind][0]
    for seed in range(5):
        made = plan(seed, kind)
        assert ((made.size >= low) & (made.size <= high)).all()
        assert 2.4 <= made.height <= 3.1


@EVERY
def test_walls_close_the_room(kind: str) -> None:
    """From the middle at eye height, every level ray ends at a wall or at what stands before it, within the room."""
    for seed in range(2):
        made = plan(seed, kind)
        solids, grid = made.gathering.solids(), rays(5, 3.0)
        walls = solids.labels == WALL
        only = Solids(
            planes=solids.planes,
            **{n: getattr(solids, n)[walls] for n in Solids.__dataclass_fields__ if n != "planes"},
        )
        flat = grid.directions[2]
        assert np.allclose(flat[:, 2], 0)
        hits = cast(grid, only.moved(-np.array([*made.size / 2, 1.5])))
        at = made.size / 2 + hits.depth[2, :, None] * flat[:, :2]
        if (hits.solid[2] < 0).any():  # the middle may stand in a pillar
            assert any((a <= made.size / 2).all() and (made.size / 2 <= b).all() for a, b in corners_of(made))
        else:
            assert (at > -1e-6).all() and (at < made.size + 1e-6).all()


def corners_of(made: Plan) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(area[:2]), np.array(area[2:])) for area in made.taken]


@EVERY
def test_the_floor_lies_at_zero_under_the_whole_room(kind: str) -> None:
    made = plan(0, kind)
    solids = made.gathering.solids()
    floors = np.flatnonzero(solids.labels == FLOOR)
    top = solids.numbers[floors, 2] + solids.numbers[floors, 14]
    assert np.isclose(top[0], 0) and (np.abs(top) <= 0.011).all()  # a carpet is a centimetre higher
    places = np.random.default_rng(0).uniform(0, made.size, (100, 2))
    below = np.column_stack([places, np.full(100, -0.01)])
    assert inside(solids, int(floors[0]), below).all()


@EVERY
def test_furniture_stands_in_the_room(kind: str) -> None:
    for seed in range(6):
        made = plan(seed, kind)
        for name, low, high in pieces(made):
            assert (low[:2] > -0.25).all() and (high[:2] < made.size + 0.25).all(), name
            assert low[2] > -0.06 and high[2] < 2.6, name


def test_furniture_does_not_stand_in_other_furniture() -> None:
    """Chairs are pushed under tables; of the rest, bounds may share a strip of 15 cm."""
    wrong, count = [], 0
    for kind in ROOM_KINDS:
        for seed in range(8):
            found = pieces(plan(seed, kind))
            count += len(found) * (len(found) - 1) // 2
            for i, (one, low, high) in enumerate(found):
                for other, a, b in found[:i]:
                    common = np.minimum(high, b) - np.maximum(low, a)
                    if (common > 0.15).all() and not {one, other} <= SEATED:
                        wrong.append((kind, seed, one, other))
    assert count > 1000 and len(wrong) <= 3, wrong


@EVERY
def test_every_room_has_a_door_and_what_its_kind_needs(kind: str) -> None:
    """Where there is room for it: small rooms may lack a piece."""
    for seed in range(6):
        names = [name for name, _, _ in pieces(plan(seed, kind))]
        most = {name: high for name, (_, high) in _KINDS[kind][1].items()}
        for name, limit in most.items():
            if name not in ("other", "cabinet", "curtain", "desk"):
                assert names.count(name) <= limit
    found = {name for seed in range(6) for name, _, _ in pieces(plan(seed, kind))}
    assert "door" in found
    assert {name for name, (least, _) in _KINDS[kind][1].items() if least > 0 and name != "other"} <= found


@EVERY
def test_one_label_per_instance_but_for_parts_that_are_other_things(kind: str) -> None:
    solids = plan(1, kind).gathering.solids()
    parts = {"counter": {"sink", "cabinet", "wall"}, "bathtub": {"shower curtain"}, "sink": {"cabinet"}}
    parts |= {"window": {"curtain"}}
    for number in np.unique(solids.instances[solids.instances > 0]):
        labels = solids.labels[solids.instances == number]
        names = {ROOM_CLASSES[label] for label in labels if label >= 0}
        assert len(names) == 1 or any(names <= {whole, *rest} for whole, rest in parts.items()), names


def test_a_ceiling_closes_the_room_and_has_no_class() -> None:
    made = plan(2, "office", True)
    solids = made.gathering.solids()
    top = np.isclose(solids.numbers[:, 2] - solids.numbers[:, 14], made.height)
    assert top.sum() == 1 and solids.labels[top][0] == -1 and solids.instances[top][0] == 0
    without = plan(2, "office", False).gathering.solids()
    assert not (without.labels[without.numbers[:, 2] > made.height] == -1).any()


def test_more_clutter_brings_more_chairs_and_small_things() -> None:
    def count(clutter: float) -> int:
        return sum(len(plan(seed, "meeting", False, clutter).gathering.solids()) for seed in range(4))

    assert count(3.0) > count(0.0)


def test_some_rooms_have_a_corner_cut_out() -> None:
    cut = 0
    for seed in range(30):
        solids = plan(seed, "bedroom").gathering.solids()
        walls = (solids.labels == WALL) & np.isclose(solids.numbers[:, 14] * 2, plan(seed, "bedroom").height)
        assert walls.sum() in (4, 5)
        cut += walls.sum() == 5
    assert 7 < cut < 23


@settings(max_examples=40)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-7, 7), st.tuples(*[st.floats(0.1, 2)] * 4))
def test_the_rectangle_of_a_turned_area_holds_its_corners(
    x: float, y: float, yaw: float, size: tuple[float, ...]
) -> None:
    area = (-size[0], -size[1], size[2], size[3])
    low_x, low_y, high_x, high_y = _rectangle(x, y, yaw, area)
    c, s = np.cos(yaw), np.sin(yaw)
    for u in (area[0], area[2]):
        for v in (area[1], area[3]):
            px, py = x + c * u - s * v, y + s * u + c * v
            assert low_x - 1e-9 <= px <= high_x + 1e-9 and low_y - 1e-9 <= py <= high_y + 1e-9
    assert high_x - low_x <= np.hypot(size[0] + size[2], size[1] + size[3]) + 1e-9


def test_an_area_is_claimed_once_and_only_within_the_room() -> None:
    made = Plan(rng=np.random.default_rng(0), kind="office", ceiling=False, clutter=1.0)
    middle = made.size / 2
    assert made._claim(*middle, 0.0, (-0.3, -0.3, 0.3, 0.3))
    assert not made._claim(*(middle + 0.4), 0.0, (-0.3, -0.3, 0.3, 0.3))
    assert made._claim(*(middle + 0.61), 0.0, (-0.3, -0.3, 0.3, 0.3))
    assert not made._claim(0.1, 0.1, 0.0, (-0.3, -0.3, 0.3, 0.3))
    assert not made._claim(*(made.size - 0.1), 0.5, (-0.3, -0.3, 0.3, 0.3))
    assert len(made.taken) == 2


@EVERY
def test_what_is_taken_is_disjoint_but_for_seats(kind: str) -> None:
    for seed in range(4):
        areas = [area for area in plan(seed, kind).taken if not np.isclose(area[2] - area[0], 0.7)]
        for i, a in enumerate(areas):
            for b in areas[:i]:
                assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


@EVERY
def test_cameras_stand_in_the_room_at_eye_height_and_look_all_around(kind: str) -> None:
    made = plan(0, kind)
    views = _cameras(np.random.default_rng(0), made, 24)
    assert views.shape == (24, 5)
    assert (views[:, :2] >= 0.35).all() and (views[:, :2] <= made.size - 0.35).all()
    assert (views[:, 2] >= 1.3).all() and (views[:, 2] <= 1.8).all()
    assert np.abs(np.exp(1j * views[:, 3]).mean()) < 0.25
    assert views[:, 4].min() > -100 and views[:, 4].max() < -10


def test_a_seed_plans_the_same_room() -> None:
    for kind in ROOM_KINDS[:3]:
        one, again, other = (
            Plan(rng=generator(seed, "same", kind), kind=kind, ceiling=False, clutter=1.0) for seed in (1, 1, 2)
        )
        for each in (one, again, other):
            each.furnish()
        solids = [each.gathering.solids() for each in (one, again, other)]
        assert solids[0].numbers.tobytes() == solids[1].numbers.tobytes()
        assert solids[0].numbers.shape != solids[2].numbers.shape or (solids[0].numbers != solids[2].numbers).any()


# --- options ---


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"kind": "cellar"}, "bedroom"),
        ({"n_points": 0}, "at least one"),
        ({"n_views": -3}, "at least one"),
        ({"voxel_m": float("nan")}, "positive metres"),
        ({"voxel_m": float("inf")}, "positive metres"),
        ({"noise_m": -0.1}, "0 or more"),
        ({"clutter": -1.0}, "0 or more"),
        ({"clutter": float("inf")}, "0 or more"),
    ],
)
def test_room_options_say_what_would_do(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match="expected: ") as caught:
        RoomOptions(**wrong)  # type: ignore[arg-type]
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"beams": "17"}, "16, 32"),
        ({"manner": "village"}, "city, residential"),
        ({"sector_deg": 361.0}, "360"),
        ({"sector_deg": float("nan")}, "360"),
        ({"mount_m": (1.0, float("inf"))}, "rising metres"),
        ({"mount_m": (-1.0, 2.0)}, "rising metres"),
        ({"azimuth_step_deg": 0.0}, "degrees"),
        ({"azimuth_step_deg": -0.2}, "degrees"),
        ({"azimuth_step_deg": float("nan")}, "degrees"),
        ({"min_range_m": 50.0, "max_range_m": 20.0}, "below max_range_m"),
        ({"min_range_m": -1.0}, "below max_range_m"),
        ({"max_range_m": float("nan")}, "below max_range_m"),
        ({"density": -0.5}, "0 or more"),
        ({"density": float("inf")}, "0 or more"),
        ({"gain": -1.0}, "0 or more"),
    ],
)
def test_street_options_say_what_would_do(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match="expected: ") as caught:
        StreetOptions(**wrong)  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_options_at_their_ends_are_allowed() -> None:
    StreetOptions(sector_deg=360.0, azimuth_step_deg=90.0, density=0.0, gain=0.0, min_range_m=0.0, min_points=0)
    RoomOptions(n_points=1, n_views=1, noise_m=0.0, clutter=0.0)


def test_a_room_of_one_view_and_one_point() -> None:
    cloud = generate_room(3, RoomOptions(n_points=1, n_views=1))
    assert len(cloud) == 1 and np.isfinite(cloud.xyz).all()
    assert cloud.attributes["rgb"].shape == (1, 3)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="seed"):
        generate_room(-4)
