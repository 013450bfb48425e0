"""Diffuse transfer vectors of splats, by rays against a mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.mesh.types import Mesh
from recon3d.render.raytrace import Bvh
from recon3d.render.shading import sh_basis, shading_frames
from recon3d.splats.relight.types import TRANSFER_DEGREE, open_transfer

_RAYS_AT_ONCE = 1 << 19
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class TransferOptions:
    """Options of :func:`bake_transfer`.

    Args:
        directions: rays per splat.
        offset: how far in front of a splat, along its normal, rays start, in diagonals of the mesh; splats that lie
            deeper below its surface than that come out black.
        reach: what is farther away does not shade, in diagonals of the mesh; None = everything does.

    Raises:
        UsageError: a number is out of its range.
    """

    directions: int = 256
    offset: float = 1e-3
    reach: float | None = None

    def __post_init__(self) -> None:
        if self.directions < 1:
            raise UsageError("directions must be positive", got=self.directions)
        if not 0 <= self.offset < math.inf or (self.reach is not None and not self.reach > 0):
            raise UsageError("offset and reach must be lengths", got=(self.offset, self.reach))


def bake_transfer(
    points: Float[Tensor, "g 3"],
    normals: Float[Tensor, "g 3"],
    mesh: Mesh,
    options: TransferOptions | None = None,
) -> Float32[Tensor, "g 9"]:
    """Return ``t_i = integral V(w) max(n.w, 0) Y_i(w) dw`` of points, degrees 0 to 2, ``[g,9]`` on the CPU.

    ``A_l Y_lm(n)``, which is exact, minus what the mesh blocks, by rays in fixed directions of cosine-weighted density.
    The result of a point depends on no other point. Both sides of a face block.

    Args:
        points: centres of splats in the world, ``[g,3]``.
        normals: their unit normals, ``[g,3]``.
        mesh: what blocks light; one without faces blocks none.
        options: how; None = the defaults.

    Raises:
        ShapeError: points and normals disagree.
        InputError: a vertex of the mesh is not finite.

    Source: Sloan, Kautz and Snyder, "Precomputed Radiance Transfer", 2002.
    """
    options = options or TransferOptions()
    if points.shape != normals.shape or points.shape[1:] != (3,):
        raise ShapeError("every point has a normal", got=tuple(normals.shape), expected=tuple(points.shape))
    where, up = points.detach().cpu().double(), normals.detach().cpu().double()
    total = open_transfer(up)
    if len(mesh.faces):
        bvh, size = Bvh(mesh.vertices, mesh.faces), _diagonal(mesh)
        start = where + up * (options.offset * size)
        reach = math.inf if options.reach is None else options.reach * size
        pattern = torch.from_numpy(cosine_directions(options.directions))
        step = max(1, _RAYS_AT_ONCE // options.directions)
        parts = [_blocked(bvh, start[i : i + step], up[i : i + step], pattern, reach) for i in range(0, len(up), step)]
        total = total - torch.cat([*parts, total[:0]])
    return total.float()


def cosine_directions(n: int) -> Float64[np.ndarray, "n 3"]:
    """Return n well-spread directions above the xy plane, as dense as their z is large: a spiral on the disc, lifted.

    Args:
        n: how many.

    Source: Vogel, "A better way to construct the sunflower head", 1979.
    """
    index = np.arange(n)
    square, angle = (index + 0.5) / n, index * _GOLDEN_ANGLE
    radius = np.sqrt(square)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - square)], 1)


def _blocked(
    bvh: Bvh, origins: Float[Tensor, "g 3"], normals: Float[Tensor, "g 3"], pattern: Float[Tensor, "d 3"], reach: float
) -> Float[Tensor, "g 9"]:
    """Return the part of the integral that the mesh takes away."""
    directions = torch.einsum("gij,dj->gdi", shading_frames(normals), pattern)
    rays = directions.reshape(-1, 3).numpy()
    hit: Bool[np.ndarray, " r"] = bvh.any_hit(origins.repeat_interleave(len(pattern), 0).numpy(), rays, t_max=reach)
    basis = sh_basis(directions, TRANSFER_DEGREE)
    found = torch.from_numpy(hit).reshape(len(origins), len(pattern), 1)
    return torch.where(found, basis, 0.0).sum(1) * (math.pi / len(pattern))


def _diagonal(mesh: Mesh) -> float:
    used = mesh.vertices[np.unique(mesh.faces)].astype(np.float64)
    return float(np.linalg.norm(used.max(0) - used.min(0)))
