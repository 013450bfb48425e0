"""Small meshes and cameras for the tests of the triangles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon3d.render.gaussians.cameras import CameraTensors

WIDTH, HEIGHT = 40, 30


def small_cameras(n: int = 2, dtype: torch.dtype = torch.float64, scale: int = 1) -> CameraTensors:
    """Cameras at the origin and a little beside it, looking along z; ``scale`` multiplies the image size."""
    poses = torch.eye(4, dtype=dtype).repeat(n, 1, 1)
    poses[:, 0, 3] = torch.arange(n) * 0.3
    K = torch.tensor([[40.0, 0, 20], [0, 38, 15], [0, 0, 1]], dtype=dtype)
    K[:2] *= scale
    return CameraTensors(poses, K.repeat(n, 1, 1), WIDTH * scale, HEIGHT * scale)


def triangle_soup(
    seed: int, n_vertices: int = 30, n_faces: int = 20, depth: float = 3.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Random faces in a cube of side 2 around (0, 0, depth)."""
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(n_vertices, 3, generator=generator, dtype=torch.float64) * 2 - 1
    faces = torch.randint(0, n_vertices, (n_faces, 3), generator=generator, dtype=torch.int32)
    return (vertices + torch.tensor([0.0, 0.0, depth])).to(dtype), faces


def ball(n_rings: int = 8, radius: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A closed sphere of 4 n_rings^2 faces less the poles', outward and without shared poles' gaps."""
    n_around = 2 * n_rings
    theta = torch.linspace(0, math.pi, n_rings + 1, dtype=torch.float64)[1:-1]
    phi = torch.arange(n_around, dtype=torch.float64) * (2 * math.pi / n_around)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    rings = torch.stack([t.sin() * p.cos(), t.sin() * p.sin(), t.cos()], -1).reshape(-1, 3)
    poles = torch.tensor([[0.0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    top, bottom = len(rings), len(rings) + 1
    faces = []
    for j in range(n_around):
        k = (j + 1) % n_around
        last = (n_rings - 2) * n_around
        faces += [[top, j, k], [bottom, last + k, last + j]]
        for i in range(n_rings - 2):
            a, b, c, d = i * n_around + j, i * n_around + k, (i + 1) * n_around + j, (i + 1) * n_around + k
            faces += [[a, c, b], [b, c, d]]
    vertices = torch.cat([rings, poles]) * radius
    return vertices.to(dtype), torch.tensor(faces, dtype=torch.int32)


def grid(n: int, jitter: float, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A square sheet from -1 to 1 in x and y at z = 2, of n x n bent cells, cut along random diagonals."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(-1, 1, n + 1, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    vertices = torch.stack([x, y, torch.full_like(x, 2.0)], -1)
    vertices[1:-1, 1:-1] += (torch.rand(n - 1, n - 1, 3, generator=generator, dtype=torch.float64) - 0.5) * jitter / n
    faces = []
    for i in range(n):
        for j in range(n):
            a, b, c, d = i * (n + 1) + j, i * (n + 1) + j + 1, (i + 1) * (n + 1) + j, (i + 1) * (n + 1) + j + 1
            flip = bool(torch.rand(1, generator=generator) < 0.5)
            faces += [[a, b, c], [b, d, c]] if flip else [[a, b, d], [a, d, c]]
    return vertices.reshape(-1, 3).to(dtype), torch.tensor(faces, dtype=torch.int32)
