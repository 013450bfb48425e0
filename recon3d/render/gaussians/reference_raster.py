"""Rasterisation in plain torch: any floating-point type, any device, gradients by autograd, bounded memory.

In float64 this is the oracle that the fast back ends are held to. The rules are those of gsplat 1.5.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recon3d.core.errors import ResourceError
from recon3d.render.gaussians.options import RasterOptions
from recon3d.render.gaussians.types import Projection

MAX_PAIRS = 1 << 27  # of Gaussians and tiles; two int64 each make 2 GiB
_PAIRS_AT_ONCE = 1 << 19  # of Gaussians and pixels


def tile_lists(
    means2d: Float[Tensor, "g 2"],
    radii: Int[Tensor, "g 2"],
    depths: Float[Tensor, " g"],
    tile_size: int,
    tiles_x: int,
    tiles_y: int,
) -> tuple[Int[Tensor, " offsets"], Int[Tensor, " pairs"]]:
    """Return, for each tile, the Gaussians whose box touches it, nearest first; equal depths in their own order.

    Args:
        means2d: centres in pixels, ``[g,2]``.
        radii: half sizes of the boxes in pixels, ``[g,2]``; 0 = not drawn.
        depths: what is sorted by, ``[g]``.
        tile_size: side of a tile in pixels.
        tiles_x: tiles per row.
        tiles_y: rows of tiles.

    Returns:
        Where each tile's list begins, row by row, and where the last one ends, ``[tiles_x * tiles_y + 1]``; and the
        lists, indices of Gaussians, one after the other.

    Raises:
        ResourceError: there are too many pairs of Gaussians and tiles.
    """
    order = depths.argsort(stable=True)
    centre, reach = means2d[order] / tile_size, radii[order] / tile_size
    limits = torch.tensor([tiles_x, tiles_y], dtype=means2d.dtype, device=means2d.device)
    first = (centre - reach).floor().clamp(min=0).minimum(limits).long()
    last = (centre + reach).ceil().clamp(min=0).minimum(limits).long()
    span = torch.where((radii[order] > 0).all(-1, keepdim=True), last - first, 0)
    counts = span.prod(-1)
    n_pairs = int(counts.sum())
    if n_pairs > MAX_PAIRS:
        fix = "use fewer or smaller Gaussians, a smaller image, or larger tiles"
        raise ResourceError("too many Gaussians overlap the image", got=f"{n_pairs} pairs", expected=MAX_PAIRS, fix=fix)
    owner = torch.repeat_interleave(counts)
    nth = torch.arange(n_pairs, device=counts.device) - (counts.cumsum(0) - counts)[owner]
    row, column = nth // span[owner, 0].clamp(min=1), nth % span[owner, 0].clamp(min=1)
    tile = (first[owner, 1] + row) * tiles_x + first[owner, 0] + column
    tile, by_tile = tile.sort(stable=True)
    edges = torch.arange(tiles_x * tiles_y + 1, device=tile.device)
    return torch.searchsorted(tile, edges), order[owner[by_tile]]


def rasterize_projected(
    projection: Projection,
    opacities: Float[Tensor, " g"],
    features: Float[Tensor, "g c"],
    width: int,
    height: int,
    *,
    background: Float[Tensor, " c"] | None = None,
    options: RasterOptions,
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"], Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Blend projected Gaussians front to back; see :func:`recon3d.render.gaussians.rasterize_projected`."""
    size = options.tile_size
    tiles_x, tiles_y = -(-width // size), -(-height // size)
    with torch.no_grad():
        offsets, ids = tile_lists(projection.means2d, projection.radii, projection.depths, size, tiles_x, tiles_y)
    geometry = torch.cat([projection.means2d, projection.conics, opacities[:, None]], -1)
    depths, ones = projection.depths[:, None], torch.ones_like(opacities)[:, None]
    scene = _Scene(geometry, torch.cat([features, depths, ones], -1), offsets, ids, tiles_x, options)
    blended = geometry.new_zeros(tiles_x * tiles_y, size * size, scene.values.shape[1] + 1)
    batches = list(_batches(offsets, _PAIRS_AT_ONCE // size**2))
    if batches:
        blended = blended.index_copy(0, torch.cat(batches), torch.cat([_blend(scene, tiles) for tiles in batches]))
    grid = blended.reshape(tiles_y, tiles_x, size, size, -1).transpose(1, 2)
    picture = grid.reshape(tiles_y * size, tiles_x * size, -1)[:height, :width]
    image, depth_sum, alpha, median = torch.split(picture, [features.shape[1], 1, 1, 1], -1)
    if background is not None:
        image = image + (1 - alpha) * background
    alpha, seen = alpha[..., 0], alpha[..., 0] > 0
    expected = torch.where(seen, depth_sum[..., 0] / torch.where(seen, alpha, 1), 0)
    return image, alpha, expected, median[..., 0].detach()


@dataclass(frozen=True, eq=False)
class _Scene:
    geometry: Tensor  # [g,6]: means2d, conics, opacities
    values: Tensor  # [g,c+2]: features, depth, one
    offsets: Tensor
    ids: Tensor
    tiles_x: int
    options: RasterOptions


def _batches(offsets: Tensor, budget: int) -> Iterator[Tensor]:
    """Return tiles with about equally many Gaussians together, as many as fit the budget; empty tiles not at all."""
    counts, tiles = offsets.diff().sort(descending=True, stable=True)
    tiles, sizes, start = tiles[counts > 0], counts[counts > 0].tolist(), 0
    while start < len(sizes):
        stop = start + max(1, budget // sizes[start])
        yield tiles[start:stop]
        start = stop


def _blend(scene: _Scene, tiles: Tensor) -> Tensor:
    """Return the blended values and the median depth of some tiles, ``[b,pixels,c+3]``."""
    begin, end = scene.offsets[tiles], scene.offsets[tiles + 1]
    n_most, step = int((end - begin).max()), max(1, _PAIRS_AT_ONCE // scene.options.tile_size**2 // len(tiles))
    pixels = _pixel_centres(scene, tiles)
    transmittance = torch.ones_like(pixels[..., 0])
    total = transmittance.new_zeros(*transmittance.shape, scene.values.shape[1] + 1)
    for start in range(0, n_most, step):
        slots = begin[:, None] + torch.arange(start, min(start + step, n_most), device=tiles.device)
        inside = slots < end[:, None]
        index = scene.ids[torch.where(inside, slots, 0)]
        arguments = (scene.geometry, scene.values, index, inside, pixels, transmittance, scene.options)
        part, transmittance = _without_memory(*arguments)
        total = total + part
    return total


def _without_memory(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Blend a chunk; its gradient computes again what was computed on the way, which bounds the memory."""
    if not torch.is_grad_enabled() or not any(isinstance(one, Tensor) and one.requires_grad for one in arguments):
        return _blend_chunk(*arguments)
    part, after = checkpoint(_blend_chunk, *arguments, use_reentrant=False, preserve_rng_state=False)
    return part, after


def _pixel_centres(scene: _Scene, tiles: Tensor) -> Tensor:
    size = scene.options.tile_size
    inside = torch.arange(size * size, device=tiles.device)
    x = (tiles % scene.tiles_x * size)[:, None] + inside % size
    y = (tiles // scene.tiles_x * size)[:, None] + inside // size
    return torch.stack([x, y], -1).to(scene.geometry.dtype) + 0.5


def _blend_chunk(
    geometry: Tensor,
    values: Tensor,
    index: Tensor,
    inside: Tensor,
    pixels: Tensor,
    transmittance: Tensor,
    options: RasterOptions,
) -> tuple[Tensor, Tensor]:
    """Return what some Gaussians per tile add to its pixels, and the transmittance behind them.

    Args:
        geometry: means2d, conics and opacities of all Gaussians, ``[g,6]``.
        values: what is blended, ``[g,v]``; the last but one is the depth.
        index: the Gaussians of each tile, ``[b,m]``.
        inside: false where a tile has no such Gaussian, ``[b,m]``.
        pixels: pixel centres, ``[b,p,2]``.
        transmittance: before the first Gaussian, ``[b,p]``.
        options: the rules.
    """
    alpha = _alphas(geometry[index], inside, pixels, options)
    after = transmittance[..., None] * (1 - alpha).cumprod(-1)
    before = torch.cat([transmittance[..., None], after[..., :-1]], -1)
    # Transmittance only falls, so whatever follows the Gaussian that would end a pixel is left out as well.
    weights = torch.where(after > options.min_transmittance, before * alpha, 0)
    chosen = values[index]
    crossing = (weights > 0) & (before > 0.5) & (after <= 0.5)
    median = crossing.to(values.dtype) @ chosen[..., -2:-1].detach()
    return torch.cat([weights @ chosen, median], -1), after[..., -1]


def _alphas(geometry: Tensor, inside: Tensor, pixels: Tensor, options: RasterOptions) -> Tensor:
    """Return the opacity of each Gaussian at each pixel, ``[b,p,m]``; 0 where it is skipped."""
    x, y, xx, xy, yy, opacity = geometry[:, None].unbind(-1)
    dx, dy = x - pixels[..., :1], y - pixels[..., 1:]
    exponent = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacity * torch.exp(-exponent.clamp(min=0))).clamp(max=options.max_alpha)
    drawn = inside[:, None] & (exponent >= 0) & (alpha >= options.min_alpha)
    return torch.where(drawn, alpha, 0)
