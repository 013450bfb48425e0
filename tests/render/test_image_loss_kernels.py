"""The kernels of the photometric loss against numpy and scipy, and what the loss does beside its value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.ndimage import correlate1d

from recon3d.core.errors import UsageError
from recon3d.core.kernels import threads
from recon3d.render import image_loss_cpu as kernels
from recon3d.render.image_loss import photometric_loss, photometric_loss_torch
from recon3d.render.ssim import C1, C2, RADIUS, gaussian_taps, ssim_map

Array = np.ndarray[Any, Any]
TAPS = gaussian_taps().numpy()
seeds = st.integers(0, 10_000)
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, np.float32)


def tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(numbers(*shape, seed=seed)).to(dtype)


@pytest.mark.parametrize("n", [3, 12, 33])
def test_columns_and_their_products_are_blurred(n: int) -> None:
    first, second, pad, row = numbers(20, n), numbers(20, n, seed=1), 15, 4
    out = np.zeros(n + 2 * pad, np.float32)
    kernels._blur_column(first, row, out, pad)
    np.testing.assert_allclose(out[pad:-pad], TAPS @ first[row : row + 11], **CLOSE)
    assert not out[:pad].any() and not out[-pad:].any()
    kernels._blur_product(first, second, row, out, pad)
    np.testing.assert_allclose(out[pad:-pad], TAPS @ (first * second)[row : row + 11], **CLOSE)


@pytest.mark.parametrize("w", [1, 2, 5, 30])
def test_rows_are_blurred_channel_by_channel(w: int) -> None:
    row = numbers(w, 3)
    padded, out = np.zeros(3 * (w + 2 * RADIUS), np.float32), np.empty(3 * w, np.float32)
    padded[3 * RADIUS : -3 * RADIUS] = row.ravel()
    kernels._blur_row(padded, out)
    np.testing.assert_allclose(out.reshape(w, 3), correlate1d(row, TAPS, axis=0, mode="constant"), **CLOSE)


def test_moments_are_those_of_both_images() -> None:
    x, y, pad = numbers(17, 12), numbers(17, 12, seed=1), 15
    rows = np.zeros((5, 12 + 2 * pad), np.float32)
    kernels._moments(x, y, 3, rows)
    for got, plane in zip(rows, (x, y, x * x, y * y, x * y), strict=True):
        np.testing.assert_allclose(got[pad:-pad], TAPS @ plane[3:14], **CLOSE)


def similarity(mx: Array, my: Array, xx: Array, yy: Array, xy: Array) -> Array:
    luminance = (2 * mx * my + C1) / (mx**2 + my**2 + C1)
    return np.asarray(luminance * (2 * (xy - mx * my) + C2) / (xx - mx**2 + yy - my**2 + C2))


def moments(seed: int, n: int) -> Array:
    """Return means, squares and products that some window really has."""
    x, y = np.random.default_rng(seed).random((2, 11, n))
    return np.stack([TAPS @ part for part in (x, y, x * x, y * y, x * y)])


def test_similarity_and_its_slopes_are_those_of_differences() -> None:
    given, n, step = moments(0, 9), 9, 1e-6
    blurred, maps, row = given.astype(np.float32), np.zeros((3, 11 + 1, n), np.float32), np.empty(n, np.float32)
    kernels._similarity(np.concatenate([blurred, blurred[:1]]), 0, maps, row)
    np.testing.assert_allclose(row, similarity(*given), rtol=1e-4)
    for slot, place in enumerate((0, 2, 4)):  # by the mean, the square and the product
        ahead, behind = given.copy(), given.copy()
        ahead[place] += step
        behind[place] -= step
        slope = (similarity(*ahead) - similarity(*behind)) / (2 * step)
        np.testing.assert_allclose(maps[slot, RADIUS], slope, rtol=2e-3, atol=1e-3)


def test_colours_are_transformed_and_bytes_become_numbers() -> None:
    image, target = numbers(4, 15), (numbers(4, 15, seed=1) * 255).astype(np.uint8)
    mask, colour = np.ones((4, 5), np.uint8), numbers(3, 4, seed=2)
    mask[1, 2] = mask[3, 0] = 0
    seen, wanted = (np.zeros((4 + 2 * RADIUS, 15), np.float32) for _ in range(2))
    kernels._prepare(image, target, mask, colour, np.float32(1 / 255), seen, wanted, 1, 4)
    through = image.reshape(4, 5, 3) @ colour[:, :3].T + colour[:, 3]
    photo = target.reshape(4, 5, 3) / 255
    through[mask == 0] = photo[mask == 0]
    rows = slice(RADIUS + 1, RADIUS + 4)
    np.testing.assert_allclose(seen[rows].reshape(3, 5, 3), through[1:], rtol=1e-5)
    np.testing.assert_allclose(wanted[rows].reshape(3, 5, 3), photo[1:], rtol=1e-5)
    assert not seen[: RADIUS + 1].any() and not seen[RADIUS + 4 :].any()


def test_the_slope_of_l1_is_the_sign_and_that_of_ssim_follows_the_chain() -> None:
    blurred, x, y = numbers(3, 12), numbers(12, seed=1), numbers(12, seed=2)
    y[3] = x[3]
    out, weights = np.empty(12, np.float32), np.array([0.7, -0.3], np.float32)
    kernels._loss_gradient(blurred, weights, x, y, out)
    wanted = 0.7 * np.sign(x - y) - 0.3 * (blurred[0] + 2 * x * blurred[1] + y * blurred[2])
    np.testing.assert_allclose(out, wanted, **CLOSE)


def test_the_slope_by_the_colours_is_summed_and_pulled_back() -> None:
    image, by, colour = numbers(5, 3), numbers(5, 3, seed=1), numbers(3, 4, seed=2)
    grad, sums = by.ravel().copy(), np.zeros(15)
    kernels._colour_gradient(image.ravel(), grad, colour, sums)
    np.testing.assert_allclose(grad.reshape(5, 3), by @ colour[:, :3], rtol=1e-5)
    np.testing.assert_allclose(sums[3:].reshape(3, 4), by.T @ np.column_stack([image, np.ones(5)]), rtol=1e-5)
    assert not sums[:3].any()


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 40), (16, 3), (17, 11), (33, 5)])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_gradient_is_that_of_differences(h: int, w: int, share: float) -> None:
    """Along a random direction in the image and in the colours; the differences are those of plain torch."""
    image, target = tensor(h, w, 3, dtype=torch.float64), tensor(h, w, 3, seed=1, dtype=torch.float64)
    colour = torch.eye(3, 4, dtype=torch.float64) + 0.1 * tensor(3, 4, seed=2, dtype=torch.float64)
    source, step = torch.Generator().manual_seed(3), 1e-7
    along = [torch.randn(part.shape, generator=source, dtype=torch.float64) for part in (image, colour)]
    leaves = [part.float().requires_grad_() for part in (image, colour)]
    photometric_loss(leaves[0], target.float(), None, leaves[1], share).loss.backward()
    for place in range(2):
        values = []
        for sign in (1, -1):
            moved = [image, colour]
            moved[place] = moved[place] + sign * step * along[place]
            values.append(float(photometric_loss_torch(moved[0], target, None, moved[1], share).loss))
        grad = leaves[place].grad
        assert grad is not None
        parts = grad.double() * along[place]
        assert float(parts.sum()) == pytest.approx(
            (values[0] - values[1]) / (2 * step), abs=1e-4 * float(parts.abs().sum()) + 1e-6
        )


@settings(max_examples=10)
@given(seeds)
def test_channels_may_change_places(seed: int) -> None:
    image, target = tensor(14, 9, 3, seed=seed), tensor(14, 9, 3, seed=seed + 1)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    one, other = photometric_loss(image, target), photometric_loss(image[..., order], target[..., order])
    assert other.loss.item() == pytest.approx(one.loss.item(), abs=1e-6)
    assert (other.l1, other.ssim, other.mse) == pytest.approx((one.l1, one.ssim, one.mse), abs=1e-6)


@settings(max_examples=10)
@given(seeds)
def test_pictures_may_be_turned_and_mirrored(seed: int) -> None:
    """Also where they are no longer contiguous in memory."""
    image, target = tensor(14, 9, 3, seed=seed), tensor(14, 9, 3, seed=seed + 1)
    mask = (tensor(14, 9, seed=seed + 2) > 0.3).to(torch.uint8)
    one = photometric_loss(image, target, mask)
    for change in (lambda part: part.flip(0), lambda part: part.flip(1), lambda part: part.transpose(0, 1)):
        other = photometric_loss(change(image), change(target), change(mask))
        assert other.loss.item() == pytest.approx(one.loss.item(), abs=1e-6)
        assert other.ssim == pytest.approx(one.ssim, abs=1e-6)


@settings(max_examples=10)
@given(seeds)
def test_similarity_is_symmetric_and_at_most_one(seed: int) -> None:
    image, target = (tensor(13, 12, 2, seed=seed + i, dtype=torch.float64) for i in range(2))
    for padding in ("valid", "zero"):
        one, other = ssim_map(image, target, padding), ssim_map(target, image, padding)  # type: ignore[arg-type]
        assert torch.allclose(one, other, atol=1e-14) and (one < 1).all() and (one > -1).all()
    inner = ssim_map(image, target, "zero")[RADIUS:-RADIUS, RADIUS:-RADIUS]
    assert torch.allclose(inner, ssim_map(image, target), atol=1e-14)


def test_equal_pictures_have_no_loss_and_no_slope() -> None:
    image = tensor(20, 20, 3).requires_grad_()
    found = photometric_loss(image, image.detach().clone())
    found.loss.backward()
    assert found.loss.item() == pytest.approx(0, abs=1e-6) and (found.l1, found.mse) == (0, 0)
    assert image.grad is not None and image.grad.abs().max() < 1e-5


@pytest.mark.parametrize("value", [1, 7, 255])
def test_any_mask_but_zero_counts(value: int) -> None:
    image, target = tensor(12, 12, 3), tensor(12, 12, 3, seed=1)
    mask = (tensor(12, 12, seed=2) > 0.4).to(torch.uint8)
    one, other = photometric_loss(image, target, mask), photometric_loss(image, target, mask * value)
    assert (one.loss.item(), one.ssim) == (other.loss.item(), other.ssim)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_photos_of_any_float_type_are_taken(dtype: torch.dtype) -> None:
    image, target = tensor(12, 12, 3), tensor(12, 12, 3, seed=1).to(dtype)
    found = photometric_loss(image, target)
    assert found.loss.item() == pytest.approx(photometric_loss(image, target.float()).loss.item(), abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool])
def test_photos_of_other_numbers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(UsageError, match=f"the target has another type; got: {dtype}; expected: uint8"):
        photometric_loss(tensor(12, 12, 3), torch.ones(12, 12, 3, dtype=dtype))


def test_a_second_derivative_is_refused() -> None:
    image, weight = tensor(12, 12, 3).requires_grad_(), torch.tensor(2.0, requires_grad=True)
    loss = weight * photometric_loss(image, tensor(12, 12, 3, seed=1)).loss
    (slope,) = torch.autograd.grad(loss, image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_double_precision_is_kept() -> None:
    image, target = (tensor(12, 12, 3, seed=i, dtype=torch.float64) for i in range(2))
    assert photometric_loss(image, target).loss.dtype == torch.float64
    small = image[:4, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: photometric_loss(one, target[:4, :3]).loss, small, fast_mode=True)


def test_the_bits_of_masked_colours_do_not_depend_on_the_threads() -> None:
    image, target = tensor(70, 31, 3), tensor(70, 31, 3, seed=1)
    mask, found = (tensor(70, 31, seed=2) > 0.3).to(torch.uint8), []
    for n in (1, 2, 4):
        with threads(n):
            leaf, colour = image.clone().requires_grad_(), torch.eye(3, 4).requires_grad_()
            loss = photometric_loss(leaf, target, mask, colour)
            loss.loss.backward()
            found.append((loss.loss.detach(), leaf.grad, colour.grad))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))  # type: ignore[arg-type]
