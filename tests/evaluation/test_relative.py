"""Relative-pose errors: analytic angles, areas under the curve, missing photos, pairs without a direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation

from recon3d.evaluation.relative import auc, auc_binned, pair_errors, rotation_angles_deg, share_below

ALL = np.ones(2, dtype=bool)


def two_cameras(rotation: np.ndarray, center: np.ndarray) -> np.ndarray:
    """A camera at the origin and a second one at ``center``."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :3, :3] = rotation
    poses[1, :3, 3] = -rotation @ center
    return poses


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 180.0), st.integers(0, 1000))
def test_rotation_angle_is_the_angle_of_the_rotation(angle: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    base = Rotation.random(rng=rng).as_matrix()
    turned = Rotation.from_rotvec(np.radians(angle) * axis / np.linalg.norm(axis)).as_matrix() @ base
    assert rotation_angles_deg(turned[None], base[None])[0] == pytest.approx(angle, abs=2e-6)


def test_small_angles_keep_their_digits() -> None:
    tiny = Rotation.from_euler("x", 1e-6, degrees=True).as_matrix()
    assert rotation_angles_deg(tiny[None], np.eye(3)[None])[0] == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize("angle", [0.0, 10.0, 90.0, 135.0, 180.0])
def test_translation_error_is_signed(angle: float) -> None:
    truth = two_cameras(np.eye(3), np.array([1.0, 0.0, 0.0]))
    moved = two_cameras(np.eye(3), Rotation.from_euler("z", angle, degrees=True).apply([3.0, 0.0, 0.0]))
    e_rotation, e_translation = pair_errors(truth, moved, ALL, 0.5)
    assert e_rotation[0] == 0.0
    assert e_translation[0] == pytest.approx(angle, abs=1e-9)


def test_pair_without_a_baseline_has_no_direction_error() -> None:
    truth = two_cameras(np.eye(3), np.array([1e-4, 0.0, 0.0]))
    moved = two_cameras(np.eye(3), np.array([-5.0, 0.0, 0.0]))
    assert pair_errors(truth, moved, ALL, 1.0)[1][0] == 0.0
    assert pair_errors(truth, moved, ALL, 0.01)[1][0] == 180.0


def test_collapsed_estimate_is_wrong() -> None:
    truth = two_cameras(np.eye(3), np.array([1.0, 0.0, 0.0]))
    assert pair_errors(truth, two_cameras(np.eye(3), np.zeros(3)), ALL, 0.5)[1][0] == 180.0


def test_unregistered_photo_costs_180_degrees_even_for_duplicates() -> None:
    truth = two_cameras(np.eye(3), np.zeros(3))
    e_rotation, e_translation = pair_errors(truth, truth, np.array([True, False]), 0.0)
    assert e_rotation[0] == e_translation[0] == 180.0


def test_pairs_come_in_the_order_of_i_below_j() -> None:
    poses = np.tile(np.eye(4), (4, 1, 1))
    registered = np.array([False, True, True, True])
    e_rotation, _ = pair_errors(poses, poses, registered, 0.0)
    assert e_rotation.tolist() == [180.0, 180.0, 180.0, 0.0, 0.0, 0.0]


def test_auc_is_the_area_under_the_recall_curve() -> None:
    errors = np.array([0.5, 1.5, 4.0, 180.0])
    grid = np.linspace(0.0, 5.0, 200001)
    recall = (errors[None, :] <= grid[:, None]).mean(axis=1)
    assert auc(errors, 5.0) == pytest.approx(100.0 * recall.mean(), abs=1e-3)


def test_auc_extremes() -> None:
    assert auc(np.zeros(3), 3.0) == 100.0
    assert auc(np.full(3, 180.0), 30.0) == 0.0
    assert np.isnan(auc(np.zeros(0), 3.0))
    assert np.isnan(auc_binned(np.zeros(0), 3))
    assert np.isnan(share_below(np.zeros(0), 5.0))


def test_binned_auc_by_hand() -> None:
    # One pair in the first bin, one in the third: recall 1/2, 1/2, 1 at the bins' ends.
    assert auc_binned(np.array([0.9, 2.1]), 3) == pytest.approx(100.0 * (0.5 + 0.5 + 1.0) / 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 180.0), min_size=1, max_size=50), st.sampled_from([3, 5, 10, 30]))
def test_binned_auc_reads_higher_by_at_most_one_bin(errors: list[float], threshold: int) -> None:
    # On average half a bin (50/T points); one whole bin at the worst.
    difference = auc_binned(np.array(errors), threshold) - auc(np.array(errors), threshold)
    assert -1e-9 <= difference <= 100.0 / threshold + 1e-9


def test_share_below_is_strict() -> None:
    assert share_below(np.array([4.999, 5.0, 180.0, 0.0]), 5.0) == 50.0
