"""Procedural materials: linear albedo, nowhere repeated, rich in corners and blobs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from courtyard.noise import Array, fractal, linear, mix, palette, relief, step


@dataclass(frozen=True)
class Texture:
    """An albedo image with the size that it covers, in metres."""

    albedo: Array
    width_m: float
    height_m: float

    @cached_property
    def levels(self) -> list[Array]:
        """Half-size copies, for surfaces that are far away."""
        levels = [self.albedo]
        while min(levels[-1].shape[:2]) >= 16:
            last = levels[-1][: levels[-1].shape[0] // 2 * 2, : levels[-1].shape[1] // 2 * 2]
            levels.append((last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]) / 4)
        return levels

    def sample(self, uv: Array, texels: Array) -> Array:
        """Look up ``uv`` (metres; v up) where one sample spans ``texels`` texels of the full image."""
        level = np.clip(np.rint(np.log2(np.maximum(texels, 1e-6))), 0, len(self.levels) - 1).astype(np.int64)
        colour = np.empty((len(uv), 3), np.float32)
        for index in np.unique(level):
            chosen = level == index
            colour[chosen] = self._bilinear(self.levels[index], uv[chosen])
        return colour

    def _bilinear(self, image: Array, uv: Array) -> Array:
        h, w = image.shape[:2]
        x = uv[:, 0] * np.float32(w / self.width_m) - 0.5
        y = (1 - uv[:, 1] / np.float32(self.height_m)) * h - 0.5
        column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        a, b = (x - column)[:, None], (y - row)[:, None]
        left, right, upper, lower = column % w, (column + 1) % w, row % h, (row + 1) % h
        flat = image.reshape(-1, 3)
        above = flat[upper * w + left] * (1 - a) + flat[upper * w + right] * a
        below = flat[lower * w + left] * (1 - a) + flat[lower * w + right] * a
        return cast(Array, above * (1 - b) + below * b)


def _grid(width_m: float, height_m: float, per_metre: int) -> tuple[Array, Array, tuple[int, int]]:
    shape = (round(height_m * per_metre), round(width_m * per_metre))
    u = (np.arange(shape[1], dtype=np.float32) + 0.5) / per_metre
    v = (np.arange(shape[0], dtype=np.float32) + 0.5) / per_metre
    return u, v, shape


def masonry(
    rng: np.random.Generator,
    size_m: tuple[float, float],
    stone_m: tuple[float, float],
    colours: list[Array],
    mortar: Array,
    per_metre: int = 330,
    joint_m: float = 0.011,
    irregular: float = 0.0,
) -> Texture:
    """Courses of bricks or slabs; ``irregular`` 0..1 makes the stones of a course unequal in length."""
    u, v, shape = _grid(*size_m, per_metre)
    wobble = 0.006 * fractal(rng, shape, (size_m[1] * 6, size_m[0] * 6), 3)
    course = np.floor(v / stone_m[1]).astype(np.int64)
    index, edge_u = _stones(rng, u, course, size_m[0], stone_m[0], irregular)
    edge_v = np.minimum(v % stone_m[1], stone_m[1] - v % stone_m[1])[:, None]
    corner = np.minimum(edge_u, edge_v) + wobble
    stone = step(joint_m * 0.5, joint_m * 1.1, corner)
    grain = fractal(rng, shape, (size_m[1] * 12, size_m[0] * 12), 5, 0.75)
    blotch = fractal(rng, shape, (size_m[1] * 1.5, size_m[0] * 1.5), 4)
    colour = palette(rng, colours, index, 0.16) * (1 + 0.33 * grain + 0.12 * blotch)[..., None]
    dark = step(0.62, 0.8, fractal(rng, shape, (size_m[1] * 25, size_m[0] * 25), 3))
    colour = mix(mix(mortar * (1 + 0.25 * grain)[..., None], colour, stone), 0.06, 0.7 * dark)
    return Texture(relief(colour, stone + 0.35 * grain, 0.22).clip(0.01, 0.95), *size_m)


def _stones(
    rng: np.random.Generator, u: Array, course: npt.NDArray[np.int64], width: float, stone: float, irregular: float
) -> tuple[npt.NDArray[np.int64], Array]:
    n = int(course.max()) + 1
    per_course = int(width / stone) + 3
    numbers, distances = [], []
    for row in range(n):
        lengths = stone * (1 + irregular * rng.uniform(-0.5, 0.5, per_course))
        cuts = np.cumsum(lengths) - stone * (1 + 0.5 * (row % 2)) - irregular * stone * rng.uniform(0, 0.5)
        number = np.searchsorted(cuts, u)
        padded = np.concatenate([[cuts[0] - stone], cuts, [cuts[-1] + stone]])
        numbers.append(number + row * (per_course + 1))
        distances.append(np.minimum(u - padded[number], padded[number + 1] - u))
    return np.stack(numbers)[course], np.stack(distances)[course].astype(np.float32)


def plaster(rng: np.random.Generator, size_m: tuple[float, float], base: Array, per_metre: int = 330) -> Texture:
    """Old limewash: blotches, flaked patches, cracks, drips and specks."""
    _, v, shape = _grid(*size_m, per_metre)

    def noise(scale: float, octaves: int = 5, gain: float = 0.6) -> Array:
        return fractal(rng, shape, (size_m[1] * scale, size_m[0] * scale), octaves, gain)

    grain, blotch = noise(14, 5, 0.8), noise(1.2)
    colour = base * (1 + 0.13 * grain + 0.2 * blotch)[..., None]
    flake = step(0.52, 0.56, noise(1.6, 6, 0.62) + 0.25 * np.float32(v[:, None] / size_m[1]) ** 3)
    colour = mix(colour, linear(176, 150, 122) * (1 + 0.45 * noise(16, 4, 0.8))[..., None], flake)
    crack = 1 - step(0.0, 0.018, np.abs(noise(1.9, 6, 0.55)))
    colour = mix(colour, 0.08, 0.55 * crack * step(0.0, 0.4, noise(0.7, 2)))
    colour = mix(colour, 0.10, 0.75 * step(0.66, 0.8, noise(22, 3)))
    damp = step(0.62, 1.0, v[:, None] / size_m[1] + 0.18 * noise(2.0))
    colour = mix(colour, linear(110, 104, 84) * (1 + 0.3 * grain)[..., None], 0.55 * damp)
    return Texture(relief(colour, 0.3 * grain - 0.9 * flake, 0.25).clip(0.01, 0.95), *size_m)


def planks(
    rng: np.random.Generator,
    size_m: tuple[float, float],
    plank_m: float,
    colours: list[Array],
    per_metre: int = 420,
    nails: bool = True,
) -> Texture:
    """Boards that run along v, with grain, knots, gaps and nail heads."""
    u, v, shape = _grid(*size_m, per_metre)
    plank = np.floor(u / plank_m).astype(np.int64)
    edge = np.minimum(u % plank_m, plank_m - u % plank_m)[None]
    shift = rng.uniform(0, 5, int(plank.max()) + 1).astype(np.float32)[plank]
    warp = fractal(rng, shape, (size_m[1] * 2.5, size_m[0] * 9), 4)
    rings = np.sin(2 * np.pi * (u * 70 + shift)[None] + 3.2 * warp + 2 * v[:, None])
    fibre = fractal(rng, shape, (size_m[1] * 8, size_m[0] * 90), 3, 0.8)
    index = np.broadcast_to(plank, shape)
    colour = palette(rng, colours, index, 0.14) * (1 + 0.15 * rings + 0.34 * fibre + 0.12 * warp)[..., None]
    knots = step(0.8, 0.9, fractal(rng, shape, (size_m[1] * 11, size_m[0] * 22), 3))
    gap = 1 - step(0.0015, 0.004, edge + np.zeros(shape, np.float32))
    colour = mix(mix(colour, linear(58, 38, 24), 0.85 * knots), 0.015, gap)
    if nails:
        off_u, off_v = np.abs(u % plank_m - plank_m / 2)[None], np.abs(v % 0.41 - 0.06)[:, None]
        head = 1 - step(0.005, 0.008, np.hypot(off_u - plank_m * 0.28, off_v).astype(np.float32))
        colour = mix(colour, 0.03, head)
    return Texture(relief(colour, 0.25 * fibre - gap, 0.3).clip(0.01, 0.95), *size_m)


def speckled(
    rng: np.random.Generator, size_m: tuple[float, float], base: Array, spots: list[Array], per_metre: int = 420
) -> Texture:
    """Granite, glaze or terrazzo: a base with spots of several colours."""
    _, _, shape = _grid(*size_m, per_metre)
    grain = fractal(rng, shape, (size_m[1] * 16, size_m[0] * 16), 5, 0.75)
    colour = base * (1 + 0.26 * grain)[..., None]
    for spot in spots:
        scale = rng.uniform(16, 34)
        mask = step(0.58, 0.72, fractal(rng, shape, (size_m[1] * scale, size_m[0] * scale), 4))
        colour = mix(colour, spot * (1 + 0.2 * grain)[..., None], 0.8 * mask)
    return Texture(relief(colour, grain, 0.08).clip(0.01, 0.95), *size_m)


def foliage(rng: np.random.Generator, size_m: tuple[float, float], per_metre: int = 420) -> Texture:
    """Overlapping leaves, lighter where they lie on top."""
    _, _, shape = _grid(*size_m, per_metre)
    colour = np.full((*shape, 3), linear(16, 30, 14), np.float32)
    greens = [linear(34, 62, 28), linear(64, 98, 42), linear(112, 138, 66)]
    for layer in range(5):
        leaf = fractal(rng, shape, (size_m[1] * 48, size_m[0] * 48), 2, 0.5)
        mask = step(0.18, 0.26, leaf)
        tint = greens[min(layer // 2, 2)] * (0.75 + 0.8 * step(0.1, 0.9, leaf))[..., None]
        colour = mix(colour, tint * np.float32(rng.uniform(0.8, 1.15)), mask)
    return Texture(colour.clip(0.01, 0.95), *size_m)
