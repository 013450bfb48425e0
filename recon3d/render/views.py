"""Pictures of Gaussians for people: colour, depth, coverage and normals of camera paths as 8-bit frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8

from recon3d.core.errors import UsageError
from recon3d.formats.glb_primitives import srgb_from_linear
from recon3d.render.cameras import Cameras
from recon3d.render.colormap import colourise, value_range
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.render.gaussians.rasterization import rasterize
from recon3d.render.gaussians.types import ColourSpace, Gaussians, Rasterization
from recon3d.render.orbits import orbit
from recon3d.render.trajectories import CameraPath

Quantity = Literal["colour", "depth", "alpha", "normal"]
_PROBES = 9  # frames whose depths fix the range of the colours
_PROBE_SIDE = 160
_SEEN = 0.5  # least coverage of a pixel that has a depth


@dataclass(frozen=True)
class ViewOptions:
    """How frames are painted.

    Args:
        what: colour, depth (near is bright), alpha (coverage), or normal (of the depth).
        background: red, green and blue behind the scene, 0 to 1.
        antialiased: for splats that were optimised with antialiasing.
        depth_range: nearest and farthest depth that get colours of their own, world units; None = what the path sees.
        backend: of the rasteriser.
    """

    what: Quantity = "colour"
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    antialiased: bool = False
    depth_range: tuple[float, float] | None = None
    backend: GaussianBackend = "auto"

    def __post_init__(self) -> None:
        if self.what not in get_args(Quantity):
            raise UsageError("frames show no such thing", got=self.what, expected=", ".join(get_args(Quantity)))
        if not all(0 <= value <= 1 for value in self.background):
            raise UsageError("a background colour is out of range", got=self.background, expected="three in 0..1")


def render_views(
    gaussians: Gaussians, cameras: Cameras, options: ViewOptions | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield one 8-bit sRGB frame per camera; memory does not grow with their number.

    Args:
        gaussians: what to look at.
        cameras: from where, pinhole.
        options: what to paint; None = colours on black.

    Yields:
        Frames, ``[h,w,3]``.
    """
    options = options or ViewOptions()
    depth_range = options.depth_range
    if options.what == "depth" and depth_range is None:
        depth_range = path_depth_range(gaussians, cameras, options)
    for index in range(len(cameras)):
        camera = cameras[index : index + 1]
        seen = _rasterize(gaussians, camera, options)
        yield _paint(seen, camera, options, depth_range or (0.0, 1.0), gaussians.colour_space)


@torch.no_grad()
def _rasterize(gaussians: Gaussians, camera: Cameras, options: ViewOptions) -> Rasterization:
    background = torch.tensor(options.background, dtype=gaussians.means.dtype, device=gaussians.means.device)
    return rasterize(gaussians, camera, background=background, antialiased=options.antialiased, backend=options.backend)


def path_depth_range(gaussians: Gaussians, cameras: Cameras, options: ViewOptions) -> tuple[float, float]:
    """Return the depths that hold nearly all of what a path sees, from a few small frames of it."""
    n_probes = min(_PROBES, len(cameras))
    chosen = cameras[np.unique(np.linspace(0, len(cameras) - 1, n_probes).astype(np.int64))]
    small = chosen.limited(_PROBE_SIDE)
    depths = [_depth(_rasterize(gaussians, small[index : index + 1], options)) for index in range(len(small))]
    return value_range(np.concatenate([depth.ravel() for depth in depths] or [np.zeros(0, np.float32)]))


def _depth(seen: Rasterization) -> Float32[np.ndarray, "h w"]:
    depth = seen.depth_expected[0].cpu().numpy().astype(np.float32)
    depth[(seen.alpha[0].cpu().numpy() < _SEEN) | (depth <= 0)] = np.nan
    return depth


def _paint(
    seen: Rasterization, camera: Cameras, options: ViewOptions, depth_range: tuple[float, float], space: ColourSpace
) -> UInt8[np.ndarray, "h w 3"]:
    if options.what == "colour":
        return to_srgb8(np.asarray(seen.image[0].cpu()), space)
    if options.what == "alpha":
        grey = np.rint(np.clip(np.asarray(seen.alpha[0].cpu()), 0, 1) * 255).astype(np.uint8)
        return np.asarray(np.repeat(grey[:, :, None], 3, axis=2))
    if options.what == "depth":
        return colourise(_depth(seen), depth_range[1], depth_range[0])
    normal = normals_from_depth(_depth(seen), camera.K[0])
    painted = np.rint(np.clip(0.5 + 0.5 * normal * np.array([1, -1, -1]), 0, 1) * 255)
    return np.asarray(np.nan_to_num(painted, nan=0.0), np.uint8)


def to_srgb8(image: Float[np.ndarray, "h w 3"], space: ColourSpace = "srgb") -> UInt8[np.ndarray, "h w 3"]:
    """Return colours as 8-bit sRGB; linear ones are encoded first (IEC 61966-2-1)."""
    clipped = np.clip(image, 0, 1)
    if space == "linear":
        clipped = srgb_from_linear(clipped.astype(np.float64))
    return np.asarray(np.rint(clipped * 255), np.uint8)


def normals_from_depth(
    depth_z: Float32[np.ndarray, "h w"], K: Float64[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "h w 3"]:
    """Return unit normals in camera axes, towards the camera, from the differences of neighbouring depths.

    Args:
        depth_z: depth along camera z, NaN = none.
        K: intrinsics in pixels.

    Returns:
        Normals, ``[h,w,3]``; NaN where a neighbour has no depth.
    """
    h, w = depth_z.shape
    if h < 2 or w < 2:
        return np.full((h, w, 3), np.nan, np.float32)
    x = (np.arange(w) + 0.5 - K[0, 2]) / K[0, 0]
    y = (np.arange(h) + 0.5 - K[1, 2]) / K[1, 1]
    points = np.stack([depth_z * x, depth_z * y[:, None], depth_z], axis=2)
    # Image x and y run right and down: along y times along x points to the camera.
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(normal / length, np.float32)


def turntable(
    gaussians: Gaussians, cameras: Cameras, n_frames: int = 36, size: tuple[int, int] = (640, 480)
) -> tuple[list[UInt8[np.ndarray, "h w 3"]], CameraPath]:
    """Render an orbit for a report, once round or once along the sector that was photographed.

    Args:
        gaussians: what to look at.
        cameras: the photos' cameras.
        n_frames: number of frames.
        size: width and height in pixels.

    Returns:
        The frames and the path that they belong to.
    """
    points = gaussians.means[gaussians.opacities > 0.1].detach().cpu().numpy().astype(np.float64)
    path = orbit(cameras, n_frames, size, points, loop=False)
    return list(render_views(gaussians, path.cameras)), path
