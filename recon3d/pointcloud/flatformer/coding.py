"""Between boxes and the ten numbers that the head learns for each: place, sizes, angle, velocity."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from recon3d.pointcloud.flatformer.options import DetectorOptions


def encode_boxes(
    boxes: Float[Tensor, "n 7"], velocities: Float[Tensor, "n 2"], options: DetectorOptions
) -> tuple[Float[Tensor, "n 10"], Int64[Tensor, "n 2"]]:
    """Return the numbers of boxes, and the column and row of the cell that their centre lies in.

    The cell is the centre cut off towards zero, as in the released code.

    Args:
        boxes: centre, length, width, height (metres), yaw.
        velocities: metres per second; NaN where unknown.
        options: of the detector.
    """
    boxes = boxes.float()
    lower, size = boxes.new_tensor(options.maps.lower[:2]), boxes.new_tensor(options.maps.size[:2])
    place = (boxes[:, :2] - lower) / size
    cell = place.int()
    yaw = boxes[:, 6]
    if options.box_convention == "mmdet3d_v0":
        sides, turn = boxes[:, [4, 3, 5]], torch.stack([-yaw.cos(), -yaw.sin()], 1)  # r = -yaw - pi/2
    else:
        sides, turn = boxes[:, 3:6], torch.stack([yaw.sin(), yaw.cos()], 1)
    return torch.cat([place - cell, boxes[:, 2:3], sides.log(), turn, velocities.float()], 1), cell.long()


def decode_boxes(
    codes: Float[Tensor, "n c"], cells: Int64[Tensor, "n 2"], options: DetectorOptions
) -> tuple[Float[Tensor, "n 7"], Float[Tensor, "n 2"]]:
    """Return boxes and velocities from the numbers of the head; NaN velocities where it has none.

    Args:
        codes: as of :func:`encode_boxes`, or the first eight of them.
        cells: column and row.
        options: of the detector.
    """
    lower, size = codes.new_tensor(options.maps.lower[:2]), codes.new_tensor(options.maps.size[:2])
    centre = (cells + codes[:, :2]) * size + lower
    sides, (first, second) = codes[:, 3:6].exp(), codes[:, 6:8].unbind(1)
    if options.box_convention == "mmdet3d_v0":
        sides, yaw = sides[:, [1, 0, 2]], torch.atan2(-second, -first)
    else:
        yaw = torch.atan2(first, second)
    yaw = torch.where(yaw >= math.pi, -math.pi, yaw)
    boxes = torch.cat([centre, codes[:, 2:3], sides, yaw[:, None]], 1)
    return boxes, codes[:, 8:10] if codes.shape[1] > 8 else torch.full_like(centre, math.nan)


def map_cells(index: Int64[Tensor, "*n"], columns: int) -> Int64[Tensor, "*n 2"]:
    """Return column and row of cells that are numbered row by row.

    Args:
        index: of the cells.
        columns: of the map.
    """
    return torch.stack([index % columns, index // columns], -1)
