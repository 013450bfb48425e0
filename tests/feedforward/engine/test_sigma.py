from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import UsageError
from recon3d.feedforward.engine.sigma import ONE_SIGMA, SigmaTable, fit_table


def test_a_known_noise_is_found_for_each_confidence() -> None:
    rng = np.random.default_rng(0)
    confidence = np.repeat([1.0, 2.0, 4.0], 4000)
    error = rng.standard_normal(12000) * np.repeat([0.3, 0.1, 0.02], 4000)
    table = fit_table(confidence, error, "here")
    assert table is not None and table.source == "here"
    sigma = table.sigma(np.full(3, 2.0, np.float32), np.array([1.0, 2.0, 4.0], np.float32))
    assert sigma == pytest.approx([0.6, 0.2, 0.04], rel=0.1)


def test_a_confidence_that_means_nothing_gives_one_sigma() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(1, 9, 5000)
    table = fit_table(confidence, np.where(confidence > 5, 0.3, 0.1) * rng.standard_normal(5000), "")
    assert table is not None and max(table.relative) < 1.1 * min(table.relative)


def test_outliers_move_it_little() -> None:
    error = np.random.default_rng(0).standard_normal(1000) * 0.1
    error[:200] = 50.0
    table = fit_table(np.ones(1000), error, "")
    assert table is not None and table.relative[0] == pytest.approx(0.13, abs=0.03)


def test_where_every_error_counts_two_thirds_lie_within_one_sigma() -> None:
    error = np.random.default_rng(0).standard_t(2, 4000)  # heavy tails
    table = fit_table(np.ones(4000), error, "", ONE_SIGMA)
    assert table is not None and (np.abs(error) <= table.relative[0]).mean() == pytest.approx(0.683, abs=0.002)


def test_too_few_samples_give_no_table() -> None:
    assert fit_table(np.ones(20), np.zeros(20), "") is None
    assert fit_table(np.full(500, np.nan), np.zeros(500), "") is None


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 100), st.floats(-2, 2)), min_size=100, max_size=300))
def test_sigma_never_rises_with_confidence(samples: list[tuple[float, float]]) -> None:
    confidence, error = np.array(samples).T
    table = fit_table(confidence, error, "")
    assert table is not None
    sigma = table.sigma(np.ones(50, np.float32), np.linspace(0, 120, 50, dtype=np.float32))
    assert (np.diff(sigma) <= 1e-6).all() and (sigma > 0).all()


@pytest.mark.parametrize(("confidence", "relative"), [((1.0, 1.0), (1.0, 1.0)), ((1.0,), (0.0,)), ((), ())])
def test_a_wrong_table_is_refused(confidence: tuple[float, ...], relative: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="table of sigmas"):
        SigmaTable(confidence, relative, "")
