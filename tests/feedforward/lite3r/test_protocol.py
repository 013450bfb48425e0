"""The scores of the published evaluation on cases whose answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from recon3d.core.errors import InputError
from recon3d.feedforward.lite3r.protocol import depth_scores, geometry_scores, pose_scores

RNG = np.random.default_rng(0)


def turned(degrees: float, translation: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> np.ndarray:
    a = np.radians(degrees)
    rotation = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return np.column_stack([rotation, translation])


def test_a_global_factor_costs_depth_nothing() -> None:
    truth = RNG.uniform(1, 5, (2, 6, 7))
    found = depth_scores(3.7 * truth, truth, truth > 0)
    assert found.abs_rel == pytest.approx(0)
    assert found.rmse == pytest.approx(0)
    assert found.delta == (1.0, 1.0, 1.0)


def test_depth_counts_valid_pixels_alone() -> None:
    truth = np.array([1.0, 1.0, 2.0, 9.0])
    depth = np.array([1.0, 1.0, 2.0, 100.0])
    assert depth_scores(depth, truth, truth < 5).abs_rel == pytest.approx(0)


def test_depth_off_by_a_known_ratio() -> None:
    truth, depth = np.array([1.0, 1.0]), np.array([1.0, 1.5])
    scale = 2.5 / 3.25
    found = depth_scores(depth, truth, np.ones(2, bool))
    assert found.abs_rel == pytest.approx(((1 - scale) + (1.5 * scale - 1)) / 2)
    assert found.delta == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("degrees", [0.0, 3.0, 90.0, 179.0])
def test_angles_between_rotations(degrees: float) -> None:
    poses = np.stack([turned(degrees), turned(0.0)])
    found = pose_scores(poses, np.stack([turned(0.0), turned(0.0)]))
    assert found.rotation_deg == pytest.approx(degrees / 2, abs=1e-5)
    assert found.translation == pytest.approx(0, abs=1e-12)


def test_translations_are_compared_after_one_scale() -> None:
    truth = np.stack([turned(0, (1, 0, 0)), turned(0, (0, 2, 0))])
    assert pose_scores(truth * [1, 1, 1, 5], truth).translation == pytest.approx(0)
    assert pose_scores(truth * [1, 1, 1, 0], truth).translation == pytest.approx(1.5)


def test_points_and_their_distances() -> None:
    grid = np.stack(np.meshgrid(*3 * [np.arange(3.0)]), -1).reshape(-1, 3)
    same = geometry_scores(grid, grid)
    assert same == (0.0, 1.0)
    moved = geometry_scores(grid + np.array([0.04, 0, 0]), grid)
    assert moved.chamfer == pytest.approx(0.04**2)
    assert moved.f_score == 1.0
    assert geometry_scores(grid + np.array([0.06, 0, 0]), grid).f_score == 0.0
    half = geometry_scores(np.concatenate([grid, grid + 50.0]), grid)
    assert half.f_score == pytest.approx(2 / 3)


def test_nothing_to_compare_is_an_error_and_not_a_number() -> None:
    truth = np.ones((2, 3))
    with pytest.raises(InputError, match="no depth to compare; got: 0 pixels"):
        depth_scores(truth, truth, np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="no depth to compare; got: 6 pixels"):
        depth_scores(0 * truth, truth, np.ones((2, 3), bool))
    points = np.zeros((4, 3))
    for pair in ((points, points[:0]), (points[:0], points)):
        with pytest.raises(InputError, match="no points to compare"):
            geometry_scores(*pair)


def test_scores_do_not_depend_on_the_order_of_what_is_compared() -> None:
    truth, depth = RNG.uniform(1, 5, 50), RNG.uniform(1, 5, 50)
    order = RNG.permutation(50)
    one = depth_scores(depth, truth, truth > 2)
    other = depth_scores(depth[order], truth[order], truth[order] > 2)
    assert one.abs_rel == pytest.approx(other.abs_rel) and one.delta == other.delta
    assert one.delta[0] <= one.delta[1] <= one.delta[2]
    a, b = RNG.normal(size=(30, 3)), RNG.normal(size=(40, 3))
    there, back = geometry_scores(a, b, 0.5), geometry_scores(b, a, 0.5)
    assert there.chamfer == pytest.approx(back.chamfer) and there.f_score == pytest.approx(back.f_score)
