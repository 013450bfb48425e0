"""Numba back end of the Gaussian core: the three functions of the public layer for float32 tensors on the CPU.

All gradients are written by hand, and every result has the same bits for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon3d.render.gaussians.cpu_backward import ByPixels, blend_backward
from recon3d.render.gaussians.cpu_forward import blend
from recon3d.render.gaussians.cpu_harmonics import harmonics_backward, harmonics_forward
from recon3d.render.gaussians.cpu_projection import (
    PinholeCamera,
    Projected,
    pinhole_camera,
    project_forward,
)
from recon3d.render.gaussians.cpu_projection_backward import project_backward
from recon3d.render.gaussians.cpu_scene import Splats, tile_scene
from recon3d.render.gaussians.options import ProjectionOptions, RasterOptions
from recon3d.render.gaussians.types import Projection


def project(
    means: Float[Tensor, "g 3"],
    quats: Float[Tensor, "g 4"],
    log_scales: Float[Tensor, "g 3"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    opacities: Float[Tensor, " g"] | None = None,
    options: ProjectionOptions = ProjectionOptions(),  # noqa: B008 - frozen
) -> Projection:
    """Project Gaussians into one camera; see :func:`recon3d.render.gaussians.project`.

    Differentiable in means, quats, log_scales and cam_from_world.
    """
    camera = pinhole_camera(_array(cam_from_world), _array(K), width, height)
    strength = None if opacities is None else _array(opacities)
    arguments = (means, quats, log_scales, cam_from_world, camera, strength, options)
    return Projection(*_Project.apply(*arguments))  # type: ignore[no-untyped-call]


def spherical_harmonics(
    directions: Float[Tensor, "g 3"], coefficients: Float[Tensor, "g k 3"], degree: int
) -> Float[Tensor, "g 3"]:
    """Evaluate spherical harmonics; see :func:`recon3d.render.spherical_harmonics.spherical_harmonics`.

    Differentiable in directions and coefficients.
    """
    value: Tensor = _Harmonics.apply(directions, coefficients, degree)  # type: ignore[no-untyped-call]
    return value


def rasterize_projected(
    projection: Projection,
    opacities: Float[Tensor, " g"],
    features: Float[Tensor, "g c"],
    width: int,
    height: int,
    *,
    background: Float[Tensor, " c"] | None = None,
    options: RasterOptions = RasterOptions(),  # noqa: B008 - frozen
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Blend projected Gaussians front to back; see :func:`recon3d.render.gaussians.rasterize_projected`.

    Differentiable in means2d, conics, depths, opacities, features and background, through the image, alpha and the
    expected depth.
    """
    frame = _Frame(_array(projection.radii.to(torch.int32)), width, height, options)
    geometry = (projection.means2d, projection.conics, projection.depths)
    found = _Rasterize.apply(*geometry, opacities, features, background, frame)  # type: ignore[no-untyped-call]
    image, alpha, expected, median = found
    return image, alpha, expected, median


@dataclass(frozen=True, eq=False)
class _Frame:
    radii: Any
    width: int
    height: int
    options: RasterOptions


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        log_scales: Tensor,
        cam_from_world: Tensor,
        camera: PinholeCamera,
        opacities: Any,
        options: ProjectionOptions,
    ) -> tuple[Tensor, ...]:
        inputs = (_array(means), _array(quats), _array(log_scales))
        out, radii = project_forward(inputs, opacities, camera, options)
        ctx.save_for_backward(means, quats, log_scales)
        ctx.camera, ctx.eps2d, ctx.radii = camera, options.eps2d, radii
        tensors = [torch.from_numpy(v) for v in (out.means2d, out.depths, out.conics, out.compensations, radii)]
        ctx.mark_non_differentiable(tensors[-1])
        return tuple(tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by: Tensor) -> tuple[Tensor | None, ...]:
        means, quats, log_scales = (_array(value) for value in ctx.saved_tensors)
        means2d, depths, conics, compensations = (_array(value) for value in by[:4])
        grads, pose = project_backward(
            (means, quats, log_scales),
            ctx.camera,
            ctx.eps2d,
            ctx.radii,
            Projected(means2d, depths, conics, compensations),
        )
        full = np.zeros((4, 4), np.float32)
        full[:3] = pose
        return (*(torch.from_numpy(value) for value in (*grads, full)), None, None, None)


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, directions: Tensor, coefficients: Tensor, degree: int) -> Tensor:
        ctx.save_for_backward(directions, coefficients)
        ctx.degree = degree
        return torch.from_numpy(harmonics_forward(_array(directions), _array(coefficients), degree))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, ...]:
        directions, coefficients = (_array(value) for value in ctx.saved_tensors)
        grads = harmonics_backward(directions, coefficients, ctx.degree, _array(by))
        return (*(torch.from_numpy(value) for value in grads), None)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        depths: Tensor,
        opacities: Tensor,
        features: Tensor,
        background: Tensor | None,
        frame: _Frame,
    ) -> tuple[Tensor, ...]:
        centres, shapes, distances, strengths, values = map(_array, (means2d, conics, depths, opacities, features))
        splats = Splats(centres, shapes, distances, frame.radii, strengths, values)
        scene = tile_scene(splats, frame.width, frame.height, frame.options)
        behind = np.zeros(features.shape[1], np.float32) if background is None else _array(background)
        blended = blend(scene, behind)
        ctx.splats, ctx.scene, ctx.behind, ctx.blended = splats, scene, behind, blended
        outputs = (blended.image, blended.alpha, blended.expected, blended.median)
        tensors = tuple(torch.from_numpy(value) for value in outputs)
        ctx.mark_non_differentiable(tensors[3])
        return tensors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by: Tensor) -> tuple[Tensor | None, ...]:
        by_pixels = ByPixels(*(_array(value) for value in by[:3]))
        grads = blend_backward(ctx.splats, ctx.scene, ctx.behind, ctx.blended, by_pixels)
        ordered = (grads.means2d, grads.conics, grads.depths, grads.opacities, grads.features, grads.background)
        wanted = zip(ordered, ctx.needs_input_grad[:-1], strict=True)
        return (*(torch.from_numpy(value) if needed else None for value, needed in wanted), None)


def _array(tensor: Tensor) -> Any:
    """Return the contiguous array behind a tensor, without its history."""
    return tensor.detach().contiguous().numpy()
