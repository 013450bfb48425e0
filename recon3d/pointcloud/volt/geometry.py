"""Motions of a sample as pure functions: shift, turn, scale, flip; normals turn and flip with their points."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float64

from recon3d.pointcloud.volt.samples import Sample

_AXES = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}


def box_centre(xyz: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "3"]:
    """Return the middle of the bounding box, the origin for no points."""
    return (xyz.min(axis=0) + xyz.max(axis=0)) / 2 if len(xyz) else np.zeros(3)


def centred(sample: Sample, *, floor: bool = True) -> Sample:
    """Move the middle of the bounding box to x = y = 0 and, with ``floor``, its lowest point to z = 0."""
    if not len(sample):
        return sample
    shift = box_centre(sample.xyz)
    shift[2] = sample.xyz[:, 2].min() if floor else 0.0
    return sample.changed(xyz=sample.xyz - shift)


def axis_rotation(axis: Literal["x", "y", "z"], angle: float) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation about an axis, counter-clockwise seen from its tip; the angle is in radians."""
    first, second = _AXES[axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[first, second], rotation[second, first] = -np.sin(angle), np.sin(angle)
    return rotation


def turned(
    sample: Sample, axis: Literal["x", "y", "z"], angle: float, centre: Float64[np.ndarray, "3"] | None = None
) -> Sample:
    """Turn points and normals about an axis.

    Args:
        sample: the points.
        axis: to turn about.
        angle: radians.
        centre: a point on the axis; None for the origin.
    """
    rotation, centre = axis_rotation(axis, angle), np.zeros(3) if centre is None else centre
    normal = None if sample.normal is None else (sample.normal @ rotation.T).astype(np.float32)
    return sample.changed(xyz=(sample.xyz - centre) @ rotation.T + centre, normal=normal)


def scaled(sample: Sample, factor: float) -> Sample:
    """Scale the points about the origin."""
    return sample.changed(xyz=sample.xyz * factor)


def flipped(sample: Sample, *axes: Literal[0, 1, 2]) -> Sample:
    """Mirror points and normals at the planes through the origin that are normal to these axes."""
    sign = np.ones(3, np.float32)
    sign[list(axes)] = -1
    normal = None if sample.normal is None else sample.normal * sign
    return sample.changed(xyz=sample.xyz * sign, normal=normal)


def clipped_distance(sample: Sample, radius: float, low: float | None = -4.0, high: float | None = 2.0) -> Sample:
    """Pull points beyond a distance from the origin onto it, then clamp their heights.

    Args:
        sample: the points.
        radius: metres.
        low: least z afterwards.
        high: greatest z afterwards.
    """
    distance = np.linalg.norm(sample.xyz, axis=1, keepdims=True)
    xyz = sample.xyz * np.minimum(1.0, radius / np.maximum(distance, 1e-12))
    xyz[:, 2] = np.clip(xyz[:, 2], low, high)
    return sample.changed(xyz=xyz)
