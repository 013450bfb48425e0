"""Faces on the screen: projected, and cut off at the near plane."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ScreenTriangles:
    """Triangles in the picture of one camera.

    Args:
        corners: places in pixels, ``[p,2]``; not finite where no triangle may be drawn.
        inverse_depths: 1/z of the corners, ``[p]``.
        triangles: corner indices, ``[t,3]``.
        owner: the face that each triangle is a part of, ascending, ``[t]``; None = triangle i is face i.
    """

    corners: Float64[Tensor, "p 2"]
    inverse_depths: Float64[Tensor, " p"]
    triangles: Int32[Tensor, "t 3"]
    owner: Int32[Tensor, " t"] | None


@torch.no_grad()
def screen_triangles(
    points_cam: Float64[Tensor, "v 3"], faces: Int32[Tensor, "f 3"], K: Float64[Tensor, "3 3"], near: float
) -> ScreenTriangles:
    """Project faces, and replace those that reach behind the near plane by what lies before it.

    A corner that appears where the plane cuts an edge has the same bits in both faces of the edge, because it is
    computed from the front end to the other one in both.

    Args:
        points_cam: vertices in camera axes.
        faces: vertex indices.
        K: intrinsics in pixels, without skew.
        near: least depth that is drawn.
    """
    front = points_cam[:, 2] >= near
    if bool(front.all()):
        return ScreenTriangles(*_projected(points_cam, K), faces, None)
    n_front = front[faces].sum(1)
    whole = n_front == 3
    one, two = n_front == 1, n_front == 2
    tip = _turned(faces[one], front)  # the front corner first
    base = _turned(faces[two], ~front)  # the corner behind first
    start, m1, m2 = len(points_cam), int(one.sum()), int(two.sum())
    cuts = [_cut(points_cam, tip, 0, 1, near), _cut(points_cam, tip, 0, 2, near)]
    cuts += [_cut(points_cam, base, 1, 0, near), _cut(points_cam, base, 2, 0, near)]
    new = torch.arange(start, start + 2 * m1 + 2 * m2, dtype=faces.dtype, device=faces.device)
    tip_1, tip_2, base_1, base_2 = torch.split(new, [m1, m1, m2, m2])
    parts = [
        faces[whole],
        torch.stack([tip[:, 0], tip_1, tip_2], 1),
        torch.stack([base_1, base[:, 1], base[:, 2]], 1),
        torch.stack([base_1, base[:, 2], base_2], 1),
    ]
    owners = torch.cat([torch.nonzero(each)[:, 0] for each in (whole, one, two, two)])
    order = torch.argsort(owners, stable=True)
    hidden = torch.where(front[:, None], points_cam, torch.nan)
    corners, inverse = _projected(torch.cat([hidden, *cuts]), K)
    return ScreenTriangles(corners, inverse, torch.cat(parts)[order], owners[order].to(torch.int32))


def _projected(
    points: Float64[Tensor, "v 3"], K: Float64[Tensor, "3 3"]
) -> tuple[Float64[Tensor, "v 2"], Float64[Tensor, " v"]]:
    inverse = 1 / points[:, 2]
    return points[:, :2] / points[:, 2:] * torch.diagonal(K)[:2] + K[:2, 2], inverse


def _turned(faces: Int32[Tensor, "f 3"], first: Bool[Tensor, " v"]) -> Int32[Tensor, "f 3"]:
    """Turn faces so that their only corner of a kind comes first."""
    where: Int64[Tensor, " f"] = first[faces].int().argmax(1)
    columns = (where[:, None] + torch.arange(3, device=faces.device)) % 3
    return torch.gather(faces, 1, columns)


def _cut(
    points: Float64[Tensor, "v 3"], faces: Int32[Tensor, "f 3"], ahead: int, behind: int, near: float
) -> Float64[Tensor, "f 3"]:
    """Return where the near plane cuts the edges from corners ``ahead`` of it to corners ``behind`` it."""
    a, b = points[faces[:, ahead]], points[faces[:, behind]]
    share = (a[:, 2] - near) / (a[:, 2] - b[:, 2])
    cut = a + share[:, None] * (b - a)
    return torch.cat([cut[:, :2], torch.full_like(cut[:, :1], near)], 1)
