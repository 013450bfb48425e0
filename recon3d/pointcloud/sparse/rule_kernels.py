"""Rulebooks in Numba: sites are sorted once, and the neighbours of all sites in one direction are found by one walk."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np

from recon3d.core.kernels import kernel

GROUP = 8  # as in tiles.py
_DIGIT_BITS = 11


@kernel(order="written")
@no_type_check
def linear_keys(sites: Any, low: Any, extent: Any) -> Any:
    """Number the sites of a box in lexicographic order."""
    keys = np.empty(len(sites), np.int64)
    for row in range(len(sites)):
        key = np.int64(0)
        for axis in range(4):
            key = key * extent[axis] + (sites[row, axis] - low[axis])
        keys[row] = key
    return keys


@kernel(order="written")
@no_type_check
def sorted_order(keys: Any) -> Any:
    """Return the stable order that sorts non-negative keys: none to do where they rise already, else by digits."""
    n = len(keys)
    order = np.arange(n).astype(np.int32)
    rising, largest = True, np.int64(0)
    for row in range(n):
        rising = rising and (row == 0 or keys[row - 1] <= keys[row])
        largest = max(largest, keys[row])
    if rising:
        return order
    spare = np.empty_like(order)
    shift, radix = 0, 1 << _DIGIT_BITS
    while shift < 63 and (largest >> shift) > 0:
        starts = np.zeros(radix + 1, np.int64)
        for row in range(n):
            starts[((keys[row] >> shift) & (radix - 1)) + 1] += 1
        for digit in range(radix):
            starts[digit + 1] += starts[digit]
        for place in range(n):
            digit = (keys[order[place]] >> shift) & (radix - 1)
            spare[starts[digit]] = order[place]
            starts[digit] += 1
        order, spare = spare, order
        shift += _DIGIT_BITS
    return order


@kernel(order="written")
@no_type_check
def first_duplicate(keys: Any) -> Any:
    """Return the first place in sorted keys whose successor is equal; -1 where there is none."""
    for place in range(len(keys) - 1):
        if keys[place] == keys[place + 1]:
            return place
    return -1


@kernel(order="written")
@no_type_check
def reached_keys(sites: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, shape: Any) -> Any:
    """Return the linear keys, in the grid of ``shape``, of the outputs that see each input; with repetitions."""
    volume = kernel_size[0] * kernel_size[1] * kernel_size[2]
    keys, n = np.empty(len(sites) * volume, np.int64), 0
    for row in range(len(sites)):
        for i in range(kernel_size[0]):
            a = sites[row, 1] + padding[0] - i * dilation[0]
            if a < 0 or a % stride[0] != 0 or a // stride[0] >= shape[0]:
                continue
            for j in range(kernel_size[1]):
                b = sites[row, 2] + padding[1] - j * dilation[1]
                if b < 0 or b % stride[1] != 0 or b // stride[1] >= shape[1]:
                    continue
                for k in range(kernel_size[2]):
                    c = sites[row, 3] + padding[2] - k * dilation[2]
                    if c < 0 or c % stride[2] != 0 or c // stride[2] >= shape[2]:
                        continue
                    key = (np.int64(sites[row, 0]) * shape[0] + a // stride[0]) * shape[1] + b // stride[1]
                    keys[n] = key * shape[2] + c // stride[2]
                    n += 1
    return keys[:n]


@kernel(order="written")
@no_type_check
def distinct_sites(keys: Any, order: Any, shape: Any) -> Any:
    """Return the sites of sorted keys, each once."""
    sites, n = np.empty((len(keys), 4), np.int32), 0
    before = np.int64(-1)
    for place in range(len(keys)):
        key = keys[order[place]]
        if key == before:
            continue
        before = key
        for axis in range(3, 0, -1):
            sites[n, axis] = key % shape[axis - 1]
            key //= shape[axis - 1]
        sites[n, 0] = key
        n += 1
    return sites[:n].copy()


@kernel(order="written", inline=True)
@no_type_check
def _lower_bound(keys, key):
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(order="written", inline=True)
@no_type_check
def _walk(block, sites, keys, in_order, out_order, window, extent, low, found_in, found_out, counts):
    """List the pairs of the outputs of one block by kernel offset, in order.

    For one (i, j) of the kernel the keys that the outputs look for rise with the outputs, so one walk along the sorted
    inputs finds them all, and the entries along the last axis lie next to each other.
    """
    first, last = block
    last_step = window[3, 2]
    for i in range(window[0, 0]):
        for j in range(window[0, 1]):
            place = -1
            for row in range(first, last):
                key = np.int64(sites[row, 0] - low[0])
                key = key * extent[1] + (sites[row, 1] * window[1, 0] - window[2, 0] + i * window[3, 0] - low[1])
                key = key * extent[2] + (sites[row, 2] * window[1, 1] - window[2, 1] + j * window[3, 1] - low[2])
                key = key * extent[3] + (sites[row, 3] * window[1, 2] - window[2, 2] - low[3])
                if place < 0:
                    place = _lower_bound(keys, key)
                while place < len(keys) and keys[place] < key:
                    place += 1
                near = place
                for k in range(window[0, 2]):
                    while near < len(keys) and keys[near] < key:
                        near += 1
                    if near < len(keys) and keys[near] == key:
                        offset = (i * window[0, 1] + j) * window[0, 2] + k
                        found_in[offset, counts[offset]] = in_order[near]
                        found_out[offset, counts[offset]] = out_order[row]
                        counts[offset] += 1
                    key += last_step


@kernel(order="written")
@no_type_check
def pair_blocks(
    first: Any,
    last: Any,
    size: Any,
    sites: Any,
    keys: Any,
    in_order: Any,
    out_order: Any,
    window: Any,
    extent: Any,
    low: Any,
) -> Any:
    """Return the padded lists of the blocks of ``size`` outputs between two rows, with the counts per block and offset.

    Args:
        first: first output, in sorted order.
        last: after the last one.
        size: outputs per block.
        sites: sorted outputs ``[n, 4]``.
        keys: sorted keys of the inputs in the box.
        in_order: rows of the inputs in sorted order.
        out_order: rows of the outputs in sorted order.
        window: rows kernel, stride, padding, dilation.
        extent: of the box of all inputs and of all that outputs look for.
        low: its lower corner.
    """
    volume = window[0, 0] * window[0, 1] * window[0, 2]
    n_blocks = (last - first + size - 1) // size
    counts = np.zeros((n_blocks, volume), np.int32)
    found_in, found_out = np.empty((volume, size), np.int32), np.empty((volume, size), np.int32)
    rows_in = np.empty(max(GROUP, (last - first) * volume + n_blocks * volume * GROUP), np.int32)
    rows_out = np.empty_like(rows_in)
    end, scrap = 0, len(out_order)
    for block in range(n_blocks):
        begin = first + block * size
        _walk(
            (begin, min(last, begin + size)),
            sites,
            keys,
            in_order,
            out_order,
            window,
            extent,
            low,
            found_in,
            found_out,
            counts[block],
        )
        for offset in range(volume):
            n = counts[block, offset]
            for pair in range(n):
                rows_in[end + pair], rows_out[end + pair] = found_in[offset, pair], found_out[offset, pair]
            while n % GROUP:
                rows_in[end + n], rows_out[end + n] = rows_in[end], scrap
                n += 1
            end += n
    return rows_in[:end].copy(), rows_out[:end].copy(), counts


@kernel(order="written")
@no_type_check
def transposed_blocks(rows_in: Any, rows_out: Any, starts: Any, counts: Any, in_place: Any, size: Any) -> Any:
    """Return the lists with inputs and outputs exchanged, by blocks of ``size`` former inputs in sorted order.

    ``in_place`` is the place of each input row in sorted order.
    """
    volume, n_in = counts.shape[1], len(in_place)
    new_counts = np.zeros(((n_in + size - 1) // size, volume), np.int32)
    for block in range(counts.shape[0]):
        for offset in range(volume):
            start = starts[block, offset]
            for pair in range(start, start + counts[block, offset]):
                new_counts[in_place[rows_in[pair]] // size, offset] += 1
    ends, total = np.empty(new_counts.shape, np.int64), 0
    for block in range(new_counts.shape[0]):
        for offset in range(volume):
            ends[block, offset] = total
            total += (new_counts[block, offset] + GROUP - 1) // GROUP * GROUP
    new_in, new_out = np.zeros(total, np.int32), np.full(total, n_in, np.int32)
    for block in range(counts.shape[0]):
        for offset in range(volume):
            start = starts[block, offset]
            for pair in range(start, start + counts[block, offset]):
                row = rows_in[pair]
                home = in_place[row] // size
                new_in[ends[home, offset]], new_out[ends[home, offset]] = rows_out[pair], row
                ends[home, offset] += 1
    return new_in, new_out, new_counts


@kernel(order="written")
@no_type_check
def compact_pairs(rows_in: Any, rows_out: Any, starts: Any, counts: Any) -> Any:
    """Return the pairs by kernel offset without padding, input rows and output rows, each as int64."""
    total = 0
    for block in range(counts.shape[0]):
        for offset in range(counts.shape[1]):
            total += counts[block, offset]
    pairs, end = np.empty((2, total), np.int64), 0
    for offset in range(counts.shape[1]):
        for block in range(counts.shape[0]):
            start = starts[block, offset]
            for pair in range(start, start + counts[block, offset]):
                pairs[0, end], pairs[1, end] = rows_in[pair], rows_out[pair]
                end += 1
    return pairs
