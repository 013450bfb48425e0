"""What a kind of scene hands over: its world, and the places for cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.scenes.builder import Builder, Rotation
from recon3d.feedforward.scenes.materials import tone

Place = Callable[[np.random.Generator, float], Float64[np.ndarray, "3"]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """A world and the way cameras look at it.

    Args:
        builder: holds the world.
        eye: draws a camera's centre; its argument from 0 to 1 tells how far it may be from the place of the other
            cameras, around a place that is fixed by the stage.
        target: draws the point that a camera looks at, in the same way.
        clearance: least distance of a camera from everything, in metres.
    """

    builder: Builder
    eye: Place
    target: Place
    clearance: float


def turned(rng: np.random.Generator, *, upright: bool = False) -> Rotation:
    """Return a random rotation.

    Args:
        rng: source of randomness.
        upright: about the z axis only.
    """
    if upright:
        return about_z(rng.uniform(0.0, 2.0 * np.pi))
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: Rotation = q * np.sign(np.linalg.det(q))
    return rotation


def about_z(angle: float) -> Rotation:
    """Return the rotation about the z axis.

    Args:
        angle: in radians, counter-clockwise seen from above.
    """
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def light_outdoors(builder: Builder, *, azimuth: float | None = None, spread: float = np.pi) -> None:
    """Give a world a sky and, except under heavy clouds, a sun.

    Args:
        builder: of the world.
        azimuth: middle of the directions in which the sun may stand, in radians; any by default.
        spread: largest difference from it.
    """
    rng = builder.rng
    overcast, low = rng.random() < 0.25, rng.beta(2.0, 2.0)
    height = np.radians(12.0 + 60.0 * low)
    angle = (azimuth or 0.0) + rng.uniform(-spread, spread)
    direction = np.array([np.cos(angle) * np.cos(height), np.sin(angle) * np.cos(height), np.sin(height)])
    warm = np.exp(-height * np.array([0.0, 0.9, 2.0]) * 0.0) * np.array([1.0, 0.82 + 0.13 * low, 0.6 + 0.3 * low])
    builder.sun = np.concatenate([direction, (0.0 if overcast else rng.uniform(0.9, 1.6)) * warm])
    blue = tone(rng.normal(0.58, 0.015), 0.1 if overcast else rng.uniform(0.35, 0.75), rng.uniform(0.6, 0.9))
    horizon = 0.5 * blue + 0.5 * np.array([0.75, 0.75, 0.75]) * rng.uniform(0.7, 1.1)
    strength = rng.uniform(0.7, 1.0) if overcast else rng.uniform(0.25, 0.5)
    ground = tone(rng.random(), 0.2, rng.uniform(0.3, 0.6))
    above = strength * (0.4 + 0.6 * blue / blue.max())
    builder.ambient = np.concatenate([above, above * (0.3 + 0.5 * ground)])
    clouds = rng.uniform(0.5, 0.95) * np.ones(3)
    cover = rng.uniform(0.5, 1.5) if overcast else rng.uniform(-2.5, 0.6)
    builder.sky = np.concatenate([blue, horizon, ground, clouds, [cover, rng.uniform(0.7, 2.0), rng.uniform(0, 40)]])
