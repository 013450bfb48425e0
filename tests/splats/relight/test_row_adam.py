"""Facts of Adam for tables of which every step touches some rows only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon3d.splats.relight.row_adam import RowAdam


def gradients(n: int, shape: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=source) for _ in range(n)]


def official(start: Tensor, rate: float, grads: list[Tensor]) -> Tensor:
    """torch's Adam."""
    value = start.clone().requires_grad_()
    adam = torch.optim.Adam([value], lr=rate, betas=(0.9, 0.99), eps=1e-8)
    for grad in grads:
        value.grad = grad.clone()
        adam.step()
    return value.detach()


@pytest.mark.parametrize("shape", [(5,), (5, 3), (4, 2, 3)])
def test_stepping_all_rows_is_adam(shape: tuple[int, ...]) -> None:
    start, grads = (
        torch.linspace(-1, 1, shape[0]).reshape(-1, *([1] * (len(shape) - 1))).expand(shape),
        gradients(20, shape),
    )
    table = RowAdam(start.clone(), 0.05)
    for grad in grads:
        table.step(grad)
    torch.testing.assert_close(table.value, official(start, 0.05, grads), rtol=1e-5, atol=1e-6)


def test_naming_all_rows_is_stepping_all() -> None:
    one, two = RowAdam(torch.zeros(6, 3), 0.1), RowAdam(torch.zeros(6, 3), 0.1)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    for grad in gradients(5, (6, 3)):
        one.step(grad)
        two.step(grad[order], order)
    torch.testing.assert_close(one.value, two.value, rtol=0, atol=0)


def test_other_rows_are_left_alone() -> None:
    """Neither their value nor their moments change: they go on later as if nothing had been."""
    start = torch.arange(8.0).reshape(4, 2)
    table, grads = RowAdam(start.clone(), 0.1), gradients(6, (4, 2))
    for k, grad in enumerate(grads):
        rows = torch.tensor([0, 2]) if k % 2 else torch.tensor([1, 2])
        table.step(grad[rows], rows)
    torch.testing.assert_close(table.value[3], start[3], rtol=0, atol=0)
    for row, used in ((0, grads[1::2]), (1, grads[0::2]), (2, grads)):
        want = official(start[row : row + 1], 0.1, [grad[row : row + 1] for grad in used])
        torch.testing.assert_close(table.value[row : row + 1], want, rtol=1e-5, atol=1e-6)


def test_the_first_step_has_the_length_of_the_rate() -> None:
    table = RowAdam(torch.zeros(3), 0.1)
    table.step(torch.tensor([5.0, -1e-3, 0.0]))
    torch.testing.assert_close(table.value, torch.tensor([-0.1, 0.1, 0.0]), rtol=1e-4, atol=0)


def test_a_share_of_the_rate() -> None:
    table = RowAdam(torch.zeros(2), 0.1)
    table.step(torch.ones(2), share=0.25)
    torch.testing.assert_close(table.value, torch.full((2,), -0.025), rtol=1e-4, atol=0)


def test_restart_forgets() -> None:
    table, grads = RowAdam(torch.zeros(3, 2), 0.1), gradients(8, (3, 2))
    for grad in grads[:4]:
        table.step(grad)
    kept = table.value
    table.restart(torch.ones(3, 2))
    for grad in grads[4:]:
        table.step(grad)
    torch.testing.assert_close(table.value, official(torch.ones(3, 2), 0.1, grads[4:]), rtol=1e-5, atol=1e-6)
    assert table.value is kept


def test_it_finds_the_bottom_of_a_bowl() -> None:
    goal = torch.tensor([[0.3, -0.7], [1.0, 2.0]])
    table = RowAdam(torch.zeros(2, 2), 0.05)
    for step in range(300):
        table.step(2 * (table.value - goal), share=0.02 ** (step / 300))
    torch.testing.assert_close(table.value, goal, rtol=0, atol=2e-2)
