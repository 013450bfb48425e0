"""Grey images for matching: pyramids, the padded reference and sources packed for one load per bilinear sample."""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt32
from PIL import Image

from recon3d.core.kernels import kernel

BORDER = 5  # radius of the matching window
HEADER = 8  # numbers per neighbour before the images
MIN_SIDE = 60  # no scale is coarser than this many pixels along the shorter side


class Sources(NamedTuple):
    """The neighbours at one scale.

    ``packed`` starts with eight numbers per neighbour: where its image starts, its width and height, a zero, where its
    field starts, its width and height, a zero. Every entry of an image holds the four grey values of the bilinear
    samples right of and below a pixel's centre. ``maps`` holds three pixel maps of
    :mod:`recon3d.dense.stereo_geometry` per neighbour: into its image, into its field, and from its field back.
    ``fields`` are the planes and costs that were found for the neighbours before, one after the other; may be empty.
    """

    packed: UInt32[np.ndarray, " total"]
    maps: Float32[np.ndarray, "s 36"]
    fields: Float32[np.ndarray, "pixels 4"]


def grey_pyramid(image: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> list[UInt8[np.ndarray, "_h _w"]]:
    """Return the grey image at ``width`` x ``height`` and its halvings, finest first."""
    grey = Image.fromarray(image).convert("L")
    if grey.size != (width, height):
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    levels = [np.array(grey, np.uint8)]
    while min(levels[-1].shape) >= 2 * MIN_SIDE:
        levels.append(halve(levels[-1]))
    return levels


def halve(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h2 w2"]:
    """Average 2x2 pixels; an odd last row or column is dropped."""
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    blocks = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).astype(np.uint16)
    return np.asarray((blocks.sum((1, 3)) + 2) >> 2, np.uint8)


def padded_reference(
    grey: UInt8[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"] | None
) -> Float32[np.ndarray, "hp wp"]:
    """Return the image with a border of the window's radius; -1 outside and where the mask is False."""
    padded = np.full((grey.shape[0] + 2 * BORDER, grey.shape[1] + 2 * BORDER), -1, np.float32)
    padded[BORDER:-BORDER, BORDER:-BORDER] = grey if mask is None else np.where(mask, grey, np.float32(-1))
    return padded


def pack_sources(
    greys: list[UInt8[np.ndarray, "_h _w"]],
    fields: list[Float32[np.ndarray, "_fh _fw 4"]],
    maps: Float32[np.ndarray, "s 36"],
) -> Sources:
    """Pack the images and fields of the neighbours for the kernels; either list may be empty."""
    n = len(maps)
    start = HEADER * n + np.concatenate([[0], np.cumsum([grey.size for grey in greys])]).astype(np.int64)
    packed = np.zeros(int(start[-1]), np.uint32)
    header = packed[: HEADER * n].reshape(n, HEADER)
    for view, grey in enumerate(greys):
        header[view, :3] = start[view], grey.shape[1], grey.shape[0]
        _pack(np.ascontiguousarray(grey), packed[start[view] : start[view + 1]])
    first = 0
    for view, field in enumerate(fields):
        header[view, 4:7] = first, field.shape[1], field.shape[0]
        first += field.shape[0] * field.shape[1]
    flat = np.concatenate([field.reshape(-1, 4) for field in fields]) if fields else np.zeros((0, 4), np.float32)
    return Sources(packed, maps, flat)


@kernel
@no_type_check
def _pack(grey, packed):
    height, width = grey.shape
    for y in range(height):
        below = min(y + 1, height - 1)
        for x in range(width):
            right = min(x + 1, width - 1)
            top = np.uint32(grey[y, x]) | np.uint32(grey[y, right]) << np.uint32(8)
            bottom = np.uint32(grey[below, x]) | np.uint32(grey[below, right]) << np.uint32(8)
            packed[y * width + x] = np.uint32(top | bottom << np.uint32(16))
