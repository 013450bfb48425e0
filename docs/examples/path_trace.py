"""Path trace three knots on the ground below a sky: python docs/examples/path_trace.py out.png [samples per pixel]."""

from __future__ import annotations

import sys

import numpy as np
import torch
from PIL import Image

from recon3d.render import Cameras, look_at
from recon3d.render.mesh import Mesh
from recon3d.render.raytrace import PathOptions, PbrMaterial, RenderObject, RenderScene, ground_plane, path_trace
from recon3d.render.shading import Environment


def knot(center: tuple[float, float, float], turns: tuple[int, int]) -> Mesh:
    """Return a tube along a torus knot."""
    t = np.linspace(0, 2 * np.pi, 400)[:, None]
    around = np.linspace(0, 2 * np.pi, 48)[None]
    p, q = turns
    path = np.stack([(2 + np.cos(q * t)) * np.cos(p * t), (2 + np.cos(q * t)) * np.sin(p * t), np.sin(q * t)], -1)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    side = np.cross(along, path * [1, 1, 0])
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    normals = np.cos(around)[..., None] * side + np.sin(around)[..., None] * np.cross(along, side)
    vertices = 0.3 * (path + 0.42 * normals) + center
    corner = (np.arange(399)[:, None] * 48 + np.arange(47)).reshape(-1)
    faces = [[corner, corner + 1, corner + 49], [corner, corner + 49, corner + 48]]
    return Mesh(
        vertices.reshape(-1, 3).astype(np.float32),
        np.concatenate([np.stack(face, axis=1) for face in faces]).astype(np.int32),
        normals=normals.reshape(-1, 3).astype(np.float32),
    )


def sky() -> Environment:
    """Return a blue sky with a low sun above grey ground."""
    ways = Environment(torch.zeros(128, 256, 3)).directions()
    up = ways[..., 2:].clamp(0, 1)
    light = torch.lerp(torch.tensor([0.9, 0.9, 0.95]), torch.tensor([0.25, 0.45, 0.9]), up.sqrt())
    light = torch.where(ways[..., 2:] > 0, light, torch.tensor([0.25, 0.22, 0.2]))
    sun = torch.nn.functional.normalize(torch.tensor([-0.8, 0.1, 0.6]), dim=0)
    return Environment(light + torch.exp(400 * ((ways @ sun)[..., None] - 1)) * torch.tensor([260.0, 215.0, 160.0]))


def main(path: str, spp: int = 64) -> None:
    """Render the picture."""
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    checks = checks.repeat_interleave(16, 0).repeat_interleave(16, 1)
    tiles = torch.where(checks[..., None] == 1, torch.tensor([0.5, 0.48, 0.44]), torch.tensor([0.28, 0.27, 0.25]))
    plane = ground_plane(-0.43, 40.0)
    uvs = (plane.vertices[plane.faces][..., :2] / 8).astype(np.float32)
    objects = [
        RenderObject(knot((-2.25, 0.2, 0.0), (2, 3)), PbrMaterial(torch.tensor([0.75, 0.12, 0.08]), 0.35)),
        RenderObject(knot((0.0, 0.0, 0.0), (3, 4)), PbrMaterial(torch.tensor([0.95, 0.73, 0.35]), 0.25, 1.0)),
        RenderObject(knot((2.25, 0.2, 0.0), (2, 5)), PbrMaterial(torch.tensor([0.8, 0.8, 0.78]), 0.9)),
        RenderObject(plane, PbrMaterial(tiles, 0.7), uvs=uvs),
    ]
    pose = look_at(np.array([[0.0, -5.2, 2.3]]), np.array([0.0, 0.0, -0.05]), np.array([0.0, 0.0, 1.0]))
    K = np.array([[[590.0, 0.0, 360.0], [0.0, 590.0, 165.0], [0.0, 0.0, 1.0]]])
    cameras = Cameras(pose, K, np.array([720]), np.array([360]))
    images = path_trace(RenderScene(objects, sky()), cameras, PathOptions(spp=spp))
    linear = np.clip(images.rgb[0] * 0.55, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    Image.fromarray((encoded * 255 + 0.5).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
