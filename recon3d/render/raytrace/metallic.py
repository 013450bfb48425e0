"""Shading of diffuse and of metallic-roughness surfaces in one kernel: what nearly all vertices of paths are.

The formulas are those of :class:`recon3d.render.shading.bsdf.Lambert` and ``MetallicRoughness`` without a coat and
isotropic, and tests hold both together; written out for one point at a time they take a tenth of the time.
"""

from __future__ import annotations

import math
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float32, UInt64

from recon3d.core.kernels import kernel
from recon3d.render.raytrace.light_table import LightTable, draw_light, drawn_radiance
from recon3d.render.raytrace.random_numbers import draw, number
from recon3d.render.raytrace.shade import Shaded
from recon3d.render.raytrace.surfaces import Surface
from recon3d.render.raytrace.vectors import dot, plus, row, scaled, set_row, unit
from recon3d.render.shading.bsdf import Bsdf, Lambert, MetallicRoughness
from recon3d.render.shading.bsdf.base import MIN_COS, like

_PI, _ONE, _ZERO = np.float32(math.pi), np.float32(1.0), np.float32(0.0)
_LEAST_SHARE = np.float32(0.05)
_SPECULAR, _CORRELATED, _FRESNEL_DIFFUSE = 1, 2, 4


class Metallic(NamedTuple):
    """Parameters of points that the kernel can shade.

    Args:
        base: base colour or albedo, ``[n,3]``.
        roughness: perceptual, ``[n]``.
        metallic: ``[n]``.
        flags: 1 = there is a specular lobe, 2 = correlated masking, 4 = the diffuse lobe is multiplied by 1 - F.
    """

    base: Float32[np.ndarray, "n 3"]
    roughness: Float32[np.ndarray, " n"]
    metallic: Float32[np.ndarray, " n"]
    flags: int


def as_metallic(bsdf: Bsdf, n: int) -> Metallic | None:
    """Return the parameters of a BSDF for n points, or None where the kernel does not know it."""
    none = torch.zeros(1)
    if type(bsdf) is Lambert:
        return Metallic(_rows(bsdf.albedo, (n, 3)), _rows(none, (n,)), _rows(none, (n,)), 0)
    if type(bsdf) is not MetallicRoughness or not (_is_zero(bsdf.clearcoat) and _is_zero(bsdf.anisotropy)):
        return None
    flags = _SPECULAR + _CORRELATED * (bsdf.masking == "correlated") + _FRESNEL_DIFFUSE * bsdf.fresnel_diffuse
    roughness, metallic = (_rows(like(one, none), (n,)) for one in (bsdf.roughness, bsdf.metallic))
    return Metallic(_rows(bsdf.base_color, (n, 3)), roughness, metallic, flags)


def _is_zero(value: object) -> bool:
    return isinstance(value, float | int) and value == 0


def _rows(value: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(value.detach().to(torch.float32).expand(shape).numpy())


def shade_metallic(
    surface: Surface,
    material: Metallic,
    table: LightTable | None,
    keys: UInt64[np.ndarray, " n"],
    first_dimension: int,
) -> Shaded:
    """Shade points, as :func:`recon3d.render.raytrace.shade.shade` does.

    Args:
        surface: the points.
        material: theirs.
        table: of the environment; None = there is no light.
        keys: of the random numbers of the paths, ``[n]``.
        first_dimension: of the random numbers of this vertex.
    """
    n = len(keys)
    out = Shaded._make([*(np.zeros((n, 3), np.float32) for _ in range(4)), np.zeros(n, np.float32)])
    places = (surface.flat, surface.frame, surface.wi)
    _continue_paths(places, material, keys, first_dimension + 2, out.way, out.weight, out.density)
    if table is not None:
        _gather_light(places, material, tuple(table), keys, first_dimension, out.light_way, out.light)
    return out


@kernel(order="written", inline=True)
@no_type_check
def _schlick(f0, cosine):
    away = max(_ONE - cosine, _ZERO)
    squared = away * away
    return f0 + (_ONE - f0) * squared * squared * away


@kernel(order="written", inline=True)
@no_type_check
def _luminance(colour):
    return np.float32(0.212671) * colour[0] + np.float32(0.715160) * colour[1] + np.float32(0.072169) * colour[2]


@kernel(order="written", inline=True)
@no_type_check
def _reflectances(base, metallic, cosine):
    """Return the reflectance of the specular lobe."""
    dielectric = np.float32(0.04) * (_ONE - metallic)
    return (
        _schlick(dielectric + base[0] * metallic, cosine),
        _schlick(dielectric + base[1] * metallic, cosine),
        _schlick(dielectric + base[2] * metallic, cosine),
    )


@kernel(order="written", inline=True)
@no_type_check
def _diffuse_share(base, metallic, cosine, flags):
    """Return the probability of the diffuse lobe."""
    diffuse = _luminance(base) * (_ONE - metallic)
    if not flags & _SPECULAR:
        return _ONE
    specular = _luminance(_reflectances(base, metallic, cosine))
    total = max(diffuse + specular, np.float32(1e-12))
    first = diffuse / total + _LEAST_SHARE if diffuse > _ZERO else _ZERO
    second = specular / total + _LEAST_SHARE if specular > _ZERO else _ZERO
    return first / (first + second) if first + second > _ZERO else _ZERO


@kernel(order="written", inline=True)
@no_type_check
def _lambda(alpha, cosine):
    """Return Smith's Lambda of the GGX distribution."""
    squared = cosine * cosine
    slope = alpha * alpha * max(_ONE - squared, _ZERO) / squared
    return np.float32(0.5) * slope / (_ONE + np.float32(math.sqrt(_ONE + slope)))


@kernel(order="written", inline=True)
@no_type_check
def _scatter(base, roughness, metallic, flags, wi, wo):
    """Return BSDF times cosine, and density, of directions above the surface."""
    diffuse = (_ONE - metallic) * wo[2] / _PI
    share = _diffuse_share(base, metallic, wi[2], flags)
    density = share * wo[2] / _PI
    if not flags & _SPECULAR:
        return scaled(base, diffuse), density
    alpha = max(roughness * roughness, np.float32(1e-3))
    m = unit(plus(wi, wo))
    fresnel = _reflectances(base, metallic, dot(wi, m))
    flat = m[0] * m[0] + m[1] * m[1]  # better than 1 - z^2 where the lobe is narrow
    wide = flat / (alpha * alpha) + m[2] * m[2]
    d = _ONE / (_PI * alpha * alpha * wide * wide)
    own, other = _lambda(alpha, wi[2]), _lambda(alpha, wo[2])
    g = _ONE / (_ONE + own + other) if flags & _CORRELATED else _ONE / ((_ONE + own) * (_ONE + other))
    density += (_ONE - share) * d / (np.float32(4.0) * wi[2] * (_ONE + own))
    mirror = d * g / (np.float32(4.0) * wi[2])
    keep = (_ONE, _ONE, _ONE)
    if flags & _FRESNEL_DIFFUSE:
        keep = (_ONE - fresnel[0], _ONE - fresnel[1], _ONE - fresnel[2])
    value = (
        base[0] * diffuse * keep[0] + fresnel[0] * mirror,
        base[1] * diffuse * keep[1] + fresnel[1] * mirror,
        base[2] * diffuse * keep[2] + fresnel[2] * mirror,
    )
    return value, density


@kernel(order="written", inline=True)
@no_type_check
def _visible_normal(alpha, wi, first, second):
    """Draw a microfacet normal that wi sees (Heitz, "Sampling the GGX Distribution of Visible Normals", 2018)."""
    v = unit((wi[0] * alpha, wi[1] * alpha, wi[2]))
    length = np.float32(math.sqrt(v[0] * v[0] + v[1] * v[1]))
    across = (-v[1] / length, v[0] / length) if length > np.float32(1e-7) else (_ONE, _ZERO)
    along = (-v[2] * across[1], v[2] * across[0], v[0] * across[1] - v[1] * across[0])
    radius, angle = np.float32(math.sqrt(first)), np.float32(2.0) * _PI * second
    a, share = radius * np.float32(math.cos(angle)), np.float32(0.5) * (_ONE + v[2])
    b = (_ONE - share) * np.float32(math.sqrt(max(_ONE - a * a, _ZERO)))
    b += share * radius * np.float32(math.sin(angle))
    c = np.float32(math.sqrt(max(_ONE - a * a - b * b, _ZERO)))
    x = a * across[0] + b * along[0] + c * v[0]
    y = a * across[1] + b * along[1] + c * v[1]
    return unit((x * alpha, y * alpha, max(b * along[2] + c * v[2], np.float32(1e-7))))


@kernel(order="written", inline=True)
@no_type_check
def _direction(base, roughness, metallic, flags, wi, first, second, third):
    """Draw a direction, in the frame."""
    if third < _diffuse_share(base, metallic, wi[2], flags):
        radius, angle = np.float32(math.sqrt(first)), np.float32(2.0) * _PI * second
        height = np.float32(math.sqrt(_ONE - first))
        return radius * np.float32(math.cos(angle)), radius * np.float32(math.sin(angle)), height
    m = _visible_normal(max(roughness * roughness, np.float32(1e-3)), wi, first, second)
    twice = np.float32(2.0) * dot(wi, m)
    return unit((twice * m[0] - wi[0], twice * m[1] - wi[1], twice * m[2] - wi[2]))


@kernel(order="written", inline=True)
@no_type_check
def _frame_row(frame, i, axis):
    return frame[i, axis, 0], frame[i, axis, 1], frame[i, axis, 2]


@kernel(order="written")
@no_type_check
def _continue_paths(places, material, keys, dimension, ways, weights, densities):
    """Draw the next directions; directions, weights and densities are zero where the arrays come so."""
    flat, frame, wis = places
    base, roughness, metallic, flags = material
    for i in range(len(keys)):
        wi = row(wis, i)
        if wi[2] <= np.float32(MIN_COS):
            continue
        key = keys[i]
        numbers = number(draw(key, dimension)), number(draw(key, dimension + 1)), number(draw(key, dimension + 2))
        colour, rough, metal = row(base, i), roughness[i], metallic[i]
        wo = _direction(colour, rough, metal, flags, wi, numbers[0], numbers[1], numbers[2])
        if wo[2] <= np.float32(MIN_COS):
            continue
        x, y, z = _frame_row(frame, i, 0), _frame_row(frame, i, 1), _frame_row(frame, i, 2)
        way = plus(plus(scaled(x, wo[0]), scaled(y, wo[1])), scaled(z, wo[2]))
        value, density = _scatter(colour, rough, metal, flags, wi, wo)
        if dot(row(flat, i), way) > _ZERO and density > _ZERO:
            set_row(ways, i, way)
            set_row(weights, i, scaled(value, _ONE / density))
            densities[i] = density


@kernel(order="written")
@no_type_check
def _gather_light(places, material, table, keys, dimension, ways, lights):
    """Draw directions to the light, and write what comes from there, weighted against the BSDF's own directions."""
    flat, frame, wis = places
    base, roughness, metallic, flags = material
    for i in range(len(keys)):
        wi = row(wis, i)
        if wi[2] <= np.float32(MIN_COS):
            continue
        way, y, column, z = draw_light(table, draw(keys[i], dimension), draw(keys[i], dimension + 1))
        wo = dot(_frame_row(frame, i, 0), way), dot(_frame_row(frame, i, 1), way), dot(_frame_row(frame, i, 2), way)
        if wo[2] <= np.float32(MIN_COS) or dot(row(flat, i), way) <= _ZERO:
            continue
        radiance, density = drawn_radiance(table, y, column, z)
        if density <= _ZERO:
            continue
        value, own = _scatter(row(base, i), roughness[i], metallic[i], flags, wi, wo)
        ratio = own / density
        share = _ONE / (density * (_ONE + ratio * ratio))
        set_row(ways, i, way)
        set_row(
            lights, i, (value[0] * radiance[0] * share, value[1] * radiance[1] * share, value[2] * radiance[2] * share)
        )
