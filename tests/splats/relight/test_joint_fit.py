"""Facts of the joint optimisation of materials and light."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recon3d.core.progress import Stage
from recon3d.splats.relight.joint_fit import JointFit
from recon3d.splats.relight.light_search import find_light
from recon3d.splats.relight.surface_model import ROUGHNESS, SurfaceModel, unsquash
from tests.support.relight_scenes import around, ball_mesh, model_of, soft_light

SUN = torch.tensor([0.48, 0.36, 0.8])
LEFT, RIGHT = torch.tensor([0.6, 0.25, 0.2]), torch.tensor([0.15, 0.3, 0.45])


def two_colours(rings: int = 8) -> tuple[Tensor, Tensor]:
    """A ball of two colours: which half, and the albedo."""
    right = torch.from_numpy(ball_mesh(rings).vertices[:, 0] > 0)
    return right, torch.where(right[:, None], RIGHT, LEFT)


def start(rings: int = 8, roughness: float = 0.7, seed: int = 0, known_light: bool = False) -> SurfaceModel:
    model = model_of(ball_mesh(rings), around(8, 32), soft_light(SUN), two_colours(rings)[1], roughness, seed=seed)
    if known_light:
        model.log_light.restart(soft_light(SUN).log())
    return model


def fitted(model: SurfaceModel, n: int) -> list[float]:
    fit = JointFit(model, n)
    return [fit.step() for _ in range(n)]


def test_the_error_falls() -> None:
    model = start(known_light=True)
    model.set_materials(0.5 * two_colours()[1])
    errors = fitted(model, 60)
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
    assert all(math.isfinite(error) for error in errors)


def test_two_colours_are_recovered_below_a_known_light() -> None:
    """From an albedo that is half as bright; what the light takes of the scale is given back."""
    model = start(known_light=True)
    model.set_materials(0.5 * two_colours()[1])
    fitted(model, 80)
    right, _ = two_colours()
    irradiance = model.transport.irradiance_everywhere(soft_light(SUN)).mean(1)
    rows = (model.observations.count > 1) & (irradiance > 0.6)
    scale = model.transport.irradiance_everywhere(model.light).mean(1)[rows].mean() / irradiance[rows].mean()
    for half, truth in ((right, RIGHT), (~right, LEFT)):
        found = model.albedo[rows & half].median(0).values * scale
        torch.testing.assert_close(found, truth, rtol=0.12, atol=0.02)


def test_colours_that_are_taken_for_one_stay_one() -> None:
    """Vertices of one chromaticity at the start are drawn together, whatever photos show: the search comes first."""
    model = start(known_light=True)
    model.set_materials(torch.full((len(model.transport), 3), 0.4))
    fit = JointFit(model, 10)
    assert float((fit.albedo_chroma - 1 / 3).abs().max()) < 1e-5
    assert len(fit.chroma.round(decimals=2).unique(dim=0)) > 1


def test_two_colours_are_told_apart_below_an_unknown_light() -> None:
    """Their ratio is found up to the few per cent that the light may be wrong; the scale is open."""
    model = start()
    find_light(model, 80, Stage())
    fitted(model, 40)
    right, _ = two_colours()
    lit = model.transport.irradiance_everywhere(soft_light(SUN)).mean(1) > 0.6
    rows = (model.observations.count > 1) & lit
    one, two = (model.albedo[rows & half].median(0).values for half in (right, ~right))
    torch.testing.assert_close(one / two, RIGHT / LEFT, rtol=0.25, atol=0)


def test_the_light_moves_towards_the_truth() -> None:
    """From even light, with the true albedo, the bright patch appears."""
    model = start()
    model.set_materials(two_colours()[1])
    near = model.transport.directions @ SUN > 0.9
    before = float(model.light[near].mean() / model.light[~near].mean())
    fitted(model, 60)
    after = float(model.light[near].mean() / model.light[~near].mean())
    assert before == pytest.approx(1)
    assert after > 1.5


def test_a_photo_that_is_brighter_gets_a_gain() -> None:
    model = start(known_light=True)
    model.set_materials(two_colours()[1])
    model.observations.rgb[model.observations.photo == 2] *= 1.15
    fitted(model, 60)
    gains = model.log_gains.value
    assert int(gains.argmax()) == 2
    assert float(gains[2]) > float(gains.sum() - gains[2]) / 7 + 0.03


def test_only_drawn_vertices_change(monkeypatch: pytest.MonkeyPatch) -> None:
    model = start()
    fit = JointFit(model, 10)
    drawn = model.rows[:5]
    monkeypatch.setattr(model, "draw", lambda n: drawn)
    before = model.albedo_logits.value.clone()
    fit.step()
    others = torch.ones(len(model.transport), dtype=torch.bool)
    others[drawn] = False
    after = model.albedo_logits.value
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=0)
    assert (after[drawn] != before[drawn]).all()


def test_what_no_photo_shows_does_not_change() -> None:
    model = model_of(ball_mesh(8), around(2, 32, above=0.8), soft_light(SUN), two_colours()[1], 0.7)
    unseen = model.observations.count == 0
    before = model.albedo[unseen].clone()
    fitted(model, 10)
    assert 0 < int(unseen.sum()) < len(unseen)
    torch.testing.assert_close(model.albedo[unseen], before, rtol=0, atol=0)


def test_everything_stays_within_its_bounds() -> None:
    model = start()
    model.observations.rgb[::2] = 1.0
    model.observations.rgb[1::2] = 0.0
    fitted(model, 30)
    for value in (model.albedo, model.roughness, model.metallic):
        assert torch.isfinite(value).all()
        assert float(value.min()) > 0 and float(value.max()) < 1
    assert torch.isfinite(model.light).all()


def test_touching_patches_become_equally_rough() -> None:
    """Without anything that photos say against it: the prior alone brings like patches together."""
    model = start()
    source = torch.Generator().manual_seed(0)
    p = len(model.roughness_logits.value)
    model.roughness_logits.restart(unsquash(0.3 + 0.5 * torch.rand(p, generator=source), ROUGHNESS))
    model.observations.rgb[:] = 0.2
    first, second = model.pairs

    def apart() -> float:
        rough = torch.sigmoid(model.roughness_logits.value)
        return float((model.likeness * (rough[first] - rough[second]).abs()).mean())

    before = apart()
    fitted(model, 60)
    assert apart() < 0.7 * before


def test_a_mesh_of_one_patch() -> None:
    """There are no pairs of patches; everything is finite all the same."""
    model = model_of(ball_mesh(3), around(5, 32), soft_light(SUN), torch.full((14, 3), 0.4), 0.5)
    model.patch[:] = 0
    model.pairs, model.likeness = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0)
    errors = fitted(model, 5)
    assert all(math.isfinite(error) for error in errors)
    for table in (model.albedo_logits, model.roughness_logits, model.metallic_logits, model.log_light):
        assert torch.isfinite(table.value).all()


def test_neighbours_share_an_edge() -> None:
    model = start()
    fit = JointFit(model, 10)
    edges = {tuple(pair) for pair in model.edges.T.tolist()}
    rows = model.rows.repeat(5)
    near = fit._neighbours(rows)
    assert all(pair in edges for pair in zip(rows.tolist(), near.tolist(), strict=True))
    assert len(torch.unique(near)) > len(model.rows) / 2


def test_a_vertex_without_edges_is_its_own_neighbour() -> None:
    model = start(4)
    fit = JointFit(model, 10)
    model.first_edge = torch.zeros_like(model.first_edge)
    rows = torch.tensor([3, 9])
    assert fit._neighbours(rows).tolist() == [3, 9]


def test_the_same_seed_gives_the_same_bits() -> None:
    one, two, other = start(seed=1), start(seed=1), start(seed=2)
    errors = [fitted(model, 6) for model in (one, two, other)]
    assert errors[0] == errors[1] != errors[2]
    for name in ("log_light", "albedo_logits", "roughness_logits", "metallic_logits", "log_gains"):
        torch.testing.assert_close(getattr(one, name).value, getattr(two, name).value, rtol=0, atol=0)


def test_steps_become_shorter() -> None:
    """At the end of the optimisation the rate is a small share of that at its start."""
    model = start(5)
    fit = JointFit(model, 20)
    lengths = []
    for _ in range(20):
        before = model.log_light.value.clone()
        fit.step()
        lengths.append(float((model.log_light.value - before).abs().mean()))
    assert fit.done == 20
    assert sum(lengths[-3:]) < 0.3 * sum(lengths[:3])
