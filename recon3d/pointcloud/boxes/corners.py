"""The corners of boxes, and the points inside them."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float

from recon3d.core.kernels import kernel, run_chunks
from recon3d.pointcloud.boxes.arrays import Array, as_given, as_rows

# Along the length, the width and the height: the bottom counter-clockwise from the front left, then the top.
_SIGNS = np.array([[1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1], [1, 1, 1], [-1, 1, 1], [-1, -1, 1], [1, -1, 1]])


def box_corners(boxes: Float[Array, "n c"]) -> Float[Array, "n 8 3"]:
    """Return the corners: of the bottom front left, rear left, rear right, front right; then those above them.

    Args:
        boxes: oriented boxes ``[n,7]``; more columns are left out.

    Raises:
        ShapeError: fewer than seven columns.
        InputError: a number is not finite.
    """
    rows = as_rows(boxes, 7, "boxes")
    offsets = rows[:, None, 3:6] / 2 * _SIGNS
    cosine, sine = np.cos(rows[:, 6:]), np.sin(rows[:, 6:])
    x = cosine * offsets[..., 0] - sine * offsets[..., 1]
    y = sine * offsets[..., 0] + cosine * offsets[..., 1]
    return as_given(rows[:, None, :3] + np.stack([x, y, offsets[..., 2]], -1), boxes)


def points_in_boxes(points: Float[Array, "p c"], boxes: Float[Array, "n c2"]) -> Bool[Array, "n p"]:
    """Return which points lie in which box; a point on a face is inside.

    Args:
        points: x, y, z and anything else, ``[p,3]``; one that is not finite is in no box.
        boxes: oriented boxes ``[n,7]``; more columns are left out.

    Raises:
        ShapeError: too few columns.
        InputError: a number of a box is not finite.
    """
    xyz, rows = as_rows(points, 3, "points", finite=False), as_rows(boxes, 7, "boxes")
    inside = np.zeros((len(rows), len(xyz)), np.bool_)
    turns = np.column_stack([np.cos(rows[:, 6]), np.sin(rows[:, 6])])
    run_chunks(lambda row: _mark(xyz, rows[row], turns[row], inside[row]), len(rows))
    return as_given(inside, points)


@kernel(order="written")
@no_type_check
def _mark(xyz, box, turn, inside):
    for point in range(len(xyz)):
        dx, dy, dz = xyz[point, 0] - box[0], xyz[point, 1] - box[1], xyz[point, 2] - box[2]
        along, across = turn[0] * dx + turn[1] * dy, turn[0] * dy - turn[1] * dx
        inside[point] = abs(along) <= box[3] / 2 and abs(across) <= box[4] / 2 and abs(dz) <= box[5] / 2
