"""The hand-held camera of rooms: its views, noise and holes, and the looks of surfaces."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.worlds import ROOM_CLASSES, RoomOptions, generate_room
from recon3d.pointcloud.worlds.materials import BOOKS, FABRIC, GLAZED, PATTERN, PLAIN, TILES, WOOD
from recon3d.pointcloud.worlds.scanning import painted, scan, thinned, view_grid, warped
from recon3d.pointcloud.worlds.solids import Assembly, Gathering, Solids
from tests.support.world_oracle import first_hits, placed

WALL, FLOOR = ROOM_CLASSES.index("wall"), ROOM_CLASSES.index("floor")


@settings(max_examples=25)
@given(st.floats(-3, 3), st.floats(-80, 10), st.floats(20, 60), st.floats(40, 90))
def test_a_view_has_its_width_and_height(yaw: float, low: float, height: float, width: float) -> None:
    grid = view_grid(yaw, low, height, width)
    assert np.allclose(np.linalg.norm(grid.directions, axis=-1), 1) and not grid.closed
    elevation = np.degrees(np.arcsin(grid.directions[..., 2]))
    assert np.allclose((elevation.min(), elevation.max()), (low, low + height))
    assert (np.diff(elevation[:, 0]) > 0).all() and np.allclose(np.tan(np.radians(elevation[:, 0])), grid.slopes)
    middle = grid.directions.mean(1)[75]
    turn = np.arctan2(middle[1], middle[0]) - yaw
    assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < np.radians(width) / 100
    columns = grid.directions.shape[1]
    assert np.isclose(np.degrees(grid.step) * columns, width, rtol=0.01)


def wall_at(distance: float, material: int = PLAIN, yaw: float = 0.0) -> Solids:
    thing = Assembly(WALL)
    thing.box((0, 0, 0), (0.2, 30, 30), yaw=yaw, material=material, colour=(0.9, 0.5, 0.1))
    return placed(thing, (distance + 0.1, 0, 0))


def scanned(
    solids: Solids, camera: tuple[float, ...] = (0, 0, 0, 0, -25), seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return scan(np.random.default_rng(seed), solids, np.array([camera], np.float64))


def test_points_lie_on_the_wall_within_the_noise_of_depth() -> None:
    points, normals, solid, local = scanned(wall_at(2.0))
    assert len(points) > 20_000 and (solid == 0).all()
    direction = points / np.linalg.norm(points, axis=1, keepdims=True)
    error = (points[:, 0] - 2.0) / direction[:, 0]
    depth = np.linalg.norm(points, axis=1)
    assert np.isclose((error / depth**2).std(), 0.0012, rtol=0.05)
    assert np.allclose(normals, (-1, 0, 0)) and np.allclose(local[:, 0], -0.1)


def test_noise_grows_with_the_square_of_depth() -> None:
    def spread(distance: float) -> float:
        return float((scanned(wall_at(distance))[0][:, 0] - distance).std())

    assert np.isclose(spread(4.0) / spread(1.0), 16, rtol=0.15)


@pytest.mark.parametrize(("distance", "seen"), [(0.3, True), (4.0, True), (5.6, False), (9.0, False)])
def test_only_what_is_within_the_range_of_the_camera_is_seen(distance: float, seen: bool) -> None:
    depth = np.linalg.norm(scanned(wall_at(distance))[0], axis=1)
    assert (len(depth) > 0) == seen
    assert not seen or (depth.min() > 0.3 and depth.max() < 5.7)


def test_surfaces_seen_at_a_slant_have_holes() -> None:
    straight, slanted = len(scanned(wall_at(2.0))[0]), len(scanned(wall_at(2.0, yaw=1.45))[0])
    assert slanted < 0.7 * straight


def test_panes_are_mostly_missed() -> None:
    share = len(scanned(wall_at(2.0, GLAZED))[0]) / len(scanned(wall_at(2.0))[0])
    assert abs(share - 0.25) < 0.02


def test_the_camera_looks_where_it_is_turned() -> None:
    around = Gathering()
    for turn in range(4):
        thing = Assembly(turn)
        thing.box((3, 0, 0), (0.2, 6.2, 9))
        around.place(thing, (0, 0, 0), turn * np.pi / 2)
    solids = around.solids()
    for turn in range(4):
        _, _, solid, _ = scanned(solids, (0, 0, 0, turn * np.pi / 2, -25))
        assert (solid == turn).mean() > 0.95


def test_views_are_joined_one_after_the_other() -> None:
    solids = wall_at(2.0)
    cameras = np.array([[0, 0, 0, 0, -25], [0, 1, 0.5, 0.1, -25.0]])
    points, _, _, _ = scan(np.random.default_rng(0), solids, cameras)
    first = scanned(solids)[0]
    assert np.array_equal(points[: len(first)], first) and len(points) > 1.8 * len(first)
    assert np.abs(points[:, 0] - 2.0).max() < 0.1  # also those of the second camera are in the world


def test_nothing_seen_lies_behind_what_is_nearer() -> None:
    gathering = Gathering()
    for solids_at in ((1.5, 0.3), (3.0, 3.0)):
        thing = Assembly(1)
        thing.box((0, 0, 0), (0.2, solids_at[1], solids_at[1]))
        gathering.place(thing, (solids_at[0], 0, 0))
    solids = gathering.solids()
    points, _, solid, _ = scanned(solids)
    depth, which = first_hits(solids, points / np.linalg.norm(points, axis=1, keepdims=True))
    assert (which == solid).mean() > 0.999
    assert np.abs(np.linalg.norm(points, axis=1) - depth)[which == solid].max() < 0.1


# --- thinning and warping ---


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(1, 400), st.floats(0.05, 1.0))
def test_thinning_keeps_a_random_point_of_each_cell(seed: int, n: int, voxel: float) -> None:
    points = np.random.default_rng(seed).normal(0, 1, (n, 3))
    rows = thinned(np.random.default_rng(seed), points, voxel)
    cells = np.floor((points - points.min(0)) / voxel).astype(int)
    assert len(set(rows.tolist())) == len(rows)
    assert len(np.unique(cells[rows], axis=0)) == len(rows) == len(np.unique(cells, axis=0))


def test_thinning_takes_other_points_with_another_seed() -> None:
    points = np.random.default_rng(0).uniform(0, 1, (3000, 3))
    one, again, other = (thinned(np.random.default_rng(seed), points, 0.2) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and set(one) != set(other)


def test_the_first_points_of_a_thinned_cloud_are_spread_over_all_of_it() -> None:
    points = np.random.default_rng(0).uniform(0, 1, (20_000, 3))
    first = points[thinned(np.random.default_rng(0), points, 0.05)[:300]]
    assert (first.min(0) < 0.1).all() and (first.max(0) > 0.9).all() and np.abs(first.mean(0) - 0.5).max() < 0.07


@pytest.mark.parametrize("amount", [0.0, 0.006, 0.05])
def test_warping_moves_points_along_their_normals_by_little(amount: float) -> None:
    rng = np.random.default_rng(0)
    points, normals = rng.uniform(0, 4, (4000, 3)), np.tile([0.0, 0, 1], (4000, 1))
    moved, bent = warped(np.random.default_rng(1), points, normals, amount)
    offset = moved - points
    assert np.allclose(offset[:, :2], 0)
    assert np.abs(offset).max() <= 4 * amount and (amount == 0 or offset[:, 2].std() > 0.3 * amount)
    assert np.allclose(np.linalg.norm(bent, axis=1), 1)
    assert np.degrees(np.arccos(np.clip(bent[:, 2], -1, 1))).mean() < 10


def test_neighbours_are_moved_alike() -> None:
    rng = np.random.default_rng(0)
    points, normals = rng.uniform(0, 4, (2000, 3)), np.tile([0.0, 0, 1], (2000, 1))
    both = np.concatenate([points, points + 0.005])
    moved, _ = warped(np.random.default_rng(1), both, np.tile(normals, (2, 1)), 0.02)
    offset = (moved - both)[:, 2]
    assert np.corrcoef(offset[:2000], offset[2000:])[0, 1] > 0.5


# --- paint ---


def colours(material: int, colour: tuple[float, float, float] = (0.6, 0.4, 0.2), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 4, (4000, 3))
    normals = np.tile([0.0, 0, 1], (4000, 1))
    look = (np.full(4000, material), np.tile(colour, (4000, 1)))
    return painted(np.random.default_rng(seed), points, normals, points - 2, look)


@pytest.mark.parametrize("material", [PLAIN, WOOD, FABRIC, TILES, BOOKS, PATTERN, GLAZED])
def test_colours_are_bytes_that_use_the_range(material: int) -> None:
    rgb = colours(material)
    assert rgb.dtype == np.uint8 and rgb.shape == (4000, 3)
    assert 20 < rgb.mean() < 235 and rgb.std() > 3


def test_bright_surfaces_are_brighter_and_red_ones_redder() -> None:
    bright, dark = colours(PLAIN, (0.8, 0.8, 0.8)), colours(PLAIN, (0.2, 0.2, 0.2))
    assert bright.mean() > 1.8 * dark.mean()
    red = colours(PLAIN, (0.8, 0.2, 0.2)).mean(0)
    assert red[0] > 1.5 * red[1]


def test_books_differ_from_each_other_and_plain_walls_do_not() -> None:
    assert colours(BOOKS).std(0).mean() > 1.5 * colours(PLAIN).std(0).mean()
    assert colours(PATTERN).std(0).mean() > 1.5 * colours(PLAIN).std(0).mean()


def test_joints_of_tiles_are_darker() -> None:
    plain, tiles = colours(PLAIN).astype(float), colours(TILES).astype(float)
    assert 0.05 < (tiles.mean(1) < 0.88 * plain.mean(1)).mean() < 0.75


def test_rooms_are_lit_differently() -> None:
    means = np.array([colours(PLAIN, seed=seed).mean(0) for seed in range(8)])
    assert np.ptp(means.mean(1)) > 15
    assert np.ptp(means[:, 0] / means[:, 2]) > 0.1  # warm and cold


# --- whole rooms ---


@cache
def room(seed: int, **changes: object) -> PointCloud:
    options: dict[str, object] = {"n_points": 15_000, "n_views": 8, "turned": False}
    return generate_room(seed, RoomOptions(**(options | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_instances_go_together(seed: int) -> None:
    """A point with a class has an instance, and an instance one class but for its parts and what lies on it."""
    label, instance = room(seed).attributes["label"], room(seed).attributes["instance"]
    assert (instance[label >= 0] > 0).all()
    assert len(np.unique(instance[label == WALL])) <= 4 and len(np.unique(instance[label == FLOOR])) == 1
    for number in np.unique(instance[instance > 0]):
        classes = set(label[instance == number].tolist()) - {-1}
        assert len(classes) <= 4


@pytest.mark.parametrize("seed", range(4))
def test_walls_stand_at_the_sides_and_furniture_between_them(seed: int) -> None:
    cloud = room(seed)
    label, xyz = cloud.attributes["label"], cloud.xyz
    low, high = xyz[label == WALL].min(0), xyz[label == WALL].max(0)
    assert (xyz[label >= 2, :2] > low[:2] - 0.15).all() and (xyz[label >= 2, :2] < high[:2] + 0.15).all()
    assert xyz[:, 2].max() < 3.2 and xyz[:, 2].min() > -0.12


@pytest.mark.parametrize("seed", range(4))
def test_normals_are_unit_and_those_of_the_floor_point_up(seed: int) -> None:
    normals, label = room(seed).attributes["normals"], room(seed).attributes["label"]
    assert normals.dtype == np.float32 and np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    up = normals[label == FLOOR, 2]
    assert (up > 0).mean() > 0.97


def test_a_ceiling_is_seen_only_where_there_is_one() -> None:
    plain, closed = room(1), room(1, ceiling=True)
    high = closed.xyz[:, 2] > 2.35
    assert closed.attributes["label"].min() == -1
    down = closed.attributes["normals"][high & (closed.attributes["label"] == -1), 2]
    assert not len(down) or down.mean() < 0
    assert plain.xyz[:, 2].max() < 3.3


def test_turned_rooms_stand_at_an_angle_and_are_else_the_same() -> None:
    straight, turned = room(2), room(2, turned=True)
    assert len(straight) == len(turned)
    for name in ("label", "instance", "rgb"):
        assert np.array_equal(straight.attributes[name], turned.attributes[name])
    assert np.allclose(straight.xyz[:, 2], turned.xyz[:, 2])
    gaps = [np.linalg.norm(cloud.xyz[:200] - cloud.xyz[200:400], axis=1) for cloud in (straight, turned)]
    assert np.allclose(*gaps, atol=1e-9)
    assert not np.allclose(straight.xyz, turned.xyz, atol=0.05)


@pytest.mark.parametrize("kind", ["bath", "bedroom", "office"])
def test_the_kind_of_a_room_is_the_one_asked_for(kind: str) -> None:
    found = set(np.unique(np.concatenate([room(seed, kind=kind).attributes["label"] for seed in range(2)])).tolist())
    names = {ROOM_CLASSES[k] for k in found if k >= 0}
    assert {"bath": "toilet", "bedroom": "bed", "office": "desk"}[kind] in names
    assert kind == "bath" or "toilet" not in names


@pytest.mark.parametrize("voxel", [0.05, 0.1])
def test_points_of_a_room_are_about_a_voxel_apart(voxel: float) -> None:
    cloud = room(0, voxel_m=voxel, noise_m=0.0)
    cells = np.floor((cloud.xyz - cloud.xyz.min(0)) / voxel).astype(int)
    assert len(np.unique(cells, axis=0)) > 0.6 * len(cloud)


def test_noise_roughens_the_floor() -> None:
    def roughness(noise: float) -> float:
        cloud = room(0, noise_m=noise)
        return float(cloud.xyz[cloud.attributes["label"] == FLOOR, 2].std())

    assert roughness(0.0) < roughness(0.03)


def test_all_clouds_are_in_the_frame_of_the_room_with_doubles() -> None:
    cloud = room(0)
    assert cloud.frame == "room" and cloud.xyz.dtype == np.float64
    assert set(cloud.attributes) == {"rgb", "normals", "label", "instance"}
    assert all(len(values) == len(cloud) for values in cloud.attributes.values())
