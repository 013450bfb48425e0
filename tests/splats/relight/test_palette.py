"""Facts of groups of colours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon3d.splats.relight.palette import Partners, group_colours


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(n_each: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Colours around three centres, and which of them."""
    centres = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.2, 0.2, 0.9]])
    which = torch.arange(3).repeat_interleave(n_each)
    return centres[which] + 0.02 * torch.randn(3 * n_each, 3, generator=seeded(seed)), which


def test_more_groups_than_blobs_never_mix_them() -> None:
    colours, which = blobs()
    group = group_colours(colours, 12, seeded())
    for k in range(12):
        assert len(torch.unique(which[group == k])) <= 1


def test_groups_are_those_of_the_nearest_mean() -> None:
    colours = torch.rand(200, 3, generator=seeded(1))
    group = group_colours(colours, 5, seeded())
    means = torch.stack([colours[group == k].mean(0) for k in range(5)])
    own = (colours - means[group]).norm(dim=1)
    best = torch.cdist(colours, means).amin(1)
    assert float((own - best).mean()) < 1e-3  # twenty iterations: nearly the end
    assert group.unique().tolist() == [0, 1, 2, 3, 4]


def test_grouping_explains_colours_better_than_one_mean() -> None:
    colours, _ = blobs()
    group = group_colours(colours, 3, seeded(2))
    within = sum(float((colours[group == k] - colours[group == k].mean(0)).square().sum()) for k in group.unique())
    assert within < 0.6 * float((colours - colours.mean(0)).square().sum())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_more_groups_than_colours(n: int) -> None:
    group = group_colours(torch.eye(3)[:n], 8, seeded())
    assert sorted(group.tolist()) == list(range(n))


def test_equal_colours_are_one_group() -> None:
    assert len(group_colours(torch.full((9, 3), 0.3), 4, seeded()).unique()) == 1


def test_the_same_seed_gives_the_same_groups() -> None:
    colours = torch.rand(100, 3, generator=seeded(3))
    one, two = group_colours(colours, 6, seeded(5)), group_colours(colours, 6, seeded(5))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_colours_are_not_changed() -> None:
    colours, _ = blobs()
    before = colours.clone()
    group_colours(colours, 3, seeded())
    torch.testing.assert_close(colours, before, rtol=0, atol=0)


def test_partners_share_a_group() -> None:
    rows = torch.tensor([2, 5, 7, 8, 11, 13])
    group = torch.tensor([0, 1, 0, 2, 1, 0])
    partners, source = Partners(rows, group, 20), seeded()
    of = dict(zip(rows.tolist(), group.tolist(), strict=True))
    asked = rows.repeat(50)
    drawn = partners.draw(asked, source)
    assert all(of[a] == of[b] for a, b in zip(asked.tolist(), drawn.tolist(), strict=True))


def test_every_member_is_drawn_equally_often() -> None:
    rows, group = torch.arange(10), torch.tensor([0, 0, 1, 0, 1, 1, 0, 0, 1, 1])
    drawn = Partners(rows, group, 10).draw(torch.zeros(20000, dtype=torch.int64), seeded())
    count = torch.bincount(drawn, minlength=10)
    assert (count[group == 1] == 0).all()
    assert ((count[group == 0] / 4000 - 1).abs() < 0.1).all()


def test_a_lonely_vertex_is_its_own_partner() -> None:
    partners = Partners(torch.tensor([4, 6]), torch.tensor([0, 1]), 8)
    assert partners.draw(torch.tensor([6, 4, 6]), seeded()).tolist() == [6, 4, 6]


def test_groups_without_members_do_no_harm() -> None:
    rows, group = torch.arange(4), torch.tensor([0, 3, 3, 0])
    drawn = Partners(rows, group, 4).draw(torch.tensor([1, 1, 0, 3]), seeded())
    assert set(drawn[:2].tolist()) <= {1, 2}
    assert set(drawn[2:].tolist()) <= {0, 3}
