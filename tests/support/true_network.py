"""A network that knows the truth of a slanted wall, so that what is made of its answer can be checked."""

from __future__ import annotations

import numpy as np
import torch
from tiny_networks import DA3
from torch import Tensor

from recon3d.feedforward.da3.model import Da3Prediction, DepthAnything3

HEIGHT, WIDTH, FOCAL = 42, 56, 50.0


def poses(n: int) -> np.ndarray:
    """Return cameras beside each other that look along z, each turned a little, ``[n,4,4]``."""
    out = np.tile(np.eye(4), (n, 1, 1))
    for i in range(n):
        angle = 0.05 * (i - (n - 1) / 2)
        out[i, :3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        out[i, :3, 3] = -out[i, :3, :3] @ [0.3 * (i - (n - 1) / 2), 0, 0]
    return out


def intrinsics(n: int) -> np.ndarray:
    return np.tile(np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]]), (n, 1, 1))


def wall(pose: np.ndarray, K: np.ndarray, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return the depth of the plane z = 3 + 0.2 x in a camera, ``[h,w]``."""
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1) @ pose[:3, :3]
    centre = -pose[:3, :3].T @ pose[:3, 3]
    normal = np.array([-0.2, 0.0, 1.0])
    return (3.0 - normal @ centre) / (rays @ normal)


class TrueNetwork(DepthAnything3):
    """It answers with the wall, whatever it is shown.

    Args:
        noise: relative standard deviation of the depth by column: that of the left half, that of the right half.
    """

    def __init__(self, noise: tuple[float, float] = (0.0, 0.0), *, nan: str = "") -> None:
        super().__init__(DA3)
        self.noise, self.nan = noise, nan

    def forward(self, images: Tensor, *_: object, **__: object) -> Da3Prediction:
        n, (height, width) = images.shape[1], images.shape[-2:]
        pose, K = poses(n), intrinsics(n)
        depth = np.stack([wall(*pair, height, width) for pair in zip(pose, K, strict=True)])
        relative = np.where(np.arange(width) < width / 2, *self.noise)
        depth *= 1 + relative * np.random.default_rng(0).standard_normal(depth.shape)
        fields = {"cam_from_world": pose[:, :3], "K": K, "depth_z": depth}
        fields["confidence"] = np.broadcast_to(1 + 1 / (relative + 0.1), depth.shape)
        tensors = {name: torch.tensor(value, dtype=torch.float32)[None] for name, value in fields.items()}
        if self.nan:
            tensors[self.nan].view(-1)[0] = torch.nan
        return Da3Prediction(**tensors)


def photos(n: int, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 255, (height, width, 3), np.uint8) for _ in range(n)]
