"""Relocation and noise: the picture keeps its light, the odds are the weights, the steps have the right covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.render.gaussians import Gaussians, rasterize
from recon3d.splats.mcmc import DEAD_OPACITY, MAX_COPIES, Moves, plan_moves, split, split_table, wander
from recon3d.splats.model import Model

from .conftest import coloured_blobs, ring

opacities = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@given(opacities, st.integers(0, 60), st.integers(0, 1000))
def test_every_place_has_a_live_source_and_nothing_is_lost(values: np.ndarray, n_target: int, seed: int) -> None:
    found = plan_moves(values, values, n_target, np.random.default_rng(seed))
    g, alive = len(values), values > DEAD_OPACITY
    assert len(found.copies) == g and (found.copies >= 1).all()
    if not alive.any():
        assert found.source.tolist() == list(range(g))
        return
    assert len(found.source) == max(g, n_target)
    assert alive[found.source].all()
    assert (found.source[:g][alive] == np.flatnonzero(alive)).all()  # live ones keep their place
    assert (np.bincount(found.source, minlength=g)[alive] == found.copies[alive]).all()
    assert set(np.flatnonzero(~alive)) <= set(found.changed.tolist())


@given(opacities, st.integers(0, 1000))
def test_only_what_was_split_or_moved_starts_afresh(values: np.ndarray, seed: int) -> None:
    found = plan_moves(values, values, len(values) + 3, np.random.default_rng(seed))
    untouched = np.setdiff1d(np.arange(len(found.source)), found.changed)
    assert (found.copies[found.source[untouched]] == 1).all()
    assert (found.source[untouched] == untouched).all()


def test_the_odds_of_a_split_are_the_weights() -> None:
    values, weights = np.full(4, 0.5), np.array([0.0, 1.0, 2.0, 5.0])
    found = plan_moves(values, weights, 80_004, np.random.default_rng(0))
    share = (np.bincount(found.source, minlength=4) - 1) / 80_000
    np.testing.assert_allclose(share, weights / 8, atol=0.006)
    assert share[0] == 0


def test_the_same_generator_makes_the_same_moves() -> None:
    values = np.random.default_rng(3).random(50)
    one, two, other = (plan_moves(values, values, 70, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one.source == two.source).all() and (one.source != other.source).any()


@given(st.integers(1, 20))
def test_the_table_sums_to_the_weight_of_transparent_ones(n: int) -> None:
    """To first order in the opacity, n copies of o / n need no other scale: the first column counts the copies."""
    assert split_table(n)[n - 1, 0] == n
    each, factor = split(torch.tensor([1e-6], dtype=torch.float64), torch.tensor([n]))
    assert each.item() * n == pytest.approx(1e-6, rel=1e-4) and factor.item() == pytest.approx(1, rel=1e-4)


@given(st.floats(0.01, 0.95), st.integers(1, 9))
def test_more_copies_are_fainter_and_smaller(opacity: float, n: int) -> None:
    each, factor = split(torch.tensor([opacity] * 2, dtype=torch.float64), torch.tensor([n, n + 1]))
    assert each[1] < each[0] and factor[1] < factor[0] <= 1 + 1e-9


def test_more_copies_than_the_table_holds_count_as_its_last_row() -> None:
    o = torch.tensor([0.3, 0.3])
    each, factor = split(o, torch.tensor([MAX_COPIES, MAX_COPIES + 40]))
    assert each[0] == each[1] and factor[0] == factor[1]


def rendered(gaussians: Gaussians) -> Tensor:
    with torch.no_grad():
        return rasterize(gaussians.detach(), ring(1, 64), antialiased=True).image[0]


def one_blob(opacity: float, width: float = 0.25) -> Gaussians:
    logit = torch.logit(torch.tensor([opacity]))
    quats = torch.tensor([[1.0, 0, 0, 0]])
    return Gaussians(torch.zeros(1, 3), quats, torch.full((1, 3), width).log(), logit, torch.ones(1, 1, 3))


@pytest.mark.parametrize("copies", [2, 3, 6])
@pytest.mark.parametrize("opacity", [0.3, 0.5, 0.9])
def test_the_picture_keeps_its_light_when_a_gaussian_is_split(opacity: float, copies: int) -> None:
    model = Model(one_blob(opacity))
    before = rendered(model.gaussians())
    model.move(Moves(np.zeros(copies, np.int64), np.arange(copies), np.array([copies])))
    after = rendered(model.gaussians())
    assert len(model) == copies
    # Eq. 9 preserves the light along a line through the centre; a few percent fall below the 1/255 of the rasteriser.
    assert after[32].sum().item() == pytest.approx(before[32].sum().item(), rel=0.03)
    assert after[32, 32, 0].item() == pytest.approx(before[32, 32, 0].item(), rel=0.02)
    naive = one_blob(opacity)
    plain = rendered(
        Gaussians(
            *(
                getattr(naive, name).repeat_interleave(copies, 0)
                for name in naive.__annotations__
                if name != "colour_space"
            )
        )
    )
    assert (after - before).abs().mean() < 0.35 * (plain - before).abs().mean()


def test_a_picture_of_many_hardly_changes_when_all_dead_ones_move() -> None:
    blobs = coloured_blobs()
    blobs.opacity_logits[40:] = -8.0  # dead, invisible
    model = Model(blobs)
    before = rendered(model.gaussians())
    values = model.values["opacity_logits"].detach().sigmoid().double().numpy()
    model.move(plan_moves(values, values, 60, np.random.default_rng(0)))
    after = rendered(model.gaussians())
    assert (after - before).abs().mean() < 0.02
    assert (model.values["opacity_logits"].sigmoid() > DEAD_OPACITY).all()


def test_the_noise_has_the_square_of_the_covariance() -> None:
    n = 40_000
    generator = torch.Generator().manual_seed(0)
    quat = torch.nn.functional.normalize(torch.tensor([[0.9, 0.2, -0.3, 0.1]]), dim=1)
    scales = torch.tensor([[0.5, 0.2, 0.1]])
    steps = wander(
        scales.log().expand(n, 3), quat.expand(n, 4), torch.full((n,), -12.0), torch.randn(n, 3, generator=generator)
    )
    rotation = rotation_from_quaternion(quat.double().numpy())[0]
    covariance = rotation @ np.diag(scales[0].double().numpy() ** 2) @ rotation.T
    faint = 1 / (1 + np.exp(-100 * (DEAD_OPACITY - 1 / (1 + np.exp(12.0)))))
    np.testing.assert_allclose(np.cov(steps.numpy().T), faint**2 * covariance @ covariance, atol=1e-3)
    assert steps.mean(0).abs().max() < 3e-3


@given(st.floats(-12, 6), st.floats(-12, 6))
def test_the_more_opaque_the_less_it_wanders(first: float, second: float) -> None:
    low, high = sorted((first, second))
    quats = torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1)
    steps = wander(torch.zeros(2, 3), quats, torch.tensor([low, high]), torch.ones(2, 3)).norm(dim=1)
    assert steps[1] <= steps[0] * (1 + 1e-6) and torch.isfinite(steps).all()


@pytest.mark.parametrize("factor", [-3.0, 0.01, 7.0])
def test_the_length_of_a_quaternion_does_not_matter(factor: float) -> None:
    blobs = coloured_blobs(n=10)
    noise, logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(2)), torch.full((10,), -9.0)
    one, other = (wander(blobs.log_scales, q, logits, noise) for q in (blobs.quats, factor * blobs.quats))
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)
