"""What the blending kernels read: visible Gaussians in depth order with precomputed exponents, and their tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_tiles import TileGrid, TileLists, bin_ellipses, depth_order
from recon3d.render.gaussians.options import RasterOptions

TILE = 16  # pixels; rows of a tile are what the vector units work on
N_CURVE = 8
_CHUNK = 8192
_LOG2_E = 1.4426950408889634
_LEAST_ALPHA = 1e-6  # where the approximation of the exponential ends; no weaker Gaussian can be seen


@dataclass(frozen=True, eq=False)
class Splats:
    """Gaussians as they come from the projection, with what is blended.

    Args:
        means2d: centres in pixels, ``[g,2]``.
        conics: inverse covariances, upper triangles, ``[g,3]``.
        depths: depths along camera z, ``[g]``.
        radii: half sizes of the boxes in pixels, ``[g,2]``.
        opacities: ``[g]``.
        features: ``[g,c]``.
    """

    means2d: Float32[np.ndarray, "g 2"]
    conics: Float32[np.ndarray, "g 3"]
    depths: Float32[np.ndarray, " g"]
    radii: Int32[np.ndarray, "g 2"]
    opacities: Float32[np.ndarray, " g"]
    features: Float32[np.ndarray, "g c"]


@dataclass(frozen=True, eq=False)
class TiledScene:
    """Visible Gaussians in depth order and the tiles they touch.

    Args:
        order: their indices, ``[n]``.
        curves: centre x y, slope of the ridge dx/dy, then in eighths of powers of two: fall along the ridge per dy^2,
            fall along x per dx^2, logarithm of the opacity; half height of the ellipse; depth. ``[n,8]``.
        features: what is blended, ``[n,c]``.
        lists: the Gaussians of each tile.
        grid: the tiles.
        width: of the image in pixels.
        height: of the image in pixels.
        rules: in eighths of powers of two the least and the greatest alpha; and the least transmittance, ``[3]``.
    """

    order: Int32[np.ndarray, " n"]
    curves: Float32[np.ndarray, "n 8"]
    features: Float32[np.ndarray, "n c"]
    lists: TileLists
    grid: TileGrid
    width: int
    height: int
    rules: Float32[np.ndarray, "3"]


def tile_scene(splats: Splats, width: int, height: int, options: RasterOptions) -> TiledScene:
    """Return the visible Gaussians in depth order with their tiles.

    Raises:
        ResourceError: there are too many pairs of Gaussians and tiles.
    """
    least = max(options.min_alpha, _LEAST_ALPHA)
    visible = _visible(splats, least)
    order = depth_order(splats.depths, visible)
    curves, ellipses = np.empty((len(order), N_CURVE), np.float32), np.empty((len(order), 9))
    arrays = (order, splats.means2d, splats.conics, splats.depths, splats.radii, splats.opacities)
    n = len(order)
    run_chunks(
        lambda i: _shape_chunk(i * _CHUNK, min(n, (i + 1) * _CHUNK), *arrays, log2(least), curves, ellipses),
        -(-n // _CHUNK),
    )
    rules = np.array([log2(least) / 8, log2(options.max_alpha) / 8, options.min_transmittance], np.float32)
    grid = TileGrid(TILE, -(-width // TILE), -(-height // TILE))
    features = np.ascontiguousarray(splats.features[order])
    return TiledScene(order, curves, features, bin_ellipses(ellipses, grid), grid, width, height, rules)


def _visible(splats: Splats, least: float) -> Int32[np.ndarray, " n"]:
    index = np.empty(len(splats.depths), np.int32)
    n = _select(splats.radii, splats.opacities, splats.conics, np.float32(least), index)
    return index[:n]


@kernel
@no_type_check
def _select(radii, opacities, conics, least, index):
    """Write the indices of the Gaussians that can be seen, and return how many there are."""
    n = 0
    for i in range(len(radii)):
        a, b, c = float(conics[i, 0]), float(conics[i, 1]), float(conics[i, 2])
        if radii[i, 0] > 0 and radii[i, 1] > 0 and opacities[i] >= least and a > 0.0 and a * c - b * b > 0.0:
            index[n] = i
            n += 1
    return n


@kernel
@no_type_check
def _shape_chunk(start, stop, order, means2d, conics, depths, radii, opacities, log_least, curves, ellipses):
    for i in range(start, stop):
        g = order[i]
        a, b, c = float(conics[g, 0]), float(conics[g, 1]), float(conics[g, 2])
        determinant = a * c - b * b
        strength = log2(float(opacities[g]))
        reach = 2.0 * max(strength - log_least, 0.0) / _LOG2_E
        curves[i, 0], curves[i, 1], curves[i, 2] = means2d[g, 0], means2d[g, 1], -b / a
        curves[i, 3], curves[i, 4] = _LOG2_E / 16.0 * determinant / a, _LOG2_E / 16.0 * a
        curves[i, 5], curves[i, 7] = strength / 8.0, depths[g]
        half_height = sqrt(reach * a / determinant)
        curves[i, 6] = half_height
        ellipses[i, 0], ellipses[i, 1] = means2d[g, 0], means2d[g, 1]
        ellipses[i, 2], ellipses[i, 3] = radii[g, 0], radii[g, 1]
        ellipses[i, 4], ellipses[i, 5] = sqrt(reach * c / determinant), max(half_height, 1e-9)
        ellipses[i, 6], ellipses[i, 7], ellipses[i, 8] = -b / a, -b / c, sqrt(reach / a)
