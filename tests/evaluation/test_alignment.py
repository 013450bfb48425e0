"""Similarity alignment: it recovers what was applied, on a line too, and never mirrors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation

from recon3d.evaluation.alignment import Stats, absolute_errors, align, centers, scene_scale

from .conftest import make_truth


def similarity(scale: float, seed: int) -> np.ndarray:
    """A random ``new_from_old``."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.random(rng=rng).as_matrix()
    matrix[:3, 3] = rng.normal(size=3)
    return matrix


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100.0), st.integers(0, 1000), st.booleans())
def test_alignment_undoes_a_similarity(scale: float, seed: int, line: bool) -> None:
    truth = make_truth(line=line, seed=seed).cameras
    matrix = similarity(scale, seed)
    moved = truth.transformed(matrix).cam_from_world
    alignment = align(truth.cam_from_world, moved)
    assert alignment.scale == pytest.approx(1.0 / scale, rel=1e-9)
    assert np.allclose(alignment.rotation, np.linalg.inv(matrix[:3, :3] / scale), atol=1e-9)
    assert alignment.rotation_from == ("orientations" if line else "centres")
    distance, rotation = absolute_errors(truth.cam_from_world, moved, alignment)
    assert distance.max() < 1e-9
    assert rotation.max() < 1e-6


def test_similarity_is_the_least_squares_one() -> None:
    rng = np.random.default_rng(0)
    truth = make_truth(10).cameras.cam_from_world
    noisy = truth.copy()
    noisy[:, :3, 3] += 0.1 * rng.normal(size=(10, 3))
    best = align(truth, noisy)
    a, b = centers(noisy), centers(truth)

    def cost(scale: float, rotation: np.ndarray, translation: np.ndarray) -> float:
        return float(((b - scale * a @ rotation.T - translation) ** 2).sum())

    lowest = cost(best.scale, best.rotation, best.translation)
    for _ in range(20):
        turn = Rotation.from_rotvec(0.02 * rng.normal(size=3)).as_matrix() @ best.rotation
        shift = best.translation + 0.02 * rng.normal(size=3)
        assert cost(best.scale * (1 + 0.02 * rng.normal()), turn, shift) > lowest


def test_mirrored_centres_are_not_aligned_by_a_reflection() -> None:
    truth = make_truth().cameras.cam_from_world
    mirrored = truth.copy()
    mirrored[:, :3, 3] = -np.einsum("nij,nj->ni", truth[:, :3, :3], centers(truth) * [1.0, 1.0, -1.0])
    alignment = align(truth, mirrored)
    assert np.linalg.det(alignment.rotation) == pytest.approx(1.0)
    assert absolute_errors(truth, mirrored, alignment)[0].max() > 0.1


def test_collapsed_centres_give_scale_zero_not_nan() -> None:
    truth = make_truth().cameras.cam_from_world
    collapsed = truth.copy()
    collapsed[:, :3, 3] = 0.0
    alignment = align(truth, collapsed)
    assert alignment.scale == 0.0
    assert np.isfinite(absolute_errors(truth, collapsed, alignment)[0]).all()


def test_scene_scale_by_hand() -> None:
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = -2.0
    assert scene_scale(poses) == 1.0
    assert scene_scale(poses[:0]) == 0.0


def test_stats_by_hand() -> None:
    stats = Stats.of(np.array([1.0, 1.0, 4.0]))
    assert (stats.mean, stats.median, stats.max) == (2.0, 1.0, 4.0)
    assert stats.rmse == pytest.approx(np.sqrt(6.0))
