"""Reprojection residuals and their derivatives by poses, intrinsics and points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points

INTRINSICS = ("focal", "cx", "cy", "k1", "k2", "p1", "p2")


@dataclass(frozen=True, eq=False)
class Jacobian:
    """Residuals (observed minus projected, pixels) and their derivatives, one row per observation.

    Args:
        residual: pixels, ``[o,2]``.
        pose: derivative of the projection by rotation (camera axes, rad) and centre (world), ``[o,2,6]``.
        intrinsics: by :data:`INTRINSICS`, ``[o,2,7]``.
        point: by the world point, ``[o,2,3]``.
        valid: observations of points in front of the camera, ``[o]``.
    """

    residual: Float64[np.ndarray, "o 2"]
    pose: Float64[np.ndarray, "o 2 6"]
    intrinsics: Float64[np.ndarray, "o 2 7"]
    point: Float64[np.ndarray, "o 2 3"]
    valid: Bool[np.ndarray, " o"]


def reprojection_jacobian(cameras: Cameras, points: Points) -> Jacobian:
    """Return residuals and derivatives of all observations.

    Args:
        cameras: cameras with or without distortion.
        points: points with observations.
    """
    view, rotation = points.obs_view, cameras.cam_from_world[:, :3, :3][points.obs_view]
    offset = points.xyz[points.obs_point] - cameras.centers[view]
    x_cam = np.einsum("oij,oj->oi", rotation, offset)
    valid = x_cam[:, 2] > 1e-9 * np.abs(x_cam).max(initial=1e-300)
    depth = np.where(valid, x_cam[:, 2], 1.0)
    xy = x_cam[:, :2] / depth[:, None]
    coefficients = np.zeros((len(cameras), 4)) if cameras.distortion is None else cameras.distortion
    distorted, by_xy, by_coefficients = _distortion_derivatives(xy, coefficients[view])
    focal = cameras.K[view][:, (0, 1), (0, 1)]
    by_cam = np.zeros((len(view), 2, 3))
    by_cam[:, 0, 0] = by_cam[:, 1, 1] = 1 / depth
    by_cam[:, :, 2] = -xy / depth[:, None]
    by_cam = focal[:, :, None] * np.einsum("oij,ojk->oik", by_xy, by_cam)
    by_point = np.einsum("oij,ojk->oik", by_cam, rotation)
    pose = np.concatenate([np.cross(x_cam[:, None], by_cam), -by_point], -1)
    intrinsics = np.zeros((len(view), 2, len(INTRINSICS)))
    # One focal length per group: fy keeps its ratio to fx.
    intrinsics[:, :, 0] = distorted * focal / focal[:, :1]
    intrinsics[:, 0, 1] = intrinsics[:, 1, 2] = 1.0
    intrinsics[:, :, 3:] = focal[:, :, None] * by_coefficients
    residual = points.obs_xy - (distorted * focal + cameras.K[view][:, :2, 2])
    return Jacobian(np.where(valid[:, None], residual, 0.0), pose, intrinsics, by_point, valid)


def _distortion_derivatives(
    xy: Float64[np.ndarray, "o 2"], coefficients: Float64[np.ndarray, "o 4"]
) -> tuple[Float64[np.ndarray, "o 2"], Float64[np.ndarray, "o 2 2"], Float64[np.ndarray, "o 2 4"]]:
    """Return distorted coordinates and their derivatives by the undistorted ones and by ``k1 k2 p1 p2``."""
    x, y = xy.T
    k1, k2, p1, p2 = coefficients.T
    r2 = x * x + y * y
    radial, slope = 1 + r2 * (k1 + r2 * k2), 2 * (k1 + 2 * r2 * k2)
    by_xy = np.empty((len(xy), 2, 2))
    by_xy[:, 0, 0] = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
    by_xy[:, 0, 1] = by_xy[:, 1, 0] = x * y * slope + 2 * p1 * x + 2 * p2 * y
    by_xy[:, 1, 1] = radial + y * y * slope + 2 * p2 * x + 6 * p1 * y
    by_coefficients = np.stack(
        [
            np.stack([x * r2, x * r2 * r2, 2 * x * y, r2 + 2 * x * x], -1),
            np.stack([y * r2, y * r2 * r2, r2 + 2 * y * y, 2 * x * y], -1),
        ],
        1,
    )
    shift = np.stack([2 * p1 * x * y + p2 * (r2 + 2 * x * x), 2 * p2 * x * y + p1 * (r2 + 2 * y * y)], -1)
    return xy * radial[:, None] + shift, by_xy, by_coefficients
