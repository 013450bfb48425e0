"""Shapes that rays can hit; local frames are turned about z only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from courtyard.noise import Array
from courtyard.textures import Texture

_FAR = np.float32(1e9)


@dataclass(frozen=True)
class Surface:
    """Where a ray met a shape: normals (local frame) and texture coordinates in metres."""

    normal: Array
    uv: Array


@dataclass(frozen=True)
class Shape:
    """A shape with its place, turn about z (degrees), material and gloss."""

    center: tuple[float, float, float]
    texture: Texture
    yaw: float = 0.0
    gloss: float = 0.0

    @property
    def radius(self) -> float:
        """Radius of a sphere about ``center`` that holds the shape."""
        raise NotImplementedError

    def hit(self, origin: Array, direction: Array) -> Array:
        """Return the distance to the first hit of local rays, or 1e9."""
        raise NotImplementedError

    def surface(self, point: Array) -> Surface:
        """Describe local points on the surface."""
        raise NotImplementedError

    @property
    def turn(self) -> Array:
        """Rotation from the world to the local frame."""
        c, s = np.cos(np.radians(self.yaw)), np.sin(np.radians(self.yaw))
        return cast(Array, np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32))

    def local(self, points: Array) -> Array:
        """Bring world points into the local frame."""
        return cast(Array, (points - np.array(self.center, np.float32)) @ self.turn.T)


@dataclass(frozen=True)
class Box(Shape):
    """A box with half sizes; ``fit`` stretches the texture over every face."""

    half: tuple[float, float, float] = (1, 1, 1)
    fit: bool = False

    @property
    def radius(self) -> float:
        """Half the space diagonal."""
        return float(np.linalg.norm(self.half))

    def hit(self, origin: Array, direction: Array) -> Array:
        """Slab test."""
        near, far = np.full(len(direction), -_FAR, np.float32), np.full(len(direction), _FAR, np.float32)
        for axis in range(3):
            inverse = 1 / np.where(np.abs(direction[:, axis]) < 1e-9, np.float32(1e-9), direction[:, axis])
            middle, reach = -origin[:, axis] * inverse, np.abs(inverse) * np.float32(self.half[axis])
            near, far = np.maximum(near, middle - reach), np.minimum(far, middle + reach)
        return cast(Array, np.where((near < far) & (near > 1e-4), near, _FAR))

    def surface(self, point: Array) -> Surface:
        """Normals of the faces; every face shows another part of the texture."""
        ratio = point / np.array(self.half, np.float32)
        axis = np.abs(ratio).argmax(1)
        rows = np.arange(len(point))
        sign = np.sign(ratio[rows, axis])
        normal = np.zeros_like(point)
        normal[rows, axis] = sign
        u_axis, v_axis = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]
        half = np.array(self.half, np.float32)
        flip = np.where((axis == 0) | (axis == 2), sign, -sign)
        u, v = point[rows, u_axis] * flip + half[u_axis], point[rows, v_axis] + half[v_axis]
        if self.fit:
            size = self.texture.width_m, self.texture.height_m
            return Surface(normal, np.stack([u / half[u_axis] / 2 * size[0], v / half[v_axis] / 2 * size[1]], 1))
        shift = 0.37 * axis + 0.61 * (sign > 0) + self.center[0] * 0.7 + self.center[1]
        return Surface(normal, np.stack([u + shift, v + 0.53 * axis], 1).astype(np.float32))


@dataclass(frozen=True)
class Ellipsoid(Shape):
    """A sphere stretched along the local axes."""

    radii: tuple[float, float, float] = (1, 1, 1)

    @property
    def radius(self) -> float:
        """The longest half axis."""
        return max(self.radii)

    def hit(self, origin: Array, direction: Array) -> Array:
        """Solve the quadratic in the unit sphere's frame."""
        scale = np.array(self.radii, np.float32)
        o, d = origin / scale, direction / scale
        return _first_root(_dot(d, d), _dot(o, d), _dot(o, o) - 1)

    def surface(self, point: Array) -> Surface:
        """Longitude and latitude as texture coordinates."""
        scale = np.array(self.radii, np.float32)
        unit = point / scale
        normal = unit / scale
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        u = (np.arctan2(unit[:, 1], unit[:, 0]) / (2 * np.pi) + 0.5) * self.texture.width_m
        v = (np.arcsin(np.clip(unit[:, 2], -1, 1)) / np.pi + 0.5) * self.texture.height_m
        return Surface(normal, np.stack([u, v], 1))


@dataclass(frozen=True)
class Drum(Shape):
    """A capped cone stump or cylinder about z; ``center`` is the middle of its axis."""

    bottom: float = 0.5
    top: float = 0.5
    height: float = 1.0

    @property
    def radius(self) -> float:
        """Half the diagonal of the wider end."""
        return float(np.hypot(max(self.bottom, self.top), self.height / 2))

    def hit(self, origin: Array, direction: Array) -> Array:
        """Take the nearer of the mantle and the caps."""
        slope = np.float32((self.top - self.bottom) / self.height)
        at_origin = (self.top + self.bottom) / 2 + slope * origin[:, 2]
        change = slope * direction[:, 2]
        flat_o, flat_d = origin[:, :2], direction[:, :2]
        a = _dot(flat_d, flat_d) - change**2
        b = _dot(flat_o, flat_d) - at_origin * change
        mantle = _first_root(a, b, _dot(flat_o, flat_o) - at_origin**2)
        inside = np.abs(origin[:, 2] + mantle * direction[:, 2]) <= self.height / 2
        best = np.where(inside, mantle, _FAR)
        slant = np.where(np.abs(direction[:, 2]) < 1e-9, np.float32(1e-9), direction[:, 2])
        for level, radius in ((-self.height / 2, self.bottom), (self.height / 2, self.top)):
            t = (np.float32(level) - origin[:, 2]) / slant
            distance = np.hypot(flat_o[:, 0] + t * flat_d[:, 0], flat_o[:, 1] + t * flat_d[:, 1])
            best = np.where((distance <= radius) & (t > 1e-4) & (t < best), t, best)
        return cast(Array, best)

    def surface(self, point: Array) -> Surface:
        """Angle and height on the mantle, x and y on the caps."""
        ratio = (point[:, 2] / self.height + 0.5).clip(0, 1)
        distance = np.hypot(point[:, 0], point[:, 1])
        wide = self.bottom + (self.top - self.bottom) * ratio
        cap = (self.height / 2 - np.abs(point[:, 2]) < 1e-3) & (distance < wide - 5e-4)
        slope = (self.bottom - self.top) / self.height
        normal = np.stack([point[:, 0] / distance.clip(1e-9), point[:, 1] / distance.clip(1e-9)], 1)
        normal = np.concatenate([normal, np.full((len(point), 1), slope)], 1) / np.hypot(1, slope)
        normal[cap] = np.stack([np.zeros(len(point)), np.zeros(len(point)), np.sign(point[:, 2])], 1)[cap]
        u = np.arctan2(point[:, 1], point[:, 0]) * max(self.bottom, self.top)
        uv = np.stack([np.where(cap, point[:, 0], u), np.where(cap, point[:, 1], point[:, 2] + self.height / 2)], 1)
        return Surface(normal.astype(np.float32), uv.astype(np.float32))


def _dot(first: Array, second: Array) -> Array:
    return cast(Array, np.einsum("ij,ij->i", first, second))


def _first_root(a: Array, b: Array, c: Array) -> Array:
    """Return the smaller positive root of ``a t^2 + 2 b t + c``, from outside, or 1e9."""
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    safe = np.where(np.abs(a) < 1e-12, np.float32(1e-12), a)
    low, high = (-b - root) / safe, (-b + root) / safe
    t = np.minimum(low, high)
    t = np.where(t > 1e-4, t, np.maximum(low, high))
    return cast(Array, np.where((discriminant > 0) & (t > 1e-4), t, _FAR))


def intersect(shape: Shape, origin: Array, direction: Array, candidates: npt.NDArray[np.int64]) -> Array:
    """Return distances of the chosen world rays to ``shape``; ``origin`` is one point or one per ray."""
    local_origin = shape.local(np.atleast_2d(origin))
    o = local_origin[candidates] if len(local_origin) > 1 else np.broadcast_to(local_origin, (len(candidates), 3))
    return shape.hit(o, direction[candidates] @ shape.turn.T)
