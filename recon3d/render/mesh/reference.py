"""Plain torch rasterisation and interpolation of triangles: any device and dtype, the oracle of the other back ends."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Float64, Int32, Int64
from torch import Tensor

from recon3d.render.mesh.clipping import ScreenTriangles, screen_triangles
from recon3d.render.mesh.reference_silhouettes import silhouettes as silhouettes
from recon3d.render.mesh.reference_texture import footprints as footprints, sample as sample

_PAIRS = 1 << 20  # pairs of a triangle and a pixel that are looked at at once
_ROUNDING = 1e-15  # of a cross product, relative to its terms; what is within it is computed without rounding


@torch.no_grad()
def select(
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    size: tuple[int, int],
    near: float,
) -> Int32[Tensor, "n h w"]:
    """Return the nearest face at each pixel of each camera; see :func:`recon3d.render.mesh.rasterize_mesh`."""
    found = [
        _nearest(screen_triangles(points, faces, intrinsics, near), *size)
        for points, intrinsics in zip(points_cam.double(), K.double(), strict=True)
    ]
    return torch.stack(found)


def fragments(
    points_cam: Float[Tensor, "n v 3"],
    faces: Int32[Tensor, "f 3"],
    K: Float[Tensor, "n 3 3"],
    face: Int32[Tensor, "n h w"],
) -> tuple[Float[Tensor, "n h w 3"], Float[Tensor, "n h w"]]:
    """Return barycentrics and depth of the faces at the pixels. Differentiable in points_cam and K.

    See :mod:`recon3d.render.mesh.cpu_fragments` for the formula. It is evaluated in double precision.
    """
    n, height, width = face.shape
    camera, row, column = torch.nonzero(face >= 0, as_tuple=True)
    corners = faces[face[camera, row, column].long()].long()
    at = points_cam.double()[camera[:, None], corners]  # [m,3 corners,3]
    pixel = torch.stack([column, row], 1).double() + 0.5
    intrinsics = K.double()[camera]
    ray = (pixel - intrinsics[:, :2, 2]) / torch.diagonal(intrinsics, dim1=1, dim2=2)[:, :2]
    flat = at[..., :2] - at[..., 2:] * ray[:, None]
    areas = _cross(flat[:, [1, 2, 0]], flat[:, [2, 0, 1]])
    areas = (areas * torch.where(areas.sum(1, keepdim=True) < 0, -1.0, 1.0)).clamp(min=0)
    total = areas.sum(1, keepdim=True)
    weights = torch.where(total > 0, areas / torch.where(total > 0, total, 1), 1 / 3)
    depths = (weights * at[..., 2]).sum(1)
    where = (camera * height + row) * width + column
    barycentrics = weights.new_zeros(n * height * width, 3).index_copy(0, where, weights)
    depth = weights.new_zeros(n * height * width).index_copy(0, where, depths)
    kind = points_cam.dtype
    return barycentrics.reshape(n, height, width, 3).to(kind), depth.reshape(n, height, width).to(kind)


def interpolate(
    attributes: Float[Tensor, "v c"],
    faces: Int32[Tensor, "f 3"],
    face: Int32[Tensor, "n h w"],
    barycentrics: Float[Tensor, "n h w 3"],
) -> Float[Tensor, "n h w c"]:
    """Interpolate attributes of the corners; see :func:`recon3d.render.mesh.interpolate`."""
    camera, row, column = torch.nonzero(face >= 0, as_tuple=True)
    corners = faces[face[camera, row, column].long()].long()
    values = (attributes[corners] * barycentrics[camera, row, column][..., None]).sum(1)
    picture = values.new_zeros(*face.shape, attributes.shape[1])
    return picture.index_put((camera, row, column), values)


def _cross(a: Float[Tensor, "... 2"], b: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _nearest(screen: ScreenTriangles, width: int, height: int) -> Int32[Tensor, "h w"]:
    """Keep at each pixel the largest 1/z, and of equal ones the first triangle."""
    at = screen.corners[screen.triangles.long()]  # [t,3 corners,2]
    boxes = _boxes(at, width, height)
    counts = (boxes[:, 1] - boxes[:, 0] + 1).clamp(min=0) * (boxes[:, 3] - boxes[:, 2] + 1).clamp(min=0)
    nearness = torch.zeros(height * width, dtype=torch.float64, device=at.device)
    best = torch.full((height * width,), -1, dtype=torch.int32, device=at.device)
    for part in _parts(counts):
        pixel, triangle, near = _covered(screen, at, boxes, counts, part, width)
        highest = nearness.scatter_reduce(0, pixel, near, "amax")
        first = torch.full_like(best, len(at)).scatter_reduce(
            0, pixel, torch.where(near == highest[pixel], triangle, len(at)).to(torch.int32), "amin"
        )
        best = torch.where(highest > nearness, first, best)
        nearness = highest
    if screen.owner is not None and len(screen.owner):
        best = torch.where(best >= 0, screen.owner[best.long()], -1)
    return best.reshape(height, width)


def _boxes(at: Float64[Tensor, "t 3 2"], width: int, height: int) -> Int64[Tensor, "t 4"]:
    """Return the first and last column and row whose pixel centres a triangle may hold; empty where it is not drawn."""
    limit = at.new_tensor([width, height])
    low = (at.amin(1) - 0.5).ceil().clamp(min=0).minimum(limit)
    high = (at.amax(1) - 0.5).floor().clamp(min=-1).minimum(limit - 1)
    finite = at.isfinite().all(2).all(1)[:, None]
    low, high = torch.where(finite, low, 0), torch.where(finite, high, -1)
    return torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1).long()


def _parts(counts: Int64[Tensor, " t"]) -> list[slice]:
    """Cut the triangles into runs of about as many pairs as are looked at at once."""
    if not len(counts):
        return []
    group = counts.cumsum(0) // _PAIRS
    edges = [0, *(torch.nonzero(group.diff())[:, 0] + 1).tolist(), len(counts)]
    return [slice(start, end) for start, end in pairwise(edges)]


def _covered(
    screen: ScreenTriangles,
    at: Float64[Tensor, "t 3 2"],
    boxes: Int64[Tensor, "t 4"],
    counts: Int64[Tensor, " t"],
    part: slice,
    width: int,
) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], Float64[Tensor, " m"]]:
    """Return the pixels that a run of triangles covers: their indices, the triangles and 1/z there."""
    counts = counts[part]
    index = torch.repeat_interleave(counts)
    place = torch.arange(len(index), device=at.device) - (counts.cumsum(0) - counts)[index]
    triangle = index + part.start
    box = boxes[triangle]
    wide = box[:, 1] - box[:, 0] + 1
    x, y = box[:, 0] + place % wide, box[:, 2] + place // wide
    pixel = torch.stack([x, y], 1).double() + 0.5
    corners = at[triangle]
    turn = _sides(corners[:, 0], corners[:, 1], corners[:, 2])[1]
    areas, held = [], turn != 0
    for i, j in ((1, 2), (2, 0), (0, 1)):
        area, sign = _sides(corners[:, i], corners[:, j], pixel)
        along = (corners[:, j] - corners[:, i]) * turn[:, None]
        top_left = (along[:, 1] < 0) | ((along[:, 1] == 0) & (along[:, 0] > 0))
        held &= (sign * turn > 0) | ((sign == 0) & top_left)
        areas.append((area * turn).clamp(min=0))
    x, y, triangle = x[held], y[held], triangle[held]
    inverse = screen.inverse_depths[screen.triangles.long()[triangle]]
    weights = torch.stack(areas, 1)[held]
    total = weights.sum(1)
    near = (weights * inverse).sum(1) / torch.where(total > 0, total, 1)
    return y * width + x, triangle, torch.where(total > 0, near, inverse.amax(1))


def _sides(
    a: Float64[Tensor, "m 2"], b: Float64[Tensor, "m 2"], p: Float64[Tensor, "m 2"]
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, " m"]]:
    """Return twice the area of (a, b, p), and its sign without rounding."""
    left, right = (a - p)[:, 0] * (b - p)[:, 1], (a - p)[:, 1] * (b - p)[:, 0]
    area = left - right
    sign = area.sign()
    unsure: Bool[Tensor, " m"] = area.abs() <= _ROUNDING * (left.abs() + right.abs())
    for index in torch.nonzero(unsure)[:, 0].tolist():
        (ax, ay), (bx, by), (px, py) = (tuple(map(Fraction, each[index].tolist())) for each in (a, b, p))
        exact = (ax - px) * (by - py) - (ay - py) * (bx - px)
        sign[index] = (exact > 0) - (exact < 0)
    return area, sign
