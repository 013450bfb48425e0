"""Generated rooms: the same from the same seed, with the labels, normals and holes of a scan."""

from functools import cache

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.pointcloud.clouds.types import PointCloud
from recon3d.pointcloud.worlds import ROOM_CLASSES, RoomOptions, generate_room
from recon3d.pointcloud.worlds.fixtures import bathtub, counter, curtain, door, picture, sink, toilet, window
from recon3d.pointcloud.worlds.furniture import bed, bookshelf, cabinet, chair, desk, other, sofa, table
from recon3d.pointcloud.worlds.scanning import thinned

_SMALL = RoomOptions(n_points=20_000, n_views=8, turned=False)


@cache
def _room(seed: int) -> PointCloud:
    return generate_room(seed, _SMALL)


def _of(cloud: PointCloud, name: str) -> np.ndarray:
    return cloud.attributes["label"] == ROOM_CLASSES.index(name)


def test_a_seed_gives_the_same_bits_and_another_seed_another_room() -> None:
    again = generate_room(1, _SMALL)
    assert np.array_equal(_room(1).xyz, again.xyz)
    for name, values in _room(1).attributes.items():
        assert np.array_equal(values, again.attributes[name])
    assert not np.array_equal(_room(1).xyz[:100], _room(2).xyz[:100])


@pytest.mark.parametrize("seed", range(5))
def test_floors_are_low_and_level_and_walls_are_upright(seed: int) -> None:
    cloud = _room(seed)
    normals, floor, wall = cloud.attributes["normals"], _of(cloud, "floor"), _of(cloud, "wall")
    assert floor.sum() > 500 and wall.sum() > 500
    assert np.abs(cloud.xyz[floor, 2]).max() < 0.12
    assert normals[floor, 2].mean() > 0.95
    assert np.abs(np.median(normals[wall, 2])) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_attributes_are_what_they_are_said_to_be(seed: int) -> None:
    cloud = _room(seed)
    assert cloud.attributes["rgb"].dtype == np.uint8 and cloud.attributes["rgb"].shape == (len(cloud), 3)
    assert np.allclose(np.linalg.norm(cloud.attributes["normals"], axis=1), 1, atol=1e-5)
    assert cloud.attributes["label"].min() >= -1 and cloud.attributes["label"].max() < len(ROOM_CLASSES)
    assert 60 < cloud.attributes["rgb"].mean() < 210
    assert np.allclose(cloud.xyz.min(0)[:2], 0)


@pytest.mark.parametrize("seed", range(5))
def test_an_instance_is_one_thing(seed: int) -> None:
    cloud = _room(seed)
    chairs = _of(cloud, "chair")
    for number in np.unique(cloud.attributes["instance"][chairs]):
        mine = cloud.xyz[chairs & (cloud.attributes["instance"] == number)]
        assert number > 0 and (np.ptp(mine, axis=0) < 1.4).all()


def test_normals_face_the_inside_of_the_room() -> None:
    cloud = _room(3)
    wall = _of(cloud, "wall")
    low, high = cloud.xyz[wall].min(0), cloud.xyz[wall].max(0)
    left = wall & (cloud.xyz[:, 0] < low[0] + 0.05) & (np.abs(cloud.attributes["normals"][:, 0]) > 0.8)
    right = wall & (cloud.xyz[:, 0] > high[0] - 0.05) & (np.abs(cloud.attributes["normals"][:, 0]) > 0.8)
    assert (cloud.attributes["normals"][left, 0] > 0).all() and (cloud.attributes["normals"][right, 0] < 0).all()


def test_many_rooms_have_all_common_classes() -> None:
    found = set(np.concatenate([np.unique(_room(seed).attributes["label"]) for seed in range(12)]).tolist())
    names = {ROOM_CLASSES[k] for k in found if k >= 0}
    assert names >= {"wall", "floor", "cabinet", "chair", "table", "door", "window", "otherfurniture"}


@pytest.mark.parametrize(("kind", "name"), [("bath", "toilet"), ("kitchen", "refrigerator"), ("bedroom", "bed")])
def test_a_kind_of_room_has_its_furniture(kind: str, name: str) -> None:
    options = RoomOptions(kind=kind, n_points=20_000, n_views=12)
    assert any(_of(generate_room(seed, options), name).any() for seed in range(3))


def test_fewer_views_leave_more_holes() -> None:
    few = generate_room(0, RoomOptions(n_points=10**6, n_views=2, turned=False))
    many = generate_room(0, RoomOptions(n_points=10**6, n_views=20, turned=False))
    assert len(few) < 0.6 * len(many)


def test_the_ceiling_is_an_option_and_has_no_class() -> None:
    options = RoomOptions(n_points=50_000, n_views=8, ceiling=True, turned=False)
    cloud = generate_room(0, options)
    down = cloud.attributes["normals"][:, 2] < -0.9
    high = cloud.xyz[:, 2] > 2.3
    assert (cloud.attributes["label"][down & high] == -1).mean() > 0.9


def test_the_number_of_points_is_bounded_and_voxels_thin_them() -> None:
    coarse = generate_room(0, RoomOptions(voxel_m=0.1, n_views=8, turned=False))
    assert len(_room(0)) <= 20_000
    assert len(coarse) < 15_000


def test_thinning_keeps_one_point_of_every_cell() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (5000, 3))
    rows = thinned(rng, points, 0.25)
    cells = np.floor((points - points.min(0)) / 0.25).astype(int)
    assert len(rows) == len(np.unique(cells, axis=0)) == len(np.unique(cells[rows], axis=0))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"kind": "cave"}, "room"), ({"n_points": 0}, "points"), ({"n_views": 0}, "views"), ({"voxel_m": 0.0}, "voxels")],
)
def test_wrong_options_are_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        RoomOptions(**wrong)


_MAKERS = [bathtub, counter, curtain, door, picture, sink, toilet, window]
_MAKERS += [bed, bookshelf, cabinet, chair, desk, other, sofa, table]


@pytest.mark.parametrize("maker", _MAKERS)
def test_furniture_stands_before_the_wall_and_fits_into_a_room(maker) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for _ in range(20):
        low, high = maker(rng).extent()
        assert low[1] > -0.25 and high[1] < 2.7 and low[2] > -0.05 and high[2] < 2.6
