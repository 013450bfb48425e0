"""Which Gaussians touch which tiles, nearest first: a radix sort by depth, then a stable counting sort by tile."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, sqrt
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32, Int64

from recon3d.core.errors import ResourceError
from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.gaussians.cpu_simd import at, prefetch, put

MAX_PAIRS = 1 << 27  # of Gaussians and tiles
_CHUNK, _CHUNKS = 8192, 32  # least number of Gaussians in a chunk of the counting sort, and greatest number of chunks
_DIGIT_BITS, _AHEAD = 11, 16
_ZERO, _HALF = np.float32(0), np.float32(0.5)
_SLACK = 1e-3  # px; a box that is a little too large costs nothing, one that is too small loses a pixel


@dataclass(frozen=True, eq=False)
class TileGrid:
    """The tiles of an image: their side in pixels, and how many there are along x and y."""

    size: int
    nx: int
    ny: int


@dataclass(frozen=True, eq=False)
class TileLists:
    """For each tile the Gaussians that touch it, nearest first.

    Args:
        starts: where the list of each tile begins, row by row, and where the last one ends, ``[tiles + 1]``.
        members: indices of records, tile after tile, ``[pairs]``.
        slots: places of the same pairs when they are ordered by record, ``[pairs]``.
        slot_starts: where the slots of each record begin, and where the last ones end, ``[n + 1]``.
    """

    starts: Int64[np.ndarray, " tiles_1"]
    members: Int32[np.ndarray, " pairs"]
    slots: Int32[np.ndarray, " pairs"]
    slot_starts: Int64[np.ndarray, " n_1"]


def tile_lists(
    means2d: Float32[np.ndarray, "g 2"],
    radii: Int32[np.ndarray, "g 2"],
    depths: Float32[np.ndarray, " g"],
    tile_size: int,
    tiles_x: int,
    tiles_y: int,
) -> tuple[Int64[np.ndarray, " offsets"], Int32[np.ndarray, " pairs"]]:
    """Return, for each tile, the Gaussians whose box touches it, nearest first; equal depths in their own order.

    Args:
        means2d: centres in pixels, ``[g,2]``.
        radii: half sizes of the boxes in pixels, ``[g,2]``; 0 = not drawn.
        depths: what is sorted by, ``[g]``.
        tile_size: side of a tile in pixels.
        tiles_x: tiles per row.
        tiles_y: rows of tiles.

    Returns:
        Where each tile's list begins, row by row, and where the last one ends, ``[tiles_x * tiles_y + 1]``; and the
        lists, indices of Gaussians, one after the other.

    Raises:
        ResourceError: there are too many pairs of Gaussians and tiles.
    """
    visible = np.flatnonzero((radii > 0).all(1)).astype(np.int32)
    records = np.zeros((len(visible), 8), np.float32)
    records[:, :2] = means2d[visible]
    order, boxes = depth_order(depths[visible]), radii[visible].astype(np.float32)
    lists = bin_ellipses(records, boxes, order, TileGrid(tile_size, tiles_x, tiles_y))
    return lists.starts, visible[lists.members]


def depth_order(depths: Float32[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
    """Return the indices by increasing depth; equal depths keep their order."""
    keys, order = _sortable(depths), np.arange(len(depths), dtype=np.int32)
    for digit in range(-(-32 // _DIGIT_BITS)):
        keys, order = _sort_digit(keys, order, digit * _DIGIT_BITS)
    return order


def bin_ellipses(
    records: Float32[np.ndarray, "n v"],
    boxes: Float32[np.ndarray, "n 2"],
    order: Int32[np.ndarray, " n"],
    grid: TileGrid,
) -> TileLists:
    """Return the tile lists of Gaussians, each list in the same order.

    Args:
        records: as in :class:`~recon3d.render.gaussians.cpu_scene.TiledScene`; where the half height is 0 only the box
            counts, ``[n,v]``.
        boxes: half sizes of boxes in pixels: a Gaussian only touches tiles that its box touches, ``[n,2]``.
        order: the Gaussians, nearest first, ``[n]``.
        grid: the tiles.

    Raises:
        ResourceError: there are too many pairs of Gaussians and tiles.
    """
    n, n_tiles = len(records), grid.nx * grid.ny
    step = max(_CHUNK, -(-n // _CHUNKS))
    n_chunks = -(-n // step)
    slot_starts, counts = np.zeros(n + 1, np.int64), np.zeros((n_chunks, n_tiles), np.int64)
    spans: list[Int32[np.ndarray, "rows 4"]] = [np.empty((0, 4), np.int32)] * n_chunks

    def find(i: int) -> None:
        spans[i] = _find_spans(records, boxes, order[i * step : (i + 1) * step], grid.size, grid.nx, grid.ny)
        _count_spans(spans[i], slot_starts[1:], counts[i])

    run_chunks(find, n_chunks)
    np.cumsum(slot_starts, out=slot_starts)
    n_pairs = int(slot_starts[-1])
    if n_pairs > MAX_PAIRS:
        fix = "use fewer or smaller Gaussians, a smaller image, or larger tiles"
        raise ResourceError("too many Gaussians overlap the image", got=f"{n_pairs} pairs", expected=MAX_PAIRS, fix=fix)
    starts = np.concatenate([[0], np.cumsum(counts.sum(0))])
    places = starts[:-1] + np.cumsum(counts, 0) - counts
    members, slots = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32)

    def fill(i: int) -> None:
        _fill_tiles(spans[i], slot_starts, places[i], members, slots)

    run_chunks(fill, n_chunks)
    return TileLists(starts, members, slots, slot_starts)


@kernel(order="written")
@no_type_check
def _sortable(depths):
    """Return numbers that sort as the depths do: floats compare like integers once negative ones are turned round."""
    keys = np.empty(len(depths), np.uint32)
    values = depths.view(np.uint32)
    for i in range(len(depths)):
        bits = values[i]
        keys[i] = ~bits if bits >> 31 else bits | np.uint32(0x80000000)
    return keys


@kernel(order="written")
@no_type_check
def _sort_digit(keys, order, shift):
    """Sort keys stably by the eleven bits above ``shift``, and ``order`` along with them."""
    n = len(keys)
    mask = np.uint32((1 << _DIGIT_BITS) - 1)
    places = np.zeros(1 << _DIGIT_BITS, np.int64)
    for i in range(n):
        places[(keys[i] >> np.uint32(shift)) & mask] += 1
    total = 0
    for digit in range(len(places)):
        places[digit], total = total, total + places[digit]
    new_keys, new_order = np.empty_like(keys), np.empty_like(order)
    for i in range(n):
        digit = (keys[i] >> np.uint32(shift)) & mask
        place = places[digit]
        places[digit] = place + 1
        new_keys[place], new_order[place] = keys[i], order[i]
    return new_keys, new_order


@kernel(order="fused", inline=True)
@no_type_check
def _box_tiles(centre, half, size, n):
    """Return the first tile that an interval touches and the one behind the last, as gsplat counts them."""
    first = min(max(floor((centre - half) / size), 0.0), float(n))
    last = min(max(ceil((centre + half) / size), 0.0), float(n))
    return int(first), int(last)


@kernel(order="fused", inline=True)
@no_type_check
def _centre_tiles(low, high, size, n):
    """Return the first tile with a pixel centre in an interval and the one behind the last."""
    first = min(max(ceil(low - 0.5 - _SLACK), 0.0), float(n * size))
    last = min(max(floor(high - 0.5 + _SLACK), -1.0), float(n * size - 1))
    inverse = 1.0 / size
    return floor(first * inverse), floor(last * inverse) + 1


@kernel(order="fused", inline=True)
@no_type_check
def _tile_box(records, o, boxes, i, size, nx, ny):
    """Return the rows and columns of tiles that both the box and the ellipse of a Gaussian touch."""
    x, y = float(at(records, o)), float(at(records, o + 1))
    half_width, half_height = float(at(records, o + 6)), float(at(records, o + 7))
    left, right = _box_tiles(x, float(at(boxes, 2 * i)), size, nx)
    top, bottom = _box_tiles(y, float(at(boxes, 2 * i + 1)), size, ny)
    if half_height > 0.0:
        low, high = _centre_tiles(x - half_width, x + half_width, size, nx)
        left, right = max(left, low), min(right, high)
        low, high = _centre_tiles(y - half_height, y + half_height, size, ny)
        top, bottom = max(top, low), min(bottom, high)
    return left, right, top, bottom


@kernel(order="fused", inline=True)
@no_type_check
def _slab(records, o, low, high):
    """Return the interval along x, around the centre, of what two heights cut out of an ellipse.

    At a height dy it is ``-b/a dy`` plus and minus ``sqrt(r - (d dy)^2) / a``. The right end lies where the ellipse
    reaches farthest right, or at the height nearest to it; so does the left end.
    """
    a, b, d = at(records, o + 2), at(records, o + 3), at(records, o + 4)
    half_width, half_height = at(records, o + 6), at(records, o + 7)
    slope = b / a
    tip = -slope * half_height * half_height / half_width
    low, high = max(low, -half_height), min(high, half_height)
    right = min(max(tip, low), high)
    left = min(max(-tip, low), high)
    reach = d / a
    right_end = -slope * right + reach * sqrt(max(half_height * half_height - right * right, _ZERO))
    left_end = -slope * left - reach * sqrt(max(half_height * half_height - left * left, _ZERO))
    return left_end, right_end


@kernel
@no_type_check
def _find_spans(records, boxes, order, size, nx, ny):
    """Return the tiles that each Gaussian touches, row of tiles by row: Gaussian, first tile, behind the last, 0."""
    spans, n, stride = np.empty((2 * len(order) + 16, 4), np.int32), 0, records.shape[1]
    for place in range(len(order)):
        ahead = np.int64(at(order, min(place + _AHEAD, len(order) - 1)))
        prefetch(records, ahead * stride)
        prefetch(records, ahead * stride + 7)
        prefetch(boxes, ahead * 2)
        i = np.int64(at(order, place))
        o = i * stride
        left, right, top, bottom = _tile_box(records, o, boxes, i, size, nx, ny)
        if n + bottom - top > len(spans):
            larger = np.empty((2 * len(spans) + bottom - top, 4), np.int32)
            larger[:n] = spans[:n]
            spans = larger
        oblique = at(records, o + 7) > _ZERO and right - left > 1 and bottom - top > 1
        for row in range(top, bottom):
            first, last = left, right
            if oblique:
                above = np.float32(row * size) + _HALF - at(records, o + 1)
                low, high = _slab(records, o, above, above + np.float32(size - 1))
                x = at(records, o)
                low, high = _centre_tiles(float(x + low), float(x + high), size, nx)
                first, last = max(first, low), min(last, high)
            if last > first:
                put(spans, 4 * n, np.int32(i))
                put(spans, 4 * n + 1, np.int32(row * nx + first))
                put(spans, 4 * n + 2, np.int32(row * nx + last))
                n += 1
    return spans[:n].copy()


@kernel
@no_type_check
def _count_spans(spans, widths, counts):
    for i in range(len(spans)):
        owner, first, last = np.int64(at(spans, 4 * i)), at(spans, 4 * i + 1), at(spans, 4 * i + 2)
        put(widths, owner, at(widths, owner) + last - first)
        for tile in range(first, last):
            put(counts, tile, at(counts, tile) + 1)


@kernel
@no_type_check
def _fill_tiles(spans, slot_starts, places, members, slots):
    slot, owner = 0, -1
    for i in range(len(spans)):
        if at(spans, 4 * i) != owner:
            owner = np.int64(at(spans, 4 * i))
            slot = at(slot_starts, owner)
        for tile in range(at(spans, 4 * i + 1), at(spans, 4 * i + 2)):
            place = at(places, tile)
            put(places, tile, place + 1)
            put(members, place, np.int32(owner))
            put(slots, place, np.int32(slot))
            slot += 1
