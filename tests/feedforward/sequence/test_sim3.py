from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats

from recon3d.feedforward.sequence import sim3


def generator(tangent: np.ndarray) -> np.ndarray:
    """The element of the Lie algebra, 4x4."""
    v, (x, y, z), s = tangent[:3], tangent[3:6], tangent[6]
    return np.block([[np.array([[s, -z, y], [z, s, -x], [-y, x, s]]), v[:, None]], [np.zeros((1, 4))]])


def some(n: int, size: float, seed: int = 0) -> np.ndarray:
    return size * np.random.default_rng(seed).normal(size=(n, 7))


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-4, 0.1, 1.0, 3.0])
def test_exp_is_the_exponential_of_the_matrix(size: float) -> None:
    tangents = some(20, size)
    want = torch.linalg.matrix_exp(torch.from_numpy(np.stack([generator(one) for one in tangents]))).numpy()
    np.testing.assert_allclose(sim3.exp(tangents), want, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("part", [slice(0, 3), slice(3, 6), slice(6, 7)])
def test_exp_of_one_part_alone(part: slice) -> None:
    """A pure translation, a pure rotation about the origin, a pure scale."""
    tangent = np.zeros(7)
    tangent[part] = some(1, 1.0)[0, part]
    found = sim3.exp(tangent)
    assert np.allclose(found, torch.linalg.matrix_exp(torch.from_numpy(generator(tangent))), atol=1e-14)
    assert np.allclose(found[:3, 3], tangent[:3])


@given(arrays(np.float64, (7,), elements=floats(-1.5, 1.5)))
def test_log_is_the_inverse_of_exp(tangent: np.ndarray) -> None:
    assert np.allclose(sim3.log(sim3.exp(tangent)), tangent, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, np.pi - 1e-7, np.pi])
def test_log_at_no_turn_and_at_a_half_turn(angle: float) -> None:
    tangent = np.array([0.3, -2.0, 1.0, 0.0, angle, 0.0, -0.4])
    matrix = sim3.exp(tangent)
    assert np.allclose(sim3.exp(sim3.log(matrix)), matrix, atol=1e-9)


def test_log_of_a_turn_of_more_than_pi_is_the_shorter_one() -> None:
    assert np.linalg.norm(sim3.log(sim3.exp(np.array([0, 0, 0, 4.0, 0, 0, 0])))[3:6]) == pytest.approx(2 * np.pi - 4)


def test_batches_of_any_shape() -> None:
    tangents = some(6, 0.5).reshape(2, 3, 7)
    assert sim3.exp(tangents).shape == (2, 3, 4, 4)
    assert np.allclose(sim3.log(sim3.exp(tangents)), tangents)
    assert sim3.exp(np.zeros((0, 7))).shape == (0, 4, 4)


def test_inverse_and_scale() -> None:
    matrices = sim3.exp(some(5, 1.0))
    assert np.allclose(sim3.inverse(matrices), np.linalg.inv(matrices))
    assert np.allclose(np.log(sim3.scale_of(matrices)), some(5, 1.0)[:, 6])


def test_a_moved_camera_sees_the_moved_points_at_scaled_depth() -> None:
    target_from_source = sim3.exp(some(1, 0.7, seed=1)[0])
    cam_from_source = sim3.exp(some(4, 0.7, seed=2) * [1, 1, 1, 1, 1, 1, 0])
    points = np.random.default_rng(3).normal(size=(9, 3))
    moved = sim3.moved_points(target_from_source, points)
    poses = sim3.moved_cameras(target_from_source, cam_from_source)
    assert np.allclose(np.linalg.det(poses[:, :3, :3]), 1.0)
    for before, after in zip(cam_from_source, poses, strict=True):
        want = sim3.moved_points(before, points) * sim3.scale_of(target_from_source)
        assert np.allclose(sim3.moved_points(after, moved), want)


def test_similarity_from_its_parts() -> None:
    turn = sim3.exp(np.array([0, 0, 0, 0.1, 0.2, 0.3, 0]))[:3, :3]
    found = sim3.similarity(2.0, turn, np.array([1.0, 2.0, 3.0]))
    assert np.allclose(sim3.moved_points(found, np.eye(3)), 2 * turn.T + [1, 2, 3])
