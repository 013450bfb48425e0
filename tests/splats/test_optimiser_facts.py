"""The optimiser and the set that it moves: each step against its formula, rows that follow their Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recon3d.core.kernels import threads
from recon3d.render.gaussians import Gaussians
from recon3d.render.gaussians.types import FIELDS
from recon3d.splats.adam import BETA1, BETA2, EPSILON, Moments, is_finite
from recon3d.splats.adam_cpu import adam_step, all_finite
from recon3d.splats.mcmc import Moves, plan_moves
from recon3d.splats.model import MAX_OPACITY, Model
from recon3d.splats.rates import Rates

CPU = torch.device("cpu")


def gaussians(n: int = 6, k: int = 1, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    parts = [(n, 3), (n, 4), (n, 3), (n,), (n, k, 3)]
    return Gaussians(*(torch.randn(*shape, generator=generator) for shape in parts))


def moves(source: list[int], changed: list[int], n_before: int) -> Moves:
    copies = np.maximum(np.bincount(source, minlength=n_before), 1)
    return Moves(np.array(source), np.array(changed, np.int64), copies)


def stepped(model: Model, times: int = 3, seed: int = 1) -> Model:
    """A model after a few steps, so that its moments hold something."""
    generator = torch.Generator().manual_seed(seed)
    rates = Rates().columns(0.0, model.values["sh"].shape[1], 1.0, CPU)
    for _ in range(times):
        grads = {name: torch.randn(value.shape, generator=generator) for name, value in model.values.items()}
        with torch.no_grad():
            model.update(grads, rates)
    return model


@pytest.mark.parametrize("rows", [0, 1, 7, 8192, 8193])
def test_the_kernel_of_adam_is_algorithm_1_of_the_paper(rows: int) -> None:
    random = np.random.default_rng(rows)
    value, grad, mean = (random.normal(size=(rows, 4)).astype(np.float32) for _ in range(3))
    square, rates = random.random((rows, 4)).astype(np.float32), np.array([0.1, 0.0, 1e-3, 2.0], np.float32)
    t = 5
    fix1, fix2 = 1 / (1 - BETA1**t), 1 / (1 - BETA2**t)
    wanted_mean = BETA1 * mean.astype(np.float64) + (1 - BETA1) * grad
    wanted_square = BETA2 * square.astype(np.float64) + (1 - BETA2) * grad.astype(np.float64) ** 2
    wanted = value - rates * wanted_mean * fix1 / (np.sqrt(wanted_square * fix2) + EPSILON)
    adam_step(value, grad, mean, square, rates, np.array([BETA1, BETA2, EPSILON, fix1, fix2], np.float32))
    np.testing.assert_allclose(mean, wanted_mean, atol=1e-6)
    np.testing.assert_allclose(square, wanted_square, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_first_step_has_the_length_of_the_rate_whatever_the_gradient(scale: float) -> None:
    value, grad = torch.zeros(5, 3), scale * torch.tensor([[1.0, -2.0, 0.5]]).repeat(5, 1)
    Moments.of(value).update(value, grad, torch.full((3,), 0.25))
    assert torch.allclose(value, -0.25 * grad.sign(), rtol=1e-4)


def test_without_a_gradient_nothing_moves_and_nothing_becomes_nan() -> None:
    value = torch.randn(9, 3)
    before, found = value.clone(), Moments.of(value)
    for _ in range(3):
        found.update(value, torch.zeros(9, 3), torch.ones(3))
    assert torch.equal(value, before) and found.steps == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_that_are_views_are_read_in_their_own_order(dtype: torch.dtype) -> None:
    grad = torch.randn(3, 8, dtype=dtype)
    one, other = torch.zeros(8, 3, dtype=dtype), torch.zeros(8, 3, dtype=dtype)
    Moments.of(one).update(one, grad.T, torch.tensor([0.1, 0.2, 0.3]))
    Moments.of(other).update(other, grad.T.contiguous(), torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(one, other)


def test_moments_follow_their_rows_and_fresh_ones_start_at_zero() -> None:
    value = torch.randn(5, 2)
    found = Moments.of(value)
    found.update(value, torch.arange(10.0).reshape(5, 2), torch.ones(2))
    mean, square = found.mean.clone(), found.square.clone()
    found.select(torch.tensor([4, 0, 0, 2]), torch.tensor([2]))
    assert torch.equal(found.mean[[0, 1, 3]], mean[[4, 0, 2]]) and (found.mean[2] == 0).all()
    assert torch.equal(found.square[[0, 1, 3]], square[[4, 0, 2]]) and (found.square[2] == 0).all()
    assert found.steps == 1


@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found_anywhere(count: int, bad: float) -> None:
    for at in {0, count // 2, count - 1}:
        values = np.full((count, 1), -3e38, np.float32)
        assert all_finite(values)
        values[at] = bad
        assert not all_finite(values)
    assert is_finite(torch.zeros(0, 3))


@pytest.mark.parametrize(("before", "after"), [(1, 4), (1, 9), (4, 16), (9, 16)])
def test_a_higher_degree_adds_zeros_and_keeps_values_and_moments(before: int, after: int) -> None:
    model = stepped(Model(gaussians(k=before)))
    sh, mean = model.values["sh"].detach().clone(), model.moments["sh"].mean.clone()
    model.raise_sh_degree(int(np.sqrt(after)) - 1)
    grown = model.values["sh"]
    assert grown.shape[1] == after and grown.requires_grad and grown.is_leaf
    assert torch.equal(grown[:, :before], sh) and (grown[:, before:] == 0).all()
    assert torch.equal(model.moments["sh"].mean[:, :before], mean)
    assert (model.moments["sh"].mean[:, before:] == 0).all() and (model.moments["sh"].square[:, before:] == 0).all()
    model.raise_sh_degree(0)
    assert model.values["sh"] is grown


def test_a_move_to_the_same_places_changes_nothing() -> None:
    model, same = stepped(Model(gaussians())), stepped(Model(gaussians()))
    model.move(moves(list(range(6)), [], 6))
    for name, array in same.arrays().items():
        assert np.array_equal(array, model.arrays()[name]), name


def test_a_split_copies_all_but_opacity_and_scale_and_restarts_only_what_changed() -> None:
    model = stepped(Model(gaussians()))
    old = {name: value.detach().clone() for name, value in model.values.items()}
    mean = model.moments["means"].mean.clone()
    model.move(moves([0, 1, 2, 3, 4, 2, 2], [2, 5, 6], 6))  # 5 dies, 2 becomes three
    for name in ("means", "quats", "sh"):
        assert torch.equal(model.values[name].detach(), old[name][[0, 1, 2, 3, 4, 2, 2]]), name
    for name in ("log_scales", "opacity_logits"):
        assert torch.equal(model.values[name][[0, 1, 3, 4]].detach(), old[name][[0, 1, 3, 4]]), name
    opacity, before = model.values["opacity_logits"].sigmoid()[[2, 5, 6]], old["opacity_logits"][2].sigmoid()
    assert torch.allclose(1 - (1 - opacity) ** 3, before.expand(3), atol=1e-5)
    shrunk = (model.values["log_scales"] - old["log_scales"][[0, 1, 2, 3, 4, 2, 2]])[[2, 5, 6]]
    assert torch.allclose(shrunk, shrunk[0, 0].expand(3, 3), atol=1e-6)
    assert torch.equal(model.moments["means"].mean[[0, 1, 3, 4]], mean[[0, 1, 3, 4]])
    assert (model.moments["means"].mean[[2, 5, 6]] == 0).all()
    assert all(value.requires_grad and value.is_leaf for value in model.values.values())


@pytest.mark.parametrize("opacity", [0.006, 0.5, 0.99999])
def test_opacities_stay_where_they_can_be_learnt(opacity: float) -> None:
    start = gaussians(3)
    start.opacity_logits[:] = float(np.log(opacity / (1 - opacity)))
    model = Model(start)
    model.move(moves([0, 1, 2, *[0] * 40], list(range(3, 43)), 3))
    found = model.values["opacity_logits"].sigmoid()
    assert torch.isfinite(model.values["opacity_logits"]).all() and torch.isfinite(model.values["log_scales"]).all()
    assert found[3:].min() >= 0.0049 and found[3:].max() <= MAX_OPACITY + 1e-6


@pytest.mark.parametrize("bad", ["absent", "nan"])
def test_gradients_are_all_there_or_none(bad: str) -> None:
    model = Model(gaussians())
    for name in FIELDS:
        model.values[name].grad = torch.ones_like(model.values[name])
    found = model.gradients()
    assert found is not None and set(found) == set(FIELDS)
    assert all(value.grad is None for value in model.values.values())  # forgotten
    for name in FIELDS:
        model.values[name].grad = torch.ones_like(model.values[name])
    model.values["sh"].grad = None if bad == "absent" else torch.full_like(model.values["sh"], float("nan"))
    assert model.gradients() is None


def test_arrays_are_copies_and_bring_the_whole_model_back() -> None:
    model = stepped(Model(gaussians(k=4)))
    kept = {name: array.copy() for name, array in model.arrays().items()}
    arrays = model.arrays()
    stepped(model, 2, seed=5)
    assert all(np.array_equal(kept[name], arrays[name]) for name in kept)  # later steps do not reach them
    other = Model(gaussians(3))
    other.restore(arrays)
    assert all(np.array_equal(kept[name], array) for name, array in other.arrays().items())
    again, unbroken = stepped(other, 1, seed=9), Model(gaussians(3))
    unbroken.restore(kept)
    stepped(unbroken, 1, seed=9)
    assert all(np.array_equal(again.arrays()[name], array) for name, array in unbroken.arrays().items())


def test_a_whole_refinement_has_the_same_bits_on_any_number_of_threads() -> None:
    found = []
    for n in (1, 4):
        with threads(n):
            model = stepped(Model(gaussians(9000)), 2)
            opacities = model.values["opacity_logits"].detach().sigmoid().double().numpy()
            model.move(plan_moves(opacities, opacities, 9500, np.random.default_rng(0)))
            found.append(stepped(model, 1).arrays())
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
