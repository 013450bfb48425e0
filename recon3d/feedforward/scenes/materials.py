"""Random materials: colours that go together, and a pattern."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

PATTERNS = (
    "flat",
    "clouds",
    "checks",
    "bricks",
    "stripes",
    "spots",
    "wood",
    "marble",
    "patches",
    "planks",
    "gravel",
    "panes",
    "land",
)
ANY_PATTERN = PATTERNS[:-2] + ("flat",) * 3 + ("clouds", "wood", "marble", "gravel")

Colour = Float64[np.ndarray, "3"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """How a surface looks.

    Args:
        pattern: one of ``PATTERNS``.
        scale: size of a feature of the pattern, in metres.
        first: linear colour.
        second: linear colour.
        third: linear colour of joints and the like.
        grain: relative amplitude of fine noise.
        specular: strength of the highlight.
        gloss: exponent of the highlight.
        warp: how much noise bends the pattern.
        emission: light of its own, relative to the first colour.
    """

    pattern: str
    scale: float
    first: Colour
    second: Colour
    third: Colour
    grain: float = 0.1
    specular: float = 0.0
    gloss: float = 20.0
    warp: float = 0.1
    emission: float = 0.0

    def painted(self, colour: Colour) -> Material:
        """Return the material in shades of another colour.

        Args:
            colour: linear.
        """
        return replace(self, first=colour, second=0.85 * colour, third=0.6 * colour)

    def sized(self, scale: float) -> Material:
        """Return the material with features of another size.

        Args:
            scale: in metres.
        """
        return replace(self, scale=scale)

    def mixed(self, colour: Colour) -> Material:
        """Return the material with another second colour.

        Args:
            colour: linear.
        """
        return replace(self, second=colour)

    def row(self, shift: Colour) -> Float64[np.ndarray, "19"]:
        """Return the numbers of the table of shapes.

        Args:
            shift: of the pattern in the shape's frame, so that no two shapes look the same.
        """
        numbers = [PATTERNS.index(self.pattern), self.scale, *self.first, *self.second, *self.third]
        numbers += [self.grain, self.specular, self.gloss, *shift, self.warp, self.emission]
        return np.array(numbers, dtype=np.float64)


class Palette:
    """Colours of one scene: a few hues, mostly muted.

    Args:
        rng: source of randomness.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._hues = rng.random(rng.integers(2, 6))
        self._earthy = rng.uniform(0.1, 0.8)

    def colour(self, *, low: float = 0.08, high: float = 0.95, vivid: float = 0.2) -> Colour:
        """Return a linear colour.

        Args:
            low: least brightness, sRGB.
            high: largest brightness, sRGB.
            vivid: probability of a strong colour, where it is not an earthy one.
        """
        rng = self._rng
        brightness = rng.uniform(low, high)
        if rng.random() < self._earthy:
            return tone(rng.normal(0.085, 0.025), rng.beta(1.5, 3.0), brightness)
        hue = rng.choice(self._hues) + rng.normal(0.0, 0.03)
        strong = rng.random() < vivid
        return tone(hue, rng.uniform(0.5, 0.9) if strong else rng.beta(1.2, 3.5), brightness)

    def material(
        self, size: float, patterns: tuple[str, ...] = ANY_PATTERN, *, glossy: float = 0.3, contrast: float = 0.35
    ) -> Material:
        """Return a random material.

        Args:
            size: of the shape it covers, in metres.
            patterns: from which one is taken.
            glossy: probability of a highlight.
            contrast: probability that the colours of the pattern have nothing to do with each other; low values
                make strong colours rare as well.
        """
        rng = self._rng
        first, shiny = self.colour(vivid=0.6 * contrast), rng.random() < glossy
        near = [np.clip(first * rng.uniform(0.45, 1.7) + rng.normal(0.0, 0.015, 3), 0.01, 0.9) for _ in range(2)]
        second, third = (self.colour() if rng.random() < contrast else other for other in near)
        pattern = str(rng.choice(patterns))
        return Material(
            pattern=pattern,
            scale=size * float(np.exp(rng.uniform(np.log(0.08), np.log(0.6)))),
            first=first,
            second=second,
            third=third,
            grain=rng.uniform(0.02, 0.25) * (0.4 if pattern == "flat" else 1.0),
            specular=rng.uniform(0.1, 0.8) if shiny else 0.0,
            gloss=float(np.exp(rng.uniform(np.log(8), np.log(150)))),
            warp=rng.exponential(0.15),
        )


def tone(hue: float, saturation: float, value: float) -> Colour:
    """Return a linear colour from sRGB hue, saturation and brightness.

    Args:
        hue: 0 to 1.
        saturation: 0 to 1.
        value: 0 to 1.
    """
    encoded = np.array(colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0)))
    linear: Colour = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear
