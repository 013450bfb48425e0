"""Splats from a mesh whose material is known at its vertices: one flat Gaussian per vertex."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from recon3d.core.errors import InputError, UsageError
from recon3d.formats.quaternions import quaternion_from_rotation
from recon3d.render.gaussians.types import Gaussians
from recon3d.render.mesh.normals import normals_of
from recon3d.render.mesh.types import Mesh
from recon3d.render.shading import Environment, shading_frames
from recon3d.splats.relight.shade import SplatLight, bake_colours
from recon3d.splats.relight.transfer import TransferOptions, bake_transfer
from recon3d.splats.relight.types import RelightableGaussians

_SLIMMEST = 1 / 5  # width of a surfel over its length
MAP_ROWS = 64  # of the light; estimates are no finer
_LIGHT_NAME = "the light of the photos, as estimated"


@runtime_checkable
class LitSurface(Protocol):
    """A mesh with a material at its vertices, below a light: what the estimate of materials holds."""

    @property
    def mesh(self) -> Mesh:
        """Vertices, faces and perhaps normals in the world."""

    @property
    def albedo(self) -> Float32[np.ndarray, "v 3"]:
        """Linear RGB, 0 to 1, ``[v,3]``."""

    @property
    def roughness(self) -> Float32[np.ndarray, " v"]:
        """Perceptual, 0 to 1, ``[v]``."""

    @property
    def metallic(self) -> Float32[np.ndarray, " v"]:
        """0 to 1, ``[v]``."""

    @property
    def environment(self) -> Environment:
        """The light."""


@dataclass(frozen=True)
class SurfelOptions:
    """Options of :func:`surfels_of`.

    Args:
        size: standard deviations of a surfel over those of the faces around its vertex; with less there are holes
            between surfels, with more they blur the material.
        thickness: standard deviation along the normal over the smaller one of the other two.
        opacity: of every surfel.
        transfer: how the shadows are baked.

    Raises:
        UsageError: a number is out of its range.
    """

    size: float = 1.25
    thickness: float = 0.05
    opacity: float = 0.99
    transfer: TransferOptions = field(default_factory=TransferOptions)

    def __post_init__(self) -> None:
        for name, most in (("size", math.inf), ("thickness", 1.0), ("opacity", 0.999999)):
            value = getattr(self, name)
            if not 0 < value <= most or math.isinf(value):
                raise UsageError(f"{name} of surfels is out of range", got=value, expected=f"above 0, up to {most:g}")


def surfels_of(surface: LitSurface, options: SurfelOptions | None = None) -> RelightableGaussians:
    """Return one flat Gaussian per vertex, with the vertex's material, baked shadows and its colour under the light.

    Place and extent in the tangent plane follow the faces around the vertex, by their centroid and second moment: at
    open edges a surfel does not reach beyond them. Vertices that no face with an area uses become no splat.

    Args:
        surface: what is covered, such as a :class:`recon3d.splats.relight.RelightEstimate`.
        options: how; None = the defaults.

    Raises:
        InputError: no face has an area, or a vertex is not finite.
    """
    options = options or SurfelOptions()
    mesh = surface.mesh
    around = _around(mesh)
    kept = around.area > 0
    if not kept.any():
        raise InputError("a mesh without area has no surfels", got=f"{len(mesh.faces)} faces")
    normals = torch.from_numpy(normals_of(mesh)[kept])
    up, shift = normals.double().numpy(), around.centroid[kept]
    shift = shift - (shift * up).sum(1, keepdims=True) * up  # along the surface
    moment = around.moment[kept] - shift[:, :, None] * shift[:, None]
    rotations, deviations = _discs(moment, up, options)
    means = torch.from_numpy((mesh.vertices[kept] + shift).astype(np.float32))
    gaussians = Gaussians(
        means,
        torch.from_numpy(quaternion_from_rotation(rotations)).float(),
        torch.from_numpy(np.log(deviations)).float(),
        torch.full((len(means),), math.log(options.opacity / (1 - options.opacity))),
        torch.zeros(len(means), 1, 3),
    )
    transfer = bake_transfer(means, normals, mesh, options.transfer)
    splats = RelightableGaussians(gaussians, normals, *_material(surface, kept), transfer)
    return bake_colours(splats, SplatLight.of(surface.environment.to(torch.float32), max_rows=MAP_ROWS), _LIGHT_NAME)


def _material(surface: LitSurface, kept: Bool[np.ndarray, " v"]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    values = (surface.albedo, surface.roughness, surface.metallic)
    albedo, roughness, metallic = (torch.from_numpy(np.asarray(value, np.float32)[kept]) for value in values)
    return albedo, roughness, metallic


class _Around(NamedTuple):
    """The faces around each vertex: their centroid from it, ``[v,3]``, second moment about it, and area, ``[v]``."""

    centroid: Float64[np.ndarray, "v 3"]
    moment: Float64[np.ndarray, "v 3 3"]
    area: Float64[np.ndarray, " v"]


def _around(mesh: Mesh) -> _Around:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    if not np.isfinite(corners).all():
        raise InputError("a vertex of the mesh is not finite")
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    v = len(mesh.vertices)
    sums, total = np.zeros((v, 12)), np.zeros(v)
    for corner in range(3):
        one, two = (corners[:, (corner + k) % 3] - corners[:, corner] for k in (1, 2))
        edges = np.stack([one, two, one + two], 1)
        moment = np.einsum("fki,fkj->fij", edges, edges).reshape(-1, 9) / 12
        own = np.concatenate([(one + two) / 3, moment], 1) * area[:, None]
        where = mesh.faces[:, corner]
        total += np.bincount(where, area, v)
        sums += np.stack([np.bincount(where, column, v) for column in own.T], 1)
    mean = sums / np.where(total > 0, total, 1.0)[:, None]
    return _Around(mean[:, :3], mean[:, 3:].reshape(v, 3, 3), total)


def _discs(
    moment: Float64[np.ndarray, "g 3 3"], normals: Float64[np.ndarray, "g 3"], options: SurfelOptions
) -> tuple[Float64[np.ndarray, "g 3 3"], Float64[np.ndarray, "g 3"]]:
    """Return the axes of surfels as the columns of rotations, and the standard deviations along them."""
    frames = shading_frames(torch.from_numpy(normals)).numpy()
    frames = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    values, axes = np.linalg.eigh((frames.transpose(0, 2, 1) @ moment @ frames)[:, :2, :2])
    axes[:, :, 1] *= np.sign(np.linalg.det(axes))[:, None]
    rotations = frames.copy()
    rotations[:, :, :2] = frames[:, :, :2] @ axes
    longest = np.sqrt(np.maximum(values[:, 1], np.trace(moment, axis1=1, axis2=2) * _SLIMMEST**2))
    width = np.maximum(np.sqrt(np.maximum(values[:, 0], 0.0)), longest * _SLIMMEST)
    return rotations, options.size * np.stack([width, longest, options.thickness * width], 1)
