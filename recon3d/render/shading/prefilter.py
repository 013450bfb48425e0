"""Environments blurred by the GGX lobe of several roughnesses, for specular light from one lookup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.shading.environment import Environment

DEFAULT_LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DIFFUSE = -1.0  # in place of a roughness: the clamped cosine
_SHARP = 0.25  # roughnesses below it need more rows
_CHUNK = 1 << 22  # kernel values at once
_MAX_CACHED_ROWS = 64


class PrefilteredEnvironment:
    """Specular light by roughness, and diffuse light, as maps with bilinear lookup.

    The lobe is that of the split sum with normal = view = mirror direction: weights ``D(n.h) (n.l)`` with h half way
    between the light and the mirror direction, and ``alpha = roughness^2``. Since such a lobe is round, blurring is
    one circular convolution per pair of rows, done with FFTs; no sampling is involved. Roughness 0 is the environment.

    Args:
        env: the light.
        levels: roughnesses of the maps, rising from 0 to 1.
        max_rows: most rows of a map, even; maps have twice as many columns. Time grows with its cube; 64 is
            quick enough for a light that is optimised.

    Raises:
        UsageError: the levels do not rise from 0 to 1, or the rows are odd.

    Differentiable in the radiance, and in the directions and roughnesses of lookups.

    Source: Karis, "Real Shading in Unreal Engine 4", 2013.
    """

    def __init__(self, env: Environment, levels: Sequence[float] = DEFAULT_LEVELS, max_rows: int = 256) -> None:
        rising = all(a < b for a, b in pairwise(levels))
        if len(levels) < 2 or not rising or levels[0] != 0 or levels[-1] != 1:
            raise UsageError("levels must rise from roughness 0 to 1", got=list(levels))
        if max_rows < 4 or max_rows % 2:
            raise UsageError("max_rows must be even and at least 4", got=max_rows)
        self.levels = tuple(float(level) for level in levels)
        few = min(max_rows, 128)
        rows = [max_rows if level < _SHARP else few for level in self.levels]
        sizes = {n: _resized(env, n) for n in {*rows[1:], few}}
        self.maps = (env, *(_blurred(sizes[n], r) for n, r in zip(rows[1:], self.levels[1:], strict=True)))
        self.diffuse = _blurred(sizes[few], DIFFUSE)

    def specular(self, dirs: Float[Tensor, "... 3"], roughness: Float[Tensor, "..."] | float) -> Float[Tensor, "... 3"]:
        """Return blurred radiance about mirror directions of the world, ``[...,3]``; linear between the levels.

        Args:
            dirs: mirror directions, ``[...,3]``.
            roughness: perceptual, 0 to 1, ``[...]``.
        """
        value = torch.as_tensor(roughness, dtype=dirs.dtype, device=dirs.device).expand(dirs.shape[:-1])
        total = torch.zeros_like(dirs)
        for index, (level, blurred) in enumerate(zip(self.levels, self.maps, strict=True)):
            weight = torch.ones_like(value)
            if index > 0:
                weight = weight.minimum((value - self.levels[index - 1]) / (level - self.levels[index - 1]))
            if index + 1 < len(self.levels):
                weight = weight.minimum((self.levels[index + 1] - value) / (self.levels[index + 1] - level))
            rows = weight > 0
            if bool(rows.any()):
                part = blurred.lookup(dirs[rows]) * weight[rows][..., None]
                total = total.index_put((rows,), part, accumulate=True)
        return total

    def irradiance(self, normals: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
        """Return the irradiance (without ``1 / pi``) about normals of the world, ``[...,3]``."""
        return self.diffuse.lookup(normals) * math.pi


def _lobe(cosine: Tensor, roughness: float) -> Tensor:
    """Return the weights by the cosine between the light and the mirror direction (or the normal, for diffuse)."""
    if roughness == DIFFUSE:
        return cosine.clamp_min(0)
    below = (1 - roughness**4) / 2
    return (
        cosine.clamp_min(0) / (1 - below * (1 + cosine)).clamp_min(1e-30) ** 2
    )  # cos^2 of half the angle is (1 + c) / 2


def _blurred(env: Environment, roughness: float) -> Environment:
    """Return the environment convolved with a round lobe of unit mass, on the same pixels.

    Row o of the result is ``sum_i irfft(rfft(light_i) rfft(lobe_oi))``: the lobe between two rows depends on the
    difference of the columns only, and evenly.
    """
    rows, like = env.height, env.radiance.detach()
    light = torch.fft.rfft(env.radiance * env.solid_angles()[..., None], dim=1)  # [i, f, 3]
    step = max(1, _CHUNK // (rows * (rows + 1)))
    spectra = _cached_spectra if rows <= _MAX_CACHED_ROWS else _spectra
    out = []
    for start in range(0, rows, step):
        spectrum = spectra(rows, start, min(start + step, rows), roughness, like.dtype, like.device)
        real = torch.einsum("ofi,ifc->ofc", spectrum, light.real)
        out.append(torch.complex(real, torch.einsum("ofi,ifc->ofc", spectrum, light.imag)))
    radiance = torch.fft.irfft(torch.cat(out), n=env.width, dim=1)
    return Environment(radiance.clamp_min(0), env.rotation)


def _spectra(
    rows: int, start: int, stop: int, roughness: float, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "o f i"]:
    """Return the lobe between output rows ``start`` to ``stop`` and all input rows, by frequency along the columns."""
    theta = (torch.arange(rows, dtype=torch.float64) + 0.5) * (math.pi / rows)
    turn = torch.arange(rows + 1, dtype=torch.float64) * (math.pi / rows)
    c, s, turned = (value.to(device, dtype) for value in (theta.cos(), theta.sin(), turn.cos()))
    cosine = (s[start:stop, None] * s)[..., None] * turned + (c[start:stop, None] * c)[..., None]
    spectrum = torch.fft.hfft(_lobe(cosine, roughness), n=2 * rows, dim=2)[..., : rows + 1]  # of an even sequence
    edges = torch.cos(torch.arange(rows + 1, dtype=torch.float64) * (math.pi / rows))
    areas = ((edges[:-1] - edges[1:]) * (math.pi / rows)).to(spectrum)
    mass = (spectrum[..., 0] * areas).sum(1)
    unit: Tensor = spectrum / mass[:, None, None]
    return unit.transpose(1, 2)


_cached_spectra = lru_cache(maxsize=32)(_spectra)


def _resized(env: Environment, rows: int) -> Environment:
    """Return the map with ``rows x 2 rows`` pixels that hold the mean radiance of the area they cover."""
    if (env.height, env.width) == (rows, 2 * rows):
        return env
    edges = torch.cos(torch.arange(env.height + 1, dtype=torch.float64) * (math.pi / env.height))
    new = torch.cos(torch.arange(rows + 1, dtype=torch.float64) * (math.pi / rows))
    down = _overlaps(-edges, -new).to(env.radiance)
    columns = torch.arange(env.width + 1, dtype=torch.float64) / env.width
    across = _overlaps(columns, torch.arange(2 * rows + 1, dtype=torch.float64) / (2 * rows)).to(env.radiance)
    lower = torch.einsum("oi,ijc->ojc", down, env.radiance)
    return Environment(torch.einsum("pj,ojc->opc", across, lower), env.rotation)


def _overlaps(old: Tensor, new: Tensor) -> Tensor:
    """Return which share of each new interval each old one covers, ``[new,old]``; both lists of edges rise."""
    low = torch.maximum(old[None, :-1], new[:-1, None])
    high = torch.minimum(old[None, 1:], new[1:, None])
    return (high - low).clamp_min(0) / (new[1:] - new[:-1])[:, None]
