from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from skimage.metrics import structural_similarity

from recon3d.core.errors import ShapeError, UsageError
from recon3d.core.kernels import threads
from recon3d.render.image_loss import photometric_loss, photometric_loss_torch
from recon3d.render.ssim import gaussian_taps, ssim_map


def pair(seed: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A rendered image and a photo that resembles it."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(h, w, 3, generator=generator)
    target = (image + 0.3 * torch.rand(h, w, 3, generator=generator)).clamp(0, 1)
    return image, (target * 255).to(torch.uint8)


def some_mask(seed: int, h: int, w: int) -> torch.Tensor:
    return (torch.rand(h, w, generator=torch.Generator().manual_seed(seed)) > 0.3).to(torch.uint8)


def test_the_window_is_a_gaussian_that_sums_to_one() -> None:
    taps = gaussian_taps()
    assert taps.sum() == pytest.approx(1.0, abs=1e-15)
    assert (taps[5] / taps[4]).item() == pytest.approx(np.exp(0.5 / 1.5**2), rel=1e-12)
    assert torch.equal(taps, taps.flip(0))


def test_ssim_agrees_with_scikit_image() -> None:
    image, target = pair(0, 40, 31)
    x, y = image.double().numpy(), target.double().numpy() / 255
    wanted, full = structural_similarity(
        x, y, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    found = ssim_map(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(found, full[5:-5, 5:-5], atol=1e-12)
    assert found.mean() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("padding", ["valid", "zero"])
def test_equal_images_are_similar_everywhere(padding: str) -> None:
    image = torch.rand(13, 17, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert ssim_map(image, image, padding).sub(1).abs().max() < 1e-12  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_shape_checks")
def test_ssim_refuses_what_it_cannot_compare() -> None:
    image = torch.rand(10, 30, 3)
    with pytest.raises(ShapeError, match="too small"):
        ssim_map(image, image)
    with pytest.raises(ShapeError, match="one size"):
        ssim_map(image, torch.rand(11, 30, 3), "zero")
    with pytest.raises(UsageError, match="padding"):
        ssim_map(image, image, "mirror")  # type: ignore[arg-type]


def test_the_gradient_of_ssim_is_that_of_finite_differences() -> None:
    x = torch.rand(6, 5, 1, dtype=torch.float64, requires_grad=True)
    y = torch.rand(6, 5, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: ssim_map(a, b, "zero"), (x, y))


@settings(max_examples=8)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_the_kernels_agree_with_torch(h: int, w: int, masked: bool, coloured: bool, seed: int) -> None:
    image, target = pair(seed, h, w)
    mask = some_mask(seed, h, w) if masked else None
    colour = torch.eye(3, 4) + 0.1 * torch.rand(3, 4, generator=torch.Generator().manual_seed(seed))
    results = []
    for function, dtype in ((photometric_loss, torch.float32), (photometric_loss_torch, torch.float64)):
        leaf, matrix = (part.clone().to(dtype).requires_grad_() for part in (image, colour))
        found = function(leaf, target, mask, matrix if coloured else None)
        (3 * found.loss).backward()
        by_colour = matrix.grad if coloured else torch.zeros(3, 4)
        results.append((found, leaf.grad, by_colour))
    (mine, by_image, by_colour), (wanted, by_image_64, by_colour_64) = results
    assert mine.loss.item() == pytest.approx(wanted.loss.item(), abs=2e-6)
    assert (mine.l1, mine.ssim, mine.mse) == pytest.approx((wanted.l1, wanted.ssim, wanted.mse), abs=2e-6)
    assert (by_image - by_image_64).norm() <= 1e-5 * by_image_64.norm() + 1e-9
    assert (by_colour - by_colour_64).norm() <= 1e-5 * by_colour_64.norm() + 1e-9


def test_float_photos_give_what_their_bytes_give() -> None:
    image, target = pair(3, 20, 21)
    a, b = photometric_loss(image, target), photometric_loss(image, target.float() / 255)
    assert a.loss.item() == pytest.approx(b.loss.item(), abs=1e-7)


def test_masked_pixels_change_nothing() -> None:
    image, target = pair(4, 30, 30)
    mask = torch.ones(30, 30, dtype=torch.uint8)
    mask[10:20, 5:25] = 0
    leaf = image.clone().requires_grad_()
    found = photometric_loss(leaf, target, mask)
    found.loss.backward()
    other_image, other_target = image.clone(), target.clone()
    other_image[10:20, 5:25] = 0.9
    assert photometric_loss(other_image, other_target, mask).loss.item() == found.loss.item()
    assert leaf.grad is not None
    assert (leaf.grad[10:20, 5:25] == 0).all() and (leaf.grad[:10] != 0).any()


def test_a_photo_without_a_pixel_that_counts_has_no_gradient() -> None:
    image, target = pair(5, 12, 12)
    leaf = image.requires_grad_()
    found = photometric_loss(leaf, target, torch.zeros(12, 12, dtype=torch.uint8))
    found.loss.backward()
    assert np.isfinite(found.loss.item())
    assert leaf.grad is not None and (leaf.grad == 0).all()


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    image, target = pair(6, 100, 60)
    found = []
    for n in (1, 2, 3):
        with threads(n):
            leaf = image.clone().requires_grad_()
            loss = photometric_loss(leaf, target)
            loss.loss.backward()
            found.append((loss.loss.item(), loss.ssim, leaf.grad))
    for one in found[1:]:
        assert one[:2] == found[0][:2] and torch.equal(one[2], found[0][2])


def test_not_a_number_comes_through() -> None:
    image, target = pair(7, 20, 20)
    image[3, 4, 1] = float("nan")
    assert np.isnan(photometric_loss(image, target).loss.item())


@pytest.mark.usefixtures("without_shape_checks")
def test_other_sizes_are_refused() -> None:
    image, target = pair(8, 20, 20)
    with pytest.raises(ShapeError, match="the target has another size"):
        photometric_loss(image, target[:-1])
    with pytest.raises(ShapeError, match="the mask has another size"):
        photometric_loss(image, target, torch.ones(20, 19, dtype=torch.uint8))
