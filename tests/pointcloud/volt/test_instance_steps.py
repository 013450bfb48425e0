"""Changes of single instances: rigid where they should be, labels and colours where they should be."""

from __future__ import annotations

import numpy as np
import pytest
from volt_scenes import room_sample

from recon3d.core.errors import InputError
from recon3d.pointcloud.volt import Sample
from recon3d.pointcloud.volt.augmentations import Augmentation
from recon3d.pointcloud.volt.instance_steps import (
    InstanceColorDropout,
    InstanceCutMix,
    InstanceLabelDropout,
    InstanceMotion,
    InstanceSwap,
    parsed_instances,
)

KINDS = ("shift", "turn", "flip", "scale")
STEPS: list[Augmentation] = [
    *(InstanceMotion(kind, p=1.0) for kind in KINDS),
    InstanceLabelDropout(p=1.0),
    InstanceColorDropout(p=1.0),
    InstanceSwap(p=1.0),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def of_instance(sample: Sample, number: int) -> Sample:
    assert sample.instance is not None
    return sample.selected(sample.instance == number)


def distances(xyz: np.ndarray) -> np.ndarray:
    return np.linalg.norm(xyz[:, None] - xyz, axis=2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_instance_keeps_its_shape(kind: str) -> None:
    before = room_sample()
    after = InstanceMotion(kind, (0.3, 0.3, 0.3), p=1.0)(before, rng(1))
    for number in range(4):
        old, new = of_instance(before, number), of_instance(after, number)
        ratio = distances(new.xyz).sum() / distances(old.xyz).sum()
        np.testing.assert_allclose(distances(new.xyz), ratio * distances(old.xyz), atol=1e-9)
        assert ratio == pytest.approx(1, abs=0.3 if kind == "scale" else 1e-9)
        if kind != "shift":
            np.testing.assert_allclose(new.xyz.mean(0), old.xyz.mean(0), atol=1e-9)
        assert new.normal is not None
        np.testing.assert_allclose(np.linalg.norm(new.normal, axis=1), 1, atol=1e-5)
    assert np.array_equal(of_instance(after, -1).xyz, of_instance(before, -1).xyz)
    moved = [not np.array_equal(of_instance(after, n).xyz, of_instance(before, n).xyz) for n in range(4)]
    assert any(moved)


def test_shifts_stay_within_their_limits() -> None:
    before = room_sample()
    after = InstanceMotion("shift", (0.1, 0.2, 0.0), p=1.0)(before, rng())
    moves = np.array([of_instance(after, n).xyz[0] - of_instance(before, n).xyz[0] for n in range(4)])
    assert (np.abs(moves) <= [0.1, 0.2, 1e-12]).all()
    assert len(np.unique(moves[:, 0])) == 4


def test_turns_are_about_the_vertical_and_take_normals_along() -> None:
    before = room_sample()
    after = InstanceMotion("turn", (np.pi / 4, 0, 0), p=1.0)(before, rng())
    np.testing.assert_allclose(after.xyz[:, 2], before.xyz[:, 2])
    old, new = of_instance(before, 2), of_instance(after, 2)
    assert old.normal is not None and new.normal is not None
    plane = (new.normal[:, 0] + 1j * new.normal[:, 1]) / (old.normal[:, 0] + 1j * old.normal[:, 1])
    assert np.ptp(np.angle(plane)) < 1e-4
    assert abs(np.angle(plane[0])) <= np.pi / 4 + 1e-6


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_seeds_and_samples_that_have_nothing_to_change(step: Augmentation) -> None:
    sample = room_sample()
    first, again = step(sample, rng(2)), step(sample, rng(2))
    for name in ("xyz", "color", "normal", "segment", "instance"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert np.array_equal(getattr(sample, name), getattr(room_sample(), name))
    bare = Sample(xyz=sample.xyz)
    assert np.array_equal(step(bare, rng()).xyz, bare.xyz)


def test_half_of_an_instance_loses_its_labels_and_no_point() -> None:
    before = room_sample()
    after = InstanceLabelDropout(p=1.0)(before, rng())
    assert len(after) == len(before) and np.array_equal(after.xyz, before.xyz)
    for number in range(4):
        part = of_instance(after, number)
        assert part.segment is not None
        assert (part.segment == -1).sum() == len(part) // 2
    rest, old = of_instance(after, -1).segment, of_instance(before, -1).segment
    assert rest is not None and old is not None and np.array_equal(rest, old)


def test_instances_become_black() -> None:
    after = InstanceColorDropout(p=1.0)(room_sample(), rng())
    assert after.color is not None and after.instance is not None
    assert np.array_equal((after.color == 0).all(1), after.instance >= 0)


def test_chosen_instances_follow_their_probability() -> None:
    source, sample = rng(), room_sample(count=40)
    black = [(InstanceColorDropout(p=0.2)(sample, source).color == 0).all(1) for _ in range(200)]
    assert sample.instance is not None
    assert np.mean(np.array(black)[:, sample.instance >= 0]) == pytest.approx(0.2, abs=0.05)


def test_swapped_instances_exchange_their_centroids() -> None:
    before = room_sample()
    after = InstanceSwap(p=1.0)(before, rng())
    old, new = (np.array([of_instance(one, n).xyz.mean(0) for n in range(4)]) for one in (before, after))
    partner = np.linalg.norm(new[:, None] - old, axis=2).argmin(1)
    np.testing.assert_allclose(new, old[partner], atol=1e-9)
    assert np.array_equal(partner[partner], np.arange(4))
    assert (partner != np.arange(4)).all()


def database() -> list[Sample]:
    return [room_sample(seed, 30) for seed in (5, 6)]


def test_pasted_instances_keep_their_shape_and_get_new_numbers() -> None:
    sweep = room_sample()
    mixed = InstanceCutMix(database(), count=3, scale=(1.0, 1.0))(sweep, rng())
    assert len(mixed) == len(sweep) + 90
    assert np.array_equal(mixed.xyz[: len(sweep)], sweep.xyz)
    assert mixed.instance is not None
    assert mixed.instance[len(sweep) :].tolist() == [4] * 30 + [5] * 30 + [6] * 30
    shapes = [distances(one.xyz) for one in database()]
    for number in (4, 5, 6):
        found = distances(of_instance(mixed, number).xyz)
        assert min(np.abs(found - one).max() for one in shapes) < 1e-9


def test_pasted_instances_move_along_the_ground() -> None:
    mixed = InstanceCutMix(database()[:1], count=40)(room_sample(), rng())
    old = database()[0].xyz
    new = [of_instance(mixed, number).xyz for number in range(4, 44)]
    reach = np.array([np.linalg.norm(one.mean(0)[:2]) for one in new]) / np.linalg.norm(old.mean(0)[:2])
    assert 0.5 <= reach.min() < 0.8 < 1.6 < reach.max() <= 2.0
    np.testing.assert_allclose([one.mean(0)[2] for one in new], old.mean(0)[2])
    sizes = np.array([distances(one).sum() for one in new]) / distances(old).sum()
    assert 0.9 <= sizes.min() < sizes.max() <= 1.1


def test_an_empty_database_and_one_that_does_not_fit() -> None:
    sweep = room_sample()
    assert InstanceCutMix([])(sweep, rng()) is sweep
    with pytest.raises(InputError, match="lacks arrays"):
        InstanceCutMix([Sample(xyz=sweep.xyz)])(sweep, rng())


def test_parsed_instances_are_renumbered_and_described() -> None:
    xyz = np.array([[0.0, 0, 0], [2, 4, 6], [5, 5, 5], [9, 9, 9], [1, 1, 1]])
    found = parsed_instances(xyz, np.array([4, 4, 2, 0, -1]), np.array([30, 30, 7, 8, 30]))
    assert found.instance.tolist() == [1, 1, 0, -1, -1]
    assert found.centroid.tolist() == [[1, 2, 3], [1, 2, 3], [5, 5, 5], [-1, -1, -1], [-1, -1, -1]]
    assert found.box.tolist() == [[5, 5, 5, 0, 0, 0, 0, 0], [1, 2, 3, 2, 4, 6, 0, 2]]


def test_a_scene_without_instances_can_be_parsed() -> None:
    found = parsed_instances(np.zeros((2, 3)), np.array([0, 1]), np.array([3, 4]))
    assert found.instance.tolist() == [-1, -1]
    assert found.box.shape == (0, 8)
