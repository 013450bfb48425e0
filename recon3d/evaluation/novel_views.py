"""Rendered views against photos: PSNR and SSIM, with and without an affine correction of the colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.ndimage import correlate1d

from recon3d.core.errors import FormatError, ShapeError

_RADIUS = 5
_SIGMA_PX = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_RIDGE = 1e-6


def psnr(image: Float[np.ndarray, "h w c"], reference: Float[np.ndarray, "h w c"]) -> float:
    """Return the peak signal-to-noise ratio in dB, ``-10 log10(MSE)`` over all pixels and channels.

    Args:
        image: values in [0,1], display-referred sRGB, ``[h,w,c]``.
        reference: the photo in the same form, ``[h,w,c]``.

    Returns:
        Decibels; infinity for equal images.

    Raises:
        ShapeError: the sizes differ, or there is no pixel.
    """
    _check_pair(image, reference, 1)
    mse = float(np.mean((image.astype(np.float64) - reference) ** 2))
    return math.inf if mse == 0.0 else -10.0 * math.log10(mse)


def ssim(image: Float[np.ndarray, "h w c"], reference: Float[np.ndarray, "h w c"]) -> float:
    """Return the structural similarity (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03.

    Only windows that lie inside the image count; the map is averaged over them and over the channels.

    Args:
        image: values in [0,1], display-referred sRGB, ``[h,w,c]``.
        reference: the photo in the same form, ``[h,w,c]``.

    Returns:
        At most 1, for equal images.

    Raises:
        ShapeError: the sizes differ, or a side is shorter than the window.
    """
    _check_pair(image, reference, 2 * _RADIUS + 1)
    return float(np.mean([_ssim_of_channel(image[..., c], reference[..., c]) for c in range(image.shape[2])]))


def _check_pair(image: Float[np.ndarray, "..."], reference: Float[np.ndarray, "..."], shortest: int) -> None:
    if image.shape != reference.shape or image.ndim != 3:
        raise ShapeError("an image and its reference disagree", got=image.shape, expected=reference.shape)
    if min(image.shape[:2]) < shortest or image.shape[2] < 1:
        raise ShapeError("an image is too small to be compared", got=image.shape, expected=f"sides of {shortest} px")


def _ssim_of_channel(x: Float[np.ndarray, "h w"], y: Float[np.ndarray, "h w"]) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    cov = _smooth(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2)
    below = (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return float((above / below).mean())


def _smooth(channel: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h2 w2"]:
    """Return the Gaussian means of all windows that lie inside."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA_PX) ** 2)
    weights /= weights.sum()
    smooth = correlate1d(correlate1d(channel, weights, axis=0), weights, axis=1)
    return np.asarray(smooth[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS])


def fit_colours(
    image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"]
) -> Float64[np.ndarray, "h w 3"]:
    """Return the image after the affine map of RGB that brings it closest to the reference (least squares), in [0,1].

    It takes away what exposure and white balance of a photo have to do with its PSNR; it must be said where it is used.

    Args:
        image: rendered view, sRGB in [0,1], ``[h,w,3]``.
        reference: photo, ``[h,w,3]``.

    Raises:
        ShapeError: the sizes differ.
    """
    _check_pair(image, reference, 1)
    design = np.concatenate([image.reshape(-1, 3).astype(np.float64), np.ones((image[..., 0].size, 1))], axis=1)
    normal = design.T @ design / len(design) + _RIDGE * np.eye(4)
    # The ridge pulls towards "no change", so that a grey image does not make the fit arbitrary.
    rhs = design.T @ reference.reshape(-1, 3).astype(np.float64) / len(design) + _RIDGE * np.eye(4)[:, :3]
    return np.asarray(np.clip(design @ np.linalg.solve(normal, rhs), 0.0, 1.0).reshape(image.shape))


@dataclass(frozen=True)
class ViewErrors:
    """How well one held-out photo was predicted.

    Args:
        key: the photo.
        psnr: decibels.
        ssim: structural similarity.
        psnr_fit: decibels after the affine colour fit of this view; None = not measured.
        ssim_fit: similarity after that fit.
    """

    key: str
    psnr: float
    ssim: float
    psnr_fit: float | None = None
    ssim_fit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready fields; an infinite PSNR becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def evaluate_view(key: str, image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"]) -> ViewErrors:
    """Compare a rendered view with its photo, as it is and after the affine colour fit.

    Args:
        key: name of the photo.
        image: rendered view, sRGB in [0,1], ``[h,w,3]``.
        reference: photo, ``[h,w,3]``.

    Raises:
        ShapeError: the sizes differ, or a side is shorter than 11 px.
    """
    fitted = fit_colours(image, reference)
    return ViewErrors(
        key, psnr(image, reference), ssim(image, reference), psnr(fitted, reference), ssim(fitted, reference)
    )


@dataclass(frozen=True)
class NovelViewErrors:
    """Means over the held-out photos.

    Args:
        views: the photos one by one.
    """

    views: tuple[ViewErrors, ...]

    def mean(self, name: str) -> float | None:
        """Return the mean of ``psnr``, ``ssim``, ``psnr_fit`` or ``ssim_fit``; None where a view lacks it."""
        values = [getattr(view, name) for view in self.views]
        return None if not values or None in values else float(np.mean(values))

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready means and views."""
        means = {name: self.mean(name) for name in ("psnr", "ssim", "psnr_fit", "ssim_fit")}
        finite = {name: value if value is None or math.isfinite(value) else None for name, value in means.items()}
        return {"n_views": len(self.views), **finite, "views": [view.to_json() for view in self.views]}

    @classmethod
    def from_json(cls, records: Sequence[Mapping[str, Any]]) -> NovelViewErrors:
        """Read what :meth:`ViewErrors.to_json` wrote for each view, as a scene's metrics hold it.

        Raises:
            FormatError: a record lacks its key or numbers.
        """
        return cls(tuple(_view_of(record) for record in records))


def _view_of(record: Mapping[str, Any]) -> ViewErrors:
    try:
        first = math.inf if record["psnr"] is None else float(record["psnr"])
        fits = [None if record.get(name) is None else float(record[name]) for name in ("psnr_fit", "ssim_fit")]
        return ViewErrors(str(record["key"]), first, float(record["ssim"]), fits[0], fits[1])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("the metrics of a held-out view cannot be read", got=str(error)) from error
