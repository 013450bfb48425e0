"""Multi-view stereo on the CPU: depth, normals and sigma of every photo from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import run_chunks
from recon3d.core.progress import Progress
from recon3d.core.seeds import derive, generator
from recon3d.dense.stereo_consistency import Agreement, confirm, remove_small_regions
from recon3d.dense.stereo_geometry import halved_cameras, pixel_maps, plane_normals, reduced_cameras
from recon3d.dense.stereo_images import grey_pyramid, pack_sources, padded_reference
from recon3d.dense.stereo_initial import first_planes, upsampled_field
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.stereo_patchmatch import Search, choose, sweep
from recon3d.dense.stereo_refine import polish
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
    sigma: list[Float32[np.ndarray, "_h _w"] | None]
    fields: list[Float32[np.ndarray, "_h _w 4"]]

    def n_levels(self, view: int) -> int:
        return min(len(self.pyramids[v]) for v in [view, *self.plans[view].sources])

    def seed(self, view: int, level: int, i: int) -> np.uint32:
        return np.uint32(derive(self.options.seed, "stereo", str(view), str(level), str(i)))

    def first_planes(self, view: int, level: int) -> Float32[np.ndarray, "m h w 3"]:
        height, width = self.pyramids[view][level].shape
        rng = generator(self.options.seed, "stereo", str(view))
        return first_planes(self.plans[view], self.scale[view] / 2**level, height, width, rng)

    def search(self, view: int, level: int) -> Search:
        plan, K = self.plans[view], self.cameras.K[view]
        return Search(
            w_min=np.float32(1 / plan.depth_range[1]),
            w_max=np.float32(1 / plan.depth_range[0]),
            focal=np.float32(np.sqrt(K[0, 0] * K[1, 1]) / 2**level),
            max_slope=np.float32(_MAX_SLOPE),
            step_px=np.float32(1.0),
            step_slope=np.float32(0.25),
            weight=np.float32(0.0),
            same_px=np.float32(0.1),
            n_random=2,
            n_best=min(self.options.n_best, len(plan.sources)),
            ranked=False,
            seed=np.uint32(0),
        )


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
    with progress.stage("matching", 3 * len(images)) as stage:
        refined: list[Float32[np.ndarray, "_h _w 4"] | None] = [None] * len(images)
        maps: list[DepthMap | None] = [None] * len(images)

        def start(view: int) -> None:
            _start(work, view)
            stage.advance()

        def refine(view: int) -> None:
            refined[view] = _refine(work, view)
            stage.advance()

        def finish(view: int) -> None:
            maps[view] = _finish(work, view)
            stage.advance()

        run_chunks(start, len(images))
        run_chunks(refine, len(images))
        work.fields[:] = refined
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
    return _Work(reduced, plans, scale, pyramids, small, options, [None] * len(images), [None] * len(images))


def _resized(mask: Bool[np.ndarray, "h w"] | None, width: int, height: int) -> Bool[np.ndarray, "h2 w2"] | None:
    if mask is None:
        return None
    rows = (np.arange(height) * mask.shape[0] // height)[:, None]
    return mask[rows, np.arange(width) * mask.shape[1] // width]


def _start(work: _Work, view: int) -> None:
    """Match one photo from the coarsest scale to half size, by appearance alone."""
    if not len(work.plans[view].sources):
        return
    field = None
    for level in reversed(range(min(1, work.n_levels(view) - 1), work.n_levels(view))):
        reference, sources = _scale(work, view, level, with_fields=False)
        size = work.pyramids[view][level].shape
        search = work.search(view, level)
        if field is None:
            candidates = work.first_planes(view, level)
            field = choose(candidates, reference, sources, search)
            for i in range(work.options.n_iterations):
                step = search._replace(step_px=np.float32(8.0 * 0.5**i), step_slope=np.float32(0.5), n_random=3)
                sweep(field, reference, sources, step._replace(seed=work.seed(view, level, i)))
            continue
        candidates = upsampled_field(field, *size)[None]
        field = choose(candidates, reference, sources, search)
        for i in range(SW[level] if level < len(SW) else 2):
            sweep(field, reference, sources, search._replace(step_px=np.float32(0.5**i), seed=work.seed(view, level, i), ranked=RANKED))
    work.fields[view] = field

SW=[0,1,1,1]
RANKED=True
GEO=1

def _refine(work: _Work, view: int) -> Float32[np.ndarray, "h w 4"] | None:
    """Go on to full size, now also comparing with what was found for the neighbours."""
    field = work.fields[view]
    if not len(work.plans[view].sources):
        return None
    for level in (1, 0):
        if level >= work.n_levels(view):
            continue
        reference, sources = _scale(work, view, level, with_fields=True)
        search = work.search(view, level)._replace(weight=np.float32(work.options.consistency_weight), ranked=True)
        if level == 1:
            field = field.copy()
            for i in range(GEO):
                sweep(field, reference, sources, search._replace(seed=work.seed(view, level, 10+i)))
        else:
            if field.shape[:2] != work.pyramids[view][0].shape:
                field = upsampled_field(field, *work.pyramids[view][0].shape)
            search = search._replace(same_px=np.float32(0.25), n_random=1, seed=work.seed(view, level, 20))
            work.sigma[view] = polish(field, reference, sources, search)
    return field


def _scale(work: _Work, view: int, level: int, with_fields: bool):
    others = work.plans[view].sources
    cameras = halved_cameras(work.cameras, level)
    grey = work.pyramids[view][level]
    reference = padded_reference(grey, _resized(work.masks[view], grey.shape[1], grey.shape[0]))
    here = np.full(len(others), view)
    into = pixel_maps(cameras, here, cameras, others)
    links = _links(work, cameras, view) if with_fields else np.zeros((len(others), 24), np.float32)
    fields = [work.fields[v] for v in others] if with_fields else []
    greys = [work.pyramids[v][level] for v in others]
    return reference, pack_sources(greys, fields, np.concatenate([into, links], 1))


def _links(work, cameras, view):
    others = work.plans[view].sources
    here = np.full(len(others), view)
    # a field has the scale that its size says
    out = []
    for v in others:
        level = 0 if work.fields[v].shape[0] == work.pyramids[v][0].shape[0] else 1
        there = halved_cameras(work.cameras, level)
        one, me = np.array([v]), np.array([view])
        out.append(np.concatenate([pixel_maps(cameras, me, there, one), pixel_maps(there, one, cameras, me)], 1))
    return np.concatenate(out)


def _finish(work: _Work, view: int) -> DepthMap:
    plan, options = work.plans[view], work.options
    field = work.fields[view]
    if not len(plan.sources):
        empty = np.zeros(work.pyramids[view][0].shape, np.float32)
        return DepthMap(empty, empty.copy(), np.zeros((*empty.shape, 3), np.float32))
    links = _links(work, work.cameras, view)
    maps = np.concatenate([np.zeros((len(links), 12), np.float32), links], 1)
    sources = pack_sources([], [work.fields[v] for v in plan.sources], maps)
    agreement = Agreement(np.float32(options.max_reprojection_px), np.float32(options.max_depth_error))
    count, mean, spread = np.moveaxis(confirm(field, sources, agreement), -1, 0)
    wanted = min(options.min_consistent, len(plan.sources))
    keep = (count >= wanted) & (field[..., 3] <= options.max_cost)
    depth = np.where(keep, 1 / np.maximum(mean, 1e-20), 0).astype(np.float32)
    depth = remove_small_regions(depth, options.min_region_px, 0.02)
    sigma = np.where(depth > 0, np.sqrt(spread / np.maximum(count, 1)) * depth**2, 0).astype(np.float32)
    kept = np.where(depth[..., None] > 0, field[..., :3], np.float32(0))
    return DepthMap(depth, sigma, plane_normals(kept, work.cameras.K[view]))
