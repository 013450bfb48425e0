"""Photos by cameras that all look along z."""

from __future__ import annotations

import torch

from recon3d.feedforward.scenes import TrueViews


def facing(depth: torch.Tensor, centres: list[list[float]]) -> TrueViews:
    """Cameras that look along z from some places, on maps of depth ``[s,h,w]``."""
    s, h, w = depth.shape
    pose = torch.eye(4).repeat(s, 1, 1)
    pose[:, :3, 3] = -torch.tensor(centres)
    K = torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1.0]]).repeat(s, 1, 1)
    images, normals = torch.zeros(1, s, 3, h, w), torch.zeros(1, s, h, w, 3)
    return TrueViews(images=images, cam_from_world=pose[None], K=K[None], depth_z=depth[None], normals=normals)
