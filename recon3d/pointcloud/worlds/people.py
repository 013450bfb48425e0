"""Pedestrians and cyclists of generated streets; x is the way they look, the ground at z = 0."""

from __future__ import annotations

import numpy as np

from recon3d.pointcloud.worlds.materials import BICYCLIST, CLOTH, CLUTTER, METAL, PERSON, RETRO, RUBBER
from recon3d.pointcloud.worlds.solids import Assembly


def pedestrian(rng: np.random.Generator) -> Assembly:
    """Return a walking or standing person, perhaps with a bag, a skirt, an umbrella or a pushchair.

    Args:
        rng: source of the shape.
    """
    out = Assembly(PERSON)
    tall = rng.uniform(1.05, 1.5) if rng.random() < 0.12 else np.clip(rng.normal(1.72, 0.09), 1.5, 1.98)
    wide, stride = tall * rng.uniform(0.9, 1.25), rng.choice([0.0, rng.uniform(0.1, 0.42)])
    cloth, skin, trousers = rng.uniform(0.1, 0.9), 0.5, rng.uniform(0.05, 0.7)
    hip, shoulder = 0.5 * tall, 0.82 * tall
    for side in (-1, 1):
        foot = side * stride * tall * 0.5
        knee = (foot * 0.35 + 0.05 * tall * (stride > 0), side * 0.055 * wide, 0.27 * tall)
        out.rod((0, side * 0.05 * wide, hip), knee, 0.045 * wide, material=CLOTH, colour=trousers)
        out.rod(knee, (foot, side * 0.055 * wide, 0.03), 0.034 * wide, material=CLOTH, colour=trousers)
        out.box((foot + 0.05, side * 0.055 * wide, 0.04), (0.26 * tall / 1.7, 0.09, 0.08), colour=0.2)
        _arm(out, rng, side, -foot, wide, shoulder, tall, cloth)
    lean = rng.uniform(-0.02, 0.1)
    middle = (lean * 0.1, 0, (hip + shoulder) / 2 + 0.02)
    out.ellipsoid(middle, (0.075 * wide, 0.12 * wide, 0.22 * tall), pitch=lean, material=CLOTH, colour=cloth)
    out.ellipsoid((0, 0, hip), (0.075 * wide, 0.1 * wide, 0.1 * tall), material=CLOTH, colour=trousers)
    out.ellipsoid((0.01, 0, shoulder - 0.01), (0.06 * wide, 0.13 * wide, 0.05 * tall), material=CLOTH, colour=cloth)
    out.rod((lean * 0.2, 0, shoulder), (lean * 0.25, 0, 0.9 * tall), 0.05, colour=skin)
    out.ellipsoid((0.02 + lean * 0.25, 0, 0.93 * tall), (0.1, 0.078, 0.07 * tall), colour=skin)
    _luggage(out, rng, tall, wide, cloth)
    return out


def _arm(
    out: Assembly,
    rng: np.random.Generator,
    side: int,
    swing: float,
    wide: float,
    shoulder: float,
    tall: float,
    cloth: float,
) -> None:
    top, out_y = (0, side * 0.125 * wide, shoulder - 0.02), side * 0.15 * wide
    elbow = (swing * 0.3 - 0.02, out_y, shoulder - 0.18 * tall)
    lift = rng.choice([0.0, rng.uniform(0.05, 0.25)], p=[0.6, 0.4])
    hand = (elbow[0] + 0.04 + lift * 0.8 + swing * 0.3, out_y, elbow[2] - 0.15 * tall + lift * 0.6)
    out.rod(top, elbow, 0.032 * wide, material=CLOTH, colour=cloth)
    out.rod(elbow, hand, 0.026 * wide, material=CLOTH, colour=cloth)


def _luggage(out: Assembly, rng: np.random.Generator, tall: float, wide: float, cloth: float) -> None:
    kind = rng.random()
    if kind < 0.2:
        out.box((-0.13 * wide, 0, 0.68 * tall), (0.18, 0.3, 0.42), material=CLOTH, colour=rng.uniform(0.1, 0.8))
    elif kind < 0.32:
        out.box((0, 0.2 * wide, 0.38 * tall), (0.3, 0.12, 0.3), material=CLOTH, colour=0.5, aside=True)
    elif kind < 0.42:
        high = rng.uniform(0.3, 0.6) * tall
        outline = [(-0.15, 0.78 * tall - high), (0.18, 0.78 * tall - high), (0.1, 0.8 * tall), (-0.1, 0.8 * tall)]
        out.profile(outline, 0.26 * wide, lean=0.1, material=CLOTH, colour=cloth)
    elif kind < 0.46:
        out.ellipsoid((0.1, 0, tall + 0.12), (0.5, 0.5, 0.14), material=CLOTH, colour=0.2, aside=True)
    elif kind < 0.5:
        out.box((0.75, 0, 0.6), (0.6, 0.45, 0.5), material=CLOTH, colour=0.3, label=CLUTTER, aside=True)
        out.rod((0.7, -0.25, 0.14), (0.7, 0.25, 0.14), 0.12, material=RUBBER, label=CLUTTER, aside=True)


def bicycle(rng: np.random.Generator, label: int = CLUTTER) -> Assembly:
    """Return a bicycle.

    Args:
        rng: source of the shape.
        label: of its parts.
    """
    out = Assembly(label)
    radius, base, paint = rng.uniform(0.3, 0.36), rng.uniform(0.98, 1.12), rng.uniform(0.1, 0.8)
    back, front = -base / 2, base / 2
    for x in (back, front):
        out.rod((x, -0.025, radius), (x, 0.025, radius), radius, material=RUBBER, colour=0.5, density=9.0)
        out.rod((x, -0.05, radius), (x, 0.05, radius), 0.05, material=METAL, colour=0.5)
    crank, seat, head = (-0.08, 0, radius - 0.03), (-0.22, 0, 0.85), (front - 0.2, 0, 0.88)
    for a, b in (
        (crank, seat),
        (crank, head),
        ((-0.18, 0, 0.72), head),
        ((back, 0, radius), crank),
        ((back, 0, radius), seat),
    ):
        out.rod(a, b, 0.022, material=METAL, colour=paint)
    out.rod(head, (front, 0, radius), 0.022, material=METAL, colour=paint)
    out.rod((front - 0.22, 0, 0.88), (front - 0.25, 0, 1.02), 0.02, material=METAL, colour=paint)
    out.rod((front - 0.27, -0.27, 1.02), (front - 0.27, 0.27, 1.02), 0.018, material=METAL, colour=paint)
    out.box((-0.25, 0, 0.92), (0.26, 0.15, 0.07), colour=0.2)
    out.box((back - 0.25, 0, 0.6), (0.05, 0.08, 0.08), material=RETRO, colour=0.5)
    if rng.random() < 0.3:
        out.box((back, 0, 0.78), (0.4, 0.4 if rng.random() < 0.5 else 0.12, 0.2), colour=0.3)
    return out


def cyclist(rng: np.random.Generator) -> Assembly:
    """Return a bicycle with its rider.

    Args:
        rng: source of the shape.
    """
    out = bicycle(rng, BICYCLIST)
    scale, cloth, trousers = rng.uniform(0.92, 1.08), rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.7)
    lean, turn = rng.uniform(0.15, 0.75), rng.uniform(0, 2 * np.pi)
    hip = np.array([-0.2, 0, 0.98])
    shoulder = hip + 0.5 * scale * np.array([np.sin(lean), 0, np.cos(lean)])
    out.ellipsoid((hip + shoulder) / 2, (0.13, 0.19, 0.33 * scale), pitch=lean, material=CLOTH, colour=cloth)
    head = shoulder + scale * np.array([0.1, 0, 0.2])
    out.ellipsoid(head, (0.12, 0.085, 0.13), colour=0.5)
    out.rod(shoulder, head, 0.055, colour=0.5)
    for side in (-1, 1):
        phase = turn + np.pi * (side > 0)
        foot = np.array([-0.08 + 0.16 * np.cos(phase), side * 0.11, 0.3 + 0.16 * np.sin(phase)])
        knee = np.array([0.18 + 0.05 * np.cos(phase), side * 0.1, 0.68 + 0.12 * np.sin(phase)])
        out.rod(hip + np.array([0, side * 0.09, 0]), knee, 0.075, material=CLOTH, colour=trousers)
        out.rod(knee, foot, 0.055, material=CLOTH, colour=trousers)
        out.box(foot + np.array([0.05, 0, -0.03]), (0.26, 0.09, 0.08), colour=0.2)
        grip, start = np.array([0.28, side * 0.25, 1.04]), shoulder + np.array([0, side * 0.19, -0.02])
        elbow = (start + grip) / 2 + np.array([-0.03, side * 0.04, -0.06])
        out.rod(start, elbow, 0.05, material=CLOTH, colour=cloth)
        out.rod(elbow, grip, 0.042, material=CLOTH, colour=cloth)
    if rng.random() < 0.35:
        out.box(
            (hip + shoulder) / 2 + np.array([-0.2, 0, 0.08]), (0.2, 0.3, 0.42), pitch=lean, material=CLOTH, colour=cloth
        )
    return out
