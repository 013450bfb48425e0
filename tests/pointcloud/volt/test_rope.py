"""Rotary positions: only differences matter, lengths stay, and any split of the channels works."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon3d.pointcloud.volt.options import VoltOptions
from recon3d.pointcloud.volt.rope import rope_frequencies, rope_rotated, rope_rotations

SPLIT, THETA = (12, 12, 8), 100.0


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def positions(count: int = 30, high: int = 80) -> Tensor:
    return torch.randint(0, high, (count, 3), generator=torch.Generator().manual_seed(count))


def test_the_first_pair_turns_by_one_radian_and_the_last_by_one_over_theta() -> None:
    found = rope_frequencies(8, THETA)
    assert found[0] == 1
    assert found[-1].item() == pytest.approx(0.01)
    torch.testing.assert_close(found[1:] / found[:-1], torch.full((7,), 100 ** (-1 / 7)))
    assert rope_frequencies(1, THETA).tolist() == [1]


def test_lengths_stay() -> None:
    x = drawn(30, 64)
    turned = rope_rotated(x, rope_rotations(positions(), SPLIT, THETA))
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    assert not torch.allclose(turned, x, atol=0.1)


def test_logits_feel_differences_of_position_only() -> None:
    q, k, place = drawn(30, 64), drawn(30, 64).flip(0), positions()

    def logits(shift: Tensor) -> Tensor:
        rotation = rope_rotations(place + shift, SPLIT, THETA)
        return rope_rotated(q, rotation) @ rope_rotated(k, rotation).mT / 8

    for shift in ([1, 0, 0], [7, 30, -12], [-100, 5, 3]):
        torch.testing.assert_close(
            logits(torch.tensor(shift)), logits(torch.zeros(3, dtype=torch.long)), atol=1e-4, rtol=0
        )


def test_one_pair_of_tokens_by_hand() -> None:
    """With q = k = (1, 0) in every pair, the logit is the sum of cos((p - p') f)."""
    place = torch.tensor([[3, 10, 2], [5, 4, 9]])
    q = torch.tensor([1.0, 0.0]).repeat(2, 32)
    a, b = rope_rotated(q, rope_rotations(place, SPLIT, THETA))
    want = sum(
        torch.cos((place[0, axis] - place[1, axis]) * rope_frequencies(pairs, THETA)).sum()
        for axis, pairs in enumerate(SPLIT)
    )
    torch.testing.assert_close(a @ b, want, atol=1e-5, rtol=1e-5)


def test_each_axis_turns_its_own_adjacent_pairs() -> None:
    x = drawn(1, 64)
    for axis, rows in enumerate((slice(0, 24), slice(24, 48), slice(48, 64))):
        place = torch.zeros(1, 3, dtype=torch.long)
        place[0, axis] = 3
        changed = (rope_rotated(x, rope_rotations(place, SPLIT, THETA)) != x)[0]
        assert changed[rows].all()
        assert changed.sum() == rows.stop - rows.start
    quarter = rope_rotated(torch.tensor([[1.0, 0.0]]), torch.tensor([[1j]], dtype=torch.complex64))
    assert quarter.tolist() == [[0, 1]]


def test_positions_beyond_the_public_table_work() -> None:
    rotation = rope_rotations(torch.tensor([[5000, -3, 100_000]]), SPLIT, THETA)
    torch.testing.assert_close(rotation.abs(), torch.ones(1, 32))


def test_half_precision_is_turned_in_single_precision() -> None:
    x, rotation = drawn(30, 64).to(torch.bfloat16), rope_rotations(positions(), SPLIT, THETA)
    found = rope_rotated(x, rotation)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, rope_rotated(x.float(), rotation).to(torch.bfloat16))


def test_gradients() -> None:
    rotation = rope_rotations(positions(3), (2, 1, 1), THETA).to(torch.complex128)
    x = drawn(3, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rope_rotated(x, rotation), (x,))


@pytest.mark.parametrize(
    ("dim", "heads", "want"), [(64, 1, (12, 12, 8)), (192, 3, (12, 12, 8)), (32, 2, (3, 3, 2)), (96, 1, (18, 18, 12))]
)
def test_the_default_split_is_three_three_two(dim: int, heads: int, want: tuple[int, int, int]) -> None:
    assert VoltOptions(dim=dim, heads=heads).split == want
