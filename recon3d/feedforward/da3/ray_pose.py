"""Cameras from ray maps: a robust homography between pixels and ray directions, factored into rotation and intrinsics.

A ray's direction is r = R K^-1 (x, y, 1), so the homography from pixels to directions is R K^-1 up to its scale, and
its QR factorisation gives R and the upper-triangular K^-1. The public code takes a QL factorisation, which is right
only for a principal point in the middle of the image; it is here for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

_SAMPLES, _POINTS, _CHUNK = 100, 8, 16
_CANDIDATES = 0.3
_INLIER = 0.2
_FLAT = 1e-4


@dataclass(frozen=True, eq=False)
class RayCameras:
    """Cameras in the frame of the rays; the image plane is normalised to -1..1 along both axes.

    Args:
        world_from_cam: ``[b,s,3,4]``.
        focal: in half widths and half heights of the image, ``[b,s,2]``.
        principal: the same from the top-left corner: (1, 1) is the middle, ``[b,s,2]``.
    """

    world_from_cam: Float[Tensor, "b s 3 4"]
    focal: Float[Tensor, "b s 2"]
    principal: Float[Tensor, "b s 2"]

    def K(self, size: tuple[int, int]) -> Float[Tensor, "b s 3 3"]:
        """Return the intrinsics in pixels of images of ``size`` (height, width)."""
        half = self.focal.new_tensor([size[1], size[0]]) / 2.0
        K = torch.diag_embed(torch.cat([self.focal * half, torch.ones_like(self.focal[..., :1])], -1))
        K[..., :2, 2] = self.principal * half
        return K


def cameras_from_rays(
    rays: Float[Tensor, "b s rows cols 6"],
    confidence: Float[Tensor, "b s rows cols"],
    *,
    factorisation: Literal["qr", "ql"] = "qr",
    samples: Int64[Tensor, "k points"] | None = None,
    seed: int = 0,
) -> RayCameras:
    """Return the cameras that ray maps belong to.

    Args:
        rays: direction and origin of every sample, ``[b,s,rows,cols,6]``.
        confidence: positive.
        factorisation: ``qr``, or ``ql`` to get what the public code gets.
        samples: numbers in the list of candidates, the most confident first; drawn by default.
        seed: of the draw.
    """
    b, s, rows, cols = confidence.shape
    pixels = _grid(rows, cols, rays.device)
    directions, weights = rays[..., :3].reshape(b * s, -1, 3).double(), confidence.reshape(b * s, -1).double()
    fits = [_homography(pixels, *one, samples, seed) for one in zip(directions, weights, strict=True)]
    maps = torch.stack([fit for fit, _ in fits])
    maps = torch.where(torch.linalg.det(maps)[:, None, None] < 0, -maps, maps)
    rotation, focal, principal = _from_qr(maps) if factorisation == "qr" else _from_ql(maps)
    if factorisation == "qr":  # rays that point elsewhere do not start here either
        weights = weights * torch.stack([inliers for _, inliers in fits])
    centre = (rays[..., 3:].reshape(b * s, -1, 3) * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
    centre = centre.to(rays.dtype).reshape(b, s, 3)
    pose = torch.cat([rotation.to(rays.dtype).reshape(b, s, 3, 3), centre[..., None]], -1)
    return RayCameras(pose, *(one.to(rays.dtype).reshape(b, s, 2) for one in (focal, principal)))


def _grid(rows: int, cols: int, device: torch.device) -> Float64[Tensor, "n 2"]:
    """Return x, y of all samples: centres of cells that fill -1..1."""
    y, x = ((2.0 * torch.arange(n, device=device, dtype=torch.float64) + 1.0) / n - 1.0 for n in (rows, cols))
    return torch.stack([x.expand(rows, cols), y[:, None].expand(rows, cols)], -1).flatten(0, 1)


def _homography(
    pixels: Float64[Tensor, "n 2"],
    directions: Float64[Tensor, "n 3"],
    weights: Float64[Tensor, " n"],
    samples: Int64[Tensor, "k points"] | None,
    seed: int,
) -> tuple[Float64[Tensor, "3 3"], Bool[Tensor, " n"]]:
    """Fit pixels to directions by RANSAC among the confident samples, then to all that agree; return those as well."""
    usable = directions[:, 2].abs() > _FLAT
    weights = torch.where(usable, weights, 0.0)
    targets = directions[:, :2] / torch.where(usable, directions[:, 2], 1.0)[:, None]
    n_candidates = min(max(int(_CANDIDATES * len(pixels)), _POINTS), len(pixels))
    candidates = weights.argsort(descending=True, stable=True)[:n_candidates]
    if samples is None:
        generator = torch.Generator().manual_seed(seed)
        samples = torch.randint(n_candidates, (_SAMPLES, _POINTS), generator=generator).to(pixels.device)
    chosen = candidates[samples]  # [k,8]
    guesses = _solve(pixels[chosen], targets[chosen], weights[chosen])
    scores = torch.cat([_inliers(some, pixels, targets).double() @ weights for some in torch.split(guesses, _CHUNK)])
    inliers = _inliers(guesses[scores.argmax()], pixels, targets) & usable
    return _solve(pixels[inliers], targets[inliers], weights[inliers]), inliers


def _solve(
    pixels: Float64[Tensor, "*k n 2"], targets: Float64[Tensor, "*k n 2"], weights: Float64[Tensor, "*k n"]
) -> Float64[Tensor, "*k 3 3"]:
    """Solve the weighted direct linear transform; the last entry is 1."""
    p = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1)
    zero = torch.zeros_like(p)
    along_x = torch.cat([-p, zero, targets[..., :1] * p], -1)
    along_y = torch.cat([zero, -p, targets[..., 1:] * p], -1)
    system = torch.cat([along_x, along_y], -2) * weights.repeat(*(1,) * (weights.ndim - 1), 2).sqrt()[..., None]
    null = torch.linalg.eigh(system.mT @ system).eigenvectors[..., 0]
    found: Tensor = torch.unflatten(null / null[..., 8:], -1, (3, 3))
    return found


def _inliers(
    maps: Float64[Tensor, "*k 3 3"], pixels: Float64[Tensor, "n 2"], targets: Float64[Tensor, "n 2"]
) -> Bool[Tensor, "*k n"]:
    moved = pixels @ maps[..., :2].mT + maps[..., None, :, 2]
    errors: Tensor = (moved[..., :2] / moved[..., 2:] - targets).norm(dim=-1)
    return errors < _INLIER


def _from_qr(maps: Float64[Tensor, "n 3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotations, focal lengths and principal points of R K^-1."""
    q, r = torch.linalg.qr(maps)
    sign = r.diagonal(dim1=-2, dim2=-1).sign()
    K = torch.linalg.inv(r * sign[..., None])
    K = K / K[..., 2:, 2:]
    return q * sign[..., None, :], K.diagonal(dim1=-2, dim2=-1)[..., :2], K[..., :2, 2] + 1.0


def _from_ql(maps: Float64[Tensor, "n 3 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the public code returns."""
    q, lower = ql(maps)
    lower = lower / lower[..., 2:, 2:]
    return q, 1.0 / lower.diagonal(dim1=-2, dim2=-1)[..., :2], lower[..., 2, :2] + 1.0


def ql(matrix: Float[Tensor, "*batch 3 3"]) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3 3"]]:
    """Factor matrices into an orthogonal and a lower-triangular one with a positive diagonal."""
    q, r = torch.linalg.qr(matrix.flip(-1))
    q, lower = q.flip(-1), r.flip(-1, -2)
    sign = lower.diagonal(dim1=-2, dim2=-1).sign()
    return q * sign[..., None, :], lower * sign[..., None]
