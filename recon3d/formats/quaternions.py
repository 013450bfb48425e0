"""Quaternions (w, x, y, z), unit, Hamilton, as COLMAP and TUM files store rotations."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def rotation_from_quaternion(quaternion: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 3 3"]:
    """Return rotation matrices; the quaternions are normalised first.

    Args:
        quaternion: ``w x y z`` of any length but zero, ``[n,4]``.

    Returns:
        Rotation matrices, ``[n,3,3]``.
    """
    w, x, y, z = (quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], 1).reshape(-1, 3, 3)


def quaternion_from_rotation(rotation: Float64[np.ndarray, "n 3 3"]) -> Float64[np.ndarray, "n 4"]:
    """Return unit quaternions with w >= 0.

    The largest of the four components is found first, so that nothing is divided by a small number
    (Shepperd, "Quaternion from rotation matrix", 1978).

    Args:
        rotation: rotation matrices, ``[n,3,3]``.

    Returns:
        ``w x y z``, ``[n,4]``.
    """
    trace = np.einsum("nii->n", rotation)
    diagonal = np.einsum("nii->ni", rotation)
    outer = np.empty((len(rotation), 4, 4))  # 4 q q^T
    outer[:, 0, 0] = 1 + trace
    outer[:, 1:, 1:] = rotation + rotation.transpose(0, 2, 1)
    outer[:, (1, 2, 3), (1, 2, 3)] = 1 - trace[:, None] + 2 * diagonal
    skew = rotation - rotation.transpose(0, 2, 1)
    outer[:, 0, 1:] = outer[:, 1:, 0] = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1)
    largest = np.argmax(np.einsum("nii->ni", outer), axis=1)
    quaternion = outer[np.arange(len(rotation)), largest]
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    positive: Float64[np.ndarray, "n 4"] = np.where(quaternion[:, :1] < 0, -quaternion, quaternion)
    return positive
