"""Which blocks of 8x8x8 voxels lie around the surfaces that depth maps show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Int32, Int64

from recon3d.core.kernels import kernel
from recon3d.dense.tsdf_pixels import PixelRays

SIDE = 8
HALF_RANGE = 1 << 16  # blocks on either side of the origin: 20 bits for a voxel's coordinate
_BITS = 20
_BAND_PIXELS = 1 << 17
_STEP = 2.0
_AROUND = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))


@dataclass(frozen=True)
class Lattice:
    """Where the voxels are: voxel i is sampled at ``origin + voxel * i``; block b holds the voxels 8 b to 8 b + 7.

    Args:
        origin: world position of voxel 0.
        voxel: edge of a voxel in world units.
        truncation: distance from the surface up to which depth maps are trusted behind it, in world units.
        reach: depth whose pixels are wider than this many voxels is ignored.
    """

    origin: tuple[float, float, float]
    voxel: float
    truncation: float
    reach: float


def pack(coords: Int32[np.ndarray, "b 3"]) -> Int64[np.ndarray, " b"]:
    """Return one number per block, in the order of x, then y, then z."""
    x, y, z = (coords.astype(np.int64) + HALF_RANGE).T
    return np.asarray((x << 2 * _BITS) | (y << _BITS) | z, np.int64)


def unpack(keys: Int64[np.ndarray, " b"]) -> Int32[np.ndarray, "b 3"]:
    """Return the coordinates of blocks from their numbers."""
    low = (1 << _BITS) - 1
    parts = [keys >> 2 * _BITS, (keys >> _BITS) & low, keys & low]
    return np.asarray(np.stack(parts, -1) - HALF_RANGE, np.int32)


def blocks_of_map(pixels: PixelRays, lattice: Lattice) -> Int64[np.ndarray, " b"]:
    """Return the blocks that the rays of a map cross near its surface, packed and ascending.

    Args:
        pixels: the map.
        lattice: the voxels.

    Returns:
        Packed block coordinates, each once.
    """
    h, w = pixels.inverse_z.shape
    stride = _stride(pixels, lattice)
    n_steps = int(np.ceil(2 * lattice.truncation / (_STEP * lattice.voxel))) + 1
    rows = max(stride, _BAND_PIXELS * stride // max(w, 1) // stride * stride)
    found = np.zeros(0, np.int64)
    buffer = np.empty(-(-rows // stride) * -(-w // stride) * (n_steps + len(_AROUND)), np.int64)
    numbers = np.array([*lattice.origin, lattice.voxel, lattice.truncation, lattice.reach])
    for first in range(0, h, rows):
        last = min(first + rows, h)
        n = _segment_keys(
            pixels.inverse_z, pixels.lens, pixels.cam_from_world, numbers, (first, last, stride, n_steps), buffer
        )
        found = np.union1d(found, buffer[:n])
    return found


def _stride(pixels: PixelRays, lattice: Lattice) -> int:
    """Return how many pixels make up two voxels at the depth of nearly all pixels."""
    known = pixels.inverse_z[pixels.inverse_z > 0]
    if len(known) == 0:
        return 1
    width = 1.0 / (float(np.quantile(known, 0.1)) * float(pixels.lens[:2].min()))
    return int(np.clip(2 * lattice.voxel / width, 1, SIDE))


@kernel
@no_type_check
def _segment_keys(inverse, lens, pose, lattice, loop, out):
    """Write the packed blocks along the piece of every ray that lies within the truncation of its depth."""
    first, last, stride, n_steps = loop
    voxel, truncation, reach = lattice[3], lattice[4], lattice[5]
    n = 0
    for row in range(first, last, stride):
        y = (row + 0.5 - lens[3]) / lens[1]
        for col in range(0, inverse.shape[1], stride):
            if inverse[row, col] <= 0:
                continue
            z = 1.0 / inverse[row, col]
            if z > reach * voxel * min(lens[0], lens[1]):
                continue
            x = (col + 0.5 - lens[2]) / lens[0]
            n = _keys_of_ray(x, y, z, truncation, n_steps, pose, lattice, out, n)
    return n


@kernel
@no_type_check
def _keys_of_ray(x, y, z, truncation, n_steps, pose, lattice, out, n):
    previous = _key_at(x * z, y * z, z, pose, lattice)
    if previous >= 0:
        out[n] = previous
        n += 1
    for i, j, k in _AROUND:  # every cell that the surface crosses is complete
        key = _key_at(x * z + lattice[3] * i, y * z + lattice[3] * j, z + lattice[3] * k, pose, lattice)
        if key >= 0 and key != previous:
            out[n] = key
            n += 1
    for step in range(n_steps):
        depth = z - truncation + 2 * truncation * step / (n_steps - 1)
        key = _key_at(x * depth, y * depth, depth, pose, lattice)
        if key >= 0 and key != previous and depth > 0:
            out[n] = key
            n += 1
        previous = key
    return n


@kernel
@no_type_check
def _key_at(x, y, z, pose, lattice):
    """Return the packed block that holds a point of the camera, -1 outside the range."""
    x, y, z = x - pose[0, 3], y - pose[1, 3], z - pose[2, 3]
    key = np.int64(0)
    for axis in range(3):
        world = pose[0, axis] * x + pose[1, axis] * y + pose[2, axis] * z
        place = (world - lattice[axis]) / (lattice[3] * SIDE)
        if not (-HALF_RANGE <= place < HALF_RANGE - 1):
            return np.int64(-1)
        key = (key << _BITS) | (np.int64(np.floor(place)) + HALF_RANGE)
    return key


@kernel
@no_type_check
def find_block(keys, x, y, z):
    """Return the row of a block in the ascending packed keys, -1 where there is none."""
    key = (
        ((np.int64(x) + HALF_RANGE) << (2 * _BITS)) | ((np.int64(y) + HALF_RANGE) << _BITS) | (np.int64(z) + HALF_RANGE)
    )
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1
