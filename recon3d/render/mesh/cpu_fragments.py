"""Barycentrics and depth of the face at each pixel, and their gradients: numba kernels.

A pixel looks along d = (dx, dy, 1) from the camera. With q_i = (x_i - z_i dx, y_i - z_i dy) for the corners i of its
face, the weights on the surface are the cross products q_j x q_k of the other two corners, divided by their sum:
correct in perspective, and without a projection, so that corners behind the camera do no harm.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float64, Int32

from recon3d.core.kernels import kernel, run_chunks

_BAND = 16  # rows per chunk


def weigh(
    points: Float64[np.ndarray, "v 3"],
    faces: Int32[np.ndarray, "f 3"],
    K: Float64[np.ndarray, "3 3"],
    face: Int32[np.ndarray, "h w"],
    barycentrics: Float[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"],
) -> None:
    """Write the barycentrics and the depth of the pixels of one camera; zeros where there is no face.

    Args:
        points: vertices in camera axes.
        faces: vertex indices.
        K: intrinsics in pixels.
        face: the face of each pixel, -1 = none.
        barycentrics: written.
        depth: written.
    """

    def work(band: int) -> None:
        rows = slice(band * _BAND, (band + 1) * _BAND)
        _weigh(points, faces, K, band * _BAND, face[rows], barycentrics[rows], depth[rows])

    run_chunks(work, -(-face.shape[0] // _BAND))


def slopes(
    uvs: Float[np.ndarray, "f 3 2"],
    points: Float64[np.ndarray, "v 3"],
    faces: Int32[np.ndarray, "f 3"],
    K: Float64[np.ndarray, "3 3"],
    face: Int32[np.ndarray, "h w"],
    footprint: Float[np.ndarray, "h w 2 2"],
) -> None:
    """Write how the UVs of one camera's pixels change along x and y; see :func:`recon3d.render.mesh.uv_footprint`.

    Args:
        uvs: of the corners of each face.
        points: vertices in camera axes.
        faces: vertex indices.
        K: intrinsics in pixels.
        face: the face of each pixel, -1 = none.
        footprint: written; zeros where there is no face.
    """

    def work(band: int) -> None:
        rows = slice(band * _BAND, (band + 1) * _BAND)
        _slopes(uvs, points, faces, K, band * _BAND, face[rows], footprint[rows])

    run_chunks(work, -(-face.shape[0] // _BAND))


@kernel(order="written", inline=True)
@no_type_check
def _ray(K, x, y):
    return (x + 0.5 - K[0, 2]) / K[0, 0], (y + 0.5 - K[1, 2]) / K[1, 1]


@kernel(order="written", inline=True)
@no_type_check
def _flat(points, vertex, dx, dy):
    z = points[vertex, 2]
    return points[vertex, 0] - z * dx, points[vertex, 1] - z * dy


@kernel(order="written")
@no_type_check
def _weigh(points, faces, K, first_row, face, barycentrics, depth):
    for row in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[row, x]
            if f < 0:
                barycentrics[row, x, 0] = barycentrics[row, x, 1] = barycentrics[row, x, 2] = depth[row, x] = 0.0
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            dx, dy = _ray(K, x, first_row + row)
            ax, ay = _flat(points, a, dx, dy)
            bx, by = _flat(points, b, dx, dy)
            cx, cy = _flat(points, c, dx, dy)
            u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            if u + v + w < 0.0:
                u, v, w = -u, -v, -w
            u, v, w = max(u, 0.0), max(v, 0.0), max(w, 0.0)  # below zero by rounding only
            total = u + v + w
            if not total > 0.0:
                u = v = w = total = 1.0
                total = 3.0
            u, v, w = u / total, v / total, w / total
            barycentrics[row, x, 0], barycentrics[row, x, 1], barycentrics[row, x, 2] = u, v, w
            depth[row, x] = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]


@kernel(order="written")
@no_type_check
def weigh_backward(points, faces, K, face, by_barycentrics, by_depth, by_points, by_K):
    """Add the gradients by vertices in camera axes ``[v,3]`` and by intrinsics ``[3,3]`` of one camera's pixels."""
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            dx, dy = _ray(K, x, y)
            ax, ay = _flat(points, a, dx, dy)
            bx, by = _flat(points, b, dx, dy)
            cx, cy = _flat(points, c, dx, dy)
            u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            turn = -1.0 if u + v + w < 0.0 else 1.0
            held_u, held_v, held_w = u * turn >= 0.0, v * turn >= 0.0, w * turn >= 0.0
            u, v, w = max(u * turn, 0.0), max(v * turn, 0.0), max(w * turn, 0.0)
            total = u + v + w
            if not total > 0.0:
                continue
            za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
            g = by_depth[y, x]
            gu = by_barycentrics[y, x, 0] + g * za
            gv = by_barycentrics[y, x, 1] + g * zb
            gw = by_barycentrics[y, x, 2] + g * zc
            mean = (gu * u + gv * v + gw * w) / total
            gu = (gu - mean) / total * turn if held_u else 0.0
            gv = (gv - mean) / total * turn if held_v else 0.0
            gw = (gw - mean) / total * turn if held_w else 0.0
            gax, gay = gw * by - gv * cy, gv * cx - gw * bx
            gbx, gby = gu * cy - gw * ay, gw * ax - gu * cx
            gcx, gcy = gv * ay - gu * by, gu * bx - gv * ax
            _add(by_points, a, gax, gay, g * u / total - dx * gax - dy * gay)
            _add(by_points, b, gbx, gby, g * v / total - dx * gbx - dy * gby)
            _add(by_points, c, gcx, gcy, g * w / total - dx * gcx - dy * gcy)
            # The ray moves against the corners, by their depths; the intrinsics move the ray.
            by_dx, by_dy = -(za * gax + zb * gbx + zc * gcx), -(za * gay + zb * gby + zc * gcy)
            by_K[0, 0] -= by_dx * dx / K[0, 0]
            by_K[1, 1] -= by_dy * dy / K[1, 1]
            by_K[0, 2] -= by_dx / K[0, 0]
            by_K[1, 2] -= by_dy / K[1, 1]


@kernel(order="written")
@no_type_check
def _slopes(uvs, points, faces, K, first_row, face, footprint):
    for row in range(face.shape[0]):
        for x in range(face.shape[1]):
            f = face[row, x]
            footprint[row, x, 0, 0] = footprint[row, x, 0, 1] = footprint[row, x, 1, 0] = footprint[row, x, 1, 1] = 0.0
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            dx, dy = _ray(K, x, first_row + row)
            ax, ay = _flat(points, a, dx, dy)
            bx, by = _flat(points, b, dx, dy)
            cx, cy = _flat(points, c, dx, dy)
            u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
            total = u + v + w
            if total == 0.0:
                continue
            za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
            ux, vx, wx = zc * by - zb * cy, za * cy - zc * ay, zb * ay - za * by
            uy, vy, wy = zb * cx - zc * bx, zc * ax - za * cx, za * bx - zb * ax
            sum_x, sum_y = ux + vx + wx, uy + vy + wy
            for k in range(2):
                s, t, r = uvs[f, 0, k], uvs[f, 1, k], uvs[f, 2, k]
                mean = (u * s + v * t + w * r) / total
                footprint[row, x, k, 0] = (ux * s + vx * t + wx * r - mean * sum_x) / total / K[0, 0]
                footprint[row, x, k, 1] = (uy * s + vy * t + wy * r - mean * sum_y) / total / K[1, 1]


@kernel(order="written", inline=True)
@no_type_check
def _add(by_points, vertex, x, y, z):
    by_points[vertex, 0] += x
    by_points[vertex, 1] += y
    by_points[vertex, 2] += z
