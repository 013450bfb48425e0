"""Numba back end of the triangles: rasterisation and interpolation for float32 and float64 tensors on the CPU.

All gradients are written by hand, and every result has the same bits for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int8, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon3d.core.kernels import run_chunks
from recon3d.render.mesh.clipping import screen_triangles
from recon3d.render.mesh.cpu_fragments import slopes, weigh, weigh_backward
from recon3d.render.mesh.cpu_interpolation import interpolate_backward, interpolate_forward
from recon3d.render.mesh.cpu_raster import nearest_faces
from recon3d.render.mesh.cpu_silhouettes import silhouettes as find_silhouettes
from recon3d.render.mesh.cpu_texture import sample_backward, sample_forward


@torch.no_grad()
def select(
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    size: tuple[int, int],
    near: float,
) -> Int32[Tensor, "n h w"]:
    """Return the nearest face at each pixel of each camera; see :func:`recon3d.render.mesh.rasterize_mesh`."""
    width, height = size
    found = np.empty((len(points_cam), height, width), np.int32)
    for camera, points in enumerate(points_cam.double()):
        screen = screen_triangles(points, faces, K[camera].double(), near)
        found[camera] = nearest_faces(screen, width, height)
    return torch.from_numpy(found)


def fragments(
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    face: Int32[Tensor, "n h w"],
) -> tuple[Float[Tensor, "n h w 3"], Float[Tensor, "n h w"]]:
    """Return barycentrics and depth of the faces at the pixels. Differentiable in points_cam and K."""
    found = _Fragments.apply(points_cam, K, faces, face)  # type: ignore[no-untyped-call]
    barycentrics, depth = found
    return barycentrics, depth


def interpolate(
    attributes: Float[Tensor, "v c"],
    faces: Int32[Tensor, "f 3"],
    face: Int32[Tensor, "n h w"],
    barycentrics: Float[Tensor, "n h w 3"],
) -> Float[Tensor, "n h w c"]:
    """Interpolate attributes of the corners; see :func:`recon3d.render.mesh.interpolate`."""
    values: Tensor = _Interpolate.apply(attributes, barycentrics, faces, face)  # type: ignore[no-untyped-call]
    return values


def sample(
    texels: Float[Tensor, "t c"],
    sizes: Int32[Tensor, "l 2"],
    uv: Float[Tensor, "m 2"],
    lod: Float[Tensor, " m"],
    wrap: int,
) -> Float[Tensor, "m c"]:
    """Return the values at UVs; see :func:`recon3d.render.mesh.cpu_texture.sample_forward`. Differentiable."""
    values: Tensor = _Sample.apply(texels, uv, sizes, lod, wrap)  # type: ignore[no-untyped-call]
    return values


@torch.no_grad()
def footprints(
    uvs: Float[Tensor, "f 3 2"],
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    face: Int32[Tensor, "n h w"],
) -> Float[Tensor, "n h w 2 2"]:
    """Return how UVs change from pixel to pixel; see :func:`recon3d.render.mesh.uv_footprint`."""
    corners, points, indices, intrinsics, of_pixels = (
        array(uvs),
        _double(points_cam),
        array(faces),
        _double(K),
        array(face),
    )
    found = np.empty((*of_pixels.shape, 2, 2), corners.dtype)
    for camera in range(len(points)):
        slopes(corners, points[camera], indices, intrinsics[camera], of_pixels[camera], found[camera])
    return torch.from_numpy(found)


@torch.no_grad()
def silhouettes(
    pixels: Float64[Tensor, "n v 2"],
    faces: Int32[Tensor, "f 3"],
    opposite: Int32[Tensor, "f 3"],
    face: Int32[Tensor, "n h w"],
    depth: Float[Tensor, "n h w"],
) -> Int8[Tensor, "n h w 2"]:
    """Return what parts each pixel from its neighbours; see :func:`recon3d.render.mesh.cpu_silhouettes.silhouettes`."""
    return torch.from_numpy(find_silhouettes(*(array(each) for each in (pixels, faces, opposite, face, depth))))


class _Fragments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, K: Tensor, faces: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        ctx.dtype = points.dtype
        ctx.arrays = _double(points), _double(K), array(faces), array(face)
        where, intrinsics, corners, of_pixels = ctx.arrays
        barycentrics = np.empty((*of_pixels.shape, 3), where.dtype)
        depth = np.empty(of_pixels.shape, where.dtype)
        for camera in range(len(where)):
            picture = (of_pixels[camera], barycentrics[camera], depth[camera])
            weigh(where[camera], corners, intrinsics[camera], *picture)
        return tuple(torch.from_numpy(value).to(points.dtype) for value in (barycentrics, depth))  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_barycentrics: Tensor, by_depth: Tensor) -> tuple[Tensor | None, ...]:
        where, intrinsics, corners, of_pixels = ctx.arrays
        by_weights, by_z = array(by_barycentrics), array(by_depth)
        by_points, by_K = np.zeros(where.shape), np.zeros(intrinsics.shape)

        def work(camera: int) -> None:
            given = (where[camera], corners, intrinsics[camera], of_pixels[camera], by_weights[camera], by_z[camera])
            weigh_backward(*given, by_points[camera], by_K[camera])

        run_chunks(work, len(where))
        return (*(torch.from_numpy(value).to(ctx.dtype) for value in (by_points, by_K)), None, None)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attributes: Tensor, barycentrics: Tensor, faces: Tensor, face: Tensor) -> Tensor:
        ctx.save_for_backward(attributes, barycentrics)
        ctx.faces, ctx.face = array(faces), array(face)
        values = interpolate_forward(array(attributes), ctx.faces, ctx.face, array(barycentrics))
        return torch.from_numpy(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        attributes, barycentrics = (array(value) for value in ctx.saved_tensors)
        wanted = ctx.needs_input_grad[:2]
        grads = interpolate_backward(attributes, ctx.faces, ctx.face, barycentrics, array(by), wanted)
        return (*(None if value is None else torch.from_numpy(value) for value in grads), None, None)


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, texels: Tensor, uv: Tensor, sizes: Tensor, lod: Tensor, wrap: int) -> Tensor:
        ctx.save_for_backward(texels, uv)
        ctx.sizes, ctx.lod, ctx.wrap = array(sizes), array(lod), wrap
        return torch.from_numpy(sample_forward(array(texels), ctx.sizes, array(uv), ctx.lod, wrap))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        texels, uv = (array(value) for value in ctx.saved_tensors)
        wanted = ctx.needs_input_grad[:2]
        grads = sample_backward(texels, ctx.sizes, uv, ctx.lod, ctx.wrap, array(by), wanted)
        return (*(None if value is None else torch.from_numpy(value) for value in grads), None, None, None)


def array(tensor: Tensor) -> Any:
    """Return the contiguous array behind a tensor, without its history."""
    return tensor.detach().contiguous().numpy()


def _double(tensor: Tensor) -> Any:
    return array(tensor.double())
