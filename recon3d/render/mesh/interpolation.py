"""Attributes of vertices and corners at the pixels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from recon3d.render.gaussians.checks import check_alike, check_shapes
from recon3d.render.mesh.dispatch import MeshBackend, module_for
from recon3d.render.mesh.fragments import Fragments, check_fragments
from recon3d.render.mesh.rasterization import check_faces


def interpolate(
    attributes: Float[Tensor, "v c"],
    faces: Int32[Tensor, "f 3"],
    fragments: Fragments,
    *,
    backend: MeshBackend = "auto",
) -> Float[Tensor, "n h w c"]:
    """Interpolate attributes over the faces, correct in perspective.

    Differentiable in the attributes and, through the barycentrics, in vertices and cameras.

    Args:
        attributes: one row per vertex: colours, normals, positions or anything else.
        faces: rows of ``attributes`` at the corners of each face: those of the mesh, or others of the same number.
        fragments: of :func:`recon3d.render.mesh.rasterize_mesh`.
        backend: see :func:`recon3d.render.mesh.rasterize_mesh`.

    Returns:
        The attributes at the pixels; zeros where there is no face.

    Raises:
        ShapeError: a tensor has the wrong shape, or a face is not there.
        UsageError: device or dtype differ from those of the fragments.
    """
    check_shapes({"attributes": (attributes, (None, None))})
    check_alike({"attributes": attributes, "fragments.barycentrics": fragments.barycentrics})
    check_faces(faces, len(attributes))
    check_fragments(fragments, len(faces))
    home = module_for(backend, attributes)
    picture: Tensor = home.interpolate(attributes, faces, fragments.face, fragments.barycentrics)
    return picture


def interpolate_corners(
    attributes: Float[Tensor, "f 3 c"], fragments: Fragments, *, backend: MeshBackend = "auto"
) -> Float[Tensor, "n h w c"]:
    """Interpolate attributes that each face has of its own, such as the UVs of a mesh; see :func:`interpolate`.

    Args:
        attributes: one row per corner of each face.
        fragments: of :func:`recon3d.render.mesh.rasterize_mesh`.
        backend: see :func:`recon3d.render.mesh.rasterize_mesh`.

    Returns:
        The attributes at the pixels; zeros where there is no face.

    Raises:
        ShapeError: a tensor has the wrong shape, or a face is not there.
        UsageError: device or dtype differ from those of the fragments.
    """
    check_shapes({"attributes": (attributes, (None, 3, None))})
    corners = torch.arange(3 * len(attributes), dtype=torch.int32, device=attributes.device).reshape(-1, 3)
    return interpolate(attributes.flatten(0, 1), corners, fragments, backend=backend)
