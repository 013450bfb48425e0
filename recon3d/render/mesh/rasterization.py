"""Differentiable rasterisation of triangles."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.gaussians.checks import check_alike, check_finite, check_intrinsics, check_shapes
from recon3d.render.mesh.dispatch import MeshBackend, module_for, selection_module
from recon3d.render.mesh.fragments import Fragments

NEAR = 1e-2


def rasterize_mesh(
    vertices: Float[Tensor, "v 3"],
    faces: Int32[Tensor, "f 3"],
    cameras: CameraTensors,
    *,
    near: float = NEAR,
    backend: MeshBackend = "auto",
) -> Fragments:
    """Find the nearest face at the centre of each pixel, both sides of faces being seen.

    Neighbouring faces leave no gap and share no pixel: which side of an edge a pixel lies on is decided without
    rounding, and a pixel on the edge belongs to the face that has a top or left edge there. Faces without area cover
    nothing. Of equally near faces the first one counts. Faces are cut off at the near plane. The numba back end gives
    the same bits for any number of threads.

    Barycentrics and depth are differentiable in ``vertices``, ``cameras.cam_from_world`` and ``cameras.K``, within each
    face; what moves over a silhouette shows up in the gradients of :func:`recon3d.render.mesh.antialias`.

    Args:
        vertices: positions in the world.
        faces: vertex indices.
        cameras: n pinhole cameras, of the device and dtype of the vertices.
        near: least depth along camera z that is drawn, world units.
        backend: ``auto``, ``numba`` (CPU), ``pytorch3d`` (CUDA) or ``torch`` (any, slow).

    Returns:
        Faces, barycentrics and depth.

    Raises:
        ShapeError: a tensor has the wrong shape, or a face names a vertex that is not there.
        UsageError: device or dtype differ, the near plane is not positive, or the back end does not take such tensors.
        InputError: a vertex, pose or intrinsic is not finite.
        DependencyError: a back end asked for by name does not work here.
    """
    check_shapes({"vertices": (vertices, (None, 3))})
    check_alike({"vertices": vertices, "cameras.cam_from_world": cameras.cam_from_world, "cameras.K": cameras.K})
    check_faces(faces, len(vertices))
    check_finite({"vertices": vertices, "cameras.cam_from_world": cameras.cam_from_world, "cameras.K": cameras.K})
    check_intrinsics(cameras.K)
    if not 0 < near < float("inf"):
        raise UsageError("the near plane must be before the camera", got=near, expected="a positive number")
    points = points_in_cameras(vertices, cameras.cam_from_world)
    size = (cameras.width, cameras.height)
    face = selection_module(backend, vertices).select(points, faces, cameras.K, size, near)
    barycentrics, depth = module_for(backend, vertices).fragments(points, faces, cameras.K, face)
    return Fragments(face, barycentrics, depth)


def points_in_cameras(vertices: Float[Tensor, "v 3"], cam_from_world: Float[Tensor, "n 4 4"]) -> Float[Tensor, "n v 3"]:
    """Return world points in the axes of each camera.

    Written out, because the bits of a matrix product depend on the number of threads.
    """
    x, y, z = vertices[None].unbind(-1)
    rows = [pose[..., None] for pose in cam_from_world[:, :3].flatten(1).unbind(1)]
    return torch.stack(
        [rows[4 * i] * x + rows[4 * i + 1] * y + rows[4 * i + 2] * z + rows[4 * i + 3] for i in range(3)], -1
    )


def check_faces(faces: Int32[Tensor, "f 3"], n_vertices: int) -> None:
    """Raise ShapeError where faces have the wrong shape or type, or name a vertex that is not there."""
    check_shapes({"faces": (faces, (None, 3))})
    if faces.dtype != torch.int32:
        raise ShapeError("faces have the wrong type", got=faces.dtype, expected=torch.int32)
    least, most = (int(faces.min()), int(faces.max())) if len(faces) else (0, -1)
    if least < 0 or most >= n_vertices:
        got = f"{least}..{most}"
        raise ShapeError("a face names a vertex that is not there", got=got, expected=f"0..{n_vertices - 1}")
