"""Small motions of the cameras that the optimisation may find: a rotation vector and a shift per photo."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def moved(cam_from_world: Float[Tensor, "4 4"], delta: Float[Tensor, "6"]) -> Float[Tensor, "4 4"]:
    """Return a pose after a small motion of the camera: ``x_cam' = exp(w) x_cam + t``.

    Args:
        cam_from_world: rigid transform, ``[4,4]``.
        delta: rotation vector w in radians and shift t in units of the frame, ``[6]``.

    Returns:
        A rigid transform, ``[4,4]``. Differentiable in both; also at ``delta = 0``.

    Source: Rodrigues' formula, with its series where the angle is small.
    """
    w, t = delta[:3], delta[3:]
    squared = (w * w).sum()
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)
    zero = torch.zeros_like(squared)
    rows = ((zero, -w[2], w[1]), (w[2], zero, -w[0]), (-w[1], w[0], zero))
    cross = torch.stack([torch.stack(row) for row in rows])
    rotation = torch.eye(3, dtype=w.dtype, device=w.device) + first * cross + second * (cross @ cross)
    turned = rotation @ cam_from_world[:3, :3]
    shifted = rotation @ cam_from_world[:3, 3] + t
    last = cam_from_world[3:]
    return torch.cat([torch.cat([turned, shifted[:, None]], dim=1), last], dim=0)
