"""What the blending kernels read: visible Gaussians with precomputed exponents, and their tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_simd import aligned, at, put
from recon3d.render.gaussians.cpu_tiles import TileGrid, TileLists, bin_ellipses, depth_order
from recon3d.render.gaussians.options import RasterOptions

TILE = 16  # pixels
N_SHAPE = 8  # numbers of a record before its values
_CHUNK = 8192
_HALF_LOG2_E = 0.5 * 1.4426950408889634
_LEAST_ALPHA = 1e-6  # no weaker Gaussian can be seen
_LEAST_LIGHT = 1e-30  # below, float32 loses digits, and the backward pass divides what is left of the light


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
    """Visible Gaussians and the tiles they touch.

    The opacity of a Gaussian at an offset (dx, dy) from its centre is ``2^(l - u^2 - v^2)`` with ``u = a dx + b dy``
    and ``v = d dy``: the Cholesky factor of its conic, which loses nothing however thin the Gaussian is.

    Args:
        visible: indices of the Gaussians, ``[n]``.
        records: centre x, y, then a, b, d, l, half width and half height of the visible ellipse; from place 8 on the
            features and the depth, filled up with zeros to a multiple of four, ``[n,8+v]``.
        lists: the Gaussians of each tile.
        grid: the tiles.
        width: of the image in pixels.
        height: of the image in pixels.
        rules: binary logarithms of the least and the greatest alpha; and the least transmittance, ``[3]``.
    """

    visible: Int32[np.ndarray, " n"]
    records: Float32[np.ndarray, "n v"]
    lists: TileLists
    grid: TileGrid
    width: int
    height: int
    rules: Float32[np.ndarray, "3"]


def tile_scene(splats: Splats, width: int, height: int, options: RasterOptions) -> TiledScene:
    """Return the visible Gaussians with their tiles.

    Raises:
        ResourceError: there are too many pairs of Gaussians and tiles.
    """
    least = max(options.min_alpha, _LEAST_ALPHA)
    visible = _visible(splats, least)
    n, c = len(visible), splats.features.shape[1]
    records = aligned(n, N_SHAPE + 4 * (c // 4 + 1))
    boxes = np.empty((n, 2), np.float32)
    arrays = (visible, splats.means2d, splats.conics, splats.depths, splats.radii, splats.opacities, splats.features)
    run_chunks(
        lambda i: _shape_chunk(i * _CHUNK, min(n, (i + 1) * _CHUNK), *arrays, log2(least), records, boxes),
        -(-n // _CHUNK),
    )
    rules = np.array([log2(least), log2(options.max_alpha), max(options.min_transmittance, _LEAST_LIGHT)], np.float32)
    grid = TileGrid(TILE, -(-width // TILE), -(-height // TILE))
    lists = bin_ellipses(records, boxes, depth_order(splats.depths[visible]), grid)
    return TiledScene(visible, records, lists, grid, width, height, rules)


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
def _shape_chunk(start, stop, visible, means2d, conics, depths, radii, opacities, features, log_least, records, boxes):
    channels, stride = features.shape[1], records.shape[1]
    for i in range(start, stop):
        g, o = np.int64(at(visible, i)), i * stride
        a, b, c = float(at(conics, 3 * g)), float(at(conics, 3 * g + 1)), float(at(conics, 3 * g + 2))
        determinant, inverse = a * c - b * b, 1.0 / a
        strength = log2(float(at(opacities, g)))
        reach = max(strength - log_least, 0.0) / (_HALF_LOG2_E * determinant)
        first = sqrt(_HALF_LOG2_E * a)
        put(records, o, at(means2d, 2 * g))
        put(records, o + 1, at(means2d, 2 * g + 1))
        put(records, o + 2, np.float32(first))
        put(records, o + 3, np.float32(first * b * inverse))
        put(records, o + 4, np.float32(sqrt(_HALF_LOG2_E * determinant * inverse)))
        put(records, o + 5, np.float32(strength))
        put(records, o + 6, np.float32(sqrt(reach * c)))
        put(records, o + 7, np.float32(sqrt(reach * a)))
        put(boxes, 2 * i, np.float32(at(radii, 2 * g)))
        put(boxes, 2 * i + 1, np.float32(at(radii, 2 * g + 1)))
        for k in range(channels):
            put(records, o + N_SHAPE + k, at(features, g * channels + k))
        put(records, o + N_SHAPE + channels, at(depths, g))
        for k in range(N_SHAPE + channels + 1, stride):
            put(records, o + k, np.float32(0))
