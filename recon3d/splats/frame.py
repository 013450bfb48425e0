"""The frame of the optimisation: the scene's centre at the origin, its typical depth as the unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from recon3d.core.errors import UsageError
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians.types import Gaussians

MIN_SEEN = 4


@dataclass(frozen=True, eq=False)
class Frame:
    """A similarity to a frame in which learning rates and limits mean the same for every scene.

    Args:
        centre: its origin in the world, ``[3]``.
        unit: its unit in world units: the typical depth at which the cameras see the scene.
        near: distance along camera z in front of which nothing is drawn, in units of the frame.
    """

    centre: Float64[np.ndarray, "3"]
    unit: float
    near: float

    def points(self, xyz_world: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, "p 3"]:
        """Return world points in the frame."""
        return np.asarray((xyz_world - self.centre) / self.unit)

    @property
    def frame_from_world(self) -> Float64[np.ndarray, "4 4"]:
        """The similarity as a matrix, ``[4,4]``."""
        matrix = np.eye(4)
        matrix[:3, :3] /= self.unit
        matrix[:3, 3] = -self.centre / self.unit
        return matrix

    def to_world(self, gaussians: Gaussians) -> Gaussians:
        """Return Gaussians of the frame in the world."""
        centre = torch.as_tensor(self.centre, dtype=torch.float64, device=gaussians.means.device)
        means = (gaussians.means.double() * self.unit + centre).to(gaussians.means.dtype)
        log_scales = gaussians.log_scales + float(np.log(self.unit))
        return Gaussians(
            means, gaussians.quats, log_scales, gaussians.opacity_logits, gaussians.sh, gaussians.colour_space
        )


def find_frame(cameras: Cameras, points_xyz: Float64[np.ndarray, "p 3"]) -> Frame:
    """Return the frame of a scene; medians keep single wrong points and far-away cameras from deciding it.

    Args:
        cameras: pinhole cameras.
        points_xyz: points in the world, ``[p,3]``; may be empty.

    Raises:
        UsageError: there is no camera.
    """
    if len(cameras) == 0:
        raise UsageError("a scene needs at least one camera", got=0)
    seen = [depths for i in range(len(cameras)) if len(depths := _depths(cameras, i, points_xyz)) >= MIN_SEEN]
    if not seen:
        return _frame_without_points(cameras)
    unit = float(np.median([np.median(depths) for depths in seen]))
    nearest = float(np.median([np.quantile(depths, 0.01) for depths in seen])) / unit
    axes = cameras.cam_from_world[:, 2, :3]
    centre = np.median(cameras.centers + axes * unit, axis=0)
    return Frame(centre, unit, float(np.clip(0.25 * nearest, 1e-3, 0.2)))


def _depths(cameras: Cameras, view: int, points_xyz: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, " m"]:
    """Return the depths of the points that lie inside one image."""
    index = np.full(len(points_xyz), view, np.int64)
    pixels, depth = cameras.pinhole().project(points_xyz, index)
    size = np.array([cameras.width[view], cameras.height[view]])
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)
    return np.asarray(depth[inside])


def _frame_without_points(cameras: Cameras) -> Frame:
    """Take the distance between cameras for the depth that they see."""
    centre = np.median(cameras.centers, axis=0)
    spread = float(np.median(np.linalg.norm(cameras.centers - centre, axis=1)))
    unit = 2.0 * spread if spread > 0 else 1.0
    return Frame(centre + np.median(cameras.cam_from_world[:, 2, :3], axis=0) * unit, unit, 0.02)
