from __future__ import annotations

import pytest
import torch

from recon3d.feedforward.da3.reference_view import reference_first, reference_view, reordered


@pytest.fixture
def tokens(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(3, 5, 8, generator=generator)


def test_fixed_places(tokens: torch.Tensor) -> None:
    assert reference_view(tokens, "first").tolist() == [0, 0, 0]
    assert reference_view(tokens, "middle").tolist() == [2, 2, 2]
    assert reference_view(tokens[:, :4], "middle").tolist() == [2, 2, 2]


@pytest.mark.parametrize("strategy", ["saddle_balanced", "saddle_sim_range"])
def test_the_choice_follows_the_view_and_not_its_place(tokens: torch.Tensor, strategy: str) -> None:
    order = torch.tensor([3, 1, 4, 0, 2])
    before, after = (reference_view(some, strategy) for some in (tokens, tokens[:, order]))  # type: ignore[arg-type]
    assert torch.equal(order[after], before)


def test_balanced_takes_the_view_in_the_middle_of_all_measures() -> None:
    """Lengths 1 to 5 along one direction: everything else is equal."""
    tokens = torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0])[None, :, None] * torch.tensor([1.0, 2.0, 0.5, 1.0])
    assert reference_view(tokens, "saddle_balanced").tolist() == [2]


def test_similarity_range_takes_the_view_between_two_kinds() -> None:
    a, b = torch.tensor([1.0, 0, 0]), torch.tensor([-1.0, 0.1, 0])
    c = torch.tensor([0.0, 0, 1])
    assert reference_view(torch.stack([c, a, a, b])[None], "saddle_sim_range").item() == 1


def test_views_that_are_all_alike_tie_and_the_first_is_taken() -> None:
    base = torch.tensor([1.0, 2.0, 3.0, 4.0])
    tokens = torch.stack([base + torch.tensor([0.5, 0, 0, 0]), base, base * 2.0, base * 1.0000001])[None]
    assert reference_view(tokens, "saddle_sim_range").item() == 1


def test_the_reference_comes_first_and_the_others_stay_in_order(tokens: torch.Tensor) -> None:
    order = reference_first(torch.tensor([0, 3, 4]), 5)
    assert order.tolist() == [[0, 1, 2, 3, 4], [3, 0, 1, 2, 4], [4, 0, 1, 2, 3]]
    assert torch.equal(reordered(tokens, order)[1], tokens[1, [3, 0, 1, 2, 4]])


@pytest.mark.parametrize("extra", [(), (4,), (4, 2)])
def test_an_order_can_be_undone(extra: tuple[int, ...], generator: torch.Generator) -> None:
    x = torch.randn(3, 5, *extra, generator=generator)
    order = reference_first(torch.tensor([2, 0, 4]), 5)
    assert torch.equal(reordered(reordered(x, order), order.argsort(1)), x)


def test_reordering_is_differentiable(tokens: torch.Tensor) -> None:
    leaf = tokens.clone().requires_grad_()
    order = reference_first(torch.tensor([1, 2, 3]), 5)
    (reordered(leaf, order) * torch.arange(5.0)[:, None]).sum().backward()
    assert leaf.grad is not None and leaf.grad[0, :, 0].tolist() == [1.0, 0.0, 2.0, 3.0, 4.0]
