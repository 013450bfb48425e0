"""Point errors on sets whose numbers can be worked out by hand, and the points that stand for a surface."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import UsageError
from recon3d.evaluation.points import SeenSpace, evaluate_points, thin
from recon3d.evaluation.surface import opaque_centres, sample_mesh
from recon3d.render.cameras import Cameras


def plane(step: float = 0.05, z: float = 0.0) -> np.ndarray:
    x, y = np.meshgrid(np.arange(0, 1, step), np.arange(0, 1, step))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], -1) + 1e-4


def test_equal_sets_are_perfect() -> None:
    errors = evaluate_points(plane(), plane(), 0.02)
    assert (errors.accuracy_mean, errors.completeness_mean, errors.chamfer) == (0, 0, 0)
    assert (errors.precision, errors.recall, errors.f_score) == (1, 1, 1)
    assert errors.n_points == errors.n_reference == 400


def test_an_offset_is_the_distance() -> None:
    errors = evaluate_points(plane(z=0.03), plane(), 0.02)
    assert errors.accuracy_median == pytest.approx(0.03)
    assert errors.completeness_median == pytest.approx(0.03)
    assert (errors.precision, errors.f_score) == (0, 0)
    assert evaluate_points(plane(z=0.03), plane(), 0.05).f_score == 1


def test_half_a_set_is_accurate_but_incomplete() -> None:
    half = plane()[plane()[:, 0] < 0.49]
    errors = evaluate_points(half, plane(), 0.02)
    assert (errors.precision, errors.recall) == (1.0, 0.5)
    assert errors.f_score == pytest.approx(2 / 3)
    assert errors.completeness_mean == pytest.approx(np.mean([0] * 10 + [0.05 * i for i in range(1, 9)] + [0.4] * 2))


def test_points_outside_the_box_are_dropped_and_distances_capped() -> None:
    stray = np.array([[0.5, 0.5, 0.03], [0.5, 0.5, 0.05], [9.0, 9.0, 9.0], [np.nan, 0, 0]])
    errors = evaluate_points(np.concatenate([plane(), stray]), plane(), 0.02)
    assert errors.n_points == 401
    far = evaluate_points(plane()[:1], plane(), 0.02)
    assert far.completeness_median == pytest.approx(0.4)


def test_dense_sets_are_thinned() -> None:
    dense = np.repeat(plane(), 50, axis=0)
    assert evaluate_points(dense, plane(), 0.02).n_points == 400
    assert len(thin(np.zeros((0, 3)), 0.1)) == 0


@given(st.integers(0, 10_000), st.floats(0.05, 2.0))
def test_thinning_keeps_one_given_point_per_voxel(seed: int, side: float) -> None:
    points = np.random.default_rng(seed).normal(size=(100, 3))
    kept = thin(points, side)
    cells = np.floor(kept / side)
    assert len(np.unique(cells, axis=0)) == len(kept) == len(np.unique(np.floor(points / side), axis=0))
    assert {tuple(point) for point in kept} <= {tuple(point) for point in points}


def test_thinning_far_apart_points() -> None:
    points = np.array([[-1e12, 0, 0], [1e12, 1e12, 0], [0, 0, 1e12], [0, 0, 1e12]])
    assert len(thin(points, 1e-3)) == 3


def test_nothing_left_and_bad_arguments() -> None:
    errors = evaluate_points(plane() + 50, plane(), 0.02)
    assert (errors.n_points, errors.f_score) == (0, 0.0)
    assert math.isnan(errors.accuracy_mean)
    assert errors.to_json()["chamfer"] is None
    with pytest.raises(UsageError, match="positive"):
        evaluate_points(plane(), plane(), 0.0)
    with pytest.raises(UsageError, match="no reference"):
        evaluate_points(plane(), np.zeros((0, 3)), 0.1)


def test_space_behind_the_measured_depth_is_not_judged() -> None:
    K = np.array([[[100.0, 0, 50], [0, 100.0, 50], [0, 0, 1]]])
    size = np.array([100])
    depth = np.full((50, 50), 2.0)  # half the size of the photo
    depth[:, :25] = 0
    seen = SeenSpace(Cameras(np.eye(4)[None], K, size, size), (depth,))
    points = np.array([[0.1, 0, 1.0], [0.1, 0, 2.09], [0.1, 0, 2.11], [-0.1, 0, 1.0], [5.0, 0, 1.0], [0.1, 0, -1.0]])
    assert seen.contains(points).tolist() == [True, True, False, False, False, False]
    reference = np.array([[0.1, 0, 1.0], [0.1, 0, 2.2]])
    assert evaluate_points(points, reference, 0.2, seen).n_points == 2


def test_samples_are_uniform_by_area() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [10, 0, 0], [13, 0, 0], [10, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    samples = sample_mesh(vertices, faces, 40_000)
    first = samples[samples[:, 0] < 5]
    assert len(first) == pytest.approx(10_000, abs=2)
    assert (first.min(axis=0) >= 0).all()
    assert (first[:, 0] + first[:, 1] <= 1 + 1e-9).all()
    assert first[:, :2].mean(axis=0) == pytest.approx([1 / 3, 1 / 3], abs=0.01)


def test_samples_are_repeatable_and_may_be_none() -> None:
    vertices, faces = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)
    assert (sample_mesh(vertices, faces, 10, seed=1) == sample_mesh(vertices, faces, 10, seed=1)).all()
    assert (sample_mesh(vertices, faces, 10, seed=1) != sample_mesh(vertices, faces, 10, seed=2)).any()
    assert sample_mesh(vertices, faces[:0], 10).shape == (0, 3)
    assert sample_mesh(vertices, np.zeros((1, 3), np.int32), 10).shape == (0, 3)
    with pytest.raises(UsageError):
        sample_mesh(vertices, faces, -1)


def test_only_opaque_gaussians_count() -> None:
    means = np.arange(9.0).reshape(3, 3)
    assert opaque_centres(means, np.array([-0.01, 0.01, 3.0])).tolist() == means[1:].tolist()
    assert len(opaque_centres(means, np.array([-0.01, 0.01, 3.0]), 0.9)) == 1
