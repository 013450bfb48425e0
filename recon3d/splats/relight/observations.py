"""What photos show of the vertices of a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

from recon3d.render.cameras import Cameras
from recon3d.render.shading import linear_from_srgb
from recon3d.splats.relight.light_transport import LightTransport

_LEAST_COSINE = 0.15  # views more slanted than this blur too much
_BORDER = 1.0  # pixels


@dataclass(frozen=True, eq=False)
class Observations:
    """Colours of vertices in photos, vertex after vertex.

    Args:
        first: where those of each vertex begin; the last number is how many there are, ``[v+1]``.
        rgb: linear colours, ``[o,3]``.
        view: unit vectors from the vertices towards the cameras, ``[o,3]``.
        photo: which photo, ``[o]``.
    """

    first: Int64[Tensor, " w"]
    rgb: Float[Tensor, "o 3"]
    view: Float[Tensor, "o 3"]
    photo: Int64[Tensor, " o"]

    @property
    def count(self) -> Int64[Tensor, " v"]:
        """How many photos show each vertex, ``[v]``."""
        return self.first.diff()

    @property
    def owner(self) -> Int64[Tensor, " o"]:
        """The vertex of each observation, ``[o]``."""
        return torch.repeat_interleave(torch.arange(len(self.first) - 1), self.count)

    def of(self, vertices: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"]]:
        """Return the observations of vertices: which of the ``vertices`` each belongs to, and their rows."""
        count = self.count[vertices]
        which = torch.repeat_interleave(torch.arange(len(vertices)), count)
        before = torch.cumsum(count, 0) - count
        return which, self.first[vertices][which] + torch.arange(len(which)) - before[which]

    def mean(self, values: Float[Tensor, "o 3"]) -> Float[Tensor, "v 3"]:
        """Return the mean over the observations of each vertex, zero where there are none, ``[v,3]``."""
        total = values.new_zeros(len(self.first) - 1, 3).index_add_(0, self.owner, values)
        return total / self.count.clamp_min(1)[:, None]


def observe(
    transport: LightTransport,
    cameras: Cameras,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    masks: Sequence[Bool[np.ndarray, "_ _"] | None],
) -> Observations:
    """Look every vertex up in every photo that shows it unoccluded, inside its mask and not too slanted.

    Args:
        transport: the surface.
        cameras: pinhole cameras.
        images: photos, sRGB.
        masks: where photos count; None = everywhere.
    """
    seen = [_in_photo(transport, cameras, row, images[row], masks[row]) for row in range(len(cameras))]
    vertex = np.concatenate([rows for rows, _, _ in seen])
    order = np.argsort(vertex, kind="stable")
    photo = np.repeat(np.arange(len(seen)), [len(rows) for rows, _, _ in seen])[order]
    rgb, view = (torch.from_numpy(np.concatenate([part[k] for part in seen])[order]) for k in (1, 2))
    count = np.bincount(vertex, minlength=len(transport))
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return Observations(torch.from_numpy(first), rgb, view, torch.from_numpy(photo))


def _in_photo(
    transport: LightTransport,
    cameras: Cameras,
    row: int,
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"] | None,
) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"]]:
    """Return the vertices that one photo shows, their linear colours, and directions towards its camera."""
    points, normals = transport.points.double().numpy(), transport.normals.double().numpy()
    center = cameras.centers[row]
    away = center - points
    view = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-300)
    xy, depth = cameras.project(points, np.full(len(points), row))
    size = np.array([image.shape[1], image.shape[0]], np.float64)
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & (xy > _BORDER).all(axis=1) & (xy < size - _BORDER).all(axis=1)
    rows = np.flatnonzero(inside & ((view * normals).sum(axis=1) > _LEAST_COSINE))
    start = transport.start[rows]
    rows = rows[~transport.bvh.any_hit(start, (center - start).astype(np.float32), t_max=1.0)]
    counts = np.ones(image.shape[:2], np.bool_) if mask is None else mask
    rgb, covered = _bilinear(image, counts, xy[rows])
    return rows[covered], rgb[covered], view[rows[covered]].astype(np.float32)


def _bilinear(
    image: UInt8[np.ndarray, "h w 3"], counts: Bool[np.ndarray, "h w"], xy: Float64[np.ndarray, "n 2"]
) -> tuple[Float32[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Return linear colours between four pixels, and whether all of these count."""
    table = linear_from_srgb(torch.arange(256) / 255).numpy()
    corner = np.floor(xy - 0.5)
    share = xy - 0.5 - corner
    x, y = corner.astype(np.int64).T
    rgb, covered = np.zeros((len(xy), 3)), np.ones(len(xy), np.bool_)
    for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = np.abs(1 - right - share[:, 0]) * np.abs(1 - down - share[:, 1])
        rgb += weight[:, None] * table[image[y + down, x + right]]
        covered &= counts[y + down, x + right]
    return rgb.astype(np.float32), covered
