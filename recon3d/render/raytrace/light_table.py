"""An environment for kernels: radiance from a direction, and directions drawn in proportion to it."""

from __future__ import annotations

import math
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float32, Float64

from recon3d.core.kernels import kernel
from recon3d.render.raytrace.random_numbers import number
from recon3d.render.raytrace.vectors import row, set_row
from recon3d.render.shading.light_sampling import EnvironmentSampler

_PI = np.float32(math.pi)
_LOW = np.uint64(0xFFFFFFFF)


class LightTable(NamedTuple):
    """The map of an :class:`~recon3d.render.shading.light_sampling.EnvironmentSampler`, whose density it keeps.

    Args:
        radiance: of the pixels, and the density per solid angle of the directions in them, ``[h,w,4]``.
        chance: of a pixel to be kept when an alias table is drawn from, and as bits the pixel that is drawn instead,
            ``[p,2]``.
        edges: cosines of the polar angles between the rows, ``[h+1]``.
        rotation: from the map's frame into the world, ``[3,3]``.
    """

    radiance: Float32[np.ndarray, "h w 4"]
    chance: Float32[np.ndarray, "p 2"]
    edges: Float64[np.ndarray, " e"]
    rotation: Float32[np.ndarray, "3 3"]


def light_table(sampler: EnvironmentSampler) -> LightTable:
    """Return the table of a sampler."""
    env = sampler.env
    with torch.no_grad():
        density = sampler.pdf(env.directions() @ env.rotation.mT)
        weights = (density.double() * env.solid_angles().double()).numpy().reshape(-1)
        radiance = np.ascontiguousarray(torch.cat([env.radiance, density[..., None]], -1).numpy(), np.float32)
        rotation = np.ascontiguousarray(env.rotation.numpy(), np.float32)
    chance, other = np.ones(len(weights), np.float32), np.arange(len(weights), dtype=np.int32)
    _fill_alias(weights * (len(weights) / weights.sum()), chance, other)
    edges = np.cos(np.arange(env.height + 1) * (math.pi / env.height))
    return LightTable(radiance, np.stack([chance, other.view(np.float32)], axis=1), edges, rotation)


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
    """Return a direction of the world from two times 64 random bits, and its row, column and z in the map."""
    radiance, chance, edges, rotation = table
    height, width = radiance.shape[0], radiance.shape[1]
    pixel = np.int64(((which >> np.uint64(32)) * np.uint64(height * width)) >> np.uint64(32))
    if np.float32(which & _LOW) * np.float32(2.0**-32) >= chance[pixel, 0]:
        pixel = np.int64(chance[pixel, 1:].view(np.int32)[0])
    y, x = pixel // width, pixel % width
    z = edges[y] + (edges[y + 1] - edges[y]) * np.float64(number(inside))
    column = np.float32(x) + number(inside << np.uint64(32))
    phi = _PI - column * (np.float32(2.0) * _PI / np.float32(width))
    flat = np.float32(math.sqrt(max(1.0 - z * z, 0.0)))
    own = flat * np.float32(math.cos(phi)), flat * np.float32(math.sin(phi)), np.float32(z)
    way = (
        rotation[0, 0] * own[0] + rotation[0, 1] * own[1] + rotation[0, 2] * own[2],
        rotation[1, 0] * own[0] + rotation[1, 1] * own[1] + rotation[1, 2] * own[2],
        rotation[2, 0] * own[0] + rotation[2, 1] * own[1] + rotation[2, 2] * own[2],
    )
    return way, y, column, np.float32(z)


@kernel(order="written", inline=True)
@no_type_check
def drawn_radiance(table, y, column, z):
    """Return radiance and density of a direction that was drawn."""
    radiance = table[0]
    height = radiance.shape[0]
    line = np.float32(math.acos(min(max(z, np.float32(-1.0)), np.float32(1.0)))) * (np.float32(height) / _PI)
    light = _bilinear(radiance, line - np.float32(0.5), column - np.float32(0.5))
    return light, radiance[y, min(int(column), radiance.shape[1] - 1), 3]


@kernel(order="written", inline=True)
@no_type_check
def light_from(table, way):
    """Return radiance and density of a direction of any length."""
    radiance, _, _, rotation = table
    height, width = radiance.shape[0], radiance.shape[1]
    x = rotation[0, 0] * way[0] + rotation[1, 0] * way[1] + rotation[2, 0] * way[2]
    y = rotation[0, 1] * way[0] + rotation[1, 1] * way[1] + rotation[2, 1] * way[2]
    z = rotation[0, 2] * way[0] + rotation[1, 2] * way[1] + rotation[2, 2] * way[2]
    line = np.float32(math.atan2(np.float32(math.sqrt(x * x + y * y)), z)) * (np.float32(height) / _PI)
    column = (_PI - np.float32(math.atan2(y, x))) * (np.float32(width) / (np.float32(2.0) * _PI))
    light = _bilinear(radiance, line - np.float32(0.5), column - np.float32(0.5))
    return light, radiance[min(max(int(line), 0), height - 1), (int(column) + width) % width, 3]


@kernel(order="written")
@no_type_check
def lights_from(table, directions, light, density):
    """Write radiance and density of many directions."""
    for i in range(len(directions)):
        found, density[i] = light_from(table, row(directions, i))
        set_row(light, i, found)
