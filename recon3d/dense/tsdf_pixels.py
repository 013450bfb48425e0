"""What one depth map says about the surface at each pixel: inverse depth, slant and weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from recon3d.core.errors import ShapeError
from recon3d.core.kernels import kernel, run_chunks
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras

_RADIUS = 3
_ROWS = 32
_SAME_SURFACE = 0.05
_FEWEST = 6
_RIDGE = 0.01


@dataclass(frozen=True, eq=False)
class PixelRays:
    """Where the surface lies on the ray of every pixel of one map.

    Args:
        inverse_z: 1 / depth along camera z, ``[h,w]``; 0 = none.
        lens: focal lengths and principal point fx fy cx cy in pixels of this map, ``[4]``.
        cam_from_world: pose, ``[4,4]``.
    """

    inverse_z: Float32[np.ndarray, "h w"]
    lens: Float64[np.ndarray, " 4"]
    cam_from_world: Float64[np.ndarray, "4 4"]

    @classmethod
    def of(cls, depth_z: Float32[np.ndarray, "h w"], cameras: Cameras, index: int) -> PixelRays:
        """Return the rays of a depth map that one of the cameras took."""
        valid = np.isfinite(depth_z) & (depth_z > 0)
        inverse = np.where(valid, 1.0 / np.where(valid, depth_z, 1.0), 0.0).astype(np.float32)
        return cls(inverse, map_lens(cameras, index, *depth_z.shape), cameras.cam_from_world[index])


@dataclass(frozen=True, eq=False)
class PixelMap:
    """One depth map as the fusion reads it.

    Args:
        rays: where the surface lies.
        slant: distance of a plane per depth along camera z: ``|n . (x, y, 1)|`` with the unit normal and the ray of the
            pixel; multiplies differences of z to distances from the surface, ``[h,w]``.
        weight: how much the pixel counts, ``[h,w]``; 1 = straight on and of the usual sigma, 2 = exact, 0 = not at all.
        rgb: sRGB colours, ``[h,w,3]``.
    """

    rays: PixelRays
    slant: Float32[np.ndarray, "h w"]
    weight: Float32[np.ndarray, "h w"]
    rgb: UInt8[np.ndarray, "h w 3"]


def map_lens(cameras: Cameras, index: int, height: int, width: int) -> Float64[np.ndarray, " 4"]:
    """Return fx fy cx cy of a camera in the pixels of a map of another size, ``[4]``.

    Args:
        cameras: pinhole cameras.
        index: which of them.
        height: rows of the map.
        width: columns of the map.
    """
    K, x, y = cameras.K[index], width / cameras.width[index], height / cameras.height[index]
    return np.array([K[0, 0] * x, K[1, 1] * y, K[0, 2] * x, K[1, 2] * y])


def prepare_pixels(
    depth: DepthMap, rgb: UInt8[np.ndarray, "h w 3"], cameras: Cameras, index: int, usual_sigma: float
) -> PixelMap:
    """Work out slant and weight of every pixel.

    The slant comes from the normals of the map or, without them, from :func:`depth_normals`. The weight is the cosine
    between normal and ray times 2 / (1 + (sigma / usual sigma)^2).

    Args:
        depth: depth map, ``[h,w]``.
        rgb: colours of the same size, ``[h,w,3]``.
        cameras: pinhole cameras.
        index: which of them took the photo.
        usual_sigma: sigma of a pixel of weight 1 in world units; 0 = sigma does not matter.

    Raises:
        ShapeError: colours and depth differ in size.
    """
    h, w = depth.depth_z.shape
    if rgb.shape != (h, w, 3):
        raise ShapeError("colours and depth differ in size", got=rgb.shape, expected=(h, w, 3))
    rays = PixelRays.of(depth.depth_z, cameras, index)
    inverse, lens = rays.inverse_z, rays.lens.astype(np.float32)
    normals = depth_normals(rays) if depth.normal_cam is None else depth.normal_cam
    slant, weight = np.zeros_like(inverse), np.zeros_like(inverse)

    def rows(chunk: int) -> None:
        first, last = chunk * _ROWS, min((chunk + 1) * _ROWS, h)
        _find_slant(inverse, normals, lens, first, last, slant, weight)

    run_chunks(rows, -(-h // _ROWS))
    weight *= np.float32(2.0)
    if usual_sigma > 0:
        weight /= 1 + (depth.sigma / np.float32(usual_sigma)) ** 2
    return PixelMap(rays, slant, weight, np.ascontiguousarray(rgb))


def depth_normals(rays: PixelRays) -> Float32[np.ndarray, "h w 3"]:
    """Return the normals of a depth map in camera axes, towards the camera.

    They belong to the planes that fit 1/z best in the 7x7 pixels of the same surface around each pixel; on a plane, 1/z
    is affine in the pixel.

    Args:
        rays: the depth map.

    Returns:
        Unit normals, ``[h,w,3]``; zeros where there is no depth or fewer than six pixels of the same surface.
    """
    normals = np.zeros((*rays.inverse_z.shape, 3), np.float32)
    lens, h = rays.lens.astype(np.float32), len(normals)

    def rows(chunk: int) -> None:
        _fit_normals(rays.inverse_z, lens, chunk * _ROWS, min((chunk + 1) * _ROWS, h), normals)

    run_chunks(rows, -(-h // _ROWS))
    return normals


@kernel
@no_type_check
def _fit_normals(inverse, lens, first, last, normals):
    """With 1/z = A x + B y + C the plane is (A, B, C) . (x, y, 1) z = 1, and (A, B, C) looks away from the camera."""
    for row in range(first, last):
        y = (np.float32(row) + np.float32(0.5) - lens[3]) / lens[1]
        for col in range(inverse.shape[1]):
            q = inverse[row, col]
            if q <= np.float32(0):
                continue
            x = (np.float32(col) + np.float32(0.5) - lens[2]) / lens[0]
            a, b, n = _fit_window(inverse, row, col, q)
            if n < _FEWEST:
                continue
            a, b = a * lens[0], b * lens[1]
            c = q - a * x - b * y
            length = np.sqrt(a * a + b * b + c * c)
            normals[row, col, 0], normals[row, col, 1], normals[row, col, 2] = -a / length, -b / length, -c / length


@kernel
@no_type_check
def _fit_window(inverse, row, col, q):
    """Return the slopes of 1/z along columns and rows around a pixel, and how many pixels they rest on."""
    h, w = inverse.shape
    sxx = sxy = syy = sx = sy = sxq = syq = sq = np.float32(0)
    n = 0
    for r in range(max(row - _RADIUS, 0), min(row + _RADIUS + 1, h)):
        for c in range(max(col - _RADIUS, 0), min(col + _RADIUS + 1, w)):
            d = inverse[r, c] - q
            if inverse[r, c] > np.float32(0) and abs(d) < np.float32(_SAME_SURFACE) * q:
                x, y = np.float32(c - col), np.float32(r - row)
                sxx += x * x
                sxy += x * y
                syy += y * y
                sx += x
                sy += y
                sxq += x * d
                syq += y * d
                sq += d
                n += 1
    m = np.float32(n)
    ridge = np.float32(_RIDGE)  # for pixels on a line
    xx, xy, yy = sxx - sx * sx / m + ridge, sxy - sx * sy / m, syy - sy * sy / m + ridge
    xq, yq = sxq - sx * sq / m, syq - sy * sq / m
    det = xx * yy - xy * xy
    return (yy * xq - xy * yq) / det, (xx * yq - xy * xq) / det, n


@kernel
@no_type_check
def _find_slant(inverse, normal, lens, first, last, slant, weight):
    w = inverse.shape[1]
    for row in range(first, last):
        y = (np.float32(row) + np.float32(0.5) - lens[3]) / lens[1]
        for col in range(w):
            x = (np.float32(col) + np.float32(0.5) - lens[2]) / lens[0]
            if inverse[row, col] > np.float32(0):
                n = normal[row, col]
                ray = np.sqrt(x * x + y * y + np.float32(1))
                # At least a tenth of straight on; without a normal it would be no surface.
                facing = abs(n[0] * x + n[1] * y + n[2])
                slant[row, col] = min(max(facing, np.float32(0.1) * ray), ray)
                weight[row, col] = slant[row, col] / ray if facing > np.float32(0) else np.float32(0)
