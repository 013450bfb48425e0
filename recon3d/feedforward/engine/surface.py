"""Points of the surface that a network saw: those that other photos confirm, or at least do not deny."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from recon3d.feedforward.engine.agreement import Seen, centres, lifted, overlapping, seen_by
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.render.cameras import Cameras
from recon3d.scene import Points

MAX_POINTS = 30_000
N_NEIGHBOURS = 4
_N_SIGMAS = 3.0
_LEAST, _MOST = 0.02, 0.2  # relative differences that always, or never, count as agreement


def confirmed(views: ViewEstimates) -> ViewEstimates:
    """Return the estimates without pixels that more of the other photos deny than confirm.

    A photo denies a point that floats in front of the surface which it sees in that direction. A point behind that
    surface is hidden, and says nothing.

    Args:
        views: of a scene.
    """
    n_for = np.zeros(views.valid.shape, np.int32)
    n_against = np.zeros(views.valid.shape, np.int32)
    for first, second in overlapping(views.maps, N_NEIGHBOURS):
        seen = seen_by(views.maps, first, second)
        limit = _limits(views, first, seen)
        np.add.at(n_for[first].reshape(-1), seen.pixel, np.abs(seen.relative) <= limit)
        np.add.at(n_against[first].reshape(-1), seen.pixel, seen.relative > limit)
    return replace(views, valid=views.valid & (n_against <= n_for))


def depth_difference(views: ViewEstimates) -> float:
    """Return the median relative difference of the depth maps of overlapping photos; NaN where nothing overlaps."""
    found = [np.abs(seen_by(views.maps, *pair).relative) for pair in overlapping(views.maps, N_NEIGHBOURS)]
    values = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(values)) if len(values) else float("nan")


def surface_points(views: ViewEstimates, cameras: Cameras, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Points:
    """Return points on which photos agree, each the mean of what they say; of one photo alone, its own points.

    The observations are the pixels that the depths belong to. So the reprojection errors tell how far, in pixels, the
    photos disagree about depth; they say nothing about the photos' features.

    Args:
        views: of the scene.
        cameras: of the photos in the same world, with the same poses; their sizes are those of the photos.
        images: the photos for the colours, of any size.
    """
    parts = [_of_photo(views, row) for row in range(len(views))]
    xyz, sigma, own = (np.concatenate([part[k] for part in parts]) for k in (0, 1, 2))
    start = np.cumsum([0, *(len(part.xyz) for part in parts)])
    point = np.concatenate([part.point + first for part, first in zip(parts, start, strict=False)])
    view, xy = (np.concatenate([part[k] for part in parts]) for k in (4, 5))
    order = np.lexsort((view, point))
    point, view, xy = point[order], view[order], _in_photos(views, view[order], xy[order])
    rgb = _colours(views, cameras, images, np.repeat(np.arange(len(views)), np.diff(start)), own)
    points = Points(xyz, rgb, np.zeros(len(xyz)), sigma, point.astype(np.int32), view.astype(np.int32), xy)
    return replace(points, error_px=_errors(points, cameras))


class _Part(NamedTuple):
    """Points of one photo: in the world, their sigmas and own pixels; point, photo and pixel of each observation."""

    xyz: Float64[np.ndarray, "p 3"]
    sigma: Float64[np.ndarray, " p"]
    own: Float64[np.ndarray, "p 2"]
    point: Int64[np.ndarray, " o"]
    view: Int64[np.ndarray, " o"]
    xy: Float64[np.ndarray, "o 2"]


def _limits(views: ViewEstimates, first: int, seen: Seen) -> Float64[np.ndarray, " m"]:
    """Return the relative difference up to which a depth agrees with another one."""
    depth = views.depth_z[first].ravel()[seen.pixel].astype(np.float64)
    relative = views.sigma[first].ravel()[seen.pixel] / np.maximum(depth, 1e-300)
    return np.asarray(np.clip(_N_SIGMAS * np.sqrt(2.0) * relative, _LEAST, _MOST))


def _chosen(views: ViewEstimates, row: int) -> Int64[np.ndarray, " k"]:
    """Return evenly spread pixels of a photo."""
    height, width = views.valid.shape[1:]
    stride = max(1, int(np.ceil(np.sqrt(len(views) * height * width / MAX_POINTS))))
    grid = np.zeros((height, width), np.bool_)
    grid[stride // 2 :: stride, stride // 2 :: stride] = True
    return np.flatnonzero(grid & views.valid[row] & (views.depth_z[row] > 0))


def _of_photo(views: ViewEstimates, row: int) -> _Part:
    pixels = _chosen(views, row)
    own, depth = centres(pixels, views.depth_z.shape[2]), views.depth_z[row].ravel()[pixels]
    total, count = lifted(own, depth, views.K[row]), np.ones(len(pixels))
    number = np.full(views.depth_z[row].size, -1)
    number[pixels] = np.arange(len(pixels))
    observed = [(number[pixels], np.full(len(pixels), row), own)]
    for first, second in overlapping(views.maps, N_NEIGHBOURS, only=row):
        seen = seen_by(views.maps, first, second, pixels)
        agrees = np.abs(seen.relative) <= _limits(views, first, seen)
        at = number[seen.pixel[agrees]]
        total[at] += seen.surface[agrees]
        count[at] += 1
        observed.append((at, np.full(len(at), second), seen.xy[agrees]))
    kept = (count > 1) | (len(views) == 1)
    pose = views.cam_from_world[row]
    xyz = ((total / count[:, None])[kept] - pose[:3, 3]) @ pose[:3, :3]
    sigma = (views.sigma[row].ravel()[pixels] / np.sqrt(count))[kept]
    point, view, xy = (np.concatenate([some[k] for some in observed]) for k in range(3))
    used = kept[point]
    return _Part(xyz, sigma, own[kept], (np.cumsum(kept) - 1)[point[used]], view[used], xy[used])


def _in_photos(
    views: ViewEstimates, view: Int64[np.ndarray, " o"], xy: Float64[np.ndarray, "o 2"]
) -> Float64[np.ndarray, "o 2"]:
    """Return pixels of the network's images in those of the photos."""
    scale = np.array([(place.scale_x, place.scale_y) for place in views.placements])[view]
    offset = np.array([(place.offset_x, place.offset_y) for place in views.placements])[view]
    return np.asarray((xy - offset) / scale)


def _colours(
    views: ViewEstimates,
    cameras: Cameras,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    rows: Int64[np.ndarray, " p"],
    xy: Float64[np.ndarray, "p 2"],
) -> UInt8[np.ndarray, "p 3"]:
    rgb = np.zeros((len(rows), 3), np.uint8)
    for row, image in enumerate(images):
        mine = rows == row
        size = np.array([cameras.width[row], cameras.height[row]])
        where = _in_photos(views, rows[mine], xy[mine]) * (np.array(image.shape[1::-1]) / size)
        column, line = np.clip(where.astype(np.int64), 0, np.array(image.shape[1::-1]) - 1).T
        rgb[mine] = image[line, column]
    return rgb


def _errors(points: Points, cameras: Cameras) -> Float64[np.ndarray, " p"]:
    pixels, _ = cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    length = np.linalg.norm(pixels - points.obs_xy, axis=1)
    total = np.bincount(points.obs_point, length, minlength=len(points))
    return np.asarray(total / np.maximum(points.track_length, 1))
