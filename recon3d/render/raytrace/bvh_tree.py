"""The binary tree of a hierarchy: triangles are parted where the binned surface-area heuristic finds it cheapest."""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel

N_BINS = 16
MAX_LEAF = 16
_DEEP = 64  # from this depth on nodes are halved, so that no mesh makes a tree deeper than about 100


class Tree(NamedTuple):
    """A binary tree; node 0 is the root.

    Args:
        order: face indices, so that every node owns a range of them, ``[f]``.
        first: of node ``i``: start of its range for a leaf, else its left child; the right one follows it, ``[n]``.
        n_faces: of a leaf; 0 = inner node, ``[n]``.
        area: half the surface of the node's box, ``[n]``.
    """

    order: Int32[np.ndarray, " f"]
    first: Int32[np.ndarray, " n"]
    n_faces: Int32[np.ndarray, " n"]
    area: Float32[np.ndarray, " n"]


def build_tree(low: Float32[np.ndarray, "f 3"], high: Float32[np.ndarray, "f 3"]) -> Tree:
    """Return the tree over boxes of faces.

    Args:
        low: lower corners, ``[f,3]``; finite.
        high: upper corners, ``[f,3]``.
    """
    n_faces = len(low)
    order = np.arange(n_faces, dtype=np.int32)
    first, count = np.zeros(2 * max(n_faces, 1), np.int32), np.zeros(2 * max(n_faces, 1), np.int32)
    area = np.zeros(len(first), np.float32)
    n_nodes = _split_all(low, high, order, first, count, area) if n_faces else 0
    return Tree(order, first[:n_nodes], count[:n_nodes], area[:n_nodes])


@kernel(order="written", inline=True)
@no_type_check
def _half_area(low, high):
    x, y, z = high[0] - low[0], high[1] - low[1], high[2] - low[2]
    return x * y + y * z + z * x


@kernel(order="written", inline=True)
@no_type_check
def _grow(low, high, other_low, other_high):
    for axis in range(3):
        low[axis] = min(low[axis], other_low[axis])
        high[axis] = max(high[axis], other_high[axis])


@kernel(order="written")
@no_type_check
def _bounds(low, high, order, start, stop, box, middles):
    """Write the box of a range of faces, and that of the middles of their boxes (times two)."""
    box[0], middles[0] = np.inf, np.inf
    box[1], middles[1] = -np.inf, -np.inf
    for place in range(start, stop):
        face = order[place]
        for axis in range(3):
            below, above = low[face, axis], high[face, axis]
            box[0, axis], box[1, axis] = min(box[0, axis], below), max(box[1, axis], above)
            middle = below + above
            middles[0, axis], middles[1, axis] = min(middles[0, axis], middle), max(middles[1, axis], middle)


@kernel(order="written", inline=True)
@no_type_check
def _bin(middle, start, scale):
    return max(0, min(N_BINS - 1, int((middle - start) * scale)))


@kernel(order="written")
@no_type_check
def _fill_bins(low, high, order, start, stop, middles, axis, counts, boxes):
    counts[:] = 0
    boxes[:, 0], boxes[:, 1] = np.inf, -np.inf
    begin = middles[0, axis]
    scale = N_BINS / (middles[1, axis] - begin)
    for place in range(start, stop):
        face = order[place]
        which = _bin(low[face, axis] + high[face, axis], begin, scale)
        counts[which] += 1
        _grow(boxes[which, 0], boxes[which, 1], low[face], high[face])


@kernel(order="written")
@no_type_check
def _cheapest(counts, boxes, costs, growing):
    """Return the last bin of the left side and the cost of the best cut; infinity where all faces share a bin."""
    growing[0], growing[1] = np.inf, -np.inf
    total = 0
    for which in range(N_BINS - 1, 0, -1):  # costs[i] = right side from bin i on
        total += counts[which]
        _grow(growing[0], growing[1], boxes[which, 0], boxes[which, 1])
        costs[which] = total * _half_area(growing[0], growing[1]) if total else np.inf
    growing[0], growing[1] = np.inf, -np.inf
    total, best, best_cost = 0, 0, np.inf
    for which in range(N_BINS - 1):
        total += counts[which]
        _grow(growing[0], growing[1], boxes[which, 0], boxes[which, 1])
        if total:
            cost = total * _half_area(growing[0], growing[1]) + costs[which + 1]
            if cost < best_cost:
                best, best_cost = which, cost
    return best, best_cost


@kernel(order="written")
@no_type_check
def _part(low, high, order, start, stop, middles, axis, last):
    """Reorder a range so that the faces up to bin ``last`` come first, and return where the others begin."""
    begin = middles[0, axis]
    scale = N_BINS / (middles[1, axis] - begin)
    left, right = start, stop - 1
    while left <= right:
        face = order[left]
        if _bin(low[face, axis] + high[face, axis], begin, scale) <= last:
            left += 1
        else:
            order[left], order[right] = order[right], face
            right -= 1
    return left


@kernel(order="written")
@no_type_check
def _split_all(low, high, order, first, count, area):
    """Split from the root down, and return the number of nodes."""
    counts, costs = np.zeros(N_BINS, np.int64), np.zeros(N_BINS, np.float64)
    boxes, growing = np.zeros((N_BINS, 2, 3), np.float32), np.zeros((2, 3), np.float32)
    box, middles = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    stack = np.zeros((256, 4), np.int64)  # node, start, stop, depth
    stack[0, 2] = len(order)
    depth_of_stack, n_nodes = 1, 1
    while depth_of_stack:
        depth_of_stack -= 1
        node, start, stop, depth = stack[depth_of_stack]
        _bounds(low, high, order, start, stop, box, middles)
        area[node] = _half_area(box[0], box[1])
        if stop - start <= MAX_LEAF:
            first[node], count[node] = start, stop - start
            continue
        best_axis, best_bin, best_cost = -1, 0, np.inf
        if depth < _DEEP:
            for axis in range(3):
                if N_BINS / (middles[1, axis] - middles[0, axis]) < np.inf and middles[1, axis] > middles[0, axis]:
                    _fill_bins(low, high, order, start, stop, middles, axis, counts, boxes)
                    which, cost = _cheapest(counts, boxes, costs, growing)
                    if cost < best_cost:
                        best_axis, best_bin, best_cost = axis, which, cost
        middle = (start + stop) // 2
        if best_axis >= 0:
            middle = _part(low, high, order, start, stop, middles, best_axis, best_bin)
        first[node], count[node] = n_nodes, 0
        for child, begin, end in ((n_nodes + 1, middle, stop), (n_nodes, start, middle)):
            stack[depth_of_stack] = (child, begin, end, depth + 1)
            depth_of_stack += 1
        n_nodes += 2
    return n_nodes
