"""Depth maps to one mesh."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int32, Int64

from recon3d.core.errors import ResourceError, ResultError, ShapeError
from recon3d.core.progress import Progress, Stage
from recon3d.dense.fusion_options import FusionOptions
from recon3d.dense.hull_solid import BYTES_PER_VOXEL as HULL_BYTES_PER_VOXEL, Hull, flattened, hull_box
from recon3d.dense.hull_surface import hull_surface
from recon3d.dense.mesh_cleanup import into_hull, large_components, sound_faces, used_vertices
from recon3d.dense.silhouettes import PhotoDepth as PhotoDepth, TrimmedMaps
from recon3d.dense.surface import is_seen_all_round, is_surrounded
from recon3d.dense.tsdf import BYTES_PER_BLOCK, TsdfVolume
from recon3d.dense.tsdf_blocks import Lattice, blocks_of_map
from recon3d.dense.tsdf_close import Box, closed_surface
from recon3d.dense.tsdf_extract import extract_surface, vertex_colours
from recon3d.dense.tsdf_pixels import PixelRays, map_lens, prepare_pixels
from recon3d.dense.visual_hull import Masks, Silhouettes
from recon3d.render.cameras import Cameras
from recon3d.render.mesh.normals import vertex_normals
from recon3d.render.mesh.types import Mesh

_Surface = tuple[Float64[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]  # vertices in voxels of the lattice
logger = logging.getLogger(__name__)
_MEMORY_SHARE = 0.6
_SAMPLES_PER_MAP = 10_000
_MAX_COARSENING = 20
_COUNTED = 64  # times the blocks that the memory holds: further ones are not counted, for they take memory themselves
_OBJECT_SHARE = 0.2
_VIEWS_FROM = (1, 3, 8)  # maps from which on 1, 2, 3 must agree


@dataclass(frozen=True)
class FusionStats:
    """How a mesh came about.

    Args:
        voxel: edge of a voxel in world units.
        wanted_voxel: what it would have been without limits of memory and faces.
        n_blocks: blocks of 512 voxels around the surfaces.
        memory_bytes: what the blocks took.
        closed: whether the surface was closed where nothing was seen.
    """

    voxel: float
    wanted_voxel: float
    n_blocks: int
    memory_bytes: int
    closed: bool


def fuse_depth(
    maps: Sequence[PhotoDepth],
    cameras: Cameras,
    options: FusionOptions | None = None,
    *,
    masks: Masks | None = None,
    max_memory_bytes: int = 2 << 30,
    progress: Progress | None = None,
) -> Mesh:
    """Fuse depth maps into a coloured triangle mesh; see :func:`fuse_with_stats`."""
    return fuse_with_stats(maps, cameras, options, masks=masks, max_memory_bytes=max_memory_bytes, progress=progress)[0]


def fuse_with_stats(
    maps: Sequence[PhotoDepth],
    cameras: Cameras,
    options: FusionOptions | None = None,
    *,
    masks: Masks | None = None,
    max_memory_bytes: int = 2 << 30,
    progress: Progress | None = None,
) -> tuple[Mesh, FusionStats]:
    """Fuse depth maps into a coloured triangle mesh.

    Args:
        maps: depth map and sRGB colours of the same size, one pair per camera; they are read several times, one
            at a time, so a sequence that loads them from disk keeps memory low.
        cameras: pinhole cameras; photos and depth maps may differ in size.
        options: voxel size, truncation, clean-up.
        masks: where the photos show the object, True = object, one ``[h,w]`` or None per camera: a closed solid stays
            inside its visual hull and fills what nobody saw of it. Masks that leave most of the border of their photo
            in use show no object and say nothing.
        max_memory_bytes: the voxels are made coarser until their blocks fit.
        progress: where to show progress.

    Returns:
        The mesh in the world of the cameras, and how it came about. The same bits for any number of threads.

    Raises:
        ShapeError: maps or masks and cameras disagree.
        ResultError: the depth maps hold no surface.
        ResourceError: the memory suffices for no voxels.
    """
    options, progress = options or FusionOptions(), progress or Progress()
    if len(maps) != len(cameras):
        raise ShapeError("depth maps and cameras disagree", got=len(maps), expected=len(cameras))
    outlines = None if masks is None else Silhouettes(masks, cameras) or None
    job = _Job(maps, cameras, options, max_memory_bytes, options.min_views or _views_to_agree(len(maps)), outlines)
    job = job.of_object() if options.closing == "closed" else job
    with progress.stage("fusing depth maps", 2 * len(maps)) as stage:
        spread = _measure_maps(maps, cameras)
        lattice = _lattice(spread, cameras, options)
        wanted_voxel = lattice.voxel
        for _ in range(_MAX_COARSENING):
            volume = _fill(job, spread, lattice, stage)
            surface = _seen_surface(job, volume)
            if not job.closed and _shows_object(job, volume, surface):
                job = job.of_object()
                volume = _fill(job, spread, volume.lattice, stage)
                surface = _seen_surface(job, volume)
            mesh, factor = _mesh(job, volume, surface, spread.footprint)
            if factor <= 1.0:
                break
            lattice = _coarser(volume.lattice, factor)
    n_blocks, voxel = len(volume.keys), volume.lattice.voxel
    logger.info("%d faces from %d blocks of voxels of %.4g", len(mesh.faces), n_blocks, voxel)
    return mesh, FusionStats(voxel, wanted_voxel, n_blocks, n_blocks * BYTES_PER_BLOCK, job.closed)


@dataclass(frozen=True, eq=False)
class _Job:
    maps: Sequence[PhotoDepth]
    cameras: Cameras
    options: FusionOptions
    max_memory_bytes: int
    min_views: int
    outlines: Silhouettes | None
    closed: bool = False

    def of_object(self) -> _Job:
        """Return the work on a solid: what surrounds it is a backdrop that depth may have grown into."""
        trim_px = 0 if self.outlines else self.options.trim_px  # masks leave no backdrop
        return replace(self, maps=TrimmedMaps(self.maps, trim_px), closed=True)

    @property
    def cleaning(self) -> FusionOptions:
        """Options of the clean-up: of an object, not of what floats around it; masks leave nothing that does."""
        if not self.closed or self.outlines:
            return self.options
        return replace(self.options, min_component=max(self.options.min_component, _OBJECT_SHARE))

    def rays(self) -> Iterator[PixelRays]:
        """Yield the maps without their colours, one at a time."""
        for index in range(len(self.maps)):
            yield PixelRays.of(self.maps[index][0].depth_z, self.cameras, index)


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


def _coarser(lattice: Lattice, factor: float) -> Lattice:
    return replace(lattice, voxel=lattice.voxel * factor, truncation=lattice.truncation * factor)


def _fill(job: _Job, spread: _Spread, lattice: Lattice, stage: Stage) -> TsdfVolume:
    lattice, keys = _allocate(job, lattice)
    stage.advance(len(job.maps))
    volume = TsdfVolume.empty(lattice, keys)
    # What is much smaller than a voxel makes no difference.
    usual_sigma = max(spread.sigma, lattice.voxel) if spread.sigma > 0 else 0.0
    for index in range(len(job.maps)):
        volume.integrate(prepare_pixels(*job.maps[index], job.cameras, index, usual_sigma))
        stage.advance()
    return volume


def _allocate(job: _Job, lattice: Lattice) -> tuple[Lattice, Int64[np.ndarray, " b"]]:
    """Return the blocks around all surfaces, of voxels as coarse as the memory asks for."""
    max_blocks = max(1, int(_MEMORY_SHARE * job.max_memory_bytes / BYTES_PER_BLOCK))
    for _ in range(_MAX_COARSENING):
        keys = np.zeros(0, np.int64)
        for rays in job.rays():
            keys = np.union1d(keys, blocks_of_map(rays, lattice))
            if len(keys) > _COUNTED * max_blocks:
                break
        if 0 < len(keys) <= max_blocks:
            return lattice, keys
        if len(keys) == 0:
            got = f"voxels of {lattice.voxel:.4g}"
            raise ResultError("the depth maps hold no surface that voxels of this size can show", got=got)
        factor = max(1.02, float(np.sqrt(len(keys) / max_blocks)))  # blocks lie along surfaces
        logger.info("voxels of %.4g need too much memory; %.2f times coarser", lattice.voxel, factor)
        lattice = _coarser(lattice, factor)
    raise ResourceError(
        "too little memory for the voxels of this scene",
        got=f"{job.max_memory_bytes / 2**20:.0f} MiB",
        fix="raise --max-memory, or leave far background out with a smaller --mesh.reach",
    )


def _views_to_agree(n_maps: int) -> int:
    return int(np.searchsorted(_VIEWS_FROM, n_maps, side="right"))


def _seen_surface(job: _Job, volume: TsdfVolume) -> _Surface:
    vertices, faces = _cleaned(*extract_surface(volume, job.options.min_weight, job.min_views), job.options)
    if len(faces) == 0:
        raise ResultError("the depth maps agree on no surface", fix="lower min_views or min_weight")
    return vertices, faces


def _shows_object(job: _Job, volume: TsdfVolume, surface: _Surface) -> bool:
    if job.options.closing != "auto":
        return False
    centers = job.cameras.centers
    if job.outlines:
        return is_surrounded(hull_surface(job.outlines)[0], centers)
    return is_seen_all_round(_to_world(surface[0], volume.lattice), surface[1], centers)


def _mesh(job: _Job, volume: TsdfVolume, surface: _Surface, pixel: float) -> tuple[Mesh, float]:
    """Return the mesh, and how much coarser the voxels must be for it to fit; 1 = it fits."""
    options, (vertices, faces) = job.cleaning, surface
    factor = float(np.sqrt(len(faces) / options.max_faces)) if options.max_faces else 1.0
    if job.closed:
        vertices, faces = _cleaned(vertices, faces, options)
        box = _box(job, vertices, volume.lattice)
        needed = box.memory_bytes + (int(box.size.prod()) * HULL_BYTES_PER_VOXEL if job.outlines else 0)
        factor = max(factor, float(np.cbrt(needed / (_MEMORY_SHARE * job.max_memory_bytes))))
        if factor <= 1.0:
            vertices, faces = _cleaned(*_closed(job, volume, box, vertices, pixel), options)
    return _finish(volume, vertices, faces), factor if factor <= 1.0 else 1.05 * factor


def _box(job: _Job, seen: Float64[np.ndarray, "v 3"], lattice: Lattice) -> Box:
    return hull_box(job.outlines, seen, lattice) if job.outlines else Box.around(seen, lattice)


def _closed(job: _Job, volume: TsdfVolume, box: Box, seen: Float64[np.ndarray, "s 3"], pixel: float) -> _Surface:
    """Return a solid up to the visual hull or, without outlines, inside the convex hull of what was seen."""
    options, see_through = job.options, max(1, job.min_views - 1)
    if job.outlines:
        hull = Hull.of(job.outlines, box, volume.lattice, pixel)
        vertices, faces = closed_surface(volume, box, options.min_weight, job.rays(), see_through, hull.fill)
        centers = (job.cameras.centers - np.array(volume.lattice.origin)) / volume.lattice.voxel
        return flattened(vertices, faces, seen, centers), faces
    vertices, faces = closed_surface(volume, box, options.min_weight, job.rays(), see_through)
    return into_hull(vertices, seen), faces


def _cleaned(
    vertices: Float64[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"], options: FusionOptions
) -> tuple[Float64[np.ndarray, "v2 3"], Int32[np.ndarray, "f2 3"]]:
    faces = faces[sound_faces(faces)]
    faces = faces[large_components(faces, len(vertices), options.min_component, options.min_faces)]
    rows, faces = used_vertices(faces, len(vertices))
    return vertices[rows], faces


def _to_world(vertices: Float64[np.ndarray, "v 3"], lattice: Lattice) -> Float64[np.ndarray, "v 3"]:
    return np.asarray(vertices * lattice.voxel + np.array(lattice.origin))


def _finish(volume: TsdfVolume, vertices: Float64[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> Mesh:
    world = _to_world(vertices, volume.lattice)
    normals = vertex_normals(world, faces)
    return Mesh(world.astype(np.float32), faces, normals, vertex_colours(volume, vertices))
