"""Depth maps to one point cloud: points on which several photos agree.

Source: the fusion of Schoenberger et al., "Pixelwise view selection for unstructured multi-view stereo", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.core.kernels import run_chunks
from recon3d.core.progress import Progress
from recon3d.dense.points_agreement import add_agreement
from recon3d.dense.tsdf_pixels import PixelRays, depth_normals
from recon3d.dense.types import DepthMap
from recon3d.formats.ply import read_ply, write_ply
from recon3d.render.cameras import Cameras

PhotoDepth = tuple[DepthMap, UInt8[np.ndarray, "_h _w 3"]]
_ROWS = 16
_N_PROBES = 256
_ANGLE_RANGE_DEG = (1.0, 60.0)
_UNKNOWN_SIGMA = 0.01
_EXACT = 2.0**53
_COLUMNS = ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "sigma")


@dataclass(frozen=True)
class PointOptions:
    """How depth maps become one point cloud.

    Args:
        min_views: other photos that must agree with a point.
        n_neighbours: other photos that are asked, those with the most in common.
        max_relative: difference in depth, as a share of it, up to which two photos agree.
        max_sigmas: or in standard deviations, where these are larger; at most three times ``max_relative``.
        max_px: distance in pixels up to which a point returns to where it came from.
        voxel_px: points nearer to each other than this many pixels are merged.
        max_points: merge more coarsely until no more points remain.
    """

    min_views: int = 2
    n_neighbours: int = 8
    max_relative: float = 0.01
    max_sigmas: float = 2.0
    max_px: float = 1.5
    voxel_px: float = 1.0
    max_points: int = 2_000_000

    def __post_init__(self) -> None:
        for name, least in (("min_views", 0), ("n_neighbours", 1), ("max_points", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"PointOptions.{name} is too small", got=getattr(self, name), expected=f">= {least}")
        for name in ("max_relative", "max_px", "voxel_px"):
            if not getattr(self, name) > 0:
                raise UsageError(f"PointOptions.{name} must be positive", got=getattr(self, name))


@dataclass(frozen=True, eq=False)
class DensePoints:
    """Points of surfaces.

    Args:
        xyz: positions in the world, ``[p,3]``.
        normals: unit normals, towards the photos, ``[p,3]``.
        rgb: sRGB colours, ``[p,3]``.
        sigma: one standard deviation along the viewing axis in world units, ``[p]``; 0 = unknown.
    """

    xyz: Float32[np.ndarray, "p 3"]
    normals: Float32[np.ndarray, "p 3"]
    rgb: UInt8[np.ndarray, "p 3"]
    sigma: Float32[np.ndarray, " p"]

    def __len__(self) -> int:
        return len(self.xyz)

    def save(self, path: Path) -> None:
        """Write the points as PLY, atomically."""
        columns = np.concatenate([self.xyz, self.normals], axis=1).T
        values = dict(zip(_COLUMNS[:6], columns, strict=True)) | dict(zip(_COLUMNS[6:9], self.rgb.T, strict=True))
        write_ply(path, values | {"sigma": self.sigma})

    @staticmethod
    def load(path: Path) -> DensePoints:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file cannot be opened.
            FormatError: it is damaged, or not such a file.
        """
        vertices = read_ply(path).vertices
        missing = [name for name in _COLUMNS if name not in vertices]
        if missing:
            raise FormatError(f"{path} holds no dense points", got=f"no {', '.join(missing)}", expected=_COLUMNS)
        numbers = [np.asarray(vertices[name], np.float32) for name in _COLUMNS]
        if not all(np.isfinite(values).all() for values in numbers):
            raise FormatError(f"{path} holds numbers that are not finite")
        rgb = np.stack([np.clip(values, 0, 255) for values in numbers[6:9]], -1).astype(np.uint8)
        return DensePoints(np.stack(numbers[:3], -1), np.stack(numbers[3:6], -1), rgb, numbers[9])

    @staticmethod
    def empty() -> DensePoints:
        """Return no points."""
        none = np.zeros((0, 3), np.float32)
        return DensePoints(none, none, np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))


def fuse_points(
    maps: Sequence[PhotoDepth], cameras: Cameras, options: PointOptions | None = None, progress: Progress | None = None
) -> DensePoints:
    """Keep the points of depth maps on which several photos agree, each once.

    Args:
        maps: depth map and sRGB colours of the same size, one pair per camera; each is read once with every neighbour,
            so a sequence that loads them from disk keeps memory low.
        cameras: pinhole cameras; photos and depth maps may differ in size.
        options: what agreement means.
        progress: where to show progress.

    Returns:
        Points, weighted means of what the agreeing photos say. The same bits for any number of threads.

    Raises:
        ShapeError: maps and cameras disagree.
    """
    options, progress = options or PointOptions(), progress or Progress()
    if len(maps) != len(cameras):
        raise ShapeError("depth maps and cameras disagree", got=len(maps), expected=len(cameras))
    used = [np.zeros(maps[index][0].depth_z.shape, np.bool_) for index in range(len(maps))]
    parts, widths = [], []
    with progress.stage("joining depth maps", len(maps)) as stage:
        for index in range(len(maps)):
            part, width = _points_of_photo(index, maps, cameras, options, used)
            parts.append(part)
            widths.append(width)
            stage.advance()
    table = (
        np.concatenate([part for part in parts if len(part)]) if any(map(len, parts)) else np.zeros((0, 10), np.float32)
    )
    return _merge(table, options, float(np.nanmedian(widths)) if np.isfinite(widths).any() else 1.0)


def _points_of_photo(
    index: int, maps: Sequence[PhotoDepth], cameras: Cameras, options: PointOptions, used: list[Bool[np.ndarray, "_ _"]]
) -> tuple[Float32[np.ndarray, "p 10"], float]:
    """Return the points that a photo adds, marked as used in the others, and the median width of its pixels."""
    here = _view(maps[index], cameras, index)
    inverse = here.rays.inverse_z
    if not inverse.any():
        return np.zeros((0, 10), np.float32), np.nan
    given = maps[index][0].normal_cam
    normals = depth_normals(here.rays) if given is None else given
    width = float(1.0 / (np.median(inverse[inverse > 0]) * here.rays.lens[:2].mean()))
    inverse = np.where(used[index], np.float32(0), inverse)  # what other photos have taken needs no answer
    here = replace(here, rays=replace(here.rays, inverse_z=inverse))
    total = np.zeros((*inverse.shape, 5), np.float32)
    count = np.zeros(inverse.shape, np.uint8)
    matches = []
    for other in _neighbours(index, here.rays, cameras, options.n_neighbours):
        matches.append((other, _ask(here, _view(maps[other], cameras, other), total, count, options)))
    kept = (count >= options.min_views) & (inverse > 0)
    for other, match in matches:
        hit = match[kept]
        used[other].ravel()[hit[hit >= 0]] = True
    return _table(here, total, kept, normals), width


@dataclass(frozen=True, eq=False)
class _View:
    rays: PixelRays
    weight: Float32[np.ndarray, "h w"]
    rgb: UInt8[np.ndarray, "h w 3"]


def _view(photo: PhotoDepth, cameras: Cameras, index: int) -> _View:
    """Prepare a photo: 1 / z, and 1 / sigma^2 as weight (a hundredth of the depth where sigma is unknown)."""
    depth, rgb = photo
    if rgb.shape[:2] != depth.depth_z.shape:
        raise ShapeError("colours and depth differ in size", got=rgb.shape, expected=depth.depth_z.shape)
    known = np.isfinite(depth.depth_z) & (depth.depth_z > 0)
    sigma = np.where(depth.sigma > 0, depth.sigma, _UNKNOWN_SIGMA * depth.depth_z)
    weight = np.where(known, 1.0 / np.where(known, sigma, 1.0) ** 2, 0.0)
    return _View(PixelRays.of(depth.depth_z, cameras, index), weight.astype(np.float32), np.ascontiguousarray(rgb))


def _ask(
    here: _View,
    other: _View,
    total: Float32[np.ndarray, "h w 5"],
    count: UInt8[np.ndarray, "h w"],
    options: PointOptions,
) -> Int32[np.ndarray, "h w"]:
    """Add what another photo says about each pixel; return the pixel of the other that agrees, -1 = none."""
    other_from_here = other.rays.cam_from_world @ np.linalg.inv(here.rays.cam_from_world)
    match = np.full(count.shape, -1, np.int32)
    limits = np.array([options.max_relative, options.max_sigmas, options.max_px], np.float32)
    mine = (here.rays.inverse_z, here.weight, here.rays.lens.astype(np.float32))
    theirs = (other.rays.inverse_z, other.weight, other.rays.lens.astype(np.float32), other.rgb)
    pose, h = other_from_here.astype(np.float32), len(count)

    def rows(chunk: int) -> None:
        bounds = (chunk * _ROWS, min((chunk + 1) * _ROWS, h))
        add_agreement(mine, theirs, pose, limits, bounds, (total, count, match))

    run_chunks(rows, -(-h // _ROWS))
    return match


def _table(
    here: _View,
    total: Float32[np.ndarray, "h w 5"],
    kept: Bool[np.ndarray, "h w"],
    normals: Float32[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "p 10"]:
    """Return position, normal, colour and sigma of the kept pixels, in the world."""
    row, col = np.nonzero(kept)
    own = here.weight[kept].astype(np.float64)
    sums, weight = total[kept].astype(np.float64), own + total[kept][:, 0]
    z = (own / here.rays.inverse_z[kept] + sums[:, 1]) / weight
    rgb = (own[:, None] * here.rgb[kept] + sums[:, 2:]) / weight[:, None]
    fx, fy, cx, cy = here.rays.lens
    cam = np.stack([(col + 0.5 - cx) / fx * z, (row + 0.5 - cy) / fy * z, z], -1)
    rotation, translation = here.rays.cam_from_world[:3, :3], here.rays.cam_from_world[:3, 3]
    world, normal = (cam - translation) @ rotation, normals[kept].astype(np.float64) @ rotation
    return np.concatenate([world, normal, rgb, 1 / np.sqrt(weight)[:, None]], axis=1, dtype=np.float32)


def _neighbours(index: int, rays: PixelRays, cameras: Cameras, n_neighbours: int) -> list[int]:
    """Return the cameras that see most of a photo's surface from directions that help, best first."""
    known = np.flatnonzero(rays.inverse_z)
    probes = known[:: max(1, len(known) // _N_PROBES)]
    row, col = np.divmod(probes, rays.inverse_z.shape[1])
    z = 1.0 / rays.inverse_z.ravel()[probes]
    fx, fy, cx, cy = rays.lens
    cam = np.stack([(col + 0.5 - cx) / fx * z, (row + 0.5 - cy) / fy * z, z], -1)
    world = (cam - rays.cam_from_world[:3, 3]) @ rays.cam_from_world[:3, :3]
    scores = np.array([_score(world, cameras, index, other) for other in range(len(cameras))])
    order = np.argsort(-scores, kind="stable")[:n_neighbours]
    return [int(other) for other in order if scores[other] > 0]


def _score(world: Float64[np.ndarray, "m 3"], cameras: Cameras, index: int, other: int) -> float:
    """Return the share of points that another camera sees under a useful angle to the first."""
    if other == index:
        return 0.0
    pixels, z = cameras.project(world, np.full(len(world), other, np.int64))
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & (pixels >= 0).all(1) & (pixels < (cameras.width[other], cameras.height[other])).all(1)
    one, two = (world - cameras.centers[at] for at in (index, other))
    cosine = (one * two).sum(1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    low, high = _ANGLE_RANGE_DEG
    return float((inside * np.clip(angle / low, 0.05, 1) * np.clip(2 - angle / high * 2, 0, 1)).mean())


def _merge(table: Float32[np.ndarray, "p 10"], options: PointOptions, width: float) -> DensePoints:
    """Average the points of a voxel, coarser until few enough are left."""
    if len(table) == 0:
        return DensePoints.empty()
    side = options.voxel_px * width
    while True:
        cells = np.floor(table[:, :3].astype(np.float64) / side)
        cells -= cells.min(axis=0)
        span = cells.max(axis=0) + 1
        if span.prod() < _EXACT:
            key = (cells[:, 0] * span[1] + cells[:, 1]) * span[2] + cells[:, 2]
            _, row, n = np.unique(key, return_inverse=True, return_counts=True)
            if len(n) <= options.max_points:
                break
            side *= max(1.1, float(np.sqrt(len(n) / options.max_points)))
        else:
            side *= 2.0
    mean = np.stack([np.bincount(row.ravel(), column) for column in table.T], -1) / n[:, None]
    length = np.linalg.norm(mean[:, 3:6], axis=1, keepdims=True)
    normals = mean[:, 3:6] / np.where(length > 0, length, 1)
    rgb = np.clip(np.rint(mean[:, 6:9]), 0, 255).astype(np.uint8)
    sigma = mean[:, 9].astype(np.float32)
    return DensePoints(mean[:, :3].astype(np.float32), normals.astype(np.float32), rgb, sigma)
