"""A search for the kind of material: which roughness, and metal or not, explains each patch of a surface best."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
_SAMPLE = 20_000  # vertices that decide on the kind
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
    error = _pooled(_try_all(model), model)
    levels = torch.tensor(LEVELS)
    error = error * (1 + _USUAL_WEIGHT * (levels - _USUAL_ROUGHNESS).square())[:, None]
    best, level = error.min(1)  # [p,2]
    metal = best[:, 1] < _METAL_MUST_BE * best[:, 0]
    chosen = levels[torch.where(metal, level[:, 1], level[:, 0])]
    of_vertex = _best_albedos(model, chosen[model.patch], metal[model.patch])
    scaled, factor = _balanced(model, of_vertex, metal[model.patch])
    model.set_materials(scaled, chosen, torch.where(metal, _CERTAIN, 1 - _CERTAIN))
    model.log_light.restart(model.log_light.value + math.log(factor))
    model.refresh()
    return factor


@dataclass(frozen=True, eq=False)
class _Views:
    """Some vertices and what photos show of them.

    Args:
        rows: the vertices, ``[n]``.
        which: the row that each observation belongs to, ``[o]``.
        rgb: colours, at the exposure of the light, ``[o,3]``.
        view: towards the cameras, ``[o,3]``.
        cosine: of the views, ``[o,1]``.
        diffuse: light that a white dielectric would reflect, ``[o,3]``.
    """

    rows: Int64[Tensor, " n"]
    which: Int64[Tensor, " o"]
    rgb: Float[Tensor, "o 3"]
    view: Float[Tensor, "o 3"]
    cosine: Float[Tensor, "o 1"]
    diffuse: Float[Tensor, "o 3"]

    @classmethod
    def of(cls, model: SurfaceModel, rows: Int64[Tensor, " n"], light: Float[Tensor, "k 3"]) -> _Views:
        """Return them."""
        seen = model.observations
        which, row = seen.of(rows)
        gain = torch.exp(-model.log_gains.value[seen.photo[row]])[:, None]
        cosine = (model.transport.normals[rows[which]] * seen.view[row]).sum(-1, keepdim=True).clamp(0, 1)
        diffuse = (model.irradiance(rows, light) / math.pi)[which]
        return cls(rows, which, seen.rgb[row] * gain, seen.view[row], cosine, diffuse)

    def albedo(
        self, basis: Float[Tensor, "o 3"], rest: Float[Tensor, "o 3"], most: float | Float[Tensor, "n 1"]
    ) -> Float[Tensor, "n 3"]:
        """Return the albedo for which ``albedo basis + rest`` suits the photos best."""
        weight = self.cosine * (self.rgb.amax(1, keepdim=True) < _SATURATED) / (self.rgb.mean(1, keepdim=True) + _DARK)
        found = _factors(self.rgb - rest, basis, weight, self.which, len(self.rows)).clamp_min(0.02)
        return found.minimum(torch.as_tensor(most, dtype=found.dtype))


@torch.no_grad()
def _try_all(model: SurfaceModel) -> Float[Tensor, "p l 2"]:
    """Return the errors of patches by roughness, for dielectrics and metals, summed over a sample of their vertices."""
    light = model.light
    errors = torch.zeros(int(model.patch.max()) + 1, len(LEVELS), 2)
    sample = model.rows if len(model.rows) <= _SAMPLE else model.draw(_SAMPLE)
    for first in range(0, len(sample), _AT_ONCE):
        views = _Views.of(model, sample[first : first + _AT_ONCE], light)
        vertices = views.rows[views.which]
        for level, roughness in enumerate(LEVELS):
            a, b = model.specular(vertices, views.view, torch.full((len(vertices),), roughness), light, _N_RAYS)
            for kind, (basis, rest) in enumerate(((views.diffuse, DIELECTRIC_F0 * a + b), (a, b))):
                albedo = views.albedo(basis, rest, _BRIGHTEST_METAL if kind else _BRIGHTEST)
                missed = srgb_from_linear(albedo[views.which] * basis + rest) - srgb_from_linear(views.rgb)
                error = missed.abs().mean(1) * views.cosine[:, 0]
                errors[:, level, kind].index_add_(0, model.patch[vertices], error)
    return errors


@torch.no_grad()
def _best_albedos(
    model: SurfaceModel, roughness: Float[Tensor, " v"], metal: Bool[Tensor, " v"]
) -> Float[Tensor, "v 3"]:
    """Return the albedo of all vertices that photos show, for materials of a kind; 0.5 elsewhere."""
    light = model.light
    albedos = torch.full((len(model.transport), 3), 0.5)
    for first in range(0, len(model.rows), _AT_ONCE):
        views = _Views.of(model, model.rows[first : first + _AT_ONCE], light)
        vertices = views.rows[views.which]
        a, b = model.specular(vertices, views.view, roughness[vertices], light, _N_RAYS)
        is_metal = metal[vertices][:, None]
        basis, rest = torch.where(is_metal, a, views.diffuse), torch.where(is_metal, b, DIELECTRIC_F0 * a + b)
        most = torch.where(metal[views.rows], _BRIGHTEST_METAL, _BRIGHTEST)[:, None]
        albedos[views.rows] = views.albedo(basis, rest, most)
    return albedos


def _factors(
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
