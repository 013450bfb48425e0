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


def sign(k: int) -> int:
    return -1 if k % 2 else 1


def key_in_python(x: int, y: int, window: tuple[int, int], cells: tuple[int, int], axis: int, shifted: bool) -> int:
    """The order of section 3 of the paper, with whole numbers of any size."""
    along, across = ((x, y), (y, x))[axis]
    w, h = window[axis], window[1 - axis]
    if shifted:
        along, across = along + w // 2, across + h // 2
    row, height, block, inside = across // h, across % h, along // w, along % w
    outer = 2 * (-(-cells[axis] // w) + 1) * row + sign(row) * block
    return outer * 4 * w * h + sign(row) * (2 * h * inside + sign(inside) * height)


@pytest.mark.parametrize("name", LAYER_ORDERS)
@pytest.mark.parametrize(("window", "cells"), [((13, 13), (468, 468)), ((4, 7), (30, 50)), ((1, 1), (9, 9))])
def test_keys_are_those_of_plain_python(name: str, window: tuple[int, int], cells: tuple[int, int]) -> None:
    axis, shifted = LAYER_ORDERS[name]
    draw = torch.Generator().manual_seed(0)
    xy = torch.stack([torch.randint(0, n, (200,), generator=draw) for n in cells], 1)
    found = sort_keys(xy, window=window, cells=cells, axis=axis, shifted=shifted)
    assert found.dtype == torch.int64
    assert found.tolist() == [key_in_python(x, y, window, cells, axis, shifted) for x, y in xy.tolist()]


def test_keys_of_a_very_large_map_are_exact() -> None:
    cells = (2**20, 2**20)
    xy = torch.tensor([[2**20 - 1, 2**20 - 1], [2**20 - 1, 2**20 - 2], [0, 0]])
    found = sort_keys(xy.int(), window=(13, 13), cells=cells, axis=0, shifted=True)
    assert found.tolist() == [key_in_python(x, y, (13, 13), cells, 0, True) for x, y in xy.tolist()]
    assert len(set(found.tolist())) == 3


def test_sorting_along_y_is_sorting_along_x_of_the_turned_map() -> None:
    xy = everywhere(20)
    along_y = sort_keys(xy, window=(5, 3), cells=(20, 20), axis=1, shifted=True)
    along_x = sort_keys(xy.flip(1), window=(3, 5), cells=(20, 20), axis=0, shifted=True)
    assert torch.equal(along_y, along_x)


def test_groups_by_hand() -> None:
    found = group_slots([5, 0, 2, 3], 3)
    # five tokens: two groups, of which the second begins one token early; three: one; two: a smaller one
    assert found.slots.tolist() == [0, 1, 2, 3, 4, 2, 7, 8, 9, 5, 6]
    assert found.runs == ((3, 3), (1, 2))
    assert found.owned.tolist() == [0, 1, 2, 3, 4, 9, 10, 6, 7, 8]


def test_slots_that_repeat_a_pillar_are_not_kept() -> None:
    for order in layer_orders(pillars([GROUP + 3, 5]), 2, SMALL).values():
        assert int(order.kept.sum()) == GROUP + 3 + 5
        assert order.slots[order.kept].sort().values.tolist() == list(range(GROUP + 8))
        assert int((~order.kept).sum()) == GROUP - 3


@pytest.mark.parametrize("slots", [1, GROUP, 3 * GROUP + 1, 10**6])
def test_chunks_change_nothing(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    coords, x, network = pillars([100, 3, 0, 41]), features(144), encoder().double()
    x = x.double()
    slow = network(coords, x, 4)
    monkeypatch.setattr("recon3d.pointcloud.flatformer.encoder._CHUNK", slots)
    with torch.no_grad():
        torch.testing.assert_close(network(coords, x, 4), slow, rtol=1e-12, atol=1e-12)


def test_a_layer_is_attention_inside_groups_and_a_feed_forward_part() -> None:
    """One layer written out with torch's own attention, group by group."""
    network, coords, x = encoder().double(), pillars([2 * GROUP + 3]), features(2 * GROUP + 3).double()
    layer = network.block_list[0].block[0]  # type: ignore[union-attr, index]
    order = layer_orders(coords, 1, SMALL)["x"]
    position = position_embedding(coords[:, [3, 2]], SMALL).double()
    gathered = torch.empty_like(x)
    owned = order.kept.view(-1, GROUP)
    for rows, own in zip(order.slots.view(-1, GROUP), owned, strict=True):
        both = x[rows] + position[rows]
        out, _ = layer.attn.attn(both[None], both[None], x[rows][None], need_weights=False)
        gathered[rows[own]] = out[0, own]
    y = layer.norm1(x + gathered)
    want = layer.norm2(y + layer.fc2(torch.nn.functional.gelu(layer.fc1(y))))
    torch.testing.assert_close(layer(x, position, order), want, rtol=1e-10, atol=1e-10)


def test_layers_come_one_after_another_and_nothing_gives_none() -> None:
    network, coords, x = encoder(), pillars([30]), features(30)
    steps = list(network.layer_outputs(coords, x, 1))
    assert len(steps) == 4 * SMALL.blocks
    assert torch.equal(steps[-1], network(coords, x, 1))
    assert list(network.layer_outputs(coords[:0], x[:0], 1)) == []


def test_a_pillar_sees_its_group_only() -> None:
    network, coords, x = encoder(), pillars([4 * GROUP]), features(4 * GROUP)
    first = next(iter(network.layer_outputs(coords, x, 1)))
    order = layer_orders(coords, 1, SMALL)["x"]
    changed = x.clone()
    changed[order.slots[:GROUP]] += 1
    other = next(iter(network.layer_outputs(coords, changed, 1)))
    moved = (other != first).any(1).nonzero()[:, 0]
    assert sorted(moved.tolist()) == sorted(order.slots[:GROUP].tolist())


def test_half_precision_gives_about_the_same() -> None:
    network, coords, x = encoder(), pillars([60]), features(60)
    with torch.no_grad():
        exact = network(coords, x, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(coords, x, 1)
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).abs().max()) < 0.1


def test_normalised_positions_turn_once_over_the_map() -> None:
    options = EncoderOptions(channels=16, heads=2, cells=(40, 80), normalised_positions=True)
    xy = torch.tensor([[0, 0], [10, 20], [20, 40]])
    found = position_embedding(xy, options)
    assert found.shape == (3, 16)
    quarter = torch.tensor(2 * 3.1415 / 4)
    torch.testing.assert_close(found[1, :2], torch.stack([quarter.sin(), quarter.cos()]))
    torch.testing.assert_close(found[:, :8], found[:, 8:])  # a quarter along x and along y
    odd = position_embedding(xy, EncoderOptions(channels=18, heads=2))
    assert odd.shape == (3, 18)
    assert not odd[:, 16:].any()
