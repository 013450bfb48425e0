"""Which face is nearest at each pixel: numba kernels over tiles, the same bits for any number of threads."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.mesh.clipping import ScreenTriangles
from recon3d.render.mesh.cpu_exact import ROUNDING, cross, exact_sign, owns

TILE = 32  # pixels along a side; a constant, so that the picture does not depend on the threads
_CHUNK = 1 << 15  # triangles that are sorted into tiles at once


def nearest_faces(screen: ScreenTriangles, width: int, height: int) -> Int32[np.ndarray, "h w"]:
    """Return the nearest face at the centre of each pixel; -1 = none. Of equally near ones, the first counts.

    Args:
        screen: the triangles.
        width: image width in pixels.
        height: image height in pixels.
    """
    corners, inverse, triangles = (
        np.ascontiguousarray(each.numpy()) for each in (screen.corners, screen.inverse_depths, screen.triangles)
    )
    face = np.full((height, width), -1, np.int32)
    nearness = np.zeros((height, width))
    boxes, starts, listed = _tile_lists(corners, triangles, width, height)
    tiles_x = -(-width // TILE)

    def draw(tile: int) -> None:
        top, left = tile // tiles_x * TILE, tile % tiles_x * TILE
        members = listed[starts[tile] : starts[tile + 1]]
        window = (top, min(top + TILE, height) - 1, left, min(left + TILE, width) - 1)
        _draw(corners, inverse, triangles, boxes, members, window, face, nearness)

    run_chunks(draw, len(starts) - 1)
    if screen.owner is not None and len(triangles):
        face = np.where(face >= 0, screen.owner.numpy()[face], np.int32(-1))
    return face


def _tile_lists(
    corners: np.ndarray, triangles: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes of pixels ``[t,4]``, and the triangles of each tile in ascending order: list starts and the list."""
    tiles_x, n_tiles = -(-width // TILE), -(-width // TILE) * -(-height // TILE)
    n_chunks = math.ceil(len(triangles) / _CHUNK)
    boxes = np.empty((len(triangles), 4), np.int32)
    counts = np.zeros((n_chunks, n_tiles), np.int64)

    def count(chunk: int) -> None:
        part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        _bound(corners, triangles[part], width, height, boxes[part])
        _count(boxes[part], tiles_x, counts[chunk])

    run_chunks(count, n_chunks)
    starts = np.concatenate([[0], np.cumsum(counts.sum(0))])
    places = starts[:-1] + np.cumsum(counts, axis=0) - counts
    listed = np.empty(int(starts[-1]), np.int32)

    def fill(chunk: int) -> None:
        _fill(boxes[chunk * _CHUNK : (chunk + 1) * _CHUNK], chunk * _CHUNK, tiles_x, places[chunk], listed)

    run_chunks(fill, n_chunks)
    return boxes, starts, listed


@kernel(order="written")
@no_type_check
def _bound(corners, triangles, width, height, boxes):
    """Write the first and last row and column whose pixel centres a triangle may hold; empty where it is not drawn."""
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = (
            corners[a, 0],
            corners[a, 1],
            corners[b, 0],
            corners[b, 1],
            corners[c, 0],
            corners[c, 1],
        )
        boxes[t, 0], boxes[t, 1], boxes[t, 2], boxes[t, 3] = 0, -1, 0, -1
        total = ax + ay + bx + by + cx + cy
        if total - total != 0.0:  # not finite
            continue
        # Clamped before they become integers: a corner may lie millions of pixels away.
        top = math.ceil(min(max(min(ay, by, cy) - 0.5, 0.0), float(height)))
        bottom = math.floor(max(min(max(ay, by, cy) - 0.5, height - 1.0), -1.0))
        left = math.ceil(min(max(min(ax, bx, cx) - 0.5, 0.0), float(width)))
        right = math.floor(max(min(max(ax, bx, cx) - 0.5, width - 1.0), -1.0))
        if top <= bottom and left <= right:
            boxes[t, 0], boxes[t, 1], boxes[t, 2], boxes[t, 3] = top, bottom, left, right


@kernel(order="written")
@no_type_check
def _count(boxes, tiles_x, counts):
    for t in range(boxes.shape[0]):
        if boxes[t, 1] < boxes[t, 0]:
            continue
        for row in range(boxes[t, 0] // TILE, boxes[t, 1] // TILE + 1):
            for column in range(boxes[t, 2] // TILE, boxes[t, 3] // TILE + 1):
                counts[row * tiles_x + column] += 1


@kernel(order="written")
@no_type_check
def _fill(boxes, first, tiles_x, places, listed):
    for t in range(boxes.shape[0]):
        if boxes[t, 1] < boxes[t, 0]:
            continue
        for row in range(boxes[t, 0] // TILE, boxes[t, 1] // TILE + 1):
            for column in range(boxes[t, 2] // TILE, boxes[t, 3] // TILE + 1):
                tile = row * tiles_x + column
                listed[places[tile]] = first + t
                places[tile] += 1


@kernel(order="written")
@no_type_check
def _draw(corners, inverse, triangles, boxes, members, window, face, nearness):
    for t in members:
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = (
            corners[a, 0],
            corners[a, 1],
            corners[b, 0],
            corners[b, 1],
            corners[c, 0],
            corners[c, 1],
        )
        top, bottom = max(boxes[t, 0], window[0]), min(boxes[t, 1], window[1])
        left, right = max(boxes[t, 2], window[2]), min(boxes[t, 3], window[3])
        # No pixel of the box is farther from a corner than this, so no cross product has a larger error.
        reach_x, reach_y = max(ax, bx, cx) - min(ax, bx, cx) + 1.0, max(ay, by, cy) - min(ay, by, cy) + 1.0
        bound = 2.0 * ROUNDING * reach_x * reach_y
        area = cross(ax, ay, bx, by, cx, cy)
        turn = 1.0 if area > 0.0 else -1.0
        if abs(area) <= bound:
            turn = exact_sign(ax, ay, bx, by, cx, cy)
            if turn == 0.0:
                continue
        za, zb, zc = inverse[a], inverse[b], inverse[c]
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                u = cross(bx, by, cx, cy, px, py) * turn
                v = cross(cx, cy, ax, ay, px, py) * turn
                w = cross(ax, ay, bx, by, px, py) * turn
                if u < -bound or v < -bound or w < -bound:
                    continue
                if not (u > bound and v > bound and w > bound):
                    if not owns(bx, by, cx, cy, px, py, turn) or not owns(cx, cy, ax, ay, px, py, turn):
                        continue
                    if not owns(ax, ay, bx, by, px, py, turn):
                        continue
                    u, v, w = max(u, 0.0), max(v, 0.0), max(w, 0.0)
                total = u + v + w
                # 1/z runs linearly over the picture; without area left to rounding, the nearest corner decides.
                near = (u * za + v * zb + w * zc) / total if total > 0.0 else max(za, zb, zc)
                if near > nearness[y, x]:
                    nearness[y, x] = near
                    face[y, x] = t
