"""How well the depth maps of several photos agree about the same surface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

_PROBES = 256
_MIN_OVERLAP = 0.1  # of the probes of a photo must fall into another one


class Maps(NamedTuple):
    """Depth maps of several photos of one size.

    Args:
        cam_from_world: poses, ``[s,4,4]``.
        K: intrinsics in pixels of the maps, ``[s,3,3]``.
        depth_z: along the camera's z axis, 0 = none, ``[s,h,w]``.
    """

    cam_from_world: Float64[np.ndarray, "s 4 4"]
    K: Float64[np.ndarray, "s 3 3"]
    depth_z: Float32[np.ndarray, "s h w"]


class Seen(NamedTuple):
    """What one photo says about surface points of another.

    Args:
        pixel: row of each point, in the flattened map of the first photo, ``[m]``.
        relative: depth that the second photo has there, over the depth of the point in it, minus 1, ``[m]``.
        distance_px: from the point's pixel to where the surface that the second photo sees there lies in the first
            photo, in pixels, ``[m]``.
        xy: where each point lies in the second photo, in pixels, ``[m,2]``.
        surface: what the second photo sees there, in the axes of the first camera, ``[m,3]``.
    """

    pixel: Int64[np.ndarray, " m"]
    relative: Float64[np.ndarray, " m"]
    distance_px: Float64[np.ndarray, " m"]
    xy: Float64[np.ndarray, "m 2"]
    surface: Float64[np.ndarray, "m 3"]


def overlapping(maps: Maps, n_neighbours: int, *, only: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield pairs (photo, other) of photos of which the other shows part of the first, at most some for each.

    Args:
        maps: depth maps.
        n_neighbours: others for each photo, those that show most of it.
        only: the first photo of the pairs; None = every photo.
    """
    for i in range(len(maps.K)) if only is None else [only]:
        shares = np.array([0.0 if j == i else _share(maps, i, j) for j in range(len(maps.K))])
        for j in np.argsort(-shares, kind="stable")[:n_neighbours].tolist():
            if shares[j] >= _MIN_OVERLAP:
                yield i, j


def seen_by(maps: Maps, first: int, second: int, pixels: Int64[np.ndarray, " n"] | None = None) -> Seen:
    """Return what one photo says about the surface that another sees.

    Args:
        maps: depth maps.
        first: the photo whose surface is looked at.
        second: the photo that is asked.
        pixels: which pixels of the first, rows of its flattened map; None = all that have a depth.
    """
    depth, theirs = maps.depth_z[first].ravel(), maps.depth_z[second]
    pixels = np.flatnonzero(depth > 0) if pixels is None else pixels[depth[pixels] > 0]
    second_from_first = maps.cam_from_world[second] @ np.linalg.inv(maps.cam_from_world[first])
    xy = centres(pixels, theirs.shape[1])
    there = _moved(lifted(xy, depth[pixels], maps.K[first]), second_from_first)
    uv, inside = _pixel_of(there, maps.K[second], theirs.shape)
    column, row = uv.astype(np.int64).T
    z = np.where(inside, theirs[row, column], np.float32(0)).astype(np.float64)
    known = z > 0
    pixels, xy, there, uv, z = pixels[known], xy[known], there[known], uv[known], z[known]
    # On the ray of the point, not of the centre of the pixel that it falls into: no rounding in the distance.
    back = _moved(there * (z / there[:, 2])[:, None], np.linalg.inv(second_from_first))
    front = back[:, 2] > 0
    again, _ = _pixel_of(back, maps.K[first], theirs.shape, clip=False)
    distance = np.where(front, np.linalg.norm(again - xy, axis=1), np.inf)
    return Seen(pixels, z / there[:, 2] - 1.0, distance, uv, back)


def centres(pixels: Int64[np.ndarray, " m"], width: int) -> Float64[np.ndarray, "m 2"]:
    """Return the centres of pixels that are given as rows of a flattened image."""
    row, column = np.divmod(pixels, width)
    return np.stack([column, row], axis=1) + 0.5


def lifted(
    xy: Float64[np.ndarray, "m 2"], depth_z: Float32[np.ndarray, " m"], K: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "m 3"]:
    """Return the points of pixels in the axes of their camera.

    Args:
        xy: in pixels.
        depth_z: along the camera's z axis.
        K: intrinsics in pixels.
    """
    rays = np.column_stack([(xy - K[:2, 2]) / K[(0, 1), (0, 1)], np.ones(len(xy))])
    return rays * depth_z[:, None].astype(np.float64)


def _share(maps: Maps, first: int, second: int) -> float:
    """Return which share of some surface points of a photo falls into another."""
    known = np.flatnonzero(maps.depth_z[first])
    if not len(known):
        return 0.0
    probes = known[:: max(1, len(known) // _PROBES)]
    points = lifted(centres(probes, maps.depth_z.shape[2]), maps.depth_z[first].ravel()[probes], maps.K[first])
    there = _moved(points, maps.cam_from_world[second] @ np.linalg.inv(maps.cam_from_world[first]))
    return float(_pixel_of(there, maps.K[second], maps.depth_z.shape[1:])[1].mean())


def _moved(points: Float64[np.ndarray, "m 3"], pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "m 3"]:
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def _pixel_of(
    points: Float64[np.ndarray, "m 3"], K: Float64[np.ndarray, "3 3"], size: tuple[int, ...], *, clip: bool = True
) -> tuple[Float64[np.ndarray, "m 2"], Bool[np.ndarray, " m"]]:
    """Return where points lie in an image, and whether they do; those outside are put at 0 where ``clip`` says so."""
    front = points[:, 2] > 0
    z = np.where(front, points[:, 2], 1.0)[:, None]
    uv = points[:, :2] / z * K[(0, 1), (0, 1)] + K[:2, 2]
    inside = front & (uv >= 0).all(axis=1) & (uv[:, 0] < size[1]) & (uv[:, 1] < size[0])
    return (np.where(inside[:, None], uv, 0.0) if clip else uv), inside
