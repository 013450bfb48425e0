"""A search for the kind of material: which roughness, and metal or not, explains each patch of a surface best."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from recon3d.render.shading import srgb_from_linear
from recon3d.render.shading.bsdf.metallic_roughness import DIELECTRIC_F0
from recon3d.splats.relight.surface_model import SurfaceModel

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.55, 0.75)  # roughnesses that are tried
_METAL_MUST_BE = 0.8  # of the error of the best dielectric, to be believed
_USUAL_ROUGHNESS, _USUAL_WEIGHT = 0.5, 0.2
_POOLING, _POOLED = 12, 0.9  # how often, and how much, like patches share their errors
_N_RAYS, _AT_ONCE = 16, 1024
_SATURATED, _DARK = 0.99, 0.05
_BRIGHTEST, _BRIGHTEST_METAL = 1.6, 0.98  # above 1 the light is too dark: see balance()
_CERTAIN = 0.95  # metallic of what was found to be metal
_TOP_ALBEDO, _TOP_SHARE = 0.75, 0.9


def choose_materials(model: SurfaceModel) -> float:
    """Give every patch the best roughness and kind, and every vertex the albedo that suits it; then balance the scale.

    For every roughness, as a dielectric and as a metal, the best albedo has a closed form. The error of a patch counts
    for its neighbours of like colour too.

    Args:
        model: changed in place.

    Returns:
        The factor by which the light was raised: photos fix the product of light and albedo only, and the scale is
        chosen so that nine tenths of the well-lit surface, metals aside, have an albedo of at most 0.75.
    """
    error, albedo = _try_all(model)
    error = _pooled(error, model)
    levels = torch.tensor(LEVELS)
    error = error * (1 + _USUAL_WEIGHT * (levels - _USUAL_ROUGHNESS).square())[:, None]
    best, level = error.min(1)  # [p,2]
    metal = best[:, 1] < _METAL_MUST_BE * best[:, 0]
    chosen = torch.where(metal, level[:, 1], level[:, 0])
    kind = metal.long()
    of_vertex = albedo[torch.arange(len(albedo)), chosen[model.patch], kind[model.patch]]
    scaled, factor = _balanced(model, of_vertex, metal[model.patch])
    model.set_materials(scaled, levels[chosen], torch.where(metal, _CERTAIN, 1 - _CERTAIN))
    model.log_light.restart(model.log_light.value + math.log(factor))
    model.refresh()
    return factor


@torch.no_grad()
def _try_all(model: SurfaceModel) -> tuple[Float[Tensor, "p l 2"], Float[Tensor, "v l 2 3"]]:
    """Return the summed errors of patches and the best albedo of vertices, by roughness, for dielectrics and metals."""
    light = model.light
    errors = torch.zeros(int(model.patch.max()) + 1, len(LEVELS), 2)
    albedos = torch.full((len(model.transport), len(LEVELS), 2, 3), 0.5)
    for first in range(0, len(model.rows), _AT_ONCE):
        rows = model.rows[first : first + _AT_ONCE]
        which, seen = model.observations.of(rows)
        vertices, rgb, view = rows[which], model.observations.rgb[seen], model.observations.view[seen]
        rgb = rgb * torch.exp(-model.log_gains.value[model.observations.photo[seen]])[:, None]
        diffuse = (model.irradiance(rows, light) / math.pi)[which]
        cosine = (model.transport.normals[vertices] * view).sum(-1, keepdim=True).clamp(0, 1)
        weight = cosine * (rgb.amax(1, keepdim=True) < _SATURATED) / (rgb.mean(1, keepdim=True) + _DARK)
        for level, roughness in enumerate(LEVELS):
            a, b = model.specular(vertices, view, torch.full((len(vertices),), roughness), light, _N_RAYS)
            for kind, (basis, rest) in enumerate(((diffuse, DIELECTRIC_F0 * a + b), (a, b))):
                most = _BRIGHTEST_METAL if kind else _BRIGHTEST
                albedo = _best_albedo(rgb - rest, basis, weight, which, len(rows)).clamp(0.02, most)
                albedos[rows, level, kind] = albedo
                missed = srgb_from_linear(albedo[which] * basis + rest) - srgb_from_linear(rgb)
                errors[:, level, kind].index_add_(0, model.patch[vertices], missed.abs().mean(1) * cosine[:, 0])
    return errors, albedos


def _best_albedo(
    target: Float[Tensor, "o 3"],
    basis: Float[Tensor, "o 3"],
    weight: Float[Tensor, "o 1"],
    which: Int64[Tensor, " o"],
    n: int,
) -> Float[Tensor, "n 3"]:
    """Return the least-squares factors of ``basis`` for each of n groups of observations."""
    above, below = (
        torch.zeros(n, 3).index_add_(0, which, values) for values in (weight * target * basis, weight * basis * basis)
    )
    return above / below.clamp_min(1e-9)


def _pooled(error: Float[Tensor, "p l 2"], model: SurfaceModel) -> Float[Tensor, "p l 2"]:
    """Return errors to which those of like patches around are added, less the farther away they are."""
    first, second = model.pairs
    likeness = model.likeness
    degree = torch.zeros(len(error)).index_add_(0, first, likeness).index_add_(0, second, likeness).clamp_min(1)
    share = (_POOLED * likeness)[:, None, None]
    total = error
    for _ in range(_POOLING):
        spread = total / degree[:, None, None]
        more = torch.zeros_like(error).index_add_(0, first, share * spread[second])
        total = error + more.index_add_(0, second, share * spread[first])
    return total


def _balanced(
    model: SurfaceModel, albedo: Float[Tensor, "v 3"], metal: Bool[Tensor, " v"]
) -> tuple[Float[Tensor, "v 3"], float]:
    """Return the albedo at the chosen scale, and by which factor that of the light grows instead."""
    irradiance = model.transport.irradiance_everywhere(model.light).mean(1)
    usual = torch.zeros(len(metal), dtype=torch.bool)
    usual[model.rows] = True
    usual &= ~metal & (irradiance > irradiance[model.rows].median())
    if not usual.any():
        return albedo, 1.0
    factor = max(float(torch.quantile(albedo[usual].amax(1), _TOP_SHARE)) / _TOP_ALBEDO, 1e-3)
    return torch.where(metal[:, None], albedo, albedo / factor), factor
