"""The visual hull: where an object can be at all, from its outlines in the photos.

A place that some photo shows beside the object is empty; what remains is the visual hull (Laurentini, "The visual hull
concept for silhouette-based image understanding", PAMI 1994). Here it is a signed distance field: that of every
outline, spread along its rays, and of all photos the largest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import kernel, run_chunks
from recon3d.dense.tsdf_pixels import map_lens
from recon3d.render.cameras import Cameras

Masks = Iterable[Bool[np.ndarray, "_h _w"] | None]
_CELL = 4
_UNSEEN, _MIXED = np.float32(-2), np.float32(2)
_SMOOTH_PX = 0.7  # an outline of whole pixels has steps
_BESIDE = 0.5
_LONGEST_SIDE = 1280


@dataclass(frozen=True, eq=False)
class Silhouette:
    """How far the pixels of one photo lie from the outline of the object.

    Args:
        outside_px: distance from the outline in pixels, negative on the object, ``[h,w]``.
        whole: whether the object does not touch the border of the photo, so that there is nothing of it beyond.
        lens: fx fy cx cy in these pixels, ``[4]``.
        cam_from_world: pose, ``[4,4]``.
    """

    outside_px: Float32[np.ndarray, "h w"]
    whole: bool
    lens: Float64[np.ndarray, " 4"]
    cam_from_world: Float64[np.ndarray, "4 4"]

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"], cameras: Cameras, index: int) -> Silhouette:
        """Return the silhouette that a mask shows.

        Args:
            mask: True = object, ``[h,w]``; both values occur.
            cameras: pinhole cameras.
            index: which of them took the photo.
        """
        inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
        distance = np.where(mask, 0.5 - inside, outside - 0.5).astype(np.float32)
        distance = gaussian_filter(distance, _SMOOTH_PX, mode="nearest")
        return cls(
            distance, not _border(mask).any(), map_lens(cameras, index, *mask.shape), cameras.cam_from_world[index]
        )


class Silhouettes:
    """The silhouettes of those photos whose masks show an object, worked out one at a time.

    Args:
        masks: True = object, one per camera, each ``[h,w]`` of any size; None = nothing is known. They are read once;
            large ones are reduced, and one bit per pixel is kept.
        cameras: pinhole cameras.

    Raises:
        ShapeError: masks and cameras disagree.
    """

    def __init__(self, masks: Masks, cameras: Cameras) -> None:
        self._cameras, n_masks = cameras, 0
        self._bits: list[tuple[int, tuple[int, ...], UInt8[np.ndarray, " n"]]] = []
        for mask in masks:
            if mask is not None and is_outline(mask):
                small = _reduced(mask)
                self._bits.append((n_masks, small.shape, np.packbits(small)))
            n_masks += 1
        if n_masks != len(cameras):
            raise ShapeError("masks and cameras disagree", got=n_masks, expected=len(cameras))

    def __len__(self) -> int:
        return len(self._bits)

    def __iter__(self) -> Iterator[Silhouette]:
        for index, shape, bits in self._bits:
            mask = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)
            yield Silhouette.of(mask, self._cameras, index)


@dataclass(frozen=True)
class Grid:
    """Points at equal distances.

    Args:
        corner: world position of the first point, ``[3]``.
        spacing: between points, in world units.
        size: number of points along each axis, ``[3]``.
    """

    corner: Float64[np.ndarray, " 3"]
    spacing: float
    size: Int64[np.ndarray, " 3"]


def is_outline(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Return whether a mask shows an object, not a photo from which something was cut out.

    Args:
        mask: True = use, ``[h,w]``; of an object, most of the border of the photo is not used.
    """
    return bool(mask.any() and (~_border(mask)).mean() > _BESIDE)


def _border(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, " n"]:
    return np.asarray(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]))


def hull_field(silhouettes: Silhouettes, grid: Grid, width: float) -> Float32[np.ndarray, "x y z"]:
    """Return the distance from the visual hull in units of a width, positive outside, between -1 and 1.

    Args:
        silhouettes: of the object.
        grid: where.
        width: distance that is 1, in world units.

    Returns:
        The field, ``[x,y,z]``; 1 where no photo looks.
    """
    most = np.full(tuple(grid.size), _UNSEEN, np.float32)
    place = (grid.corner, grid.spacing, 1.0 / width)
    for one in silhouettes:

        def layer(x: int, one: Silhouette = one) -> None:
            _add_layer((one.outside_px, one.whole), one.lens, one.cam_from_world, place, x, most)

        run_chunks(layer, -(-int(grid.size[0]) // _CELL))
    most[most == _UNSEEN] = 1
    return most


def _reduced(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h2 w2"]:
    scale = _LONGEST_SIDE / max(mask.shape)
    if scale >= 1:
        return mask
    size = tuple(max(1, round(scale * n)) for n in mask.shape[::-1])
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) >= 128


@kernel
@no_type_check
def _add_layer(outline, lens, pose, place, x, most):
    """Add one silhouette to the cells of one layer."""
    for y in range(0, most.shape[1], _CELL):
        for z in range(0, most.shape[2], _CELL):
            value = _value_of_cell(outline, lens, pose, place, (x * _CELL, y, z))
            if value == _MIXED:
                _add_points(outline, lens, pose, place, x * _CELL, y, z, most)
            elif value != _UNSEEN:
                _fill_cell(x * _CELL, y, z, value, most)


@kernel
@no_type_check
def _value_of_cell(outline, lens, pose, place, first):
    """Return the value that all points of a cell far from the outline have."""
    corner, spacing, scale = place
    h, w = outline[0].shape
    focal, radius, half = 0.5 * (lens[0] + lens[1]), 0.8661 * spacing * (_CELL - 1), 0.5 * (_CELL - 1)
    u, v, depth = _project(corner, spacing, first[0] + half, first[1] + half, first[2] + half, pose, lens)
    if depth <= radius:
        return _UNSEEN if depth <= -radius else _MIXED
    # Rays away from the axis are longer, so a sphere looks larger there.
    x, y = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
    reach = radius * focal / (depth - radius) * np.sqrt(1 + x * x + y * y) + 1
    if u < reach or v < reach or u > w - reach or v > h - reach:
        return _MIXED
    distance, unit = outline[0][int(v), int(u)], (depth - radius) * scale / focal
    if (distance + reach) * unit < -1:
        return np.float32(-1)
    return np.float32(1) if (distance - reach) * unit > 1 else _MIXED


@kernel
@no_type_check
def _fill_cell(x, y, z, value, most):
    for i in range(x, min(x + _CELL, most.shape[0])):
        for j in range(y, min(y + _CELL, most.shape[1])):
            for k in range(z, min(z + _CELL, most.shape[2])):
                most[i, j, k] = max(most[i, j, k], value)


@kernel
@no_type_check
def _add_points(outline, lens, pose, place, x, y, z, most):
    corner, spacing, scale = place
    h, w = outline[0].shape
    unit = scale * 2.0 / (lens[0] + lens[1])
    for i in range(x, min(x + _CELL, most.shape[0])):
        for j in range(y, min(y + _CELL, most.shape[1])):
            for k in range(z, min(z + _CELL, most.shape[2])):
                u, v, depth = _project(corner, spacing, i, j, k, pose, lens)
                if depth > 0:
                    beyond = max(max(-u, u - w), max(-v, v - h), 0.0)
                    if outline[1] or beyond == 0:
                        distance = (_between(outline[0], u, v) + beyond) * depth * unit
                        most[i, j, k] = max(most[i, j, k], np.float32(min(max(distance, -1.0), 1.0)))


@kernel(inline=True)
@no_type_check
def _project(corner, spacing, i, j, k, pose, lens):
    """Return pixel and depth of a point of the grid; the pixel is meaningless at depths that are not positive."""
    a, b, c = corner[0] + spacing * i, corner[1] + spacing * j, corner[2] + spacing * k
    depth = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c + pose[2, 3]
    safe = depth if depth > 0 else 1.0
    u = lens[0] * (pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c + pose[0, 3]) / safe + lens[2]
    v = lens[1] * (pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c + pose[1, 3]) / safe + lens[3]
    return u, v, depth


@kernel(inline=True)
@no_type_check
def _between(image, u, v):
    """Return the value between the centres of four pixels."""
    h, w = image.shape
    x, y = min(max(u - 0.5, 0.0), w - 1.0), min(max(v - 0.5, 0.0), h - 1.0)
    left, top = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
    right, bottom = min(left + 1, w - 1), min(top + 1, h - 1)
    x, y = x - left, y - top
    upper = image[top, left] + x * (image[top, right] - image[top, left])
    lower = image[bottom, left] + x * (image[bottom, right] - image[bottom, left])
    return upper + y * (lower - upper)
