"""Tone curves: published values, ranges, order, and gradients; the sRGB curve and its inverse."""

from __future__ import annotations

import pytest
import torch

from recon3d.core.errors import UsageError
from recon3d.render.shading import light_maps, linear_from_srgb, srgb_from_linear, tone_curve
from recon3d.render.shading.tone import ToneName

NAMES: tuple[ToneName, ...] = ("srgb", "reinhard", "aces", "agx", "neutral")
every_curve = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize(
    ("name", "grey", "shown"), [("agx", 0.18, 0.2145), ("neutral", 1.0, 0.8691), ("aces", 1.0, 0.7634)]
)
def test_values_that_are_published(name: ToneName, grey: float, shown: float) -> None:
    got = tone_curve(torch.full((3,), grey, dtype=torch.float64), name)
    torch.testing.assert_close(got, torch.full((3,), shown, dtype=torch.float64), atol=2e-4, rtol=0)


@every_curve
def test_greys_stay_grey_in_order_and_in_range(name: ToneName) -> None:
    greys = torch.logspace(-4, 4, 200, dtype=torch.float64)[:, None].expand(-1, 3)
    shown = tone_curve(greys, name)
    assert float((shown - shown[:, :1]).abs().max()) < 2e-3
    assert bool((shown >= 0).all() and (shown <= 1).all())
    assert bool((shown.diff(dim=0) >= -1e-6).all())


@every_curve
def test_exposure_is_a_factor(name: ToneName) -> None:
    rgb = torch.rand(20, 3)
    torch.testing.assert_close(tone_curve(rgb, name, 2.0), tone_curve(rgb * 2, name))


@every_curve
def test_gradients(name: ToneName) -> None:
    rgb = torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.7, 0.8]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tone_curve(x, name), rgb)


@every_curve
def test_black_and_very_bright_are_finite_with_their_gradients(name: ToneName) -> None:
    rgb = torch.tensor([[0.0, 0.0, 0.0], [1e6, 0.0, 3.0], [70_000.0] * 3], requires_grad=True)
    tone_curve(rgb, name).sum().backward()
    assert rgb.grad is not None and bool(rgb.grad.isfinite().all())


def test_the_srgb_curve_and_its_inverse() -> None:
    x = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(linear_from_srgb(srgb_from_linear(x)), x)
    assert float(srgb_from_linear(torch.tensor(0.5))) == pytest.approx(0.735357, abs=1e-5)
    assert srgb_from_linear(torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([0.0, 1.0])


def test_maps_for_the_tokenizer() -> None:
    display, log = light_maps(torch.tensor([[0.0, 16.0, 100.0]]))
    torch.testing.assert_close(display, torch.tensor([[-1.0, 1.0, 1.0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(log[0, [0, 2]], torch.tensor([-1.0, 0.0]), atol=1e-5, rtol=0)


def test_unknown_curves_and_exposures() -> None:
    with pytest.raises(UsageError, match="the exposure must be positive"):
        tone_curve(torch.ones(3), "agx", 0.0)


@pytest.mark.usefixtures("without_shape_checks")
def test_unknown_curves() -> None:
    with pytest.raises(UsageError, match="there is no such tone curve; got: filmic"):
        tone_curve(torch.ones(3), "filmic")  # type: ignore[arg-type]
