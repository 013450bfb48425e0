"""Reprojection residuals and their derivatives in the unknowns that sigmas are stated in: centres, focal in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from recon3d.render.cameras import Cameras
from recon3d.scene import Points
from recon3d.sfm.bundle import linearise, make_problem

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
    # One focal length per camera: fy keeps its ratio to fx, and bundle.py differentiates by the logarithm.
    problem = make_problem(cameras, np.arange(len(cameras)), points)
    at = linearise(problem)
    pose = problem.pose[problem.view]
    x_cam = np.einsum("oij,oj->oi", pose[:, :3, :3], problem.xyz[problem.point]) + pose[:, :3, 3]
    valid = x_cam[:, 2] > 1e-9 * np.abs(x_cam).max(initial=1e-300)
    intrinsics = at.by_intrinsics[:, :, (0, 2, 3, 4, 5, 6, 7)]
    intrinsics[:, :, 0] /= cameras.K[problem.view, 0, 0][:, None]
    by_pose = np.concatenate([at.by_pose[:, :, :3], -at.by_point], axis=2)
    return Jacobian(np.where(valid[:, None], -at.residual, 0.0), by_pose, intrinsics, at.by_point, valid)
