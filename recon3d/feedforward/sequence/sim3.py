"""Similarities of space, Sim(3), as 4x4 matrices ``[[s R, t], [0, 1]]``, with their exponential and logarithm."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

_TERMS = 18  # of the series, for matrices of norm 1 and less: the last is below 1e-17


def similarity(
    scale: float, rotation: Float64[np.ndarray, "3 3"], translation: Float64[np.ndarray, " 3"]
) -> Float64[np.ndarray, "4 4"]:
    """Return ``x -> scale * rotation @ x + translation`` as a matrix."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * rotation, translation
    return matrix


def scale_of(transforms: Float64[np.ndarray, "*b 4 4"]) -> Float64[np.ndarray, "*b"]:
    """Return by how much similarities stretch lengths."""
    return np.asarray(np.cbrt(np.linalg.det(transforms[..., :3, :3])))


def moved_points(
    target_from_source: Float64[np.ndarray, "4 4"], xyz: Float64[np.ndarray, "*n 3"]
) -> Float64[np.ndarray, "*n 3"]:
    """Return points in the target."""
    return np.asarray(xyz @ target_from_source[:3, :3].T + target_from_source[:3, 3])


def moved_cameras(
    target_from_source: Float64[np.ndarray, "*#b 4 4"], cam_from_source: Float64[np.ndarray, "*#b 4 4"]
) -> Float64[np.ndarray, "... 4 4"]:
    """Return rigid poses in the target; what a camera sees at depth z lies at ``scale * z`` there."""
    scale = scale_of(target_from_source)[..., None, None]
    poses = cam_from_source @ inverse(target_from_source)
    poses[..., :3, :] *= scale
    return np.asarray(poses)


def inverse(transforms: Float64[np.ndarray, "*b 4 4"]) -> Float64[np.ndarray, "*b 4 4"]:
    """Return the inverse similarities."""
    inverted = np.zeros_like(transforms)
    linear = np.swapaxes(transforms[..., :3, :3], -1, -2) / scale_of(transforms)[..., None, None] ** 2
    inverted[..., :3, :3], inverted[..., 3, 3] = linear, 1.0
    inverted[..., :3, 3] = -np.einsum("...ij,...j->...i", linear, transforms[..., :3, 3])
    return inverted


def exp(tangents: Float64[np.ndarray, "*b 7"]) -> Float64[np.ndarray, "*b 4 4"]:
    """Return the similarities of tangents.

    Args:
        tangents: translation (3), rotation vector in radians (3) and logarithm of the scale of each, ``[...,7]``.
    """
    linear, integral = _exponentials(_generators(tangents))
    matrix = np.zeros((*tangents.shape[:-1], 4, 4))
    matrix[..., :3, :3], matrix[..., 3, 3] = linear, 1.0
    matrix[..., :3, 3] = np.einsum("...ij,...j->...i", integral, tangents[..., :3])
    return matrix


def log(transforms: Float64[np.ndarray, "*b 4 4"]) -> Float64[np.ndarray, "*b 7"]:
    """Return the tangents of similarities, their rotations at most a half turn; the inverse of :func:`exp`."""
    scale = scale_of(transforms)
    tangents = np.zeros((*transforms.shape[:-2], 7))
    rotations = (transforms[..., :3, :3] / scale[..., None, None]).reshape(-1, 3, 3)
    tangents[..., 3:6] = Rotation.from_matrix(rotations).as_rotvec().reshape(*transforms.shape[:-2], 3)
    tangents[..., 6] = np.log(scale)
    _, integral = _exponentials(_generators(tangents))
    tangents[..., :3] = np.linalg.solve(integral, transforms[..., :3, 3:])[..., 0]
    return tangents


def _generators(tangents: Float64[np.ndarray, "*b 7"]) -> Float64[np.ndarray, "*b 3 3"]:
    """Return ``X``: the scale on the diagonal, the rotation vector as a cross product beside it."""
    x, y, z, s = (tangents[..., i] for i in range(3, 7))
    rows = [np.stack(row, -1) for row in ([s, -z, y], [z, s, -x], [-y, x, s])]
    return np.stack(rows, -2)


def _exponentials(
    X: Float64[np.ndarray, "*b 3 3"],
) -> tuple[Float64[np.ndarray, "*b 3 3"], Float64[np.ndarray, "*b 3 3"]]:
    """Return ``exp(X)`` and the integral of ``exp(u X)`` over u in 0..1, by a series after halving X until it is small.

    The integral of ``2X`` is half of ``(exp(X) + 1)`` times that of ``X``.
    """
    largest = float(np.sqrt((X**2).sum((-2, -1))).max(initial=0.0))
    halvings = max(0, int(np.ceil(np.log2(largest)))) if largest > 0 else 0
    small, one = X / 2**halvings, np.eye(3)
    integral = np.broadcast_to(one, X.shape)
    for n in range(_TERMS, 0, -1):
        integral = one + small @ integral / (n + 1)
    power = one + small @ integral
    for _ in range(halvings):
        integral, power = (power + one) @ integral / 2, power @ power
    return power, integral
