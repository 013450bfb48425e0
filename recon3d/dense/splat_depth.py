"""Depth maps from 3D Gaussians: median and expected depth on the slanted surface of each Gaussian, and its spread.

The depth of a Gaussian is not that of its centre: its most likely depth on the ray of a pixel changes with the pixel
(the conditional mean of a Gaussian; Zhang et al., "RaDe-GS", 2024), and for a flat one 1/z is affine in the pixel. An
affine function is blended like any other features: offset and slope, and their products for the second moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, rasterize
from recon3d.render.gaussians.options import GaussianBackend

DepthKind = Literal["surface", "median", "expected"]
_LEAST = 1e-6
_EPS_PX2 = 0.02  # far below the 0.3 of the rasteriser, which would flatten every slope


@dataclass(frozen=True)
class SplatDepthOptions:
    """How depth maps are read off the splats.

    Args:
        kind: median = depth of the Gaussian at which half of the light is gone; expected = mean over all Gaussians of a
            pixel; surface = the mean where the Gaussians of a pixel agree, else the median.
        min_alpha: pixels that are less opaque have no depth.
        max_spread: pixels whose Gaussians spread more than this share of the depth have no depth.
        agree: spread, as a share of the depth, up to which the Gaussians of a pixel are one surface.
        floor: least sigma, as a share of the depth.
        scale: size of the depth maps as a share of the photos' size.
    """

    kind: DepthKind = "surface"
    min_alpha: float = 0.5
    max_spread: float = 0.1
    agree: float = 0.02
    floor: float = 0.002
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name, low, high in (("min_alpha", 0.0, 1.0), ("max_spread", 0.0, 10.0), ("scale", 0.01, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"SplatDepthOptions.{name} is out of range", got=getattr(self, name))


def splat_depth(
    gaussians: Gaussians,
    cameras: Cameras,
    options: SplatDepthOptions | None = None,
    *,
    antialiased: bool = False,
    backend: GaussianBackend = "auto",
) -> list[DepthMap]:
    """Return the depth maps that cameras would see.

    Args:
        gaussians: the splats.
        cameras: pinhole cameras, of any sizes.
        options: which depth, and what counts as one.
        antialiased: as the splats were optimised.
        backend: of the rasteriser.

    Returns:
        One map per camera; sigma is the spread of the depth along the ray, at least ``floor`` of the depth.

    Raises:
        UsageError: the back end does not take the Gaussians.
    """
    return [
        splat_depth_of(gaussians, cameras[row : row + 1], options, antialiased=antialiased, backend=backend)
        for row in range(len(cameras))
    ]


def splat_depth_of(
    gaussians: Gaussians,
    camera: Cameras,
    options: SplatDepthOptions | None = None,
    *,
    antialiased: bool = False,
    backend: GaussianBackend = "auto",
) -> DepthMap:
    """Return the depth map that one camera would see; see :func:`splat_depth`.

    Args:
        gaussians: the splats.
        camera: one pinhole camera.
        options: which depth, and what counts as one.
        antialiased: as the splats were optimised.
        backend: of the rasteriser.
    """
    options = options or SplatDepthOptions()
    camera = _scaled(camera, options.scale)
    width, height = int(camera.width[0]), int(camera.height[0])
    with torch.no_grad():
        features, unit = _depth_features(gaussians, camera)
        seen = rasterize(gaussians, camera, features=features, antialiased=antialiased, backend=backend)
        alpha = seen.alpha[0].cpu().numpy()
        blended = seen.image[0].cpu().numpy() / np.maximum(alpha, 1e-6)[..., None]
        median = seen.depth_median[0].cpu().numpy()
    x = ((np.arange(width) + 0.5) / width - 0.5).astype(np.float32)[None, :, None]
    y = ((np.arange(height) + 0.5) / width - 0.5 * height / width).astype(np.float32)[:, None, None]
    one = np.ones((height, width, 1), np.float32)
    terms = np.concatenate([one, one * x, one * y], -1)
    mean = np.maximum((blended[..., :3] * terms).sum(-1), _LEAST - 1)
    square = (blended[..., 3:6] * terms).sum(-1)
    square += (blended[..., 6:9] * np.concatenate([x * x * one, 2 * x * y * one, y * y * one], -1)).sum(-1)
    expected = unit / (1 + mean)
    spread = expected**2 / unit * np.sqrt(np.maximum(square - mean**2, 0))  # of 1/z, turned into one of z
    return _choose(expected, median, spread, alpha, options)


def _scaled(camera: Cameras, scale: float) -> Cameras:
    width = np.maximum(1, np.round(camera.width * scale)).astype(np.int64)
    height = np.maximum(1, np.round(camera.height * scale)).astype(np.int64)
    K = camera.K.copy()
    K[:, 0] *= (width / camera.width)[:, None]
    K[:, 1] *= (height / camera.height)[:, None]
    return replace(camera, K=K, width=width, height=height, distortion=None)


def _choose(
    expected: Float32[np.ndarray, "h w"],
    median: Float32[np.ndarray, "h w"],
    spread: Float32[np.ndarray, "h w"],
    alpha: Float32[np.ndarray, "h w"],
    options: SplatDepthOptions,
) -> DepthMap:
    depth = {"median": median, "expected": expected}.get(options.kind)
    if depth is None:
        depth = np.where(spread <= options.agree * expected, expected, median)
    good = (alpha >= options.min_alpha) & (depth > 0) & np.isfinite(depth) & (spread <= options.max_spread * depth)
    sigma = np.hypot(spread, options.floor * depth)
    return DepthMap(*(np.where(good, value, 0).astype(np.float32) for value in (depth, sigma)))


def _depth_features(gaussians: Gaussians, camera: Cameras) -> tuple[Float[Tensor, "g 9"], float]:
    """Return what to blend for the first two moments of the inverse depth, and the depth that is its unit.

    With d = unit / z - 1, a Gaussian is met at d = a + b x + c y by the ray of the pixel (x, y), from the centre of the
    image in image widths, give or take the conditional variance v. Blended are a, b, c, and of d^2 + v the coefficients
    of 1, x, y, x^2, x y (halved) and y^2.
    """
    like = gaussians.means
    pose = torch.as_tensor(camera.cam_from_world[0], dtype=like.dtype, device=like.device)
    fx, fy, cx, cy = (float(camera.K[0][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    width, height = float(camera.width[0]), float(camera.height[0])
    point = gaussians.means @ pose[:3, :3].T + pose[:3, 3]
    front = point[:, 2] > 0.01
    z = torch.where(front, point[:, 2], torch.ones_like(point[:, 2]))
    unit = float(z[front].median()) if bool(front.any()) else 1.0
    slope, rest = _depth_given_pixel(gaussians, pose, point, z, (fx, fy))
    at = torch.stack(
        [(fx * point[:, 0] / z + cx) / width - 0.5, (fy * point[:, 1] / z + cy - 0.5 * height) / width], -1
    )
    turn = -unit / z**2  # of d with z
    bc = slope * (width * turn)[:, None]
    a = unit / z - 1 - (bc * at).sum(-1)
    b, c = bc.unbind(-1)
    moments = [a * a + rest * turn**2, 2 * a * b, 2 * a * c, b * b, b * c, c * c]
    features = torch.stack([a, b, c, *moments], -1)
    return torch.where(front[:, None], features, torch.zeros_like(features)), unit


def _depth_given_pixel(
    gaussians: Gaussians, pose: Tensor, point: Tensor, z: Tensor, focal: Sequence[float]
) -> tuple[Float[Tensor, "g 2"], Float[Tensor, " g"]]:
    """Return how the most likely depth of a Gaussian changes with the pixel, and the variance that is left."""
    axes = pose[:3, :3] @ _rotations(gaussians.quats) * gaussians.scales[:, None, :]
    # Rows of the Jacobian of the projection, applied to the axes: pixels along every axis.
    inside = (point[:, :2] / z[:, None]).clamp(-3, 3)
    along = [focal[k] / z[:, None] * (axes[:, k] - inside[:, k, None] * axes[:, 2]) for k in (0, 1)]
    uu, vv = ((side**2).sum(-1) + _EPS_PX2 for side in along)
    uv = (along[0] * along[1]).sum(-1)
    uz, vz = (along[0] * axes[:, 2]).sum(-1), (along[1] * axes[:, 2]).sum(-1)
    det = (uu * vv - uv * uv).clamp(min=_EPS_PX2**2)
    slope = torch.stack([vv * uz - uv * vz, uu * vz - uv * uz], -1) / det[:, None]
    rest = (axes[:, 2] ** 2).sum(-1) - slope[:, 0] * uz - slope[:, 1] * vz
    return slope, rest.clamp(min=0)


def _rotations(quats: Float[Tensor, "g 4"]) -> Float[Tensor, "g 3 3"]:
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).reshape(-1, 3, 3)
