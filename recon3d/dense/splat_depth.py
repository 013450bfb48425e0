"""Depth maps from 3D Gaussians: where the median of the light comes from, how much of it comes from there, and sigma.

The light of a pixel comes from many depths. The median is robust, but it is the depth of a centre: the most likely
depth of a Gaussian changes with the pixel (the conditional mean of a Gaussian; Zhang et al., "RaDe-GS", 2024), and for
a flat one 1/z is affine in the pixel. So the Gaussians around the median are blended again, by offset and slope of 1/z.

Sigma: if the light is spread normally and the share c of it lies within a relative window w, then sigma = w /
(sqrt(2) erfinv(c)) of the depth. On splats of a room this is calibrated against a depth sensor, where the second moment
of the depth is ten times too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from recon3d.core.errors import UsageError
from recon3d.dense.types import DepthMap
from recon3d.render.cameras import Cameras
from recon3d.render.gaussians import Gaussians, rasterize
from recon3d.render.gaussians.options import GaussianBackend

DepthKind = Literal["surface", "median", "expected"]
_LEAST = 1e-6
_NEAREST = 0.01
_ONE_SURFACE = 0.8
_MOST_AGREEMENT = 0.999
_EPS_PX2 = 0.02  # far below the 0.3 of the rasteriser, which would flatten every slope


@dataclass(frozen=True)
class SplatDepthOptions:
    """How depth maps are read off the splats.

    Args:
        kind: median = depth of the Gaussian at which half of the light is gone; expected = mean over all Gaussians of a
            pixel; surface = mean over those around the median where most light comes from there, else the median.
        min_alpha: pixels that are less opaque have no depth; from one half on, where there is a median.
        window: distance from the median, as a share of it, within which Gaussians belong to the surface.
        min_agreement: pixels of which a smaller share of the light comes from the surface have no depth.
        scale: size of the depth maps as a share of the photos' size.
    """

    kind: DepthKind = "surface"
    min_alpha: float = 0.5
    window: float = 0.05
    min_agreement: float = 0.4
    scale: float = 1.0

    def __post_init__(self) -> None:
        limits = {"min_alpha": (0.5, 1.0), "window": (1e-4, 1.0), "min_agreement": (0.0, 1.0), "scale": (0.01, 1.0)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                got, expected = getattr(self, name), f"{low:g} to {high:g}"
                raise UsageError(f"SplatDepthOptions.{name} is out of range", got=got, expected=expected)


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
        One map per camera, with sigma from the share of the light that comes from the surface.

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
    with torch.no_grad():
        planes = _planes(gaussians, camera)
        seen = rasterize(gaussians, camera, features=planes.features, antialiased=antialiased, backend=backend)
        median, alpha = seen.depth_median[0], seen.alpha[0]
        near = _around(planes, median, options.window)
        # All Gaussians again, since those in front of the surface take light from it; only those around it count.
        marked = torch.cat([planes.features, torch.ones_like(planes.features[:, :1])], -1) * near[:, None]
        surface = rasterize(gaussians, camera, features=marked, antialiased=antialiased, backend=backend).image[0]
        expected = _depth_of(seen.image[0], alpha, planes.unit)
        mean = _depth_of(surface[..., :3], surface[..., 3], planes.unit)
        share = (surface[..., 3] / alpha.clamp(min=_LEAST)).clamp(_LEAST, _MOST_AGREEMENT)
        depth = {"median": median, "expected": expected}.get(options.kind)
        if depth is None:
            depth = torch.where(share >= _ONE_SURFACE, mean, median)
        sigma = depth * options.window / (2.0**0.5 * torch.erfinv(share))
        good = (alpha >= options.min_alpha) & (share >= options.min_agreement) & (depth > 0) & depth.isfinite()
        return DepthMap(*(torch.where(good, each, 0.0).float().cpu().numpy() for each in (depth, sigma)))


def _scaled(camera: Cameras, scale: float) -> Cameras:
    width = np.maximum(1, np.round(camera.width * scale)).astype(np.int64)
    height = np.maximum(1, np.round(camera.height * scale)).astype(np.int64)
    K = camera.K.copy()
    K[:, 0] *= (width / camera.width)[:, None]
    K[:, 1] *= (height / camera.height)[:, None]
    return replace(camera, K=K, width=width, height=height, distortion=None)


@dataclass(frozen=True, eq=False)
class _Planes:
    """The Gaussians as planes in 1/z.

    Args:
        features: a, b, c of ``unit / z - 1 = a + b x + c y`` for the pixel (x, y), from the centre of the image in
            image widths, ``[g,3]``.
        pixel: column and row of each centre, inside the image, ``[g,2]``.
        z: depth of each centre, ``[g]``; 0 = behind the camera.
        unit: a usual depth, so that the numbers are small.
    """

    features: Float[Tensor, "g 3"]
    pixel: Int[Tensor, "g 2"]
    z: Float[Tensor, " g"]
    unit: float


def _planes(gaussians: Gaussians, camera: Cameras) -> _Planes:
    like = gaussians.means
    pose = torch.as_tensor(camera.cam_from_world[0], dtype=like.dtype, device=like.device)
    fx, fy, cx, cy = (float(camera.K[0][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    width, height = int(camera.width[0]), int(camera.height[0])
    point = gaussians.means @ pose[:3, :3].T + pose[:3, 3]
    front = point[:, 2] > _NEAREST
    z = torch.where(front, point[:, 2], torch.ones_like(point[:, 2]))
    unit = float(z[front].median()) if bool(front.any()) else 1.0
    slope = _depth_slope(gaussians, pose, point, z, (fx, fy))
    bc = -slope * (width * unit / z**2)[:, None]  # of unit / z, from that of z
    u, v = fx * point[:, 0] / z + cx, fy * point[:, 1] / z + cy
    at = torch.stack([u / width - 0.5, (v - 0.5 * height) / width], -1)
    features = torch.cat([(unit / z - 1 - (bc * at).sum(-1))[:, None], bc], -1)
    pixel = torch.stack([u.clamp(0, width - 1), v.clamp(0, height - 1)], -1).long()
    return _Planes(
        torch.where(front[:, None], features, torch.zeros_like(features)),
        pixel,
        torch.where(front, z, torch.zeros_like(z)),
        unit,
    )


def _around(planes: _Planes, median: Float[Tensor, "h w"], window: float) -> Bool[Tensor, " g"]:
    """Return the Gaussians whose centre lies around the median depth of the pixel that it falls on."""
    there = median[planes.pixel[:, 1], planes.pixel[:, 0]]
    return (planes.z > 0) & ((planes.z - there).abs() <= window * there)


def _depth_of(planes: Float[Tensor, "h w 3"], weight: Float[Tensor, "h w"], unit: float) -> Float[Tensor, "h w"]:
    """Return the depth at the blended plane of every pixel; ``planes`` are sums that ``weight`` belongs to."""
    h, w = weight.shape
    a, b, c = (planes / weight.clamp(min=_LEAST)[..., None]).unbind(-1)
    x = (torch.arange(w, dtype=a.dtype, device=a.device) + 0.5) / w - 0.5
    y = (torch.arange(h, dtype=a.dtype, device=a.device) + 0.5 - 0.5 * h) / w
    return unit / (1 + a + b * x + c * y[:, None]).clamp(min=_LEAST)


def _depth_slope(
    gaussians: Gaussians, pose: Tensor, point: Tensor, z: Tensor, focal: Sequence[float]
) -> Float[Tensor, "g 2"]:
    """Return how the most likely depth of a Gaussian changes with the pixel."""
    axes = pose[:3, :3] @ _rotations(gaussians.quats) * gaussians.scales[:, None, :]
    # Rows of the Jacobian of the projection, applied to the axes: pixels along every axis.
    inside = (point[:, :2] / z[:, None]).clamp(-3, 3)
    along = [focal[k] / z[:, None] * (axes[:, k] - inside[:, k, None] * axes[:, 2]) for k in (0, 1)]
    uu, vv = ((side**2).sum(-1) + _EPS_PX2 for side in along)
    uv = (along[0] * along[1]).sum(-1)
    uz, vz = (along[0] * axes[:, 2]).sum(-1), (along[1] * axes[:, 2]).sum(-1)
    det = (uu * vv - uv * uv).clamp(min=_EPS_PX2**2)
    return torch.stack([vv * uz - uv * vz, uu * vz - uv * uz], -1) / det[:, None]


def _rotations(quats: Float[Tensor, "g 4"]) -> Float[Tensor, "g 3 3"]:
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).reshape(-1, 3, 3)
