"""Scenes in a batch: borders, data sets, mixing in pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from volt_scenes import one_batch, voxel_scene

from recon3d.core.errors import InputError, ShapeError
from recon3d.pointcloud.volt import VoxelScene, collate_scenes, mixed_offset
from recon3d.pointcloud.volt.batch import rows_of


@pytest.mark.parametrize(
    ("sizes", "want"),
    [([4], [4]), ([4, 2], [6]), ([4, 2, 3], [6, 9]), ([4, 2, 3, 1], [6, 10]), ([5, 3, 4, 2, 6], [8, 14, 20])],
)
def test_scenes_are_mixed_in_pairs_and_the_last_of_an_odd_number_stays_alone(sizes: list[int], want: list[int]) -> None:
    assert mixed_offset(torch.tensor(sizes).cumsum(0)).tolist() == want


def test_collated_scenes_keep_their_order_borders_and_labels() -> None:
    scenes = [voxel_scene(1, 5, condition="a"), voxel_scene(2, 7, condition="b"), voxel_scene(3, 3, condition="a")]
    batch = collate_scenes(scenes)
    assert batch.offset.tolist() == batch.unmixed_offset.tolist() == [5, 12, 15]
    assert batch.conditions == ("a", "b", "a")
    assert np.array_equal(batch.grid[5:12], scenes[1].grid)
    assert np.array_equal(batch.features[12:], scenes[2].features)
    assert batch.segment is not None
    assert np.array_equal(batch.segment[:5], scenes[0].segment)
    assert batch.instance is None
    assert batch.rows("a").tolist() == [0, 1, 2, 3, 4, 12, 13, 14]
    assert batch.rows("c").tolist() == []
    assert batch.scene().bincount().tolist() == [5, 7, 3]


def test_mixing_moves_no_voxel() -> None:
    scenes = [voxel_scene(seed, 5) for seed in range(3)]
    plain = collate_scenes(scenes)
    mixed = collate_scenes(scenes, mix_probability=1.0, rng=np.random.default_rng(0))
    assert mixed.offset.tolist() == [10, 15]
    assert mixed.unmixed_offset.tolist() == plain.unmixed_offset.tolist()
    assert torch.equal(mixed.grid, plain.grid)
    assert mixed.sequence().tolist() == [0] * 10 + [1] * 5


def test_the_whole_batch_is_mixed_with_its_probability() -> None:
    rng, scenes = np.random.default_rng(0), [voxel_scene(seed, 2) for seed in range(2)]
    mixed = [len(collate_scenes(scenes, mix_probability=0.3, rng=rng).offset) == 1 for _ in range(400)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.07)


def test_a_scene_without_labels_takes_those_of_the_batch() -> None:
    assert one_batch(voxel_scene(1), replace(voxel_scene(2), segment=None)).segment is None


def test_rows_of_parts_with_an_empty_one() -> None:
    assert rows_of(torch.tensor([2, 2, 3])).tolist() == [0, 0, 2]


def test_bad_batches_are_refused() -> None:
    scene, batch = voxel_scene(1), one_batch(voxel_scene(1), voxel_scene(2))
    narrow = VoxelScene(grid=scene.grid, features=scene.features[:, :4])
    for scenes in ([], [scene, narrow]):
        with pytest.raises(InputError, match="make no batch"):
            collate_scenes(scenes)
    with pytest.raises(InputError, match="generator"):
        collate_scenes([scene], mix_probability=0.5)
    for offset in ([60], [130, 120], [121], []):
        with pytest.raises(ShapeError, match="does not divide"):
            replace(batch, offset=torch.tensor(offset, dtype=torch.long))
    with pytest.raises(ShapeError, match="condition"):
        replace(batch, conditions=("a",))


def test_a_batch_moves_with_all_of_its_tensors() -> None:
    batch = one_batch(voxel_scene(1)).to("cpu")
    assert {one.device.type for one in vars(batch).values() if isinstance(one, torch.Tensor)} == {"cpu"}
    assert batch.conditions == ("Default",)
