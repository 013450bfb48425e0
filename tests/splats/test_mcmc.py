from __future__ import annotations

from math import comb, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from recon3d.splats.mcmc import DEAD_OPACITY, MAX_COPIES, plan_moves, split, split_table, wander


def total_of_eq_9(opacity: float, n: int) -> float:
    """The double sum of eq. 9, written as in the paper."""
    total = 0.0
    for i in range(1, n + 1):
        for k in range(i):
            total += comb(i - 1, k) * (-1) ** k / sqrt(k + 1) * opacity ** (k + 1)
    return total


@given(st.floats(0.01, 0.99), st.integers(1, 12))
def test_the_copies_have_the_opacity_and_scale_of_the_paper(opacity: float, n: int) -> None:
    each, factor = split(torch.tensor([opacity], dtype=torch.float64), torch.tensor([n]))
    assert each.item() == pytest.approx(1 - (1 - opacity) ** (1 / n), rel=1e-12)
    assert factor.item() == pytest.approx(opacity / total_of_eq_9(each.item(), n), rel=1e-6)


@given(st.floats(0.01, 0.9), st.integers(1, 8))
def test_the_copies_together_are_as_opaque_as_the_one_in_the_middle(opacity: float, n: int) -> None:
    each, _ = split(torch.tensor([opacity], dtype=torch.float64), torch.tensor([n]))
    assert 1 - (1 - each.item()) ** n == pytest.approx(opacity, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_copies_absorb_as_much_light_along_a_line_as_the_one(n: int) -> None:
    """What eq. 9 preserves: the integral over x of the opacity of the stack."""
    x = np.linspace(-40, 40, 200_001)
    each, factor = split(torch.tensor([0.6], dtype=torch.float64), torch.tensor([n]))
    one = 0.6 * np.exp(-0.5 * x**2)
    stack = 1 - (1 - each.item() * np.exp(-0.5 * (x / factor.item()) ** 2)) ** n
    assert stack.sum() == pytest.approx(one.sum(), rel=1e-6)


def test_one_copy_changes_nothing() -> None:
    each, factor = split(torch.tensor([0.3, 0.9]), torch.tensor([1, 1]))
    assert torch.allclose(each, torch.tensor([0.3, 0.9])) and torch.allclose(factor, torch.ones(2))


def test_many_copies_stay_finite() -> None:
    each, factor = split(torch.full((3,), 0.999), torch.tensor([20, MAX_COPIES, 500]))
    assert torch.isfinite(each).all() and torch.isfinite(factor).all() and (factor > 0).all()


def test_the_table_starts_with_the_weights_of_one_and_two() -> None:
    table = split_table(3)
    assert table[0].tolist() == [1, 0, 0]
    assert table[1] == pytest.approx([2, -1 / sqrt(2), 0])


def test_dead_ones_move_to_live_ones_and_new_ones_are_added() -> None:
    opacities = np.array([0.5, 0.001, 0.9, 0.002, 0.3])
    moves = plan_moves(opacities, opacities, 8, np.random.default_rng(0))
    assert len(moves.source) == 8
    assert moves.source[[0, 2, 4]].tolist() == [0, 2, 4]
    assert set(moves.source) <= {0, 2, 4}
    assert (np.bincount(moves.source, minlength=5)[[0, 2, 4]] == moves.copies[[0, 2, 4]]).all()
    assert {1, 3, 5, 6, 7} <= set(moves.changed.tolist())
    untouched = [i for i in (0, 2, 4) if moves.copies[i] == 1]
    assert not set(untouched) & set(moves.changed.tolist())


def test_without_live_ones_nothing_moves() -> None:
    opacities = np.full(4, DEAD_OPACITY / 2)
    moves = plan_moves(opacities, opacities, 9, np.random.default_rng(0))
    assert moves.source.tolist() == [0, 1, 2, 3] and len(moves.changed) == 0


def test_the_number_never_falls() -> None:
    opacities = np.full(4, 0.5)
    assert len(plan_moves(opacities, opacities, 2, np.random.default_rng(0)).source) == 4


def test_only_faint_ones_wander_and_along_their_own_axes() -> None:
    log_scales = torch.log(torch.tensor([[0.5, 0.01, 0.01]])).repeat(2, 1)
    half = np.sqrt(0.5)
    quats = torch.tensor([[half, 0, 0, half]], dtype=torch.float32).repeat(2, 1)  # x turned to y
    logits = torch.logit(torch.tensor([0.001, 0.9]))
    steps = wander(log_scales, quats, logits, torch.ones(2, 3))
    assert steps[0].abs().argmax() == 1
    assert steps[0, 1].item() == pytest.approx(0.25 * torch.sigmoid(torch.tensor(0.4)).item(), rel=1e-4)
    assert steps[1].abs().max() < 1e-12
