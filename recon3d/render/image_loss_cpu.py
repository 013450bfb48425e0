"""CPU kernels of the photometric loss: colour transform, L1 and SSIM with their gradients, one row at a time.

Rows of an image ``[h,w,3]`` are taken as ``3 w`` numbers; a step of one pixel along the row is a step of three numbers.
So every loop runs over contiguous numbers of all channels, and the vertical half of a window needs no copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.ssim import C1, C2, RADIUS, gaussian_taps

_TAPS = tuple(np.float32(tap) for tap in gaussian_taps().tolist())
_C1, _C2, _R = np.float32(C1), np.float32(C2), RADIUS
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_ROWS = 16  # rows per chunk; it decides how the work is split, so it must not follow the number of threads


@dataclass(frozen=True)
class LossParts:
    """Sums over the pixels that count, and the derivative of the loss.

    Args:
        l1: sum of absolute differences.
        ssim: sum of the similarities.
        squared: sum of squared differences, for the PSNR.
        n_values: how many numbers (pixels times channels) were summed.
        grad_image: derivative of ``(1 - l) l1 + l (1 - ssim)``, each a mean over the numbers, by the image.
        grad_colour: the same by the colour transform.
    """

    l1: float
    ssim: float
    squared: float
    n_values: int
    grad_image: Float32[np.ndarray, "h w 3"]
    grad_colour: Float64[np.ndarray, "3 4"]


def loss_parts(
    image: Float32[np.ndarray, "h w 3"],
    target: Shaped[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"] | None,
    colour: Float32[np.ndarray, "3 4"],
    lambda_dssim: float,
) -> LossParts:
    """Return the photometric loss in its parts with all derivatives; see ``image_loss.photometric_loss``.

    The sums have the same bits for any number of threads.
    """
    h, w, _ = image.shape
    n, pad = 3 * w, 3 * RADIUS
    counted = np.zeros((0, 0), np.uint8) if mask is None else mask
    n_values = n * h if mask is None else 3 * int(np.count_nonzero(mask))
    scale = np.float32(1 / 255 if target.dtype == np.uint8 else 1)
    seen, wanted = (np.zeros((h + 2 * RADIUS, n), np.float32) for _ in range(2))
    maps = np.zeros((3, h + 2 * RADIUS, n), np.float32)
    grad, sums = np.empty((h, n), np.float32), np.zeros((h, 15), np.float64)
    weights = np.array([1 - lambda_dssim, -lambda_dssim], np.float32) / np.float32(max(n_values, 1))
    flat, flat_target = image.reshape(h, n), target.reshape(h, n)
    bounds = [(start, min(start + _ROWS, h)) for start in range(0, h, _ROWS)]

    def prepare(i: int) -> None:
        _prepare(flat, flat_target, counted, colour, scale, seen, wanted, *bounds[i])

    def compare(i: int) -> None:
        rows, blurred = np.zeros((5, n + 2 * pad), np.float32), np.empty((6, n), np.float32)
        _compare(seen, wanted, counted, maps, sums, rows, blurred, *bounds[i])

    def differentiate(i: int) -> None:
        rows, blurred = np.zeros((3, n + 2 * pad), np.float32), np.empty((3, n), np.float32)
        _differentiate(flat, counted, colour, weights, seen, wanted, maps, rows, blurred, grad, sums, *bounds[i])

    for step in (prepare, compare, differentiate):
        run_chunks(step, len(bounds))
    total = sums.sum(axis=0)
    l1, ssim, squared = total[:3].tolist()
    return LossParts(l1, ssim, squared, n_values, grad.reshape(h, w, 3), total[3:].reshape(3, 4))


@kernel
@no_type_check
def _prepare(image, target, mask, colour, scale, seen, wanted, start, end):
    """Write the transformed image and the target as float rows; pixels that do not count show the target in both."""
    w = image.shape[1] // 3
    masked = mask.size > 0
    for row in range(start, end):
        out, goal = seen[row + _R], wanted[row + _R]
        for j in range(3 * w):
            goal[j] = np.float32(target[row, j]) * scale
        for x in range(w):
            red, green, blue = image[row, 3 * x], image[row, 3 * x + 1], image[row, 3 * x + 2]
            for c in range(3):
                out[3 * x + c] = colour[c, 0] * red + colour[c, 1] * green + colour[c, 2] * blue + colour[c, 3]
        if masked:
            for x in range(w):
                if mask[row, x] == 0:
                    for c in range(3):
                        out[3 * x + c] = goal[3 * x + c]


@kernel
@no_type_check
def _moments(seen, wanted, row, rows):
    """Blur x, y, xx, yy, xy vertically around one row; one loop per moment, since only such loops become vectors."""
    n = seen.shape[1]
    pad = (rows.shape[1] - n) // 2
    _blur_column(seen, row, rows[0], pad)
    _blur_column(wanted, row, rows[1], pad)
    _blur_product(seen, seen, row, rows[2], pad)
    _blur_product(wanted, wanted, row, rows[3], pad)
    _blur_product(seen, wanted, row, rows[4], pad)


@kernel
@no_type_check
def _blur_column(plane, row, out, pad):
    for j in range(plane.shape[1]):
        total = _ZERO
        for k in range(11):
            total += _TAPS[k] * plane[row + k, j]
        out[pad + j] = total


@kernel
@no_type_check
def _blur_product(first, second, row, out, pad):
    for j in range(first.shape[1]):
        total = _ZERO
        for k in range(11):
            total += _TAPS[k] * first[row + k, j] * second[row + k, j]
        out[pad + j] = total


@kernel
@no_type_check
def _blur_row(padded, out):
    for j in range(out.size):
        total = _ZERO
        for k in range(11):
            total += _TAPS[k] * padded[j + 3 * k]
        out[j] = total


@kernel
@no_type_check
def _similarity(blurred, row, maps, ssim_row):
    """Write d ssim / d (mean, xx, xy) to the maps, and the similarity to its row."""
    for j in range(maps.shape[2]):
        mx, my, xx, yy, xy = blurred[0, j], blurred[1, j], blurred[2, j], blurred[3, j], blurred[4, j]
        a1, a2 = _TWO * mx * my + _C1, _TWO * (xy - mx * my) + _C2
        r1, r2 = _ONE / (mx * mx + my * my + _C1), _ONE / (xx - mx * mx + yy - my * my + _C2)
        ssim = a1 * a2 * r1 * r2
        ssim_row[j] = ssim
        maps[0, row + _R, j] = _TWO * my * (a2 - a1) * r1 * r2 + _TWO * ssim * mx * (r2 - r1)
        maps[1, row + _R, j] = -ssim * r2
        maps[2, row + _R, j] = _TWO * a1 * r1 * r2


@kernel
@no_type_check
def _compare(seen, wanted, mask, maps, sums, rows, blurred, start, end):
    """Fill the maps and the sums of |x - y|, the similarity and the squared difference, for some rows."""
    n = seen.shape[1]
    masked = mask.size > 0
    for row in range(start, end):
        _moments(seen, wanted, row, rows)
        for m in range(5):
            _blur_row(rows[m], blurred[m])
        x_row, y_row, ssim_row = seen[row + _R], wanted[row + _R], blurred[5]
        _similarity(blurred, row, maps, ssim_row)
        if masked:
            for j in range(n):
                if mask[row, j // 3] == 0:
                    ssim_row[j] = _ZERO
                    for m in range(3):
                        maps[m, row + _R, j] = _ZERO
        l1, ssim, squared = _ZERO, _ZERO, _ZERO
        for j in range(n):
            d = x_row[j] - y_row[j]
            l1 += abs(d)
            squared += d * d
            ssim += ssim_row[j]
        sums[row, 0] = l1
        sums[row, 1] = ssim
        sums[row, 2] = squared


@kernel
@no_type_check
def _loss_gradient(blurred, weights, x_row, y_row, out):
    """Write the derivative of the loss by the transformed image."""
    for j in range(out.size):
        x, y = x_row[j], y_row[j]
        sign = _ONE if x > y else (-_ONE if x < y else _ZERO)
        by_ssim = blurred[0, j] + _TWO * x * blurred[1, j] + y * blurred[2, j]
        out[j] = weights[0] * sign + weights[1] * by_ssim


@kernel
@no_type_check
def _differentiate(image, mask, colour, weights, seen, wanted, maps, rows, blurred, grad, sums, start, end):
    """Write the derivative by the image and sum the one by the colour transform, for some rows."""
    w = grad.shape[1] // 3
    masked = mask.size > 0
    for row in range(start, end):
        out = grad[row]
        for m in range(3):
            _blur_column(maps[m], row, rows[m], (rows.shape[1] - 3 * w) // 2)
            _blur_row(rows[m], blurred[m])
        _loss_gradient(blurred, weights, seen[row + _R], wanted[row + _R], out)
        if masked:
            for j in range(3 * w):
                if mask[row, j // 3] == 0:
                    out[j] = _ZERO
        _colour_gradient(image[row], out, colour, sums[row])


@kernel
@no_type_check
def _colour_gradient(image, grad, colour, sums):
    """Sum the derivative by the colour transform over a row, then turn ``grad`` into the one by the image."""
    w = grad.size // 3
    for c in range(3):
        by_red, by_green, by_blue, by_bias = _ZERO, _ZERO, _ZERO, _ZERO
        for x in range(w):
            g = grad[3 * x + c]
            by_red += g * image[3 * x]
            by_green += g * image[3 * x + 1]
            by_blue += g * image[3 * x + 2]
            by_bias += g
        sums[3 + 4 * c] = by_red
        sums[4 + 4 * c] = by_green
        sums[5 + 4 * c] = by_blue
        sums[6 + 4 * c] = by_bias
    for x in range(w):
        red, green, blue = grad[3 * x], grad[3 * x + 1], grad[3 * x + 2]
        for c in range(3):
            grad[3 * x + c] = colour[0, c] * red + colour[1, c] * green + colour[2, c] * blue
