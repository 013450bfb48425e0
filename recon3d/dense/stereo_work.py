"""What the photos of one stereo run share: pyramids, plans, and the fields found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from recon3d.core.seeds import derive, generator
from recon3d.dense.hull_surface import with_hull_points
from recon3d.dense.stereo_geometry import halved_cameras, pixel_maps
from recon3d.dense.stereo_images import Sources, grey_pyramid, pack_sources, padded_reference
from recon3d.dense.stereo_initial import first_planes
from recon3d.dense.stereo_options import StereoOptions
from recon3d.dense.stereo_patchmatch import Search
from recon3d.dense.stereo_views import ViewPlan, plan_views
from recon3d.dense.visual_hull import Silhouettes
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

_MAX_SLOPE = 4.0  # surfaces steeper than 76 degrees are not matched


@dataclass(eq=False)
class Work:
    """State of a run; every photo writes its own entries only.

    Args:
        cameras: pinhole cameras of the photos at full (reduced) size.
        plans: neighbours, depth ranges and sparse depths.
        scale: size at level 0 over size of the photo.
        pyramids: grey images, level 0 first.
        masks: at level 0; True where a depth is wanted.
        options: of the run.
        fields: planes and costs of every photo, ``[h,w,4]``; w = 0 where there is none.
        levels: the scale of each field.
        spreads: deviations of the inverse depth, not calibrated, of every photo that was refined.
    """

    cameras: Cameras
    plans: list[ViewPlan]
    scale: list[float]
    pyramids: list[list[UInt8[np.ndarray, "_h _w"]]]
    masks: list[Bool[np.ndarray, "_h _w"] | None]
    options: StereoOptions
    fields: list[Float32[np.ndarray, "_h _w 4"]] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    spreads: dict[int, Float32[np.ndarray, "_h _w"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.levels = [min(1, self.n_levels(view) - 1) for view in range(len(self.plans))]
        shapes = [self.pyramids[view][level].shape for view, level in enumerate(self.levels)]
        self.fields = [np.zeros((*shape, 4), np.float32) for shape in shapes]

    def n_levels(self, view: int) -> int:
        """Scales at which a photo and all its neighbours exist."""
        return min(len(self.pyramids[v]) for v in [view, *self.plans[view].sources])

    def seed(self, view: int, level: int, name: str) -> np.uint32:
        """Seed of one sweep."""
        return np.uint32(derive(self.options.seed, "stereo", str(view), str(level), name))

    def first_planes(self, view: int, level: int) -> Float32[np.ndarray, "m h w 3"]:
        """Candidates from the sparse points at the coarsest scale."""
        height, width = self.pyramids[view][level].shape
        rng = generator(self.options.seed, "stereo", str(view))
        return first_planes(self.plans[view], self.scale[view] / 2**level, height, width, rng)

    def search(self, view: int, level: int) -> Search:
        """Limits and steps of a sweep; sweeps change what they do otherwise."""
        near, far = self.plans[view].depth_range
        K = self.cameras.K[view]
        return Search(
            w_min=np.float32(1 / far),
            w_max=np.float32(1 / near),
            focal=np.float32(np.sqrt(K[0, 0] * K[1, 1]) / 2**level),
            max_slope=np.float32(_MAX_SLOPE),
            step_px=np.float32(1.0),
            step_slope=np.float32(0.25),
            weight=np.float32(0.0),
            same_px=np.float32(0.1),
            n_random=2,
            n_best=min(self.options.n_best, len(self.plans[view].sources)),
            ranked=True,
            seed=np.uint32(0),
        )

    def reference(self, view: int, level: int) -> Float32[np.ndarray, "hp wp"]:
        """The padded, masked image of a photo at one scale."""
        grey = self.pyramids[view][level]
        return padded_reference(grey, resized_mask(self.masks[view], grey.shape[1], grey.shape[0]))

    def sources(self, view: int, level: int, with_images: bool, with_fields: bool) -> Sources:
        """The neighbours of a photo at one scale, and their fields at the scale that they have."""
        others = self.plans[view].sources
        cameras, here = halved_cameras(self.cameras, level), np.full(len(others), view)
        images = [self.pyramids[v][level] for v in others] if with_images else []
        links = self._links(cameras, view, others) if with_fields else np.zeros((len(others), 24), np.float32)
        fields = [self.fields[v] for v in others] if with_fields else []
        return pack_sources(images, fields, np.concatenate([pixel_maps(cameras, here, cameras, others), links], 1))

    def _links(self, cameras: Cameras, view: int, others: Int64[np.ndarray, " s"]) -> Float32[np.ndarray, "s 24"]:
        """Pixel maps from a photo into the fields of its neighbours and back."""
        here, rows = np.array([view]), []
        for other in others:
            there, target = halved_cameras(self.cameras, self.levels[other]), np.array([other])
            rows.append([pixel_maps(cameras, here, there, target)[0], pixel_maps(there, target, cameras, here)[0]])
        return np.array(rows, np.float32).reshape(-1, 24)


def prepare(
    images: list[UInt8[np.ndarray, "_h _w 3"]],
    cameras: Cameras,
    points: Points,
    options: StereoOptions,
    masks: list[Bool[np.ndarray, "_h _w"] | None] | None,
    may_help: Bool[np.ndarray, " n"] | None = None,
) -> Work:
    """Choose neighbours and build the pyramids."""
    if masks is not None:
        points = with_hull_points(points, cameras.pinhole(), Silhouettes(masks, cameras.pinhole()))
    plans = plan_views(cameras.pinhole(), points, options.n_sources, options.depth_margin, may_help)
    reduced = cameras.pinhole().limited(options.max_image_size)
    sizes = list(zip(reduced.width.tolist(), reduced.height.tolist(), strict=True))
    pyramids = [grey_pyramid(image, *size) for image, size in zip(images, sizes, strict=True)]
    wanted: list[Bool[np.ndarray, "_h _w"] | None] = [None] * len(images) if masks is None else masks
    small = [resized_mask(mask, *size) for mask, size in zip(wanted, sizes, strict=True)]
    return Work(reduced, plans, (reduced.width / cameras.width).tolist(), pyramids, small, options)


def resized_mask(
    mask: Bool[np.ndarray, "h w"] | None, width: int, height: int
) -> Bool[np.ndarray, "{height} {width}"] | None:
    """Return the mask at another size, by its nearest pixels."""
    if mask is None:
        return None
    rows = (np.arange(height) * mask.shape[0] // height)[:, None]
    return np.asarray(mask[rows, np.arange(width) * mask.shape[1] // width])
