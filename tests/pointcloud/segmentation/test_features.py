"""The numbers of a voxel: what each feature says, and what a scene needs for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_segmentation import ROOM, STREET, room_sample

from recon3d.core.errors import InputError
from recon3d.pointcloud.segmentation.features import OnFloor, voxel_scene
from recon3d.pointcloud.segmentation.spec import Feature, SegmenterSpec
from recon3d.pointcloud.volt.grid import voxelised
from recon3d.pointcloud.volt.samples import Sample


@pytest.fixture
def voxels() -> Sample:
    sample = room_sample(1, 50)
    strength = np.linspace(0, 1, 50, dtype=np.float32)
    instance = np.arange(50)
    return voxelised(sample.changed(strength=strength, instance=instance), 0.1)[0]


def values_of(sample: Sample, spec: SegmenterSpec, *names: Feature) -> np.ndarray:
    return voxel_scene(sample, replace(spec, features=names)).features


def test_features_stand_in_the_order_of_the_description(voxels: Sample) -> None:
    one_way = values_of(voxels, ROOM, "one", "height", "colour")
    other_way = values_of(voxels, ROOM, "colour", "one", "height")
    assert one_way.shape == (len(voxels), 5) and one_way.dtype == np.float32
    assert np.array_equal(one_way, other_way[:, [3, 4, 0, 1, 2]])
    assert one_way.flags.c_contiguous


def test_one_says_that_a_voxel_is_there(voxels: Sample) -> None:
    assert (values_of(voxels, ROOM, "one") == 1).all()


def test_heights_indoors_are_those_of_the_points(voxels: Sample) -> None:
    assert values_of(voxels, ROOM, "height")[:, 0] == pytest.approx(voxels.xyz[:, 2], abs=1e-6)


def test_heights_outdoors_count_from_the_ground_below_the_sensor(voxels: Sample) -> None:
    found = values_of(voxels, replace(STREET, mount_m=1.7), "height")[:, 0]
    assert found == pytest.approx(voxels.xyz[:, 2] + 1.7, abs=1e-6)


@pytest.mark.parametrize(("z", "expected"), [(-300.0, -5.0), (900.0, 20.0), (3.0, 3.0)])
def test_heights_of_stray_points_are_bounded(z: float, expected: float) -> None:
    stray = Sample(xyz=np.array([[0.0, 0.0, z]]), grid=np.zeros((1, 3), np.int64))
    assert values_of(stray, ROOM, "height").tolist() == [[expected]]


def test_distances_count_from_the_sensor(voxels: Sample) -> None:
    sample = voxels.selected(np.arange(2)).changed(xyz=np.array([[30.0, 40.0, 0.0], [0.0, 0.0, 5.0]]))
    assert values_of(sample, STREET, "distance")[:, 0] == pytest.approx([1.0, 0.1])


def test_colours_and_strengths_lie_between_0_and_1(voxels: Sample) -> None:
    assert values_of(voxels, ROOM, "colour") == pytest.approx(np.asarray(voxels.color) / 255)
    assert values_of(voxels, STREET, "strength")[:, 0] == pytest.approx(np.asarray(voxels.strength))


def test_normals_lose_their_sign(voxels: Sample) -> None:
    turned = voxels.changed(normal=-np.asarray(voxels.normal))
    found = values_of(voxels, ROOM, "normal")
    assert found.min() >= 0 and np.array_equal(found, values_of(turned, ROOM, "normal"))


def test_labels_and_instances_go_along(voxels: Sample) -> None:
    scene = voxel_scene(voxels, ROOM)
    assert scene.segment is voxels.segment and scene.instance is voxels.instance
    assert scene.grid is voxels.grid


@pytest.mark.parametrize(
    ("feature", "array", "word"),
    [("colour", "color", "colour"), ("normal", "normal", "normal"), ("strength", "strength", "intensity")],
)
def test_what_a_scene_lacks_is_named(voxels: Sample, feature: Feature, array: str, word: str) -> None:
    with pytest.raises(InputError, match=f"no {word}"):
        values_of(voxels.changed(**{array: None}), ROOM, feature)


def test_points_without_voxels_are_refused() -> None:
    with pytest.raises(InputError, match="not voxelised"):
        voxel_scene(room_sample(1), ROOM)


def test_a_room_is_put_on_its_floor() -> None:
    sample = room_sample(2)
    moved = OnFloor()(sample.changed(xyz=sample.xyz * (2, 1, 1) + (100.0, -40.0, 7.0)))
    assert moved.xyz[:, :2].min(0) == pytest.approx(-moved.xyz[:, :2].max(0))
    assert np.percentile(moved.xyz[:, 2], 1) == pytest.approx(0, abs=1e-9)
    assert np.ptp(moved.xyz, axis=0) == pytest.approx(np.ptp(sample.xyz, axis=0) * (2, 1, 1))


def test_a_few_points_below_the_floor_do_not_move_it() -> None:
    sample = room_sample(3, 1000)
    xyz = sample.xyz.copy()
    xyz[:3, 2] = -50
    down, clean = (OnFloor()(sample.changed(xyz=one)).xyz[3:, 2] for one in (xyz, sample.xyz))
    assert np.abs(down - clean).max() < 0.1


def test_no_points_stand_on_no_floor() -> None:
    empty = Sample(xyz=np.zeros((0, 3)))
    assert OnFloor()(empty) is empty


def test_a_place_far_away_changes_no_feature() -> None:
    near, far = (
        voxel_scene(voxelised(OnFloor()(sample), 0.1)[0], ROOM).features
        for sample in (room_sample(4), room_sample(4).changed(xyz=room_sample(4).xyz + np.array([4096.0, 512.0, 64.0])))
    )
    assert near == pytest.approx(far, abs=1e-5)
