"""Motions and random changes of samples: what moves, what stays, how often, and from which seed."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from volt_scenes import room_sample

from recon3d.core.errors import InputError, ShapeError, UsageError
from recon3d.pointcloud.volt import IndoorRecipe, OutdoorRecipe, Sample, augmented, indoor_scene, outdoor_scene
from recon3d.pointcloud.volt.augmentations import (
    Augmentation,
    AutoContrast,
    CentreShift,
    ClipDistance,
    ColorJitter,
    ColorShift,
    Elastic,
    Jitter,
    PointDropout,
    RandomFlip,
    RandomScale,
    RandomShift,
    RandomTurn,
    SphereCrop,
    Voxelise,
)
from recon3d.pointcloud.volt.elastic import elastic_noise_shape, elastically_moved
from recon3d.pointcloud.volt.geometry import axis_rotation, centred, clipped_distance, flipped, scaled, turned
from recon3d.pointcloud.volt.instance_steps import InstanceCutMix, InstanceMotion

EVERY: list[Augmentation] = [
    CentreShift(),
    PointDropout(p=1.0),
    RandomTurn("z", 1.0, p=1.0),
    RandomTurn("x", 0.1, p=1.0, about_middle=True),
    RandomScale(),
    RandomFlip(p=1.0),
    Jitter(),
    RandomShift(),
    ClipDistance(3.0),
    Elastic(p=1.0),
    AutoContrast(p=1.0),
    ColorShift(p=1.0),
    ColorJitter(p=1.0),
    Voxelise(0.5),
    SphereCrop(high=0.9),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def same(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Sample))


@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_a_change_depends_on_its_generator_and_leaves_what_it_was_given(step: Augmentation) -> None:
    sample, untouched = room_sample(), room_sample()
    first = step(sample, rng())
    assert same(sample, untouched)
    assert same(first, step(sample, rng()))
    assert not same(first, sample)


@pytest.mark.parametrize("step", EVERY, ids=repr)
def test_a_change_of_a_sample_without_points_or_colours(step: Augmentation) -> None:
    assert len(step(room_sample().selected(np.zeros(0, np.int64)), rng())) == 0
    bare = Sample(xyz=room_sample().xyz)
    assert step(bare, rng()).color is None


@pytest.mark.parametrize(
    "step",
    [
        PointDropout(p=0),
        RandomTurn("z", 1, p=0),
        RandomFlip(p=0),
        Elastic(p=0),
        AutoContrast(p=0),
        ColorShift(p=0),
        ColorJitter(p=0),
    ],
    ids=repr,
)
def test_a_change_of_probability_zero_does_nothing(step: Augmentation) -> None:
    assert same(step(room_sample(), rng()), room_sample())


def test_half_of_the_samples_are_turned() -> None:
    source, sample = rng(), room_sample(count=3)
    turns = [not same(RandomTurn("z", 1.0, p=0.5)(sample, source), sample) for _ in range(400)]
    assert np.mean(turns) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_turns_are_right_handed(axis: str) -> None:
    number = "xyz".index(axis)
    rotation = axis_rotation(axis, np.pi / 2)
    unit = np.eye(3)
    np.testing.assert_allclose(rotation @ unit[(number + 1) % 3], unit[(number + 2) % 3], atol=1e-12)
    np.testing.assert_allclose(rotation @ unit[number], unit[number], atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_turn_keeps_its_centre_and_turns_normals() -> None:
    sample, centre = room_sample(), np.array([1.0, -2.0, 3.0])
    moved = turned(sample, "y", 0.7, centre)
    back = turned(moved, "y", -0.7, centre)
    np.testing.assert_allclose(back.xyz, sample.xyz, atol=1e-12)
    np.testing.assert_allclose(turned(Sample(xyz=centre[None]), "y", 0.7, centre).xyz, centre[None])
    assert moved.normal is not None and sample.normal is not None
    np.testing.assert_allclose(moved.normal, sample.normal @ axis_rotation("y", 0.7).T, atol=1e-6)


def test_flipping_two_axes_is_half_a_turn() -> None:
    sample = room_sample()
    both, half = flipped(sample, 0, 1), turned(sample, "z", np.pi)
    np.testing.assert_allclose(both.xyz, half.xyz, atol=1e-12)
    assert both.normal is not None and half.normal is not None
    np.testing.assert_allclose(both.normal, half.normal, atol=1e-6)


def test_centring_and_scaling() -> None:
    moved = centred(room_sample())
    np.testing.assert_allclose((moved.xyz.min(0) + moved.xyz.max(0))[:2], 0, atol=1e-12)
    assert moved.xyz[:, 2].min() == 0
    assert np.array_equal(centred(room_sample(), floor=False).xyz[:, 2], room_sample().xyz[:, 2])
    np.testing.assert_allclose(scaled(moved, 0.5).xyz, moved.xyz / 2)


def test_far_points_come_to_the_sphere_and_heights_are_clamped() -> None:
    xyz = np.array([[30.0, 40, 0], [3, 4, 9], [0, 0, -8], [0, 0, 0]])
    found = clipped_distance(Sample(xyz=xyz), 10.0).xyz
    np.testing.assert_allclose(found, [[6, 8, 0], [3 * 10 / 106**0.5, 40 / 106**0.5, 2], [0, 0, -4], [0, 0, 0]])


def test_dropout_and_crops_count_exactly() -> None:
    sample = room_sample(count=100)
    assert len(PointDropout(share=0.2, p=1.0)(sample, rng())) == 80
    for seed in range(5):
        assert 60 <= len(SphereCrop()(sample, rng(seed))) <= 100
    assert len(SphereCrop(most=30)(sample, rng())) == 30


def test_a_sphere_is_a_sphere() -> None:
    sample = room_sample()
    inside = SphereCrop(high=0.6)(sample, rng())
    kept = (sample.xyz[:, None] == inside.xyz).all(2).any(1)
    middles = [
        one
        for one in inside.xyz
        if np.linalg.norm(inside.xyz - one, axis=1).max() <= np.linalg.norm(sample.xyz[~kept] - one, axis=1).min()
    ]
    assert middles


def test_jitter_and_shift_stay_within_their_limits() -> None:
    sample = room_sample()
    moves = Jitter(sigma=0.02)(sample, rng()).xyz - sample.xyz
    assert np.abs(moves).max() == pytest.approx(0.02)
    assert moves.std() == pytest.approx(0.014, abs=0.003)
    shift = RandomShift((0.1, 0.2, 0.0))(sample, rng()).xyz - sample.xyz
    assert np.ptp(shift, axis=0).max() < 1e-12
    assert (np.abs(shift[0]) <= [0.1, 0.2, 1e-12]).all()


def test_colours_stay_in_range() -> None:
    sample = room_sample()
    assert sample.color is not None
    for step in (AutoContrast(p=1.0), ColorShift(1.0, p=1.0), ColorJitter(1.0, p=1.0)):
        color = step(sample, rng(3)).color
        assert color is not None and color.dtype == np.float32
        assert color.min() >= -1e-3 and color.max() <= 255.001
    shift = ColorShift(p=1.0)(sample, rng()).color - sample.color
    assert np.abs(shift).max() <= 0.05 * 255 + 1e-3
    assert np.ptp(shift, axis=0).max() < 1e-3


def test_elastic_noise_of_zero_and_one() -> None:
    xyz = room_sample().xyz
    shape = elastic_noise_shape(xyz, 0.5)
    assert np.array_equal(elastically_moved(xyz, np.zeros(shape, np.float32), 0.5, 2.0), xyz)
    moved = elastically_moved(xyz, np.ones(shape, np.float32), 0.5, 2.0) - xyz
    assert (moved > 0).all() and moved.max() == pytest.approx(2.0, abs=1e-5)


def test_elastic_distortion_is_smooth() -> None:
    """Points nearer than a knot move alike; far ones do not."""
    a = room_sample().xyz
    noise = rng().standard_normal(elastic_noise_shape(a, 0.8), np.float32)
    moves = elastically_moved(a, noise, 0.8, 1.6) - a
    apart = np.linalg.norm(a[:, None] - a, axis=2)
    unlike = np.linalg.norm(moves[:, None] - moves, axis=2)
    assert unlike[(apart > 0) & (apart < 0.2)].mean() < unlike[apart > 2].mean() / 2


def test_recipes_have_their_steps_in_order() -> None:
    indoor = [type(step).__name__ for step in IndoorRecipe().steps()]
    assert indoor[:3] == ["CentreShift", "PointDropout", "RandomTurn"]
    assert indoor.index("RandomFlip") < indoor.index("Jitter") < indoor.index("Elastic") < indoor.index("AutoContrast")
    assert indoor.index("InstanceSwap") < indoor.index("Voxelise") < indoor.index("SphereCrop")
    assert indoor[-1] == "CentreShift"
    assert not any(isinstance(step, Elastic) for step in IndoorRecipe(elastic=False).steps())
    assert not any(isinstance(step, InstanceMotion) for step in IndoorRecipe(instances=False).steps())
    kitti, nuscenes = OutdoorRecipe(data_set="SemanticKITTI").steps(), OutdoorRecipe().steps()
    assert any(isinstance(step, InstanceCutMix) for step in kitti)
    assert not any(isinstance(step, InstanceCutMix | PointDropout) for step in nuscenes)
    assert ClipDistance(75.0) in OutdoorRecipe(data_set="Waymo").steps()
    with pytest.raises(UsageError, match="no recipe"):
        OutdoorRecipe(data_set="moon")


@pytest.mark.parametrize("data_set", ["", "nuScenes", "SemanticKITTI", "Waymo"])
def test_a_whole_recipe_makes_a_scene_of_distinct_voxels(data_set: str) -> None:
    sample = room_sample()
    steps = OutdoorRecipe(data_set=data_set, database=[sample]).steps() if data_set else IndoorRecipe().steps()
    first, again = (augmented(sample, steps, rng(4)) for _ in range(2))
    assert same(first, again)
    scene = outdoor_scene(first, "a") if data_set else indoor_scene(first, "a")
    assert len(np.unique(scene.grid, axis=0)) == len(scene) > 100
    assert scene.features.shape == (len(scene), 4 if data_set else 6)
    assert scene.condition == "a" and scene.segment is not None and len(scene.segment) == len(scene)


def test_features_of_scenes() -> None:
    sample = Sample(
        xyz=np.array([[1.0, 2, 3]]),
        color=np.array([[255.0, 0, 51]], np.float32),
        normal=np.array([[0, 0, 1.0]], np.float32),
        strength=np.array([0.5], np.float32),
        grid=np.array([[0, 0, 0]]),
    )
    np.testing.assert_allclose(indoor_scene(sample).features, [[1, 0, 0.2, 0, 0, 1]])
    np.testing.assert_allclose(outdoor_scene(sample).features, [[1, 2, 3, 0.5]])
    for name, make in (
        ("color", indoor_scene),
        ("normal", indoor_scene),
        ("grid", indoor_scene),
        ("strength", outdoor_scene),
    ):
        with pytest.raises(InputError, match=f"no {name}"):
            make(sample.changed(**{name: None}))


def test_samples_check_and_join_their_arrays() -> None:
    sample = room_sample(count=5)
    assert len(sample.selected(np.array([True, False, True, False, False]))) == 2
    joined = sample.joined([room_sample(1, 3), room_sample(2, 2)])
    assert len(joined) == 10
    assert same(joined.selected(np.arange(5, 8)), room_sample(1, 3))
    with pytest.raises(InputError, match="lacks arrays"):
        sample.joined([Sample(xyz=sample.xyz)])


@pytest.mark.usefixtures("without_shape_checks")
def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="differ in length"):
        room_sample(count=5).changed(strength=np.zeros(4, np.float32))
