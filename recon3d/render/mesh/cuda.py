"""The nearest faces on CUDA tensors, by PyTorch3D's ``rasterize_meshes``; weights and gradients are plain torch.

Written against PyTorch3D 0.7: normalised device coordinates run from -1 to 1 over the shorter side of the image, x to
the left and y up, and ``pix_to_face`` counts the faces of all meshes of a batch on.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor


@lru_cache(maxsize=4)
def why_not(device: torch.device) -> str:
    """Return why PyTorch3D cannot be used on a device; empty where it can, which the first call tries out."""
    try:
        import_module("pytorch3d")
        corner = torch.tensor([[[-9.0, -9.0, 1.0], [29.0, -9.0, 1.0], [-9.0, 29.0, 1.0]]], device=device)
        faces = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
        K = torch.tensor([[[2.0, 0.0, 2.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]]], device=device)
        found = select(corner, faces, K, (4, 2), 0.1)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except (ImportError, OSError, RuntimeError, AttributeError, AssertionError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
    return "" if bool((found == 0).all()) else "it does not see a face that fills the picture"


@torch.no_grad()
def select(
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    size: tuple[int, int],
    near: float,
) -> Int32[Tensor, "n h w"]:
    """Return the nearest face at each pixel of each camera; see :func:`recon3d.render.mesh.rasterize_mesh`.

    Edges and ties follow PyTorch3D's rules, in single precision.
    """
    n, (width, height) = len(points_cam), size
    if not len(faces):
        return torch.full((n, height, width), -1, dtype=torch.int32, device=points_cam.device)
    z = torch.where(points_cam[..., 2:] == 0, near * 1e-3, points_cam[..., 2:])  # it divides by z before it clips
    pixels = points_cam[..., :2] / z * torch.diagonal(K, dim1=1, dim2=2)[:, None, :2] + K[:, None, :2, 2]
    centre = pixels.new_tensor([width / 2, height / 2])
    seen = torch.cat([(centre - pixels) * (2 / min(width, height)), z], -1)
    triangles = faces.long()[None].expand(n, -1, -1)
    meshes = _pytorch3d("pytorch3d.structures").Meshes(verts=list(seen.float()), faces=list(triangles))
    found, _, _, _ = _pytorch3d("pytorch3d.renderer.mesh.rasterize_meshes").rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        cull_backfaces=False,
        z_clip_value=near,
        cull_to_frustum=False,
    )
    first = torch.arange(n, device=found.device)[:, None, None] * len(faces)
    return torch.where(found[..., 0] >= 0, found[..., 0] - first, -1).to(torch.int32)


def _pytorch3d(module: str) -> Any:
    return import_module(module)
