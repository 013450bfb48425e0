"""Tables of random numbers: a periodic volume of fractal noise, and colours of cells."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

_SIDE, _N_CELLS = 64, 4096
_LOWEST, _FALL = 4.0, 1.9  # lattice periods of the coarsest features, and how amplitudes fall with frequency


def fractal(points: Float[Tensor, "v 3 r"]) -> Float[Tensor, "v 2 r"]:
    """Return two independent smooth fractal noises of unit variance, periodic in all axes with period 8.

    Args:
        points: in units of about one feature.
    """
    volume = _volume(points.device).expand(points.shape[0], -1, -1, -1, -1)
    place = (points * 0.125).remainder(1.0).mul_(2.0).sub_(1.0)
    grid = place.transpose(1, 2)[:, None, None]
    return F.grid_sample(volume, grid, padding_mode="border", align_corners=True)[:, :, 0, 0]


def cell_values(cells: Float[Tensor, "v k r"]) -> Float[Tensor, "v 3 r"]:
    """Return three uniform random numbers that belong to a cell of a lattice.

    Args:
        cells: whole coordinates of the cell, of any number of axes.
    """
    primes = (73856093, 19349663, 83492791, 29986577)
    whole = cells.long()
    code = whole[:, 0] * primes[0]
    for axis in range(1, whole.shape[1]):
        code = code ^ (whole[:, axis] * primes[axis])
    return _cells(cells.device)[(code ^ (code >> 13)).remainder(_N_CELLS)].movedim(-1, 1)


@lru_cache(maxsize=4)
def _volume(device: torch.device) -> Float32[Tensor, "1 2 d h w"]:
    """Return noise whose spectrum falls with the frequency; the first planes are repeated at the end."""
    rng = np.random.default_rng(20240)
    frequency = np.fft.fftfreq(_SIDE) * _SIDE
    z, y, x = np.meshgrid(frequency, frequency, frequency, indexing="ij")
    size = np.sqrt(x * x + y * y + z * z)
    amplitude = np.where(size < _LOWEST, 0.0, np.maximum(size, _LOWEST) ** -(_FALL + 0.5))
    channels = [np.fft.ifftn(np.fft.fftn(rng.standard_normal((_SIDE,) * 3)) * amplitude).real for _ in range(2)]
    values = np.stack([channel / channel.std() for channel in channels])
    wrapped = np.pad(values, ((0, 0), (0, 1), (0, 1), (0, 1)), mode="wrap")
    return torch.from_numpy(wrapped.astype(np.float32))[None].to(device)


@lru_cache(maxsize=4)
def _cells(device: torch.device) -> Float32[Tensor, "n_cells 3"]:
    values = np.random.default_rng(20241).random((_N_CELLS, 3), dtype=np.float32)
    return torch.from_numpy(values).to(device)
