"""The split sum: specular light as a prefiltered lookup times an integral of the BRDF from a table."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.render.shading.bsdf.fresnel import schlick_weight
from recon3d.render.shading.bsdf.metallic_roughness import DIELECTRIC_F0
from recon3d.render.shading.bsdf.microfacet import Ggx
from recon3d.render.shading.frames import reflect
from recon3d.render.shading.prefilter import PrefilteredEnvironment

Visibility = Literal["correlated", "schlick"]
_SAMPLES = 512
_CHUNK = 1 << 21
_MAX_SIZE = 1024


@lru_cache(maxsize=8)
def brdf_lut(size: int = 128, visibility: Visibility = "correlated") -> Float[Tensor, "nv r 2"]:
    """Return A and B of ``integral D V F (n.l) dl = F0 A + B`` with Schlick's F, ``[size,size,2]``, float32.

    Entry ``(i, j)`` belongs to ``n.v = (i + 0.5) / size`` and ``roughness = (j + 0.5) / size``. The integral runs over
    512 Hammersley points drawn as visible normals. The table is kept for the next call; do not write into it.

    Args:
        size: entries along both axes, 2 to 1024.
        visibility: ``correlated`` (Smith with heights) or ``schlick`` (k = alpha / 2, as Unreal Engine 4 for images).

    Raises:
        UsageError: size or visibility is none of these.
    """
    if not 2 <= size <= _MAX_SIZE or visibility not in ("correlated", "schlick"):
        raise UsageError("there is no such table", got=(size, visibility), expected="2 to 1024; correlated or schlick")
    nodes = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    nv, roughness = (grid.reshape(-1) for grid in torch.meshgrid(nodes, nodes, indexing="ij"))
    step = max(1, _CHUNK // _SAMPLES)
    parts = [brdf_integral(nv[i : i + step], roughness[i : i + step], visibility) for i in range(0, size * size, step)]
    return torch.cat(parts).reshape(size, size, 2).float()


def brdf_integral(
    nv: Float[Tensor, " n"], roughness: Float[Tensor, " n"], visibility: Visibility = "correlated"
) -> Float[Tensor, "n 2"]:
    """Return A and B of single pairs of ``n.v`` and roughness, ``[n,2]``; see :func:`brdf_lut`.

    A sample of visible normals weighs ``V 4 (n.l) (n.v) / G1(v)``, in which D has cancelled.
    """
    alpha = (roughness * roughness).clamp_min(1e-4)[:, None]
    ggx = Ggx(alpha, alpha, "correlated")
    view = torch.stack([(1 - nv * nv).clamp_min(0).sqrt(), torch.zeros_like(nv), nv], -1)[:, None]
    half = _hammersley(_SAMPLES).to(nv) * nv.new_tensor([1.0, 0.5])  # the azimuths on one side: the other mirrors it
    u = (half - nv.new_tensor([0.0, 0.25])).expand(len(nv), -1, 2)
    h = ggx.visible_normal(view, u)
    light = reflect(view, h)
    up = light[..., 2] > 1e-6
    light = torch.where(up[..., None], light, light.new_tensor([0.0, 0.0, 1.0]))
    if visibility == "schlick":
        k, nl = alpha / 2, light[..., 2]
        g = (nl / (nl * (1 - k) + k)) * (nv[:, None] / (nv[:, None] * (1 - k) + k))
    else:
        g = ggx.g2(view, light, h)
    weight = torch.where(up, g * (1 + ggx.smith_lambda(view)), 0.0)
    grazing = schlick_weight((view * h).sum(-1))
    return torch.stack([((1 - grazing) * weight).mean(1), (grazing * weight).mean(1)], -1)


def lookup_brdf(
    lut: Float[Tensor, "nv r 2"], nv: Float[Tensor, "..."], roughness: Float[Tensor, "..."]
) -> Float[Tensor, "... 2"]:
    """Return A and B from a table, bilinear between its entries and on past the outer ones, ``[...,2]``.

    Args:
        lut: of :func:`brdf_lut`.
        nv: cosines between normal and view, 0 to 1, ``[...]``.
        roughness: 0 to 1, ``[...]``.
    """
    size = len(lut)
    row, column = nv * size - 0.5, roughness * size - 0.5
    y, x = row.detach().floor().clamp(0, size - 2), column.detach().floor().clamp(0, size - 2)
    down, right = (row - y)[..., None], (column - x)[..., None]
    flat, start = lut.reshape(-1, 2).to(nv), y.long() * size + x.long()
    upper = torch.lerp(flat[start], flat[start + 1], right)
    lower = torch.lerp(flat[start + size], flat[start + size + 1], right)
    return torch.lerp(upper, lower, down)


def shade_split_sum(
    normals: Float[Tensor, "... 3"],
    views: Float[Tensor, "... 3"],
    albedo: Float[Tensor, "... 3"],
    roughness: Float[Tensor, "..."],
    metallic: Float[Tensor, "..."],
    prefiltered: PrefilteredEnvironment,
    lut: Float[Tensor, "nv r 2"] | None = None,
) -> Float[Tensor, "... 3"]:
    """Return the light towards the viewer under an environment, without shadows, ``[...,3]``.

    ``(1 - m) albedo E(n) / pi + P(r, roughness) (F0 A + B)`` with ``F0 = 0.04 (1 - m) + albedo m``. Differentiable in
    all tensors. The specular part is some 10 % off the full integral under soft light, and up to half of it under a
    hard sun; :func:`~recon3d.render.shading.monte_carlo.shade_monte_carlo` has no such bias.

    Args:
        normals: unit vectors in the world, ``[...,3]``.
        views: unit vectors towards the viewer, ``[...,3]``.
        albedo: base colour, linear RGB, ``[...,3]``.
        roughness: perceptual, 0 to 1, ``[...]``.
        metallic: 0 to 1, ``[...]``.
        prefiltered: the light.
        lut: of :func:`brdf_lut`; None = its default.
    """
    table = brdf_lut() if lut is None else lut
    m = metallic[..., None]
    diffuse = (1 - m) * albedo * prefiltered.irradiance(normals) / math.pi
    nv = (normals * views).sum(-1).clamp(1e-4, 1)
    a, b = lookup_brdf(table.to(normals.device), nv, roughness).unbind(-1)
    f0 = DIELECTRIC_F0 * (1 - m) + albedo * m
    light = prefiltered.specular(reflect(views, normals), roughness)
    return diffuse + light * (f0 * a[..., None] + b[..., None])


def _hammersley(n: int) -> Float[Tensor, "n 2"]:
    """Return n well-spread points of the unit square: k / n and the mirrored binary digits of k."""
    index = torch.arange(n)
    mirrored, half = torch.zeros(n, dtype=torch.float64), 0.5
    rest = index
    while bool((rest > 0).any()):
        mirrored = mirrored + half * (rest % 2)
        rest, half = rest // 2, half / 2
    return torch.stack([(index + 0.5) / n, mirrored], -1)
