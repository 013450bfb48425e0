"""The scenes of relight-mini: Spot, a bowl with niches and a ball, and things on a ground; all within a unit ball."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from recon3d.render.mesh import Mesh, load_mesh
from recon3d.render.raytrace import PbrMaterial, RenderObject, ground_plane
from recon3d.render.shading import linear_from_srgb

SCENES = ("spot", "bowl", "ground")
_TEXTURE = 256
_GROUND = 0.85  # half its side


@lru_cache(maxsize=4)
def scene_objects(name: str, spot: Path) -> tuple[RenderObject, ...]:
    """Return the objects of a scene.

    Args:
        name: one of SCENES.
        spot: spot.obj, with its texture beside it.
    """
    if name == "spot":
        return (_spot(spot, 0.95, (0.0, 0.0, 0.0)),)
    return _bowl_scene() if name == "bowl" else _ground_scene(spot)


def _spot(path: Path, size: float, place: tuple[float, float, float]) -> RenderObject:
    """Spot, upright in a world whose z points up, with its largest half-extent of ``size``."""
    mesh = load_mesh(path)
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)  # (x, y, z) -> (x, -z, y) from the right
    vertices = mesh.vertices @ turn
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) * (2 * size / (high - low).max()) + np.array(place, np.float32)
    texture = torch.from_numpy(mesh.material.base_color_texture.astype(np.float32) / 255)
    material = PbrMaterial(linear_from_srgb(texture), 0.35, 0.0)
    return RenderObject(Mesh(vertices.astype(np.float32), mesh.faces), material, uvs=mesh.uvs)


def _bowl_scene() -> tuple[RenderObject, ...]:
    """A bowl on a foot with a deep groove around it, eight niches in its inner wall, and a ball of gold inside."""
    bowl = RenderObject(_bowl(), PbrMaterial(_glaze(), 0.45, 0.0), uvs=_grid_uvs(*_BOWL_GRID))
    ball = RenderObject(_sphere(0.27, (0.1, -0.06, -0.06)), PbrMaterial(torch.tensor([0.94, 0.72, 0.36]), 0.25, 1.0))
    return bowl, ball


_BOWL_GRID = (97, 193)  # points along the profile, and around
_PROFILE = np.array(  # radius and height, from below to the rim and down the inside
    [(0.0, -0.75), (0.5, -0.75), (0.52, -0.68), (0.2, -0.6), (0.18, -0.52), (0.5, -0.45), (0.78, -0.2), (0.9, 0.15),
     (0.93, 0.42), (0.9, 0.46), (0.85, 0.43), (0.8, 0.12), (0.66, -0.16), (0.4, -0.33), (0.0, -0.36)])  # fmt: skip


def _bowl() -> Mesh:
    rows, columns = _BOWL_GRID
    steps = np.linalg.norm(np.diff(_PROFILE, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    where = np.linspace(0, 1, rows)
    radius, height = (np.interp(where, along, _PROFILE[:, axis])[:, None] for axis in (0, 1))
    phi = np.linspace(0, 2 * np.pi, columns)[None]
    niche = np.clip(1.6 * np.cos(8 * phi) - 0.6, 0, 1) * np.exp(-(((where[:, None] - 0.8) / 0.035) ** 2))
    radius = radius + 0.06 * niche
    xyz = np.stack(np.broadcast_arrays(radius * np.cos(phi), radius * np.sin(phi), height), -1).reshape(-1, 3)
    return Mesh(xyz.astype(np.float32), _grid_faces(rows, columns))


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    quads = np.stack([corner, corner + 1, corner + columns + 1, corner + columns], axis=1)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def _grid_uvs(rows: int, columns: int) -> np.ndarray:
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return np.stack([u, v], -1).reshape(-1, 2)[_grid_faces(rows, columns)].astype(np.float32)


def _sphere(radius: float, centre: tuple[float, float, float], rows: int = 48) -> Mesh:
    theta, phi = np.linspace(np.pi, 0, rows)[:, None], np.linspace(0, 2 * np.pi, 2 * rows)[None]
    way = np.stack(np.broadcast_arrays(np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)), -1)
    way = way.reshape(-1, 3)
    vertices = (radius * way + np.array(centre)).astype(np.float32)
    return Mesh(vertices, _grid_faces(rows, 2 * rows), way.astype(np.float32))


def _torus(ring: float, tube: float, centre: tuple[float, float, float]) -> Mesh:
    a, b = np.linspace(0, 2 * np.pi, 33)[:, None], np.linspace(0, 2 * np.pi, 97)[None]
    radius = ring - tube * np.cos(a)
    xyz = np.stack(np.broadcast_arrays(radius * np.cos(b), radius * np.sin(b), -tube * np.sin(a)), -1).reshape(-1, 3)
    return Mesh((xyz + np.array(centre)).astype(np.float32), _grid_faces(33, 97))


def _box(half: tuple[float, float, float], centre: tuple[float, float, float], degrees: float) -> Mesh:
    """A box with corners of its own for every face, turned about the vertical."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    sides = []
    for axis in range(3):
        for sign in (-1, 1):
            points = np.zeros((4, 3))
            points[:, axis], points[:, (axis + 1) % 3], points[:, (axis + 2) % 3] = sign, square[:, 0], square[:, 1]
            sides.append(points if sign > 0 else points[::-1])
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    vertices = (np.concatenate(sides) * np.array(half)) @ turn.T + np.array(centre)
    first = 4 * np.arange(6)[:, None]
    faces = np.concatenate([first + np.array([0, 1, 2]), first + np.array([0, 2, 3])]).astype(np.int32)
    return Mesh(vertices.astype(np.float32), faces)


def _ground_scene(spot: Path) -> tuple[RenderObject, ...]:
    """A tiled ground with Spot, a leaning block of clay, a ring of steel and a red ball close to each other."""
    ground = ground_plane(-0.5, _GROUND)
    uvs = ((ground.vertices[ground.faces][..., :2] / _GROUND + 1) / 2).astype(np.float32)
    square = torch.tensor([0.30, 0.16, 0.10])
    return (
        RenderObject(ground, PbrMaterial(_tiles(), 0.6, 0.0), uvs=uvs),
        _spot(spot, 0.42, (-0.28, 0.1, -0.08)),
        RenderObject(_box((0.14, 0.2, 0.34), (0.42, 0.36, -0.16), 25.0), PbrMaterial(square, 0.8, 0.0), smooth=False),
        RenderObject(_torus(0.22, 0.07, (0.38, -0.35, -0.43)), PbrMaterial(torch.tensor([0.6, 0.6, 0.62]), 0.3, 1.0)),
        RenderObject(_sphere(0.15, (-0.1, -0.55, -0.35)), PbrMaterial(torch.tensor([0.62, 0.05, 0.04]), 0.2, 0.0)),
    )


def _glaze() -> torch.Tensor:
    """Bands and dots in three colours, linear."""
    v, u = torch.meshgrid(*(torch.linspace(0, 1, _TEXTURE),) * 2, indexing="ij")
    blue, cream, red = torch.tensor([[0.06, 0.14, 0.42], [0.75, 0.66, 0.48], [0.55, 0.12, 0.07]])
    band = (0.5 + 0.5 * torch.sin(2 * torch.pi * 9 * v + 0.8 * torch.sin(2 * torch.pi * 6 * u)))[..., None]
    dots = ((torch.sin(2 * torch.pi * 12 * u) * torch.sin(2 * torch.pi * 11 * v)) > 0.6)[..., None]
    smooth = ((band - 0.5) * 8 + 0.5).clamp(0, 1)
    return torch.where(dots, red, cream + smooth * (blue - cream))


def _tiles() -> torch.Tensor:
    """Tiles of two greys with grout, each a little brighter or darker than the next, linear."""
    y, x = torch.meshgrid(*(torch.arange(_TEXTURE),) * 2, indexing="ij")
    row, column = y // 32, x // 32
    shade = 0.32 + 0.22 * ((row + column) % 2) + 0.08 * torch.sin(3.7 * row + 5.3 * column)
    grout = (y % 32 < 2) | (x % 32 < 2)
    value = torch.where(grout, 0.12, shade)[..., None]
    return (value * torch.tensor([1.0, 0.96, 0.88])).clamp(0, 1)
