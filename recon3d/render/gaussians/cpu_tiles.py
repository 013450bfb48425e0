"""Which Gaussians touch which tiles, nearest first: a radix sort by depth, then a stable counting sort by tile."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, sqrt
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32, Int64

from recon3d.core.errors import ResourceError
from recon3d.core.kernels import exact_kernel, kernel

MAX_PAIRS = 1 << 27  # of Gaussians and tiles
_CHUNKS = 16  # of Gaussians in the counting sort
_DIGIT_BITS = 11
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
        ranks: places in depth order, tile after tile, ``[pairs]``.
        slots: places of the same pairs when they are ordered by Gaussian, ``[pairs]``.
        slot_starts: where the slots of each Gaussian in depth order begin, and where the last ones end, ``[n + 1]``.
    """

    starts: Int64[np.ndarray, " tiles_1"]
    ranks: Int32[np.ndarray, " pairs"]
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
    order = depth_order(depths, np.flatnonzero((radii > 0).all(1)).astype(np.int32))
    boxes = np.zeros((len(order), 9))
    boxes[:, 0:2], boxes[:, 2:4] = means2d[order], radii[order]
    lists = bin_ellipses(boxes, TileGrid(tile_size, tiles_x, tiles_y))
    return lists.starts, order[lists.ranks]


def depth_order(depths: Float32[np.ndarray, " g"], visible: Int32[np.ndarray, " n"]) -> Int32[np.ndarray, " n"]:
    """Return the indices ``visible`` by increasing depth; equal depths keep their order."""
    keys, order = _sortable(depths, visible), visible
    for digit in range(-(-32 // _DIGIT_BITS)):
        keys, order = _sort_digit(keys, order, digit * _DIGIT_BITS)
    return order


def bin_ellipses(ellipses: np.ndarray, grid: TileGrid) -> TileLists:
    """Return the tile lists of ellipses that are in depth order.

    Args:
        ellipses: ``[n,9]``: centre, half sizes of the box (pixels), then half sizes of the ellipse along x and y,
            the shears dx/dy and dy/dx of its ridges, and the half width of a row through its centre; a half height of 0
            means that only the box counts.
        grid: the tiles.

    Raises:
        ResourceError: there are too many pairs of Gaussians and tiles.
    """
    n = len(ellipses)
    row_counts = np.empty(n, np.int64)
    _count_rows(ellipses, grid.size, grid.nx, grid.ny, row_counts)
    row_starts = np.concatenate([[0], np.cumsum(row_counts)])
    spans = np.empty((row_starts[-1], 3), np.int32)
    widths = np.zeros(n, np.int64)
    _fill_spans(ellipses, grid.size, grid.nx, grid.ny, row_starts, spans, widths)
    slot_starts = np.concatenate([[0], np.cumsum(widths)])
    n_pairs = int(slot_starts[-1])
    if n_pairs > MAX_PAIRS:
        fix = "use fewer or smaller Gaussians, a smaller image, or larger tiles"
        raise ResourceError("too many Gaussians overlap the image", got=f"{n_pairs} pairs", expected=MAX_PAIRS, fix=fix)
    starts = np.zeros(grid.nx * grid.ny + 1, np.int64)
    ranks, slots = np.empty(n_pairs, np.int32), np.empty(n_pairs, np.int32)
    _count_tiles(spans, starts)
    starts[1:] = np.cumsum(starts[1:])
    _fill_tiles(row_starts, spans, slot_starts, starts[:-1].copy(), ranks, slots)
    return TileLists(starts, ranks, slots, slot_starts)


@exact_kernel
@no_type_check
def _sortable(depths, index):
    """Return numbers that sort as the depths do: floats compare like integers once negative ones are turned round."""
    keys = np.empty(len(index), np.uint32)
    values = depths.view(np.uint32)
    for i in range(len(index)):
        bits = values[index[i]]
        keys[i] = ~bits if bits >> 31 else bits | np.uint32(0x80000000)
    return keys


@exact_kernel
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


@kernel
@no_type_check
def _tile_range(centre, half, size, n):
    """Return the first tile that an interval touches and the one behind the last."""
    first = min(max(floor((centre - half) / size), 0.0), float(n))
    last = min(max(ceil((centre + half) / size), 0.0), float(n))
    return int(first), int(last)


@kernel
@no_type_check
def _box_rows(ellipse, size, ny):
    """Return the rows of tiles that both the box and the ellipse touch."""
    first, last = _tile_range(ellipse[1], ellipse[3], size, ny)
    if ellipse[5] > 0.0:
        low, high = _tile_range(ellipse[1], ellipse[5] + _SLACK, size, ny)
        first, last = max(first, low), min(last, high)
    return first, last


@kernel
@no_type_check
def _count_rows(ellipses, size, nx, ny, counts):
    for i in range(len(ellipses)):
        first, last = _box_rows(ellipses[i], size, ny)
        counts[i] = max(last - first, 0)


@kernel
@no_type_check
def _reach(ellipse, dy):
    """Return the interval along x, around the centre, that an ellipse covers at a height ``dy`` from it."""
    ratio = dy / ellipse[5]
    half = ellipse[8] * sqrt(max(1.0 - ratio * ratio, 0.0))
    return ellipse[6] * dy - half, ellipse[6] * dy + half


@kernel
@no_type_check
def _slab(ellipse, low, high):
    """Return the interval along x, around the centre, that an ellipse covers between two heights.

    The ellipse is widest to the right where the ridge dy/dx meets its right end: there, or at the height nearest to
    it, lies the right end of what the slab cuts out.
    """
    tip = ellipse[7] * ellipse[4]
    _, right = _reach(ellipse, min(max(tip, low), high))
    left, _ = _reach(ellipse, min(max(-tip, low), high))
    return left, right


@kernel
@no_type_check
def _fill_spans(ellipses, size, nx, ny, row_starts, spans, widths):
    """Write the tiles of each row that a Gaussian touches: row, first and behind the last."""
    for i in range(len(ellipses)):
        ellipse = ellipses[i]
        first_row, last_row = _box_rows(ellipse, size, ny)
        first, last = _tile_range(ellipse[0], ellipse[2], size, nx)
        half = ellipse[5]
        for row in range(first_row, last_row):
            low, high = first, last
            if half > 0.0:
                above, below = row * size - ellipse[1], (row + 1) * size - ellipse[1]
                left, right = _slab(ellipse, min(max(above, -half), half), max(min(below, half), -half))
                middle, reach = ellipse[0] + 0.5 * (left + right), 0.5 * (right - left) + _SLACK
                start, stop = _tile_range(middle, reach, size, nx)
                low, high = max(low, start), min(high, stop)
            high = max(low, high)
            place = row_starts[i] + row - first_row
            spans[place, 0], spans[place, 1], spans[place, 2] = row, row * nx + low, row * nx + high
            widths[i] += high - low


@kernel
@no_type_check
def _count_tiles(spans, counts):
    for i in range(len(spans)):
        for tile in range(spans[i, 1], spans[i, 2]):
            counts[tile + 1] += 1


@kernel
@no_type_check
def _fill_tiles(row_starts, spans, slot_starts, places, ranks, slots):
    for i in range(len(row_starts) - 1):
        slot = slot_starts[i]
        for row in range(row_starts[i], row_starts[i + 1]):
            for tile in range(spans[row, 1], spans[row, 2]):
                place = places[tile]
                places[tile] = place + 1
                ranks[place], slots[place] = i, slot
                slot += 1
