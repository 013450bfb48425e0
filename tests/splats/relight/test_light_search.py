"""Facts of the first guess of the light."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recon3d.core.progress import Stage
from recon3d.splats.relight.light_search import _dull_colours, find_light, light_prior
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.observations import Observations
from recon3d.splats.relight.surface_model import SurfaceModel, chromaticity
from tests.support.relight_scenes import ROWS, around, ball_mesh, model_of, sheet, soft_light, some_light


class Counter(Stage):
    """Counts."""

    def __init__(self) -> None:
        self.n = 0

    def advance(self, n: int = 1) -> None:
        self.n += n


def direction(azimuth: float, height: float) -> Tensor:
    flat = math.sqrt(1 - height**2)
    return torch.tensor([flat * math.cos(azimuth), flat * math.sin(azimuth), height])


def lit_ball(light: Tensor, albedo: Tensor | None = None, rings: int = 10, n: int = 8) -> SurfaceModel:
    mesh = ball_mesh(rings)
    grey = torch.full((len(mesh.vertices), 3), 0.5) if albedo is None else albedo
    return model_of(mesh, around(n, 32), light, grey, 0.8)


def brightest(model: SurfaceModel) -> Tensor:
    """The mean direction of the light that stands out."""
    level = model.light.mean(1)
    power = (level - level.median()).clamp_min(0) * model.transport.solid_angles
    return torch.nn.functional.normalize((power[:, None] * model.transport.directions).sum(0), dim=0)


@pytest.mark.parametrize(("azimuth", "height"), [(0.6, 0.5), (3.6, 0.1), (-1.5, 0.85)])
def test_shading_tells_where_the_light_is(azimuth: float, height: float) -> None:
    sun = direction(azimuth, height)
    model = lit_ball(soft_light(sun))
    find_light(model, 120, Stage())
    assert float(brightest(model) @ sun) > math.cos(math.radians(15))


def test_colours_of_the_surface_do_not_move_the_light() -> None:
    """A ball of two colours, one brighter than the other, is not taken for one that is lit from that side."""
    sun, mesh = direction(1.2, 0.5), ball_mesh(10)
    right = torch.from_numpy(mesh.vertices[:, 0] > 0)[:, None]
    albedo = torch.where(right, torch.tensor([0.7, 0.15, 0.1]), torch.tensor([0.1, 0.2, 0.35]))
    model = lit_ball(soft_light(sun), albedo)
    find_light(model, 120, Stage())
    assert float(brightest(model) @ sun) > math.cos(math.radians(20))


def test_the_product_of_light_and_albedo_is_that_of_the_photos() -> None:
    model = lit_ball(soft_light(direction(0.6, 0.5)))
    find_light(model, 120, Stage())
    colour = (model.albedo * model.irradiance(torch.arange(len(model.transport)), model.light) / math.pi)[model.rows]
    target = _dull_colours(model)[model.rows]
    bright = target.mean(1) > 0.1
    ratio = (colour.mean(1) / target.mean(1))[bright]
    assert float(ratio.median()) == pytest.approx(1, abs=0.1)
    assert float(ratio.std()) < 0.15


def test_the_light_is_white_in_sum_and_the_colour_is_of_the_surface() -> None:
    """A reddish ball below a white light, or a white ball below a reddish one, is a reddish ball below a white one."""
    red = torch.tensor([0.6, 0.4, 0.3])
    model = lit_ball(soft_light(direction(0.6, 0.5)), red.expand(ball_vertices(10), 3).contiguous())
    find_light(model, 100, Stage())
    power = (model.light * model.transport.solid_angles[:, None]).sum(0)
    torch.testing.assert_close(power / power.mean(), torch.ones(3), rtol=0, atol=0.05)
    found = chromaticity(model.albedo[model.rows]).mean(0)
    torch.testing.assert_close(found, red / red.sum(), rtol=0, atol=0.02)


def ball_vertices(rings: int) -> int:
    return len(ball_mesh(rings).vertices)


def test_each_step_is_counted_and_one_is_enough() -> None:
    for n in (1, 5):
        model, counter = lit_ball(some_light(), rings=5, n=3), Counter()
        find_light(model, n, counter)
        assert counter.n == n
        assert torch.isfinite(model.log_light.value).all()
        assert torch.isfinite(model.albedo).all()


def test_light_that_surfaces_send_is_refreshed() -> None:
    model = lit_ball(some_light(), rings=5, n=3)
    find_light(model, 2, Stage())
    assert model.outgoing.abs().max() > 0


def test_the_same_seed_gives_the_same_bits() -> None:
    lights = []
    for _ in range(2):
        model = lit_ball(some_light(), rings=6, n=4)
        find_light(model, 10, Stage())
        lights.append(model.log_light.value.clone())
    torch.testing.assert_close(lights[0], lights[1], rtol=0, atol=0)


def test_highlights_are_not_what_counts() -> None:
    """The dull colour of a vertex is that of one photo, at the lower third of its brightness."""
    model = lit_ball(some_light(), rings=5, n=3)
    first = torch.zeros(len(model.transport) + 1, dtype=torch.int64)
    first[1:] = 5
    level = torch.tensor([0.9, 0.3, 0.2, 0.5, 0.25])
    rgb = level[:, None] * torch.tensor([1.0, 0.5, 0.25])
    up = torch.tensor([0.0, 0.0, 1.0]).expand(5, 3).contiguous()
    model.observations = Observations(first, rgb, up, torch.arange(5))
    model.rows = torch.tensor([0])
    got = _dull_colours(model)
    torch.testing.assert_close(got[0], 0.25 * torch.tensor([1.0, 0.5, 0.25]))  # 0.3 * 4 = 1 above the darkest
    assert got[1:].abs().max() == 0


def test_dull_colours_are_no_brighter_than_the_mean() -> None:
    model = lit_ball(soft_light(direction(0.6, 0.5)))
    sharp = replace(model.observations, rgb=model.observations.rgb + (model.observations.photo == 0)[:, None].float())
    model.observations = sharp
    dull, mean = _dull_colours(model)[model.rows].mean(1), sharp.mean(sharp.rgb)[model.rows].mean(1)
    assert float((dull <= mean + 1e-6).float().mean()) > 0.7
    assert float(dull.max()) < 1.2


def tiny() -> LightTransport:
    return LightTransport(sheet(1, 1.0, 0.0), rows=ROWS, n_bounces=4)


def test_even_white_light_costs_nothing() -> None:
    for level in (-3.0, 0.0, 2.0):
        cost = light_prior(torch.full((2 * ROWS * ROWS, 3), level), tiny())
        assert abs(float(cost)) < 1e-6


def test_coloured_light_costs_more_than_white() -> None:
    white = some_light()[:, :1].expand(-1, 3).log()
    tint = torch.tensor([0.2, 0.0, -0.2])
    assert float(light_prior(white + tint, tiny())) > float(light_prior(white, tiny())) + 0.02


def test_light_of_many_colours_that_is_white_in_sum_costs_less() -> None:
    """Blue above and yellow below: the sum is white, so only its colours are paid for."""
    half = torch.arange(2 * ROWS * ROWS) < ROWS * ROWS
    tint = torch.tensor([0.3, 0.0, -0.3])
    mixed = torch.where(half[:, None], tint, -tint)
    assert float(light_prior(mixed, tiny())) < float(light_prior(tint.expand_as(mixed), tiny()))


def test_rough_light_costs_more_than_smooth() -> None:
    smooth = soft_light(direction(0.6, 0.5)).log()
    order = torch.randperm(len(smooth), generator=torch.Generator().manual_seed(0))
    assert float(light_prior(smooth[order], tiny())) > float(light_prior(smooth, tiny()))


def test_the_map_closes_around() -> None:
    """Turning the light about the vertical changes nothing."""
    light = some_light().log()
    turned = light.reshape(ROWS, 2 * ROWS, 3).roll(5, 1).reshape(-1, 3)
    torch.testing.assert_close(light_prior(turned, tiny()), light_prior(light, tiny()))


def test_the_gradient_of_the_prior() -> None:
    light = some_light(4).log().double().requires_grad_()
    transport = LightTransport(sheet(1, 1.0, 0.0), rows=4, n_bounces=4)
    (slope,) = torch.autograd.grad(light_prior(light, transport), light)
    way = torch.randn(light.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = 1e-6 * way
    with torch.no_grad():
        change = (light_prior(light + moved, transport) - light_prior(light - moved, transport)) / 2
    # the mean brightness of the whole is held fixed in one place: the slope there differs by what scaling would change
    assert abs(float((slope * moved).sum() - change)) < 0.3 * float((slope.abs() * moved.abs()).sum())
    assert torch.isfinite(slope).all()
