"""From linear light to a photo: exposure, colour cast, vignetting, blur, sRGB and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from recon3d.feedforward.scenes.options import SceneOptions

_REACH = 3
_KEY = 0.2  # linear value to which the mean of a scene is exposed
_SAMPLE = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Exposure:
    """How the photos of one scene are taken.

    Args:
        gains: of the colours, exposure included, relative to the automatic exposure of the scene.
        kernels: of the blur.
        vignetting: loss of light in the corners.
        noise: standard deviation.
        noise_seed: seed of the noise.
    """

    gains: Float64[np.ndarray, "s 3"]
    kernels: Float64[np.ndarray, "s k k"]
    vignetting: float
    noise: float
    noise_seed: int


def draw_exposure(rng: np.random.Generator, options: SceneOptions, n_views: int) -> Exposure:
    """Return random settings.

    Args:
        rng: source of randomness.
        options: ranges.
        n_views: number of photos.
    """
    stops = options.exposure_stops * (rng.normal() + 0.25 * rng.standard_normal(n_views))
    cast = options.white_balance * (rng.standard_normal(3) + 0.25 * rng.standard_normal((n_views, 3)))
    cast[:, 1] = 0.0
    blur = rng.uniform(*options.blur_px) * np.ones(n_views)
    motion = (rng.random(n_views) < options.motion_blur) * rng.uniform(1.0, 3.0, n_views)
    angle = rng.uniform(0.0, np.pi, n_views)
    return Exposure(
        gains=np.exp(math.log(2.0) * stops[:, None] + cast),
        kernels=np.stack([_kernel(*values) for values in zip(blur, motion, angle, strict=True)]),
        vignetting=rng.uniform(0.0, options.vignetting),
        noise=options.noise[0] + (options.noise[1] - options.noise[0]) * rng.beta(1.0, 3.0),
        noise_seed=int(rng.integers(2**31)),
    )


def photograph(linear: Float32[Tensor, "s 3 h w"], exposure: Exposure) -> Float32[Tensor, "s 3 h w"]:
    """Return sRGB photos of one scene.

    Args:
        linear: light that arrives.
        exposure: settings.
    """
    device, (_, _, height, width) = linear.device, linear.shape
    gains = torch.from_numpy(exposure.gains.astype(np.float32)).to(device)
    level = _level(linear)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    corners = (1.0 - exposure.vignetting * 0.5 * (x * x + y * y)).to(device)
    image = linear * (gains * (_KEY / level))[:, :, None, None] * corners
    kernels = torch.from_numpy(exposure.kernels.astype(np.float32)).to(device)
    image = _filtered(_shoulder(image), kernels)
    generator = torch.Generator(device).manual_seed(exposure.noise_seed)
    noise = torch.randn(image.shape, generator=generator, device=device)
    return (srgb(image) + exposure.noise * noise).clamp_(0.0, 1.0)


def srgb(linear: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """Encode linear values from 0 to 1.

    Args:
        linear: values.
    """
    curve = 1.055 * linear.clamp(min=1e-6) ** (1.0 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curve)


def _level(linear: Tensor) -> Tensor:
    """Return a brightness between the mean and the median, so that neither sky nor shadow decides alone."""
    grey = linear.mean(1).flatten()
    step = max(1, len(grey) // _SAMPLE)
    return (0.5 * grey[::step].median() + 0.5 * grey[::step].mean()).clamp(min=1e-4)


def _shoulder(image: Tensor) -> Tensor:
    """Compress what is brighter than 0.7 so that it nears 1."""
    over = (image - 0.7).clamp(min=0.0)
    return torch.minimum(image, 0.7 + 0.3 * (1.0 - (-over / 0.3).exp()))


def _filtered(image: Tensor, kernels: Tensor) -> Tensor:
    n_views = image.shape[0]
    padded = F.pad(image, (_REACH,) * 4, mode="replicate").transpose(0, 1)
    return F.conv2d(padded, kernels[:, None], groups=n_views).transpose(0, 1)


def _kernel(blur: float, motion: float, angle: float) -> Float64[np.ndarray, "k k"]:
    """Return a Gaussian that is longer in the direction of a motion."""
    steps = np.arange(-_REACH, _REACH + 1)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    least = max(blur, 0.35 if motion > 0 else 0.05)
    weights = np.exp(-0.5 * ((along / np.hypot(least, 0.4 * motion)) ** 2 + (across / least) ** 2))
    return np.asarray(weights / weights.sum(), dtype=np.float64)
