"""The order of pillars and their groups: exact, per sample, for any number of pillars."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon3d.pointcloud.flatformer.encoder import FlatFormerEncoder, position_embedding
from recon3d.pointcloud.flatformer.options import EncoderOptions
from recon3d.pointcloud.flatformer.windows import LAYER_ORDERS, group_slots, layer_orders, sort_keys

GROUP = 8
SMALL = EncoderOptions(channels=16, heads=2, blocks=1, window=(13, 13), group=GROUP, cells=(32, 32))


def pillars(counts: list[int], seed: int = 0) -> Tensor:
    """Different cells of a 32 x 32 map for each sample."""
    draw = torch.Generator().manual_seed(seed)
    parts = []
    for sample, n in enumerate(counts):
        cell = torch.randperm(32 * 32, generator=draw)[:n]
        parts.append(torch.stack([torch.full_like(cell, sample), torch.zeros_like(cell), cell // 32, cell % 32], 1))
    return torch.cat(parts)


def features(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, SMALL.channels, generator=torch.Generator().manual_seed(seed))


def encoder() -> FlatFormerEncoder:
    torch.manual_seed(3)
    return FlatFormerEncoder(SMALL).eval()


def everywhere(side: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(side), torch.arange(side))


@pytest.mark.parametrize("n", [0, 1, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP])
def test_every_token_owns_one_slot_and_the_last_group_holds_the_last_tokens(n: int) -> None:
    found = group_slots([n], GROUP)
    assert torch.equal(found.slots[found.owned], torch.arange(n))
    assert sum(count * size for count, size in found.runs) == len(found.slots)
    if n:
        last = found.slots[-found.runs[-1][1] :]
        assert sorted(last.tolist()) == list(range(max(0, n - GROUP), n))
    assert all(
        len(set(group.tolist())) == len(group) for count, size in found.runs for group in found.slots.view(-1, size)
    )


@pytest.mark.parametrize("counts", [[700, 600], [5, 700, 0, GROUP + 3], [0, 0, 3]])
def test_groups_never_mix_samples_on_a_small_map(counts: list[int]) -> None:
    coords = pillars(counts)
    for order in layer_orders(coords, len(counts), SMALL).values():
        assert torch.equal(order.permutation.sort().values, torch.arange(len(coords)))
        assert torch.equal(order.slots[order.back], torch.arange(len(coords)))
        start = 0
        for count, size in order.runs:
            groups = coords[order.slots[start : start + count * size], 0].view(count, size)
            assert bool((groups == groups[:, :1]).all())
            start += count * size


@pytest.mark.parametrize("name", LAYER_ORDERS)
@pytest.mark.parametrize("window", [(13, 13), (4, 7)])
def test_keys_are_unique_and_a_full_map_is_one_snake(name: str, window: tuple[int, int]) -> None:
    axis, shifted = LAYER_ORDERS[name]
    side = 28 if window == (4, 7) else 26
    xy = everywhere(side)
    keys = sort_keys(xy, window=window, cells=(side, side), axis=axis, shifted=shifted)
    assert len(keys.unique()) == len(xy)
    path = xy[keys.argsort()]
    place = (path + torch.tensor(window) // 2 * shifted) // torch.tensor(window)
    step = (path[1:] - path[:-1]).abs().amax(1)
    same = (place[1:] == place[:-1]).all(1)
    assert int(step[same].max()) == 1  # inside a window the path goes from neighbour to neighbour
    assert int((place[1:] - place[:-1]).abs().sum(1).max()) == 1  # and then into the window beside


@pytest.mark.parametrize("n", [0, 1, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP])
def test_any_number_of_pillars_passes(n: int) -> None:
    out = encoder()(pillars([n]), features(n), 1)
    assert out.shape == (n, SMALL.channels)
    assert bool(out.isfinite().all())


def test_the_order_of_the_rows_does_not_matter() -> None:
    coords, rows = pillars([300, 41]), torch.randperm(341, generator=torch.Generator().manual_seed(5))
    x, network = features(341), encoder()
    torch.testing.assert_close(network(coords[rows], x[rows], 2), network(coords, x, 2)[rows], atol=1e-5, rtol=0)


def test_a_batch_equals_its_samples() -> None:
    counts = [500, 3, 0, 290]  # the released key lets such samples of a small map run into each other
    coords, x, network = pillars(counts), features(sum(counts)), encoder()
    together = network(coords, x, len(counts))
    for sample in range(len(counts)):
        rows = coords[:, 0] == sample
        alone = network(coords[rows] * torch.tensor([0, 1, 1, 1]), x[rows], 1)
        torch.testing.assert_close(together[rows], alone, atol=1e-5, rtol=0)


def test_positions_are_waves_that_turn_with_the_place() -> None:
    xy, shift = torch.randint(0, 400, (20, 2)), torch.tensor([3, 5])
    options = EncoderOptions()
    assert torch.equal(position_embedding(torch.zeros(1, 2).long(), options)[0], torch.tensor([0.0, 1.0]).repeat(64))
    here, there, moved = (
        position_embedding(at, options).double().view(-1, 64, 2) for at in (xy, xy + shift, shift[None])
    )
    sine, cosine = here.unbind(2)
    s, c = moved.unbind(2)
    torch.testing.assert_close(there, torch.stack([sine * c + cosine * s, cosine * c - sine * s], 2), atol=1e-4, rtol=0)


def test_gradients_of_the_encoder() -> None:
    coords, network = pillars([GROUP + 3, 2]), encoder().double()
    x = features(len(coords)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: network(coords, value, 2), (x,), fast_mode=True)
