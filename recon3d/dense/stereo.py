"""Multi-view stereo on the CPU: depth, normals and sigma of every photo from its neighbours.

PatchMatch with slanted planes, coarse to fine, in three rounds over the photos: matching by appearance up to half size;
refinement at half and full size, where agreement with the neighbours counts too; confirmation by the neighbours.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import run_chunks
from recon3d.core.progress import Progress
from recon3d.dense.stereo_consistency import Agreement, confirm, confirmed_depth, remove_small_regions
from recon3d.dense.stereo_geometry import plane_normals
from recon3d.dense.stereo_images import BORDER
from recon3d.dense.stereo_initial import upsampled_field
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.stereo_patchmatch import choose, sweep
from recon3d.dense.stereo_refine import polish
from recon3d.dense.stereo_smooth import smooth
from recon3d.dense.stereo_work import Work, prepare
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

_SURFACE_STEP = 0.02  # relative depth difference between neighbouring pixels of one region


def stereo_cameras(cameras: Cameras, options: StereoOptions) -> Cameras:
    """Return the cameras of the depth maps of :func:`estimate_depth`: those of the photos, reduced where too large."""
    return cameras.pinhole().limited(options.max_image_size)


def estimate_depth(
    images: list[UInt8[np.ndarray, "_h _w 3"]],
    cameras: Cameras,
    points: Points,
    options: StereoOptions | None = None,
    progress: Progress | None = None,
    masks: list[Bool[np.ndarray, "_h _w"] | None] | None = None,
    may_help: Bool[np.ndarray, " n"] | None = None,
) -> list[DepthMap]:
    """Estimate the depth of every pixel of every photo by matching it against its neighbours.

    Args:
        images: undistorted photos, sRGB.
        cameras: their pinhole cameras.
        points: sparse points, in the world of the cameras; ``obs_view`` indexes ``cameras``.
        options: what to trade.
        progress: where to report.
        masks: per photo, True where a depth is wanted; None = everywhere.
        may_help: photos that others are matched against, ``[n]``; a photo that is kept out to measure something still
            gets a depth map of its own. None = all.

    Returns:
        One depth map per photo, of the size of :func:`stereo_cameras`, with normals; empty where no neighbour overlaps.

    Raises:
        ShapeError: images, masks and cameras do not agree.

    The same photos give the same bits on any number of threads. Needs about 45 bytes per pixel of all photos.
    """
    _check(images, cameras, masks)
    work = prepare(images, cameras, points, options or StereoOptions(), masks, may_help)
    n = len(images)
    maps: dict[int, DepthMap] = {}
    with (progress or Progress()).stage("stereo", 3 * n) as stage:

        def match(view: int) -> None:
            _match(work, view)
            stage.advance()

        def refine(view: int) -> None:
            refined[view] = _refine(work, view)
            stage.advance()

        def finish(view: int) -> None:
            maps[view] = _finish(work, view)
            stage.advance()

        refined = list(work.fields)
        run_chunks(match, n)
        run_chunks(refine, n)
        work.fields, work.levels = refined, [0] * n
        run_chunks(finish, n)
    return [maps[view] for view in range(n)]


def _check(
    images: list[UInt8[np.ndarray, "_h _w 3"]], cameras: Cameras, masks: list[Bool[np.ndarray, "_h _w"] | None] | None
) -> None:
    sizes = list(zip(cameras.height.tolist(), cameras.width.tolist(), strict=True))
    got = [image.shape[:2] for image in images]
    if got != sizes:
        raise ShapeError("photos and cameras do not agree", got=got[:5], expected=sizes[:5])
    if masks is None:
        return
    masked = [size if mask is None else mask.shape for mask, size in zip(masks, sizes, strict=False)]
    if len(masks) != len(sizes) or masked != sizes:
        raise ShapeError("masks and cameras do not agree", got=masked[:5], expected=sizes[:5])


def _match(work: Work, view: int) -> None:
    """Match one photo by appearance alone, from the coarsest scale to that of the fields."""
    if not len(work.plans[view].sources):
        return
    coarsest = work.n_levels(view) - 1
    field = work.fields[view]
    for level in range(coarsest, work.levels[view] - 1, -1):
        reference, sources = work.reference(view, level), work.sources(view, level, True, False)
        search = work.search(view, level)
        if level < coarsest:
            field = _finer(field, reference)
            sweep(field, reference, sources, search._replace(seed=work.seed(view, level, "match")))
            continue
        search = search._replace(ranked=False, n_random=3, step_slope=np.float32(0.5))
        field = choose(work.first_planes(view, level), reference, sources, search)
        for i in range(work.options.n_iterations):
            step = search._replace(step_px=np.float32(8.0 * 0.5**i), seed=work.seed(view, level, f"first {i}"))
            sweep(field, reference, sources, step)
    work.fields[view] = field


def _refine(work: Work, view: int) -> np.ndarray:
    """Go on to full size, now also comparing with what was found for the neighbours."""
    shape = work.pyramids[view][0].shape
    if not len(work.plans[view].sources):
        return np.zeros((*shape, 4), np.float32)
    field = work.fields[view].copy()
    level, reference = work.levels[view], work.reference(view, 0)
    weight = np.float32(work.options.consistency_weight)
    if level:
        search = work.search(view, level)._replace(weight=weight, seed=work.seed(view, level, "refine"))
        sweep(field, work.reference(view, level), work.sources(view, level, True, True), search)
        field = _finer(field, reference)
    search = work.search(view, 0)._replace(weight=weight, same_px=np.float32(0.25))
    spread = polish(field, reference, work.sources(view, 0, True, True), search)
    field, work.spreads[view] = smooth(field, spread)
    return field


def _finer(field: Float32[np.ndarray, "h w 4"], reference: Float32[np.ndarray, "hp wp"]) -> np.ndarray:
    """Carry a field to the next finer scale; masked pixels, -1 in the padded reference, get no plane."""
    inner = reference[BORDER:-BORDER, BORDER:-BORDER]
    fine = upsampled_field(field, *inner.shape)
    fine[inner < 0] = 0.0, 0.0, 0.0, np.inf
    return fine


def _finish(work: Work, view: int) -> DepthMap:
    """Keep what matches well and what the neighbours confirm."""
    options, field = work.options, work.fields[view]
    sources = work.sources(view, 0, False, True)
    n_sources = len(work.plans[view].sources)
    if not n_sources:
        empty = np.zeros(field.shape[:2], np.float32)
        return DepthMap(empty, empty.copy(), np.zeros((*empty.shape, 3), np.float32))
    agreement = Agreement(np.float32(options.max_reprojection_px), np.float32(options.max_depth_error))
    votes = confirm(field, sources, agreement)
    keep = (votes[..., 0] >= min(options.min_consistent, n_sources)) & (field[..., 3] <= options.max_cost)
    depth_z, sigma = confirmed_depth(votes, work.spreads[view], keep)
    depth_z = remove_small_regions(depth_z, options.min_region_px, _SURFACE_STEP)
    kept = np.where(depth_z[..., None] > 0, field[..., :3], np.float32(0))
    return DepthMap(depth_z, np.where(depth_z > 0, sigma, np.float32(0)), plane_normals(kept, work.cameras.K[view]))
