"""Hills with boulders, trees and huts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.scenes.builder import Builder
from recon3d.feedforward.scenes.kinds.stage import Stage, light_outdoors, turned
from recon3d.feedforward.scenes.materials import Material, Palette, tone

_SIDE, _PERIOD, _STEEPEST = 193, 384, 1.1


def build_terrain(rng: np.random.Generator) -> Stage:
    """Return a random landscape.

    Args:
        rng: source of randomness.
    """
    builder, palette = Builder(rng), Palette(rng)
    extent = float(np.exp(rng.uniform(np.log(25.0), np.log(160.0))))
    light_outdoors(builder)
    builder.sky[6:9] = builder.sky[3:6] * rng.uniform(0.75, 1.0)  # haze, where the field ends before the horizon
    builder.heights, builder.extent = _heights(rng, extent), extent
    builder.ground = _ground(rng, palette, extent)
    spread = extent * rng.uniform(0.15, 0.35)
    for _ in range(rng.integers(8, 22)):
        place = spread * rng.normal(0.0, 0.6, 2)
        _add_thing(builder, palette, _on_ground(builder, place), spread)
    start, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.4) * spread
    rise = reach * (rng.uniform(0.05, 0.2) if rng.random() < 0.6 else rng.uniform(0.3, 1.0))

    def eye(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        angle = start + freedom * rng.uniform(-0.6, 0.6)
        away = reach * np.exp(freedom * rng.uniform(-0.3, 0.3))
        place = _on_ground(builder, away * np.array([np.cos(angle), np.sin(angle)]))
        return _raised(place, rise * float(np.exp(freedom * rng.uniform(-0.3, 0.3))))

    def target(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        place = _on_ground(builder, spread * rng.normal(0.0, 0.1 + 0.15 * freedom, 2))
        return _raised(place, 0.03 * reach)

    return Stage(builder=builder, eye=eye, target=target, clearance=0.04 * reach)


def _heights(rng: np.random.Generator, extent: float) -> Float64[np.ndarray, "g g"]:
    """Return smooth fractal noise that is nowhere steeper than the ray marcher allows."""
    frequency = np.fft.fftfreq(_PERIOD) * _PERIOD
    size = np.hypot(frequency[:, None], frequency[None, : _PERIOD // 2 + 1])
    lowest, fall = rng.uniform(2.0, 5.0), rng.uniform(1.6, 2.6)
    amplitude = np.maximum(size, lowest) ** -(fall + 1.0) * np.exp(-((size / 60.0) ** 2)) * (size > 0)
    noise = np.fft.rfft2(rng.standard_normal((_PERIOD, _PERIOD))) * amplitude
    heights = np.fft.irfft2(noise)[:_SIDE, :_SIDE]
    heights *= extent * rng.uniform(0.02, 0.14) / heights.std()
    step = 2.0 * extent / (_SIDE - 1)
    slope = max(np.abs(np.diff(heights, axis=axis)).max() for axis in (0, 1)) / step * np.sqrt(2.0)
    result: Float64[np.ndarray, "g g"] = heights * min(1.0, _STEEPEST / slope)
    result -= result[_SIDE // 2, _SIDE // 2]
    return result


def _ground(rng: np.random.Generator, palette: Palette, extent: float) -> Material:
    """Return grass and rock, sand, snow or bare earth."""
    hue, saturation = [(0.25, 0.45), (0.1, 0.4), (0.07, 0.35), (0.6, 0.05)][rng.integers(4)]
    first = tone(hue + rng.normal(0.0, 0.02), saturation * rng.uniform(0.6, 1.3), rng.uniform(0.3, 0.75))
    material = palette.material(extent, ("land", "land", "clouds", "gravel"), glossy=0.0).painted(first)
    rock = tone(rng.normal(0.08, 0.03), rng.uniform(0.0, 0.3), rng.uniform(0.25, 0.6))
    return material.sized(extent * float(np.exp(rng.uniform(np.log(0.01), np.log(0.08))))).mixed(rock)


def _on_ground(builder: Builder, place: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "3"]:
    return np.array([place[0], place[1], builder.height(place[None])[0]])


def _raised(place: Float64[np.ndarray, "3"], height: float) -> Float64[np.ndarray, "3"]:
    return np.array([place[0], place[1], place[2] + height])


def _add_thing(builder: Builder, palette: Palette, place: Float64[np.ndarray, "3"], spread: float) -> None:
    """Put a boulder, a tree or a hut on the ground."""
    rng = builder.rng
    kind, size = rng.random(), spread * float(np.exp(rng.uniform(np.log(0.025), np.log(0.12))))
    if kind < 0.4:
        stone = palette.material(size, ("clouds", "gravel", "marble"), glossy=0.0)
        grey = tone(rng.normal(0.08, 0.04), rng.uniform(0.0, 0.25), rng.uniform(0.25, 0.7))
        builder.add("ball", place, size * rng.uniform(0.5, 1.3, 3), stone.painted(grey), rotation=turned(rng))
    elif kind < 0.85:
        _add_tree(builder, palette, place, 1.5 * size)
    else:
        walls = palette.material(size, contrast=0.2)
        half = size * rng.uniform(0.6, 1.2, 3)
        centre, turn = place + np.array([0.0, 0.0, 0.6 * half[2]]), turned(rng, upright=True)
        builder.add("box", centre, half, walls, rotation=turn)
        roof = np.array([half[0] * 1.2, half[1] * 1.2, 0.08 * size])
        builder.add("box", centre + np.array([0.0, 0.0, half[2]]), roof, palette.material(size), rotation=turn)


def _add_tree(builder: Builder, palette: Palette, place: Float64[np.ndarray, "3"], size: float) -> None:
    """Add a trunk and a round or pointed crown."""
    rng = builder.rng
    bark = palette.material(0.2 * size, ("wood", "gravel")).painted(tone(0.07, 0.4, rng.uniform(0.2, 0.45)))
    green = tone(rng.normal(0.26, 0.05), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.55))
    leaves = palette.material(0.4 * size, ("gravel", "clouds"), glossy=0.0).painted(green)
    trunk = np.array([0.08, 0.08, 0.5]) * size
    builder.add("frustum", place + np.array([0.0, 0.0, trunk[2] * 0.8]), trunk, bark, extra=0.2)
    crown = size * np.array([1.0, 1.0, 1.0]) * rng.uniform(0.35, 0.6)
    if rng.random() < 0.5:
        crown[2] *= rng.uniform(1.5, 2.5)
        centre = place + np.array([0.0, 0.0, trunk[2] * 1.2 + crown[2]])
        builder.add("frustum", centre, crown, leaves, extra=0.5)
    else:
        crown *= rng.uniform(0.8, 1.2, 3)
        builder.add("ball", place + np.array([0.0, 0.0, 2 * trunk[2] + 0.7 * crown[2]]), crown, leaves)
