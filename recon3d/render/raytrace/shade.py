"""One vertex of many paths: light from the environment, and the next direction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from recon3d.render.raytrace.surfaces import Surface
from recon3d.render.shading.bsdf import Bsdf
from recon3d.render.shading.frames import to_local, to_world
from recon3d.render.shading.light_sampling import EnvironmentSampler

N_NUMBERS = 5  # two for the light, three for the BSDF


class Shaded(NamedTuple):
    """What happens at the vertices.

    Args:
        light_way: unit directions to the light, ``[n,3]``.
        light: what comes from there to the viewer if nothing is in the way, weighted against BSDF sampling, ``[n,3]``.
        way: unit directions of the next segments, ``[n,3]``.
        weight: BSDF times cosine over density of ``way``; zero where the path ends, ``[n,3]``.
        density: of ``way`` per solid angle, ``[n]``.
    """

    light_way: Float32[np.ndarray, "n 3"]
    light: Float32[np.ndarray, "n 3"]
    way: Float32[np.ndarray, "n 3"]
    weight: Float32[np.ndarray, "n 3"]
    density: Float32[np.ndarray, " n"]


def shade(
    surface: Surface, bsdf: Bsdf, sampler: EnvironmentSampler | None, numbers: Float32[np.ndarray, "n 5"]
) -> Shaded:
    """Shade points of one material with any BSDF.

    Neither light nor the next segment may change the side of the triangle that the shading normal says, unless the
    material transmits; what interpolated normals would let through below the horizon of the triangle is cut.

    Args:
        surface: the points.
        bsdf: their material.
        sampler: of the environment; None = there is no light.
        numbers: uniform in [0,1), ``[n,5]``.
    """
    wi, frames = torch.from_numpy(surface.wi), torch.from_numpy(surface.frame).mT
    flat, draws = torch.from_numpy(surface.flat), torch.from_numpy(numbers)
    local, weight, density = bsdf.sample(wi, draws[:, 2:].contiguous())
    way = to_world(frames, local)
    passes = torch.ones(len(wi), dtype=torch.bool) if bsdf.transmits else _same_side(flat, way, local)
    weight = torch.where(passes[:, None], weight, 0.0)
    light_way, light = torch.zeros_like(wi), torch.zeros_like(wi)
    if sampler is not None:
        light_way, radiance, light_density = sampler.sample(draws[:, :2].contiguous())
        towards = to_local(frames, light_way)
        value, other = bsdf.eval(wi, towards), bsdf.pdf(wi, towards)
        share = power_share(light_density, other) / light_density.clamp_min(1e-30)
        seen = (light_density > 0) if bsdf.transmits else (light_density > 0) & _same_side(flat, light_way, towards)
        light = torch.where(seen[:, None], value * radiance * share[:, None], 0.0)
    return Shaded._make(_array(one) for one in (light_way, light, way, weight, density))


def power_share(own: Tensor, other: Tensor) -> Tensor:
    """Return the weight of one of two strategies by the power heuristic (Veach and Guibas, 1995), ``[n]``."""
    ratio = other / own.clamp_min(1e-30)
    return 1 / (1 + ratio * ratio)


def _same_side(flat: Tensor, way: Tensor, local: Tensor) -> Tensor:
    return (flat * way).sum(-1) * local[..., 2] > 0


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.numpy(), np.float32)
