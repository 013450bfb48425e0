"""Generated streets: the same from the same seed, true to their labels, boxes and options."""

from functools import cache

import numpy as np
import pytest

from recon3d.core.errors import UsageError
from recon3d.pointcloud.worlds import (
    BOX_CLASSES,
    SEMANTIC_KITTI_19,
    STREET_CLASSES,
    Street,
    StreetOptions,
    generate_street,
)
from recon3d.pointcloud.worlds.lidar import BEAM_TABLES

_COARSE = StreetOptions(azimuth_step_deg=0.7)


@cache
def _street(seed: int) -> Street:
    return generate_street(seed, _COARSE)


def _label(name: str) -> int:
    return STREET_CLASSES.index(name)


def test_a_seed_gives_the_same_bits_and_another_seed_another_street() -> None:
    again, other = generate_street(3, _COARSE), _street(4)
    street = _street(3)
    assert np.array_equal(street.cloud.xyz, again.cloud.xyz)
    for name, values in street.cloud.attributes.items():
        assert np.array_equal(values, again.cloud.attributes[name])
    assert np.array_equal(street.boxes.boxes, again.boxes.boxes)
    assert len(street.cloud) != len(other.cloud)


def test_the_scene_does_not_depend_on_the_sensor() -> None:
    one = generate_street(5, StreetOptions(beams="32", azimuth_step_deg=0.7, density=1.0))
    assert one.ground == generate_street(5, StreetOptions(beams="64", azimuth_step_deg=1.0)).ground


@pytest.mark.parametrize("seed", range(6))
def test_boxes_hold_their_points_tightly(seed: int) -> None:
    street = _street(seed)
    instance, label = street.cloud.attributes["instance"], street.cloud.attributes["label"]
    for box, kind, number in zip(street.boxes.boxes, street.boxes.labels, street.box_instances, strict=True):
        mine = street.cloud.xyz[(instance == number) & (label != _label("clutter"))]
        c, s = np.cos(box[6]), np.sin(box[6])
        away = mine - box[:3]
        local = np.stack([c * away[:, 0] + s * away[:, 1], c * away[:, 1] - s * away[:, 0], away[:, 2]], 1)
        margin = 0.35 if kind == 0 else 0.6  # mirrors, umbrellas
        assert (np.abs(local) <= box[3:6] / 2 + margin).all()
        assert len(mine) < 10 or (np.abs(local) <= box[3:6] / 2 + 0.09).mean() > 0.8


@pytest.mark.parametrize("seed", range(6))
def test_points_of_boxes_are_counted_and_carry_the_class(seed: int) -> None:
    street = _street(seed)
    instance, label = street.cloud.attributes["instance"], street.cloud.attributes["label"]
    expected = {0: "car", 1: "person", 2: "bicyclist"}
    assert street.boxes.names == BOX_CLASSES
    for kind, number, count in zip(street.boxes.labels, street.box_instances, street.box_points, strict=True):
        assert count == (instance == number).sum() > 0
        classes = set(label[instance == number]) - {_label("clutter")}
        assert classes <= {_label(expected[int(kind)])}


def test_every_point_of_a_car_or_person_belongs_to_a_box() -> None:
    street = _street(2)
    target = np.isin(street.cloud.attributes["label"], [_label(n) for n in ("car", "person", "bicyclist")])
    assert np.isin(street.cloud.attributes["instance"][target], street.box_instances).all()


def test_sizes_of_boxes_are_those_of_cars_people_and_bicycles() -> None:
    ranges = {
        0: ((3.3, 6.2), (1.5, 2.2), (1.2, 2.9)),
        1: ((0.2, 1.6), (0.3, 1.0), (1.0, 2.1)),
        2: ((1.4, 2.2), (0.4, 0.8), (1.4, 2)),
    }
    for seed in range(6):
        for box, kind in zip(_street(seed).boxes.boxes, _street(seed).boxes.labels, strict=True):
            for size, (low, high) in zip(box[3:6], ranges[int(kind)], strict=True):
                assert low < size < high
            assert -np.pi <= box[6] < np.pi


def test_boxes_stand_on_the_ground() -> None:
    street = _street(1)
    bottom = street.boxes.boxes[:, 2] - street.boxes.boxes[:, 5] / 2
    assert np.abs(bottom - street.ground.height(street.boxes.boxes[:, :2])).max() < 0.1


def test_boxes_do_not_stand_in_each_other() -> None:
    for seed in range(6):
        boxes = _street(seed).boxes.boxes
        away = np.linalg.norm(boxes[:, None, :2] - boxes[None, :, :2], axis=2) + 1e3 * np.eye(len(boxes))
        assert (away > 0.4).all()


def test_one_return_per_ray() -> None:
    street = _street(0)
    ring, xyz = street.cloud.attributes["ring"], street.cloud.xyz
    azimuth = np.arctan2(xyz[:, 1], xyz[:, 0])
    for row in (5, 30, 60):
        mine = np.sort(azimuth[(ring == row) & (np.hypot(xyz[:, 0], xyz[:, 1]) > 5)])
        assert (np.diff(mine) > 0.5 * np.radians(0.7)).all()


def test_rings_rise_with_the_elevations_of_the_table() -> None:
    street = _street(0)
    ring, xyz = street.cloud.attributes["ring"], street.cloud.xyz
    solid = street.cloud.attributes["label"] != _label("terrain")
    elevation = np.degrees(np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1])))
    assert np.abs(elevation - np.array(BEAM_TABLES["64"])[ring])[solid].max() < 0.15


def test_labels_have_the_shares_of_streets() -> None:
    labels = np.concatenate([_street(seed).cloud.attributes["label"] for seed in range(6)])
    share = np.bincount(labels, minlength=len(STREET_CLASSES)) / len(labels)
    assert 0.15 < share[_label("road")] < 0.65
    assert share[_label("building")] > 0.02 and share[_label("vegetation")] > 0.02
    assert 0.01 < share[_label("car")] < 0.3
    assert all(share[_label(name)] > 0 for name in ("pole", "trunk", "traffic-sign", "fence", "person", "clutter"))


def test_ground_points_lie_on_the_ground_with_its_class() -> None:
    street = _street(1)
    label, xyz = street.cloud.attributes["label"], street.cloud.xyz
    road = (label == _label("road")) & (np.linalg.norm(xyz, axis=1) < 20)
    assert np.abs(street.ground.height(xyz[road, :2]) - xyz[road, 2]).max() < 0.25
    assert (street.ground.labels(xyz[road, :2]) == _label("road")).mean() > 0.97


def test_intensities_are_hundredths_and_signs_shine() -> None:
    values = np.concatenate([_street(seed).cloud.attributes["intensity"] for seed in range(6)])
    labels = np.concatenate([_street(seed).cloud.attributes["label"] for seed in range(6)])
    assert values.dtype == np.float32 and values.min() >= 0 and values.max() <= 0.99
    assert np.median(values[labels == _label("traffic-sign")]) > 1.5 * np.median(values[labels == _label("road")])


@pytest.mark.parametrize("beams", ["16", "32", "40", "128"])
def test_the_sensor_has_the_beams_asked_for(beams: str) -> None:
    street = generate_street(1, StreetOptions(beams=beams, azimuth_step_deg=2.0))
    assert len(np.unique(street.cloud.attributes["ring"])) <= int(beams)
    assert street.cloud.attributes["ring"].max() > 0.8 * int(beams)


def test_a_made_up_sensor_differs_from_scene_to_scene() -> None:
    options = StreetOptions(beams="random", azimuth_step_deg=2.0, manner="country")
    tops = {int(generate_street(seed, options).cloud.attributes["ring"].max()) for seed in range(2)}
    assert len(tops) > 1


def test_sector_and_ranges_bound_the_points() -> None:
    options = StreetOptions(azimuth_step_deg=0.7, sector_deg=90.0, max_range_m=40.0, min_range_m=5.0)
    xyz = generate_street(0, options).cloud.xyz
    distance = np.linalg.norm(xyz, axis=1)
    assert np.abs(np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0]))).max() < 46
    assert distance.min() >= 5 and distance.max() <= 40


def test_the_mount_is_the_height_over_the_road() -> None:
    street = generate_street(0, StreetOptions(azimuth_step_deg=2.0, mount_m=(2.5, 2.5)))
    assert np.isclose(street.ground.height(np.zeros((1, 2)))[0], -2.5)


def test_more_density_brings_more_people_and_riders() -> None:
    def count(density: float) -> int:
        options = StreetOptions(azimuth_step_deg=2.0, manner="suburb", density=density)
        return int((generate_street(0, options).boxes.labels > 0).sum())

    assert count(4.0) > 1.5 * count(0.5)


def test_boxes_with_few_points_can_be_dropped() -> None:
    street = generate_street(0, StreetOptions(azimuth_step_deg=0.7, min_points=20))
    assert street.box_points.min() >= 20
    assert len(street.boxes.boxes) < len(_street(0).boxes.boxes)


def test_every_class_has_its_row_among_the_nineteen() -> None:
    rows = [SEMANTIC_KITTI_19[name] for name in STREET_CLASSES]
    assert sorted(rows)[0] == -1 and len(set(rows)) == len(rows) and max(rows) <= 18


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"beams": "65"}, "LiDAR"),
        ({"manner": "moon"}, "street"),
        ({"sector_deg": 0.0}, "sector"),
        ({"mount_m": (2.0, 1.0)}, "height"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        StreetOptions(**wrong)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="seed"):
        generate_street(-1)
