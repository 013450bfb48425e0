"""Planes in inverse depth, and how they map pixels of one photo to another.

A plane seen by a pinhole camera has an inverse depth that is affine in the pixel: ``w(u, v) = w0 + wu du + wv dv``. A
pixel hypothesis is therefore the triple ``(w, wu, wv)``: inverse depth along z at the pixel's centre and its slopes per
pixel. A neighbour's plane is carried over by two multiplications, and the pixel in another photo is
``A (u, v, 1) + w e`` with ``A = K' R K^-1`` and ``e = K' t``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from recon3d.render.cameras import Cameras


def halved_cameras(cameras: Cameras, n_times: int) -> Cameras:
    """Return the cameras of the photos after ``n_times`` averages over 2x2 pixels; an odd last row is dropped."""
    K = cameras.K.copy()
    K[:, :2] *= 0.5**n_times
    return replace(cameras, K=K, width=cameras.width >> n_times, height=cameras.height >> n_times)


def pixel_maps(
    origin: Cameras, view: Int64[np.ndarray, " s"], target: Cameras, other: Int64[np.ndarray, " s"]
) -> Float32[np.ndarray, "s 12"]:
    """Return row-major ``A`` and ``e`` that map pixels of ``origin[view]`` with inverse depth w into ``target[other]``.

    The two batches hold the same photos, perhaps at different scales.
    """
    relative = target.cam_from_world[other] @ origin.world_from_cam[view]
    K = target.K[other]
    A = K @ relative[:, :3, :3] @ np.linalg.inv(origin.K[view])
    e = np.einsum("nij,nj->ni", K, relative[:, :3, 3])
    return np.concatenate([A.reshape(-1, 9), e], 1).astype(np.float32)


def plane_normals(planes: Float32[np.ndarray, "h w 3"], K: Float64[np.ndarray, "3 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Return the unit normals towards the camera, in camera axes, of planes ``(w, wu, wv)``; zero where w is 0."""
    height, width = planes.shape[:2]
    w, wu, wv = planes[..., 0], planes[..., 1], planes[..., 2]
    fx, fy, cx, cy = K[(0, 1, 0, 1), (0, 1, 2, 2)].astype(np.float32)
    u = np.arange(width, dtype=np.float32) + np.float32(0.5) - cx
    v = (np.arange(height, dtype=np.float32) + np.float32(0.5) - cy)[:, None]
    # w = pi . (u, v, 1) and (u, v, 1) = K X / z, so (K^T pi) . X = 1 on the plane; u and v from the principal point
    normal = np.stack([wu * -fx, wv * -fy, wu * u + wv * v - w], -1)
    length = np.sqrt(np.einsum("hwc,hwc->hw", normal, normal))
    normal *= np.where((w > 0) & (length > 0), 1 / np.maximum(length, np.float32(1e-30)), np.float32(0))[..., None]
    return normal
