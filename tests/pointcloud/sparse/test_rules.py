"""Rulebooks against a search in plain Python, by every way that makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sparse_voxels import listed_pairs, random_voxels

from recon3d.core.kernels import threads
from recon3d.pointcloud.sparse import Rules, Sites, Window, strided_rules, submanifold_rules
from recon3d.pointcloud.sparse.rule_kernels import GROUP
from recon3d.pointcloud.sparse.rules import BLOCK, Blocks, Pairs, searched_pairs

WINDOWS = [
    Window.centred((3, 3, 3)),
    Window.centred((1, 3, 5)),
    Window.centred((3, 3, 3), (2, 1, 3)),
    Window((2, 2, 2), (2, 2, 2)),
    Window((3, 1, 2), (2, 1, 1), (1, 0, 0)),
    Window((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    Window((2, 3, 2), (3, 2, 1), (0, 1, 2), (2, 1, 2)),
]


def listed(pairs: Pairs) -> list[tuple[int, int, int]]:
    offset = torch.repeat_interleave(torch.tensor(pairs.counts))
    return [tuple(row) for row in torch.stack([offset, pairs.rows_in, pairs.rows_out], 1).tolist()]


def unpadded(blocks: Blocks) -> list[tuple[int, int, int]]:
    found = []
    for (_, offset), n in np.ndenumerate(blocks.counts):
        start = int(blocks.starts[_, offset])
        rows = slice(start, start + int(n))
        found += [(offset, int(a), int(b)) for a, b in zip(blocks.rows_in[rows], blocks.rows_out[rows], strict=True)]
    return found


def rules_of(window: Window, sites: Sites) -> Rules:
    same = window == Window.centred(window.kernel, window.dilation)
    return submanifold_rules(sites, window) if same else strided_rules(sites, window)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(max_examples=12)
@given(n=st.integers(0, 70), seed=st.integers(0, 99))
def test_every_pair_is_listed_once(window: Window, n: int, seed: int) -> None:
    rules = rules_of(window, random_voxels(n, (5, 4, 6), 1, seed).sites)
    want = sorted(listed_pairs(rules.source, rules.target, window))
    assert sorted(unpadded(rules.blocks)) == want
    assert sorted(listed(rules.pairs)) == want
    assert sorted(listed(searched_pairs(rules.source, rules.target, window))) == want
    turned = sorted((offset, b, a) for offset, a, b in want)
    assert sorted(unpadded(rules.transposed.blocks)) == turned
    assert sorted(listed(rules.transposed.pairs)) == turned


@pytest.mark.parametrize("window", [Window.centred((3, 3, 3)), Window((2, 2, 2), (2, 2, 2))], ids=str)
def test_pairs_of_many_blocks_are_those_of_a_search(window: Window) -> None:
    rules = rules_of(window, random_voxels(6 * BLOCK, (32, 24, 16), 1, 3).sites)
    want = set(listed(searched_pairs(rules.source, rules.target, window)))
    found = unpadded(rules.blocks)
    assert len(found) == len(want)
    assert set(found) == want
    assert set(unpadded(rules.transposed.blocks)) == {(offset, b, a) for offset, a, b in want}
    assert len(rules.blocks.counts) == -(-len(rules.target) // BLOCK)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_lists_are_padded_to_whole_groups_that_write_nowhere(window: Window) -> None:
    rules = rules_of(window, random_voxels(50, (5, 4, 6), 1, 1).sites)
    for one, n_in, n_out in (
        (rules.blocks, len(rules.source), len(rules.target)),
        (rules.transposed.blocks, len(rules.target), len(rules.source)),
    ):
        assert len(one.rows_in) == len(one.rows_out) == (-(-one.counts // GROUP) * GROUP).sum()
        used = np.zeros(len(one.rows_in), bool)
        for place, n in np.ndenumerate(one.counts):
            used[one.starts[place] : one.starts[place] + n] = True
        assert (one.rows_out[~used] == n_out).all()
        assert (one.rows_out[used] < n_out).all()
        assert ((one.rows_in >= 0) & (one.rows_in < n_in)).all()


def test_an_output_stands_once_in_a_list_of_one_kernel_entry() -> None:
    rules = submanifold_rules(random_voxels(2000, (16, 16, 12), 1).sites, Window.centred((3, 3, 3)))
    for _, rows_in, rows_out in rules.pairs.each():  # so that sums need no lock, and their order is fixed
        assert len(rows_out.unique()) == len(rows_out)
        assert len(rows_in.unique()) == len(rows_in)


def test_entries_without_pairs_are_passed_over() -> None:
    pairs = Pairs(torch.tensor([4, 5, 6]), torch.tensor([7, 8, 9]), (0, 2, 0, 1))
    assert [(n, a.tolist(), b.tolist()) for n, a, b in pairs.each()] == [(1, [4, 5], [7, 8]), (3, [6], [9])]


def test_the_bits_of_a_rulebook_do_not_depend_on_the_number_of_threads() -> None:
    x = random_voxels(6 * BLOCK, (32, 24, 16), 1, 3)
    found = []
    for n in (1, 2, 3):
        with threads(n):
            found.append(submanifold_rules(Sites(x.indices, x.spatial_shape, 2), Window.centred((3, 3, 3))).blocks)
    for one in found[1:]:
        assert np.array_equal(one.rows_in, found[0].rows_in)
        assert np.array_equal(one.rows_out, found[0].rows_out)
        assert np.array_equal(one.counts, found[0].counts)


def test_layers_with_one_window_share_a_rulebook_and_others_do_not() -> None:
    sites = random_voxels(30, (5, 4, 6), 1).sites
    wide = Window.centred((3, 3, 3))
    assert submanifold_rules(sites, wide) is submanifold_rules(sites, Window.centred((3, 3, 3)))
    assert submanifold_rules(sites, wide) is not submanifold_rules(sites, Window.centred((3, 3, 3), (2, 2, 2)))
    down = strided_rules(sites, Window((2, 2, 2), (2, 2, 2)))
    assert strided_rules(sites, Window((2, 2, 2), (2, 2, 2))).target is down.target
    assert down.transposed.transposed is down


@pytest.mark.parametrize(("kernel", "expected"), [((3, 3, 3), True), ((1, 5, 3), True), ((3, 2, 3), False)])
def test_a_centred_rulebook_of_odd_sizes_is_its_own_transpose(kernel: Any, expected: bool) -> None:
    rules = submanifold_rules(random_voxels(40, (5, 4, 6), 1).sites, Window.centred(kernel))
    assert rules.is_symmetric is expected
    mirrored = {(rules.volume - 1 - offset, b, a) for offset, a, b in listed(rules.pairs)}
    assert (mirrored == set(listed(rules.pairs))) is expected
    assert not strided_rules(rules.source, Window(kernel)).is_symmetric
