"""Gaussians on CUDA tensors, by the kernels of gsplat 1.5; plain torch where gsplat does not do what is asked.

Written against gsplat's documented functions ``spherical_harmonics``, ``fully_fused_projection``, ``isect_tiles``,
``isect_offset_encode`` and ``rasterize_to_pixels``, whose tensors have an image axis in front.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from subprocess import CalledProcessError
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from recon3d.render.gaussians import reference, reference_raster
from recon3d.render.gaussians.dispatch import warn_once
from recon3d.render.gaussians.options import ProjectionOptions, RasterOptions
from recon3d.render.gaussians.types import Projection

TILE = 16  # gsplat's kernels support no size that would be faster, and the picture does not depend on it
CHUNK = 32  # channels per launch, as gsplat.rasterization does it
_COMPILED_MAX_ALPHA = (0.999, 0.99)  # 1.5.3 and later; which one cannot be asked or changed


@lru_cache(maxsize=4)
def why_not(device: torch.device) -> str:
    """Return why gsplat cannot be used on a device; empty where it can.

    The first call renders one Gaussian, because gsplat compiles its kernels when they are first called, and only that
    tells whether it can.
    """
    try:
        import_module("gsplat")
        alpha = _trial(device)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except CalledProcessError as error:
        return f"its kernels do not compile: {error}"
    except (ImportError, OSError, RuntimeError, AttributeError, AssertionError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
    return "" if abs(alpha - 0.5) < 1e-3 else f"it renders an alpha of {alpha:.4f} where 0.5 is right"


def _trial(device: torch.device) -> float:
    """Return the alpha of one Gaussian of opacity one half at the centre of a pixel."""
    means, quats = torch.tensor([[0.0, 0.0, 1.0]], device=device), torch.tensor([[1.0, 0.0, 0.0, 0.0]], device=device)
    pose, K = torch.eye(4, device=device), torch.tensor([[8.0, 0.0, 8.5], [0.0, 8.0, 8.5], [0.0, 0.0, 1.0]]).to(device)
    seen = project(means, quats, torch.zeros_like(means), pose, K, TILE, TILE, options=ProjectionOptions())
    colour = spherical_harmonics(means, means[None], 0)
    opacity = torch.full_like(colour[:, 0], 0.5)
    _, alpha, _, _ = rasterize_projected(seen, opacity, colour, TILE, TILE, options=RasterOptions())
    return float(alpha[8, 8])


def spherical_harmonics(
    directions: Float[Tensor, "g 3"], coefficients: Float[Tensor, "g k 3"], degree: int
) -> Float[Tensor, "g 3"]:
    """Evaluate spherical harmonics; see :func:`recon3d.render.spherical_harmonics.spherical_harmonics`."""
    if len(directions) == 0:
        return reference.spherical_harmonics(directions, coefficients, degree)
    # gsplat divides by the length without a guard; what lies in the camera's centre is never drawn.
    somewhere = torch.where((directions == 0).all(-1, keepdim=True), torch.ones_like(directions), directions)
    colours: Tensor = _gsplat().spherical_harmonics(degree, somewhere, coefficients)
    return colours


def project(
    means: Float[Tensor, "g 3"],
    quats: Float[Tensor, "g 4"],
    log_scales: Float[Tensor, "g 3"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    opacities: Float[Tensor, " g"] | None = None,
    options: ProjectionOptions,
) -> Projection:
    """Project Gaussians into one camera; see :func:`recon3d.render.gaussians.project`."""
    if len(means) == 0 or options.min_alpha != RasterOptions.min_alpha:
        where = (means, quats, log_scales, cam_from_world, K, width, height)
        return reference.project(*where, opacities=opacities, options=options)
    radii, *fields = _gsplat().fully_fused_projection(
        *(means, None, quats, log_scales.exp(), cam_from_world[None], K[None], width, height),
        eps2d=options.eps2d,
        near_plane=options.near,
        far_plane=options.far,
        calc_compensations=True,
    )
    radii = _tightened(radii[0], fields[-1][0], opacities, options)
    visible = (radii > 0).all(-1)
    # gsplat leaves the fields of what is not visible uninitialised.
    means2d, depths, conics, compensations = (
        torch.where(visible.reshape(-1, *(1,) * (field.ndim - 2)), field[0], 0) for field in fields
    )
    return Projection(means2d, depths, conics, compensations, torch.where(visible[:, None], radii, 0))


@torch.no_grad()
def _tightened(
    radii: Tensor, compensations: Tensor, opacities: Tensor | None, options: ProjectionOptions
) -> Int[Tensor, "g 2"]:
    """Return gsplat's radii, scaled to where the opacity ends; whole pixels make them a little too large, never small.

    gsplat has tight bounds of its own, but only for opacities that are multiplied by the compensations.
    """
    extents = reference.extents(compensations, opacities, options)
    return torch.minimum(radii, (radii * extents[:, None] / reference.GSPLAT_EXTENT).ceil().to(radii.dtype))


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
    """Blend projected Gaussians front to back; see :func:`recon3d.render.gaussians.rasterize_projected`.

    The median depth is found by plain torch, since gsplat has none.
    """
    values = torch.cat([features, projection.depths[:, None]], -1)
    reason = _why_plain_torch(options)
    if len(opacities) == 0 or reason:
        if reason:
            warn_once(f"Gaussians are blended with plain torch, which is slow: {reason}")
        return reference_raster.rasterize_projected(
            projection, opacities, features, width, height, background=background, options=options
        )
    behind = values.new_zeros(values.shape[1])
    if background is not None:
        behind = torch.cat([background, behind[:1]])
    blended, alpha = _blend(projection, opacities, values, behind, (width, height))
    seen = alpha > 0
    expected = torch.where(seen, blended[..., -1] / torch.where(seen, alpha, 1), 0)
    with torch.no_grad():
        *_, median = reference_raster.rasterize_projected(
            projection, opacities, features[:, :0], width, height, options=options
        )
    return blended[..., :-1], alpha, expected, median


def _why_plain_torch(options: RasterOptions) -> str:
    """Return which option gsplat does not have; empty where it has them all."""
    if options.max_alpha not in _COMPILED_MAX_ALPHA:
        return f"gsplat cuts alpha at {_COMPILED_MAX_ALPHA[0]}, max_alpha is {options.max_alpha}"
    for name in ("min_alpha", "min_transmittance"):
        wanted, compiled = getattr(options, name), getattr(RasterOptions, name)
        if wanted != compiled:
            return f"gsplat has a {name} of {compiled:.6f} compiled in, not {wanted:.6f}"
    return ""


def _blend(
    projection: Projection, opacities: Tensor, values: Tensor, background: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Blend any number of channels, a few per launch; return them and alpha."""
    width, height = size
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    means2d, conics, strengths = projection.means2d[None], projection.conics[None], opacities[None]
    radii, depths = projection.radii.to(torch.int32)[None], projection.depths[None]
    _, keys, ids = _gsplat().isect_tiles(means2d, radii, depths, TILE, tiles_x, tiles_y)
    offsets = _gsplat().isect_offset_encode(keys, 1, tiles_x, tiles_y)
    parts = []
    for start in range(0, values.shape[1], CHUNK):
        part, behind = _padded(values[:, start : start + CHUNK]), _padded(background[None, start : start + CHUNK])
        blended, alpha = _gsplat().rasterize_to_pixels(
            *(means2d, conics, part[None], strengths, width, height, TILE, offsets, ids), backgrounds=behind
        )
        parts.append(blended[0, ..., : min(CHUNK, values.shape[1] - start)])
    return torch.cat(parts, -1), alpha[0, ..., 0]


def _padded(values: Tensor) -> Tensor:
    """Append zeros up to a power of two channels, which gsplat always has compiled."""
    n_channels = values.shape[1]
    n_wanted = 1 << (n_channels - 1).bit_length()
    return torch.nn.functional.pad(values, (0, n_wanted - n_channels)).contiguous()


def _gsplat() -> Any:
    return import_module("gsplat")
