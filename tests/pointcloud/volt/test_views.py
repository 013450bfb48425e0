"""Views for testing and their votes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from volt_scenes import SMALL, room_sample, shake

from recon3d.core.errors import UsageError
from recon3d.pointcloud.volt import (
    SceneView,
    SegmentorOptions,
    VoltSegmentor,
    VoxelBatch,
    indoor_scene,
    indoor_views,
    outdoor_views,
    voted_probabilities,
)

VOTE = partial(voted_probabilities, scene=indoor_scene, voxel_size=0.5)


def by_color(batch: VoxelBatch) -> Tensor:
    """A model that sees nothing but the red of a voxel: no view can change its mind."""
    return torch.stack([batch.features[:, 0], 1 - batch.features[:, 0], torch.zeros(len(batch.grid))], dim=1) * 9


def test_the_released_views() -> None:
    indoor, outdoor = indoor_views(), outdoor_views()
    assert (len(set(indoor)), len(set(outdoor))) == (13, 10)
    assert sum(view.flip for view in indoor) == 1
    assert sum(view.flip for view in outdoor) == 5
    assert {view.scale for view in outdoor} == {0.9, 0.95, 1.0, 1.05, 1.1}


def test_a_view_moves_points_and_normals_without_mirroring_them() -> None:
    sample = room_sample()
    assert sample.normal is not None
    for view in (*indoor_views(), *outdoor_views()):
        seen = view.apply(sample)
        assert seen.normal is not None
        frame, *_ = np.linalg.lstsq(sample.xyz, seen.xyz, rcond=None)
        np.testing.assert_allclose(frame.T @ frame, view.scale**2 * np.eye(3), atol=1e-9)
        assert np.linalg.det(frame) == pytest.approx(view.scale**3)
        np.testing.assert_allclose(seen.normal, sample.normal @ frame / view.scale, atol=1e-5)


def test_views_that_agree_do_not_change_the_answer() -> None:
    sample = room_sample()
    assert sample.color is not None
    alone = torch.tensor(sample.color / 255)
    want = torch.stack([alone[:, 0], 1 - alone[:, 0], torch.zeros(len(sample))], dim=1).mul(9).softmax(1)
    assert not np.allclose(VOTE(by_color, sample, most_fragments=1), want, atol=1e-3)
    small = partial(voted_probabilities, scene=indoor_scene, voxel_size=0.001)  # a voxel for every point
    for views in ((SceneView(),), indoor_views()):
        np.testing.assert_allclose(small(by_color, sample, views=views), want, atol=1e-5)


def test_every_point_is_visited_and_the_sum_is_one() -> None:
    visited = np.zeros(400)

    def counting(batch: VoxelBatch) -> Tensor:
        colors = room_sample().color
        assert colors is not None
        visited[(colors[:, None, 0] / np.float32(255) == batch.features[:, 0].numpy()).any(1)] += 1
        return by_color(batch)

    found = VOTE(counting, room_sample())
    assert visited.min() >= 1
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_fewer_fragments_give_a_voxel_s_answer_to_all_of_its_points() -> None:
    calls: list[int] = []

    def counting(batch: VoxelBatch) -> Tensor:
        calls.append(len(batch.grid))
        return by_color(batch)

    found = VOTE(counting, room_sample(), most_fragments=1)
    assert len(calls) == 1
    assert len(np.unique(found, axis=0)) == calls[0] < 400


def test_a_network_votes() -> None:
    model = VoltSegmentor(SegmentorOptions(backbone=SMALL, classes={"Default": 5}))
    shake(model, 1)
    found = VOTE(model.eval(), room_sample(), views=indoor_views()[:2], most_fragments=2)
    assert found.shape == (400, 5)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert np.array_equal(found, VOTE(model, room_sample(), views=indoor_views()[:2], most_fragments=2))


def test_nothing_to_vote_on_is_refused() -> None:
    sample = room_sample()
    with pytest.raises(UsageError, match="0 views"):
        VOTE(by_color, sample, views=())
    with pytest.raises(UsageError, match="0 points"):
        VOTE(by_color, sample.selected(np.zeros(0, np.int64)))
