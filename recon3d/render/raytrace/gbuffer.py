"""What is at the centres of pixels: geometry and material without light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from torch import Tensor

from recon3d.render.raytrace.bvh import Hits
from recon3d.render.raytrace.surfaces import Surface, surface_at
from recon3d.render.raytrace.wavefront import Rays, Tracer
from recon3d.render.shading.bsdf import Bsdf


@dataclass(frozen=True, eq=False)
class GBuffer:
    """Surfaces at the centres of pixels, all zero where there is none.

    Args:
        depth: along the z of the camera, ``[n,h,w]``.
        position: in the world, ``[n,h,w,3]``.
        normal: unit shading normals in the world, ``[n,h,w,3]``.
        albedo: the ``albedo`` or ``base_color`` of the material, NaN where it has neither, ``[n,h,w,3]``.
        roughness: of the material, NaN where it has none, ``[n,h,w]``.
        metallic: of the material, NaN where it has none, ``[n,h,w]``.
        owner: index of the object, -1 = none, ``[n,h,w]``.
    """

    depth: Float32[np.ndarray, "n h w"]
    position: Float32[np.ndarray, "n h w 3"]
    normal: Float32[np.ndarray, "n h w 3"]
    albedo: Float32[np.ndarray, "n h w 3"]
    roughness: Float32[np.ndarray, "n h w"]
    metallic: Float32[np.ndarray, "n h w"]
    owner: Int32[np.ndarray, "n h w"]


def gbuffer_of_view(
    tracer: Tracer, seen: Int64[np.ndarray, " m"], n_pixels: int, rays: Rays, hits: Hits
) -> dict[str, np.ndarray]:
    """Return the fields of a G-buffer for the pixels of one view, ``[p,...]``.

    Args:
        tracer: the scene.
        seen: pixels that show an object, ``[m]``.
        n_pixels: of the view.
        rays: through their centres, with a z of one in the camera.
        hits: of these rays.
    """
    colours, numbers = ("position", "normal", "albedo"), ("depth", "roughness", "metallic")
    out: dict[str, np.ndarray] = {name: np.zeros((n_pixels, 3), np.float32) for name in colours}
    out |= {name: np.zeros(n_pixels, np.float32) for name in numbers}
    out["owner"] = np.full(n_pixels, -1, np.int32)
    surface = surface_at(tracer.triangles, hits.face, hits.uv, rays.directions)
    out["depth"][seen], out["owner"][seen] = hits.t, surface.owner
    out["position"][seen], out["normal"][seen] = surface.position, surface.frame[:, 2]
    for owner in range(len(tracer.scene.objects)):
        own = np.flatnonzero(surface.owner == owner)
        if len(own):
            bsdf = tracer.material(owner, surface.take(own), hits.face[own], hits.uv[own])
            for name, values in _material(bsdf, surface.take(own)).items():
                out[name][seen[own]] = values
    return out


def _material(bsdf: Bsdf, surface: Surface) -> dict[str, np.ndarray]:
    n = len(surface.owner)
    albedo = getattr(bsdf, "albedo", getattr(bsdf, "base_color", np.nan))
    return {
        "albedo": _rows(albedo, (n, 3)),
        "roughness": _rows(getattr(bsdf, "roughness", np.nan), (n,)),
        "metallic": _rows(getattr(bsdf, "metallic", np.nan), (n,)),
    }


def _rows(value: Tensor | float, shape: tuple[int, ...]) -> np.ndarray:
    return torch.as_tensor(value, dtype=torch.float32).detach().expand(shape).numpy()


def gbuffer_of(views: Sequence[dict[str, np.ndarray]], shape: tuple[int, int, int]) -> GBuffer:
    """Return the G-buffer of several views.

    Args:
        views: what :func:`gbuffer_of_view` returned for each.
        shape: number of views, height, width.
    """
    stacked = {field.name: np.stack([view[field.name] for view in views]) for field in fields(GBuffer)}
    return GBuffer(**{name: value.reshape(*shape, *value.shape[2:]) for name, value in stacked.items()})
