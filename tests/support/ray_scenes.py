"""Meshes, cameras and lights for the tests of rays."""

from __future__ import annotations

import numpy as np
import torch

from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh
from recon3d.render.shading import Environment


def grid_faces(rows: int, columns: int) -> np.ndarray:
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    first = np.stack([corner, corner + columns, corner + columns + 1], axis=1)
    second = np.stack([corner, corner + columns + 1, corner + 1], axis=1)
    return np.concatenate([first, second]).astype(np.int32)


def sphere(rows: int = 33, radius: float = 1.0) -> Mesh:
    """A closed sphere about the origin with exact normals."""
    theta, phi = np.linspace(0, np.pi, rows)[:, None], np.linspace(0, 2 * np.pi, 2 * rows - 1)[None]
    axes = (np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi)
    normals = np.stack(axes, axis=-1)
    normals[:, -1] = normals[:, 0]
    normals = normals.reshape(-1, 3).astype(np.float32)
    return Mesh(radius * normals, grid_faces(rows, 2 * rows - 1), normals=normals)


def camera(eye: tuple[float, float, float], size: int = 32, focal: float = 1.0) -> Cameras:
    """A camera that looks at the origin, with z up unless it looks along z."""
    forward = -np.array(eye) / np.linalg.norm(eye)
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.99 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ np.array(eye)
    K = np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1]])
    return Cameras(pose[None], K[None], np.array([size]), np.array([size]))


def constant_light(rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Environment:
    return Environment(torch.tensor(rgb).expand(8, 16, 3).clone())


def sky(rgb: tuple[float, float, float] = (1.0, 1.0, 1.0), rows: int = 64) -> Environment:
    """Constant light from the upper half, and none from below."""
    light = torch.zeros(rows, 2 * rows, 3)
    light[: rows // 2] = torch.tensor(rgb)
    return Environment(light)


def lumpy_light(seed: int = 0, rows: int = 16) -> Environment:
    """Light of very different strength from everywhere."""
    values = torch.from_numpy(np.random.default_rng(seed).gamma(0.3, 1.0, (rows, 2 * rows, 3)))
    return Environment(values.float()).rotated_z(33.0)
