"""Smooth silhouettes, and gradients of what moves over them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.gaussians.checks import check_alike, check_shapes
from recon3d.render.mesh.dispatch import MeshBackend, module_for
from recon3d.render.mesh.edges import opposite_vertices
from recon3d.render.mesh.fragments import Fragments, check_fragments
from recon3d.render.mesh.rasterization import check_faces, points_in_cameras


def antialias(
    image: Float[Tensor, "n h w c"],
    fragments: Fragments,
    vertices: Float[Tensor, "v 3"],
    faces: Int32[Tensor, "f 3"],
    cameras: CameraTensors,
    *,
    opposite: Int32[Tensor, "f 3"] | None = None,
    backend: MeshBackend = "auto",
) -> Float[Tensor, "n h w c"]:
    """Blend neighbouring pixels where a silhouette edge runs between them, by how far it reaches into one of them.

    A pixel has the colour of its centre, so that a picture does not change until an edge passes one, and has no
    gradient there. Here, of two neighbours in a row (or column) with different faces, the nearer face is asked for an
    edge that parts them: one without another face, or with both its faces to the same side in the picture. Where it
    crosses the line between the centres beyond the middle, the farther pixel takes on the colour of the nearer one;
    before the middle, the nearer pixel that of the farther one; by the distance to the middle. For straight edges this
    is the share of the pixel that is covered (Laine et al., Modular Primitives for High-Performance Differentiable
    Rendering, 2020, section 3.4). Edges that reach behind the camera are left as they are, and so are silhouettes of
    faces that are too small to be seen at a pixel.

    Differentiable in the image, and in vertices, poses and intrinsics through the places of the edges.

    Args:
        image: any number of channels, with the background where there is no face.
        fragments: of :func:`recon3d.render.mesh.rasterize_mesh`.
        vertices: positions in the world, as they were rasterised.
        faces: vertex indices.
        cameras: as they were rasterised for.
        opposite: of :func:`recon3d.render.mesh.opposite_vertices`, to find the edges of a mesh once for many pictures.
        backend: ``auto``, ``numba`` (CPU) or ``torch``.

    Returns:
        The image with smooth silhouettes.

    Raises:
        ShapeError: a tensor has the wrong shape, or a face is not there.
        UsageError: type or device differ.
    """
    check_shapes({"image": (image, (*fragments.face.shape, None)), "vertices": (vertices, (None, 3))})
    check_alike({"image": image, "vertices": vertices, "cameras.cam_from_world": cameras.cam_from_world})
    check_faces(faces, len(vertices))
    check_fragments(fragments, len(faces))
    if opposite is None:
        opposite = opposite_vertices(faces, len(vertices))
    check_shapes({"opposite": (opposite, (len(faces), 3))})
    pixels = _pixels(vertices, cameras)
    given = (pixels, faces, opposite, fragments.face, fragments.depth.detach())
    pairs = _pairs(module_for(backend, vertices).silhouettes(*given))
    if not len(pairs[0]):
        return image
    owner, other, along = _places(pairs, fragments.face, vertices, faces, cameras)
    return _blended(image, owner, other, along - 0.5)


def _places(
    pairs: tuple[Int64[Tensor, " m"], ...],
    face: Int32[Tensor, "n h w"],
    vertices: Float[Tensor, "v 3"],
    faces: Int32[Tensor, "f 3"],
    cameras: CameraTensors,
) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], Float[Tensor, " m"]]:
    """Return the pixel whose face has the edge, the other one, and where between their centres (0, 1) the edge runs."""
    camera, row, column, axis, kind = pairs
    owner_first, edge = kind < 3, kind % 3
    _, height, width = face.shape
    first = (camera * height + row) * width + column
    second = first + torch.where(axis == 0, 1, width)
    owner, other = torch.where(owner_first, first, second), torch.where(owner_first, second, first)
    corners = faces.long()[face.reshape(-1)[owner].long()]
    ends = [corners.gather(1, ((edge + shift) % 3)[:, None])[:, 0] for shift in (1, 2)]
    start, end = (_projected(vertices, cameras, camera, each) for each in ends)
    centre = torch.stack([owner % width, owner // width % height], 1).to(vertices.dtype) + 0.5
    return owner, other, _crossing(start - centre, end - centre, axis) * torch.where(owner_first, 1, -1)


@torch.no_grad()
def _pixels(vertices: Tensor, cameras: CameraTensors) -> Float[Tensor, "n v 2"]:
    """Return where vertices are in the pictures, in double precision; not a number behind the camera."""
    points, K = points_in_cameras(vertices, cameras.cam_from_world).double(), cameras.K.double()
    z = torch.where(points[..., 2:] > 0, points[..., 2:], torch.nan)
    return points[..., :2] / z * torch.diagonal(K, dim1=1, dim2=2)[:, None, :2] + K[:, None, :2, 2]


def _pairs(code: Tensor) -> tuple[Int64[Tensor, " m"], ...]:
    """Return camera, row, column and axis of the pairs, and which edge of which of the two pixels parts them."""
    where = torch.nonzero(code, as_tuple=True)
    return (*where, code[where].long() - 1)


def _projected(
    vertices: Tensor, cameras: CameraTensors, camera: Int64[Tensor, " m"], index: Int64[Tensor, " m"]
) -> Float[Tensor, "m 2"]:
    pose = cameras.cam_from_world.index_select(0, camera)
    K = cameras.K.index_select(0, camera)
    point = (pose[:, :3, :3] * vertices.index_select(0, index)[:, None]).sum(2) + pose[:, :3, 3]
    return point[:, :2] / point[:, 2:] * torch.diagonal(K, dim1=1, dim2=2)[:, :2] + K[:, :2, 2]


def _crossing(start: Float[Tensor, "m 2"], end: Float[Tensor, "m 2"], axis: Int64[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return where segments cross the x axis (axis 0) or the y axis (1)."""
    a, b = (torch.where(axis[:, None] == 0, each, each.flip(1)) for each in (start, end))
    return (a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]) / (b[:, 1] - a[:, 1])


def _blended(
    image: Float[Tensor, "n h w c"],
    owner: Int64[Tensor, " m"],
    other: Int64[Tensor, " m"],
    beyond: Float[Tensor, " m"],
) -> Float[Tensor, "n h w c"]:
    colours = image.reshape(-1, image.shape[-1])
    grows = beyond > 0
    taker, giver = torch.where(grows, other, owner), torch.where(grows, owner, other)
    change = beyond.abs()[:, None] * (colours.index_select(0, giver) - colours.index_select(0, taker))
    return colours.index_add(0, taker, change).reshape(image.shape)
