"""Batches of a training: from numbers of steps, of finite and endless scenes, for one process or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from small_segmentation import NETWORK, ROOM, Boxes, room_sample, training_options

from recon3d.core.clock import Clock
from recon3d.core.errors import UsageError
from recon3d.core.processes import Processes
from recon3d.pointcloud.segmentation.options import SegmenterOptions, TrainSegmenterOptions
from recon3d.pointcloud.segmentation.sources import GeneratedScenes, Scenes, generated_scenes, merged
from recon3d.pointcloud.segmentation.training import Batches
from recon3d.pointcloud.volt.samples import Sample


@dataclass(frozen=True, eq=False)
class Counted(Boxes):
    """Boxes that remember which of them were asked for."""

    seen: list[int] = field(default_factory=list)

    def training(self, number: int) -> Sample:
        self.seen.append(number)
        return room_sample(number, 10)


def batches(data: Scenes, rank: int = 0, world: int = 1, **changed: object) -> Batches:
    options = training_options(99, **{"recipe": "naive", **changed})
    return Batches(data, options, Processes(rank, world, torch.device("cpu")))


@pytest.mark.parametrize("count", [1, 3, 7])
def test_all_of_a_folder_is_seen_about_equally_often(count: int) -> None:
    used: Counter[int] = Counter()
    made = batches(Counted(count=count), pool=1)
    for step in range(60):
        made.at(step)
    used.update(made.scenes.seen)  # type: ignore[attr-defined]
    assert set(used) == set(range(count))
    if count > 1:
        assert min(used.values()) > 0.4 * max(used.values())


def test_scenes_in_memory_are_not_made_again() -> None:
    made = batches(Counted(count=3), pool=3)
    for step in range(40):
        made.at(step)
    assert sorted(made.scenes.seen) == [0, 1, 2]  # type: ignore[attr-defined]


def test_the_pool_of_endless_scenes_moves_on() -> None:
    made = batches(Counted(), pool=4, reuse=2, scenes=2)
    early, late = [set[int](), set[int]()]
    for step in range(40):
        made.at(step)
        (early if step < 10 else late).update(made.scenes.seen[-2:])  # type: ignore[attr-defined]
    assert max(early) < 16 and max(late) > 30


def test_processes_learn_from_different_scenes() -> None:
    seen = []
    for rank in range(3):
        made = batches(Counted(), rank, 3, pool=4)
        for step in range(20):
            made.at(step)
        seen.append(set(made.scenes.seen))  # type: ignore[attr-defined]
    assert not seen[0] & seen[1] and not seen[1] & seen[2] and not seen[0] & seen[2]


def test_processes_and_seeds_change_scenes_of_a_folder_differently() -> None:
    made = [batches(Boxes(count=1), rank, 2, seed=seed).at(0).features for rank, seed in ((0, 0), (1, 0), (0, 1))]
    assert made[0].shape != made[1].shape or not torch.equal(made[0], made[1])
    assert made[0].shape != made[2].shape or not torch.equal(made[0], made[2])


def test_a_batch_has_as_many_scenes_as_asked_for() -> None:
    made = batches(Boxes(), scenes=4, recipe="naive").at(0)
    assert len(made.unmixed_offset) == 4 and int(made.unmixed_offset[-1]) == len(made.features)


def test_scenes_are_mixed_with_the_full_recipe_only() -> None:
    mixed, plain = (batches(Boxes(), scenes=4, mix=1.0, recipe=name).at(0) for name in ("full", "naive"))
    assert len(mixed.offset) == 2 and len(plain.offset) == 4
    assert len(mixed.unmixed_offset) == len(plain.unmixed_offset) == 4


def test_voxels_of_another_size_are_asked_for_by_the_options() -> None:
    fine = batches(Boxes(), network=SegmenterOptions(dim=64, depth=1, voxel_m=0.1), recipe="naive")
    assert fine.spec.voxel_m == 0.1 and batches(Boxes()).spec.voxel_m == ROOM.voxel_m
    assert fine.spec == merged(ROOM, 0.1) and merged(ROOM, 0.0) == ROOM


@pytest.mark.parametrize("name", ["rooms", "streets"])
def test_generated_scenes_depend_on_their_number_and_their_seed(name: str) -> None:
    asked: list[int] = []
    scenes = generated_scenes(name, seed=1)

    def make(seed: int) -> Sample:
        asked.append(seed)
        return room_sample(0, 1)

    for seed in (1, 2):
        made = GeneratedScenes(spec=scenes.spec, make=make, seed=seed)
        made.training(0), made.training(1), made.training(0), made.unseen(0)
    first, second = asked[:4], asked[4:]
    assert first[0] == first[2] and len(set(first)) == 3
    assert not set(first[:3]) & set(second[:3]) and first[3] == second[3]  # all seeds share what is held out


def test_progress_is_by_steps_or_by_minutes_whichever_ends_first() -> None:
    half: Callable[..., TrainSegmenterOptions] = lambda **one: TrainSegmenterOptions(**one)  # noqa: E731
    clock = Clock(step=10, seconds=60.0)
    assert clock.progress(half(steps=20, minutes=0.0)) == 0.5
    assert clock.progress(half(steps=0, minutes=4.0)) == 0.25
    assert clock.progress(half(steps=100, minutes=2.0)) == 0.5


@pytest.mark.parametrize("changed", [{"pool": 0}, {"reuse": 0}, {"most_voxels": 0}, {"evaluate_scenes": -1}])
def test_counts_below_one_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="cannot work so"):
        training_options(1, **changed)


@pytest.mark.parametrize("changed", [{"mix": -0.1}, {"ema": -0.1}, {"ema": 1.5}, {"learning_rate": -1.0}])
def test_shares_out_of_range_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cannot work so"):
        training_options(1, **changed)


def test_the_network_follows_its_options() -> None:
    made = SegmenterOptions(dim=128, depth=3, mlp_ratio=2.0, patch_size=4, up_dim=32).backbone(7, 0.2)
    assert (made.in_channels, made.dim, made.depth, made.heads) == (7, 128, 3, 2)
    assert (made.mlp_ratio, made.patch_size, made.up_dim, made.drop_path) == (2.0, 4, 32, 0.2)
    assert NETWORK.backbone(7, 0.0).heads == 1
    assert np.isclose(training_options(1).drop_path, 0.0)
