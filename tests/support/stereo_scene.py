"""A small scene with exact depth and normals: a ball in front of a tilted wall, both with a solid texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recon3d.render.cameras import Cameras
from recon3d.scene import Points

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BallAndWall:
    """The scene, photographed from an arc.

    Args:
        n_views: photos; neighbours are ``step_deg`` apart, seen from the middle of the scene.
        width: photo width in pixels.
        height: photo height in pixels.
        step_deg: angle between neighbours.
        contrast: grey levels of the texture; 0 = flat grey.
        noise: standard deviation of the sensor noise in grey levels.
        wall_only: leave the ball out.
    """

    n_views: int = 5
    width: int = 96
    height: int = 72
    step_deg: float = 5.0
    contrast: float = 60.0
    noise: float = 0.0
    wall_only: bool = False
    ball: tuple[float, float, float] = (0.15, -0.1, 0.0)
    radius: float = 0.55

    @property
    def wall_normal(self) -> Array:
        """Unit normal of the wall, towards the cameras."""
        return np.asarray(np.array([0.25, 0.3, -1.0]) / np.linalg.norm([0.25, 0.3, -1.0]))

    def cameras(self) -> Cameras:
        """Cameras at distance 4 that look at the origin."""
        angles = np.radians((np.arange(self.n_views) - (self.n_views - 1) / 2) * self.step_deg)
        poses = np.tile(np.eye(4), (self.n_views, 1, 1))
        poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angles)
        poses[:, 0, 2], poses[:, 2, 0] = -np.sin(angles), np.sin(angles)
        poses[:, 2, 3] = 4.0
        poses[:, 1, 3] = 0.3 * np.where(np.arange(self.n_views) % 2, 1, -1)
        K = np.array([[1.1 * self.width, 0, 0.52 * self.width], [0, 1.1 * self.width, 0.49 * self.height], [0, 0, 1]])
        sizes = np.full(self.n_views, self.width, np.int64), np.full(self.n_views, self.height, np.int64)
        return Cameras(poses, np.tile(K, (self.n_views, 1, 1)), *sizes)

    def hit(self, view: int, samples: int = 1) -> tuple[Array, Array, Array]:
        """Depth along z ``[h,w]``, world points and unit normals in camera axes ``[h,w,3]`` per sub-pixel."""
        cameras = self.cameras()
        u = (np.arange(self.width * samples) + 0.5) / samples
        v = (np.arange(self.height * samples) + 0.5) / samples
        pixels = np.stack([*np.meshgrid(u, v), np.ones((len(v), len(u)))], -1)
        rays = pixels @ np.linalg.inv(cameras.K[view]).T @ cameras.cam_from_world[view, :3, :3]
        center = cameras.centers[view]
        t = (1.2 * -self.wall_normal - center) @ self.wall_normal / (rays @ self.wall_normal)
        normal = np.broadcast_to(self.wall_normal, rays.shape).copy()
        to_ball = center - np.array(self.ball)
        a, b = (rays**2).sum(-1), rays @ to_ball
        inside = b * b - a * (to_ball @ to_ball - self.radius**2)
        near = (-b - np.sqrt(np.maximum(inside, 0))) / a
        on_ball = (inside > 0) & (near < t) & (not self.wall_only)
        t = np.where(on_ball, near, t)
        points = center + t[..., None] * rays
        normal[on_ball] = ((points - np.array(self.ball)) / self.radius)[on_ball]
        return t, points, normal @ cameras.cam_from_world[view, :3, :3].T

    def depth(self, view: int) -> Array:
        """True depth along z at the pixel centres."""
        return self.hit(view)[0]

    def normals(self, view: int) -> Array:
        """True unit normals in camera axes."""
        return self.hit(view)[2]

    def photos(self) -> list[npt.NDArray[np.uint8]]:
        """Render all photos, 2x2 rays per pixel."""
        rng = np.random.default_rng(4)
        photos = []
        for view in range(self.n_views):
            grey = 128 + self.contrast * _texture(self.hit(view, 2)[1])
            grey = grey.reshape(self.height, 2, self.width, 2).mean((1, 3))
            grey += self.noise * rng.standard_normal(grey.shape)
            photos.append(np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, 2))
        return photos

    def points(self, n_per_view: int = 30) -> Points:
        """Exact sparse points with the photos that see them."""
        rng, cameras = np.random.default_rng(5), self.cameras()
        seen = [self.hit(view)[1].reshape(-1, 3) for view in range(self.n_views)]
        xyz = np.concatenate([rng.permutation(points)[:n_per_view] for points in seen])
        point, view_of, xy_of = [], [], []
        for view in range(self.n_views):
            xy, z = cameras.project(xyz, np.full(len(xyz), view))
            column, row = np.floor(xy).astype(int).T
            inside = (column >= 0) & (row >= 0) & (column < self.width) & (row < self.height)
            depth = self.depth(view)[np.clip(row, 0, self.height - 1), np.clip(column, 0, self.width - 1)]
            visible = np.flatnonzero(inside & (np.abs(z - depth) < 0.05))
            point.append(visible)
            view_of.append(np.full(len(visible), view))
            xy_of.append(xy[visible])
        order = np.argsort(np.concatenate(point), kind="stable")
        index = np.concatenate(point)[order].astype(np.int32)
        views, pixels = np.concatenate(view_of)[order].astype(np.int32), np.concatenate(xy_of)[order]
        grey = np.full((len(xyz), 3), 128, np.uint8)
        return Points(xyz, grey, np.zeros(len(xyz)), np.full(len(xyz), np.nan), index, views, pixels)


def _texture(points: Array) -> Array:
    """A solid texture with detail from a tenth of a unit to the size of the scene."""
    rng = np.random.default_rng(3)
    value = np.zeros(points.shape[:-1])
    for frequency in (2.0, 5.0, 11.0, 19.0):
        for direction in rng.standard_normal((4, 3)):
            direction *= frequency / np.linalg.norm(direction)
            value += np.sin(points @ direction + rng.uniform(0, 6))
    return value / 5.0
