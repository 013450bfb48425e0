"""Building blocks of the procedural textures: fractal noise, relief shading, sRGB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def linear(red: float, green: float, blue: float) -> Array:
    """Return an sRGB colour (0..255) as linear RGB."""
    value = np.array([red, green, blue]) / 255
    return cast(Array, np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32))


def srgb(colour: Array) -> Array:
    """Encode linear RGB in 0..1."""
    value = np.clip(colour, 0, 1)
    return cast(Array, np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055))


def mix(first: Array | float, second: Array | float, share: Array) -> Array:
    """Blend two colours; ``share`` is one value per texel."""
    return cast(Array, first + (np.asarray(second, np.float32) - first) * share[..., None])


def step(low: float, high: float, value: Array) -> Array:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    x = np.clip((value - low) / (high - low), 0, 1)
    return cast(Array, (x * x * (3 - 2 * x)).astype(np.float32))


def lattice(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Return random values on ``cells`` (rows, columns), interpolated to ``shape``; periodic, range -1..1."""
    grid = rng.uniform(-1, 1, cells).astype(np.float32)
    row, row_share = _interpolation(shape[0], cells[0])
    column, column_share = _interpolation(shape[1], cells[1])
    upper = grid[row % cells[0]] * (1 - row_share)[:, None] + grid[(row + 1) % cells[0]] * row_share[:, None]
    left, right = upper[:, column % cells[1]], upper[:, (column + 1) % cells[1]]
    return cast(Array, left * (1 - column_share) + right * column_share)


def _interpolation(n: int, cells: int) -> tuple[npt.NDArray[np.int64], Array]:
    position = np.arange(n) * (cells / n)
    index = np.floor(position).astype(np.int64)
    share = position - index
    return index, (share * share * (3 - 2 * share)).astype(np.float32)


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: tuple[float, float],
    octaves: int = 5,
    gain: float = 0.6,
) -> Array:
    """Sum lattices whose cells halve from octave to octave; about -1..1."""
    total = np.zeros(shape, np.float32)
    weights = [gain**octave for octave in range(octaves)]
    for octave, weight in enumerate(weights):
        rows, columns = (max(1, min(int(cell * 2**octave), size)) for cell, size in zip(cells, shape, strict=True))
        total += weight * lattice(rng, shape, (rows, columns))
    return cast(Array, total * (1.6 / sum(weights)))


def relief(colour: Array, height: Array, strength: float) -> Array:
    """Shade a texture as if ``height`` stood out of it, lit from its upper right."""
    slope = (np.roll(height, 1, 1) - np.roll(height, -1, 1)) + (np.roll(height, -1, 0) - np.roll(height, 1, 0))
    return cast(Array, colour * np.clip(1 - strength * slope, 0.35, 1.7)[..., None])


def palette(rng: np.random.Generator, colours: Sequence[Array], index: npt.NDArray[np.int64], spread: float) -> Array:
    """Give every stone (``index``, any integers from 0) a colour between two neighbours of ``colours``."""
    n = int(index.max()) + 1
    table = np.stack(list(colours))
    place = rng.uniform(0, len(table) - 1.001, n)
    low = place.astype(np.int64)
    share = (place - low)[:, None].astype(np.float32)
    stones = (table[low] * (1 - share) + table[low + 1] * share) * rng.uniform(1 - spread, 1 + spread, (n, 1))
    return cast(Array, stones.astype(np.float32)[index])
