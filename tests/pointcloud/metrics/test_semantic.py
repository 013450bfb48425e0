from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import ShapeError, UsageError
from recon3d.pointcloud.metrics import SemanticCounts


def test_a_small_case_by_hand() -> None:
    counts = SemanticCounts(3)
    counts.add(np.array([0, 0, 1, 1, 7, 0]), np.array([0, 0, 0, 1, 1, -1]))
    score = counts.score()
    np.testing.assert_allclose(score.iou, [2 / 3, 1 / 3, 0], atol=1e-9)
    np.testing.assert_allclose(score.class_accuracy, [2 / 3, 1 / 2, 0], atol=1e-9)
    assert score.mean_iou == pytest.approx(1 / 3)
    assert score.accuracy == pytest.approx(3 / 5)
    assert counts.score(skip_absent=True).mean_iou == pytest.approx(1 / 2)


@given(st.integers(0, 1000))
def test_scenes_add_up_and_the_truth_is_perfect(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth, found = draw.integers(-1, 4, 60).astype(np.int32), draw.integers(0, 4, 60)
    whole, parts, perfect = SemanticCounts(4), SemanticCounts(4), SemanticCounts(4)
    whole.add(found, truth)
    for part in np.array_split(np.arange(60), 3):
        parts.add(found[part], truth[part])
    np.testing.assert_array_equal(whole.counts, parts.counts)
    perfect.add(truth, truth)
    assert perfect.score(skip_absent=True).mean_iou == pytest.approx(1)
    score = whole.score()
    assert 0 <= score.mean_iou <= score.mean_accuracy <= 1


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="there must be a class"):
        SemanticCounts(0)
    with pytest.raises(UsageError, match=r"a true label is no class; got: \(0, 3\)"):
        SemanticCounts(3).add(np.array([0, 0]), np.array([0, 3]))
    assert SemanticCounts(2).score().accuracy == 0


@pytest.mark.usefixtures("without_shape_checks")
def test_other_numbers_of_points() -> None:
    with pytest.raises(ShapeError, match="one prediction per point"):
        SemanticCounts(3).add(np.array([0]), np.array([0, 1]))
