"""The network's depth in the pixels of undistorted photos and in the unit of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from recon3d.dense.types import DepthMap
from recon3d.feedforward.engine.stored import load_views
from recon3d.feedforward.engine.views import ViewEstimates
from recon3d.render.cameras import Cameras
from recon3d.scene import Scene
from recon3d.sfm.undistort import source_pixels

_MIN_OBSERVATIONS = 8


@dataclass(frozen=True)
class NetworkDepth:
    """Depth maps that wait for their scene.

    Args:
        path: file of the estimates.
        key: hash of everything that they depend on.
        keys: photo of each of them.
    """

    path: Path
    key: str
    keys: tuple[str, ...]

    @property
    def size(self) -> int:
        """Longer side of the network's images, in pixels."""
        height, width = load_views(self.path).depth_z.shape[1:]
        return int(max(height, width))

    def maps(self, scene: Scene, keys: Sequence[str], sized: Cameras) -> list[DepthMap]:
        """Return the depth maps of registered photos of a scene.

        Args:
            scene: cameras and points; the points set the scale of each map.
            keys: of the photos.
            sized: pinhole cameras of the maps, the scene's own at another size.
        """
        views = load_views(self.path)
        fallback = float(np.cbrt(np.linalg.det(scene.world_from_sfm[:3, :3])))
        found = []
        for row, key in enumerate(keys):
            camera, view = scene.camera_index(key), self.keys.index(key)
            factor = _factor(scene, camera, views, view, fallback)
            found.append(_resampled(views, view, _pixels(scene, camera, sized, row), factor))
        return found


def _pixels(scene: Scene, camera: int, sized: Cameras, row: int) -> Float64[np.ndarray, "h w 2"]:
    """Return where the pixel centres of a depth map lie in the photo as it was taken."""
    width, height = int(sized.width[row]), int(sized.height[row])
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    twin = scene.pinhole_cameras
    grid *= np.array([twin.width[camera] / width, twin.height[camera] / height])
    return source_pixels(grid, scene.cameras, camera, twin.K[camera]).reshape(height, width, 2)


def _factor(scene: Scene, camera: int, views: ViewEstimates, view: int, fallback: float) -> float:
    """Return scene units per unit of the network, from the points that a photo sees, or the whole scene's."""
    mine = scene.points.obs_view == camera
    points, xy = scene.points.xyz[scene.points.obs_point[mine]], scene.points.obs_xy[mine]
    if len(points) < _MIN_OBSERVATIONS:
        return fallback
    _, depth = scene.cameras.project(points, np.full(len(points), camera, np.int64))
    said, known = _nearest(views, view, _in_network(views, view, xy))
    known &= depth > 0
    if known.sum() < _MIN_OBSERVATIONS:
        return fallback
    return float(np.median(depth[known] / said[known]))


def _in_network(views: ViewEstimates, view: int, xy: Float64[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 2"]:
    place = views.placements[view]
    return np.asarray(xy * (place.scale_x, place.scale_y) + (place.offset_x, place.offset_y))


def _nearest(
    views: ViewEstimates, view: int, uv: Float64[np.ndarray, "*n 2"]
) -> tuple[Float32[np.ndarray, "*n"], Bool[np.ndarray, "*n"]]:
    """Return the usable depth of the pixel that each place falls into, 0 where there is none."""
    at, inside = _cells(views, uv)
    usable = inside & views.valid[view].ravel()[at]
    return np.where(usable, views.depth_z[view].ravel()[at], np.float32(0)), usable


def _cells(
    views: ViewEstimates, uv: Float64[np.ndarray, "*n 2"]
) -> tuple[Int64[np.ndarray, "*n"], Bool[np.ndarray, "*n"]]:
    height, width = views.depth_z.shape[1:]
    inside = np.isfinite(uv).all(axis=-1) & (uv >= 0).all(axis=-1) & (uv[..., 0] < width) & (uv[..., 1] < height)
    cell = np.where(inside[..., None], uv, 0.0).astype(np.int64)
    return cell[..., 1] * width + cell[..., 0], inside


def _resampled(views: ViewEstimates, view: int, xy: Float64[np.ndarray, "h w 2"], factor: float) -> DepthMap:
    """Return depth and sigma at places of a photo: between four usable pixels their mix, else the nearest of them."""
    uv = _in_network(views, view, xy)
    depth, usable = _nearest(views, view, uv)
    corner = np.floor(uv - 0.5)
    part = uv - 0.5 - corner
    total, whole = np.zeros(depth.shape), usable.copy()
    for right in (0, 1):
        for down in (0, 1):
            value, known = _nearest(views, view, corner + np.array([right + 0.5, down + 0.5]))
            weight = np.where(right, part[..., 0], 1 - part[..., 0]) * np.where(down, part[..., 1], 1 - part[..., 1])
            total += weight * value
            whole &= known
    at, _ = _cells(views, uv)
    sigma = np.where(usable, views.sigma[view].ravel()[at], np.float32(0))
    mixed = np.where(whole, total, depth)
    return DepthMap((factor * mixed).astype(np.float32), (factor * sigma).astype(np.float32))
