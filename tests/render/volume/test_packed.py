from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.volume import PackedSamples, Packing
from recon3d.render.volume.packed import recur, recur_by_doubling, segment_sums

COUNTS = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def packed(counts: list[int], seed: int = 0) -> tuple[Packing, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factors, terms = torch.rand(2, sum(counts), generator=generator, dtype=torch.float64) * 2 - 1
    return Packing.of_counts(torch.tensor(counts)), factors, terms


@given(COUNTS)
def test_a_packing_knows_where_its_rays_are(counts: list[int]) -> None:
    packing, *_ = packed(counts)
    assert packing.counts.tolist() == counts
    assert packing.longest == max(counts)
    assert packing.position.tolist() == [place for count in counts for place in range(count)]
    assert len(packing) == sum(counts)
    assert [int(packing.first[ray]) for ray in range(len(counts))] == [sum(counts[:ray]) for ray in range(len(counts))]


@pytest.mark.parametrize("reverse", [False, True])
@given(counts=COUNTS, seed=st.integers(0, 100))
def test_recurrences_are_what_a_loop_computes(reverse: bool, counts: list[int], seed: int) -> None:
    packing, factors, terms = packed(counts, seed)
    want, end = torch.empty_like(terms), 0
    for count in counts:
        value = 0.0
        places = range(end, end + count)
        for at in reversed(places) if reverse else places:
            value = value * float(factors[at]) + float(terms[at])
            want[at] = value
        end += count
    assert torch.equal(recur(factors, terms, packing, reverse=reverse), want)
    doubled = recur_by_doubling(factors, terms, packing, reverse=reverse)
    assert torch.allclose(doubled, want, atol=1e-13)


@pytest.mark.parametrize("compute", [recur, recur_by_doubling])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_nothing_reaches_another_ray(compute: Any, reverse: bool, poison: float) -> None:
    packing, factors, terms = packed([3, 4, 0, 5])
    clean = compute(factors, terms, packing, reverse=reverse)
    terms[3:7], factors[3:7] = poison, poison
    dirty = compute(factors, terms, packing, reverse=reverse)
    others = torch.tensor([0, 1, 2, *range(7, 12)])
    assert torch.equal(dirty[others], clean[others])


def test_the_bits_are_the_same_for_any_number_of_threads() -> None:
    packing, factors, terms = packed([3] * 5000)
    results = []
    for n in (1, 3):
        with threads(n):
            results.append((recur(factors, terms, packing, reverse=False), segment_sums(terms[:, None], packing)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_gradients_twice() -> None:
    packing, factors, terms = packed([2, 0, 3])
    factors[1], factors[3] = 0.0, 0.0
    leaves = factors.requires_grad_(), terms.requires_grad_()
    assert torch.autograd.gradcheck(packing.recurrence, leaves)
    assert torch.autograd.gradgradcheck(packing.recurrence, leaves)
    assert torch.autograd.gradgradcheck(lambda x: packing.sum(x.square()), (leaves[1],))
    assert torch.autograd.gradgradcheck(lambda x: packing.running_sum(x.square()), (leaves[1],))


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_sums_keep_further_axes(shape: tuple[int, ...]) -> None:
    packing = Packing(torch.tensor([0, 0, 2]), 3)
    values = torch.arange(3.0).reshape(3, *[1] * len(shape)).expand(3, *shape)
    want = torch.tensor([1.0, 0.0, 2.0]).reshape(3, *[1] * len(shape)).expand(3, *shape)
    assert torch.equal(packing.sum(values), want)


def test_half_precision_takes_the_other_way() -> None:
    packing, _, terms = packed([2, 3])
    low = packing.running_sum(terms.to(torch.bfloat16))
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.double(), packing.running_sum(terms), atol=0.05)
    assert torch.allclose(packing.sum(terms.to(torch.bfloat16)).double(), packing.sum(terms), atol=0.05)


def test_selected_samples() -> None:
    packing, starts, ends = packed([2, 1, 2])
    some = PackedSamples(packing, starts, ends).selected(torch.tensor([True, False, False, True, True]))
    assert some.packing.counts.tolist() == [1, 0, 2]
    assert torch.equal(some.starts, starts[[0, 3, 4]])
    assert torch.equal(some.deltas, (ends - starts)[[0, 3, 4]])
    assert len(some) == 3


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("indices", "n_rays", "error", "message"),
    [
        ([1, 0], 2, UsageError, "in the order of their rays"),
        ([0, 2], 2, UsageError, "names a ray that is not there; got: 0 to 2; expected: 0 to 1"),
        ([-1, 0], 2, UsageError, "names a ray that is not there"),
        ([0], -1, UsageError, "not negative"),
        ([[0]], 1, ShapeError, "ray_indices"),
    ],
)
def test_bad_packings_are_refused(indices: Any, n_rays: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Packing(torch.tensor(indices), n_rays)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_samples_are_refused() -> None:
    packing = Packing(torch.tensor([0, 0]), 1)
    with pytest.raises(ShapeError, match="int64"):
        Packing(torch.tensor([0.0]), 1)
    with pytest.raises(ShapeError, match="ends"):
        PackedSamples(packing, torch.ones(2), torch.ones(3))
    with pytest.raises(UsageError, match="ends has another type"):
        PackedSamples(packing, torch.ones(2), torch.ones(2).double())
