"""PSNR and SSIM: values worked out by hand, a slow reference, and what the colour fit takes away."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from recon3d.core.errors import FormatError, ShapeError
from recon3d.evaluation import NovelViewErrors, evaluate_view, fit_colours, psnr, ssim


def picture(seed: int = 0, h: int = 24, w: int = 31) -> np.ndarray:
    return np.random.default_rng(seed).random((h, w, 3))


@pytest.mark.parametrize(("off", "decibels"), [(0.1, 20.0), (0.01, 40.0), (1.0, 0.0)])
def test_psnr_of_a_constant_error(off: float, decibels: float) -> None:
    image = np.zeros((4, 5, 3))
    assert psnr(image + off, image) == pytest.approx(decibels, abs=1e-9)


def test_psnr_pools_the_pixels_of_all_channels() -> None:
    image = np.zeros((2, 2, 3))
    other = image.copy()
    other[0, 0, 0] = 0.6
    assert psnr(other, image) == pytest.approx(-10 * math.log10(0.36 / 12))


def test_equal_images_are_perfect() -> None:
    image = picture().astype(np.float32)
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, window by window."""
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(g, g) / g.sum() ** 2
    values = []
    for c in range(x.shape[2]):
        for top in range(x.shape[0] - 10):
            for left in range(x.shape[1] - 10):
                a, b = (image[top : top + 11, left : left + 11, c] for image in (x, y))
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                cov = (window * (a - ma) * (b - mb)).sum()
                values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(values))


def test_ssim_follows_its_definition() -> None:
    x = picture(1, 15, 13)
    y = np.clip(x + 0.2 * picture(2, 15, 13) - 0.1, 0, 1)
    assert ssim(x, y) == pytest.approx(slow_ssim(x, y), abs=1e-12)


@given(st.integers(0, 1000))
def test_both_are_symmetric(seed: int) -> None:
    x, y = picture(seed, 12, 12), picture(seed + 1, 12, 12)
    assert psnr(x, y) == pytest.approx(psnr(y, x))
    assert ssim(x, y) == pytest.approx(ssim(y, x))
    assert ssim(x, y) < 1


@pytest.mark.usefixtures("without_shape_checks")
def test_sizes_are_checked() -> None:
    with pytest.raises(ShapeError, match="disagree"):
        psnr(picture(0, 5, 5), picture(0, 5, 6))
    with pytest.raises(ShapeError, match="too small"):
        ssim(picture(0, 10, 20), picture(0, 10, 20))


def test_colour_fit_undoes_an_affine_change_and_nothing_else() -> None:
    photo = 0.25 + 0.5 * picture(3)
    mix = np.array([[0.8, 0.1, 0.0], [0.05, 0.7, 0.05], [0.0, 0.1, 0.9]])
    tinted = photo @ mix.T + np.array([0.02, 0.05, -0.03])
    assert psnr(tinted, photo) < 30
    assert psnr(fit_colours(tinted, photo), photo) > 60
    noisy = np.clip(photo + 0.1 * (picture(4) - 0.5), 0, 1)
    assert psnr(fit_colours(noisy, photo), photo) - psnr(noisy, photo) < 1.0


def test_colour_fit_of_a_flat_image_stays_finite() -> None:
    fitted = fit_colours(np.full((12, 12, 3), 0.5), picture(5, 12, 12))
    assert np.isfinite(fitted).all()


def test_json_round_trip_and_means() -> None:
    one = evaluate_view("a.jpg", picture(1), picture(2))
    other = evaluate_view("b.jpg", picture(1), picture(1))
    errors = NovelViewErrors.from_json([one.to_json(), other.to_json()])
    assert errors.views[0] == one
    assert errors.views[1].psnr == math.inf
    assert errors.to_json()["psnr"] is None
    assert errors.mean("ssim") == pytest.approx((one.ssim + 1.0) / 2)
    assert NovelViewErrors(()).mean("psnr") is None
    with pytest.raises(FormatError):
        NovelViewErrors.from_json([{"key": "a.jpg"}])
