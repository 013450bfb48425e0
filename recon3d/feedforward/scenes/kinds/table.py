"""Objects that stand on a table or on the ground, photographed from an arc around them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from recon3d.feedforward.scenes.builder import Builder
from recon3d.feedforward.scenes.kinds.room import add_shell, light_indoors
from recon3d.feedforward.scenes.kinds.stage import Stage, light_outdoors, turned
from recon3d.feedforward.scenes.materials import Palette

_GROUND = ("clouds", "checks", "bricks", "wood", "marble", "patches", "planks", "gravel", "stripes", "spots")


def build_table(rng: np.random.Generator) -> Stage:
    """Return a random table of objects.

    Args:
        rng: source of randomness.
    """
    builder, palette = Builder(rng), Palette(rng)
    spread = float(np.exp(rng.uniform(np.log(0.25), np.log(2.5))))
    if spread < 0.8 and rng.random() < 0.7:
        _add_table(builder, palette, spread)
    else:
        light_outdoors(builder)
        ground = palette.material(spread, _GROUND, contrast=0.2)
        builder.add("disc", np.zeros(3), np.array([30.0 * spread, 30.0 * spread, 1.0]), ground)
    for _ in range(rng.integers(6, 25)):
        _add_object(builder, palette, spread)
    start, reach, height = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 2.8) * spread, rng.uniform(0.25, 1.0)

    def eye(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        angle = start + freedom * rng.uniform(-1.2, 1.2)
        up = np.clip(height + freedom * rng.uniform(-0.5, 0.5), 0.12, 1.35)
        away = reach * np.exp(freedom * rng.uniform(-0.4, 0.4))
        return np.array([np.cos(angle) * np.cos(up), np.sin(angle) * np.cos(up), np.sin(up)]) * float(away)

    def target(rng: np.random.Generator, freedom: float) -> Float64[np.ndarray, "3"]:
        x, y = rng.normal(0.0, 0.1 + 0.2 * freedom, 2)
        return np.array([x, y, rng.uniform(0.0, 0.35)]) * spread

    return Stage(builder=builder, eye=eye, target=target, clearance=0.15 * spread)


def _add_table(builder: Builder, palette: Palette, spread: float) -> None:
    """Add a room with a table whose top is the plane z = 0."""
    rng = builder.rng
    height = rng.uniform(0.4, 0.9)
    half = np.array([rng.uniform(3.0, 4.5), rng.uniform(3.0, 4.5), rng.uniform(1.25, 1.6)])
    add_shell(builder, palette, half, base=-height)
    light_indoors(builder, half, base=-height)
    top = np.array([rng.uniform(1.2, 2.2) * spread, rng.uniform(1.0, 1.6) * spread, 0.02])
    material = palette.material(spread, _GROUND, contrast=0.2)
    builder.add("box", np.array([0.0, 0.0, -0.02]), top, material)
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        foot = np.array([x * (top[0] - 0.05), y * (top[1] - 0.05), -0.5 * height - 0.02])
        builder.add("box", foot, np.array([0.03, 0.03, 0.5 * height - 0.02]), material)


def _add_object(builder: Builder, palette: Palette, spread: float) -> None:
    """Put one object down, some of them lying, some with another one on top."""
    rng = builder.rng
    size = spread * np.exp(rng.uniform(np.log(0.06), np.log(0.28))) * np.exp(rng.uniform(-0.5, 0.5, 3))
    place = spread * rng.normal(0.0, 0.55, 2)
    material = palette.material(float(size.mean() * 2.0))
    kind = rng.choice(["box", "box", "ball", "frustum", "frustum"])
    taper = float(rng.choice([0.0, 0.0, 0.5, rng.uniform(-0.3, 0.4)])) if kind == "frustum" else 0.0
    if kind == "ball" and rng.random() < 0.4:
        size[:] = size.mean()
    if kind == "frustum":
        size[1] = size[0]
    rotation = turned(rng, upright=kind != "ball" and rng.random() < 0.8)
    half_height = np.abs(rotation[2]) @ size if kind != "ball" else np.linalg.norm(rotation[2] * size)
    builder.add(str(kind), np.array([*place, half_height]), size, material, rotation=rotation, extra=taper)
    if kind == "box" and rng.random() < 0.3 and abs(rotation[2, 2]) > 0.999:
        top = size * rng.uniform(0.3, 0.9, 3)
        above = np.array([*place, 2.0 * size[2] + top[2]])
        builder.add("box", above, top, palette.material(float(top.mean() * 2.0)), rotation=turned(rng, upright=True))
