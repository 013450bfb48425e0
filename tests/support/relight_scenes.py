"""Small surfaces, lights and photos for the tests of the estimate of materials and light."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon3d.render.cameras import Cameras
from recon3d.render.mesh import Mesh
from recon3d.render.shading import Environment, EnvironmentSampler, MetallicRoughness, shade_monte_carlo
from recon3d.render.trajectories import look_at
from recon3d.splats.relight.light_transport import LightTransport
from recon3d.splats.relight.observations import Observations, observe
from recon3d.splats.relight.surface_model import SurfaceModel
from tests.support.small_meshes import ball

ROWS = 8  # of small environments


def ball_mesh(rings: int = 10, radius: float = 1.0, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    """A ball with exact normals."""
    vertices, faces = ball(rings, dtype=torch.float32)
    xyz = vertices.numpy()
    return Mesh((xyz * radius + np.float32(center)).astype(np.float32), faces.numpy(), xyz.copy())


def sheet(n: int, half: float, height: float, *, up: bool = True) -> Mesh:
    """A square of n x n cells at one height, that faces up or down."""
    line = np.linspace(-half, half, n + 1)
    y, x = np.meshgrid(line, line, indexing="ij")
    vertices = np.stack([x, y, np.full_like(x, height)], -1).reshape(-1, 3).astype(np.float32)
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1)
    faces = np.concatenate([np.stack([a, a + 1, a + n + 1], 1), np.stack([a + 1, a + n + 2, a + n + 1], 1)])
    return Mesh(vertices, (faces if up else faces[:, ::-1]).astype(np.int32).copy())


def room(n: int = 4) -> Mesh:
    """A closed cube of side 2 that is seen from inside; its walls share no vertices, so that corners are sharp."""
    floor = sheet(n, 1.0, -1.0)
    turn = np.float32([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    roll = np.float32([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    ways = [np.eye(3, dtype=np.float32), turn, turn @ turn, turn @ turn @ turn, roll @ turn.T, roll @ turn]
    walls = [Mesh(floor.vertices @ way.T, floor.faces) for way in ways]
    return together(*walls)


def together(*meshes: Mesh) -> Mesh:
    """Several meshes as one; with normals where all have some."""
    before = np.cumsum([0, *(len(one.vertices) for one in meshes)])
    faces = np.concatenate([one.faces + np.int32(first) for one, first in zip(meshes, before, strict=False)])
    given = [one.normals for one in meshes if one.normals is not None]
    normals = np.concatenate(given) if len(given) == len(meshes) else None
    return Mesh(np.concatenate([one.vertices for one in meshes]), faces.astype(np.int32), normals)


def around(n: int, size: int = 48, distance: float = 4.0, above: float = -0.9) -> Cameras:
    """Cameras spread evenly on a sphere, at heights from ``above`` on, that look at the origin."""
    z = np.linspace(above, 0.9, n)
    phi = np.arange(n) * math.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - z * z)
    eyes = distance * np.stack([flat * np.cos(phi), flat * np.sin(phi), z], 1)
    return one_size(look_at(eyes, np.zeros(3), np.array([0.0, 0.0, 1.0])), size)


def from_above(size: int = 32, distance: float = 4.0) -> Cameras:
    """A camera over the origin that looks straight down, the world's x to the right."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = distance
    return one_size(pose[None], size)


def one_size(poses: np.ndarray, size: int) -> Cameras:
    """Square pinhole cameras of one focal length."""
    n = len(poses)
    K = np.tile([[1.5 * size, 0, size / 2], [0, 1.5 * size, size / 2], [0, 0, 1.0]], (n, 1, 1))
    return Cameras(poses, K, np.full(n, size, np.int64), np.full(n, size, np.int64))


def flat_photos(n: int, size: int = 48, value: int = 128) -> list[np.ndarray]:
    """Photos of one grey."""
    return [np.full((size, size, 3), value, np.uint8) for _ in range(n)]


def some_light(rows: int = ROWS, seed: int = 0, low: float = 0.2, high: float = 1.0) -> Tensor:
    """Random colours of the pixels of an environment, ``[k,3]``."""
    source = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(2 * rows * rows, 3, generator=source)


def soft_light(direction: Tensor, rows: int = ROWS, power: float = 4.0, sharpness: float = 12.0) -> Tensor:
    """A dim sky with one soft bright patch, ``[k,3]``."""
    ways = Environment(torch.zeros(rows, 2 * rows, 3)).directions().reshape(-1, 3)
    patch = power * torch.exp(sharpness * (ways @ direction - 1))
    return (0.15 + patch)[:, None].expand(-1, 3).contiguous()


def shown(
    transport: LightTransport,
    cameras: Cameras,
    light: Tensor,
    albedo: Tensor,
    roughness: Tensor,
    metallic: Tensor,
    n_samples: int = 64,
) -> Observations:
    """What cameras see of an open, convex surface, shaded by an independent Monte Carlo method."""
    n = len(cameras)
    seen = observe(transport, cameras, flat_photos(n, int(cameras.width[0])), [None] * n)
    rows = seen.owner
    material = MetallicRoughness(albedo[rows], roughness[rows], metallic[rows])
    sampler = EnvironmentSampler(transport.environment(light))
    rgb = shade_monte_carlo(transport.normals[rows], seen.view, material, sampler, n_samples)
    return replace(seen, rgb=rgb.clamp(0, 1))


def model_of(
    mesh: Mesh,
    cameras: Cameras,
    light: Tensor,
    albedo: Tensor,
    roughness: Tensor | float = 0.5,
    metallic: Tensor | float = 0.0,
    seed: int = 0,
) -> SurfaceModel:
    """A model of an open, convex surface of known material below a known light; it starts without knowing either."""
    v = len(mesh.vertices)
    transport = LightTransport(mesh, rows=math.isqrt(len(light) // 2), n_bounces=8)
    rough, metal = (torch.as_tensor(value, dtype=torch.float32).expand(v) for value in (roughness, metallic))
    return SurfaceModel(transport, shown(transport, cameras, light, albedo, rough, metal), len(cameras), seed)
