"""The changes of a training scene: what both recipes keep, what only one of them does, and their bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_segmentation import ROOM, STREET, room_sample, street_rows, training_options

from recon3d.pointcloud.segmentation.options import Recipe
from recon3d.pointcloud.segmentation.recipe import ColourDrop, StrengthScale, training_scene, training_steps
from recon3d.pointcloud.segmentation.spec import SegmenterSpec
from recon3d.pointcloud.volt.batch import VoxelScene
from recon3d.pointcloud.volt.samples import Sample

FINE = replace(ROOM, voxel_m=0.02)


def street_sample(seed: int) -> Sample:
    rows = street_rows(seed)
    labels = (rows[:, 2] > -1).astype(np.int64)
    return Sample(xyz=rows[:, :3], strength=rows[:, 3].astype(np.float32), segment=labels)


def scene(sample: Sample, spec: SegmenterSpec, recipe: Recipe, seed: int = 0, **changed: object) -> VoxelScene:
    steps = training_steps(spec, training_options(1, recipe=recipe, **changed))
    return training_scene(sample, spec, steps, np.random.default_rng(seed))


def names(spec: SegmenterSpec, recipe: Recipe) -> list[str]:
    return [type(step).__name__ for step in training_steps(spec, training_options(1, recipe=recipe))]


@pytest.mark.parametrize("spec", [ROOM, STREET], ids=["room", "street"])
@pytest.mark.parametrize("recipe", ["full", "naive"])
def test_voxels_and_crop_come_last(spec: SegmenterSpec, recipe: Recipe) -> None:
    found = names(spec, recipe)
    assert found[-2:] == ["Voxelise", "SphereCrop"]
    assert (found[0] == "OnFloor") == (spec.kind == "indoor")


def test_the_naive_recipe_turns_and_flips_only() -> None:
    assert names(ROOM, "naive") == ["OnFloor", "RandomTurn", "RandomFlip", "Voxelise", "SphereCrop"]


def test_only_rooms_change_their_colours_and_only_streets_their_strengths() -> None:
    room, street = set(names(ROOM, "full")), set(names(STREET, "full"))
    assert {"ColorJitter", "ColourDrop", "Elastic"} <= room and not {"ColorJitter", "ColourDrop", "Elastic"} & street
    assert "StrengthScale" in street and "StrengthScale" not in room


def test_the_order_is_the_published_one() -> None:
    found = names(ROOM, "full")
    wanted = [
        "PointDropout",
        "RandomTurn",
        "RandomScale",
        "RandomFlip",
        "Jitter",
        "Elastic",
        "AutoContrast",
        "ColorShift",
    ]
    assert [found.index(name) for name in wanted] == sorted(found.index(name) for name in wanted)


@pytest.mark.parametrize("recipe", ["full", "naive"])
def test_a_scene_depends_on_its_random_numbers_only(recipe: Recipe) -> None:
    one, two, other = (scene(room_sample(1), ROOM, recipe, seed) for seed in (5, 5, 6))
    assert np.array_equal(one.grid, two.grid) and np.array_equal(one.features, two.features)
    assert one.grid.shape != other.grid.shape or not np.array_equal(one.grid, other.grid)


@pytest.mark.parametrize("recipe", ["full", "naive"])
def test_the_sample_itself_is_not_changed(recipe: Recipe) -> None:
    sample = room_sample(2)
    scene(sample, ROOM, recipe)
    assert np.array_equal(sample.xyz, room_sample(2).xyz)
    assert np.array_equal(np.asarray(sample.color), np.asarray(room_sample(2).color))


@pytest.mark.parametrize("most", [1, 10, 50])
def test_large_scenes_are_cut_to_their_bound(most: int) -> None:
    assert len(scene(room_sample(3), FINE, "full", most_voxels=most).grid) <= most


def test_a_cut_is_one_piece_of_the_scene() -> None:
    sample = room_sample(4, 4000).changed(instance=None)
    found = scene(sample, FINE, "naive", most_voxels=100)
    size = np.ptp(found.grid, axis=0) * FINE.voxel_m
    assert size.max() < 2.0  # of 3 m, four of them along the diagonal


@pytest.mark.parametrize("seed", range(4))
def test_labels_stay_with_their_points(seed: int) -> None:
    sample = room_sample(seed)
    tagged = sample.changed(color=np.repeat(np.asarray(sample.segment)[:, None] * 100.0, 3, axis=1).astype(np.float32))
    found = scene(tagged, ROOM, "naive", seed)
    colour = found.features[:, 2] * 255
    assert np.array_equal(np.rint(colour / 100).astype(int), found.segment)


@pytest.mark.parametrize("seed", range(4))
def test_strengths_stay_with_their_points(seed: int) -> None:
    sample = street_sample(seed)
    tagged = sample.changed(strength=(np.asarray(sample.segment) * 0.5 + 0.1).astype(np.float32))
    found = scene(tagged, STREET, "full", seed)
    strong = found.features[:, 3] > np.median(np.unique(found.features[:, 3]))
    assert np.array_equal(strong, np.asarray(found.segment) == 1)


def test_turns_keep_heights() -> None:
    found = scene(street_sample(5), STREET, "naive")
    assert sorted(np.unique(found.features[:, 1].round(4)).tolist()) == pytest.approx([0.0, 1.7], abs=1e-4)


def test_one_point_and_none_survive_every_change() -> None:
    for count in (1, 2):
        few = room_sample(6, count)
        assert 1 <= len(scene(few, ROOM, "full").grid) <= count


@pytest.mark.parametrize("seed", range(5))
def test_strengths_keep_their_order_and_their_range(seed: int) -> None:
    sample = street_sample(1)
    found = np.asarray(StrengthScale(most=1.5)(sample, np.random.default_rng(seed)).strength)
    given = np.asarray(sample.strength)
    assert found.min() >= 0 and found.max() <= 1 and found.dtype == np.float32
    assert (np.diff(found[np.argsort(given)]) >= 0).all()
    assert (found <= given * 1.5 + 1e-6).all() and (found >= np.minimum(given / 1.5, 1) - 1e-6).all()


def test_colours_are_dropped_as_often_as_asked() -> None:
    rng, sample = np.random.default_rng(0), room_sample(7, 5)
    grey = sum(float(np.asarray(ColourDrop(p=0.3)(sample, rng).color).std()) == 0 for _ in range(400))
    assert 80 <= grey <= 160
    assert ColourDrop(p=0.0)(sample, rng) is sample
    bare = sample.changed(color=None)
    assert ColourDrop(p=1.0)(bare, rng) is bare
