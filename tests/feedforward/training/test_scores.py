"""Scores by hand: depth after one scale, poses of all pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.feedforward.predictions import Prediction
from recon3d.feedforward.scenes import TrueViews
from recon3d.feedforward.training.scores import Answer, answers_of, constant, score, truth_of, unseen


def turned(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    return pose


@pytest.fixture
def truth(views: TrueViews) -> list[Answer]:
    return truth_of(views)


def test_the_truth_scores_best(truth: list[Answer]) -> None:
    found = score(truth, truth)
    assert (found.abs_rel, found.delta1, found.scenes) == (0.0, 1.0, 2)
    assert found.auc30 == pytest.approx(100.0, abs=0.1)
    assert found.rotation_deg == found.fov_deg == 0.0


def test_one_scale_per_scene_is_free(truth: list[Answer]) -> None:
    scaled = [replace(truth[0], depth_z=3 * truth[0].depth_z), replace(truth[1], depth_z=0.1 * truth[1].depth_z)]
    assert score(scaled, truth).abs_rel == pytest.approx(0.0, abs=1e-9)


def test_the_scale_of_each_photo_is_not(truth: list[Answer]) -> None:
    one = truth[0].depth_z.copy()
    one[0] *= 2
    assert score([replace(truth[0], depth_z=one)], truth[:1]).abs_rel > 0.1


def test_relative_errors_by_hand() -> None:
    flat = Answer(cam_from_world=np.eye(4)[None], K=np.eye(3)[None], depth_z=np.array([[[1.0, 2.0, 2.0, 0.0]]]))
    answer = replace(flat, depth_z=np.array([[[2.0, 2.0, 2.0, 9.0]]]))
    found = score([answer], [flat])
    assert found.abs_rel == pytest.approx(1 / 3) and found.delta1 == pytest.approx(2 / 3)


def test_a_turned_camera_costs_its_angle(truth: list[Answer]) -> None:
    poses = truth[0].cam_from_world.copy()
    poses[1] = turned(6.0) @ poses[1]
    found = score([replace(truth[0], cam_from_world=poses)], truth[:1])
    assert found.rotation_deg == pytest.approx(6.0, abs=1e-3)
    assert 70.0 < found.auc30 < 100.0


def test_fields_of_view_are_compared(truth: list[Answer]) -> None:
    K = truth[0].K.copy()
    K[:, 0, 0] *= 2
    assert score([replace(truth[0], K=K)], truth[:1]).fov_deg > 5.0


def test_no_surface_has_no_score(truth: list[Answer]) -> None:
    empty = replace(truth[0], depth_z=np.zeros_like(truth[0].depth_z))
    assert score([truth[1], truth[0]], [truth[1], empty]).abs_rel == 0.0


def test_the_constant_answer_does_not_look(views: TrueViews, truth: list[Answer]) -> None:
    found = constant(views)
    assert len({one.depth_z.tobytes() for one in found}) == 1
    assert score(found, truth).auc30 < 30.0 and score(found, truth).abs_rel > 0.05


def test_unseen_scenes_are_always_the_same() -> None:
    one, two = (unseen(1, size=14, n_views=2) for _ in range(2))
    assert torch.equal(one.images, two.images) and one.images.shape == (1, 2, 3, 14, 14)


def test_a_network_without_cameras_has_no_scores(views: TrueViews) -> None:
    with pytest.raises(UsageError, match="no cameras"):
        answers_of(lambda images: Prediction(depth_z=images[:, :, 0]), views)
