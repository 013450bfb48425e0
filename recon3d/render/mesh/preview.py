"""A picture of a mesh for people: Lambert shading, forward only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, UInt8

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.clipping import screen_triangles
from recon3d.render.mesh.cpu_fragments import weigh
from recon3d.render.mesh.cpu_raster import nearest_faces
from recon3d.render.mesh.normals import normals_of
from recon3d.render.mesh.types import Mesh

_CLAY = np.array([0.72, 0.71, 0.69], np.float32)
_AMBIENT, _AMBIENT_COLOURED = 0.45, 0.7  # colours from photos hold light and shade already
_LIGHT_CAM = np.array([-0.35, -0.6, -1.0]) / np.linalg.norm([-0.35, -0.6, -1.0])  # towards the light: above, left
_NEAR = 1e-6


def mesh_preview(
    mesh: Mesh,
    camera: Cameras,
    background: tuple[int, int, int] = (43, 47, 52),
    supersampling: int = 2,
    shaded: bool = True,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a mesh as one camera sees it; see :func:`mesh_previews`.

    Args:
        mesh: with vertex colours, or drawn in light grey.
        camera: one pinhole camera.
        background: sRGB behind the mesh.
        supersampling: samples per pixel along each axis, averaged.
        shaded: Lambert shading by a light beside the camera; otherwise the plain colours of the vertices.

    Returns:
        sRGB, ``[h,w,3]``.

    Raises:
        UsageError: there is not exactly one camera, or the supersampling is not positive.
    """
    if len(camera) != 1:
        raise UsageError("a preview needs one camera", got=f"{len(camera)} cameras")
    return next(mesh_previews(mesh, camera, background, supersampling, shaded))


def mesh_previews(
    mesh: Mesh,
    cameras: Cameras,
    background: tuple[int, int, int] = (43, 47, 52),
    supersampling: int = 2,
    shaded: bool = True,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Draw a mesh as cameras see it: a preview without gradients and textures.

    Faces show both sides. Faces that reach behind the camera are cut off there.

    Args:
        mesh: with vertex colours, or drawn in light grey.
        cameras: pinhole cameras.
        background: sRGB behind the mesh.
        supersampling: samples per pixel along each axis, averaged.
        shaded: Lambert shading by a light beside the camera; otherwise the plain colours of the vertices.

    Yields:
        sRGB, ``[h,w,3]``, one per camera.

    Raises:
        UsageError: the supersampling is not positive.
    """
    if supersampling < 1:
        raise UsageError("the supersampling must be positive", got=supersampling)
    normals = normals_of(mesh) if shaded else None
    for index in range(len(cameras)):
        width, height = int(cameras.width[index]) * supersampling, int(cameras.height[index]) * supersampling
        K = cameras.K[index] * np.array([[supersampling], [supersampling], [1.0]])
        pose = cameras.cam_from_world[index]
        points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
        face, weights = rasterize_faces(points, mesh.faces, K, (width, height))
        image = np.full((height, width, 3), np.array(background) / 255, np.float32)
        hit = face >= 0
        light = None if normals is None else pose[:3, :3].T @ _LIGHT_CAM
        image[hit] = _shade(mesh, normals, light, face[hit], weights[hit])
        blocks = image.reshape(height // supersampling, supersampling, width // supersampling, supersampling, 3)
        yield np.asarray(np.rint(np.clip(blocks.mean(axis=(1, 3)), 0, 1) * 255), np.uint8)


def _shade(
    mesh: Mesh,
    normals: Float32[np.ndarray, "v 3"] | None,
    light_world: Float64[np.ndarray, "3"] | None,
    face: Int32[np.ndarray, " m"],
    weights: Float32[np.ndarray, "m 3"],
) -> Float32[np.ndarray, "m 3"]:
    corners = mesh.faces[face]
    colour = np.broadcast_to(_CLAY, (len(face), 3))
    if mesh.rgb is not None:
        colour = np.einsum("mk,mkc->mc", weights, mesh.rgb[corners].astype(np.float32) / 255)
    if normals is None or light_world is None:
        return np.asarray(colour, np.float32)
    normal = np.einsum("mk,mkc->mc", weights, normals[corners])
    length = np.linalg.norm(normal, axis=1)
    light = np.abs(normal @ light_world) / np.maximum(length, 1e-30)
    ambient = _AMBIENT if mesh.rgb is None else _AMBIENT_COLOURED
    return np.asarray(colour * (ambient + (1.05 - ambient) * light)[:, None], np.float32)


def rasterize_faces(
    points_cam: Float64[np.ndarray, "v 3"],
    faces: Int32[np.ndarray, "f 3"],
    K: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
    near: float = _NEAR,
) -> tuple[Int32[np.ndarray, "h w"], Float32[np.ndarray, "h w 3"]]:
    """Return the nearest face at the centre of each pixel, and its perspective-correct barycentric weights.

    The rasteriser of :func:`recon3d.render.mesh.rasterize_mesh`, for numpy arrays and one camera, without gradients.

    Args:
        points_cam: vertices in camera axes, ``[v,3]``; faces with one that is not finite are left out.
        faces: vertex indices, ``[f,3]``.
        K: intrinsics in pixels.
        size: width and height in pixels.
        near: least depth that is drawn.

    Returns:
        Face indices ``[h,w]``, -1 = none, and weights of the three corners ``[h,w,3]``. Where two faces are equally
        near, the first one counts. The same bits for any number of threads.
    """
    width, height = size
    points, corners, intrinsics = (torch.from_numpy(np.ascontiguousarray(each)) for each in (points_cam, faces, K))
    screen = screen_triangles(points, corners, intrinsics, near)
    face = nearest_faces(screen, width, height)
    weights, depth = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
    weigh(points_cam, faces, K, face, weights, depth)
    return face, weights
