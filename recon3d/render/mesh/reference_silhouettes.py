"""Pairs of pixels that a silhouette edge parts, in plain torch: any device, the oracle of the other back ends."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int8, Int32, Int64
from torch import Tensor


@torch.no_grad()
def silhouettes(
    pixels: Float64[Tensor, "n v 2"],
    faces: Int32[Tensor, "f 3"],
    opposite: Int32[Tensor, "f 3"],
    face: Int32[Tensor, "n h w"],
    depth: Float[Tensor, "n h w"],
) -> Int8[Tensor, "n h w 2"]:
    """Return what parts each pixel from its neighbours; see :func:`recon3d.render.mesh.cpu_silhouettes.silhouettes`."""
    code = torch.zeros(*face.shape, 2, dtype=torch.int8, device=face.device)
    for axis in range(2):
        _, height, width = face.shape
        here = (slice(None), slice(0, height - axis), slice(0, width - 1 + axis))
        there = (slice(None), slice(axis, height), slice(1 - axis, width))
        camera, row, column = torch.nonzero(face[here] != face[there], as_tuple=True)
        own, other = face[here][camera, row, column].long(), face[there][camera, row, column].long()
        nearer = depth[here][camera, row, column] <= depth[there][camera, row, column]
        first = (other < 0) | ((own >= 0) & nearer)
        back = (~first).long()
        centre = torch.stack([column + back * (1 - axis), row + back * axis], 1).double() + 0.5
        edge = _parting(pixels, faces, opposite, camera, torch.where(first, own, other), centre, 1 - 2 * back, axis)
        code[camera, row, column, axis] = torch.where(edge >= 0, 1 + 3 * back + edge, 0).to(torch.int8)
    return code


def _parting(
    pixels: Float64[Tensor, "n v 2"],
    faces: Int32[Tensor, "f 3"],
    opposite: Int32[Tensor, "f 3"],
    camera: Int64[Tensor, " m"],
    face: Int64[Tensor, " m"],
    centre: Float[Tensor, "m 2"],
    step: Int64[Tensor, " m"],
    axis: int,
) -> Int64[Tensor, " m"]:
    """Return the first silhouette edge of a face between a pixel's centre and the next one; -1 = none."""
    corners = faces[face].long()
    beyond = opposite[face].long()
    found = torch.full_like(face, -1)
    for i in (2, 1, 0):
        tip, start, end = (pixels[camera, corners[:, (i + shift) % 3]] for shift in range(3))
        a, b = (start - centre).flip(1).T if axis else (start - centre).T
        c, d = (end - centre).flip(1).T if axis else (end - centre).T
        along, across = (c - a).abs(), (d - b).abs()
        steep = along < across if axis else along <= across
        place = (a * d - c * b) / (d - b) * step
        parts = ((b <= 0) != (d <= 0)) & steep & (place >= 0) & (place <= 1)
        outside = pixels[camera, beyond[:, i].clamp(min=0)]
        fold = _cross(start, end, tip) * _cross(start, end, outside) > 0
        found = torch.where(parts & (fold | (beyond[:, i] < 0)), i, found)
    return found


def _cross(a: Float64[Tensor, "m 2"], b: Float64[Tensor, "m 2"], p: Float64[Tensor, "m 2"]) -> Float64[Tensor, " m"]:
    return (a - p)[:, 0] * (b - p)[:, 1] - (a - p)[:, 1] * (b - p)[:, 0]
