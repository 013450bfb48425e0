"""An environment for kernels: radiance from a direction, and directions drawn in proportion to it."""

from __future__ import annotations

import math
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32

from recon3d.core.kernels import kernel
from recon3d.render.raytrace.random_numbers import number
from recon3d.render.raytrace.vectors import row, set_row
from recon3d.render.shading.light_sampling import EnvironmentSampler

_PI = np.float32(math.pi)
_LOW = np.uint64(0xFFFFFFFF)


class LightTable(NamedTuple):
    """The map of an :class:`~recon3d.render.shading.light_sampling.EnvironmentSampler`, whose density it keeps.

    Args:
        radiance: of the pixels, ``[h,w,3]``.
        density: of the directions in the pixels, per solid angle, ``[h,w]``.
        chance: of a pixel to be kept when an alias table is drawn from, ``[h w]``.
        other: the pixel that is drawn instead, ``[h w]``.
        edges: cosines of the polar angles between the rows, ``[h+1]``.
        rotation: from the map's frame into the world, ``[3,3]``.
    """

    radiance: Float32[np.ndarray, "h w 3"]
    density: Float32[np.ndarray, "h w"]
    chance: Float32[np.ndarray, " p"]
    other: Int32[np.ndarray, " p"]
    edges: Float64[np.ndarray, " e"]
    rotation: Float32[np.ndarray, "3 3"]


def light_table(sampler: EnvironmentSampler) -> LightTable:
    """Return the table of a sampler."""
    env = sampler.env
    with torch.no_grad():
        centres = env.directions() @ env.rotation.mT
        density = np.ascontiguousarray(sampler.pdf(centres).numpy(), np.float32)
        weights = (torch.from_numpy(density).double() * env.solid_angles().double()).numpy().reshape(-1)
        radiance, rotation = (np.ascontiguousarray(one.numpy(), np.float32) for one in (env.radiance, env.rotation))
    chance, other = np.ones(len(weights), np.float32), np.arange(len(weights), dtype=np.int32)
    _fill_alias(weights * (len(weights) / weights.sum()), chance, other)
    edges = np.cos(np.arange(env.height + 1) * (math.pi / env.height))
    return LightTable(radiance, density, chance, other, edges, rotation)


@kernel(order="written")
@no_type_check
def _fill_alias(weights, chance, other):
    """Fill an alias table from weights of mean one (Vose, 1991)."""
    small, large = np.empty(len(weights), np.int32), np.empty(len(weights), np.int32)
    n_small, n_large = 0, 0
    for i in range(len(weights)):
        if weights[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small and n_large:
        n_small -= 1
        less, more = small[n_small], large[n_large - 1]
        chance[less], other[less] = weights[less], more
        weights[more] -= 1.0 - weights[less]
        if weights[more] < 1.0:
            n_large -= 1
            small[n_small] = more
            n_small += 1


@kernel(order="written", inline=True)
@no_type_check
def _bilinear(radiance, y, x):
    """Return the radiance between pixel centres, which have whole numbers."""
    height, width = radiance.shape[0], radiance.shape[1]
    top, left = math.floor(y), math.floor(x)
    down, right = np.float32(y - top), np.float32(x - left)
    y0, y1 = min(max(int(top), 0), height - 1), min(max(int(top) + 1, 0), height - 1)
    x0, x1 = (int(left) + width) % width, (int(left) + 1 + width) % width
    one = np.float32(1.0)
    a, b, c, d = (one - down) * (one - right), (one - down) * right, down * (one - right), down * right
    p, q, r, s = radiance[y0, x0], radiance[y0, x1], radiance[y1, x0], radiance[y1, x1]
    return (
        a * p[0] + b * q[0] + c * r[0] + d * s[0],
        a * p[1] + b * q[1] + c * r[1] + d * s[1],
        a * p[2] + b * q[2] + c * r[2] + d * s[2],
    )


@kernel(order="written", inline=True)
@no_type_check
def draw_light(table, which, inside):
    """Return a direction of the world, its radiance and its density, from two times 64 random bits."""
    radiance, density, chance, other, edges, rotation = table
    height, width = radiance.shape[0], radiance.shape[1]
    pixel = np.int64(((which >> np.uint64(32)) * np.uint64(height * width)) >> np.uint64(32))
    if np.float32(which & _LOW) * np.float32(2.0**-32) >= chance[pixel]:
        pixel = np.int64(other[pixel])
    y, x = pixel // width, pixel % width
    z = edges[y] + (edges[y + 1] - edges[y]) * np.float64(number(inside))
    column = np.float64(x) + np.float64(number(inside << np.uint64(32)))
    phi = math.pi - column * (2.0 * math.pi / width)
    flat = math.sqrt(max(1.0 - z * z, 0.0))
    own = np.float32(flat * math.cos(phi)), np.float32(flat * math.sin(phi)), np.float32(z)
    light = _bilinear(radiance, math.acos(min(max(z, -1.0), 1.0)) * height / math.pi - 0.5, column - 0.5)
    way = (
        rotation[0, 0] * own[0] + rotation[0, 1] * own[1] + rotation[0, 2] * own[2],
        rotation[1, 0] * own[0] + rotation[1, 1] * own[1] + rotation[1, 2] * own[2],
        rotation[2, 0] * own[0] + rotation[2, 1] * own[1] + rotation[2, 2] * own[2],
    )
    return way, light, density[y, x]


@kernel(order="written", inline=True)
@no_type_check
def light_from(table, way):
    """Return radiance and density of a direction of any length."""
    radiance, density, _, _, _, rotation = table
    height, width = radiance.shape[0], radiance.shape[1]
    x = rotation[0, 0] * way[0] + rotation[1, 0] * way[1] + rotation[2, 0] * way[2]
    y = rotation[0, 1] * way[0] + rotation[1, 1] * way[1] + rotation[2, 1] * way[2]
    z = rotation[0, 2] * way[0] + rotation[1, 2] * way[1] + rotation[2, 2] * way[2]
    line = np.float32(math.atan2(np.float32(math.sqrt(x * x + y * y)), z)) * (np.float32(height) / _PI)
    column = (_PI - np.float32(math.atan2(y, x))) * (np.float32(width) / (np.float32(2.0) * _PI))
    light = _bilinear(radiance, line - np.float32(0.5), column - np.float32(0.5))
    return light, density[min(max(int(line), 0), height - 1), (int(column) + width) % width]


@kernel(order="written")
@no_type_check
def lights_from(table, directions, light, density):
    """Write radiance and density of many directions."""
    for i in range(len(directions)):
        found, density[i] = light_from(table, row(directions, i))
        set_row(light, i, found)
