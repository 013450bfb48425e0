"""The functions of gsplat 1.5 that recon3d calls, with their arguments and shapes, in plain torch on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from recon3d.render.gaussians import ProjectionOptions, RasterOptions, reference, reference_raster

MAX_CHANNELS = 513


def spherical_harmonics(degrees_to_use: int, dirs: Tensor, coeffs: Tensor, masks: Tensor | None = None) -> Tensor:
    assert dirs.shape == (len(coeffs), 3) and masks is None
    assert (dirs != 0).any(-1).all(), "the kernel would divide by zero"
    return reference.spherical_harmonics(dirs, coeffs, degrees_to_use)


def fully_fused_projection(
    means: Tensor,
    covars: Tensor | None,
    quats: Tensor,
    scales: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    eps2d: float = 0.3,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    packed: bool = False,
    sparse_grad: bool = False,
    calc_compensations: bool = False,
    camera_model: str = "pinhole",
    opacities: Tensor | None = None,
) -> tuple[Tensor, ...]:
    assert covars is None and opacities is None and not (packed or sparse_grad or radius_clip)
    assert viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3) and calc_compensations and camera_model == "pinhole"
    options = ProjectionOptions(eps2d, near_plane, far_plane, bounds="gsplat")
    where = (means, quats, scales.log(), viewmats[0], Ks[0], width, height)
    seen = reference.project(*where, options=options)
    hidden = (seen.radii == 0).any(-1)
    garbage = (
        value.masked_fill(hidden.reshape(-1, *(1,) * (value.ndim - 1)), torch.nan)
        for value in (seen.means2d, seen.depths, seen.conics, seen.compensations)
    )
    return seen.radii[None], *(value[None] for value in garbage)


def isect_tiles(
    means2d: Tensor, radii: Tensor, depths: Tensor, tile_size: int, tile_width: int, tile_height: int
) -> tuple[Tensor, Tensor, Tensor]:
    assert len(means2d) == len(radii) == len(depths) == 1 and radii.dtype == torch.int32
    offsets, ids = reference_raster.tile_lists(means2d[0], radii[0], depths[0], tile_size, tile_width, tile_height)
    tiles = torch.repeat_interleave(offsets.diff())
    keys = tiles << 32 | depths[0].detach().view(torch.int32)[ids].long()
    return torch.bincount(ids, minlength=radii.shape[1])[None], keys, ids.int()


def isect_offset_encode(isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int) -> Tensor:
    assert n_images == 1
    edges = torch.arange(tile_width * tile_height)
    return torch.searchsorted(isect_ids >> 32, edges).reshape(1, tile_height, tile_width).int()


def rasterize_to_pixels(
    means2d: Tensor,
    conics: Tensor,
    colors: Tensor,
    opacities: Tensor,
    image_width: int,
    image_height: int,
    tile_size: int,
    isect_offsets: Tensor,
    flatten_ids: Tensor,
    backgrounds: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    (_, tiles_y, tiles_x), n_channels = isect_offsets.shape, colors.shape[-1]
    assert tile_size == 16 and n_channels.bit_count() == 1 and n_channels <= MAX_CHANNELS
    assert backgrounds is not None and backgrounds.shape == (1, n_channels)
    offsets = torch.cat([isect_offsets.ravel().long(), torch.tensor([len(flatten_ids)])])
    ones = torch.ones_like(opacities[0])[:, None]
    geometry = torch.cat([means2d[0], conics[0], opacities[0][:, None]], -1)
    values = torch.cat([colors[0], ones, ones], -1)
    scene = reference_raster._Scene(geometry, values, offsets, flatten_ids.long(), tiles_x, RasterOptions())
    grid = reference_raster._blend(scene, torch.arange(tiles_x * tiles_y))
    grid = grid.reshape(tiles_y, tiles_x, 16, 16, -1).transpose(1, 2).reshape(tiles_y * 16, tiles_x * 16, -1)
    picture = grid[None, :image_height, :image_width]
    alpha = picture[..., n_channels : n_channels + 1]
    return picture[..., :n_channels] + (1 - alpha) * backgrounds[:, None, None], alpha
