"""Tone curves: from linear radiance to what a display can show, and the sRGB curve that follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError

ToneName = Literal["srgb", "reinhard", "aces", "agx", "neutral"]
_Rows = tuple[tuple[float, float, float], ...]

_ACES_IN: _Rows = ((0.59719, 0.35458, 0.04823), (0.07600, 0.90834, 0.01566), (0.02840, 0.13383, 0.83777))
_ACES_OUT: _Rows = ((1.60475, -0.53108, -0.07367), (-0.10208, 1.10813, -0.00605), (-0.00327, -0.07276, 1.07602))
_REC2020_FROM_SRGB: _Rows = ((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0113), (0.0164, 0.0880, 0.8956))
_SRGB_FROM_REC2020: _Rows = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
_AGX_IN: _Rows = (
    (0.856627153315983, 0.0951212405381588, 0.0482516061458583),
    (0.137318972929847, 0.761241990602591, 0.101439036467562),
    (0.11189821299995, 0.0767994186031903, 0.811302368396859),
)
_AGX_OUT: _Rows = (
    (1.1271005818144368, -0.11060664309660323, -0.016493938717834573),
    (-0.1413297634984383, 1.157823702216272, -0.016493938717834257),
    (-0.14132976349843826, -0.11060664309660294, 1.2519364065950405),
)
_AGX_MIN_EV, _AGX_MAX_EV = -12.47393, 4.026069
_AGX_CURVE = (15.5, -40.14, 31.96, -6.868, 0.4298, 0.1191, -0.00232)  # from the sixth power down
_WHITE = 16.0  # what NeAR's lighting tokenizer maps to 1


def tone_curve(rgb: Float[Tensor, "... 3"], name: ToneName, exposure: float = 1.0) -> Float[Tensor, "... 3"]:
    """Compress linear radiance into what a display can show.

    Args:
        rgb: linear radiance of the Rec. 709 primaries, ``[...,3]``.
        name: ``srgb`` (cut off at 1), ``reinhard``, ``aces`` (Hill's fit), ``agx`` or ``neutral`` (Khronos
            PBR neutral).
        exposure: factor on the radiance, positive.

    Returns:
        Display-linear RGB, ``[...,3]``, 0 to 1 (``neutral`` and ``reinhard`` keep what is negative); follow it with
        :func:`srgb_from_linear`. Differentiable.

    Raises:
        UsageError: there is no such curve, or the exposure is not positive.
    """
    if name not in _CURVES:
        raise UsageError("there is no such tone curve", got=name, expected=", ".join(_CURVES))
    if not 0 < exposure < math.inf:
        raise UsageError("the exposure must be positive", got=exposure)
    return _CURVES[name](rgb * exposure)


def srgb_from_linear(rgb: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Encode linear values from 0 to 1 with the sRGB curve; what is outside is cut off."""
    value = rgb.clamp(0, 1)
    return torch.where(value <= 0.0031308, 12.92 * value, 1.055 * value.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(rgb: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Decode sRGB values from 0 to 1; what is outside is cut off."""
    value = rgb.clamp(0, 1)
    return torch.where(value <= 0.04045, value / 12.92, ((value.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def light_maps(radiance: Float[Tensor, "... 3"]) -> tuple[Float[Tensor, "... 3"], Float[Tensor, "... 3"]]:
    """Return the two views of a light that NeAR's tokenizer reads, ``[...,3]``.

    The first is Reinhard's extended curve with white at 16, then sRGB, from -1 to 1; the second is logarithmic, -1 at
    black and 0 at a radiance of 100.
    """
    display = radiance * (1 + radiance / _WHITE**2) / (1 + radiance)
    return 2 * srgb_from_linear(display) - 1, torch.log1p(10 * radiance) / math.log(1001) - 1


def _matrix(rows: _Rows, rgb: Tensor) -> Tensor:
    return rgb @ rgb.new_tensor(rows).mT


def _clip(rgb: Tensor) -> Tensor:
    return rgb.clamp(0, 1)


def _reinhard(rgb: Tensor) -> Tensor:
    return rgb / (1 + rgb.clamp_min(0))


def _aces(rgb: Tensor) -> Tensor:
    """Hill's fit of the ACES reference and output transforms, with the exposure of three.js."""
    v = _matrix(_ACES_IN, rgb / 0.6)
    fitted = (v * (v + 0.0245786) - 0.000090537) / (v * (0.983729 * v + 0.4329510) + 0.238081)
    return _matrix(_ACES_OUT, fitted).clamp(0, 1)


def _agx(rgb: Tensor) -> Tensor:
    """Sobotka's AgX with the default contrast, in Rec. 2020, as three.js and Filament fit it."""
    inside = _matrix(_AGX_IN, _matrix(_REC2020_FROM_SRGB, rgb)).clamp_min(1e-10)
    x = ((inside.log2() - _AGX_MIN_EV) / (_AGX_MAX_EV - _AGX_MIN_EV)).clamp(0, 1)
    curve = torch.zeros_like(x)
    for coefficient in _AGX_CURVE:
        curve = curve * x + coefficient
    shown = _matrix(_AGX_OUT, curve)
    power = torch.where(shown > 0, shown.clamp_min(1e-10) ** 2.2, 0.0)
    return _matrix(_SRGB_FROM_REC2020, power).clamp(0, 1)


def _neutral(rgb: Tensor) -> Tensor:
    """Khronos PBR neutral: colours below 0.76 stay, brighter ones lose saturation towards white."""
    start, desaturation = 0.8 - 0.04, 0.15
    least = rgb.amin(-1, keepdim=True)
    moved = rgb - torch.where(least < 0.08, least - 6.25 * least * least, 0.04)
    peak = moved.amax(-1, keepdim=True)
    bright = peak >= start
    safe = torch.where(bright, peak, 1.0)
    room = 1 - start
    squeezed = 1 - room * room / (safe + room - start)
    share = 1 / (desaturation * (safe - squeezed) + 1)
    return torch.where(bright, torch.lerp(squeezed.expand_as(rgb), moved * (squeezed / safe), share), moved)


_CURVES: dict[str, Callable[[Tensor], Tensor]] = {
    "srgb": _clip,
    "reinhard": _reinhard,
    "aces": _aces,
    "agx": _agx,
    "neutral": _neutral,
}
