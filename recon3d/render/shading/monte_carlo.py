"""Shading under an environment by sampling both the light and the material."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon3d.core.errors import ShapeError, UsageError
from recon3d.render.shading.bsdf.base import Bsdf
from recon3d.render.shading.frames import shading_frames, to_local, to_world
from recon3d.render.shading.light_sampling import EnvironmentSampler

Visibility = Callable[[Int[Tensor, " m"], Float[Tensor, "m 3"]], Tensor]
_ROWS = 1 << 18  # samples at once
_STEPS = (0.8191725134, 0.6710436067, 0.5497004779)  # Roberts' sequence: powers of 1 / 1.22074


def shade_monte_carlo(
    normals: Float[Tensor, "n 3"],
    views: Float[Tensor, "n 3"],
    material: Bsdf,
    env_sampler: EnvironmentSampler,
    n_samples: int,
    visibility: Visibility | None = None,
    generator: torch.Generator | None = None,
    tangents: Float[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "n 3"]:
    """Return the light towards the viewer under an environment, unbiased, ``[n,3]``.

    Each of the samples draws one direction from the light and one from the material, weighted by the balance heuristic.
    Random numbers are a shifted low-discrepancy sequence per row. Differentiable in the material and the radiance of
    the environment, at fixed directions; with ``visibility`` None also (by the lookups) in normals and views.

    Args:
        normals: unit vectors in the world, ``[n,3]``.
        views: unit vectors towards the viewer, ``[n,3]``.
        material: one BSDF with parameters per row, or one for all.
        env_sampler: the light.
        n_samples: pairs of directions per row.
        visibility: given rows ``[m]`` and unit directions of the world ``[m,3]``, returns ``[m]``: 1 where the light
            arrives and 0 where something is in the way, or anything in between; None = nothing is in the way.
        generator: of the random numbers; None = seed 0, the same at every call.
        tangents: where the x axes of the local frames point, for anisotropic materials, ``[n,3]``.

    Raises:
        ShapeError: normals and views differ in number.
        UsageError: there are no samples.

    Source: Veach and Guibas, "Optimally Combining Sampling Techniques for Monte Carlo Rendering", 1995.
    """
    if normals.shape != views.shape:
        raise ShapeError("one view per normal", got=tuple(views.shape), expected=tuple(normals.shape))
    if n_samples < 1:
        raise UsageError("at least one sample is needed", got=n_samples)
    n = len(normals)
    source = torch.Generator(normals.device).manual_seed(0) if generator is None else generator
    shifts = torch.rand(2, n, 3, generator=source, device=source.device, dtype=torch.float32).to(normals)
    frames = shading_frames(normals, tangents)
    wi = to_local(frames, views)
    total = torch.zeros_like(normals)
    step = max(1, _ROWS // max(n, 1))
    for start in range(0, n_samples, step):
        index = torch.arange(start, min(start + step, n_samples), device=normals.device)
        u = (shifts[:, None] + _sequence(index).to(normals)[:, None]) % 1.0
        u = u.clamp_max(1 - 2.0**-24)
        for both in (
            _from_light(frames, wi, material, env_sampler, u[0]),
            _from_material(frames, wi, material, env_sampler, u[1]),
        ):
            light, directions = both
            if visibility is not None:
                light = light * _seen(visibility, light, directions)
            total = total + light.sum(0)
    return total / n_samples


def _sequence(index: Tensor) -> Tensor:
    """Return points of the unit cube, ``[k,3]``."""
    return (index.double()[:, None] * torch.tensor(_STEPS, dtype=torch.float64, device=index.device)) % 1.0


def _from_light(
    frames: Tensor, wi: Tensor, material: Bsdf, sampler: EnvironmentSampler, u: Tensor
) -> tuple[Tensor, Tensor]:
    directions, radiance, density = sampler.sample(u[..., :2].reshape(-1, 2))
    directions, radiance = directions.reshape(u.shape), radiance.reshape(u.shape)
    wo = to_local(frames, directions)
    both = (density.reshape(u.shape[:-1]) + material.pdf(wi, wo).detach()).clamp_min(1e-30)
    return material.eval(wi, wo) * radiance / both[..., None], directions


def _from_material(
    frames: Tensor, wi: Tensor, material: Bsdf, sampler: EnvironmentSampler, u: Tensor
) -> tuple[Tensor, Tensor]:
    wo, weight, density = material.sample(wi.expand(u.shape), u)
    directions = to_world(frames, wo)
    both = (density + sampler.pdf(directions)).clamp_min(1e-30)
    return weight * sampler.env.lookup(directions) * (density / both).detach()[..., None], directions


def _seen(visibility: Visibility, light: Tensor, directions: Tensor) -> Tensor:
    """Ask only about the directions that carry light."""
    lit = (light.detach() > 0).any(-1)
    rows = torch.arange(light.shape[1], device=light.device).expand(lit.shape)[lit]
    answer = visibility(rows, directions.detach()[lit])
    return torch.zeros_like(light[..., :1]).masked_scatter(lit[..., None], answer.to(light.dtype))
