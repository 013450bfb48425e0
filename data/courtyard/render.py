"""Casting rays: nearest hits, hard sun shadows, sky light with approximate occlusion, a simple camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from courtyard.noise import Array, srgb
from courtyard.shapes import Shape, Surface, intersect
from recon3d.render.cameras import Cameras, undistort

_FAR = np.float32(1e8)


@dataclass(frozen=True)
class Light:
    """The sun and the sky, linear RGB."""

    sun_from: tuple[float, float, float] = (0.42, -0.62, 0.66)
    sun: tuple[float, float, float] = (2.75, 2.42, 1.88)
    sky: tuple[float, float, float] = (0.50, 0.60, 0.78)
    bounce: tuple[float, float, float] = (0.26, 0.22, 0.17)

    @property
    def direction(self) -> Array:
        """Unit vector towards the sun."""
        vector = np.array(self.sun_from, np.float32)
        return cast(Array, vector / np.linalg.norm(vector))


@dataclass(frozen=True)
class _Hits:
    distance: Array
    shape: npt.NDArray[np.int64]


def pixel_rays(camera: Cameras, rows: tuple[int, int], samples: int) -> tuple[Array, Array]:
    """Return the camera centre and world directions of the sub-pixel grid of some rows.

    Args:
        camera: one camera.
        rows: first and last (exclusive) pixel row.
        samples: rays per pixel along x and y.
    """
    x = (np.arange(int(camera.width[0]) * samples) + 0.5) / samples
    y = (np.arange(rows[0] * samples, rows[1] * samples) + 0.5) / samples
    grid_x, grid_y = np.meshgrid(x, y)
    pixels = np.stack([grid_x.ravel(), grid_y.ravel()], 1)
    K = camera.K[0]
    normalized = (pixels - K[:2, 2]) / K[(0, 1), (0, 1)]
    if camera.distortion is not None:
        normalized = undistort(normalized, np.broadcast_to(camera.distortion[0], (len(normalized), 4)))
    direction = np.concatenate([normalized, np.ones((len(normalized), 1))], 1) @ camera.cam_from_world[0, :3, :3]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return camera.centers[0].astype(np.float32), direction.astype(np.float32)


def nearest(shapes: list[Shape], origin: Array, direction: Array) -> _Hits:
    """Find the first shape along every ray from one origin."""
    best = np.full(len(direction), _FAR, np.float32)
    owner = np.full(len(direction), -1, np.int64)
    for index, shape in enumerate(shapes):
        to_center = np.array(shape.center, np.float32) - origin
        along = direction @ to_center
        near = np.flatnonzero(to_center @ to_center - np.sign(along) * along**2 <= shape.radius**2)
        if len(near):
            t = intersect(shape, origin, direction, near)
            closer = t < best[near]
            best[near[closer]], owner[near[closer]] = t[closer], index
    return _Hits(best, owner)


def shadowed(shapes: list[Shape], points: Array, light: Light) -> npt.NDArray[np.bool_]:
    """Tell which points the sun does not reach."""
    dark = np.zeros(len(points), bool)
    direction = light.direction
    for shape in shapes[1:]:  # the ground shades nothing
        offset = np.array(shape.center, np.float32) - points
        along = offset @ direction
        distance2 = np.einsum("ij,ij->i", offset, offset) - along**2
        near = np.flatnonzero((distance2 <= shape.radius**2) & (along > -shape.radius) & ~dark)
        if len(near):
            rays = np.broadcast_to(direction, (len(points), 3))
            dark[near[intersect(shape, points, rays, near) < _FAR]] = True
    return dark


def occlusion(shapes: list[Shape], points: Array, normals: Array) -> Array:
    """Share of the sky that the balls around small shapes and the two walls leave free."""
    free = np.ones(len(points), np.float32)
    for shape in shapes:
        if 0.06 < shape.radius < 1.0:
            offset = np.array(shape.center, np.float32) - points
            distance2 = np.einsum("ij,ij->i", offset, offset)
            radius = 0.75 * shape.radius
            facing = np.einsum("ij,ij->i", normals, offset) / np.sqrt(distance2)
            outside = distance2 > (1.05 * radius) ** 2
            cover = radius**2 / np.maximum(distance2, radius**2) * np.clip(facing, 0, 1)
            free *= 1 - 0.75 * np.where(outside, cover, 0)
    for distance in (2.2 - points[:, 1], points[:, 0] + 2.2, points[:, 2]):
        free *= 1 - 0.34 * np.exp(-np.maximum(distance, 0) / 0.28)
    return free


def sky(direction: Array) -> Array:
    """A clear afternoon sky, paler towards the horizon."""
    height = np.clip(direction[:, 2:], 0, 1) ** 0.6
    low, high = np.array([0.82, 0.90, 0.96], np.float32), np.array([0.16, 0.36, 0.78], np.float32)
    return cast(Array, low + (high - low) * height)


def radiance(shapes: list[Shape], origin: Array, direction: Array, spread: float, light: Light) -> Array:
    """Return linear RGB along rays from one point; ``spread`` is the angle between neighbouring rays."""
    hits = nearest(shapes, origin, direction)
    colour = sky(direction)
    seen = np.flatnonzero(hits.shape >= 0)
    points = origin + hits.distance[seen, None] * direction[seen]
    normals, albedo = np.zeros_like(points), np.zeros_like(points)
    gloss = np.zeros(len(seen), np.float32)
    for index in np.unique(hits.shape[seen]):
        mine = hits.shape[seen] == index
        shape = shapes[index]
        surface: Surface = shape.surface(shape.local(points[mine]))
        normals[mine] = surface.normal @ shape.turn
        slant = np.abs(np.einsum("ij,ij->i", normals[mine], direction[seen][mine])).clip(0.2)
        density = shape.texture.albedo.shape[1] / shape.texture.width_m
        albedo[mine] = shape.texture.sample(surface.uv, hits.distance[seen][mine] * spread * density / slant)
        gloss[mine] = shape.gloss
    colour[seen] = _shade(shapes, points, normals, albedo, gloss, direction[seen], light)
    return colour


def _shade(
    shapes: list[Shape], points: Array, normals: Array, albedo: Array, gloss: Array, direction: Array, light: Light
) -> Array:
    facing = np.einsum("ij,j->i", normals, light.direction)
    lit = np.flatnonzero(facing > 0)
    sun = np.zeros(len(points), np.float32)
    sun[lit] = facing[lit] * ~shadowed(shapes, points[lit] + np.float32(1e-3) * normals[lit], light)
    free = occlusion(shapes, points, normals)[:, None]
    up = (0.5 + 0.5 * normals[:, 2])[:, None]
    ambient = free * (up * np.array(light.sky, np.float32) + (1 - up) * np.array(light.bounce, np.float32))
    ambient += free * np.array(light.bounce, np.float32) * 0.6
    mirror = direction - 2 * np.einsum("ij,ij->i", direction, normals)[:, None] * normals
    shine = np.clip(mirror @ light.direction, 0, 1) ** 60 * (sun > 0) * gloss * 1.6
    shine += gloss * 0.12 * (1 - np.abs(np.einsum("ij,ij->i", direction, normals))) ** 3
    return cast(Array, albedo * (sun[:, None] * np.array(light.sun, np.float32) + ambient) + shine[:, None])


def photograph(
    shapes: list[Shape], camera: Cameras, seed: int, exposure: float = 1.0, samples: int = 2, light: Light | None = None
) -> npt.NDArray[np.uint8]:
    """Render one photo with sensor noise.

    Args:
        shapes: the scene; the first shape is the ground.
        camera: one camera.
        seed: of the sensor noise.
        exposure: factor on the light.
        samples: rays per pixel along x and y.
        light: sun and sky.

    Returns:
        sRGB pixels, ``[h,w,3]``.
    """
    width, height = int(camera.width[0]), int(camera.height[0])
    spread = 1 / (float(camera.K[0, 0, 0]) * samples)
    band = max(1, 200_000 // (width * samples * samples))
    image = np.empty((height, width, 3), np.float32)
    for first in range(0, height, band):
        rows = (first, min(first + band, height))
        origin, direction = pixel_rays(camera, rows, samples)
        colour = radiance(shapes, origin, direction, spread, light or Light())
        cells = np.clip(colour, 0, 6).reshape(rows[1] - first, samples, width, samples, 3)
        image[first : rows[1]] = cells.mean((1, 3))
    return _develop(image * np.float32(exposure), seed)


def _develop(linear_rgb: Array, seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    noisy = linear_rgb + rng.standard_normal(linear_rgb.shape, np.float32) * np.sqrt(linear_rgb * 2.2e-4 + 4e-6)
    x = np.maximum(noisy * 0.52, 0)
    toned = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)  # Narkowicz 2015, fitted ACES curve
    return cast("npt.NDArray[np.uint8]", np.rint(srgb(toned.astype(np.float32)) * 255).astype(np.uint8))
