"""Small scenes of Gaussians with a known picture, and random ones that a seed fixes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from recon3d.render.gaussians import CameraTensors, Gaussians

WIDTH, HEIGHT, FOCAL = 24, 20, 20.0
FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


def camera(
    n_views: int = 1, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> CameraTensors:
    """Cameras at the origin and beside it that look along z; pixel centres lie on the axis."""
    poses = torch.eye(4, dtype=dtype).repeat(n_views, 1, 1)
    poses[:, 0, 3] = 0.1 * torch.arange(n_views, dtype=dtype)
    K = torch.tensor([[FOCAL, 0, size[0] // 2 + 0.5], [0, FOCAL, size[1] // 2 + 0.5], [0, 0, 1]], dtype=dtype)
    return CameraTensors(poses, K.repeat(n_views, 1, 1), *size)


def random_scene(n: int = 12, degree: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64) -> Gaussians:
    """Anisotropic Gaussians one to three units in front of :func:`camera`, some of them outside its image."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    depth = 1 + 2 * torch.rand(n, 1, generator=source, dtype=torch.float64)
    means = torch.cat([0.4 * normal(n, 2) * depth, depth], -1)
    values = (means, normal(n, 4), 0.4 * normal(n, 3) - 2.3, normal(n), 0.3 * normal(n, (degree + 1) ** 2, 3))
    return Gaussians(*(value.to(dtype) for value in values))


def layers(
    *, depths: list[float], opacities: list[float], scale: float = 1e3, dtype: torch.dtype = torch.float64
) -> Gaussians:
    """Gaussians on the optical axis, by default so wide that each covers the image evenly."""
    n = len(depths)
    means = torch.zeros(n, 3, dtype=dtype)
    means[:, 2] = torch.tensor(depths, dtype=dtype)
    quats = torch.tensor([[1.0, 0, 0, 0]], dtype=dtype).repeat(n, 1)
    opacity = torch.tensor(opacities, dtype=dtype).logit()
    return Gaussians(means, quats, torch.full_like(means, math.log(scale)), opacity, torch.zeros(n, 1, 3, dtype=dtype))


def requiring_gradients(gaussians: Gaussians) -> Gaussians:
    tensors = {name: getattr(gaussians, name).detach().clone().requires_grad_() for name in FIELDS}
    return replace(gaussians, **tensors)


def as_dtype(gaussians: Gaussians, dtype: torch.dtype) -> Gaussians:
    return replace(gaussians, **{name: getattr(gaussians, name).to(dtype) for name in FIELDS})


def pixel(picture: Tensor) -> Tensor:
    """The pixel on the optical axis of the first view of :func:`camera`."""
    return picture[0, HEIGHT // 2, WIDTH // 2]
