"""Multi-view stereo on the CPU: depth, normals and sigma of every photo from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import run_chunks
from recon3d.core.progress import Progress
from recon3d.core.seeds import derive, generator
from recon3d.dense.stereo_consistency import Agreement, confirm, remove_small_regions, stack_neighbours
from recon3d.dense.stereo_geometry import halved_cameras, inverse_maps, pair_maps, plane_normals, reduced_cameras
from recon3d.dense.stereo_images import grey_pyramid, pack_sources, padded_reference
from recon3d.dense.stereo_initial import first_planes, upsampled_planes
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.stereo_patchmatch import Search, choose, sweep
from recon3d.dense.stereo_views import ViewPlan, plan_views
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

_MAX_SLOPE = 4.0  # surfaces steeper than 76 degrees are not matched


@dataclass(eq=False)
class _Work:
    """Everything that the photos share."""

    cameras: Cameras
    plans: list[ViewPlan]
    scale: list[float]
    pyramids: list[list[UInt8[np.ndarray, "_h _w"]]]
    masks: list[Bool[np.ndarray, "_h _w"] | None]
    options: StereoOptions
    planes: list[Float32[np.ndarray, "_h _w 3"]]
    cost: list[Float32[np.ndarray, "_h _w"]]


def stereo_cameras(cameras: Cameras, options: StereoOptions) -> Cameras:
    """Return the cameras of the depth maps of :func:`estimate_depth`: those of the photos, reduced where too large."""
    return reduced_cameras(cameras.pinhole(), options.max_image_size)


def estimate_depth(
    images: list[UInt8[np.ndarray, "_h _w 3"]],
    cameras: Cameras,
    points: Points,
    options: StereoOptions | None = None,
    progress: Progress | None = None,
    masks: list[Bool[np.ndarray, "_h _w"] | None] | None = None,
) -> list[DepthMap]:
    """Estimate the depth of every pixel of every photo by matching it against its neighbours.

    Args:
        images: undistorted photos, sRGB.
        cameras: their pinhole cameras.
        points: sparse points; ``obs_view`` indexes ``cameras``.
        options: what to trade.
        progress: where to report.
        masks: per photo, True where a depth is wanted; None = everywhere.

    Returns:
        One depth map per photo, of the size of :func:`stereo_cameras`; empty where no neighbour overlaps.

    Raises:
        ShapeError: images, masks and cameras do not agree.
    """
    options = options or StereoOptions()
    progress = progress or Progress()
    _check(images, cameras, masks)
    work = _prepare(images, cameras, points, options, masks)
    with progress.stage("matching", 2 * len(images)) as stage:
        def match(view: int) -> None:
            _match(work, view)
            stage.advance()

        run_chunks(match, len(images))
        maps: list[DepthMap | None] = [None] * len(images)

        def finish(view: int) -> None:
            maps[view] = _finish(work, view)
            stage.advance()

        run_chunks(finish, len(images))
    return [depth_map for depth_map in maps if depth_map is not None]


def _check(
    images: list[UInt8[np.ndarray, "_h _w 3"]], cameras: Cameras, masks: list[Bool[np.ndarray, "_h _w"] | None] | None
) -> None:
    sizes = list(zip(cameras.height.tolist(), cameras.width.tolist(), strict=True))
    got = [image.shape[:2] for image in images]
    if got != sizes:
        raise ShapeError("photos and cameras do not agree", got=got[:5], expected=sizes[:5])
    if masks is not None and [size if m is None else m.shape for m, size in zip(masks, sizes, strict=False)] != sizes:
        raise ShapeError("masks and cameras do not agree", got=len(masks), expected=sizes[:5])


def _prepare(
    images: list[UInt8[np.ndarray, "_h _w 3"]],
    cameras: Cameras,
    points: Points,
    options: StereoOptions,
    masks: list[Bool[np.ndarray, "_h _w"] | None] | None,
) -> _Work:
    plans = plan_views(cameras.pinhole(), points, options.n_sources, options.depth_margin)
    reduced = stereo_cameras(cameras, options)
    sizes = list(zip(reduced.width.tolist(), reduced.height.tolist(), strict=True))
    pyramids = [grey_pyramid(image, *size) for image, size in zip(images, sizes, strict=True)]
    scale = (reduced.width / cameras.width).tolist()
    small = [None] * len(images) if masks is None else [_resized(m, *s) for m, s in zip(masks, sizes, strict=True)]
    planes = [np.zeros((h, w, 3), np.float32) for w, h in sizes]
    return _Work(reduced, plans, scale, pyramids, small, options, planes, [np.zeros(0, np.float32)] * len(images))


def _resized(mask: Bool[np.ndarray, "h w"] | None, width: int, height: int) -> Bool[np.ndarray, "h2 w2"] | None:
    if mask is None:
        return None
    rows = (np.arange(height) * mask.shape[0] // height)[:, None]
    return mask[rows, np.arange(width) * mask.shape[1] // width]


def _match(work: _Work, view: int) -> None:
    plan, options = work.plans[view], work.options
    if not len(plan.sources):
        return
    n_levels = min(len(work.pyramids[v]) for v in [view, *plan.sources])
    field = None
    n_best = min(options.n_best, len(plan.sources))
    for level in reversed(range(n_levels)):
        cameras = halved_cameras(work.cameras, level)
        grey = work.pyramids[view][level]
        height, width = grey.shape
        reference = padded_reference(grey, _resized(work.masks[view], width, height))
        sources = pack_sources([work.pyramids[v][level] for v in plan.sources], pair_maps(cameras, view, plan.sources))
        coarsest = field is None
        if field is None:
            rng = generator(options.seed, "stereo", str(view))
            candidates = first_planes(plan, work.scale[view] / 2**level, height, width, rng)
            n_sweeps, step_px = options.n_iterations, 8.0
        else:
            candidates = upsampled_planes(field[..., :3], height, width)[None]
            n_sweeps, step_px = 2 if level else 1, 1.0
        field = choose(candidates, reference, sources, n_best)
        focal = np.float32(np.sqrt(cameras.K[view, 0, 0] * cameras.K[view, 1, 1]))
        for i in range(n_sweeps):
            search = Search(
                np.float32(1 / plan.depth_range[1]),
                np.float32(1 / plan.depth_range[0]),
                focal,
                np.float32(_MAX_SLOPE),
                np.float32(step_px),
                np.float32(0.5 if coarsest else 0.25),
                3 if coarsest else 2,
                n_best,
                level == 0,
                np.uint32(derive(options.seed, "sweep", str(view), str(level), str(i))),
            )
            sweep(field, reference, sources, search)
            step_px *= 0.5
    work.planes[view], work.cost[view] = field[..., :3].copy(), field[..., 3].copy()


def _finish(work: _Work, view: int) -> DepthMap:
    plan, options = work.plans[view], work.options
    planes = work.planes[view]
    if not len(plan.sources):
        empty = np.zeros(planes.shape[:2], np.float32)
        return DepthMap(empty, empty.copy(), np.zeros((*empty.shape, 3), np.float32))
    forward = pair_maps(work.cameras, view, plan.sources)
    back = inverse_maps(work.cameras, view, plan.sources)
    neighbours = stack_neighbours([work.planes[v] for v in plan.sources], forward, back)
    agreement = Agreement(np.float32(options.max_reprojection_px), np.float32(options.max_depth_error))
    count, mean, spread = confirm(planes, neighbours, agreement)
    wanted = min(options.min_consistent, len(plan.sources))
    keep = (count >= wanted) & (work.cost[view] <= options.max_cost)
    depth = np.where(keep, 1 / np.maximum(mean, 1e-20), 0).astype(np.float32)
    depth = remove_small_regions(depth, options.min_region_px, 0.02)
    sigma = np.where(depth > 0, np.sqrt(spread / np.maximum(count, 1)) * depth**2, 0).astype(np.float32)
    kept = np.where(depth[..., None] > 0, planes, np.float32(0))
    return DepthMap(depth, sigma, plane_normals(kept, work.cameras.K[view]))
