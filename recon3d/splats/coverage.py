"""Points where photos show something that no point explains: plain walls, sky, floors without texture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from scipy.ndimage import distance_transform_edt

from recon3d.render.cameras import Cameras
from recon3d.splats.targets import resize

CELLS = 24
EMPTY_LEVEL = 10
DEPTH_SPREAD = 0.1
FREE_SHARE = 0.95


def covering_points(
    cameras: Cameras,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    masks: Sequence[UInt8[np.ndarray, "_ _"] | None],
    xyz: Float64[np.ndarray, "p 3"],
    background: int,
    generator: np.random.Generator,
) -> tuple[Float64[np.ndarray, "m 3"], UInt8[np.ndarray, "m 3"]]:
    """Return a point for each cell of each photo that no point falls into, at about the depth of the nearest that has.

    Cells of the colour of the background are left empty, and so are those that do not count.

    Args:
        cameras: pinhole cameras in the frame of the optimisation.
        images: their photos, ``[h,w,3]``.
        masks: non-zero where a pixel counts, ``[h,w]``; None = everywhere.
        xyz: the points that there are, ``[p,3]``.
        background: level of the background, 0 to 255.
        generator: random choices.
    """
    depths = [_cell_depths(cameras, view, xyz, _cell(image), image.shape[:2]) for view, image in enumerate(images)]
    points, colours = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    for view, (image, mask) in enumerate(zip(images, masks, strict=True)):
        # What an earlier photo has covered need not be covered again.
        known = _cell_depths(cameras, view, np.concatenate([xyz, points]), _cell(image), image.shape[:2])
        more, rgb = _of_view(cameras, view, image, mask, known, background, generator)
        free = ~_in_the_way(cameras, images, depths, more)
        points, colours = np.concatenate([points, more[free]]), np.concatenate([colours, rgb[free]])
    return points, colours


def seen_somewhere(
    cameras: Cameras, xyz: Float64[np.ndarray, "p 3"], near: float, margin: float = 0.3
) -> Bool[np.ndarray, " p"]:
    """Return which points lie behind the near plane of some camera and in its image, or near its border.

    Args:
        cameras: pinhole cameras in the frame of the points.
        xyz: ``[p,3]``.
        near: depth in front of which a camera sees nothing.
        margin: how far outside the image still counts, as a share of its size.
    """
    seen = np.zeros(len(xyz), np.bool_)
    for view in range(len(cameras)):
        size = np.array([cameras.width[view], cameras.height[view]])
        pixels, z = cameras.project(xyz, np.full(len(xyz), view, np.int64))
        with np.errstate(invalid="ignore"):
            seen |= (z > near) & (pixels >= -margin * size).all(axis=1) & (pixels < (1 + margin) * size).all(axis=1)
    return seen


def _cell(image: UInt8[np.ndarray, "h w 3"]) -> float:
    """Return the side of a cell in pixels."""
    return float(max(image.shape[:2]) / CELLS)


def _in_the_way(
    cameras: Cameras,
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    depths: Sequence[Float64[np.ndarray, "_ _"]],
    xyz: Float64[np.ndarray, "m 3"],
) -> Bool[np.ndarray, " m"]:
    """Return which points would hide, in some photo, points that it sees."""
    bad = np.zeros(len(xyz), np.bool_)
    for view, (image, depth) in enumerate(zip(images, depths, strict=True)):
        pixels, z = cameras.project(xyz, np.full(len(xyz), view, np.int64))
        with np.errstate(invalid="ignore"):
            inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels < image.shape[1::-1]).all(axis=1)
        column, row = (pixels[inside] / _cell(image)).astype(np.int64).T
        with np.errstate(invalid="ignore"):
            bad[inside] |= z[inside] < FREE_SHARE * depth[row, column]
    return bad


def _of_view(
    cameras: Cameras,
    view: int,
    image: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"] | None,
    depth: Float64[np.ndarray, "rows columns"],
    background: int,
    generator: np.random.Generator,
) -> tuple[Float64[np.ndarray, "m 3"], UInt8[np.ndarray, "m 3"]]:
    height, width = image.shape[:2]
    cell = _cell(image)
    known = np.isfinite(depth)
    if not known.any():
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = depth[tuple(nearest)]
    row, column = np.nonzero(~known)
    pixel = (np.stack([column, row], axis=1) + generator.random((len(row), 2))) * cell
    inside = (pixel < [width, height]).all(axis=1)
    z = filled[row, column] * np.exp(DEPTH_SPREAD * np.abs(generator.standard_normal(len(row))))
    x, y = np.minimum(pixel, [width - 1, height - 1]).astype(np.int64).T
    rgb = _colours(image, cell, x, y)
    shown = np.abs(rgb.astype(np.int64) - background).max(axis=1) > EMPTY_LEVEL
    counted = np.ones(len(row), np.bool_) if mask is None else mask[y, x] != 0
    keep = inside & shown & counted
    return _lifted(cameras, view, pixel[keep], z[keep]), rgb[keep]


def _colours(
    image: UInt8[np.ndarray, "h w 3"], cell: float, x: Int64[np.ndarray, " m"], y: Int64[np.ndarray, " m"]
) -> UInt8[np.ndarray, "m 3"]:
    """Return the mean colours around pixels; those of one pixel are noise."""
    small = resize(image, min(1.0, 4 / cell))
    rows, columns = small.shape[:2]
    at = [np.minimum(v * n // size, n - 1) for v, n, size in zip((y, x), (rows, columns), image.shape[:2], strict=True)]
    return np.asarray(small[at[0], at[1]])


def _cell_depths(
    cameras: Cameras, view: int, xyz: Float64[np.ndarray, "p 3"], cell: float, size: tuple[int, int]
) -> Float64[np.ndarray, "rows columns"]:
    """Return the median depth of the points in each cell; NaN without any."""
    rows, columns = (int(np.ceil(side / cell)) for side in size)
    pixels, depth = cameras.project(xyz, np.full(len(xyz), view, np.int64))
    with np.errstate(invalid="ignore"):
        seen: Bool[np.ndarray, " p"] = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < size[::-1]).all(axis=1)
    at = (pixels[seen] / cell).astype(np.int64)
    index, z = at[:, 1] * columns + at[:, 0], depth[seen]
    order = np.lexsort((z, index))
    index, z = index[order], z[order]
    cells, start, count = np.unique(index, return_index=True, return_counts=True)
    depths = np.full(rows * columns, np.nan)
    depths[cells] = z[start + count // 2]
    return depths.reshape(rows, columns)


def _lifted(
    cameras: Cameras, view: int, pixel: Float64[np.ndarray, "m 2"], depth_z: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, "m 3"]:
    """Return the points of the frame at pixels and depths."""
    K, pose = cameras.K[view], cameras.world_from_cam[view]
    rays = np.ones((len(pixel), 3))
    rays[:, :2] = (pixel - K[:2, 2]) / K[(0, 1), (0, 1)]
    return np.asarray((rays * depth_z[:, None]) @ pose[:3, :3].T + pose[:3, 3])
