"""Statistics of a scene that the report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float64

from recon3d.scene import Scene

_MAX_LAG = 64  # pairs of observations further apart in a track are left out of the angle statistics


@dataclass(frozen=True)
class PhotoStats:
    """Numbers of one registered photo.

    Args:
        n_observations: points that it sees.
        mean_error_px: mean reprojection error; NaN without observations.
        sigma_rotation_deg: the largest standard deviation about a camera axis; NaN = unknown.
        sigma_position: the largest standard deviation along a world axis, world units; NaN = unknown.
        camera_group: photos with equal numbers share intrinsics.
    """

    n_observations: int
    mean_error_px: float
    sigma_rotation_deg: float
    sigma_position: float
    camera_group: int


@dataclass(frozen=True)
class LensStats:
    """Intrinsics of one camera group, for the first of its photos.

    Args:
        camera_group: number of the group.
        n_photos: registered photos of the group.
        size: width and height in pixels.
        focal_px: fx and fy.
        principal_px: cx and cy.
        distortion: k1, k2, p1, p2; empty for a pinhole.
    """

    camera_group: int
    n_photos: int
    size: tuple[int, int]
    focal_px: tuple[float, float]
    principal_px: tuple[float, float]
    distortion: tuple[float, ...]

    @property
    def focal_35mm(self) -> float:
        """Focal length of a 35 mm film camera with the same diagonal field of view, in millimetres."""
        return float(np.mean(self.focal_px) * 43.267 / np.hypot(*self.size))

    @property
    def horizontal_fov_deg(self) -> float:
        """Horizontal field of view, without distortion."""
        return float(np.degrees(2 * np.arctan(self.size[0] / (2 * self.focal_px[0]))))


def observation_errors(scene: Scene) -> Float64[np.ndarray, " o"]:
    """Return the reprojection error of every observation in pixels; points behind their camera are left out."""
    errors = _residuals(scene)
    finite: Float64[np.ndarray, " o"] = errors[np.isfinite(errors)]
    return finite


def _residuals(scene: Scene) -> Float64[np.ndarray, " o"]:
    points = scene.points
    pixels, _ = scene.cameras.project(points.xyz[points.obs_point], points.obs_view.astype(np.int64))
    return cast("Float64[np.ndarray, ' o']", np.linalg.norm(pixels - points.obs_xy, axis=1))


def photo_stats(scene: Scene) -> list[PhotoStats]:
    """Return the numbers of every registered photo, in the order of ``scene.cameras``."""
    errors = _residuals(scene)
    rows = []
    for index, view in enumerate(scene.registered):
        mine = errors[scene.points.obs_view == index]
        finite = mine[np.isfinite(mine)]
        mean = float(finite.mean()) if len(finite) else float("nan")
        sigma = scene.pose_sigma[index]
        rows.append(PhotoStats(len(mine), mean, float(sigma[:3].max()), float(sigma[3:].max()), view.camera_group))
    return rows


def lens_stats(scene: Scene) -> list[LensStats]:
    """Return the intrinsics of every camera group, by group number."""
    groups = [view.camera_group for view in scene.registered]
    rows = []
    for group in sorted(set(groups)):
        index = groups.index(group)
        K, distortion = scene.cameras.K[index], scene.cameras.distortion
        size = (int(scene.cameras.width[index]), int(scene.cameras.height[index]))
        coefficients = () if distortion is None else tuple(float(value) for value in distortion[index])
        focal, principal = (float(K[0, 0]), float(K[1, 1])), (float(K[0, 2]), float(K[1, 2]))
        rows.append(LensStats(group, groups.count(group), size, focal, principal, coefficients))
    return rows


def triangulation_angles(scene: Scene) -> Float64[np.ndarray, " p"]:
    """Return the widest angle in degrees between two rays of each point's track; 0 for tracks of one photo."""
    points = scene.points
    rays = points.xyz[points.obs_point] - scene.cameras.centers[points.obs_view]
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True).clip(1e-300)
    widest = np.zeros(len(points))
    longest = int(points.track_length.max(initial=0))
    for lag in range(1, min(longest, _MAX_LAG + 1)):
        same = np.flatnonzero(points.obs_point[lag:] == points.obs_point[:-lag])
        # The chord keeps its digits where the arc cosine of a dot product near 1 loses them.
        chord = np.linalg.norm(rays[same + lag] - rays[same], axis=1)
        angle = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1)))
        np.maximum.at(widest, points.obs_point[same], angle)
    return widest
