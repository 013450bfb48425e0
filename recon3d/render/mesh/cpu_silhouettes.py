"""Pairs of pixels that a silhouette edge parts: a numba kernel."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float64, Int8, Int32

from recon3d.core.kernels import kernel, run_chunks
from recon3d.render.mesh.cpu_exact import cross

_BAND = 16  # rows per chunk


def silhouettes(
    pixels: Float64[np.ndarray, "n v 2"],
    faces: Int32[np.ndarray, "f 3"],
    opposite: Int32[np.ndarray, "f 3"],
    face: Int32[np.ndarray, "n h w"],
    depth: Float[np.ndarray, "n h w"],
) -> Int8[np.ndarray, "n h w 2"]:
    """Return what parts each pixel from its right (0) and its lower (1) neighbour.

    Args:
        pixels: where the vertices are in the pictures; not a number behind the camera.
        faces: vertex indices.
        opposite: corners of the neighbouring faces.
        face: faces at the pixels.
        depth: depths at the pixels.

    Returns:
        0 = nothing; 1 + i = the edge opposite to corner i of the pixel's own face, 4 + i = of the neighbour's face.
    """
    code = np.zeros((*face.shape, 2), np.int8)
    bands = -(-face.shape[1] // _BAND)

    def work(chunk: int) -> None:
        camera, first = chunk // bands, chunk % bands * _BAND
        rows = slice(first, first + _BAND)
        _find(pixels[camera], faces, opposite, face[camera], depth[camera], first, code[camera, rows])

    run_chunks(work, len(face) * bands)
    return code


@kernel(order="written")
@no_type_check
def _find(pixels, faces, opposite, face, depth, first_row, code):
    height, width = face.shape
    for row in range(code.shape[0]):
        y = first_row + row
        for x in range(width):
            for axis in range(2):
                x2, y2 = x + 1 - axis, y + axis
                if x2 >= width or y2 >= height or face[y, x] == face[y2, x2]:
                    continue
                own, other = face[y, x], face[y2, x2]
                if other < 0 or (own >= 0 and depth[y, x] <= depth[y2, x2]):
                    edge = _parting(pixels, faces, opposite, own, x + 0.5, y + 0.5, 1.0, axis)
                    code[row, x, axis] = 1 + edge
                else:
                    edge = _parting(pixels, faces, opposite, other, x2 + 0.5, y2 + 0.5, -1.0, axis)
                    code[row, x, axis] = 4 + edge if edge >= 0 else 0


@kernel(order="written")
@no_type_check
def _parting(pixels, faces, opposite, f, px, py, step, axis):
    """Return the first silhouette edge of a face between a pixel's centre and the next one; -1 = none."""
    for i in range(3):
        tip, start, end = faces[f, i], faces[f, (i + 1) % 3], faces[f, (i + 2) % 3]
        a, b = pixels[start, axis] - (py if axis else px), pixels[start, 1 - axis] - (px if axis else py)
        c, d = pixels[end, axis] - (py if axis else px), pixels[end, 1 - axis] - (px if axis else py)
        if (b <= 0.0) == (d <= 0.0):
            continue
        along, across = abs(c - a), abs(d - b)
        if not (along <= across if axis == 0 else along < across):  # also not a number
            continue
        place = (a * d - c * b) / (d - b) * step
        if not (place >= 0.0 and place <= 1.0):
            continue
        if opposite[f, i] >= 0:
            sx, sy, ex, ey = pixels[start, 0], pixels[start, 1], pixels[end, 0], pixels[end, 1]
            near = cross(sx, sy, ex, ey, pixels[tip, 0], pixels[tip, 1])
            far = cross(sx, sy, ex, ey, pixels[opposite[f, i], 0], pixels[opposite[f, i], 1])
            if not near * far > 0.0:
                continue
        return i
    return -1
