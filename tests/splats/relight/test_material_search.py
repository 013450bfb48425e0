"""Facts of the search for the kind of material."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.render.mesh import Mesh
from recon3d.splats.relight.material_search import (
    LEVELS,
    _balanced,
    _best_albedos,
    _factors,
    _pooled,
    _try_all,
    choose_materials,
)
from recon3d.splats.relight.surface_model import SurfaceModel
from tests.support.relight_scenes import around, ball_mesh, model_of, soft_light, together

COLOUR = torch.tensor([0.75, 0.5, 0.3])
CENTRES = (-1.3, 1.3)


def two_balls(rings: int = 8) -> Mesh:
    """Two balls so far apart that neither shades the other much."""
    return together(*(ball_mesh(rings, 0.8, (x, 0.0, 0.0)) for x in CENTRES))


def contrasty(rows: int = 16) -> Tensor:
    """Light with a sharp window: mirrors show it, and dull surfaces blur it."""
    way = torch.tensor([0.48, 0.36, 0.8])
    return soft_light(way, rows, power=3.0, sharpness=40.0) + soft_light(-way, rows, 0.8, 20.0)


def known(mesh: Mesh, roughness: Tensor | float, metallic: Tensor | float, colour: Tensor = COLOUR) -> SurfaceModel:
    """A model that knows the light."""
    v = len(mesh.vertices)
    model = model_of(mesh, around(10, 48, 5.0), contrasty(), colour.expand(v, 3).contiguous(), roughness, metallic)
    model.log_light.restart(contrasty().log())
    return model


def best(model: SurfaceModel, roughness: float, metal: bool) -> Tensor:
    """The albedo that suits the photos if all of the surface is of one kind."""
    v = len(model.transport)
    return _best_albedos(model, torch.full((v,), roughness), torch.full((v,), metal))


def halves(mesh: Mesh) -> tuple[Tensor, Tensor]:
    right = torch.from_numpy(mesh.vertices[:, 0] > 0)
    return ~right, right


def test_a_metal_ball_is_told_from_a_dielectric_one() -> None:
    mesh = two_balls()
    left, right = halves(mesh)
    model = known(mesh, 0.2, right.float())
    choose_materials(model)
    seen = model.observations.count > 0
    assert float((model.metallic[right & seen] > 0.5).float().mean()) > 0.9
    assert float((model.metallic[left & seen] > 0.5).float().mean()) < 0.1
    found = model.albedo[right & seen].median(0).values
    torch.testing.assert_close(found / found[0], COLOUR / COLOUR[0], rtol=0.15, atol=0)


@pytest.mark.parametrize("metallic", [0.0, 1.0])
def test_rough_is_told_from_smooth(metallic: float) -> None:
    mesh = two_balls()
    left, right = halves(mesh)
    model = known(mesh, torch.where(right, 0.2, 0.75), metallic)
    choose_materials(model)
    seen = model.observations.count > 0
    smooth, rough = model.roughness[right & seen], model.roughness[left & seen]
    assert float(smooth.mean()) < float(rough.mean()) - 0.2
    assert float((smooth <= 0.31).float().mean()) > 0.8
    assert float((rough >= 0.39).float().mean()) > 0.8


def test_the_albedo_is_that_of_the_surface_up_to_one_factor() -> None:
    mesh = ball_mesh(8)
    green = torch.from_numpy(mesh.vertices[:, 2] > 0)[:, None]
    albedo = torch.where(green, torch.tensor([0.2, 0.6, 0.3]), torch.tensor([0.5, 0.2, 0.15]))
    model = model_of(mesh, around(10, 48, 5.0), contrasty(), albedo, 0.55)
    model.log_light.restart(contrasty().log())
    factor = choose_materials(model)
    lit = model.transport.irradiance_everywhere(contrasty()).mean(1) > 0.5
    rows = torch.nonzero((model.observations.count > 2) & lit)[:, 0]
    torch.testing.assert_close(factor * model.albedo[rows], albedo[rows], rtol=0.1, atol=0.02)


def test_the_scale_is_the_one_that_is_promised() -> None:
    """Nine tenths of the well-lit surface have at most 0.75, and the light takes what the albedo gives."""
    model = known(ball_mesh(8), 0.55, 0.0)
    before = model.light.clone()
    factor = choose_materials(model)
    torch.testing.assert_close(model.light, factor * before)
    irradiance = model.transport.irradiance_everywhere(before).mean(1)
    well_lit = irradiance > irradiance[model.rows].median()
    seen = model.observations.count > 0
    brightest = model.albedo[well_lit & seen].amax(1)
    assert float(torch.quantile(brightest, 0.9)) == pytest.approx(0.75, abs=0.01)
    assert factor == pytest.approx(1.0, abs=0.1)  # the true albedo is 0.75


def test_a_second_search_leaves_the_scale() -> None:
    model = known(ball_mesh(8), 0.55, 0.0)
    choose_materials(model)
    assert choose_materials(model) == pytest.approx(1.0, abs=0.02)


def test_light_that_is_too_dark_is_raised() -> None:
    model = known(ball_mesh(8), 0.55, 0.0)
    model.log_light.restart((0.6 * contrasty()).log())
    assert choose_materials(model) == pytest.approx(1 / 0.6, rel=0.1)


@pytest.mark.parametrize(("level", "metallic"), [(1, 0.0), (3, 0.0), (4, 0.0), (5, 0.0), (1, 1.0), (3, 1.0), (4, 1.0)])
def test_the_true_roughness_is_chosen(level: int, metallic: float) -> None:
    """Noise of the rays must not make surfaces smoother than they are."""
    model = known(ball_mesh(8), LEVELS[level], metallic)
    choose_materials(model)
    seen = model.observations.count > 0
    assert float(model.roughness[seen].median()) == pytest.approx(LEVELS[level], abs=1e-4)
    assert float(model.metallic[seen].median()) == pytest.approx(0.05 + 0.9 * metallic, abs=1e-4)


def test_only_levels_are_chosen() -> None:
    model = known(ball_mesh(6), 0.35, 0.0)
    choose_materials(model)
    distance = (model.roughness[:, None] - torch.tensor(LEVELS)).abs().amin(1)
    assert float(distance.max()) < 1e-4
    kinds = torch.tensor([0.05, 0.95])
    assert float((model.metallic[:, None] - kinds).abs().amin(1).max()) < 1e-4


def test_errors_are_least_at_the_truth() -> None:
    """Without pooling: the sum over all patches prefers the true roughness and kind."""
    for level, metallic in ((1, 0), (4, 0), (1, 1)):
        errors = _try_all(known(ball_mesh(6), LEVELS[level], float(metallic)))
        total = errors.sum(0)
        assert int(total[:, metallic].argmin()) in (level - 1, level, level + 1)
        assert float(total[level, metallic]) < float(total[level, 1 - metallic])


def test_vertices_that_nothing_shows_keep_a_half() -> None:
    model = known(ball_mesh(6), 0.5, 0.0)
    model.rows = model.rows[:10]
    errors, albedo = _try_all(model), best(model, 0.5, False)
    unseen = torch.ones(len(albedo), dtype=torch.bool)
    unseen[model.rows] = False
    assert (albedo[unseen] == 0.5).all()
    used = torch.unique(model.patch[model.rows])
    assert (errors[used] > 0).all()
    assert float(errors.sum()) == pytest.approx(float(errors[used].sum()))


def test_batches_change_nothing_but_the_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = best(known(ball_mesh(6), 0.55, 0.0), 0.55, False)
    monkeypatch.setattr("recon3d.splats.relight.material_search._AT_ONCE", 7)
    parts = best(known(ball_mesh(6), 0.55, 0.0), 0.55, False)
    assert float((whole - parts).abs().mean()) < 0.02


def test_the_kind_is_decided_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    model = known(ball_mesh(8), 0.4, 0.0)
    monkeypatch.setattr("recon3d.splats.relight.material_search._SAMPLE", len(model.rows) // 3)
    errors = _try_all(model)
    assert 0 < int((errors.sum((1, 2)) > 0).sum()) < len(errors)
    choose_materials(model)
    seen = model.observations.count > 0
    assert float((model.metallic[seen] > 0.5).float().mean()) < 0.1
    assert float((model.albedo[seen] - COLOUR / COLOUR.max() * 0.75).abs().mean()) < 0.1


def test_the_albedo_of_both_kinds_is_that_of_the_truth() -> None:
    for metallic in (0.0, 1.0):
        model = known(ball_mesh(6), 0.4, metallic)
        albedo, seen = best(model, 0.4, bool(metallic)), model.observations.count > 0
        assert float((albedo - COLOUR)[seen].abs().median()) < 0.05
        assert float(albedo.min()) > 0.0199


def test_gains_of_photos_are_taken_off() -> None:
    """A photo that is twice as bright, and known to be, changes nothing."""
    plain, bright = known(ball_mesh(6), 0.55, 0.0), known(ball_mesh(6), 0.55, 0.0)
    bright.log_gains.value[3] = math.log(1.3)
    bright.observations.rgb[bright.observations.photo == 3] *= 1.3
    torch.testing.assert_close(best(plain, 0.55, False), best(bright, 0.55, False), rtol=1e-3, atol=1e-4)


def test_the_best_albedo_is_the_least_squares() -> None:
    source = torch.Generator().manual_seed(0)
    basis, weight = torch.rand(40, 3, generator=source) + 0.1, torch.rand(40, 1, generator=source)
    target = torch.rand(40, 3, generator=source)
    which = torch.arange(4).repeat_interleave(10)
    got = _factors(target, basis, weight, which, 4)
    root = weight.sqrt()
    for k in range(4):
        rows = which == k
        for channel in range(3):
            column = (root * basis)[rows, channel, None]
            want = np.linalg.lstsq(column.numpy(), (root * target)[rows, channel].numpy(), rcond=None)[0]
            assert float(got[k, channel]) == pytest.approx(float(want[0]), rel=1e-4)


def test_the_best_albedo_of_nothing_is_finite() -> None:
    zero = torch.zeros(2, 3)
    got = _factors(zero, zero, torch.zeros(2, 1), torch.tensor([0, 1]), 3)
    assert torch.isfinite(got).all()


def chained(n: int, likeness: float) -> SurfaceModel:
    """A model whose patches are a chain."""
    model = known(ball_mesh(4), 0.5, 0.0)
    model.pairs = torch.stack([torch.arange(n - 1), torch.arange(1, n)])
    model.likeness = torch.full((n - 1,), likeness)
    return model


def test_like_patches_share_their_errors() -> None:
    """What one patch knows reaches its neighbours, and the farther ones less, for its own kind and level only."""
    error = torch.zeros(9, len(LEVELS), 2)
    error[4, 2, 1] = 1.0
    got = _pooled(error, chained(9, 1.0))
    assert (got[:, 2, 1] > 0).all()
    assert (got[4:8, 2, 1].diff() < 0).all()
    torch.testing.assert_close(got.flip(0), got)
    assert got[:, 1].abs().max() == 0
    assert got[:, 2, 0].abs().max() == 0


def test_unlike_patches_share_nothing() -> None:
    error = torch.rand(5, len(LEVELS), 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_pooled(error, chained(5, 0.0)), error)


def test_pooling_is_linear_and_bounded() -> None:
    """What is shared decays: the sum stays below that of a geometric series."""
    error = torch.rand(7, len(LEVELS), 2, generator=torch.Generator().manual_seed(1))
    model = chained(7, 0.8)
    torch.testing.assert_close(_pooled(3 * error, model), 3 * _pooled(error, model))
    assert float(_pooled(error, model).sum()) < 10 * float(error.sum())


def test_metals_do_not_set_the_scale() -> None:
    model = known(ball_mesh(6), 0.5, 1.0)
    albedo = torch.full((len(model.transport), 3), 0.9)
    metal = torch.ones(len(albedo), dtype=torch.bool)
    same, factor = _balanced(model, albedo, metal)
    assert factor == 1.0
    torch.testing.assert_close(same, albedo)
    scaled, factor = _balanced(model, albedo, ~metal)
    assert factor == pytest.approx(0.9 / 0.75)
    torch.testing.assert_close(scaled, torch.full_like(albedo, 0.75))
    metal[::2] = False
    scaled, factor = _balanced(model, albedo, metal)
    torch.testing.assert_close(scaled[metal], albedo[metal])
