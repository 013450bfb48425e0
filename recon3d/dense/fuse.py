"""Depth maps to one mesh."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from recon3d.core.errors import ResultError, ShapeError
from recon3d.core.progress import Progress
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.mesh_cleanup import large_components, sound_faces, used_vertices, vertex_normals
from recon3d.dense.tsdf import BYTES_PER_BLOCK, TsdfVolume
from recon3d.dense.tsdf_blocks import Lattice, blocks_of_map
from recon3d.dense.tsdf_extract import extract_surface, vertex_colours
from recon3d.dense.tsdf_pixels import PixelRays, map_lens, prepare_pixels
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.types import Mesh

logger = logging.getLogger(__name__)
PhotoDepth = tuple[DepthMap, UInt8[np.ndarray, "_h _w 3"]]
_MEMORY_SHARE = 0.6
_SAMPLES_PER_MAP = 10_000
_MAX_COARSENING = 20
_VIEWS_FROM = (1, 3, 8)  # maps from which on 1, 2, 3 must agree


@dataclass(frozen=True)
class FusionStats:
    """How a mesh came about.

    Args:
        voxel: edge of a voxel in world units.
        n_blocks: blocks of 512 voxels around the surfaces.
        memory_bytes: what the blocks took.
        closed: whether the surface was closed where nothing was seen.
    """

    voxel: float
    n_blocks: int
    memory_bytes: int
    closed: bool


def fuse_depth(
    maps: Sequence[PhotoDepth],
    cameras: Cameras,
    options: FusionOptions | None = None,
    *,
    max_memory_bytes: int = 2 << 30,
    progress: Progress | None = None,
) -> Mesh:
    """Fuse depth maps into a coloured triangle mesh; see :func:`fuse_with_stats`."""
    return fuse_with_stats(maps, cameras, options, max_memory_bytes=max_memory_bytes, progress=progress)[0]


def fuse_with_stats(
    maps: Sequence[PhotoDepth],
    cameras: Cameras,
    options: FusionOptions | None = None,
    *,
    max_memory_bytes: int = 2 << 30,
    progress: Progress | None = None,
) -> tuple[Mesh, FusionStats]:
    """Fuse depth maps into a coloured triangle mesh.

    Args:
        maps: depth map and sRGB colours of the same size, one pair per camera; they are read twice, one at a time, so a
            sequence that loads them from disk keeps memory low.
        cameras: pinhole cameras; photos and depth maps may differ in size.
        options: voxel size, truncation, clean-up.
        max_memory_bytes: the voxels are made coarser until their blocks fit.
        progress: where to show progress.

    Returns:
        The mesh in the world of the cameras, and how it came about. The same bits for any number of threads.

    Raises:
        ShapeError: maps and cameras disagree.
        ResultError: the depth maps hold no surface.
    """
    options, progress = options or FusionOptions(), progress or Progress()
    if len(maps) != len(cameras):
        raise ShapeError("depth maps and cameras disagree", got=len(maps), expected=len(cameras))
    max_blocks = max(1, int(_MEMORY_SHARE * max_memory_bytes / BYTES_PER_BLOCK))
    with progress.stage("fusing depth maps", 2 * len(maps)) as stage:
        spread = _measure_maps(maps, cameras)
        lattice = _lattice(spread, cameras, options)
        lattice, keys = _allocate(maps, cameras, lattice, max_blocks)
        stage.advance(len(maps))
        volume = TsdfVolume.empty(lattice, keys)
        for index in range(len(maps)):
            volume.integrate(prepare_pixels(*maps[index], cameras, index, spread.sigma))
            stage.advance()
    mesh = _mesh(volume, options, options.min_views or _views_to_agree(len(maps)))
    stats = FusionStats(lattice.voxel, len(keys), len(keys) * BYTES_PER_BLOCK, False)
    logger.info("%d faces from %d blocks of voxels of %.4g", len(mesh.faces), len(keys), lattice.voxel)
    return mesh, stats


@dataclass(frozen=True)
class _Spread:
    """Medians over all maps: width of a pixel at its depth, and sigma, in world units."""

    footprint: float
    sigma: float


def _measure_maps(maps: Sequence[PhotoDepth], cameras: Cameras) -> _Spread:
    widths, sigmas = [], []
    for index in range(len(maps)):
        depth = maps[index][0]
        lens = map_lens(cameras, index, *depth.depth_z.shape)
        known = np.flatnonzero(np.isfinite(depth.depth_z) & (depth.depth_z > 0))
        known = known[:: max(1, len(known) // _SAMPLES_PER_MAP)]
        widths.append(depth.depth_z.ravel()[known] / lens[:2].mean())
        sigmas.append(depth.sigma.ravel()[known])
    width = np.concatenate(widths) if widths else np.zeros(0)
    if len(width) == 0:
        raise ResultError("the depth maps are empty, so there is no surface", got=f"{len(maps)} maps without a depth")
    sigma = np.concatenate(sigmas)
    sigma = sigma[np.isfinite(sigma) & (sigma > 0)]
    return _Spread(float(np.median(width)), float(np.median(sigma)) if len(sigma) else 0.0)


def _lattice(spread: _Spread, cameras: Cameras, options: FusionOptions) -> Lattice:
    voxel = options.voxel_size or options.voxel_px * spread.footprint
    x, y, z = (float(value) for value in cameras.centers.mean(axis=0))
    truncation = float(np.clip(3 * spread.sigma, options.truncation * voxel, 3 * options.truncation * voxel))
    return Lattice((x, y, z), voxel, truncation, options.reach)


def _allocate(
    maps: Sequence[PhotoDepth], cameras: Cameras, lattice: Lattice, max_blocks: int
) -> tuple[Lattice, Int64[np.ndarray, " b"]]:
    """Return the blocks around all surfaces, of voxels as coarse as the memory asks for."""
    for _ in range(_MAX_COARSENING):
        keys = np.zeros(0, np.int64)
        for index in range(len(maps)):
            rays = PixelRays.of(maps[index][0].depth_z, cameras, index)
            keys = np.union1d(keys, blocks_of_map(rays, lattice))
            if len(keys) > max_blocks:
                break
        if 0 < len(keys) <= max_blocks:
            return lattice, keys
        if len(keys) == 0:
            break
        factor = max(1.2, float(np.sqrt(len(keys) / max_blocks)))
        logger.info("voxels of %.4g need too much memory; %.2f times coarser", lattice.voxel, factor)
        lattice = replace(lattice, voxel=lattice.voxel * factor, truncation=lattice.truncation * factor)
    raise ResultError("the depth maps hold no surface that voxels of this size can show", got=f"{lattice.voxel:.4g}")


def _views_to_agree(n_maps: int) -> int:
    return int(np.searchsorted(_VIEWS_FROM, n_maps, side="right"))


def _mesh(volume: TsdfVolume, options: FusionOptions, min_views: int) -> Mesh:
    vertices, faces = extract_surface(volume, options.min_weight, min_views)
    faces = faces[sound_faces(faces)]
    faces = faces[large_components(faces, len(vertices), options.min_component, options.min_faces)]
    if len(faces) == 0:
        raise ResultError("the depth maps agree on no surface", fix="lower min_views or min_weight")
    rows, faces = used_vertices(faces, len(vertices))
    return _finish(volume, vertices[rows], faces)


def _finish(volume: TsdfVolume, vertices: Float64[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> Mesh:
    world = vertices * volume.lattice.voxel + np.array(volume.lattice.origin)
    normals = vertex_normals(world, faces)
    return Mesh(world.astype(np.float32), faces, normals, vertex_colours(volume, vertices))
