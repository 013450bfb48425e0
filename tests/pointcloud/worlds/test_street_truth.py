"""Labels, instances and boxes of whole streets against the points themselves, and what each option changes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from recon3d.core.seeds import generator
from recon3d.pointcloud.boxes import points_in_boxes, validate_boxes
from recon3d.pointcloud.worlds import STREET_CLASSES, Street, StreetOptions, generate_street
from recon3d.pointcloud.worlds.lidar import BEAM_TABLES, draw_lidar
from recon3d.pointcloud.worlds.manners import MANNERS
from tests.support.world_oracle import in_box, street

SEEDS = pytest.mark.parametrize("seed", range(4))
LABEL = {name: index for index, name in enumerate(STREET_CLASSES)}


@cache
def made(seed: int, **changes: object) -> Street:
    options: dict[str, object] = {"azimuth_step_deg": 1.5, "manner": "country"}
    return generate_street(seed, StreetOptions(**(options | changes)))  # type: ignore[arg-type]


@SEEDS
def test_car_points_lie_in_the_box_of_their_car(seed: int) -> None:
    """All of them but mirrors, roof racks and the noise of ranges."""
    world = street(seed)
    label, instance = world.cloud.attributes["label"], world.cloud.attributes["instance"]
    boxes = dict(zip(world.box_instances.tolist(), world.boxes.boxes, strict=True))
    for number in np.unique(instance[label == LABEL["car"]]):
        outside = in_box(world.cloud.xyz[instance == number], boxes[int(number)])
        assert outside.max() < 0.3
        assert (outside < 0.08).mean() > 0.85 or len(outside) < 8


@SEEDS
def test_boxes_are_not_empty_and_fit_their_points(seed: int) -> None:
    world = street(seed)
    report = validate_boxes(world.cloud.xyz, world.boxes)
    assert not report.problems
    label, instance = world.cloud.attributes["label"], world.cloud.attributes["instance"]
    for box, number in zip(world.boxes.boxes, world.box_instances, strict=True):
        outside = in_box(world.cloud.xyz[(instance == number) & (label != LABEL["clutter"])], box)
        assert (outside < 0.05).sum() > 0.6 * len(outside) or len(outside) < 10  # umbrellas and bags stand aside


@SEEDS
def test_points_in_a_box_are_mostly_of_its_class(seed: int) -> None:
    """A box also holds some ground and what stands close by; the rest are those of its own class."""
    world = street(seed)
    label = world.cloud.attributes["label"]
    ground = np.isin(label, [LABEL[name] for name in ("road", "sidewalk", "terrain", "clutter")])
    own = {0: "car", 1: "person", 2: "bicyclist"}
    inside = points_in_boxes(world.cloud.xyz, world.boxes.boxes)
    for kind, held, count in zip(world.boxes.labels, inside, world.box_points, strict=True):
        rest = label[held & ~ground]
        if count > 15:
            assert (rest == LABEL[own[int(kind)]]).mean() > 0.7


@SEEDS
def test_an_instance_has_one_class_but_for_what_it_carries(seed: int) -> None:
    world = street(seed)
    label, instance = world.cloud.attributes["label"], world.cloud.attributes["instance"]
    pairs = [{"trunk", "vegetation"}, {"pole", "traffic-sign"}, {"person", "clutter"}, {"clutter", "vegetation"}]
    for number in np.unique(instance[instance > 0]):
        names = {STREET_CLASSES[k] for k in label[instance == number]}
        assert len(names) == 1 or any(names <= pair for pair in pairs), names
    flat = np.isin(label, [LABEL[name] for name in ("road", "sidewalk", "terrain", "building")])
    assert (instance[flat] == 0).all()


@SEEDS
def test_numbers_of_points_add_up(seed: int) -> None:
    world = street(seed)
    instance = world.cloud.attributes["instance"]
    counts = np.bincount(instance, minlength=int(world.box_instances.max()) + 1)
    assert np.array_equal(world.box_points, counts[world.box_instances])
    assert world.box_points.sum() <= (instance > 0).sum()
    assert len(np.unique(world.box_instances)) == len(world.boxes)


@SEEDS
def test_boxes_lean_on_the_ground_of_the_street(seed: int) -> None:
    world = street(seed)
    bottom = world.boxes.boxes[:, 2] - world.boxes.boxes[:, 5] / 2
    assert np.abs(bottom - world.ground.height(world.boxes.boxes[:, :2])).max() < 0.35
    road = world.cloud.attributes["label"] == LABEL["road"]
    assert np.median(np.abs(world.ground.height(world.cloud.xyz[road, :2]) - world.cloud.xyz[road, 2])) < 0.05


@SEEDS
def test_nothing_lies_under_the_ground(seed: int) -> None:
    xyz = street(seed).cloud.xyz
    near = np.linalg.norm(xyz, axis=1) < 40
    depth = street(seed).ground.height(xyz[near, :2]) - xyz[near, 2]
    assert (depth < 0.3).mean() > 0.998


@SEEDS
def test_beams_lie_on_cones_that_are_one_ring_each(seed: int) -> None:
    world = street(seed)
    xyz, ring = world.cloud.xyz, world.cloud.attributes["ring"]
    solid = world.cloud.attributes["label"] != LABEL["terrain"]  # grass is lifted
    elevation = np.degrees(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))
    for row in np.unique(ring)[::7]:
        mine = elevation[solid & (ring == row)]
        assert np.ptp(mine) < 1e-6 if len(mine) else True
        assert len(mine) == 0 or abs(mine[0] - BEAM_TABLES["64"][row]) < 0.2


@pytest.mark.parametrize("step", [1.0, 2.0])
def test_azimuths_of_a_beam_are_whole_steps_apart(step: float) -> None:
    world = made(1, azimuth_step_deg=step)
    xyz, ring = world.cloud.xyz, world.cloud.attributes["ring"]
    for row in (10, 30, 50):
        azimuth = np.degrees(np.arctan2(xyz[ring == row, 1], xyz[ring == row, 0]))
        places = (azimuth - azimuth[0]) / step
        assert np.abs(places - np.round(places)).max() < 1e-6
        assert len(np.unique(np.round(places))) == len(places)


@SEEDS
def test_columns_lie_within_the_classes_and_types(seed: int) -> None:
    attributes = street(seed).cloud.attributes
    assert set(attributes) == {"intensity", "ring", "label", "instance"}
    assert attributes["intensity"].dtype == np.float32 and attributes["ring"].dtype == np.int64
    assert attributes["label"].min() >= 0 and attributes["label"].max() < len(STREET_CLASSES)
    assert attributes["ring"].min() >= 0 and attributes["ring"].max() < 64
    assert attributes["intensity"].min() >= 0 and attributes["intensity"].max() <= 0.99


@SEEDS
def test_points_keep_their_distance(seed: int) -> None:
    distance = np.linalg.norm(street(seed).cloud.xyz, axis=1)
    assert distance.min() >= 2.0 and distance.max() <= 90.0 and distance.max() > 40


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    one, again, other = made(2), made.__wrapped__(2), made(3)
    assert one.cloud.xyz.tobytes() == again.cloud.xyz.tobytes() != other.cloud.xyz.tobytes()
    for name, values in one.cloud.attributes.items():
        assert values.tobytes() == again.cloud.attributes[name].tobytes()
    assert one.boxes.boxes.tobytes() == again.boxes.boxes.tobytes() and one.ground == again.ground


def test_ranges_only_leave_points_out() -> None:
    whole, near = made(2), made(2, max_range_m=25.0, min_range_m=8.0)
    distance = np.linalg.norm(whole.cloud.xyz, axis=1)
    keep = (distance >= 8.0) & (distance <= 25.0)
    assert np.array_equal(whole.cloud.xyz[keep], near.cloud.xyz)
    assert set(near.box_instances) < set(whole.box_instances)


def test_few_points_drop_boxes_and_no_points() -> None:
    all_of_them, some = made(2, min_points=0), made(2, min_points=30)
    assert np.array_equal(all_of_them.cloud.xyz, some.cloud.xyz)
    assert all_of_them.box_points.min() >= 1 and some.box_points.min() >= 30
    assert set(some.box_instances) == set(all_of_them.box_instances[all_of_them.box_points >= 30])


def test_a_sector_keeps_the_front_only() -> None:
    xyz = made(3, sector_deg=60.0).cloud.xyz
    azimuth = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))
    assert np.abs(azimuth).max() < 30 + 2 * 1.5 and np.abs(azimuth).max() > 25


def test_the_gain_is_that_of_the_options() -> None:
    dim, bright = made(3, gain=0.3), made(3, gain=0.9)
    assert np.array_equal(dim.cloud.xyz, bright.cloud.xyz)
    ratio = bright.cloud.attributes["intensity"].mean() / dim.cloud.attributes["intensity"].mean()
    assert 2.0 < ratio < 3.3


def test_retroreflectors_are_brighter_than_asphalt_and_tyres() -> None:
    values = np.concatenate([street(seed).cloud.attributes["intensity"] for seed in range(4)])
    labels = np.concatenate([street(seed).cloud.attributes["label"] for seed in range(4)])
    assert values[labels == LABEL["traffic-sign"]].mean() > 1.5 * values[labels == LABEL["road"]].mean()


def test_road_points_grow_dimmer_with_distance() -> None:
    xyz = np.concatenate([street(seed).cloud.xyz for seed in range(4)])
    values = np.concatenate([street(seed).cloud.attributes["intensity"] for seed in range(4)])
    labels = np.concatenate([street(seed).cloud.attributes["label"] for seed in range(4)])
    distance, road = np.linalg.norm(xyz, axis=1), labels == LABEL["road"]
    assert values[road & (distance < 8)].mean() > values[road & (distance > 25)].mean()


@pytest.mark.parametrize("manner", list(MANNERS))
def test_the_manner_is_the_one_asked_for(manner: str) -> None:
    world = street(5, manner)
    assert world.manner == manner and len(world.cloud) > 2000
    labels = world.cloud.attributes["label"]
    assert (labels == LABEL["road"]).mean() > 0.05


def test_any_manner_is_each_of_them() -> None:
    """The choice is drawn before anything else of the scene."""
    names = list(MANNERS)
    drawn = {str(generator(seed, "street", "scene").choice(names, p=[0.3, 0.35, 0.2, 0.15])) for seed in range(40)}
    assert drawn == set(names)
    assert street(0).manner == str(generator(0, "street", "scene").choice(names, p=[0.3, 0.35, 0.2, 0.15]))


def test_the_sensor_of_a_street_is_the_drawn_one() -> None:
    lidar = draw_lidar(generator(0, "street", "sensor"), "64", 1.5, None)
    xyz, ring = street(0).cloud.xyz, street(0).cloud.attributes["ring"]
    solid = street(0).cloud.attributes["label"] != LABEL["terrain"]
    elevation = np.degrees(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))
    assert np.abs(elevation - np.array(lidar.elevations_deg)[ring])[solid].max() < 1e-6


@pytest.mark.parametrize("mount", [1.0, 3.0])
def test_a_higher_mount_sees_the_road_farther_below(mount: float) -> None:
    world = made(4, mount_m=(mount, mount))
    road = world.cloud.attributes["label"] == LABEL["road"]
    near = road & (np.linalg.norm(world.cloud.xyz[:, :2], axis=1) < 12)
    assert abs(np.median(world.cloud.xyz[near, 2]) + mount) < 0.35
    assert world.ground.mount == mount


def test_far_boxes_have_fewer_points() -> None:
    distance = np.concatenate([np.linalg.norm(street(seed).boxes.boxes[:, :2], axis=1) for seed in range(4)])
    points = np.concatenate([street(seed).box_points for seed in range(4)])
    cars = np.concatenate([street(seed).boxes.labels for seed in range(4)]) == 0
    assert points[cars & (distance < 15)].mean() > 4 * points[cars & (distance > 40)].mean()
