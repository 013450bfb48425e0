"""A truncated signed distance field in sparse blocks of voxels, and how depth maps are averaged into it.

Curless and Levoy, "A volumetric method for building complex models from range images", SIGGRAPH 1996, with distances to
the plane of each pixel instead of along its ray, and weights that fall off behind the surface (Bylow et al., RSS 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from recon3d.core.kernels import kernel, run_chunks
from recon3d.dense.tsdf_blocks import SIDE, Lattice, unpack
from recon3d.dense.tsdf_pixels import PixelMap

N_VOXELS = SIDE**3
BYTES_PER_BLOCK = N_VOXELS * (4 + 4 + 16 + 1)
_BLOCKS_PER_CHUNK = 64
_MAX_VIEWS = 255
_SMOOTH = 0.02


@dataclass(frozen=True, eq=False)
class TsdfVolume:
    """The field; voxel (x, y, z) of a block lies at column ``(8 x + y) 8 + z``.

    Args:
        lattice: where the voxels are.
        keys: packed coordinates of the blocks, ascending, ``[b]``.
        distance: mean signed distance in truncations, positive in front of the surface, between -1 and 1, ``[b,512]``.
        weight: sum of the weights, ``[b,512]``; 0 = never seen.
        colour: weighted sum of sRGB (0 to 255) and its weight, ``[b,512,4]``.
        n_views: number of maps that showed the surface within the truncation, ``[b,512]``.
    """

    lattice: Lattice
    keys: Int64[np.ndarray, " b"]
    distance: Float32[np.ndarray, "b n"]
    weight: Float32[np.ndarray, "b n"]
    colour: Float32[np.ndarray, "b n 4"]
    n_views: UInt8[np.ndarray, "b n"]

    @classmethod
    def empty(cls, lattice: Lattice, keys: Int64[np.ndarray, " b"]) -> TsdfVolume:
        """Return blocks that nothing is known about; 13 kB each."""
        shape = (len(keys), N_VOXELS)
        fields = (np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros((*shape, 4), np.float32))
        return cls(lattice, keys, *fields, np.zeros(shape, np.uint8))

    def integrate(self, pixels: PixelMap) -> None:
        """Average one depth map into the field.

        Blocks are spread over threads and maps come one after the other, so no bit depends on the threads.

        Args:
            pixels: the map.
        """
        coords = unpack(self.keys)
        lattice = self.lattice
        numbers = np.array([*lattice.origin, lattice.voxel, lattice.truncation, lattice.reach])
        rays = pixels.rays
        maps = (rays.inverse_z, pixels.slant, pixels.weight, pixels.rgb)
        fields = (self.distance, self.weight, self.colour, self.n_views)

        def blocks(chunk: int) -> None:
            first, last = chunk * _BLOCKS_PER_CHUNK, min((chunk + 1) * _BLOCKS_PER_CHUNK, len(coords))
            _integrate_blocks(first, last, coords, numbers, rays.lens, rays.cam_from_world, maps, fields)

        run_chunks(blocks, -(-len(coords) // _BLOCKS_PER_CHUNK))


@kernel
@no_type_check
def _integrate_blocks(first, last, coords, lattice, lens, pose, maps, fields):
    h, w = maps[0].shape
    for block in range(first, last):
        corner = np.empty(3, np.float64)
        for row in range(3):
            corner[row] = pose[row, 3]
            for axis in range(3):
                corner[row] += pose[row, axis] * (lattice[axis] + lattice[3] * SIDE * coords[block, axis])
        if _in_view(corner, lattice[3], lens, pose, h, w):
            _integrate_block(block, corner, lattice, lens, pose, maps, fields)


@kernel
@no_type_check
def _in_view(corner, voxel, lens, pose, h, w):
    """Return whether the sphere around a block may touch the view."""
    half = 0.5 * voxel * (SIDE - 1)
    x = corner[0] + half * (pose[0, 0] + pose[0, 1] + pose[0, 2])
    y = corner[1] + half * (pose[1, 0] + pose[1, 1] + pose[1, 2])
    z = corner[2] + half * (pose[2, 0] + pose[2, 1] + pose[2, 2])
    radius = 1.7321 * half
    if z <= -radius:
        return False
    for focal, centre, size, at in ((lens[0], lens[2], w, x), (lens[1], lens[3], h, y)):
        # Distances to the planes through the centre of projection and the borders of the image.
        low, high = centre / focal, (size - centre) / focal
        if at + low * z < -radius * np.sqrt(1 + low * low) or high * z - at < -radius * np.sqrt(1 + high * high):
            return False
    return True


@kernel
@no_type_check
def _integrate_block(block, corner, lattice, lens, pose, maps, fields):
    voxel, f = np.float32(lattice[3]), lens.astype(np.float32)
    step = (pose[:3, :3] * lattice[3]).astype(np.float32)
    base = corner.astype(np.float32)
    farthest = np.float32(lattice[5] * lattice[3] * min(lens[0], lens[1]))
    tau, h, w = np.float32(lattice[4]), maps[0].shape[0], maps[0].shape[1]
    for index in range(N_VOXELS):
        i, j, k = np.float32(index >> 6), np.float32((index >> 3) & 7), np.float32(index & 7)
        z = base[2] + step[2, 0] * i + step[2, 1] * j + step[2, 2] * k
        if z <= voxel:
            continue
        u = f[0] * (base[0] + step[0, 0] * i + step[0, 1] * j + step[0, 2] * k) / z + f[2]
        v = f[1] * (base[1] + step[1, 0] * i + step[1, 1] * j + step[1, 2] * k) / z + f[3]
        if not (u >= 0 and v >= 0 and u < w and v < h):
            continue
        col, row = int(u), int(v)
        if maps[2][row, col] <= np.float32(0):
            continue
        depth = np.float32(1) / _inverse_at(maps[0], u, v, row, col)
        if depth > farthest:
            continue
        # Along the ray, not across: a grazing ray would leave a curved body again within the truncation.
        if z - depth < tau:
            _update(block, index, (depth - z) * maps[1][row, col], tau, maps, row, col, fields)


@kernel
@no_type_check
def _inverse_at(inverse, u, v, row, col):
    """Return 1/z between the pixels where all four belong to one surface, else at the nearest one."""
    h, w = inverse.shape
    x, y = u - np.float32(0.5), v - np.float32(0.5)
    left, top = int(np.floor(x)), int(np.floor(y))
    centre = inverse[row, col]
    if left < 0 or top < 0 or left + 1 >= w or top + 1 >= h:
        return centre
    a, b = inverse[top, left], inverse[top, left + 1]
    c, d = inverse[top + 1, left], inverse[top + 1, left + 1]
    if max(max(a, b), max(c, d)) - min(min(a, b), min(c, d)) > np.float32(_SMOOTH) * centre:
        return centre
    x, y = x - np.float32(left), y - np.float32(top)
    upper, lower = a + x * (b - a), c + x * (d - c)
    return upper + y * (lower - upper)


@kernel
@no_type_check
def _update(block, index, distance, tau, maps, row, col, fields):
    """Average one observation into a voxel."""
    value = min(distance / tau, np.float32(1))
    weight = maps[2][row, col]
    if value < np.float32(-0.25):  # far behind the surface another one may begin
        weight *= (np.float32(1) + value) / np.float32(0.75)
    total = fields[1][block, index] + weight
    if total <= np.float32(0):
        return
    fields[0][block, index] += (value - fields[0][block, index]) * weight / total
    fields[1][block, index] = total
    if abs(value) < np.float32(1) and fields[3][block, index] < _MAX_VIEWS:
        fields[3][block, index] += np.uint8(1)
    if abs(value) < np.float32(0.5):
        colour = fields[2][block, index]
        for channel in range(3):
            colour[channel] += weight * np.float32(maps[3][row, col, channel])
        colour[3] += weight
