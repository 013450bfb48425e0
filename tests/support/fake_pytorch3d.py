"""A stand-in for the parts of PyTorch3D that recon3d calls, answered by the oracle: for machines without CUDA."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from recon3d.render.mesh import reference


class Meshes:
    def __init__(self, verts: list[Tensor], faces: list[Tensor]) -> None:
        assert len(verts) == len(faces) and all(each.dtype == torch.float32 for each in verts)
        assert all(each.dtype == torch.int64 for each in faces)
        self.verts, self.faces = verts, faces


def rasterize_meshes(
    meshes: Meshes,
    image_size: tuple[int, int],
    blur_radius: float,
    faces_per_pixel: int,
    perspective_correct: bool,
    cull_backfaces: bool,
    z_clip_value: float,
    cull_to_frustum: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turn normalised device coordinates (x left, y up, the shorter side from -1 to 1) back, and ask the oracle."""
    assert blur_radius == 0 and faces_per_pixel == 1 and perspective_correct
    assert not cull_backfaces and not cull_to_frustum
    height, width = image_size
    half = min(height, width) / 2
    K = torch.tensor([[[half, 0, width / 2], [0, half, height / 2], [0, 0, 1]]])
    found, before = [], 0
    for verts, faces in zip(meshes.verts, meshes.faces, strict=True):
        assert verts.isfinite().all()
        x, y, z = verts.unbind(1)
        points = torch.stack([-x * z, -y * z, z], 1)
        face = reference.select(points[None], faces.int(), K, (width, height), z_clip_value)[0].long()
        found.append(torch.where(face >= 0, face + before, -1))
        before += len(faces)
    picture = torch.stack(found)[..., None]
    nothing = torch.zeros(*picture.shape[:3], 1)
    return picture, nothing, nothing, nothing


def modules() -> dict[str, object]:
    """What ``sys.modules`` holds where PyTorch3D is installed."""
    home = SimpleNamespace(rasterize_meshes=rasterize_meshes)
    return {
        "pytorch3d": SimpleNamespace(),
        "pytorch3d.structures": SimpleNamespace(Meshes=Meshes),
        "pytorch3d.renderer.mesh.rasterize_meshes": home,
    }
